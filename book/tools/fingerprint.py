"""What code gave a result: a hash of a notebook and of each module of seelike that it uses.

Comments, docstrings and formatting do not count, and neither does what no import leads to: a result stays the
result of its code while only these change. Nothing is run: the code is parsed. The hash does not depend on the
version of Python that parses it.

Modules that only judge what was measured do not count, for the book judges anew: except for a page that shows what
other pages found.
"""

import ast
import functools
import hashlib
import json
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

import seelike
from seelike.profiles import NAMES, PAGES, profile_of

LIBRARY = Path(seelike.__file__).parents[1]
_PACKAGE = "seelike"
# What papermill adds is kept beside the result, as its parameters.
INJECTED = "injected-parameters"
# Besides, cells that Colab alone runs, and those that wait for a reader's answer.
_NOT_ITS_CODE = {INJECTED, "remove-cell", "exercise"}
_DIGITS = 16
# A page that imports this one shows verdicts of other pages.
_GATHERS = "seelike.verdicts"
# Modules that say whether a claim holds, and measure nothing.
_JUDGES = {"seelike.claims", "seelike.evidence", "seelike.plots.claims", _GATHERS}


def of_notebook(notebook: NotebookNode, name: str, profile: str, library: Path = LIBRARY) -> dict[str, str]:
    """Hash all code that decides what a notebook shows.

    Args:
        notebook: The notebook, executed or not.
        name: Its name in the repository, such as "03_background".
        profile: The profile that it runs at.
        library: The folder that holds the library.

    Returns:
        A hash for the notebook's own code, for each module of the library that it imports, and that these import,
        and for what the profile gives to this page; without the modules that judge, unless the page gathers
        verdicts.
    """
    cells = [_parsed(cell) for cell in notebook.cells if is_own_code(cell)]
    found = {f"notebooks/{name}.ipynb": _hash([_plain(cell) for cell in cells])}
    waiting = {module for cell in cells for module in imports(cell)}
    while waiting:
        module = waiting.pop()
        path = _file(module, library)
        if module not in found and path is not None:
            found[module], imported = _of_file(path, module, path.stat().st_mtime_ns)
            waiting |= imported
    if not gathers(notebook):
        found = {module: value for module, value in found.items() if module not in _JUDGES}
    if profile in NAMES:
        amounts = asdict(profile_of(profile, name if name in PAGES else None))
        # What is said of the images is prose.
        found["profiles.toml"] = _hash({key: value for key, value in amounts.items() if key != "images_note"})
    return dict(sorted(found.items()))


def gathers(notebook: NotebookNode) -> bool:
    """Tell whether a page shows verdicts of other pages.

    Example:
        >>> cell = NotebookNode(cell_type="code", metadata={}, source="from seelike import verdicts")
        >>> gathers(NotebookNode(cells=[cell]))
        True
    """
    return any(_GATHERS in imports(_parsed(cell)) for cell in notebook.cells if is_own_code(cell))


def imports(code: ast.Module, module: str = "", is_package: bool = False) -> set[str]:
    """List the modules of the library that code may import, wherever in it the import stands.

    Args:
        code: The parsed code.
        module: The module that it is, from which relative imports count.
        is_package: Whether that is a package.

    Example:
        >>> sorted(imports(ast.parse("from seelike import cka\\nimport torch")))
        ['seelike', 'seelike.cka']
        >>> sorted(imports(ast.parse("from .ridge import fit"), "seelike.probes.layers"))
        ['seelike', 'seelike.probes', 'seelike.probes.ridge', 'seelike.probes.ridge.fit']
    """
    names: set[str] = set()
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: len(module.split(".")) - node.level + is_package] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{start}.{alias.name}" for alias in node.names}
    # To import a module is to run the packages that it is in.
    parts = [name.split(".") for name in names if name.split(".")[0] == _PACKAGE]
    return {".".join(path[:depth]) for path in parts for depth in range(1, len(path) + 1)}


def changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Name what has another hash than before, is new, or is gone.

    Older results have hashes of modules that judge. These count only where they would today.

    Example:
        >>> changed({"seelike.cka": "1", "seelike.skip": "1"}, {"seelike.cka": "2", "seelike.skip": "1"})
        ['seelike.cka']
    """
    names = now.keys() | (before.keys() - _JUDGES)
    return sorted(name for name in names if before.get(name) != now.get(name))


def commit() -> str | None:
    """Name the commit of the code, with "+" where notebooks or library differ; None outside a repository."""
    try:
        head = _git("rev-parse", "HEAD")
        differs = _git("status", "--porcelain", "--untracked-files=no", "--", "lib", "notebooks")
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return head + ("+" if differs else "")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def is_own_code(cell: NotebookNode) -> bool:
    """Tell whether a cell has code that counts: not what papermill adds, what Colab alone runs, nor an exercise.

    Example:
        >>> is_own_code(NotebookNode(cell_type="code", metadata={"tags": ["remove-cell"]}))
        False
    """
    return cell.cell_type == "code" and not _NOT_ITS_CODE & set(cell.metadata.get("tags", []))


def _parsed(cell: NotebookNode) -> ast.Module:
    try:
        return ast.parse(TransformerManager().transform_cell(cell.source))
    except SyntaxError:
        # It cannot run, and so gives no result. Who runs it is told by Python.
        return ast.Module([ast.Expr(ast.Constant(cell.source))], [])


def _file(module: str, library: Path) -> Path | None:
    path = library.joinpath(*module.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


@functools.cache
def _of_file(path: Path, module: str, changed_at: int) -> tuple[str, set[str]]:
    """A module's hash and its imports. The time of change is there for the cache: many notebooks use one file."""
    code = ast.parse(path.read_text())
    for node in ast.walk(code):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[_begins_with_text(node.body) :]
    return _hash(_plain(code)), imports(code, module, path.name == "__init__.py")


def _begins_with_text(body: list[ast.stmt]) -> bool:
    return bool(
        body
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and isinstance(body[0].value.value, str)
    )


def _plain(node: Any) -> Any:
    """Write a syntax tree as lists. Only some versions of Python let `ast.dump` write what is absent or empty."""
    if isinstance(node, ast.AST):
        parts = [[name, _plain(value)] for name, value in ast.iter_fields(node) if value not in (None, [])]
        return [type(node).__name__, *parts]
    return [_plain(one) for one in node] if isinstance(node, list) else repr(node)


def _hash(content: Iterable[Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_DIGITS]
