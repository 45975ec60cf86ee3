"""Every notebook runs from its first cell to its last: as it is, and on networks and images of all kinds."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pytest
from run_notebook import is_result_of

from seelike import data
from seelike.models.records import CHECKPOINTS

ROOT = Path(__file__).parents[1]
RUNNER = ROOT / "book" / "tools" / "run_notebook.py"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMALL = {"profile": "tiny", "number_of_images": 64, "batch_size": 16, "repeats": 2}


def run(notebook, output, folder, **parameters):
    """Run a notebook as the Snakefile does."""
    options = [part for name, value in parameters.items() for part in ("-p", name, str(value))]
    return subprocess.run(
        [sys.executable, RUNNER, notebook, output, *options],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def write(path, *cells):
    """Write a notebook with a parameters cell and some more code."""
    first = nbformat.v4.new_code_cell("repeats = 1", metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[first, *map(nbformat.v4.new_code_cell, cells)])
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(notebook, path)
    return path


@pytest.mark.notebook
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook, tmp_path):
    output = ROOT / "build" / "executed" / "tiny" / notebook.name
    # Where `make book` has just run it, that is the better proof, and there is no need of another.
    if not is_result_of(output, notebook.relative_to(ROOT), {"profile": "tiny"}):
        output = tmp_path / "out.ipynb"
        finished = run(notebook, output, tmp_path, **SMALL)
        assert finished.returncode == 0, finished.stderr
    executed = nbformat.read(output, as_version=4)
    code = [cell for cell in executed.cells if cell.cell_type == "code" and cell.source.strip()]
    assert all(cell.execution_count for cell in code)


def printed(notebook):
    """What an executed notebook printed and showed, as text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


# 90 images leave 2 after minibatches of 8, and 6 are fewer than the smallest minibatch.
@pytest.mark.notebook
@pytest.mark.parametrize("number_of_images", [90, 6])
def test_section_3_takes_any_number_of_images(number_of_images, tmp_path):
    output = tmp_path / "out.ipynb"
    notebook = ROOT / "notebooks" / "03_background.ipynb"
    finished = run(notebook, output, tmp_path, models="tiny/resnet", number_of_images=number_of_images)
    assert finished.returncode == 0, finished.stderr
    row = rf"^ +{min(number_of_images, 8)}( +[+-][\d.]+){{3}}$"
    assert re.search(row, printed(nbformat.read(output, as_version=4)), re.MULTILINE)


# What a browser would run, and what Matplotlib would take for a formula, were they not escaped.
NAME = "$^a$ <img src=x onerror=alert(1) "


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """A folder of images and a file of weights with such names."""
    folder = tmp_path_factory.mktemp("strange") / NAME
    garments = data.load("fashion-mnist/test")
    for label in (0, 1):
        (folder / "images" / f"{NAME} {label}").mkdir(parents=True)
        for place in np.flatnonzero(garments.labels == label)[:12]:
            garments[place].save(folder / "images" / f"{NAME} {label}" / f"{NAME} {place}.png")
    return folder / "images", shutil.copy(CHECKPOINTS / "vit_7x7.safetensors", folder / f"{NAME}.safetensors")


class Attributes(HTMLParser):
    """The names of all attributes of all tags."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def handle_starttag(self, tag, attrs):
        self.names |= {name for name, _ in attrs}


def attributes(notebook):
    """All names of attributes in what an executed notebook shows, its widgets among it."""
    parser = Attributes()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            parser.feed(output.get("data", {}).get("text/html", ""))
            # A backslash makes a character of Markdown a plain one.
            parser.feed(re.sub(r"\\.", "", output.get("data", {}).get("text/markdown", "")))
    states = (
        notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    )
    for state in states.values():
        if state["model_name"] == "HTMLModel":
            parser.feed(state["state"].get("value", ""))
    return parser.names


# The blocks of a ConvNeXt are not known, and the branches of a new ResNet are dead: their last scale is 0.
@pytest.mark.notebook
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_on_unknown_architectures_dead_layers_and_strange_names(notebook, strange, tmp_path):
    output = tmp_path / "out.ipynb"
    images, weights = strange
    models = f"test_convnext:random,{weights},test_resnet:random"
    small = {"number_of_images": 10, "batch_size": 6, "repeats": 2, "images": images}
    finished = run(notebook, output, tmp_path, models=models, **small)
    assert finished.returncode == 0, finished.stderr
    executed = nbformat.read(output, as_version=4)
    assert not attributes(executed) & {"onerror"}
    if notebook.stem == "04_representation_structure":
        text = printed(executed)
        assert "not testable. Some layers are dead" in text
        by_hand, in_the_map = re.search(r"by hand (\S+), in the map (\S+)", text).groups()
        assert by_hand == in_the_map


@pytest.mark.notebook
def test_a_parameter_reaches_the_notebook(tmp_path):
    notebook = write(tmp_path / "sums.ipynb", "print(repeats + 1)")
    finished = run(notebook, tmp_path / "out.ipynb", tmp_path, repeats=4)
    assert finished.returncode == 0, finished.stderr
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == "5\n"


@pytest.mark.notebook
def test_a_failed_notebook_is_named_with_its_cell_and_kept(tmp_path):
    notebook = write(tmp_path / "broken.ipynb", "before = 1", "# Divide.\nbefore / 0", "after = 2")
    finished = run(notebook, tmp_path / "out.ipynb", tmp_path)
    assert finished.returncode == 1
    assert not (tmp_path / "out.ipynb").exists()
    for part in ("broken.ipynb, cell In [3]", "# Divide.", "ZeroDivisionError: division by zero"):
        assert part in finished.stderr
    partial = tmp_path / "build" / "running" / "out.ipynb"
    assert "build/running/out.ipynb" in finished.stderr
    counts = [cell.get("execution_count") for cell in nbformat.read(partial, as_version=4).cells]
    assert 3 in counts


def test_an_unknown_parameter_is_refused_with_its_nearest_name(tmp_path):
    notebook = write(tmp_path / "sums.ipynb")
    finished = run(notebook, tmp_path / "out.ipynb", tmp_path, repeat=4)
    assert finished.returncode == 2
    assert "Did you mean 'repeats'?" in finished.stderr
    assert not (tmp_path / "out.ipynb").exists()
