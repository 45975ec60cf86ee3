"""What the code imports is declared in pyproject.toml, in the list of those who need it."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Imported only where scikit-learn itself has called.
OPTIONAL = {"scikit-learn"}
# Code, the extras that it may need beside the dependencies, and whether what functions import counts.
PLACES = {
    "the library": ("lib", (), False),
    "the library's functions": ("lib", ("hub",), True),
    "notebooks": ("notebooks", (), True),
    "tools of the book": ("book/tools", ("book", "cluster"), True),
    "benchmarks": ("benchmarks", ("bench",), True),
    "tests": ("tests", ("hub", "book", "bench", "test"), True),
}


def declared(extras):
    """Names of distributions that are declared."""
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return {canonicalize_name(Requirement(line).name) for lines in lists for line in lines}


def imports(path, within_functions=True):
    """Names at the top of the modules that a file imports."""
    waiting, found = [ast.parse(path.read_text())], set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
        if within_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)
    return found


def undeclared(folder, extras, within_functions):
    """Distributions that a folder imports and that are not declared, each with the files that import it."""
    ours = {"seelike"} | {
        path.stem for place in ("tests", "book/tools", "benchmarks") for path in ROOT.glob(f"{place}/*.py")
    }
    distributions, known = packages_distributions(), declared(extras) | OPTIONAL
    missing = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for module in imports(path, within_functions) - ours - set(sys.stdlib_module_names):
            names = {canonicalize_name(name) for name in distributions.get(module, [module])}
            if not names & known:
                missing.setdefault(module, []).append(str(path.relative_to(ROOT)))
    return missing


@pytest.mark.parametrize("place", PLACES)
def test_what_is_imported_is_declared(place):
    assert undeclared(*PLACES[place]) == {}, "pyproject.toml does not declare these"


def test_what_functions_import_is_told_apart(tmp_path):
    (tmp_path / "a.py").write_text("import one.two\nfrom . import near\ndef f():\n    from three import four\n")
    assert imports(tmp_path / "a.py", within_functions=False) == {"one"}
    assert imports(tmp_path / "a.py") == {"one", "three"}


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_every_requirement_has_a_lower_bound(extra):
    for line in PROJECT["optional-dependencies"][extra]:
        assert any(one.operator == ">=" for one in Requirement(line).specifier), line
