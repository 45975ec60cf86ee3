"""Executed notebooks: reading them, what must not be published, and the pages that they become.

They come from two places, which are laid out alike: `build/executed`, where papermill leaves them, and `results`,
where those of larger networks are kept in the repository. In each there is a folder for each profile, and in that
one a folder `untrained` for runs of the same notebooks with random weights.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from seelike.claims import CLAIM_MIME
from seelike.verdicts import RUN_MIME, UNTRAINED

WIDGETS = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
# Where a notebook ran at several profiles, the first of these is its page.
PREFERENCE = ("paper", "colab", "pretrained", "tiny")


@dataclass(frozen=True)
class Page:
    """A page of the book that an executed notebook becomes.

    Attributes:
        file: The executed notebook.
        place: Its address in the book, such as "notebooks/03_background" or "tiny/03_background".

    Example:
        >>> page = Page(Path("build/executed/tiny/03_background.ipynb"), "tiny/03_background")
        >>> page.name, page.profile, page.is_first
        ('03_background', 'tiny', False)
    """

    file: Path
    place: str

    @property
    def name(self) -> str:
        """The notebook's name, which is that of its file."""
        return self.file.stem

    @property
    def profile(self) -> str:
        """The profile that it ran at, which is that of its folder."""
        return self.file.parent.name

    @property
    def is_first(self) -> bool:
        """Whether it has the place that the notebook has in the repository."""
        return self.place == f"notebooks/{self.name}"


def layout(files: Iterable[Path]) -> list[Page]:
    """Give each executed notebook its place in the book.

    Args:
        files: Executed notebooks, each in the folder of its profile. Those with random weights become no pages.

    Returns:
        The pages by name; of one notebook, that of the largest networks is first and has the notebook's own place.
        The others have one by their profile.

    Example:
        >>> files = ["build/executed/tiny/A.ipynb", "results/colab/A.ipynb", "build/executed/tiny/B.ipynb"]
        >>> [page.place for page in layout(map(Path, files))]
        ['notebooks/A', 'tiny/A', 'notebooks/B']
    """
    rank = {profile: place for place, profile in enumerate(PREFERENCE)}
    trained = [file for file in files if file.parent.name != UNTRAINED]
    pages: list[Page] = []
    for file in sorted(trained, key=lambda file: (file.stem, rank.get(file.parent.name, len(rank)))):
        is_first = not pages or pages[-1].name != file.stem
        pages.append(Page(file, f"{'notebooks' if is_first else file.parent.name}/{file.stem}"))
    return pages


def label(place: str, name: str) -> str:
    """Tell what a figure is called in the book: one name for each page that has it.

    Example:
        >>> label("notebooks/03_background", "fig-cka"), label("tiny/03_background", "fig-cka")
        ('fig-cka', 'tiny-fig-cka')
    """
    folder = place.partition("/")[0]
    return name if folder == "notebooks" else f"{folder}-{name}"


def read(file: Path) -> NotebookNode:
    """Read an executed notebook.

    Raises:
        ValueError: It is not one. The message begins with the file.
    """
    try:
        text = file.read_text()
        nbformat.validate(json.loads(text))
        return nbformat.reads(text, as_version=4)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, nbformat.ValidationError) as error:
        raise ValueError(f"{file}: It cannot be read as a notebook. {str(error).splitlines()[0]}") from None


def problems(notebook: NotebookNode) -> list[str]:
    """List why an executed notebook must not be published: papermill itself leaves failed ones in place.

    Args:
        notebook: A notebook that papermill has written.

    Returns:
        One sentence for each problem, none for a good notebook.

    Example:
        >>> problems(nbformat.v4.new_notebook())
        ['It was not run by papermill.']
    """
    run = notebook.metadata.get("papermill")
    if run is None:
        return ["It was not run by papermill."]
    found = []
    # Papermill writes the duration last. It leaves the exception empty, not False, where there was none.
    if run.get("exception") or run.get("duration") is None:
        found.append("Papermill did not run it to its end.")
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                found.append(f"Cell {number} failed: {output.ename}: {output.evalue}")
            elif "Traceback (most recent call last)" in output.get("text", ""):
                found.append(f"Cell {number} printed a traceback.")
    return found


def title(notebook: NotebookNode) -> str:
    """Read a notebook's first heading.

    Raises:
        ValueError: It has none.
    """
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (match := re.search(r"^# +(.+)$", cell.source, re.MULTILINE)):
            return match[1].strip()
    raise ValueError("The notebook has no heading. Begin its first cell with '# '.")


def parameters(notebook: NotebookNode) -> dict[str, Any]:
    """Read what the set-up line of an executed notebook says of the run; empty where it has none."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if RUN_MIME in output.get("data", {}):
                return output.data[RUN_MIME]
    return {}


def claims(notebook: NotebookNode) -> list[dict[str, Any]]:
    """Read the claims that an executed notebook recorded, as `seelike.claims` writes them."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.data[CLAIM_MIME] for output in outputs if CLAIM_MIME in output.get("data", {})]


def figures(notebook: NotebookNode) -> set[str]:
    """Collect the names of the figures that an executed notebook really drew."""
    return {
        cell.metadata["mystnb"]["figure"]["name"]
        for cell in notebook.cells
        if "name" in cell.metadata.get("mystnb", {}).get("figure", {})
        and any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
    }


def drop_progress(notebook: NotebookNode) -> None:
    """Take progress bars out of an executed notebook, with the states of their widgets."""
    states = notebook.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            progress = [output for output in cell.outputs if _is_progress(output, states)]
            cell.outputs = [output for output in cell.outputs if output not in progress]
            for output in progress:
                _forget(output.data[VIEW]["model_id"], states)


def _is_progress(output: NotebookNode, states: Mapping[str, Any]) -> bool:
    """Tell a progress bar from other widgets: it has a use while the notebook runs, and none on a page."""
    model = states.get(output.get("data", {}).get(VIEW, {}).get("model_id"), {})
    children = [child.removeprefix("IPY_MODEL_") for child in model.get("state", {}).get("children", [])]
    return any(states.get(child, {}).get("model_name") == "FloatProgressModel" for child in children)


def _forget(model: str, states: dict[str, Any]) -> None:
    """Take a widget's state out, and those of all that it is made of."""
    for value in states.pop(model, {}).get("state", {}).values():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, str) and part.startswith("IPY_MODEL_"):
                _forget(part.removeprefix("IPY_MODEL_"), states)
