"""The paper's claims, each as one number that is above zero where the claim holds.

A notebook computes the number once per repeat and calls `record`. That shows a card to the reader and leaves
the same in the notebook in machine-readable form, from which the scoreboard of the book is made. At its end
`on_this_page` lists what has been recorded.

The uncertainty covers the draw of the images: repeats are new draws, and accuracies are compared on ten parts of
the test images. It does not cover the training of the networks: those are the same ones every time, and a claim
that holds here holds for these networks.
"""

import html
import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seelike.display import escape_markdown, show
from seelike.errors import unknown_name
from seelike.uncertainty import mean_and_uncertainty, with_uncertainty
from seelike.uncertainty import summary as summary  # pages take it from here

CLAIM_MIME = "application/vnd.seelike.claim+json"

Verdict = Literal["holds", "does not hold", "undecided", "not testable"]

# A sign beside the word, so that neither colour nor reading is needed to tell them apart.
SIGNS: dict[Verdict, str] = {"holds": "✓", "does not hold": "✗", "undecided": "?", "not testable": "○"}


@dataclass(frozen=True)
class Claim:
    """One statement of the paper, and the number that tests it.

    Attributes:
        id: Its name in `CLAIMS`.
        figure: The figures of the paper that carry it.
        statement: What the paper says, as one sentence.
        statistic: What is computed, in words. The claim says that it is above zero.
        paper: What the paper reports.
        over: What there is one number of each of; their spread gives the uncertainty.
        role: The role of the networks that it compares, where that is a group such as "cls_and_gap"; else empty.

    Example:
        >>> CLAIMS["uniform_layers"].figure
        'Figures 1 and B.1'
    """

    id: str
    figure: str
    statement: str
    statistic: str
    paper: str
    over: str = "repeats"
    role: str = ""


with (Path(__file__).parent / "claims.toml").open("rb") as _file:
    CLAIMS: dict[str, Claim] = {name: Claim(id=name, **entry) for name, entry in tomllib.load(_file).items()}


# The results of this kernel, by claim. A cell that runs again takes the place of what it recorded before.
_recorded: dict[str, "Result"] = {}


@dataclass(frozen=True)
class Result:
    """A claim, tested.

    Attributes:
        claim: What was tested.
        verdict: "holds" or "does not hold" where the statistic is above or below zero by more than its
            uncertainty, else "undecided"; "not testable" where there was nothing to compute.
        values: The statistic, once per repeat.
        statistic: Mean of the values; None where not testable.
        uncertainty: Half the width of the 95 % interval of that mean; None where there are fewer than two
            values.
        why: Why it is not testable, or why it stays undecided; else empty.
        figure_name: The name of the figure, in the notebook, that shows it.
    """

    claim: Claim
    verdict: Verdict
    values: tuple[float, ...] = ()
    statistic: float | None = None
    uncertainty: float | None = None
    why: str = ""
    figure_name: str | None = None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {
            "text/plain": _plain(self),
            "text/html": _html(self),
            "text/markdown": _markdown(self),
            CLAIM_MIME: asdict(self),
        }


def evaluate(claim_id: str, values: Sequence[float] | np.ndarray, *, figure_name: str | None = None) -> Result:
    """Test a claim on the statistic's values, one per repeat.

    The uncertainty is that of `mean_and_uncertainty`. With one value it is not known and the claim stays
    undecided.

    Args:
        claim_id: A name in `CLAIMS`.
        values: The statistic, once per repeat, arranged so that the claim says "above zero".
        figure_name: The name of the figure, in the notebook, that shows it.

    Returns:
        The result, not yet shown.

    Raises:
        UnknownName: There is no such claim.
        ValueError: No values, or one that is not a finite number.

    Example:
        >>> result = evaluate("uniform_layers", [0.30, 0.32, 0.31])
        >>> result.verdict, round(result.statistic, 3), round(result.uncertainty, 3)
        ('holds', 0.31, 0.025)
    """
    claim = _claim(claim_id)
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or numbers.size == 0:
        raise ValueError(f"Claim {claim_id!r} needs one number per repeat; got an array of shape {numbers.shape}.")
    if not np.isfinite(numbers).all():
        raise ValueError(
            f"Claim {claim_id!r} needs finite numbers; got {numbers.tolist()}. Look for a layer whose CKA is "
            "not defined, such as one that is constant over the images."
        )
    statistic, half_width = (float(number) for number in mean_and_uncertainty(numbers))
    uncertainty, why = None, ""
    verdict: Verdict = "undecided"
    if numbers.size == 1:
        why = "One repeat gives no uncertainty. Set repeats to 2 or more."
    else:
        uncertainty = half_width
        if statistic - uncertainty > 0:
            verdict = "holds"
        elif statistic + uncertainty < 0:
            verdict = "does not hold"
        else:
            why = "The uncertainty is as large as the statistic or larger."
    return Result(claim, verdict, tuple(numbers.tolist()), statistic, uncertainty, why, figure_name)


