"""Turn plain links to papers into citations.

Notebooks hold links that read well everywhere, such as on Colab: `[Kornblith et al. (2019)](https://arxiv.org/abs/1905.00414)`.
In the book they become citations of `book/references.bib`, and so enter the list of references.
"""

import re
from pathlib import Path

from pybtex.database import parse_file

# Code first, so that a link inside it is left alone. Then a link, with the parentheses around it if there are any.
_LINK = re.compile(
    r"(?s:```.*?```)|`[^`\n]*`|(?P<open>\()?\[(?P<text>[^][]+)\]\((?P<url>https?://[^)\s]+)\)(?P<close>\))?"
)
_IN_THE_SENTENCE = re.compile(r"\(\d{4}\w?\)$")
_IN_PARENTHESES = re.compile(r", \d{4}\w?$")


def keys_by_url(bibliography: Path) -> dict[str, str]:
    """Read the citation key of each address in a BibTeX file: its `url`, and that of its `doi`.

    Args:
        bibliography: A BibTeX file.

    Returns:
        Keys by address.
    """
    keys = {}
    for key, entry in parse_file(str(bibliography)).entries.items():
        if "url" in entry.fields:
            keys[entry.fields["url"]] = key
        if "doi" in entry.fields:
            keys[f"https://doi.org/{entry.fields['doi']}"] = key
    return keys


def cite(markdown: str, keys: dict[str, str]) -> str:
    """Replace links whose text is authors and year by the citation roles of sphinxcontrib-bibtex.

    Args:
        markdown: Text of a Markdown cell.
        keys: Citation keys by address, as `keys_by_url` gives them.

    Returns:
        The text with roles. Other links stay as they are.

    Raises:
        ValueError: Authors and year of a paper that has no entry.

    Example:
        >>> keys = {"https://arxiv.org/abs/1905.00414": "kornblith2019"}
        >>> cite("By [Kornblith et al. (2019)](https://arxiv.org/abs/1905.00414).", keys)
        'By {cite:t}`kornblith2019`.'
        >>> cite("A cosine ([Kornblith et al., 2019](https://arxiv.org/abs/1905.00414)).", keys)
        'A cosine {cite:p}`kornblith2019`.'
        >>> cite("Read [their paper](https://arxiv.org/abs/1905.00414).", keys)
        'Read [their paper](https://arxiv.org/abs/1905.00414).'
    """

    def replace(match: re.Match[str]) -> str:
        whole, text, url = match[0], match["text"], match["url"]
        if text is None:
            return whole
        text = " ".join(text.split())
        in_the_sentence = bool(_IN_THE_SENTENCE.search(text))
        if not in_the_sentence and not _IN_PARENTHESES.search(text):
            return whole
        if url not in keys:
            raise ValueError(f"{text} ({url}) has no entry in book/references.bib. Add one with this url or doi.")
        if in_the_sentence:
            return f"{match['open'] or ''}{{cite:t}}`{keys[url]}`{match['close'] or ''}"
        role = f"{{cite:p}}`{keys[url]}`"
        # The style sets brackets of its own: parentheses around nothing else are dropped.
        both = match["open"] and match["close"]
        return role if both else f"{match['open'] or ''}{role}{match['close'] or ''}"

    return _LINK.sub(replace, markdown)
