"""A project with the real build files and notebooks that take seconds, for tests that run make as a user does."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
REAL = (
    "Makefile",
    "Snakefile",
    "pyproject.toml",
    "requirements.lock",
    "profiles",
    "book/tools",
    "package.json",
    "package-lock.json",
    "benchmarks/results/README.md",
    "benchmarks/results/architectures.json",
    "benchmarks/results/costs.md",
    "CONTRIBUTING.md",
    "results/README.md",
    "lib/seelike/profiles.toml",
    "_config.yml",
    "_toc.yml",
)
PARAMETERS = "profile = None\nmodels = None\nnumber_of_images = None\nseed = 0\ndevice = None"
# What seelike.start and a claim leave in a notebook, without any network. Every start is noted.
NOTE = """\
with open("{log}", "a") as log:
    print(seed, models, file=log)"""
RUN = """\
from IPython.display import display
versions = {"torch": "2.4.0"}
run = {"profile": profile or "tiny", "models": models, "images": "digits/test", "number_of_images": 64,
       "batch_size": 32, "repeats": 3, "seed": seed, "device": "cpu", "gpu": None, "precision": "float32",
       "versions": versions, "weights": {}, "date": "2026-03-01T10:00:00+00:00"}
display({"application/vnd.seelike.run+json": run, "text/plain": "run"}, raw=True)"""
CLAIM = """\
from seelike import claims
claims.record("uniform_layers", [seed + len(models or []) / 10 + repeat / 100 for repeat in range(3)])"""


def write_notebook(path, *cells):
    """Write a notebook with the parameters that the real ones have, and some more code."""
    title = nbformat.v4.new_markdown_cell("# A page")
    first = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[title, first, *map(nbformat.v4.new_code_cell, cells)])
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def make_project(folder, notebooks=("03_background",), cells=(RUN, CLAIM)):
    """Lay out a project. Its notebooks note each start in started.txt, and run the given cells.

    Args:
        folder: Where.
        notebooks: Names of its notebooks.
        cells: The code of each.
    """
    for name in REAL:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, target)
    (folder / "lib" / "seelike" / "cka.py").write_text("first")
    for name in notebooks:
        write_notebook(folder / "notebooks" / f"{name}.ipynb", NOTE.format(log=folder / "started.txt"), *cells)
    # A virtual environment, to make, is one that has been installed after the lock.
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (folder / ".venv" / ".seelike-installed").touch()
    return folder


def start_make(folder, *arguments, stdout=subprocess.PIPE, **environment):
    """Start make in a process group of its own, where Ctrl-C stops it, also if it does not stop these tests."""
    return subprocess.Popen(
        ["make", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # What runs behind a shell's & has it ignored, and so have all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def make(folder, *arguments, **environment):
    """Run make to its end; give its exit status and all that it printed."""
    process = start_make(folder, *arguments, **environment)
    output, _ = process.communicate()
    return process.returncode, output
