"""Lay out build/book, the folder from which Jupyter Book renders: pages, and notebooks as papermill left them.

    python book/tools/stage.py build/executed/tiny/*.ipynb results/*/*.ipynb

A notebook keeps the path that it has in the repository: the links to Colab are made of that path. Where it ran at
several profiles, the run of the largest networks has that path, and each other one is a page below it, such as
tiny/03_background.
"""

import argparse
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import citations
import executed
import explorers
import folding
import judging
import measured_costs
import nbformat
import photographs
import results
import scoreboard
import yaml
from executed import Page
from nbformat import NotebookNode

from seelike.claims import CLAIM_MIME
from seelike.data.photographs import sources as photographs_to_show

STAGING = Path("build/book")
BIBLIOGRAPHY = Path("book/references.bib")
# A link from a notebook to another one, with its place there.
_LINK = re.compile(r"(?<=\]\()([\w-]+)\.ipynb(?=[)#])")
# The name of a figure in a role or in a link.
_NAME = re.compile(r"(?<=[`#])([\w-]+)(?=[`)])")
_HEADING = re.compile(r"^# +.+$", re.MULTILINE)
_NAMED = 6

# What a run at each profile has, and what it is for.
KINDS = {
    "tiny": (
        "tiny networks",
        "small ones of this repository, on garments, for tests and for what no public one has",
    ),
    "pretrained": ("pretrained networks", "public ones, on photographs, as far as two CPU cores go"),
    "colab": ("networks of one GPU", "public ones, on photographs, as far as 16 GB go"),
    "paper": ("networks of the paper's size", "the largest public ones, on photographs, at the paper's amounts"),
}


def last_run(notebook: NotebookNode) -> str:
    """Write the end of a page: when, how long, at which profile, on what, with which code and versions it ran."""
    run, papermill = executed.parameters(notebook), notebook.metadata.papermill
    date = datetime.fromisoformat(papermill.end_time).strftime("%Y-%m-%d")
    parts = [date, f"{papermill.duration:,.0f} seconds"]
    if peak := notebook.metadata.get("seelike", {}).get("peak_memory_mb"):
        parts.append(f"at most {peak / 1000:.1f} GB of memory")
    if run:
        device = f"{run['device']} ({run['gpu']})" if run.get("gpu") else run["device"]
        parts += [f"profile `{run['profile']}`", f"on {device}", *_shown(run)]
        parts.append(", ".join(f"{name} {version}" for name, version in run["versions"].items()))
    if commit := notebook.metadata.get("seelike", {}).get("commit"):
        parts.append(f"code of commit `{commit[:12]}`{' with changes' if commit.endswith('+') else ''}")
    return f":::{{admonition}} Last run\n:class: seelike-last-run\n{'; '.join(parts)}.\n:::"


def _shown(run: Mapping[str, Any]) -> list[str]:
    """Name the images and the weights of a run; nothing where it had no networks."""
    if not run.get("models"):
        return []
    found = [f"{run['number_of_images']:,} images of `{run['images']}` in each of {run['repeats']} repeats"]
    if listed := run.get("images_sha256"):
        found[0] += f" (sha256 of their list `{listed[:12]}`)"
    weights = [
        f"`{name}` ({f'at `{revision[:12]}`, ' if (revision := source.get('revision')) else ''}"
        f"sha256 `{source['sha256'][:12]}`)"
        for name, source in run.get("weights", {}).items()
        if not name.startswith("tiny/")
    ]
    if any(name.startswith("tiny/") for name in run["models"]):
        weights.append("those of this repository for tiny networks")
    return [*found, f"weights {', '.join(weights)}"] if weights else found


