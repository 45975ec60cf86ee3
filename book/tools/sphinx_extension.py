"""What this book needs of Sphinx beyond Jupyter Book: assets of its own host, and figure numbers by section."""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment

# "notebooks/04_representation_structure" is Section 4 of the paper, "notebooks/A_methods" its Appendix A. Figures
# of any other page are numbered by its first letter. "tiny/A_methods" is a second run of the same notebook.
_SECTION = re.compile(r"(notebooks|tiny|pretrained|colab)/0*([1-9]\d*|[A-Za-z])")


def serve_assets(app: Sphinx, config: Config) -> None:
    """Copy build/assets and the explorers of the pages beside them.

    They are not in the book's own `_static`: Jupyter Book makes every page load each script that it finds there.
    """
    config.html_static_path.append(str(Path(app.srcdir).parent / "assets"))
    config.html_static_path.append(str(Path(app.srcdir) / "static"))


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
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", launch_the_notebook, priority=900)
    # Before Napoleon reads the sections.
    app.connect("autodoc-process-docstring", plain_docstrings, priority=400)
    # After Sphinx's own numbering, which counts through the whole book.
    app.connect("env-get-updated", number_by_section, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
