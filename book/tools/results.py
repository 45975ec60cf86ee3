"""Keep executed notebooks of larger networks in the repository: results/PROFILE/NOTEBOOK.ipynb.

    python book/tools/results.py make notebooks/03_background.ipynb -p profile colab
    python book/tools/results.py take build/executed/colab/03_background.ipynb
    python book/tools/results.py stale
    python book/tools/results.py prose

`make` runs a notebook where its result is missing, is of other parameters or of older code, and takes it. `take`
makes a result of a notebook that run_notebook.py has run: without progress bars, and with smaller pictures.
`stale` lists the results whose code has changed since, and what changed; it ends with 1 where there are any. It
also names those that have other words than today's notebook.
`prose` gives each result of unchanged code the words of today's notebook, and the front page the picture of its
result; nothing is run. `make` and `take` give them to the one result that they are about.

GitHub, nbviewer and Colab show a result as it is. With `-p weights random` it is a control, and goes to
results/PROFILE/untrained.
"""

import argparse
import base64
import hashlib
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import executed
import fingerprint
import nbformat
import numpy as np
import run_notebook
from nbformat import NotebookNode
from PIL import Image

from seelike import verdicts
from seelike.claims import CLAIMS, OF_THE_VERDICT
from seelike.errors import unknown_name
from seelike.profiles import NAMES

RESULTS = Path("results")
EXECUTED = Path("build/executed")
NOTEBOOKS = Path("notebooks")
# Run anew on every machine, and so not kept.
NOT_KEPT = "tiny"
# The first picture that a reader meets, and the result that it is of.
FRONT_RESULT, FRONT_FIGURE = "pretrained/04_representation_structure.ipynb", "fig-within"
FRONT_PICTURE = Path("book/_static/figure_1.png")
# It looks back at the results of all other notebooks.
LAST = "09_discussion"
# All results of a profile together, in bytes: a clone has them all.
LARGEST = 15_000_000

# Wider pictures are made this wide. Those a little wider would only get larger files, of blurred lines.
_WIDTH, _WIDER = 1000, 1100
# A palette is taken where no pixel is further off than this, of 255, and the root mean square is within that.
_FURTHEST, _MEAN = 24, 1.5
# Of the 256 colours of a palette, so many are, before k-means, those that the picture has most of. With none files
# are smaller, and with half of them maps are truer.
_MOST_USED = (0, 128)
# Of k-means: without it pale areas can change their hue.
_ROUNDS = 6
_AT_A_TIME = 10_000
_IN_HTML = re.compile(r"(?<=data:image/png;base64,)[A-Za-z0-9+/]+=*")
_ABOUT = {"notebook", "commit", "code", "seconds"}
_PICTURES = {"image/png", "application/vnd.jupyter.widget-view+json"}
# What of a code cell's metadata papermill and the kernel write.
_OF_THE_RUN = ("papermill", "execution")


def place_of(name: str, parameters: Mapping[str, Any], results: Path = RESULTS) -> Path:
    """Tell where the result of a notebook is kept.

    Args:
        name: The notebook's name.
        parameters: What it was run with.
        results: The folder of all results.

    Raises:
        UnknownName: There is no such profile.
        ValueError: The profile's results are not kept.

    Example:
        >>> place_of("03_background", {"profile": "colab"}).as_posix()
        'results/colab/03_background.ipynb'
        >>> place_of("03_background", {"profile": "colab", "weights": "random"}).as_posix()
        'results/colab/untrained/03_background.ipynb'
    """
    profile = str(parameters.get("profile", NOT_KEPT))
    if profile not in NAMES:
        raise unknown_name("profile", profile, NAMES)
    if profile == NOT_KEPT:
        kept = ", ".join(name for name in NAMES if name != NOT_KEPT)
        raise ValueError(
            f"Results of the profile {NOT_KEPT} are not kept: make book runs it anew. Those of {kept} are."
        )
    folder = results / profile
    return (folder / executed.UNTRAINED if parameters.get("weights") == "random" else folder) / f"{name}.ipynb"


def kept(results: Path = RESULTS, profile: str = "*") -> list[Path]:
    """List all results, those with random weights too; of one profile, where it is named."""
    found = [*results.glob(f"{profile}/*.ipynb"), *results.glob(f"{profile}/{executed.UNTRAINED}/*.ipynb")]
    return sorted(found)