def record(claim_id: str, values: Sequence[float] | np.ndarray, *, figure_name: str | None = None) -> None:
    """Test a claim, show the result and keep it in the notebook in machine-readable form.

    Args:
        claim_id: A name in `CLAIMS`.
        values: The statistic, once per repeat, arranged so that the claim says "above zero".
        figure_name: The name of the figure, in the notebook, that shows it.

    Raises:
        UnknownName: There is no such claim.
        ValueError: No values, or one that is not a finite number.

    Example:
        >>> record("uniform_layers", [0.30, 0.32, 0.31])
        Claim of Figures 1 and B.1: The layers of a ViT are more uniform than those of a CNN.
        0.310 ± 0.025 (95 %, 3 repeats): mean CKA of all pairs of different layers, ViTs minus CNNs
        ✓ holds
    """
    _keep(evaluate(claim_id, values, figure_name=figure_name))


def record_difference(
    claim_id: str,
    larger: Sequence[np.ndarray],
    smaller: Sequence[np.ndarray],
    *,
    figure_name: str | None = None,
    compares: str = "ViTs with CNNs",
) -> None:
    """Test a claim that one group of networks has a larger statistic than another, and record it.

    Where a group is empty, or a statistic is NaN for dead layers, the claim is recorded as not testable.

    Args:
        claim_id: A name in `CLAIMS`.
        larger: The statistic of each network that should have more of it, `[repeats]` each; they are averaged.
        smaller: The same for the networks that should have less.
        figure_name: The name of the figure, in the notebook, that shows it.
        compares: What the claim compares, for the reader of a run that does not have both.

    Raises:
        UnknownName: There is no such claim.
        ValueError: A value is infinite.

    Example:
        >>> vits, cnns = [np.array([0.80, 0.84]), np.array([0.60, 0.62])], [np.array([0.40, 0.40])]
        >>> record_difference("uniform_layers", vits, cnns)
        Claim of Figures 1 and B.1: The layers of a ViT are more uniform than those of a CNN.
        0.315 ± 0.191 (95 %, 2 repeats): mean CKA of all pairs of different layers, ViTs minus CNNs
        ✓ holds
        >>> record_difference("uniform_layers", vits, [])
        Claim of Figures 1 and B.1: The layers of a ViT are more uniform than those of a CNN.
        ○ not testable. It compares ViTs with CNNs, and this run does not have both. Give models or images that do.
    """
    if len(larger) == 0 or len(smaller) == 0:
        why = f"It compares {compares}, and this run does not have both. Give models or images that do."
        not_testable(claim_id, why, figure_name=figure_name)
        return
    difference = np.mean(larger, axis=0) - np.mean(smaller, axis=0)
    if np.isnan(difference).any():
        why = (
            "Some layers are dead: they show every image the same, and their CKA is not defined. The warning "
            "under the measurement names them."
        )
        not_testable(claim_id, why, figure_name=figure_name)
    else:
        record(claim_id, difference, figure_name=figure_name)


def not_testable(claim_id: str, why: str, *, figure_name: str | None = None) -> None:
    """Show and keep that a claim cannot be tested in this run.

    Args:
        claim_id: A name in `CLAIMS`.
        why: What is missing, as a whole sentence.
        figure_name: The name of the figure, in the notebook, that would show it.

    Raises:
        UnknownName: There is no such claim.

    Example:
        >>> not_testable("uniform_layers", "This run has no CNN.")
        Claim of Figures 1 and B.1: The layers of a ViT are more uniform than those of a CNN.
        ○ not testable. This run has no CNN.
    """
    _keep(Result(_claim(claim_id), "not testable", why=why, figure_name=figure_name))


