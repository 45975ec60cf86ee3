"""Every notebook runs from its first cell to its last, on fewer images than any profile has."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

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


# The blocks of a ConvNeXt are not known, and the branches of a new ResNet are dead: their last scale is 0.
@pytest.mark.notebook
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_on_unknown_architectures_and_dead_layers(notebook, tmp_path):
    output = tmp_path / "out.ipynb"
    models = "convnext_atto:random,tiny/vit_7x7,resnet18:random"
    small = {"number_of_images": 10, "batch_size": 6, "repeats": 2}
    finished = run(notebook, output, tmp_path, models=models, **small)
    assert finished.returncode == 0, finished.stderr
    if notebook.stem == "04_representation_structure":
        text = printed(nbformat.read(output, as_version=4))
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
