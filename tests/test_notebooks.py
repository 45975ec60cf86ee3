"""Every notebook runs from its first cell to its last: as it is, and on networks and images of all kinds."""

import json
import os
import re
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import timm
from IPython.core.displayhook import DisplayHook
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import activate_matplotlib
from IPython.utils.capture import capture_output
from ipywidgets import Widget
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib_inline import backend_inline
from run_notebook import is_result_of
from safetensors.torch import save_file
from traitlets.config import Config

from seelike import data
from seelike.profiles import PAGES

ROOT = Path(__file__).parents[1]
RUNNER = ROOT / "book" / "tools" / "run_notebook.py"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Pages of no role take no networks: to them it makes no difference which are given.
WITH_NETWORKS = [path for path in NOTEBOOKS if PAGES[path.stem]]
INLINE = "module://matplotlib_inline.backend_inline"
WIDGETS = "application/vnd.jupyter.widget-state+json"
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
    first = nbformat.v4.new_code_cell("repeats = 1\nimages = None", metadata={"tags": ["parameters"]})
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
    assert not stumbling_blocks(executed)


def stumbling_blocks(notebook):
    """Figures that are neither drawn nor said to be missing, and what means nothing to a reader."""
    found = []
    for cell in notebook.cells:
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        if name and not cell.get("outputs"):
            found.append(f"{name} shows nothing")
        for line in shown_by(cell).splitlines():
            if re.fullmatch(r"(\{\}|\[\]|\(\)|set\(\)|nan|None|Empty DataFrame)", line.strip()):
                found.append(f"{line!r} in {cell.source!r}")
    return found


def shown_by(cell):
    """What a cell printed and showed, as text."""
    outputs = cell.get("outputs", [])
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def printed(notebook):
    """What an executed notebook printed and showed, as text."""
    return "\n".join(map(shown_by, notebook.cells))


# What a browser would run, and what Matplotlib would take for a formula, were they not escaped.
NAME = "$^a$ <img src=x onerror=alert(1) "


def network_file(path, architecture, arguments):
    """A file of an untrained network that says what it is of."""
    metadata = {"architecture": architecture, "architecture_kwargs": json.dumps(arguments)}
    save_file(timm.create_model(architecture, **arguments).state_dict(), path, metadata=metadata)
    return path


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """A folder of images and a file of weights with such names."""
    folder = tmp_path_factory.mktemp("strange") / NAME
    garments = data.load("fashion-mnist/test")
    for label in (0, 1):
        (folder / "images" / f"{NAME} {label}").mkdir(parents=True)
        for place in np.flatnonzero(garments.labels == label)[:12]:
            garments[place].save(folder / "images" / f"{NAME} {label}" / f"{NAME} {place}.png")
    # What the pages do is done for each block: four do for all.
    shallow = {"img_size": 28, "patch_size": 4, "embed_dim": 32, "depth": 4, "num_heads": 2, "num_classes": 10}
    vit = network_file(folder / f"{NAME}.safetensors", "vit_tiny_patch16_224", shallow)
    # As timm initialises it: the last norm of each branch is zero.
    dead = network_file(folder / "dead.safetensors", "test_resnet", {})
    return folder / "images", vit, dead


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
    states = notebook.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})
    for state in states.values():
        if state["model_name"] == "HTMLModel":
            parser.feed(state["state"].get("value", ""))
    return parser.names


class Shown(DisplayHook):
    """What a cell ends with is shown as a kernel shows it: in all its forms, and without a prompt."""

    def write_output_prompt(self):
        """Write none."""

    def write_format_data(self, format_dict, md_dict=None):
        """Show it where `display` does."""
        self.shell.display_pub.publish(format_dict, md_dict)


class Shell(InteractiveShell):
    """What runs cells as a kernel does, in this process."""

    displayhook_class = Shown

    def __init__(self, **options):
        self.errors = []
        super().__init__(**options)

    def showtraceback(self, *_, **__):
        """Keep the error: that of a figure is no error of the cell that made it."""
        self.errors.append(sys.exc_info()[1])


@pytest.fixture
def shell(monkeypatch):
    """A shell that draws its figures after each cell, and writes warnings, as a kernel does."""
    # All of a figure is drawn, but small: nobody looks at it.
    draw = FigureCanvasBase.print_figure
    monkeypatch.setattr(
        FigureCanvasBase, "print_figure", lambda *given, **options: draw(*given, **{**options, "dpi": 20})
    )
    Shell.clear_instance()
    one = Shell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    before = plt.get_backend()
    with warnings.catch_warnings(), matplotlib.rc_context():
        activate_matplotlib(INLINE)
        backend_inline.configure_inline_support(one, INLINE)
        # Pytest would keep them to itself, and has other filters than Python.
        warnings.resetwarnings()
        for ignored in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", ignored)
        warnings.showwarning = lambda *warning: sys.stderr.write(warnings.formatwarning(*warning[:4]))
        yield one
        # A kernel's figures and widgets end with it.
        plt.close("all")
        Widget.close_all()
        backend_inline.configure_inline_support(one, before)
        plt.switch_backend(before)
    backend_inline.InlineBackend.clear_instance()
    Shell.clear_instance()


