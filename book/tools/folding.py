"""Fold the code of a page: each cell behind its own line, the set-up of the notebook behind one for all of it.

The notebooks themselves stay as they are: on Colab and in Jupyter the code is what one came for. A cell whose code
is what a page teaches stays open where the notebook gives it the tag `show-code`.
"""

import nbformat
from nbformat import NotebookNode

from seelike.verdicts import RUN_MIME

SHOW = "show-code"
# Those by which MyST-NB shows less of a cell, or of its code.
_OTHERS = {f"{verb}{mark}{part}" for verb in ("hide", "remove") for mark in "-_" for part in ("cell", "input")}


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


def _says_what_ran(cell: NotebookNode) -> bool:
    return any(RUN_MIME in output.get("data", {}) for output in cell.get("outputs", []))


def _is_plain_text(cell: NotebookNode) -> bool:
    """Tell whether a cell is text without a heading, which would be gone from the page's contents, folded."""
    return cell.cell_type == "markdown" and not any(line.startswith("#") for line in cell.source.splitlines())
