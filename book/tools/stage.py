"""Lay out build/book, the folder from which Jupyter Book renders: pages, and notebooks as papermill left them.

    python book/tools/stage.py build/executed/tiny/*.ipynb

A notebook keeps the path that it has in the repository: the links to Colab are made of that path.
"""

import argparse
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import citations
import nbformat
import photographs
import scoreboard
from nbformat import NotebookNode

from seelike.claims import CLAIM_MIME
from seelike.data.photographs import sources as photographs_to_show

STAGING = Path("build/book")
BIBLIOGRAPHY = Path("book/references.bib")
# What seelike.start leaves in a notebook. Not imported: that would load all of torch to read one name.
RUN_MIME = "application/vnd.seelike.run+json"
WIDGETS = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"


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


def figures(notebook: NotebookNode) -> set[str]:
    """Collect the names of the figures that an executed notebook really drew."""
    return {
        cell.metadata["mystnb"]["figure"]["name"]
        for cell in notebook.cells
        if "name" in cell.metadata.get("mystnb", {}).get("figure", {})
        and any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
    }


def last_run(notebook: NotebookNode) -> str:
    """Write the end of a page: when, how long, at which profile, on what and with which versions it ran."""
    run, papermill = parameters(notebook), notebook.metadata.papermill
    date = datetime.fromisoformat(papermill.end_time).strftime("%Y-%m-%d")
    parts = [date, f"{papermill.duration:.0f} seconds"]
    if run:
        device = f"{run['device']} ({run['gpu']})" if run.get("gpu") else run["device"]
        versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
        parts += [f"profile `{run['profile']}`", f"on {device}", versions]
    return f":::{{admonition}} Last run\n:class: seelike-last-run\n{'; '.join(parts)}.\n:::"


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


def prepare(notebook: NotebookNode, keys: Mapping[str, str]) -> NotebookNode:
    """Make the page of an executed notebook: with citations and its last run, without progress bars.

    Args:
        notebook: A notebook that papermill has run; it is changed in place.
        keys: Citation keys by address.

    Returns:
        The same notebook.

    Raises:
        ValueError: A paper is cited that has no entry in the bibliography.
    """
    end = nbformat.v4.new_markdown_cell(last_run(notebook), id="last-run")
    states = notebook.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = citations.cite(cell.source, dict(keys))
        elif cell.cell_type == "code":
            progress = [output for output in cell.outputs if _is_progress(output, states)]
            cell.outputs = [output for output in cell.outputs if output not in progress]
            for output in progress:
                _forget(output.data[VIEW]["model_id"], states)
            for output in cell.outputs:
                # Read by now, and unknown to Sphinx, which would warn.
                for mime in (RUN_MIME, CLAIM_MIME):
                    output.get("data", {}).pop(mime, None)
            # The values are in the line that the set-up shows, and the cell has no heading of its own.
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.metadata.tags.append("remove-cell")
    notebook.cells.append(end)
    return notebook


def stage(executed: Iterable[Path]) -> dict[Path, bytes]:
    """Compose all files of the staging folder.

    Args:
        executed: Notebooks that papermill has run.

    Returns:
        The content of each file, by its path in the staging folder.

    Raises:
        ValueError: A notebook failed, has no place in _toc.yml, or cites what is not in the bibliography.
    """
    keys = citations.keys_by_url(BIBLIOGRAPHY)
    contents = Path("_toc.yml").read_text()
    sources = [Path("_config.yml"), Path("_toc.yml"), Path("CONTRIBUTING.md"), *Path("book").glob("*.*")]
    sources += [Path("book/tools/sphinx_extension.py")]
    sources += [path for path in Path("benchmarks/results").iterdir() if path.suffix in (".md", ".png")]
    pages = {path: path.read_bytes() for path in sources}
    pages |= {path.relative_to("book"): path.read_bytes() for path in Path("book/_static").iterdir()}

    shown = photographs_to_show()
    pages[Path("book/photographs_table.txt")] = photographs.table(shown).encode()
    pages |= {Path("book", photographs.FOLDER, each.file.name): each.file.read_bytes() for each in shown}

    scores, titles, drawn, complaints = [], {}, set(), []
    for path in sorted(executed):
        notebook = nbformat.read(path, as_version=4)
        complaints += [f"{path}: {problem}" for problem in problems(notebook)]
        if f"notebooks/{path.stem}" not in contents:
            complaints.append(f"{path}: _toc.yml does not list notebooks/{path.stem}.")
        if complaints:
            continue
        profile = parameters(notebook).get("profile", "")
        titles[path.stem] = title(notebook)
        drawn |= figures(notebook)
        scores += scoreboard.rows(path.stem, notebook, profile)
        pages[Path("notebooks", path.name)] = nbformat.writes(prepare(notebook, keys)).encode()
    if complaints:
        raise ValueError("\n".join(complaints))

    pages[Path("book/scoreboard.md")] = scoreboard.page(scores, titles, drawn).encode()
    outcome = f"{scoreboard.summary(scores)}\n\n{scoreboard.picture(scores, titles)}\n"
    pages[Path("book/scoreboard_summary.txt")] = outcome.encode()
    pages[Path("_static/scoreboard.csv")] = scoreboard.as_csv(scores).encode()
    pages[Path("_static/scoreboard.json")] = scoreboard.as_json(scores).encode()
    return pages


def write(pages: Mapping[Path, bytes], folder: Path) -> None:
    """Write files, but leave alone those that are so already: Sphinx renders anew by time of change.

    Args:
        pages: Content by path in the folder. Any other file there is removed.
        folder: Where to write.
    """
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder) not in pages:
            path.unlink()
    for name, content in pages.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def main() -> None:
    """Stage the notebooks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("executed", type=Path, nargs="+", metavar="NOTEBOOK")
    try:
        write(stage(parser.parse_args().executed), STAGING)
    except ValueError as error:
        raise SystemExit(f"The book cannot be rendered.\n{error}") from None


if __name__ == "__main__":
    main()
