"""Fold the code of a page: each cell behind its own line, the set-up of the notebook behind one for all of it.

The notebooks themselves stay as they are: on Colab and in Jupyter the code is what one came for. A cell whose code
is what a page teaches stays open where the notebook gives it the tag `show-code`.
"""

import re

import nbformat
from nbformat import NotebookNode

from seelike.verdicts import RUN_MIME

SHOW = "show-code"
# Those by which MyST-NB shows less of a cell, or of its code.
_OTHERS = {f"{verb}{mark}{part}" for verb in ("hide", "remove") for mark in "-_" for part in ("cell", "input")}
# Paragraphs of what `seelike.start` shows that few readers ask for.
_SOURCES = re.compile(r"<p>(?:Weights|Left out): .*?</p>", re.DOTALL)
# A paragraph that begins with them, and those after it, up to one that begins with something else in bold letters.
_OF_NETWORKS = {
    kind: re.compile(rf"^\*\*(The {kind} \w+)\*\*.*?(?=\n\n\*\*|\n\n#|\Z)", re.MULTILINE | re.DOTALL)
    for kind in ("tiny", "pretrained")
}


def tags(cell: NotebookNode) -> list[str]:
    """Read the tags of a cell; none where it has no such list.

    Example:
        >>> tags(nbformat.v4.new_code_cell("1", metadata={"tags": ["show-code"]}))
        ['show-code']
    """
    found: list[str] = cell.metadata.get("tags", [])
    return found


def fold_code(notebook: NotebookNode) -> None:
    """Fold the code of each cell that has some to show, other than where the notebook asks to show it.

    Args:
        notebook: The notebook of a page; it is changed in place.

    Example:
        >>> notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
        >>> fold_code(notebook)
        >>> tags(notebook.cells[0])
        ['hide-input']
    """
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.strip() and not {SHOW, *_OTHERS} & set(tags(cell)):
            cell.metadata["tags"] = [*tags(cell), "hide-input"]


def join_code(notebook: NotebookNode) -> None:
    """Put code that shows nothing behind the line of the next cell of its section that shows something.

    A figure is often made in several cells, with a sentence above each. On a page the sentences stay, and the code
    is behind one line, above the figure.

    Args:
        notebook: An executed notebook; it is changed in place.

    Example:
        >>> made = nbformat.v4.new_code_cell("x = 1")
        >>> shown = nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("stream", text="1")])
        >>> notebook = nbformat.v4.new_notebook(cells=[made, nbformat.v4.new_markdown_cell("One."), shown])
        >>> join_code(notebook)
        >>> [cell.source for cell in notebook.cells]
        ['One.', 'x = 1\\n\\nx']
    """
    kept: list[NotebookNode] = []
    waiting: list[NotebookNode] = []
    for cell in notebook.cells:
        can_join = cell.cell_type == "code" and cell.source.strip() and not tags(cell)
        if can_join and cell.outputs:
            cell.source = "\n\n".join(each.source for each in [*waiting, cell])
            joined = {id(each) for each in waiting}
            kept, waiting = [each for each in kept if id(each) not in joined], []
        elif can_join:
            waiting.append(cell)
        elif not _is_plain_text(cell):
            waiting = []
        kept.append(cell)
    notebook.cells = kept


def fold_other_networks(notebook: NotebookNode, profile: str) -> None:
    """Put what a page says of the networks of another profile, which has a page of its own, behind a line.

    Args:
        notebook: The notebook of a page; it is changed in place.
        profile: That of the page.

    Example:
        >>> text = "**The tiny networks** do not.\\n\\nNor others.\\n\\n**Why.** They are tiny."
        >>> notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
        >>> fold_other_networks(notebook, "pretrained")
        >>> notebook.cells[0].source.splitlines()[0]
        '<details class="seelike-other-networks"><summary>The tiny networks</summary>'
    """
    others = "pretrained" if profile == "tiny" else "tiny"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _OF_NETWORKS[others].sub(
                '<details class="seelike-other-networks"><summary>\\1</summary>\n\n\\g<0>\n\n</details>',
                cell.source,
            )


def fold_set_up(notebook: NotebookNode) -> None:
    """Put the cells that set a notebook up, with the words around them, behind one line; what ran stays in sight.

    These are the cells from the parameters, and the text above them, to the cell that says which networks and
    images ran. A notebook with something else between them, such as a heading or another output, stays as it is.

    Args:
        notebook: An executed notebook; it is changed in place.
    """
    cells = notebook.cells
    first = next((place for place, cell in enumerate(cells) if "parameters" in tags(cell)), None)
    last = next((place for place, cell in enumerate(cells) if _says_what_ran(cell)), None)
    if first is None or last is None or first > last:
        return
    if first and _is_plain_text(cells[first - 1]):
        first -= 1
    within = cells[first:last]
    if not all(_is_plain_text(cell) or (cell.cell_type == "code" and not cell.outputs) for cell in within):
        return
    shown = [cell for cell in [*within, cells[last]] if "injected-parameters" not in tags(cell)]
    parts = [f"```python\n{cell.source}\n```" if cell.cell_type == "code" else cell.source for cell in shown]
    text = "\n\n".join(
        ['<details class="seelike-set-up"><summary>Set-up and parameters</summary>', *parts, "</details>"]
    )
    cells[last].metadata["tags"] = [*tags(cells[last]), "remove-input"]
    cells[first:last] = [nbformat.v4.new_markdown_cell(text, id="set-up")]


def fold_sources(notebook: NotebookNode) -> None:
    """Put where weights came from, and which networks were left out, behind a line under what ran.

    Args:
        notebook: An executed notebook; it is changed in place.

    Example:
        >>> text = '<div class="seelike-run"><p>Profile tiny</p><p>Weights: a.</p><p>On garments.</p></div>'
        >>> output = nbformat.v4.new_output("display_data", {RUN_MIME: {}, "text/html": text})
        >>> fold_sources(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("run", outputs=[output])]))
        >>> output.data["text/html"].split("<details>")[0]
        '<div class="seelike-run"><p>Profile tiny</p><p>On garments.</p>'
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if RUN_MIME in output.get("data", {}):
                text = output.data.get("text/html", "")
                folded = "".join(_SOURCES.findall(text))
                if folded:
                    line = "<summary>Weights, and what was left out</summary>"
                    rest = _SOURCES.sub("", text).removesuffix("</div>")
                    output.data["text/html"] = f"{rest}<details>{line}{folded}</details></div>"


def _says_what_ran(cell: NotebookNode) -> bool:
    return any(RUN_MIME in output.get("data", {}) for output in cell.get("outputs", []))


def _is_plain_text(cell: NotebookNode) -> bool:
    """Tell whether a cell is text without a heading, which would be gone from the page's contents, folded."""
    return cell.cell_type == "markdown" and not any(line.startswith("#") for line in cell.source.splitlines())