def prepare(notebook: NotebookNode, keys: Mapping[str, str]) -> NotebookNode:
    """Make the page of an executed notebook: with citations and its last run, code folded, without progress bars.

    Args:
        notebook: A notebook that papermill has run; it is changed in place.
        keys: Citation keys by address.

    Returns:
        The same notebook.

    Raises:
        ValueError: A paper is cited that has no entry in the bibliography.
    """
    end = nbformat.v4.new_markdown_cell(last_run(notebook), id="last-run")
    executed.drop_progress(notebook)
    folding.fold_set_up(notebook)
    folding.fold_sources(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = citations.cite(cell.source, dict(keys))
        elif cell.cell_type == "code":
            for output in cell.outputs:
                # Read by now, and unknown to Sphinx, which would warn.
                for mime in (executed.RUN_MIME, CLAIM_MIME):
                    output.get("data", {}).pop(mime, None)
            # The values are in the line that the set-up shows, and the cell has no heading of its own.
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.metadata.tags.append("remove-cell")
    folding.join_code(notebook)
    folding.fold_code(notebook)
    notebook.cells.append(end)
    return notebook


def tell_apart(notebook: NotebookNode, page: Page, pages: Sequence[Page]) -> None:
    """Make a page of one of several runs of a notebook: it leads to the others, and shares no name with them.

    Args:
        notebook: The page's notebook; it is changed in place.
        page: The page.
        pages: All pages of the book.
    """
    others = [other for other in pages if other.name == page.name and other is not page]
    if others:
        links = [
            f"The same page with [{KINDS[other.profile][0]}](../{other.place}.ipynb): {KINDS[other.profile][1]}."
            for other in others
        ]
        kind, purpose = KINDS[page.profile]
        line = f"**{kind.capitalize()}**: {purpose}. {' '.join(links)}"
        _put_below_heading(notebook, f":::{{container}} seelike-other-run\n{line}\n:::")
    if page.is_first:
        return
    _replace_in_heading(notebook, lambda heading: f"{heading} ({KINDS[page.profile][0]})")
    places = {other.place for other in pages}
    own = {cell.metadata["mystnb"]["figure"]["name"] for cell in notebook.cells if _figure(cell).get("name")}

    def label(match: re.Match[str]) -> str:
        return executed.label(page.place, match[1]) if match[1] in own else match[1]

    def link(match: re.Match[str]) -> str:
        return match[0] if f"{page.profile}/{match[1]}" in places else f"../notebooks/{match[0]}"

    for cell in notebook.cells:
        if name := _figure(cell).get("name"):
            cell.metadata["mystnb"]["figure"]["name"] = executed.label(page.place, name)
        if cell.cell_type == "markdown":
            cell.source = _NAME.sub(label, _LINK.sub(link, cell.source))


def _figure(cell: NotebookNode) -> dict[str, Any]:
    found: dict[str, Any] = cell.metadata.get("mystnb", {}).get("figure", {})
    return found


def warn_of_age(notebook: NotebookNode, parts: Sequence[str]) -> None:
    """Say at the top of a page what of its code changed since it ran; nothing where there is no such thing."""
    if not parts:
        return
    named = ", ".join(f"`{part}`" for part in parts[:_NAMED])
    more = f" and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
    _put_below_heading(
        notebook,
        ":::{warning}\nThis page is older than the code. It ran before changes in "
        f"{named}{more}; a run now might give other numbers.\n:::",
    )


def _put_below_heading(notebook: NotebookNode, text: str) -> None:
    _replace_in_heading(notebook, lambda heading: f"{heading}\n\n{text}")


def _replace_in_heading(notebook: NotebookNode, change: Callable[[str], str]) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and _HEADING.search(cell.source):
            cell.source = _HEADING.sub(lambda match: change(match[0].rstrip()), cell.source, count=1)
            return


def contents(toc: str, pages: Iterable[Page]) -> str:
    """Write the table of contents: below each notebook its other pages.

    Args:
        toc: That of the repository, in the format of Jupyter Book.
        pages: The pages of notebooks, which it lists.
    """
    tree = yaml.safe_load(toc)
    chapters = {chapter["file"]: chapter for part in tree["parts"] for chapter in part["chapters"]}
    for page in pages:
        if not page.is_first:
            chapters[f"notebooks/{page.name}"].setdefault("sections", []).append({"file": page.place})
    return yaml.safe_dump(tree, sort_keys=False)


def stage(files: Iterable[Path]) -> dict[Path, bytes]:
    """Compose all files of the staging folder.

    Args:
        files: Notebooks that papermill has run, and results. Those with random weights become no pages.

    Returns:
        The content of each file, by its path in the staging folder.

    Raises:
        ValueError: A notebook failed, is not what its place says, has no place in _toc.yml, or cites what is not
            in the bibliography.
    """
    files = list(files)
    keys = citations.keys_by_url(BIBLIOGRAPHY)
    sources = [Path("_config.yml"), Path("CONTRIBUTING.md"), Path("results/README.md"), *Path("book").glob("*.*")]
    sources += [Path("book/tools", name) for name in ("sphinx_extension.py", "card.py", "layout.html")]
    sources += [path for path in Path("benchmarks/results").iterdir() if path.suffix in (".md", ".png")]
    content = {path: path.read_bytes() for path in sources}
    content |= {path.relative_to("book"): path.read_bytes() for path in Path("book/_static").iterdir()}

    content |= explorers.scripts()
    shown = photographs_to_show()
    content[Path("book/photographs_table.txt")] = photographs.table(shown).encode()
    content |= {Path("book", photographs.FOLDER, each.file.name): each.file.read_bytes() for each in shown}

    toc = Path("_toc.yml").read_text()
    notebooks = _read(files, toc)
    pages = executed.layout(files)
    content[Path("_toc.yml")] = contents(toc, pages).encode()
    controls = {
        (path.parent.parent.name, path.stem): notebooks[path]
        for path in files
        if path.parent.name == executed.UNTRAINED
    }
    old = {file: results.stale(notebook, file) for file, notebook in notebooks.items() if _is_result(file)}
    for profile in {page.profile for page in pages}:
        of_profile = [notebooks[page.file] for page in pages if page.profile == profile]
        judging.judge(of_profile, [control for (place, _), control in controls.items() if place == profile])
    scores, titles, drawn, measured = [], {}, set(), []
    for page in pages:
        notebook = notebooks[page.file]
        if page.is_first:
            titles[page.name] = executed.title(notebook)
        drawn |= {executed.label(page.place, name) for name in executed.figures(notebook)}
        profile = executed.parameters(notebook).get("profile", "")
        control = controls.get((page.profile, page.name))
        scores += scoreboard.rows(page.name, notebook, profile, page=page.place, untrained=control)
        if _is_result(page.file):
            measured.append(measured_costs.Cost.of(page, notebook))
        prepare(notebook, keys)
        warn_of_age(notebook, old.get(page.file, []))
        tell_apart(notebook, page, pages)
        if sum(other.name == page.name for other in pages) > 1:
            folding.fold_other_networks(notebook, page.profile)
        content |= explorers.take_out(notebook, page.place)
        content[Path(f"{page.place}.ipynb")] = nbformat.writes(notebook).encode()

    content[Path("book/costs_measured.txt")] = measured_costs.tables(measured, titles).encode()
    content[Path("book/scoreboard.md")] = scoreboard.page(scores, titles, drawn).encode()
    content[Path("book/scoreboard_summary.txt")] = scoreboard.outcome(scores, titles).encode()
    content[Path("_static/scoreboard.csv")] = scoreboard.as_csv(scores).encode()
    content[Path("_static/scoreboard.json")] = scoreboard.as_json(scores).encode()
    return content


def _is_result(file: Path) -> bool:
    return results.RESULTS in file.parents


def _read(files: Iterable[Path], toc: str) -> dict[Path, NotebookNode]:
    """Read all notebooks, and name all that must not be published."""
    notebooks, complaints = {}, []
    for file in files:
        try:
            # Words that changed since a result was made are today's.
            notebooks[file] = (
                results.with_prose(results.read(file), file.stem) if _is_result(file) else executed.read(file)
            )
        except ValueError as error:
            complaints.append(str(error))
        else:
            complaints += [f"{file}: {problem}" for problem in executed.problems(notebooks[file])]
        if f"notebooks/{file.stem}\n" not in toc:
            complaints.append(f"{file}: _toc.yml does not list notebooks/{file.stem}.")
    if complaints:
        raise ValueError("\n".join(complaints))
    return notebooks


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
