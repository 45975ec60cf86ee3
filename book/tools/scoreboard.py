"""Write the scoreboard of the book from the claims of executed notebooks, as judging.py left them."""

import csv
import html
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import executed
from nbformat import NotebookNode

from seelike import evidence
from seelike.claims import SIGNS, Result, Verdict, judged, spread_over
from seelike.display import escape_markdown
from seelike.uncertainty import with_uncertainty

# After the number of claims, one or several.
_VERBS: dict[Verdict, tuple[str, str]] = {
    "holds": ("holds", "hold"),
    "negligible": ("is negligible", "are negligible"),
    "reversed": ("is reversed", "are reversed"),
    "does not hold": ("does not hold", "do not hold"),
    "depends on the measure": ("depends on the measure", "depend on the measure"),
    "undecided": ("is undecided", "are undecided"),
    "not testable": ("is not testable", "are not testable"),
}

# "Figures 11 (left), D.4 and F.3" has room on a tile without its first word.
_SHORT = re.compile(r"^Figures? | \(left\)| \(right\)")

# The rule in one picture, which takes the colours of the page.
PICTURE = Path(__file__).with_name("rule.svg")

PAGE = """\
# Scoreboard

Every claim of the paper that a page of this book has put to the test, in the order of the paper. {caveat}

{summary}

```{{rubric}} The rule
```

Each claim is one number with a **margin**: the smallest effect of interest, and why that one. The number is
measured on several draws of images (repeats) from one set, or on parts of the test images, and of several
trainings of each network where there are any; the spread of both gives its 95 % interval. Draws share no image
where the set has enough images; where they share some, the interval is wider for it. The interval gives the
verdict. The claim **holds** where all of the interval lies beyond the margin, and is **reversed** where it lies as
far on the other side. Where it lies between the two, the effect is **negligible**. Where it reaches further down,
but ends below the margin, the claim **does not hold**: an effect of that size is excluded. Where the margin is in
the interval, the claim is **undecided**. We chose the margins after a first round of measurements, each for the
reason beside it. Another choice is possible: below each number stands what its own interval says with half the
margin and with twice the margin.

{picture}

*In these networks* stands where each network was trained once: another training could move the number by more
than its interval. *Not learned* stands where the claim also holds *before training*, for the same networks with
random weights: then it owes nothing to what they learned. (In some networks each branch begins training with a
factor near zero. Their untrained copies have ones there: a network that hands on its input is no control.) A
claim about CKA is measured a second time by the nearest neighbours that layers share
([`seelike.neighbours`](reference_neighbours.md)). Where that contradicts the verdict, the claim **depends on
the measure**; where it is not sure, the claim is undecided. Trainings that differ in their seed alone are one
network: where a claim is about several networks, each counts once.

Of many tests some err by chance. So all claims of one profile are corrected together (Benjamini and Hochberg):
of the verdicts other than undecided at most 5 % can be expected to be wrong. To that end the verdict is that of a
wider interval than the one that is written here. A notebook that runs by itself has no such correction, and may
decide more. [`seelike.evidence`](reference_evidence.md) has the mathematics.

```{{rubric}} The claims
```

{table}

A click on a heading sorts the table by it. The same as data, with the value of each repeat:
<a href="../_static/scoreboard.csv" download>scoreboard.csv</a>,
<a href="../_static/scoreboard.json" download>scoreboard.json</a>.

<script src="../_static/tablesort/tablesort.min.js"></script>
<script src="../_static/tablesort/tablesort.number.min.js"></script>
<script src="../_static/tablesort/scoreboard.js"></script>
"""

# What a column of the table is called.
HEADINGS = {"paper": "Paper's size", "colab": "Colab", "pretrained": "Pretrained", "tiny": "Tiny"}

_PUBLIC = "Public ImageNet-21k checkpoints stand in for the paper's JFT-300M ones."
# What the networks of a profile stand in for.
CAVEATS = {
    "tiny": "The networks of the `tiny` profile have at most 1.6 million parameters and saw only small pictures "
    "of garments. The table says what happens there; the other profiles come nearer to the paper's scale.",
    "pretrained": "The `pretrained` profile has public networks of under 100 million parameters; self-supervised "
    "ViTs and CNNs of ImageNet stand in for the paper's JFT-300M ones.",
    "colab": _PUBLIC,
    "paper": _PUBLIC,
}


