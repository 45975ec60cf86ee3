"""What this book needs of Sphinx beyond Jupyter Book.

Assets of its own host, figure numbers by section, pages that load little and whose controls have names, and what a
page says of itself where it is found or shared.
"""

import html
import re
import textwrap
from pathlib import Path
from typing import Any

from card import SIZE, card
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment

# "notebooks/04_representation_structure" is Section 4 of the paper, "notebooks/A_methods" its Appendix A. Figures
# of any other page are numbered by its first letter. "tiny/A_methods" is a second run of the same notebook.
_SECTION = re.compile(r"(notebooks|tiny|pretrained|colab)/0*([1-9]\d*|[A-Za-z])")
# What a search engine shows of a page's description.
_DESCRIPTION = 160
WIDGET_STATES = "application/vnd.jupyter.widget-state+json"
_NEEDLESS = re.compile(
    r"<script[^>]*\b(fontawesome|searchtools|language_data|searchindex)\.js\b[^>]*></script>\s*"
)
# What opens a part of the contents, after the link to the page that it belongs to.
_UNNAMED = re.compile(r"(<a [^>]*>([^<]*)</a><details[^>]*><summary)>")
# The button for the search has "Search Ctrl+K" on it.
_SEARCH_LABEL = re.compile(r'(<button [^>]*search-button-field[^>]*) aria-label="Search"')
_PICTURE = re.compile(r'<img\b[^>]*\bsrc="(?:[^"]*/)?([^"/]+)"[^>]*>')
CARD = "_static/card.png"
CARD_SHOWS = "CKA between all layers of a Vision Transformer and two CNNs."
CARD_SAYS = "The figures of Raghu et al. (2021) on real networks: look, change them, run them on your own."
FRONT_PICTURE = "_static/figure_1.png"


def serve_assets(app: Sphinx, config: Config) -> None:
    """Copy build/assets and the explorers of the pages beside them.

    They are not in the book's own `_static`: Jupyter Book makes every page load each script that it finds there.
    """
    config.html_static_path.append(str(Path(app.srcdir).parent / "assets"))
    config.html_static_path.append(str(Path(app.srcdir) / "static"))


def find_templates(app: Sphinx, config: Config) -> None:
    """Let Sphinx find the template of this book's pages, which lies beside this file."""
    config.templates_path.append(str(Path(__file__).parent))


def lighter(head: str) -> str:
    """Take out of a page's head the scripts that the theme loads and this book has no use for.

    One draws icons anew that are there as a font; the others search while one types, where a page for that is.

    Args:
        head: A part of it, as HTML.

    Example:
        >>> lighter('<script src="a.js"></script><script defer src="scripts/fontawesome.js?digest=1"></script>')
        '<script src="a.js"></script>'
    """
    return _NEEDLESS.sub("", head)


def lazy(picture: str, file: Path | None) -> str:
    """Let a picture load when a reader comes near, and take its room on the page before.

    Args:
        picture: Its tag.
        file: It, where it is one of the book's own. A drawing without pixels has no size.

    Example:
        >>> lazy('<img src="a.svg" />', None)
        '<img loading="lazy" src="a.svg" />'
    """
    size = ""
    if file is not None and file.suffix != ".svg" and "width" not in picture:
        with Image.open(file) as image:
            size = ' width="{}" height="{}"'.format(*image.size)
    return picture.replace("<img", f'<img loading="lazy"{size}', 1)


def named(page: str) -> str:
    """Name the controls of a page for those who hear them: some have no name, or another than is written on them.

    Args:
        page: All that a page shows, as HTML.

    Example:
        >>> named('<a href="a.html">A &amp; B</a><details><summary><i></i></summary>')
        '<a href="a.html">A &amp; B</a><details><summary aria-label="Below A &amp; B"><i></i></summary>'
        >>> named('<summary aria-label="Toggle hidden content"><p>Show code</p></summary>')
        '<summary><p>Show code</p></summary>'
    """
    page = page.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    page = _SEARCH_LABEL.sub(r"\1", page)
    return _UNNAMED.sub(lambda match: f'{match[1]} aria-label="Below {match[2]}">', page)


