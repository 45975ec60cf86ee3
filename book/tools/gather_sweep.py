"""Gather what a sweep has found: claims.csv, a row for each claim, set of models and seed; and a page to look at.

python book/tools/gather_sweep.py sweep.yaml
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import executed
import jinja2
import judging
import nbformat
import scoreboard
import sweep
from nbformat import NotebookNode

from seelike.claims import SIGNS

TEMPLATE = "comparison.html"
COLUMNS = (
    "claim",
    "figure",
    "notebook",
    "label",
    "models",
    "seed",
    "statistic",
    "uncertainty",
    "verdict",
    "says",
    "margin",
    "values",
    "why",
    "profile",
)
# Room beside the outermost mark, as a share of the axis.
_MARGIN = 0.06


@dataclass(frozen=True)
class Outcome:
    """One claim, as one job of a sweep tested it.

    Attributes:
        job: The notebook, models and seed.
        models: Names of the networks that were really loaded.
        row: The claim with its statistic and verdict.
    """

    job: sweep.Job
    models: list[str]
    row: scoreboard.Row


@dataclass(frozen=True)
class Mark:
    """Where a picture shows one seed: percentages of its width."""

    outcome: Outcome
    place: float
    begin: float
    end: float


def read(asked: sweep.Sweep) -> tuple[list[Outcome], list[dict[str, Any]]]:
    """Read all executed notebooks of a sweep.

    Returns:
        The claims that they recorded, and of each notebook with a set-up line what it says of the run.

    Raises:
        ValueError: A notebook is missing, or did not run to its end.
    """
    complaints: dict[sweep.Job, list[str]] = {}
    outcomes: dict[sweep.Job, list[Outcome]] = {}
    runs: dict[sweep.Job, dict[str, Any]] = {}
    # What one set of models gave on the images of one seed is as one book. All of a large sweep are gigabytes.
    for book in dict.fromkeys((job.label, job.seed) for job in asked.jobs):
        done: dict[sweep.Job, NotebookNode] = {}
        for job in asked.jobs:
            if (job.label, job.seed) != book:
                continue
            if not job.output.exists():
                complaints[job] = [f"{job.output} is not there."]
                continue
            done[job] = nbformat.read(job.output, as_version=4)
            complaints[job] = [f"{job.output}: {problem}" for problem in executed.problems(done[job])]
        if any(complaints.values()):
            continue
        judging.judge(list(done.values()))
        for job, notebook in done.items():
            runs[job] = executed.parameters(notebook)
            rows = scoreboard.rows(job.notebook, notebook, asked.profile)
            outcomes[job] = [Outcome(job, runs[job].get("models", []), row) for row in rows]
    if any(complaints.values()):
        raise ValueError("\n".join(line for job in asked.jobs for line in complaints[job]))
    return (
        [one for job in asked.jobs for one in outcomes[job]],
        [runs[job] for job in asked.jobs if runs[job]],
    )


def as_csv(outcomes: Iterable[Outcome]) -> str:
    """Write one row for each claim, set of models and seed."""
    records = [
        {
            "claim": one.row.claim,
            "figure": one.row.figure,
            "notebook": one.job.notebook,
            "label": one.job.label,
            "models": ", ".join(one.models),
            "seed": one.job.seed,
            "statistic": one.row.statistic,
            "uncertainty": one.row.uncertainty,
            "verdict": one.row.verdict,
            "says": one.row.says,
            "margin": one.row.margin,
            "values": scoreboard.values_in_one(one.row),
            "why": one.row.why,
            "profile": one.row.profile,
        }
        for one in outcomes
    ]
    return scoreboard.csv_text(COLUMNS, records)


def axis(outcomes: Iterable[Outcome]) -> tuple[float, float]:
    """Choose the axis of a claim's picture: zero, the margin to both sides, and every interval are on it.

    Returns:
        Its first and its last value.
    """
    ends = [0.0]
    for one in outcomes:
        ends += [-one.row.margin, one.row.margin]
        if one.row.statistic is not None:
            width = one.row.uncertainty or 0.0
            ends += [one.row.statistic - width, one.row.statistic + width]
    low, high = min(ends), max(ends)
    room = _MARGIN * (high - low) or 1.0
    return low - room, high + room


def mark(outcome: Outcome, low: float, high: float) -> Mark | None:
    """Place a statistic and its interval on an axis; nothing where it was not measured.

    Example:
        >>> from types import SimpleNamespace
        >>> found = mark(SimpleNamespace(row=SimpleNamespace(statistic=0.5, uncertainty=0.25)), 0, 1)
        >>> found.place, found.begin, found.end
        (50.0, 25.0, 75.0)
    """
    statistic, uncertainty = outcome.row.statistic, outcome.row.uncertainty or 0.0
    if statistic is None:
        return None
    ends = (statistic, statistic - uncertainty, statistic + uncertainty)
    return Mark(outcome, *(round(100 * (end - low) / (high - low), 2) for end in ends))


def pictures(asked: sweep.Sweep, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Prepare what the page shows of each claim.

    Returns:
        For each claim of each notebook: the claim, its axis, and for each set of models its marks, the seeds at
        which it was not testable, and the number of each verdict.
    """
    found = []
    for notebook, claim in dict.fromkeys((one.job.notebook, one.row.claim) for one in outcomes):
        here = [one for one in outcomes if (one.job.notebook, one.row.claim) == (notebook, claim)]
        low, high = axis(here)
        sets = []
        for label in asked.models:
            of_label = [one for one in here if one.job.label == label]
            counts = Counter(one.row.verdict for one in of_label)
            sets.append(
                {
                    "label": label,
                    "marks": [shown for one in of_label if (shown := mark(one, low, high))],
                    "without": [one for one in of_label if one.row.statistic is None],
                    "counts": {verdict: counts[verdict] for verdict in SIGNS if counts[verdict]},
                }
            )
        margin = here[0].row.margin
        start, zero, end = (round(100 * (at - low) / (high - low), 2) for at in (-margin, 0, margin))
        shown = {"low": low, "high": high, "zero": zero, "band": (start, end)}
        found.append({"row": here[0].row, "sets": sets, **shown})
    return found


