"""Read a sweep: which notebooks run on which models with which seeds. `sweep.yaml` says what it can hold."""

import ast
import json
import re
import shlex
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seelike.errors import unknown_name
from seelike.profiles import NAMES

NOTEBOOKS = Path("notebooks")
RESULTS = Path("build/sweep")
_KEYS = ("profile", "notebooks", "models", "seeds", "parameters")
_OPTIONAL = {"parameters"}
# The parameters that the sweep itself sets.
_SET_HERE = {"profile": "profile", "models": "models", "seed": "seeds"}
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Job:
    """One notebook on one set of models with one seed.

    Attributes:
        notebook: The notebook's file name without its ending.
        label: The short name of the models.
        seed: For the draw of images.
        output: Where the executed notebook is.
    """

    notebook: str
    label: str
    seed: int
    output: Path


@dataclass(frozen=True)
class Sweep:
    """What a file such as `sweep.yaml` asks for.

    Attributes:
        name: The file's name without its ending.
        profile: The size of every run.
        notebooks: Names of notebooks.
        models: The value of the notebooks' parameter `models` by label: names in a list or with commas between
            them; None takes those of the profile.
        seeds: Seeds for the draw of images.
        parameters: Other parameters, the same for every notebook.
    """

    name: str
    profile: str
    notebooks: list[str]
    models: dict[str, str | list[str] | None]
    seeds: list[int]
    parameters: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where the results are."""
        return RESULTS / self.name

    @property
    def jobs(self) -> list[Job]:
        """All jobs, in the order of the file."""
        return [
            Job(notebook, label, seed, self.folder / notebook / label / f"seed_{seed}.ipynb")
            for notebook in self.notebooks
            for label in self.models
            for seed in self.seeds
        ]

    def options(self, label: str, seed: int) -> str:
        """Write the options of run_notebook.py that set a job's parameters."""
        values = {
            "profile": self.profile,
            "models": self.models[label],
            "seed": seed,
            **self.parameters,
        }
        # As Python writes them: a folder that is called "3" is no number.
        return " ".join(f"-p {shlex.quote(name)} {shlex.quote(repr(value))}" for name, value in values.items())


class _Loader(yaml.SafeLoader):
    """YAML without keys that come twice: the second would silently replace the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"found {key!r} twice", node.value[place][0].start_mark
                )
        return super().construct_mapping(node, deep)


def read(path: Path) -> Sweep:
    """Read and check a sweep.

    Args:
        path: A YAML file.

    Raises:
        ValueError: There is no such file, it is not YAML, or it asks for what there is not. The message says what
            is wrong and what can be there.
    """
    if not path.is_file():
        raise ValueError(f"There is no sweep {path}. Name one: make sweep SWEEP=sweep.yaml")
    try:
        content = yaml.load(path.read_text(), _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} cannot be read as YAML: {error}") from None
    try:
        _check_file_name("The file's name", path.stem)
        return _checked(path.stem, content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _checked(name: str, content: Any) -> Sweep:
    if not isinstance(content, dict):
        raise ValueError(f"A sweep has the parts {', '.join(_KEYS)}. This one is {content!r}.")
    for key in content:
        if key not in _KEYS:
            raise unknown_name("part of a sweep", str(key), _KEYS)
    for key in _KEYS:
        if not content.get(key) and key not in _OPTIONAL:
            raise ValueError(f"The part {key!r} is missing or empty. sweep.yaml shows what it holds.")
    profile = content["profile"]
    if profile not in NAMES:
        raise unknown_name("profile", str(profile), NAMES)
    notebooks = _checked_notebooks(content["notebooks"])
    return Sweep(
        name=name,
        profile=profile,
        notebooks=notebooks,
        models=_checked_models(content["models"]),
        seeds=_checked_seeds(content["seeds"]),
        parameters=_checked_parameters(content.get("parameters") or {}, notebooks),
    )


def _checked_notebooks(given: Any) -> list[str]:
    if not isinstance(given, list):
        raise ValueError(f"notebooks must be a list of names; got {given!r}.")
    known = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    for notebook in given:
        if notebook not in known:
            raise unknown_name("notebook", str(notebook), known)
    return _once("notebooks", given)


def _checked_models(given: Any) -> dict[str, str | list[str] | None]:
    if not isinstance(given, dict):
        raise ValueError(
            f"models must give each set of models a label, as in 'small: tiny/vit_7x7'; got {given!r}."
        )
    for label, value in given.items():
        _check_file_name("A label of models", label)
        names = value if isinstance(value, list) else [value]
        if not names or not all(isinstance(one, str) and one.strip() for one in names):
            if value is None:
                continue
            raise ValueError(
                f"models {label!r} must be names, in a list or with commas between them, or null for those of the "
                f"profile; got {value!r}."
            )
    return given


def _checked_seeds(given: Any) -> list[int]:
    # bool is an int to Python.
    if not isinstance(given, list) or not all(type(seed) is int and seed >= 0 for seed in given):
        raise ValueError(f"seeds must be a list of whole numbers of 0 or more, as in [0, 1]; got {given!r}.")
    return _once("seeds", given)


def _checked_parameters(given: Any, notebooks: list[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(f"parameters must be names with values, as in 'repeats: 3'; got {given!r}.")
    for name in given:
        if name in _SET_HERE:
            raise ValueError(f"The parameter {name!r} is set by the part {_SET_HERE[name]!r} of a sweep.")
        for notebook in notebooks:
            known = _parameters_of(NOTEBOOKS / f"{notebook}.ipynb")
            if name not in known:
                raise unknown_name(f"parameter of {notebook}", str(name), known)
    return given


def _parameters_of(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text())["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    lines = [node for cell in tagged for node in ast.parse("".join(cell["source"])).body]
    return [
        target.id
        for line in lines
        if isinstance(line, ast.Assign)
        for target in line.targets
        if isinstance(target, ast.Name)
    ]


def _check_file_name(what: str, given: Any) -> None:
    if not isinstance(given, str) or not _FILE_NAME.fullmatch(given):
        raise ValueError(
            f"{what} becomes a folder's name: letters, digits, '.', '_' and '-', of which a letter or digit is "
            f"first; got {given!r}."
        )


def _once(what: str, given: list[Any]) -> list[Any]:
    for place, one in enumerate(given):
        if one in given[:place]:
            raise ValueError(f"{what} lists {one!r} twice.")
    return given
