"""Write the table of the photographs that may be shown: each small, with what has to be said of it."""

from collections.abc import Iterable

from seelike.data.photographs import Photograph
from seelike.display import escape_markdown

# Where the pictures lie, seen from the page.
FOLDER = "photographs"

_ROW = """\
* - ```{{image}} {folder}/{file}
    :alt: {shows}
    :width: 160px
    ```
  - {sentence}. By {author}, {licence}.

    From {package}: `{path}`.{origin}"""


def row(photograph: Photograph) -> str:
    """Write the row of one photograph.

    Example:
        >>> from seelike.data.photographs import sources
        >>> print("\\n".join(row(sources()[7]).split("\\n")[:5]))
        * - ```{image} photographs/dogs.jpg
            :alt: two spaniels that look out of a door
            :width: 160px
            ```
          - Two spaniels that look out of a door. By Aitzol Berasategi, 2018, \
[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/).
    """
    return _ROW.format(
        folder=FOLDER,
        file=photograph.file.name,
        shows=photograph.shows,
        sentence=escape_markdown(photograph.shows[0].upper() + photograph.shows[1:]),
        author=escape_markdown(photograph.author),
        licence=f"[{photograph.licence}]({photograph.licence_address})",
        package=escape_markdown(photograph.package),
        path=photograph.path,
        origin=f" [Origin]({photograph.origin})." if photograph.origin else "",
    )


def table(photographs: Iterable[Photograph]) -> str:
    """Write the table of all of them, in MyST Markdown."""
    rows = "\n".join(row(photograph) for photograph in photographs)
    return f":::{{list-table}}\n:widths: 30 70\n\n{rows}\n:::\n"