def what_was_run(runs: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """List, of each thing that a run's record names, all values that occur in the sweep.

    Example:
        >>> record = {"images": "digits/test", "versions": {"torch": "2.4.0"}, "date": "2026-03-01T10:00:00+00:00"}
        >>> what_was_run([record, {**record, "images": "textures/test"}])
        {'Images': ['digits/test', 'textures/test'], 'Versions': ['torch 2.4.0'], 'Date': ['2026-03-01']}
    """
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        facts: dict[str, Iterable[Any]] = {
            "Images": [run.get("images")],
            "Images in each repeat": [run.get("number_of_images")],
            "Images in a minibatch": [run.get("batch_size")],
            "Repeats": [run.get("repeats")],
            "Precision": [run.get("precision")],
            "Device": [run.get("gpu") or run.get("device")],
            "Versions": [f"{name} {version}" for name, version in run.get("versions", {}).items()],
            "Weights": [_weights(name, source) for name, source in run.get("weights", {}).items()],
            "Date": [run.get("date", "")[:10]],
        }
        for name, values in facts.items():
            kept = {str(value): None for value in values if value not in (None, "")}
            if kept:
                found.setdefault(name, {}).update(kept)
    return {name: list(values) for name, values in found.items()}


def _weights(name: str, source: dict[str, Any]) -> str:
    where = (
        f"{source['repository']} at {source['revision']}"
        if source.get("repository")
        else Path(source["file"]).name
    )
    return f"{name}: {where}, sha256 {source['sha256'][:12]}"


def page(asked: sweep.Sweep, outcomes: Sequence[Outcome], runs: Iterable[dict[str, Any]]) -> str:
    """Write the comparison page. Every name in it is escaped by the template's engine."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": scoreboard.number,
        "address": lambda job: quote(job.output.relative_to(asked.folder).as_posix()),
        "css": lambda verdict: verdict.replace(" ", "-"),
    }
    return environment.get_template(TEMPLATE).render(
        sweep=asked,
        pictures=pictures(asked, outcomes),
        networks={
            label: list(dict.fromkeys(name for one in outcomes if one.job.label == label for name in one.models))
            for label in asked.models
        },
        facts=what_was_run(runs),
        signs=SIGNS,
    )


def main() -> None:
    """Gather the sweep that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    try:
        asked = sweep.read(parser.parse_args().sweep)
        outcomes, runs = read(asked)
    except ValueError as error:
        raise SystemExit(f"The sweep cannot be gathered.\n{error}") from None
    (asked.folder / "claims.csv").write_text(as_csv(outcomes))
    (asked.folder / "comparison.html").write_text(page(asked, outcomes, runs))


if __name__ == "__main__":
    main()