@dataclass(frozen=True)
class Control:
    """What a claim came to otherwise: before any training, or by another measure of likeness."""

    statistic: float | None
    uncertainty: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Row:
    """One claim, as one notebook tested it at one profile.

    Attributes:
        says: The verdict in words, with what limits it.
        spread_over: What varied, and so is in the interval.
        trainings: The number of trainings in each group of networks.
        groups: The value of each repeat by training, where there are several.
        page: Where in the book it is, without an ending.
        before_training: The same with random weights; None where that was not run.
        by_neighbours: The same by another measure than CKA; None where it is not about CKA.
        other_margins: What its own interval says with half the margin, and with twice the margin; empty where the
            margin is a threshold, or nothing was measured.
    """

    claim: str
    figure: str
    statement: str
    verdict: Verdict
    says: str
    not_learned: bool
    statistic: float | None
    uncertainty: float | None
    margin: float
    margin_reason: str
    kind: str
    what: str
    values: list[float]
    trainings: list[int]
    spread_over: str
    groups: tuple[dict[str, tuple[float, ...]], ...]
    why: str
    paper: str
    notebook: str
    figure_name: str | None
    profile: str
    page: str
    before_training: Control | None
    by_neighbours: Control | None = None
    other_margins: str = ""

    @property
    def label(self) -> str:
        """The name that its figure has in the book."""
        return executed.label(self.page, self.figure_name or "")


def rows(
    name: str, notebook: NotebookNode, profile: str, page: str | None = None, untrained: NotebookNode | None = None
) -> list[Row]:
    """Read the claims that one executed notebook recorded, with the verdicts that it has.

    Args:
        name: The notebook's file name without its ending.
        notebook: The executed notebook.
        profile: The profile that it ran at.
        page: Where in the book it is; by default it has the notebook's own place.
        untrained: The same notebook, executed with random weights.

    Returns:
        A row for each claim, in the order of the notebook.
    """
    controls = {
        control.claim.id: Control(control.statistic, control.uncertainty, control.verdict)
        for control in _results(untrained)
        if control.verdict != "not testable"
    }
    return [
        Row(
            claim=result.claim.id,
            figure=result.claim.figure,
            statement=result.claim.statement,
            verdict=result.verdict,
            says=result.says,
            not_learned=result.not_learned,
            statistic=result.statistic,
            uncertainty=result.uncertainty,
            margin=result.claim.margin,
            margin_reason=result.claim.margin_reason,
            kind=result.claim.kind,
            what=result.claim.statistic,
            values=list(result.values),
            trainings=result.trainings,
            spread_over=spread_over(result),
            groups=result.groups,
            why=result.why,
            paper=result.claim.paper,
            notebook=name,
            figure_name=result.figure_name,
            profile=profile,
            page=page or f"notebooks/{name}",
            before_training=controls.get(result.claim.id),
            by_neighbours=_by_neighbours(result),
            other_margins=_other_margins(result),
        )
        for result in _results(notebook)
    ]


def _by_neighbours(result: Result) -> Control | None:
    found = result.estimate_by_neighbours
    if found is None:
        return None
    width = found.half_width()
    verdict = evidence.verdict(found, result.claim.margin, result.claim.kind)
    return Control(found.mean, None if math.isnan(width) else width, verdict)


def _other_margins(result: Result) -> str:
    if result.verdict == "not testable" or result.statistic is None or result.claim.kind == "threshold":
        return ""
    claims = [replace(result.claim, margin=factor * result.claim.margin) for factor in (0.5, 2)]
    return ", ".join(judged(replace(result, claim=claim)).verdict for claim in claims)


def _results(notebook: NotebookNode | None) -> list[Result]:
    return [] if notebook is None else [Result.from_record(record) for record in executed.claims(notebook)]


def profiles(scores: Iterable[Row]) -> list[str]:
    """List the profiles that there are claims of, that of the largest networks first."""
    found = {row.profile for row in scores}
    rank = {profile: place for place, profile in enumerate(executed.PREFERENCE)}
    return sorted(found, key=lambda profile: (rank.get(profile, len(rank)), profile))


def summary(scores: Sequence[Row]) -> str:
    """Say in one sentence for each profile how many claims hold.

    Example:
        >>> summary([])
        'No page has recorded a claim yet.'
    """
    if not scores:
        return "No page has recorded a claim yet."
    return " ".join(_summary(profile, scores) for profile in profiles(scores))