def lighten(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Let a page load pictures and widgets when a reader comes near, and no scripts without a use here."""
    context |= {"lighter": lighter, "named": named}
    files = {name: Path(app.srcdir, source) for source, (_, name) in app.env.images.items()}
    context["body"] = _PICTURE.sub(lambda match: lazy(match[0], files.get(match[1])), context.get("body") or "")
    for script in context["script_files"]:
        if script.attributes.get("type") == WIDGET_STATES:
            context["script_files"] = [other for other in context["script_files"] if other is not script]
            file = Path(app.outdir, "_static", "widgets", f"{page}.js")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"seelikeWidgets({script.attributes['body']});\n")


def drop_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Leave out the scripts by which a page could start a kernel elsewhere: they name another host."""
    context["script_files"] = [script for script in context["script_files"] if not _is_of_thebe(script)]


def _is_of_thebe(script: Any) -> bool:
    # A script with a type of its own is data: among a million letters of a picture, these five come up by chance.
    code = script.attributes.get("body") if "type" not in script.attributes else None
    return "thebe" in f"{script.filename} {code}".lower()


def launch_the_notebook(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Let the button of a second run, such as tiny/A_methods, open the notebook: the repository has only that."""
    run = _SECTION.match(page)
    if run is None or run[1] == "notebooks":
        return
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            address = button.get("url", "")
            # The button for downloads has the run itself.
            if address.startswith("https://") and address.endswith(f"/{page}.ipynb"):
                button["url"] = address.replace(f"/{page}.ipynb", f"/notebooks/{page.partition('/')[2]}.ipynb")


def description(text: str) -> str:
    """Shorten a page's first paragraph to what a search engine shows of it.

    Example:
        >>> description("Question. Do they see the same?")
        'Do they see the same?'
        >>> description("word " * 50)[-11:], len(description("word " * 50))
        ('word word …', 156)
    """
    return textwrap.shorten(text.removeprefix("Question. "), _DESCRIPTION, placeholder=" …")


def describe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Say in a page's head what it is about: for search engines, and for the card by which it is shared."""
    if doctree is None:
        return
    project = app.config.html_title
    # Paragraphs in boxes, such as the line that leads to another run of the page, are not what it is about.
    paragraphs = (part for part in doctree.findall(nodes.paragraph) if isinstance(part.parent, nodes.section))
    about = description(next(paragraphs, nodes.paragraph()).astext()) or project
    tags = {
        "name": {"description": about, "twitter:card": "summary_large_image"},
        "property": {
            "og:type": "website",
            "og:site_name": project,
            "og:title": app.env.titles[page].astext(),
            "og:description": about,
            "og:url": context["pageurl"],
            "og:image": f"{app.config.html_baseurl.rstrip('/')}/{CARD}",
            "og:image:width": str(SIZE[0]),
            "og:image:height": str(SIZE[1]),
            "og:image:alt": CARD_SHOWS,
        },
    }
    lines = [
        f'\n    <meta {kind}="{name}" content="{html.escape(content)}" />'
        for kind, contents in tags.items()
        for name, content in contents.items()
    ]
    context["metatags"] = context.get("metatags", "") + "".join(lines)


def draw_card(app: Sphinx, problem: Exception | None) -> None:
    """Draw the picture by which all pages are shared."""
    if problem is None and app.builder.format == "html":
        drawn = card(Image.open(Path(app.srcdir, FRONT_PICTURE)), app.config.html_title, CARD_SAYS)
        drawn.quantize(128).save(Path(app.outdir, CARD))


def number_by_section(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Number the figures of Section 4's page 4.1, 4.2, ...: they cannot be taken for the paper's Figures 1, 2, ...

    Those of a second run of the page, with tiny networks, are 4.1 (tiny), 4.2 (tiny), ...

    Returns:
        The pages whose numbers changed, which Sphinx then writes anew.
    """
    changed = []
    for page, kinds in env.toc_fignumbers.items():
        if match := _SECTION.match(page):
            run = "" if match[1] == "notebooks" else f" ({match[1]})"
            numbers: dict[str, Any] = {
                kind: {name: (match[2].upper(), f"{count}{run}") for count, name in enumerate(names, start=1)}
                for kind, names in kinds.items()
            }
            if numbers != kinds:
                env.toc_fignumbers[page] = numbers
                changed.append(page)
    return changed


def escaped(text: str) -> str:
    """Keep Sphinx from taking plain text for markup. Names between backticks stay code.

    Example:
        >>> escaped("||z|| of `*tokens`")
        '\\\\|\\\\|z\\\\|\\\\| of `*tokens`'
    """
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_|\\])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def module_text(lines: list[str]) -> list[str]:
    """Turn the plain text that heads a module of the library into markup: its formulas stay as they are.

    Args:
        lines: Paragraphs, with formulas indented.

    Returns:
        The same in reStructuredText.

    Example:
        >>> module_text(["With x_1:", "", "    m = x_1 * 2"])
        ['With x\\\\_1:', '', '::', '', '    m = x_1 * 2', '']
    """
    marked_up: list[str] = []
    for paragraph in "\n".join(lines).strip("\n").split("\n\n"):
        if paragraph.startswith("    "):
            marked_up += ["::", "", *paragraph.split("\n"), ""]
        else:
            marked_up += [*escaped(paragraph).split("\n"), ""]
    return marked_up


def object_text(lines: list[str]) -> list[str]:
    """Make the docstring of a function or class ready for Napoleon.

    Example:
        >>> object_text(["Returns:", "    Sums: |x|.", "", "Example:", "    >>> 2 * 3"])
        ['Returns:', '    : Sums: \\\\|x\\\\|.', '', 'Example:', '    >>> 2 * 3']
    """
    lines = list(lines)
    example = next((number for number, line in enumerate(lines) if line.strip() == "Example:"), len(lines))
    for number, line in enumerate(lines[:example]):
        if number and lines[number - 1].strip() == "Returns:":
            # Else Napoleon takes what stands before the first colon for a type: the annotation has that.
            text = line.lstrip()
            line = f"{line[: -len(text)]}: {text}"
        # The names of arguments and attributes are escaped by Napoleon itself.
        name, colon, text = line.partition(": ")
        lines[number] = name + colon + escaped(text) if colon else escaped(line)
    return lines


def plain_docstrings(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Make docstrings of the library, which are plain text, ready for Sphinx."""
    lines[:] = module_text(lines) if what == "module" else object_text(lines)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("config-inited", serve_assets)
    app.connect("config-inited", find_templates)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", launch_the_notebook, priority=900)
    app.connect("html-page-context", describe, priority=900)
    app.connect("html-page-context", lighten, priority=900)
    # Before Napoleon reads the sections.
    app.connect("autodoc-process-docstring", plain_docstrings, priority=400)
    app.connect("build-finished", draw_card)
    # After Sphinx's own numbering, which counts through the whole book.
    app.connect("env-get-updated", number_by_section, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
