"""The parts of the project that say the same thing twice agree."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jupytext
import lock
import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import seelike
from seelike.profiles import PAGES_WITH_PROBES

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PYPROJECT["urls"]["Repository"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))
REQUIREMENTS = [str(requirement) for requirement in lock.requirements(ROOT / "pyproject.toml")]
PARAMETERS = [
    "profile",
    "models",
    "images",
    "probe_images",
    "number_of_images",
    "batch_size",
    "repeats",
    "seed",
    "device",
    "precision",
    "weights",
]

each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def locked():
    """The exact version of each package in requirements.lock."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in pins}


def tagged(notebook, tag):
    """The cells of a notebook that have a tag."""
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def test_every_data_file_of_the_library_is_declared():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    library = ROOT / "lib"
    installed = {
        path
        for package, patterns in declared.items()
        for pattern in patterns
        for path in (library / package.replace(".", "/")).glob(pattern)
    }
    there = {
        path
        for path in (library / "seelike").rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert there == {path for path in installed if path.is_file()}


@pytest.mark.parametrize("line", REQUIREMENTS)
def test_the_lock_fulfils_pyproject(line):
    wanted = Requirement(line)
    pin = locked()[canonicalize_name(wanted.name)]
    (exact,) = pin.specifier
    assert exact.operator == "=="
    assert wanted.specifier.contains(exact.version), f"{pin} is not {line}: run make lock"


def test_what_only_linux_has_is_marked_so():
    for name, pin in locked().items():
        if name.startswith(("nvidia-", "cuda-", "triton")):
            assert pin.marker is not None
            assert not pin.marker.evaluate({"sys_platform": "darwin"})


def test_environment_installs_the_lock_and_the_python_of_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == ["-r requirements.lock", "-e ."]
    (python,) = [entry for entry in environment["dependencies"] if str(entry).startswith("python=")]
    assert Requirement(f"python{PYPROJECT['requires-python']}").specifier.contains(python.removeprefix("python="))


def test_the_library_pins_nothing():
    for line in PYPROJECT["dependencies"]:
        assert [one.operator for one in Requirement(line).specifier] == [">="], f"{line}: Colab keeps its own"


def test_the_npm_lock_has_hashes_and_no_host():
    wanted = json.loads((ROOT / "package.json").read_text())["dependencies"]
    lock = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert lock[""]["dependencies"] == wanted
    for name, package in lock.items():
        assert "resolved" not in package
        assert name == "" or package["integrity"].startswith("sha512-")


def test_the_repository_has_one_address():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["repository"] == {"url": REPOSITORY, "branch": "main", "path_to_book": ""}
    assert config["html"]["baseurl"] == PYPROJECT["urls"]["Documentation"]


def test_the_citation_file_agrees_with_pyproject_and_names_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    # What version 1.2.0 of the format requires.
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PYPROJECT["version"]
    assert citation["license"] == PYPROJECT["license"]
    assert citation["authors"] == PYPROJECT["authors"]
    assert citation["keywords"] == PYPROJECT["keywords"]
    assert citation["repository-code"] == REPOSITORY
    assert citation["url"] == PYPROJECT["urls"]["Documentation"]
    bibliography = (ROOT / "book" / "references.bib").read_text()
    (paper,) = re.findall(r"@\w+\{raghu2021,.*?^\}", bibliography, re.DOTALL | re.MULTILINE)
    (cited,) = citation["references"]
    authors = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in cited["authors"])
    for part in (authors, cited["title"], cited["collection-title"], str(cited["year"]), cited["url"]):
        assert f"{{{part}}}" in paper


@each_notebook
def test_every_notebook_installs_from_that_address(notebook):
    (cell,) = tagged(nbformat.read(notebook, as_version=4), "remove-cell")
    assert re.findall(r"git\+https://[\w./-]+", cell.source) == [f"git+{REPOSITORY}"]
    assert 'find_spec("seelike") is None' in cell.source