def complaints(notebook: NotebookNode, place: Path) -> list[str]:
    """List why a notebook must not be kept as a result.

    Args:
        notebook: An executed notebook.
        place: Where it is kept, or shall be.

    Returns:
        One sentence for each reason, none for a good result.
    """
    found = executed.problems(notebook)
    about, run = notebook.metadata.get("seelike"), executed.parameters(notebook)
    if not isinstance(about, dict) or not about.keys() >= _ABOUT or not isinstance(about["code"], dict):
        return [*found, "It does not say which code it ran: it was not run by make results or run_notebook.py."]
    if about["notebook"] != place.stem:
        found.append(f"It is a run of {about['notebook']}, not of {place.stem}.")
    if not run:
        return [*found, "It has no record of its run: seelike.start was not called in it."]
    given = {**notebook.metadata.get("papermill", {}).get("parameters", {}), "profile": run["profile"]}
    if run["profile"] not in NAMES or run["profile"] == NOT_KEPT:
        found.append(f"It ran at the profile {run['profile']}, whose results are not kept.")
    elif (right := place_of(place.stem, given, Path())).parts != place.parts[-len(right.parts) :]:
        found.append(f"It ran at {right.parent}, and this is the folder {place.parent}.")
    return found


def read(place: Path) -> NotebookNode:
    """Read a result.

    Raises:
        ValueError: It is damaged, did not run to its end, or is a run of something else. The message names it.
    """
    notebook = executed.read(place)
    if found := complaints(notebook, place):
        raise ValueError("\n".join(f"{place}: {text}" for text in found))
    return notebook


def stale(notebook: NotebookNode, place: Path, library: Path = fingerprint.LIBRARY) -> list[str]:
    """Name what has changed since a result was made.

    Beside the code these count: what the profile gives to the page, the texts of the claims that it recorded, and
    the weights of the tiny networks that it used. All others come from elsewhere; the result names their hashes.
    For the discussion the claims of all other pages count, of which it keeps a hash.

    Args:
        notebook: The result.
        place: Where it is kept.
        library: The folder that holds the library.

    Returns:
        The notebook, modules and files that changed; none where a run now would be one of the same code.
    """
    run, source = executed.parameters(notebook), NOTEBOOKS / f"{place.stem}.ipynb"
    if not source.exists():
        return [f"{source} (it is gone)"]
    now = fingerprint.of_notebook(
        nbformat.read(source, as_version=4), place.stem, str(run.get("profile", NOT_KEPT)), library
    )
    found = fingerprint.changed(notebook.metadata.seelike["code"], now)
    if any(_is_another_claim(record["claim"]) for record in executed.claims(notebook)):
        found.append("claims.toml")
    for name, weights in run.get("weights", {}).items():
        if name.startswith("tiny/") and _sha256(library / weights["file"]) != weights["sha256"]:
            found.append(f"the weights of {name}")
    if place.stem == LAST and notebook.metadata.seelike.get("gathered") != verdicts.digest(place.parent):
        found.append("the results of other pages")
    return found


def _is_another_claim(recorded: Mapping[str, Any]) -> bool:
    """Tell whether a claim says other things today. Its margin does not count: the book judges anew."""
    if recorded["id"] not in CLAIMS:
        return True
    today = asdict(CLAIMS[recorded["id"]])
    return any(recorded.get(name) != today[name] for name in today.keys() - set(OF_THE_VERDICT))


def reasons(place: Path, parameters: Mapping[str, Any], library: Path = fingerprint.LIBRARY) -> list[str]:
    """Say why a notebook has to be run to have its result.

    Args:
        place: Where the result is kept, or where an executed notebook is that may become it.
        parameters: What it shall be run with.
        library: The folder that holds the library.

    Returns:
        The reasons; none where it is there.

    Raises:
        ValueError: It is damaged, did not run to its end, or is a run of something else.
    """
    if not place.exists():
        return ["there is no result"]
    notebook = read(place)
    before = notebook.metadata.papermill["parameters"]
    if other := [name for name in sorted({*before, *parameters}) if before.get(name) != parameters.get(name)]:
        return [f"it ran with other parameters: {', '.join(f'{name}={before.get(name)!r}' for name in other)}"]
    return [f"changed since: {', '.join(found)}"] if (found := stale(notebook, place, library)) else []


def wanted(places: Iterable[tuple[Path, Mapping[str, Any]]]) -> list[Path]:
    """Choose the results that have to be made; that of the discussion with any other of its profile.

    Args:
        places: Where each result is kept, and the parameters of its notebook.

    Raises:
        ValueError: One that is there is damaged, did not run to its end, or is a run of something else.
    """
    found = {place: bool(reasons(place, parameters)) for place, parameters in places}
    return [place for place in found if found[place] or (place.stem == LAST and any(found.values()))]


