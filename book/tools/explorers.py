"""Explorers of executed notebooks: their data goes into files of its own, which a page loads when it is needed.

A notebook keeps the data of an explorer beside a still (`seelike.plots.explorers`). The page has the still, in a
place that a script finds; the script and the data lie beside the pages, in `_static/explorers`.
"""

import base64
import html
import json
from pathlib import Path

from nbformat import NotebookNode

from seelike.plots.explorers import EXPLORER_MIME, SCRIPTS

# Not in the book's own `_static`: Jupyter Book makes every page load each script that it finds there.
STATIC = Path("static")
_FOLDER = "explorers"


def scripts() -> dict[Path, bytes]:
    """Read the scripts and the style sheet, by their path in the staging folder.

    Example:
        >>> sorted(path.name for path in scripts())[:2]
        ['cka.js', 'common.js']
    """
    files = [path for path in SCRIPTS.iterdir() if path.suffix in (".js", ".css")]
    return {STATIC / _FOLDER / path.name: path.read_bytes() for path in files}


def take_out(notebook: NotebookNode, place: str) -> dict[Path, bytes]:
    """Move the data and the stills of a notebook's explorers into files; what shows them takes their place.

    Args:
        notebook: An executed notebook; it is changed in place.
        place: The address of its page in the book, such as "notebooks/04_representation_structure".

    Returns:
        The files, by their path in the staging folder.
    """
    files: dict[Path, bytes] = {}
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    for number, output in enumerate([one for one in outputs if EXPLORER_MIME in one.get("data", {})], start=1):
        bundle = output.data.pop(EXPLORER_MIME)
        name = f"{place.replace('/', '-')}-{number}"
        # As one string that is parsed: faster than the same written as a script.
        written = json.dumps(json.dumps(bundle["data"], separators=(",", ":")))
        script = f"seelikeExplorers.data[{json.dumps(name)}] = JSON.parse({written});\n"
        still = base64.b64decode("".join(output.data.pop("image/png")))
        files[STATIC / _FOLDER / f"{name}.js"] = script.encode()
        files[STATIC / _FOLDER / f"{name}.png"] = still
        output.data["text/html"] = _shown(bundle["kind"], bundle["alt"], name, place)
    return files


def _shown(kind: str, alt: str, name: str, place: str) -> str:
    folder = "../" * place.count("/") + f"_static/{_FOLDER}"
    return (
        f'<link rel="stylesheet" href="{folder}/explorers.css">'
        f'<div class="seelike-explorer" data-kind="{html.escape(kind)}" data-file="{html.escape(name)}">'
        f'<img src="{folder}/{html.escape(name)}.png" alt="{html.escape(alt)}" loading="lazy"></div>'
        f'<script src="{folder}/common.js" defer></script>'
    )