def on_this_page() -> None:
    """Show all claims that this kernel has recorded so far, each with its latest verdict and number.

    It is for the reader: the machine-readable form of each claim stands where it was recorded, and not here again.

    Example:
        >>> record("uniform_layers", [0.30, 0.32, 0.31])  # doctest: +ELLIPSIS
        Claim of Figures 1 and B.1: ...
        >>> print("In this run:"); on_this_page()  # doctest: +ELLIPSIS
        In this run:
        ...✓ holds: The layers of a ViT are more uniform than those of a CNN. 0.310 ± 0.025 (95 %, 3 repeats)...
    """
    results = list(_recorded.values())
    if not results:
        nothing = "This run has recorded no claim so far: run the cells above first."
        show({"text/plain": nothing, "text/html": f"<p>{nothing}</p>", "text/markdown": nothing})
        return
    plain = [f"{_verdict(each)}: {each.claim.statement}{_number_after(each)}" for each in results]
    markdown = [f"- **{_verdict(each)}**: {each.claim.statement}{_number_after(each)}" for each in results]
    items = [
        f"<li><strong>{_verdict(each)}</strong>: {html.escape(each.claim.statement)}{_number_after(each)}</li>"
        for each in results
    ]
    show(
        {
            "text/plain": "\n".join(plain),
            "text/html": "<ul>\n" + "\n".join(items) + "\n</ul>",
            "text/markdown": "\n".join(markdown),
        }
    )


def gather(folder: str | Path) -> list[Result]:
    """Read the claims that executed notebooks recorded, in the order of the paper.

    Args:
        folder: Where the notebooks are, such as `build/executed/tiny`, in which `make book` leaves them. A
            relative folder is looked for here and in the folders above: a notebook may run in a folder of its own.

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
    results = {}
    for file in sorted(found.glob("*.ipynb")):
        for cell in json.loads(file.read_text())["cells"]:
            for output in cell.get("outputs", []):
                if content := output.get("data", {}).get(CLAIM_MIME):
                    claim = Claim(**content["claim"])
                    results[claim.id] = Result(**{**content, "claim": claim, "values": tuple(content["values"])})
    order = {name: place for place, name in enumerate(CLAIMS)}
    return sorted(results.values(), key=lambda result: order.get(result.claim.id, len(order)))


def _keep(result: Result) -> None:
    _recorded[result.claim.id] = result
    show(result._repr_mimebundle_())


def _claim(claim_id: str) -> Claim:
    if claim_id not in CLAIMS:
        raise unknown_name("claim", claim_id, CLAIMS)
    return CLAIMS[claim_id]


def _number(result: Result) -> str:
    assert result.statistic is not None
    if result.uncertainty is None:
        return f"{with_uncertainty(result.statistic, None)} (one repeat, uncertainty not known)"
    count = f"{len(result.values)} {result.claim.over}"
    return f"{with_uncertainty(result.statistic, result.uncertainty)} (95 %, {count})"


def _number_after(result: Result) -> str:
    return "" if result.statistic is None else f" {_number(result)}"


def _verdict(result: Result) -> str:
    return f"{SIGNS[result.verdict]} {result.verdict}"


def _plain(result: Result) -> str:
    lines = [f"Claim of {result.claim.figure}: {result.claim.statement}"]
    if result.statistic is not None:
        lines.append(f"{_number(result)}: {result.claim.statistic}")
    lines.append(_verdict(result) + (f". {result.why}" if result.why else ""))
    return "\n".join(lines)


def _markdown(result: Result) -> str:
    claim = result.claim
    lines = [f"**Claim of {claim.figure}.** {claim.statement}"]
    if result.statistic is not None:
        lines.append(f"- **{_number(result)}**: {claim.statistic}")
    lines.append(f"- The paper: {claim.paper}")
    why = f". {escape_markdown(result.why)}" if result.why else ""
    lines.append(f"- **{_verdict(result)}**{why}")
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def _html(result: Result) -> str:
    claim = result.claim
    measured = ""
    if result.statistic is not None:
        measured = f"<div><strong>{_number(result)}</strong>: {html.escape(claim.statistic)}.</div>"
    why = f". {html.escape(result.why)}" if result.why else ""
    # Colours are inherited, so the card is as readable in the dark as in the light.
    return (
        '<div class="seelike-claim" style="border: 1px solid; border-left-width: 0.4em; '
        'border-radius: 0.3em; padding: 0.6em 1em; margin: 0.6em 0; line-height: 1.5">'
        f"<div><strong>Claim of {claim.figure}.</strong> {html.escape(claim.statement)}</div>"
        f"{measured}"
        f"<div>The paper: {html.escape(claim.paper)}</div>"
        f"<div><strong>{_verdict(result)}</strong>{why}</div>"
        "</div>"
    )
