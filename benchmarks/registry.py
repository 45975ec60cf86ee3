"""The measurements of the library: the one table that benchmarks and the book's lists follow.

A measurement NAME stands in six places, and a test says which of them is missing:

- `lib/seelike/NAME.py`, the measurement, or a package of this name;
- `tests/references_*.py`, its formula, slow and in float64;
- `tests/test_NAME.py`;
- `benchmarks/NAME.py`, or another name that its entry gives. Its `main` holds it against a peer and the hardware's
  limit; `errors` draws input for benchmarks/accuracy.py. Where it reads networks, `STATISTICS` has what
  benchmarks/architectures.py and costs.py run on whole networks. Where figures of the paper are of it, `ROWS` (and
  `GROWTH`) have what benchmarks/paper_scale.py times, with counts of operations;
- its entry below;
- `book/reference_NAME.md`.

All else is made of these: `run_all.py --table` writes the lists.
"""

import ast
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from errors import Draw
    from scale import Growth, Row

HERE = Path(__file__).parent
ROOT = HERE.parent
MASSIVE = "[massive activations](../notebooks/13_massive_activations.ipynb)"
OF_MEASURE = "[questions of measure](../notebooks/12_questions_of_measure.ipynb)"


@dataclass(frozen=True)
class Quantity:
    """A row of the book's table.

    Attributes:
        what: What is measured, in words.
        calls: Functions of the measurement's module that measure it.
        figures: Of the paper; empty for what came later.
        statistic: As the benchmark's `STATISTICS` name it; empty for what is measured of two layers' features.
        page: Where it is, if it came later.
    """

    what: str
    calls: tuple[str, ...]
    figures: str = ""
    statistic: str = ""
    page: str = MASSIVE


@dataclass(frozen=True)
class Measurement:
    """A module of the library that measures something.

    Attributes:
        name: Of the module, in `seelike`.
        about: What it holds, in words.
        quantities: What it measures.
        benchmark: File in benchmarks/, without its ending, where it is not called like the module.
    """

    name: str
    about: str
    quantities: tuple[Quantity, ...]
    benchmark: str = ""

    def module(self) -> ModuleType:
        """Import its benchmark."""
        return importlib.import_module(self.benchmark or self.name)

    def errors(self, normal: "Draw") -> Iterator[tuple[str, float]]:
        """Give errors against slow formulas, by quantity, on random input of one dtype."""
        yield from self.module().errors(normal)

    def statistics(self) -> Mapping[str, Callable[[Any, Any], float]]:
        """Give functions of a network and an image set, by name."""
        return getattr(self.module(), "STATISTICS", {})

    def rows(self) -> Mapping[str, "Row"]:
        """Give what is timed at the paper's size, by name."""
        return getattr(self.module(), "ROWS", {})

    def growth(self) -> "Growth | None":
        """Give what is followed as sizes grow."""
        return getattr(self.module(), "GROWTH", None)

    def missing(self, root: Path = ROOT) -> list[str]:
        """Name the places in which it does not stand yet."""
        benchmark = f"benchmarks/{self.benchmark or self.name}.py"
        wanted = [f"tests/test_{self.name}.py", benchmark, f"book/reference_{self.name}.md"]
        found = [place for place in wanted if not (root / place).exists()]
        library = root / "lib" / "seelike" / self.name
        if not (library.with_suffix(".py").exists() or (library / "__init__.py").exists()):
            found.append(f"lib/seelike/{self.name}.py")
        if benchmark in found:
            return found
        tree = ast.parse((root / benchmark).read_text())
        defined = {name for node in tree.body for name in _defined(node)}
        asked = {"main": True, "errors": True}
        asked |= {"STATISTICS": any(each.statistic for each in self.quantities)}
        asked |= {"ROWS": any(each.figures for each in self.quantities)}
        found += [f"{benchmark}: {name}" for name, needed in asked.items() if needed and name not in defined]
        formulas = [text for text in _texts(tree) if text.startswith("references")]
        if not formulas:
            found.append(f"tests/references_{self.name}.py, used by `errors` of {benchmark}")
        found += [f"tests/{name}.py" for name in formulas if not (root / "tests" / f"{name}.py").exists()]
        return found