def take(source: Path, results: Path = RESULTS) -> Path:
    """Make a result of an executed notebook.

    Args:
        source: The notebook as run_notebook.py left it.
        results: The folder of all results.

    Returns:
        Where the result is. The same run gives the same bytes.

    Raises:
        ValueError: It did not run to its end, or not by run_notebook.py, or its profile is none whose results are
            kept.
    """
    notebook = executed.read(source)
    profile = executed.parameters(notebook).get("profile", NOT_KEPT)
    given = {**notebook.metadata.get("papermill", {}).get("parameters", {}), "profile": profile}
    place = place_of(source.stem, given, results)
    if found := complaints(notebook, place):
        raise ValueError("\n".join(f"{source}: {text}" for text in found))
    executed.drop_progress(notebook)
    if place.parent.name == executed.UNTRAINED:
        _drop_pictures(notebook)
    _use_smaller_pictures(notebook)
    for weights in executed.parameters(notebook).get("weights", {}).values():
        # Where a file was on the machine that read it tells nothing to others. Its hash does.
        if Path(weights["file"]).is_absolute():
            weights["file"] = Path(weights["file"]).name
    place.parent.mkdir(parents=True, exist_ok=True)
    _write(notebook, place)
    return place


def smaller(png: bytes) -> bytes:
    """Write a picture anew in fewer bytes: at most 1,000 pixels wide, and with 256 colours where these will do.

    Args:
        png: A PNG file.

    Returns:
        Another one, or the same where none is smaller.
    """
    with Image.open(BytesIO(png)) as opened:
        picture = opened.convert("RGBA")
    fits = picture.width <= _WIDER
    if not fits:
        height = round(picture.height * _WIDTH / picture.width)
        picture = picture.resize((_WIDTH, height), Image.Resampling.LANCZOS)
    is_solid = picture.getextrema()[3] == (255, 255)
    found = [png] if fits else []
    found.append(_png(picture.convert("RGB") if is_solid else picture))
    palettes = (_with_palette(picture, number) for number in _MOST_USED)
    found += [_png(with_palette) for with_palette in palettes if _is_alike(with_palette, picture)]
    return min(found, key=len)


def _with_palette(picture: Image.Image, most_used: int) -> Image.Image:
    """Give a picture, with its transparency, 256 colours that look like its own on a white and on a black page."""
    pixels = np.ascontiguousarray(picture).view(np.uint32).ravel()
    unique, which, counts = np.unique(pixels, return_inverse=True, return_counts=True)
    of_all = _on_white_and_black(unique.view(np.uint8).reshape(-1, 4))
    octree = picture.quantize(256 - most_used, method=Image.Quantize.FASTOCTREE).getpalette("RGBA")
    most = np.argsort(-counts, kind="stable")[:most_used]
    chosen = np.vstack([of_all[most], _on_white_and_black(np.reshape(octree, (-1, 4)))])
    for _ in range(_ROUNDS):
        nearest = _nearest(of_all, chosen)
        weights = np.bincount(nearest, counts, len(chosen))
        for number, column in enumerate(of_all.T):
            sums = np.bincount(nearest, counts * column, len(chosen))
            chosen[:, number] = np.where(weights > 0, sums / np.maximum(weights, 1), chosen[:, number])
    found = Image.fromarray(_nearest(of_all, chosen)[which].astype(np.uint8).reshape(picture.size[::-1]), "P")
    found.putpalette(_rgba(chosen).tobytes(), "RGBA")
    return found


def _on_white_and_black(colours: np.ndarray) -> np.ndarray:
    """What colours with transparency look like on pages of both colours, `[colours, 6]`."""
    alpha = colours[:, 3:].astype(np.float32)
    on_black = colours[:, :3] * alpha / 255
    return np.hstack([on_black + 255 - alpha, on_black])


def _rgba(looks: np.ndarray) -> np.ndarray:
    """The colours that look so: the other way round."""
    on_white, on_black = looks[:, :3], looks[:, 3:]
    alpha = 255 - (on_white - on_black).mean(axis=1, keepdims=True)
    colours = np.where(alpha > 0, on_black * 255 / np.maximum(alpha, 1), 0)
    return np.hstack([colours, alpha]).clip(0, 255).round().astype(np.uint8)