def run_here(shell, stem, **parameters):
    """Run a notebook in this process, and give it with the outputs."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "code" and "remove-cell" not in tags:
            given = [f"{name} = {value!r}" for name, value in parameters.items() if "parameters" in tags]
            with capture_output() as shown:
                shell.run_cell("\n".join([cell.source, *given]), store_history=True).raise_error()
            for error in shell.errors:
                raise error
            streams = [{"text": text} for text in (shown.stdout, shown.stderr) if text]
            cell.outputs = [*streams, *({"data": output.data} for output in shown.outputs)]
    notebook.metadata["widgets"] = {WIDGETS: Widget.get_manager_state()}
    return notebook


# One page goes the whole way, with its names on a command line. A kernel takes seconds to start, and the others
# are not about it.
BY_THE_RUNNER = "12_questions_of_measure"


# The blocks of a ConvNeXt are not known, and the branches of the ResNet are dead.
@pytest.mark.notebook
@pytest.mark.parametrize("notebook", WITH_NETWORKS, ids=lambda path: path.stem)
def test_notebook_runs_on_unknown_architectures_dead_layers_and_strange_names(
    notebook, strange, shell, tmp_path, monkeypatch
):
    images, weights, dead = strange
    models = f"test_convnext:random,{weights},{dead}"
    small = {"number_of_images": 10, "batch_size": 6, "repeats": 2, "images": str(images)}
    if notebook.stem == BY_THE_RUNNER:
        output = tmp_path / "out.ipynb"
        finished = run(notebook, output, tmp_path, models=models, **small)
        assert finished.returncode == 0, finished.stderr
        executed = nbformat.read(output, as_version=4)
    else:
        monkeypatch.chdir(tmp_path)
        executed = run_here(shell, notebook.stem, models=models, **small)
    assert not attributes(executed) & {"onerror"}
    assert not stumbling_blocks(executed)
    # The file goes by its own name.
    assert str(weights.parent) not in printed(executed)
    if notebook.stem == "04_representation_structure":
        text = printed(executed)
        assert "not testable. A number that it needs is not defined, such as the CKA of a dead layer" in text
        by_hand, in_the_map = re.search(r"by hand (\S+), in the map (\S+)", text).groups()
        assert by_hand == in_the_map


@pytest.fixture(scope="module")
def swin(tmp_path_factory):
    """A file of a network of no role: a Swin Transformer of few channels, whose grid halves."""
    arguments = {"img_size": 56, "embed_dim": 12, "depths": [1, 1], "num_heads": [1, 2], "num_classes": 0}
    path = tmp_path_factory.mktemp("networks") / "swin.safetensors"
    return network_file(path, "swin_tiny_patch4_window7_224", arguments)


# Pages that take seconds; Section 4 has many pictures, and runs once.
KINDS = ["vit", "cnn", "mixer", "other"]
ALONE = [(stem, kind) for stem in ("06_skip_connections", "E_propagation", "H_mixer") for kind in KINDS]


@pytest.mark.notebook
@pytest.mark.parametrize(("stem", "kind"), [*ALONE, ("04_representation_structure", "other")])
def test_a_page_shows_each_kind_of_network_alone_and_says_what_is_missing(stem, kind, shell, swin):
    names = {"vit": "tiny/vit_7x7", "cnn": "tiny/resnet", "mixer": "tiny/mixer", "other": str(swin)}
    page = run_here(shell, stem, models=names[kind], number_of_images=8, batch_size=8, repeats=1)
    assert not stumbling_blocks(page)
    text = printed(page)
    assert str(swin.parent) not in text
    assert ("Of no role: swin.safetensors." in text) == (kind == "other")
    missing = {"06_skip_connections": "ViT", "E_propagation": "ViT", "H_mixer": "Mixer"}.get(stem, "CNN")
    said = re.search(rf"Nothing to show here\..*This run has no {missing}: add one to models", text)
    assert (said is None) == (kind == missing.lower())


# 90 images leave 2 after minibatches of 8, and 6 are fewer than the smallest minibatch.
@pytest.mark.notebook
@pytest.mark.parametrize("number_of_images", [90, 6])
def test_section_3_takes_any_number_of_images(number_of_images, shell):
    page = run_here(shell, "03_background", models="tiny/resnet", number_of_images=number_of_images)
    row = rf"^ +{min(number_of_images, 8)}( +[+-][\d.]+){{3}}$"
    assert re.search(row, printed(page), re.MULTILINE)


@pytest.mark.notebook
@pytest.mark.parametrize("stem", ["07_spatial_localization", "08_scale_and_transfer", "G_finetuning"])
def test_a_page_does_what_it_can_on_twelve_images_without_classes(stem, shell, tmp_path):
    garments = data.load("fashion-mnist/test")
    for place in range(12):
        garments[place].save(tmp_path / f"{place}.png")
    page = run_here(shell, stem, models="tiny/vit_7x7,tiny/resnet", images=str(tmp_path), repeats=1)
    assert not stumbling_blocks(page)
    assert stem == "G_finetuning" or "Give a folder with one folder for each class." in printed(page)


@pytest.mark.notebook
def test_a_parameter_reaches_the_notebook(tmp_path):
    notebook = write(tmp_path / "sums.ipynb", "print(repeats + 1)\nprint(images)")
    path = tmp_path / NAME / f"{NAME}.png"
    finished = run(notebook, tmp_path / "out.ipynb", tmp_path, repeats=4, images=path)
    assert finished.returncode == 0, finished.stderr
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == f"5\n{path}\n"


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