def _summary(profile: str, scores: Iterable[Row]) -> str:
    here = [row for row in scores if row.profile == profile]
    counts = Counter(row.verdict for row in here)
    parts = {verdict: f"**{n} {_VERBS[verdict][n > 1]}**" for verdict in SIGNS if (n := counts[verdict])}
    controlled = [row for row in here if row.verdict == "holds" and row.before_training]
    if controlled:
        held = sum(row.not_learned for row in controlled)
        parts["holds"] += f" (measured before training: {len(controlled)}, and {held} of these hold there, too)"
    claims = "claim" if len(here) == 1 else "claims"
    return f"Of {len(here)} {claims} at the `{profile}` profile: {', '.join(parts.values())}."


def number(row: Row | Control) -> str:
    """Write the statistic with its uncertainty.

    Example:
        >>> from types import SimpleNamespace
        >>> number(SimpleNamespace(statistic=0.3114, uncertainty=0.0249))
        '0.311 ± 0.025'
    """
    if row.statistic is None:
        return "not measured"
    return with_uncertainty(row.statistic, row.uncertainty)


def table(scores: Sequence[Row], titles: dict[str, str], figures: set[str]) -> str:
    """Write the claims as a MyST table with links to their figures: a column for each profile.

    Args:
        scores: The claims.
        titles: Heading of each notebook, by name.
        figures: Names of the figures that are in the book.

    Returns:
        A `list-table` directive; nothing where there are no claims.
    """
    if not scores:
        return ""
    columns = profiles(scores)
    widths = [36, *[44 // len(columns)] * len(columns), 8, 12]
    lines = [":::{list-table}", ":header-rows: 1", ":class: seelike-scoreboard"]
    lines += [f":widths: {' '.join(map(str, widths))}", "", "* - The paper says"]
    lines += [f"  - {HEADINGS[profile]}" for profile in columns] + ["  - Margin", "  - See"]
    for tested in _claims(scores):
        row = next(iter(tested.values()))
        paragraphs = [
            f"**{escape_markdown(row.statement)}** ({escape_markdown(row.figure)})",
            "<details><summary>The paper's words, the number and its margin</summary>",
            escape_markdown(row.paper),
            f"*The number*: {escape_markdown(row.what)}",
            f"*The margin*: {row.margin:g}. {escape_markdown(row.margin_reason)}",
            "</details>",
        ]
        lines += _cell("* - ", paragraphs)
        for profile in columns:
            lines += _cell("  - ", _outcome(tested[profile]) if profile in tested else ["not there"])
        lines += _cell("  - ", [f"{row.margin:g}"])
        lines += _cell("  - ", [_place(one, titles, figures) for one in tested.values()])
    return "\n".join([*lines, ":::"])


def _claims(scores: Iterable[Row]) -> list[dict[str, Row]]:
    """Bring together the rows of each claim of each notebook, by profile, that of the largest networks first."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in scores:
        found.setdefault((row.notebook, row.claim), {})[row.profile] = row
    return [{profile: rows[profile] for profile in profiles(rows.values())} for rows in found.values()]


def _cell(start: str, paragraphs: Sequence[str]) -> list[str]:
    first, *others = paragraphs
    return [start + first, *(line for paragraph in others for line in ("", f"    {paragraph}"))]


def _outcome(row: Row) -> list[str]:
    """The paragraphs of one claim at one profile. The first begins with the number: the column is sorted by it."""
    why = f": {escape_markdown(row.why)}" if row.why else ""
    found = [f"**{number(row)}**" if row.statistic is not None else number(row)]
    found.append(f"**{SIGNS[row.verdict]} {row.says}**{why}")
    if row.statistic is not None:
        found.append(f"*Varied*: {row.spread_over}")
    if row.statistic is not None and row.before_training is None:
        found.append("*Before training*: not measured")
    if control := row.before_training:
        found.append(f"*Before training*: {number(control)}, {SIGNS[control.verdict]} {control.verdict}")
    if row.by_neighbours:
        found.append(f"*By shared neighbours*: {number(row.by_neighbours)}")
    if row.other_margins:
        found.append(f"*Half, twice the margin*: {row.other_margins}")
    return found


def _place(row: Row, titles: Mapping[str, str], figures: set[str]) -> str:
    if row.label in figures:
        return f"{{numref}}`{row.label}`"
    which = "" if row.page == f"notebooks/{row.notebook}" else f" ({row.profile})"
    return f"[{titles[row.notebook]}{which}](../{row.page}.ipynb)"


def picture(scores: Sequence[Row], titles: dict[str, str]) -> str:
    """Draw the verdicts of one profile in one picture: a line for each page, a tile for each claim.

    It is HTML, so that it takes the colours of the page, has room on a phone, and every tile leads to its page.

    Args:
        scores: The claims.
        titles: Heading of each notebook, by name.

    Example:
        >>> picture([], {})
        ''
    """
    if not scores:
        return ""
    lines = ['<ul class="seelike-picture" aria-label="All claims, page by page">']
    for page in dict.fromkeys(row.page for row in scores):
        here = [row for row in scores if row.page == page]
        tiles = [
            f'<li><a class="{row.verdict.replace(" ", "-")}" href="../{page}.html" '
            f'title="{html.escape(f"{row.statement} {row.says.capitalize()}.")}">'
            f"<span>{SIGNS[row.verdict]}</span> {html.escape(_SHORT.sub('', row.figure))}"
            f'<span class="visually-hidden">: {html.escape(f"{row.statement} {row.says}")}</span></a></li>'
            for row in here
        ]
        title = html.escape(titles[here[0].notebook])
        lines.append(f"<li><span>{title}</span><ul>{''.join(tiles)}</ul></li>")
    return "\n".join([*lines, "</ul>"])


def outcome(scores: Sequence[Row], titles: dict[str, str]) -> str:
    """Write what the front page says of all claims: how many hold, and a picture, for the largest networks first.

    Args:
        scores: The claims.
        titles: Heading of each notebook, by name.

    Returns:
        MyST Markdown. The pictures of the other profiles open on a click.
    """
    if not scores:
        return summary(scores) + "\n"
    key = ", ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items())
    parts = [summary(scores)]
    for profile in profiles(scores):
        drawn = picture([row for row in scores if row.profile == profile], titles)
        if profile == profiles(scores)[0]:
            parts.append(f"{drawn}\n<p>A tile is a claim, named by the paper's figures: {key}.</p>")
        else:
            opening = f"<details><summary>The same at the <code>{profile}</code> profile</summary>"
            parts.append(f"{opening}\n{drawn}\n</details>")
    return "\n\n".join(parts) + "\n"


def page(scores: Sequence[Row], titles: dict[str, str], figures: set[str]) -> str:
    """Write the scoreboard page as MyST Markdown."""
    caveats = [CAVEATS.get(profile, "") for profile in profiles(scores)]
    return PAGE.format(
        caveat=" ".join(dict.fromkeys(caveats)),
        summary=summary(scores),
        picture=PICTURE.read_text().strip(),
        table=table(scores, titles, figures),
    )


def as_csv(scores: Sequence[Row]) -> str:
    """Write the claims as CSV, the values of the repeats in one field with spaces between them."""
    kinds = ("before_training", "by_neighbours")
    names = [field.name for field in fields(Row) if field.name not in (*kinds, "groups")]
    columns = [(kind, field.name) for kind in kinds for field in fields(Control)]
    records = [
        {name: getattr(row, name) for name in names}
        | {"values": values_in_one(row), "trainings": " ".join(map(str, row.trainings))}
        | {f"{kind}_{name}": getattr(getattr(row, kind), name, None) for kind, name in columns}
        for row in scores
    ]
    return csv_text([*names, *(f"{kind}_{name}" for kind, name in columns)], records)


def values_in_one(row: Row) -> str:
    """Write the value of each repeat into one field, with spaces between them."""
    return " ".join(map(str, row.values))


def csv_text(columns: Sequence[str], records: Iterable[Mapping[str, Any]]) -> str:
    """Write records as CSV, with a line for the columns' names.

    Example:
        >>> csv_text(["claim", "seed"], [{"claim": "uniform_layers", "seed": 0}])
        'claim,seed\\nuniform_layers,0\\n'
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def as_json(scores: Sequence[Row]) -> str:
    """Write the claims as JSON."""
    return json.dumps([asdict(row) for row in scores], indent=1, ensure_ascii=False) + "\n"