def _nearest(colours: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Which of the chosen colours each is nearest to; some at a time, for there may be a hundred thousand."""
    half = (chosen**2).sum(axis=1) / 2
    parts = np.array_split(colours, -(-len(colours) // _AT_A_TIME))
    return np.concatenate([np.argmin(half - part @ chosen.T, axis=1) for part in parts])


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "png", optimize=True)
    return file.getvalue()


def _is_alike(one: Image.Image, other: Image.Image) -> bool:
    looks = (_on_white_and_black(np.reshape(each.convert("RGBA"), (-1, 4))) for each in (one, other))
    apart = np.subtract(*looks)
    return bool(np.abs(apart).max() <= _FURTHEST and np.sqrt(np.square(apart).mean()) <= _MEAN)


def _use_smaller_pictures(notebook: NotebookNode) -> None:
    """Make all pictures smaller: those that cells show, and those within HTML, as the sliders have them."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = _smaller_text(data["image/png"])
            if "text/html" in data:
                data["text/html"] = _IN_HTML.sub(lambda match: _smaller_text(match[0]), data["text/html"])
    for widget in notebook.metadata.get("widgets", {}).get(executed.WIDGETS, {}).get("state", {}).values():
        for name, value in widget["state"].items():
            if isinstance(value, str):
                widget["state"][name] = _IN_HTML.sub(lambda match: _smaller_text(match[0]), value)


def _drop_pictures(notebook: NotebookNode) -> None:
    """Leave a control its claims and texts: it is no page, and its pictures would double the results."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _PICTURES & set(output.get("data", {}))]


def _smaller_text(encoded: str) -> str:
    return base64.b64encode(smaller(base64.b64decode(encoded))).decode()


def with_prose(notebook: NotebookNode, name: str) -> NotebookNode:
    """Give a result the words of today's notebook: text, captions, comments, and the layout of its code.

    Args:
        notebook: The result.
        name: The name of its notebook.

    Returns:
        A new notebook with the outputs of the result, and with what has to be known of all results of its profile,
        results/PROFILE/note.md, below its heading; the result itself where today's notebook is gone, or other code
        than ran.
    """
    source = NOTEBOOKS / f"{name}.ipynb"
    if not source.exists():
        return notebook
    today = nbformat.read(source, as_version=4)
    entry = f"notebooks/{name}.ipynb"
    profile = str(executed.parameters(notebook).get("profile", NOT_KEPT))
    if fingerprint.of_notebook(today, name, profile)[entry] != notebook.metadata.seelike["code"].get(entry):
        return notebook
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    added = [cell for cell in ran if fingerprint.INJECTED in cell.metadata.get("tags", [])]
    # In pairs by their order: those whose code is the same and, apart from them, the set-up, which may be another.
    own = [cell for cell in ran if fingerprint.is_own_code(cell)]
    set_up = [cell for cell in ran if cell not in own and cell not in added]
    if len(own) != sum(map(fingerprint.is_own_code, today.cells)):
        return notebook
    cells, rest = [], {True: iter(own), False: iter(set_up)}
    note = RESULTS / profile / "note.md"
    for cell in today.cells:
        cells.append(cell)
        if cell is today.cells[0] and note.exists():
            cells.append(nbformat.v4.new_markdown_cell(note.read_text().strip(), id="note"))
        before = next(rest[fingerprint.is_own_code(cell)], None) if cell.cell_type == "code" else None
        if before is not None:
            cell.outputs, cell.execution_count = before.outputs, before.execution_count
            cell.metadata |= {key: value for key, value in before.metadata.items() if key in _OF_THE_RUN}
        if "parameters" in cell.metadata.get("tags", []):
            cells += added
    return NotebookNode({**notebook, "cells": cells})


def _write(notebook: NotebookNode, place: Path) -> None:
    part = place.with_name(f".{place.name}.part")
    part.write_text(nbformat.writes(notebook) + "\n")
    part.replace(place)


def _sha256(file: Path) -> str | None:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None


def make(notebook: Path, parameters: dict[str, Any]) -> int:
    """Run a notebook where its result is not there, and take it. What has run before, and fits, is only taken.

    In either case the result has the words of today's notebook.

    Args:
        notebook: The notebook.
        parameters: Values for its parameters, the profile among them.

    Returns:
        An exit status, 0 where the result is there.

    Raises:
        UnknownName: There is no such profile.
        ValueError: The result that is there is damaged, or the new one cannot be one.
    """
    place = place_of(notebook.stem, parameters, RESULTS)
    why = reasons(place, parameters)
    if not why:
        bring_prose(place)
        return 0
    output = EXECUTED / place.relative_to(RESULTS)
    if not _is_ready(output, parameters):
        print(f"{place}: {why[0]}.", flush=True)
        if notebook.stem == LAST:
            _bring_others(place, output)
        if status := run_notebook.attempt(notebook, output, parameters):
            return status
    bring_prose(take(output), quiet=True)
    together = sum(path.stat().st_size for path in kept(RESULTS, parameters["profile"]))
    print(
        f"Taken into {place}: {_megabytes(place.stat().st_size)}. All of {parameters['profile']}: "
        f"{_megabytes(together)} of at most {_megabytes(LARGEST)}."
    )
    return 0


def _is_ready(output: Path, parameters: Mapping[str, Any]) -> bool:
    """Tell whether a notebook has run that can be taken as it is: who was stopped before taking it goes on."""
    try:
        return not reasons(output, parameters)
    except ValueError:
        return False


def _bring_others(place: Path, output: Path) -> None:
    """Put the results of a profile where the discussion reads executed notebooks, and leave no others there.

    Some results were run elsewhere, and what is no result has no part in the verdicts that the book shows.
    """
    for folder in (".", executed.UNTRAINED):
        of_results, of_executed = place.parent / folder, output.parent / folder
        of_executed.mkdir(parents=True, exist_ok=True)
        for other in of_executed.glob("*.ipynb"):
            other.unlink()
        for other in of_results.glob("*.ipynb"):
            if other != place:
                shutil.copy(other, of_executed)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _list_stale() -> int:
    found = {place: stale(read(place), place) for place in kept(RESULTS)}
    for place, parts in found.items():
        if parts:
            print(f"{place}: changed since: {', '.join(parts)}")
    number = sum(map(bool, found.values()))
    print(f"{number} of {len(found)} results are stale." if found else "There are no results.")
    for place in other_prose():
        print(f"{place}: has other words than today's notebook. No run is needed: book/tools/results.py prose")
    return int(number > 0)


def other_prose() -> list[Path]:
    """List the results that have other words than today's notebooks, though their code is the same."""
    found = {place: read(place) for place in kept(RESULTS)}
    return [place for place in found if with_prose(found[place], place.stem) != found[place]]


def bring_prose(place: Path, quiet: bool = False) -> None:
    """Give one result the words of today's notebook; what has them already is not written.

    Args:
        place: Where the result is kept.
        quiet: Say nothing of it.
    """
    notebook = read(place)
    if (renewed := with_prose(notebook, place.stem)) != notebook:
        _write(renewed, place)
        if not quiet:
            print(f"{place} has the words of today's notebook.")


def front_picture() -> bytes | None:
    """Give the picture of the front page and of the README, a figure of real networks; None without its result."""
    place = RESULTS / FRONT_RESULT
    if not place.exists():
        return None
    for cell in read(place).cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == FRONT_FIGURE:
            return next(
                base64.b64decode(output.data["image/png"]) for output in cell.outputs if "image/png" in output.data
            )
    raise ValueError(f"{place} has no figure {FRONT_FIGURE!r}, which is to be the front page's.")


def _bring_prose() -> int:
    for place in kept(RESULTS):
        bring_prose(place)
    picture = front_picture()
    if picture is not None and picture != FRONT_PICTURE.read_bytes():
        FRONT_PICTURE.write_bytes(picture)
        print(f"{FRONT_PICTURE} is that of {FRONT_RESULT}.")
    return 0


def main() -> int:
    """Make or take a result, list those that are stale, or renew their words, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="run a notebook where its result is not there, and take it")
    making.add_argument("notebook", type=Path)
    run_notebook.add_parameters(making)
    taking = commands.add_parser("take", help="make results of executed notebooks")
    taking.add_argument("executed", type=Path, nargs="+", metavar="NOTEBOOK")
    commands.add_parser("stale", help="list the results whose code has changed since")
    commands.add_parser("prose", help="give results of unchanged code the words of today's notebooks")
    arguments = parser.parse_args()
    try:
        if arguments.command == "make":
            values = {name: run_notebook.parse_value(value) for name, value in arguments.parameter}
            return make(arguments.notebook, values)
        if arguments.command == "stale":
            return _list_stale()
        if arguments.command == "prose":
            return _bring_prose()
        for path in arguments.executed:
            place = take(path)
            bring_prose(place, quiet=True)
            print(f"{path} is taken into {place}: {_megabytes(place.stat().st_size)}.")
    except ValueError as error:
        print(f"{arguments.command} failed.\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