MEASUREMENTS = (
    Measurement(
        "cka",
        "CKA, the unbiased HSIC beneath it, and comparisons of networks, pairs of blocks and heads",
        (
            Quantity(
                "CKA of all layers of some networks",
                ("compare_models", "cka_between"),
                "Figures 1, 2, 8, B.1, H.1, H.2",
                "CKA of all layers",
            ),
            Quantity("CKA of single pairs of layers", ("compare_pairs",), "Figures 12, G.1", "CKA of blocks"),
            Quantity("CKA of sets of attention heads", ("compare_heads",), "Figure 5", "CKA of heads"),
        ),
        benchmark="cka_speed",  # `cka` is the name of a package that it is held against
    ),
    Measurement(
        "attention",
        "attention distances",
        (
            Quantity(
                "Attention distance of every head",
                ("attention_distances",),
                "Figures 3, 4, C.5, C.6",
                "attention distance",
            ),
        ),
    ),
    Measurement(
        "receptive_field",
        "effective receptive fields",
        (
            Quantity(
                "Effective receptive field, before and after the residual addition",
                ("effective_receptive_field",),
                "Figures 6, C.1 to C.4",
                "receptive fields",
            ),
        ),
    ),
    Measurement(
        "skip",
        "skip connections against branches",
        (
            Quantity(
                "Skip connection against branch: norms and angles",
                ("skip_ratios",),
                "Figures 7, E.1, E.2",
                "skip ratios",
            ),
        ),
    ),
    Measurement(
        "localization",
        "CKA of tokens with patches of the image",
        (
            Quantity(
                "CKA of each token with each patch of the image",
                ("token_patch_cka",),
                "Figures 9, 10, D.1 to D.3",
                "localization",
            ),
        ),
    ),
    Measurement(
        "probes",
        "linear probes, and the ridge regression beneath them",
        (
            Quantity(
                "Linear probes by layer and token", ("probe_layers",), "Figures 11, 13, D.4, F.1 to F.3", "probes"
            ),
        ),
    ),
    Measurement(
        "massive_activations",
        "numbers and tokens far larger than all others",
        (
            Quantity(
                "Largest number and longest token of each block",
                ("massive_activations",),
                statistic="largest numbers",
            ),
        ),
    ),
    Measurement(
        "similarities",
        "Procrustes and CCA, to lay beside CKA",
        (Quantity("Procrustes and CCA of two layers", ("procrustes", "cca"), page=OF_MEASURE),),
    ),
    Measurement(
        "neighbours",
        "nearest neighbours that layers share, to lay beside CKA",
        (Quantity("Nearest neighbours that layers share", ("nearest", "shared_neighbours"), page=OF_MEASURE),),
    ),
)


def benchmarks(folder: Path = HERE) -> list[str]:
    """List the benchmarks: those of the measurements, and whatever else reports rows, such as of memory."""
    first = [each.benchmark or each.name for each in MEASUREMENTS]
    others = [path.stem for path in sorted(folder.glob("*.py")) if "report" in called(ast.parse(path.read_text()))]
    return list(dict.fromkeys([*first, *others]))


def table() -> str:
    """Write what is measured as a Markdown table, with links to the reference."""
    lines = ["| Quantity | Call | In the paper |", "|---|---|---|"]
    for each in MEASUREMENTS:
        for one in each.quantities:
            calls = ", ".join(f"{{py:func}}`~seelike.{each.name}.{call}`" for call in one.calls)
            lines.append(f"| {one.what} | {calls} | {one.figures or one.page} |")
    return "\n".join(lines)


def reference() -> str:
    """List the pages of the reference that have measurements."""
    return "\n".join(f"- [`seelike.{each.name}`](reference_{each.name}.md): {each.about}" for each in MEASUREMENTS)


def measured_by(notebook: Path) -> set[str]:
    """Name the statistics of what a notebook measures on whole networks, itself or through `seelike.sections`."""
    through: dict[str, set[str]] = {}
    for path in (ROOT / "lib" / "seelike" / "sections").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                through[node.name] = called(node)
    reached, waiting = set(), called(ast.parse(notebook.read_text()))
    while waiting:
        reached |= waiting
        waiting = {name for each in waiting for name in through.get(each, ())} - reached
    quantities = [one for each in MEASUREMENTS for one in each.quantities]
    return {one.statistic for one in quantities if one.statistic and reached & set(one.calls)}


def called(tree: ast.AST) -> set[str]:
    """Names of the functions that code calls."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls}


def _defined(node: ast.stmt) -> list[str]:
    """What a statement at the top of a file gives a name to."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _texts(tree: ast.Module) -> list[str]:
    """What is handed on as text to `formulas`."""
    return [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "formulas"
        and isinstance(node.args[0], ast.Constant)
    ]
