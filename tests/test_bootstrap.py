"""The notebooks as Colab runs them: without the repository, in an environment where only Jupyter is installed.

The first cell of each notebook installs the library from its repository's address, which git is told to look for
on this machine. This is done with the oldest versions that pyproject.toml allows, and with the newest.
`make bootstrap` runs it; it fetches gigabytes, and is no part of `make test`.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMALL = {"number_of_images": "16", "batch_size": "8", "repeats": "2"}


def lowest():
    """Every dependency at its lower bound."""
    needed = map(Requirement, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["hub"])
    return [f"{each.name}=={next(iter(each.specifier)).version}" for each in needed]


@pytest.fixture(scope="module", params=["lowest", "newest"])
def colab(request, tmp_path_factory):
    """Start a program of an environment like Colab's, in a folder that holds nothing but the notebooks."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "constraints.txt").write_text("\n".join(lowest() if request.param == "lowest" else []))
    for notebook in NOTEBOOKS:
        shutil.copy(notebook, folder)
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment = inherited | {
        "PATH": f"{folder / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PIP_CONSTRAINT": str(folder / "constraints.txt"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{ROOT.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": PROJECT["urls"]["Repository"],
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }

    def start(program, *arguments):
        return subprocess.run(
            [folder / "env" / "bin" / program, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    installed = start("python", "-m", "pip", "install", "--quiet", "ipykernel", "papermill")
    assert installed.returncode == 0, installed.stderr
    yield start
    shutil.rmtree(folder)


@pytest.mark.bootstrap
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_installs_what_it_needs_and_runs(colab, notebook):
    parameters = [part for pair in SMALL.items() for part in ("-p", *pair)]
    finished = colab("papermill", notebook.name, "out.ipynb", *parameters)
    assert finished.returncode == 0, finished.stderr[-4000:]


@pytest.mark.bootstrap
def test_the_library_is_that_of_the_environment(colab):
    imported = colab("python", "-c", "import seelike; print(seelike.__file__)")
    assert "site-packages" in imported.stdout, imported.stderr
