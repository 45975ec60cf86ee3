"""The claims that many notebooks recorded, read and judged together by the rule of `seelike.evidence`.

A notebook judges each of its claims alone. Here all claims of one profile are seen at once, so that their tests
can be corrected and held against the same networks before training. The book, its scoreboard and its discussion
take their verdicts from here; what a notebook measured stays as it is.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from seelike import evidence
from seelike.claims import CLAIM_MIME, CLAIMS, Result, at_rate, judged

# What seelike.start leaves in a notebook. Not imported: that would load all of torch to read one name.
RUN_MIME = "application/vnd.seelike.run+json"
# The folder of runs with random weights, within that of the others.
UNTRAINED = "untrained"

_STAND_IN = "No public network could be had for it. Tiny ones stand in, and are judged at the profile tiny."
_OLDER = (
    "It was measured as an older version of this claim says, so that it is not judged. Run the page again: make "
    "results for one that is kept in the folder results, else make book."
)


def judge(results: Sequence[Result], controls: Iterable[Result] = ()) -> list[Result]:
    """Judge claims together: those of one profile are one family of tests.

    Args:
        results: The claims as they were measured; verdicts that they have are not looked at, but what was not
            testable stays so.
        controls: The same on networks with random weights, as far as it was measured.

    Returns:
        The same in the same order, with the verdicts that remain after the correction. What holds is marked where
        it holds before any training, too, perhaps does, or was not measured there.

    Example:
        >>> from seelike.claims import evaluate
        >>> clear = evaluate("uniform_layers", [0.30, 0.31, 0.32])
        >>> close = evaluate("resnet_stages", [0.060, 0.065, 0.071])
        >>> close.verdict, [result.verdict for result in judge([clear, close])]
        ('holds', ['holds', 'holds'])
        >>> unclear = evaluate("lower_and_higher_layers_alike", [-0.1, 0.0, 0.1])
        >>> [result.verdict for result in judge([clear, close, unclear])]
        ['holds', 'undecided', 'undecided']
        >>> judge([clear], controls=[clear])[0].says
        'holds in these networks, not learned'
    """
    one_by_one = alone(results)
    tested = [result for result in one_by_one if _is_tested(result)]
    tests = [evidence.p_value(one.estimate, one.claim.margin, one.claim.kind) for one in tested]
    rate = _rate_that_remains(tested, evidence.corrected_rate(tests))
    untrained = {result.claim.id: result.verdict for result in alone(controls) if result.verdict != "not testable"}
    return [_corrected(result, rate, len(tests), untrained) for result in one_by_one]


def alone(results: Iterable[Result]) -> list[Result]:
    """Judge each claim by its own 95 % interval; what was not testable stays so."""
    return [result if result.verdict == "not testable" else judged(result) for result in results]


def _rate_that_remains(tested: Sequence[Result], rate: float) -> float:
    """Lower the corrected rate until as many claims as it counts are still decided after the second measure."""
    step = evidence.RATE / max(len(tested), 1)
    for counted in range(round(rate / step), 0, -1):
        found = [at_rate(result, counted * step).verdict for result in tested]
        if sum(verdict not in ("undecided", "depends on the measure") for verdict in found) >= counted:
            return counted * step
    return 0.0


def _is_tested(result: Result) -> bool:
    enough = max(result.networks) >= result.claim.networks
    return result.verdict != "not testable" and result.uncertainty is not None and enough


def _corrected(result: Result, rate: float, number: int, untrained: Mapping[str, str]) -> Result:
    if not _is_tested(result):
        return result
    found = at_rate(result, rate)
    if found.verdict != result.verdict:
        why = f"By its own interval: {result.verdict}. But not after the correction for {number} tests."
        found = replace(found, why=why)
    if found.verdict != "holds":
        return found
    return replace(found, before_training=untrained.get(result.claim.id, "not measured"))


def read(notebook: Mapping[str, Any]) -> list[Result]:
    """Read the claims that an executed notebook recorded, as what they are today.

    Args:
        notebook: Its content, as JSON or as nbformat reads it.

    Returns:
        The claims in the order of the notebook, with today's texts and margins, not yet judged. Not testable are
        those that only tiny networks were there for, at another profile than theirs; and those whose statistic is
        another one today, or that are tested no more, which keep the texts that they had.

    Example:
        >>> read({"cells": []})
        []
    """
    run = next(_recorded(notebook, RUN_MIME), {})
    records = (_with_overlap(record, run) for record in _recorded(notebook, CLAIM_MIME))
    return [_today(Result.from_record(record), run) for record in records]


def _with_overlap(record: dict[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Add what older records lack: each of their draws took images by chance."""
    on_draws = record["claim"].get("over", "repeats") == "repeats" and run.get("models")
    if "overlap" in record or not on_draws or not run.get("images_in_all"):
        return record
    return record | {"overlap": min(1.0, run["number_of_images"] / run["images_in_all"])}


def _recorded(notebook: Mapping[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if kind in output.get("data", {}):
                yield output["data"][kind]


def _today(result: Result, run: Mapping[str, Any]) -> Result:
    claim = CLAIMS.get(result.claim.id)
    if claim is None or (claim.statistic, claim.over) != (result.claim.statistic, result.claim.over):
        return replace(result, verdict="not testable", why=_OLDER, before_training="")
    models = run.get("models", [])
    all_tiny = bool(models) and all(name.startswith("tiny/") for name in models)
    if run.get("profile", "tiny") != "tiny" and (all_tiny or claim.role in run.get("tiny_roles", [])):
        return Result(claim, "not testable", why=_STAND_IN, figure_name=result.figure_name)
    if run.get("weights_given") == "random":
        # Without training a seed makes no difference: all trainings of a network begin as one.
        result = replace(result, groups=_once(result.groups), by_neighbours=_once(result.by_neighbours))
    return replace(result, claim=claim)


def _once(groups: Sequence[Mapping[str, Sequence[float]]]) -> tuple[dict[str, tuple[float, ...]], ...]:
    networks = map(evidence.by_network, groups)
    return tuple({name: tuple(values.tolist()) for name, values in group.items()} for group in networks)


def gather(folder: str | Path) -> list[Result]:
    """Read and judge the claims that executed notebooks recorded, in the order of the paper.

    Args:
        folder: Where the notebooks are, such as `build/executed/tiny`, in which `make book` leaves them, with
            those of random weights in a folder `untrained`. A relative folder is looked for here and in the
            folders above: a notebook may run in a folder of its own.

    Returns:
        The results; none where there is no such folder.

    Example:
        >>> gather("no/such/folder")
        []
    """
    here = Path.cwd()
    found = next((path for above in (here, *here.parents) if (path := above / folder).is_dir()), None)
    if found is None:
        return []
    results, controls = (
        [result for notebook in _notebooks(place) for result in read(notebook)]
        for place in (found, found / UNTRAINED)
    )
    order = {name: place for place, name in enumerate(CLAIMS)}
    return sorted(judge(results, controls), key=lambda result: order.get(result.claim.id, len(order)))


def _notebooks(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.ipynb"))]


def digest(folder: Path) -> str:
    """Hash all that the verdicts of a folder of executed notebooks follow from: its claims, and today's margins.

    Args:
        folder: As for `gather`.

    Example:
        >>> digest(Path("no/such/folder"))
        '4f53cda18c2baa0c'
    """
    content = [
        [place == UNTRAINED, asdict(replace(result, verdict="undecided", why="", before_training=""))]
        for place in (".", UNTRAINED)
        for notebook in _notebooks(folder / place)
        for result in read(notebook)
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
