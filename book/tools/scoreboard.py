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

from nbformat import NotebookNode

from seelike.claims import CLAIM_MIME, SIGNS, Verdict
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

# What the networks of a profile stand in for.
CAVEATS = {
    "tiny": "The networks of the `tiny` profile have at most 1.6 million parameters and saw only small pictures "
    "of garments. The table says what happens there; the other profiles come nearer to the paper's scale.",
    "colab": "Public ImageNet-21k checkpoints stand in for the paper's JFT-300M ones.",
    "paper": "Public ImageNet-21k checkpoints stand in for the paper's JFT-300M ones.",
}


@dataclass(frozen=True)
class Row:
    """One claim, as one notebook tested it."""

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


def rows(name: str, notebook: NotebookNode, profile: str) -> list[Row]:
    """Read the claims that one executed notebook recorded.

    Args:
        name: The notebook's file name without its ending.
        notebook: The executed notebook.
        profile: The profile that it ran at.

    Returns:
        A row for each claim, in the order of the notebook.
    """
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    records: list[dict[str, Any]] = [
        output.data[CLAIM_MIME] for output in outputs if CLAIM_MIME in output.get("data", {})
    ]
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
        )
        for record in records
    ]


def summary(scores: Sequence[Row]) -> str:
    """Say in one sentence how many claims hold.

    Example:
        >>> summary([])
        'No page has recorded a claim yet.'
    """
    if not scores:
        return "No page has recorded a claim yet."
    counts = Counter(row.verdict for row in scores)
    parts = [f"**{n} {_VERBS[verdict][n > 1]}**" for verdict in SIGNS if (n := counts[verdict])]
    profiles = " and ".join(f"`{profile}`" for profile in sorted({row.profile for row in scores}))
    claims = "claim" if len(scores) == 1 else "claims"
    return f"Of {len(scores)} {claims} at the {profiles} profile: {', '.join(parts)}."


def number(row: Row) -> str:
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
    """Write the claims as a MyST table with links to their figures.

    Args:
        scores: The claims.
        titles: Heading of each notebook, by name.
        figures: Names of the figures that are in the book.

    Returns:
        A `list-table` directive; nothing where there are no claims.
    """
    if not scores:
        return ""
    lines = [":::{list-table}", ":header-rows: 1", ":class: seelike-scoreboard", ":widths: 34 34 18 14", ""]
    lines += ["* - The paper says", "  - Here", "  - The claim", "  - See"]
    for row in scores:
        see = f"[{titles[row.notebook]}](../notebooks/{row.notebook}.ipynb)"
        if row.figure_name in figures:
            see = f"{{numref}}`{row.figure_name}`"
        measured = f"**{number(row)}**: {escape_markdown(row.what)}" if row.statistic is not None else number(row)
        why = f": {escape_markdown(row.why)}" if row.why else ""
        lines += [
            f"* - **{escape_markdown(row.statement)}** ({escape_markdown(row.figure)})",
            "",
            f"    {escape_markdown(row.paper)}",
            "",
            f"  - {measured}",
            f"  - **{SIGNS[row.verdict]} {row.verdict}**{why}",
            f"  - {see}",
        ]
    return "\n".join([*lines, ":::"])


def picture(scores: Sequence[Row], titles: dict[str, str]) -> str:
    """Draw all verdicts in one picture: a line for each page, a tile for each claim.

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
    for notebook in dict.fromkeys(row.notebook for row in scores):
        tiles = [
            f'<li><a class="{row.verdict.replace(" ", "-")}" href="../notebooks/{notebook}.html" '
            f'title="{html.escape(f"{row.statement} {row.verdict.capitalize()}.")}">'
            f"<span>{SIGNS[row.verdict]}</span> {html.escape(_SHORT.sub('', row.figure))}"
            f'<span class="visually-hidden">: {html.escape(f"{row.statement} {row.verdict}")}</span></a></li>'
            for row in scores
            if row.notebook == notebook
        ]
        lines.append(f"<li><span>{html.escape(titles[notebook])}</span><ul>{''.join(tiles)}</ul></li>")
    key = ", ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items())
    return "\n".join([*lines, "</ul>", f"<p>A tile is a claim, named by the paper's figures: {key}.</p>"])


def page(scores: Sequence[Row], titles: dict[str, str], figures: set[str]) -> str:
    """Write the scoreboard page as MyST Markdown."""
    caveats = [CAVEATS.get(profile, "") for profile in sorted({row.profile for row in scores})]
    return PAGE.format(caveat=" ".join(caveats), summary=summary(scores), table=table(scores, titles, figures))


def as_csv(scores: Sequence[Row]) -> str:
    """Write the claims as CSV, the values of the repeats in one field with spaces between them."""
    records = [{**asdict(row), "values": values_in_one(row)} for row in scores]
    return csv_text([field.name for field in fields(Row)], records)


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