@each_notebook
def test_the_install_cell_does_nothing_where_the_library_is(notebook):
    (cell,) = tagged(nbformat.read(notebook, as_version=4), "remove-cell")
    # No IPython here: anything but the check would fail.
    finished = subprocess.run([sys.executable, "-c", cell.source], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


@each_notebook
def test_where_the_library_is_missing_it_is_installed_and_the_set_up_works(notebook, monkeypatch):
    cells = nbformat.read(notebook, as_version=4)
    commands = []

    class Shell:
        def run_line_magic(self, name, line):
            commands.append(f"%{name} {line}")

    namespace = {"get_ipython": Shell}
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        exec(tagged(cells, "remove-cell")[0].source, namespace)
    assert commands == [f'%pip install -q "seelike[hub] @ git+{REPOSITORY}"']
    exec(tagged(cells, "parameters")[0].source, namespace)
    # What the cells before have left must not be taken for parameters.
    namespace.pop("__builtins__")
    assert seelike.start(namespace).profile == "tiny"


@each_notebook
def test_every_notebook_has_the_same_parameters(notebook):
    (cell,) = tagged(nbformat.read(notebook, as_version=4), "parameters")
    values = {}
    exec(cell.source, values)
    values.pop("__builtins__")
    assert list(values) == PARAMETERS
    assert values["seed"] == 0
    assert {values[name] for name in PARAMETERS if name != "seed"} == {None}


def test_notebooks_come_in_pairs():
    assert NOTEBOOKS
    assert [path.stem for path in NOTEBOOKS] == [path.stem for path in SCRIPTS]


@each_notebook
def test_both_forms_of_a_notebook_are_in_step(notebook):
    stored = nbformat.read(notebook, as_version=4)
    text = jupytext.read(notebook.with_suffix(".py"))
    assert [(cell.cell_type, cell.source) for cell in stored.cells] == [
        (cell.cell_type, cell.source) for cell in text.cells
    ], f"{notebook.name} and its .py differ: run make notebooks"
    assert [cell.metadata for cell in stored.cells] == [cell.metadata for cell in text.cells]


@each_notebook
def test_notebooks_are_kept_without_outputs(notebook):
    stored = nbformat.read(notebook, as_version=4)
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert "widgets" not in stored.metadata
    assert stored.metadata.kernelspec.name == "python3"


def test_no_two_pages_number_their_figures_alike():
    sections = [re.match(r"0*(\d+|[A-Za-z])", path.stem)[1].upper() for path in NOTEBOOKS]
    assert len(set(sections)) == len(sections), "of a page that is no section the first letter counts"


@each_notebook
def test_cells_are_short(notebook):
    """Fifteen lines of code or fewer, without comments and empty lines: what is longer belongs in the library."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        lines = [line for line in cell.source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert cell.cell_type != "code" or len(lines) <= 15, cell.source


def test_every_figure_has_a_name_of_its_own():
    figures = [
        cell.metadata["mystnb"]["figure"]["name"]
        for notebook in NOTEBOOKS
        for cell in nbformat.read(notebook, as_version=4).cells
        if "figure" in cell.metadata.get("mystnb", {})
    ]
    assert len(figures) == len(set(figures))


@each_notebook
def test_no_myst_shows_in_a_notebook(notebook):
    stored = nbformat.read(notebook, as_version=4)
    for cell in stored.cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"\{[a-z:]+\}`|^:::|^```\{", cell.source, re.MULTILINE), cell.source


@each_notebook
def test_every_notebook_is_in_the_contents(notebook):
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    assert f"notebooks/{notebook.stem}" in listed


def test_workflows_are_yaml_and_name_one_python():
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert [path.stem for path in workflows] == ["ci", "pretrained", "publish", "weekly"]
    for path in workflows:
        steps = [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]
        versions = {step["with"]["python-version"] for step in steps if "python-version" in step.get("with", {})}
        assert versions == {"3.11"}


def test_every_module_of_the_library_has_its_page():
    inside = {"__init__", "display", "errors", "moved", "train"}  # not for those who use the library
    modules = {path.stem for path in (ROOT / "lib/seelike").iterdir() if (path / "__init__.py").exists()}
    modules |= {path.stem for path in (ROOT / "lib/seelike").glob("*.py")} - inside
    pages = {path.stem.removeprefix("reference_") for path in (ROOT / "book").glob("reference_*.md")}
    assert pages == modules
    assert "- glob: book/reference_*\n" in (ROOT / "_toc.yml").read_text()


@each_notebook
def test_a_page_that_probes_is_listed_and_no_other(notebook):
    """Only for those are the images of probes fetched."""
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    code = [cell.source for cell in cells if "parameters" not in cell.metadata.get("tags", [])]
    assert any("run.probe_images" in source for source in code) == (notebook.stem in PAGES_WITH_PROBES)
