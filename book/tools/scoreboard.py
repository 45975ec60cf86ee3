"""Gather the claims that executed notebooks recorded, and write the scoreboard of the book."""

import csv
import html
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import executed
from nbformat import NotebookNode

from seelike.claims import SIGNS, Verdict
from seelike.display import escape_markdown
from seelike.uncertainty import with_uncertainty

# After the number of claims, one or several.
_VERBS: dict[Verdict, tuple[str, str]] = {
    "holds": ("holds", "hold"),
    "does not hold": ("does not hold", "do not hold"),
    "undecided": ("is undecided", "are undecided"),
    "not testable": ("is not testable", "are not testable"),
}

# "Figures 11 (left), D.4 and F.3" has room on a tile without its first word.
_SHORT = re.compile(r"^Figures? | \(left\)| \(right\)")

PAGE = """\
# Scoreboard

Every claim of the paper that a page of this book has put to the test, in the order of the paper. Each is one
number, arranged so that the claim says *above zero*. It **holds**, or **does not hold**, where the number is
above or below zero by more than its uncertainty, the half-width of the 95 % interval of its mean over repeats (new
draws of images) or, for accuracies, over ten parts of the test images. Else it is **undecided**.

The uncertainty covers the draw of images. It does not cover the training of the networks: a claim that holds here
holds for these networks. {caveat}

{summary}

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
_CONTROL = (
    "*Before training* is the same number for the same networks with random weights: where it is as large, the "
    "architecture alone makes it."
)


# A claim at a profile that has no network of its own for it.
_STAND_IN: dict[str, Any] = {
    "verdict": "not testable",
    "statistic": None,
    "uncertainty": None,
    "values": [],
    "why": "No public network could be had for it. Tiny ones stand in on the page; they have a column.",
}


@dataclass(frozen=True)
class Control:
    """What a claim came to before any training: on the same networks with random weights."""

    statistic: float | None
    uncertainty: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Row:
    """One claim, as one notebook tested it at one profile.

    Attributes:
        page: Where in the book it is, without an ending.
        before_training: The same with random weights; None where that was not run.
    """

    claim: str
    figure: str
    statement: str
    verdict: Verdict
    statistic: float | None
    uncertainty: float | None
    what: str
    values: list[float]
    why: str
    paper: str
    notebook: str
    figure_name: str | None
    profile: str
    page: str
    before_training: Control | None

    @property
    def label(self) -> str:
        """The name that its figure has in the book."""
        return executed.label(self.page, self.figure_name or "")


def rows(
    name: str, notebook: NotebookNode, profile: str, page: str | None = None, untrained: NotebookNode | None = None
) -> list[Row]:
    """Read the claims that one executed notebook recorded.

    Args:
        name: The notebook's file name without its ending.
        notebook: The executed notebook.
        profile: The profile that it ran at.
        page: Where in the book it is; by default it has the notebook's own place.
        untrained: The same notebook, executed with random weights.

    Returns:
        A row for each claim, in the order of the notebook. One that only tiny networks were there for, at another
        profile than theirs, is not testable.
    """
    recorded = [] if untrained is None else executed.claims(untrained)
    controls = {
        record["claim"]["id"]: Control(record["statistic"], record["uncertainty"], record["verdict"])
        for record in recorded
    }
    run = executed.parameters(notebook)
    all_tiny = profile != "tiny" and run.get("models") and all(name.startswith("tiny/") for name in run["models"])

    def seen(record: dict[str, Any]) -> dict[str, Any]:
        stand_in = all_tiny or record["claim"].get("role") in run.get("tiny_roles", [])
        return record | _STAND_IN if stand_in else record

    return [
        Row(
            claim=record["claim"]["id"],
            figure=record["claim"]["figure"],
            statement=record["claim"]["statement"],
            verdict=record["verdict"],
            statistic=record["statistic"],
            uncertainty=record["uncertainty"],
            what=record["claim"]["statistic"],
            values=list(record["values"]),
            why=record["why"],
            paper=record["claim"]["paper"],
            notebook=name,
            figure_name=record["figure_name"],
            profile=profile,
            page=page or f"notebooks/{name}",
            before_training=controls.get(record["claim"]["id"]),
        )
        for record in map(seen, executed.claims(notebook))
    ]


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
    verdicts = [row.verdict for row in scores if row.profile == profile]
    counts = Counter(verdicts)
    parts = [f"**{n} {_VERBS[verdict][n > 1]}**" for verdict in SIGNS if (n := counts[verdict])]
    claims = "claim" if len(verdicts) == 1 else "claims"
    return f"Of {len(verdicts)} {claims} at the `{profile}` profile: {', '.join(parts)}."


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
    widths = [40, *[44 // len(columns)] * len(columns), 16]
    lines = [":::{list-table}", ":header-rows: 1", ":class: seelike-scoreboard"]
    lines += [f":widths: {' '.join(map(str, widths))}", "", "* - The paper says"]
    lines += [f"  - {HEADINGS[profile]}" for profile in columns] + ["  - See"]
    for tested in _claims(scores):
        row = next(iter(tested.values()))
        paragraphs = [
            f"**{escape_markdown(row.statement)}** ({escape_markdown(row.figure)})",
            escape_markdown(row.paper),
            f"*The number*: {escape_markdown(row.what)}",
        ]
        lines += _cell("* - ", paragraphs)
        for profile in columns:
            lines += _cell("  - ", _outcome(tested[profile]) if profile in tested else ["not there"])
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
    found.append(f"**{SIGNS[row.verdict]} {row.verdict}**{why}")
    if control := row.before_training:
        found.append(f"*Before training*: {number(control)}, {SIGNS[control.verdict]} {control.verdict}")
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
            f'title="{html.escape(f"{row.statement} {row.verdict.capitalize()}.")}">'
            f"<span>{SIGNS[row.verdict]}</span> {html.escape(_SHORT.sub('', row.figure))}"
            f'<span class="visually-hidden">: {html.escape(f"{row.statement} {row.verdict}")}</span></a></li>'
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
    if any(row.before_training for row in scores):
        caveats.append(_CONTROL)
    return PAGE.format(
        caveat=" ".join(dict.fromkeys(caveats)), summary=summary(scores), table=table(scores, titles, figures)
    )


def as_csv(scores: Sequence[Row]) -> str:
    """Write the claims as CSV, the values of the repeats in one field with spaces between them."""
    names = [field.name for field in fields(Row) if field.name != "before_training"]
    of_control = [field.name for field in fields(Control)]
    records = [
        {name: getattr(row, name) for name in names}
        | {"values": values_in_one(row)}
        | {f"before_training_{name}": getattr(row.before_training, name, None) for name in of_control}
        for row in scores
    ]
    return csv_text([*names, *(f"before_training_{name}" for name in of_control)], records)


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
