"""The paper's claims, each as one number, and whether it bears the claim out.

A notebook computes the number once per repeat, and of each training where there are several, and calls `record`.
That shows a card to the reader and leaves the same in the notebook in machine-readable form. At its end
`on_this_page` lists what has been recorded.

A card in a notebook says what the claim's own 95 % interval says. The book judges all claims of a profile together
(`seelike.verdicts`). The rule, with its mathematics, is in `seelike.evidence`.
"""

import html
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from seelike import evidence
from seelike.display import escape_markdown, show
from seelike.errors import unknown_name
from seelike.evidence import SIGNS as SIGNS
from seelike.evidence import Kind, Trainings, Values
from seelike.evidence import Verdict as Verdict
from seelike.uncertainty import mean_and_uncertainty as mean_and_uncertainty
from seelike.uncertainty import summary as summary
from seelike.uncertainty import with_uncertainty

CLAIM_MIME = "application/vnd.seelike.claim+json"
# What of a claim is about its verdict, and not about what is measured.
OF_THE_VERDICT = ("margin", "margin_reason", "kind", "networks")

# Networks of one training each, `[draws]` each, or of each training one of them or a list of networks.
Group = Sequence[np.ndarray] | Mapping[Any, np.ndarray | Sequence[np.ndarray]]


@dataclass(frozen=True)
class Claim:
    """One statement of the paper, and the number that tests it.

    Attributes:
        id: Its name in `CLAIMS`.
        figure: The figures of the paper that carry it.
        statement: What the paper says, as one sentence.
        statistic: What is computed, in words. The claim says that it is above the margin.
        paper: What the paper reports.
        over: What there is one number of each of; their spread gives the uncertainty.
        role: The role of the networks that it compares, where that is a group such as "cls_and_gap"; else empty.
        margin: The smallest effect of interest, in units of the statistic.
        margin_reason: Why that one, as one sentence.
        kind: What is claimed of the statistic: that it is beyond the margin ("difference"), within it on both
            sides ("none"), or not below minus the margin ("no_less"); that it is above the margin, which is a
            threshold ("threshold"); or that it, the least of several differences, is beyond the margin
            ("everywhere").
        networks: The fewest networks that can decide it.
        title: A few words, for figures.

    Example:
        >>> CLAIMS["uniform_layers"].figure, CLAIMS["uniform_layers"].margin
        ('Figures 1 and B.1', 0.05)
    """

    id: str
    figure: str
    statement: str
    statistic: str
    paper: str
    over: str = "repeats"
    role: str = ""
    margin: float = 0.0
    margin_reason: str = ""
    kind: Kind = "difference"
    networks: int = 1
    title: str = ""


with (Path(__file__).parent / "claims.toml").open("rb") as _file:
    CLAIMS: dict[str, Claim] = {name: Claim(id=name, **entry) for name, entry in tomllib.load(_file).items()}


_NOT_DEFINED = (
    "A number that it needs is not defined, such as the CKA of a dead layer, which shows every image the same. "
    "The warnings above say which."
)

# What the verdict on the same networks before training adds to that of a claim that holds.
_LEARNED = {
    "holds": ", not learned",
    "undecided": ", perhaps not learned",
    "not measured": ", without control",
}

# The share of its images that a draw of this run has in common with another: `seelike.start` sets it.
_overlap = 0.0

# The results of this kernel, by claim. A cell that runs again takes the place of what it recorded before.
_recorded: dict[str, "Result"] = {}


@dataclass(frozen=True)
class Result:
    """A claim, tested.

    Attributes:
        claim: What was tested.
        verdict: What the interval says, as `seelike.evidence` has it; "not testable" where there was nothing to
            compute.
        values: The statistic, once per repeat; where there are several trainings or networks, their mean.
        statistic: Mean of the values; None where not testable.
        uncertainty: Half the width of the 95 % interval of that mean; None where there are fewer than two
            values, or all repeats have the same images.
        why: Why it is not testable, or why it stays undecided; else empty.
        figure_name: The name of the figure, in the notebook, that shows it.
        groups: The statistic per repeat of each training, by its name, where there are several: of the networks
            that the claim is about, and then of those that they are compared with, if there are such.
        before_training: Of a claim that holds, the verdict on the same networks before any training; "not
            measured" where there is none, and empty where nobody has looked.
        by_neighbours: The statistic as in `groups`, by the nearest neighbours that layers share in the place of
            their CKA; empty where it is not about CKA.
        overlap: The share of its images that a repeat has in common with another, on average.
    """

    claim: Claim
    verdict: Verdict
    values: tuple[float, ...] = ()
    statistic: float | None = None
    uncertainty: float | None = None
    why: str = ""
    figure_name: str | None = None
    groups: tuple[dict[str, tuple[float, ...]], ...] = ()
    before_training: str = ""
    by_neighbours: tuple[dict[str, tuple[float, ...]], ...] = ()
    overlap: float = 0.0

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Result":
        """Read what a notebook keeps of a claim, of this version or an older one.

        Example:
            >>> result = evaluate("uniform_layers", [0.30, 0.32, 0.31])
            >>> Result.from_record(result._repr_mimebundle_()[CLAIM_MIME]) == result
            True
        """
        names = {field.name for field in fields(Claim)}
        claim = Claim(**{name: value for name, value in record["claim"].items() if name in names})
        known = {field.name: record[field.name] for field in fields(cls) if field.name in record}
        groups = {
            kind: tuple({name: tuple(values) for name, values in one.items()} for one in record.get(kind, []))
            for kind in ("groups", "by_neighbours")
        }
        return cls(**known | {"claim": claim, "values": tuple(record["values"])} | groups)

    @property
    def says(self) -> str:
        """The verdict in words, with what limits it.

        Example:
            >>> evaluate("uniform_layers", [0.30, 0.32, 0.31]).says
            'holds in these networks'
        """
        decided = self.verdict not in ("undecided", "not testable")
        here = " in these networks" if decided and 1 in self.trainings else ""
        return f"{self.verdict}{here}{_LEARNED.get(self.before_training, '')}"

    @property
    def not_learned(self) -> bool:
        """Whether it holds before any training, too."""
        return self.before_training == "holds"

    @property
    def trainings(self) -> list[int]:
        """The number of trainings in each group, or of networks where a group has several."""
        return [len(group) for group in _cases(self.groups)] or [1]

    @property
    def networks(self) -> list[int]:
        """The number of networks in each group, whatever the number of their trainings."""
        return [len(evidence.by_network(group)) for group in self.groups] or [1]

    @property
    def estimate(self) -> evidence.Estimate:
        """The statistic with its standard error and degrees of freedom.

        Raises:
            ValueError: It was not testable.
        """
        groups = _cases(self.groups) if self.groups else [self.values]
        return evidence.estimate(*groups, overlap=self.overlap)

    @property
    def estimate_by_neighbours(self) -> evidence.Estimate | None:
        """The statistic by the other measure, the neighbours that layers share; None where it is not about CKA."""
        groups = _cases(self.by_neighbours)
        return evidence.estimate(*groups, overlap=self.overlap) if groups else None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {
            "text/plain": _plain(self),
            "text/html": _html(self),
            "text/markdown": _markdown(self),
            CLAIM_MIME: asdict(self),
        }


def _cases(groups: Sequence[Trainings]) -> list[Trainings]:
    """What the spread of each group is taken over: its trainings, or its networks where there are several."""
    averaged = [evidence.by_network(group) for group in groups]
    return [group if len(one) == 1 else one for group, one in zip(groups, averaged, strict=True)]


def evaluate(
    claim_id: str,
    values: Values,
    than: Trainings | None = None,
    *,
    figure_name: str | None = None,
    by_neighbours: Sequence[Any] = (),
    overlap: float = 0.0,
) -> Result:
    """Test a claim on the statistic's values, by its own 95 % interval.

    With one repeat, or repeats on the same images, the interval is not known and the claim stays undecided.

    Args:
        claim_id: A name in `CLAIMS`.
        values: The statistic, once per repeat, arranged so that the claim says "above the margin"; or such values
            of each training, by its seed or any other name.
        than: The same, by training, of the networks that these are compared with, on the same images.
        figure_name: The name of the figure, in the notebook, that shows it.
        by_neighbours: The same `values` and `than` by the neighbours that layers share, in the place of CKA.
        overlap: The share of its images that a repeat has in common with another, on average.

    Returns:
        The result, not yet shown.

    Raises:
        UnknownName: There is no such claim.
        ValueError: No values, or one that is not a finite number.

    Example:
        >>> result = evaluate("uniform_layers", [0.30, 0.32, 0.31])
        >>> result.verdict, round(result.statistic, 3), round(result.uncertainty, 3)
        ('holds', 0.31, 0.025)
        >>> evaluate("uniform_layers", {0: [0.30, 0.32, 0.31], 1: [0.13, 0.15, 0.14]}).says
        'undecided'
        >>> evaluate("uniform_layers", [0.30, 0.32, 0.31], by_neighbours=[[-0.01, 0.0, 0.01]]).says
        'depends on the measure in these networks'
    """
    claim = _claim(claim_id)
    groups = _groups(claim, values, than)
    by_repeat = evidence.by_draw(*_cases(groups))
    others = _groups(claim, by_neighbours[0], *by_neighbours[1:]) if by_neighbours else ()
    # One training of each network needs no names.
    named = groups if isinstance(values, Mapping) or than is not None else ()
    return judged(
        Result(
            claim,
            "undecided",
            tuple(by_repeat.tolist()),
            figure_name=figure_name,
            groups=named,
            by_neighbours=others,
            overlap=overlap,
        )
    )


def _groups(
    claim: Claim, values: Values, than: Trainings | None = None
) -> tuple[dict[str, tuple[float, ...]], ...]:
    """Name the trainings of each group, and check that there is a number of each for every draw."""
    groups = [values if isinstance(values, Mapping) else {"": values}, *([than] if than is not None else [])]
    try:
        by_repeat = evidence.by_draw(*groups)
    except ValueError as error:
        needs = "one number per repeat, and as many of each training"
        raise ValueError(f"Claim {claim.id!r} needs {needs}. {error}") from None
    if not np.isfinite(by_repeat).all():
        raise ValueError(
            f"Claim {claim.id!r} needs finite numbers; got {by_repeat.tolist()}. Look for a layer whose CKA is "
            "not defined, such as one that is constant over the images."
        )
    return tuple(
        {str(name): tuple(np.asarray(one, float).tolist()) for name, one in group.items()} for group in groups
    )


def judged(result: Result) -> Result:
    """Give a result the verdict of its own 95 % interval.

    Args:
        result: What was measured; it has values. A verdict that it has is not looked at.

    Example:
        >>> judged(Result(CLAIMS["uniform_layers"], "undecided", (0.30, 0.32, 0.31))).says
        'holds in these networks'
    """
    return at_rate(result, evidence.RATE)


def at_rate(result: Result, rate: float) -> Result:
    """Give a result the verdict of an interval that misses at a rate, as long as no other measure contradicts it.

    Args:
        result: What was measured; it has values. A verdict that it has is not looked at.
        rate: Of the verdict's interval. The uncertainty that is shown is that of the 95 % interval.

    Example:
        >>> result = Result(CLAIMS["uniform_layers"], "undecided", (0.30, 0.32, 0.31))
        >>> at_rate(result, 0.0001).says
        'undecided'
    """
    claim, found, other = result.claim, result.estimate, result.estimate_by_neighbours
    uncertainty = None if math.isnan(found.error) else found.half_width()
    verdict, why = evidence.verdict(found, claim.margin, claim.kind, rate), ""
    if max(result.networks) < claim.networks:
        verdict, why = "undecided", f"It takes {claim.networks} networks or more; here is {max(result.networks)}."
    elif verdict == "undecided":
        why = _why(result, uncertainty)
    elif other is not None and (left := evidence.confirmed(verdict, other, claim.margin)) != verdict:
        why = f"By CKA: {verdict}. By the nearest neighbours that layers share: {_estimated(other)}."
        verdict = left
    values = tuple(evidence.by_draw(*_cases(result.groups)).tolist()) if result.groups else result.values
    return replace(
        result,
        verdict=verdict,
        values=values,
        statistic=found.mean,
        uncertainty=uncertainty,
        why=why,
        before_training="",
    )


def _estimated(found: evidence.Estimate) -> str:
    half_width = found.half_width()
    return with_uncertainty(found.mean, None if math.isnan(half_width) else half_width)


def _why(result: Result, uncertainty: float | None) -> str:
    """Why a claim is undecided."""
    if uncertainty is None and len(result.values) > 1:
        return "Every repeat takes the same images, so that their spread says nothing. Give more images."
    if uncertainty is None:
        return "One repeat gives no uncertainty. Set repeats to 2 or more."
    return "The interval lies on both sides of the margin."


def draws_share(overlap: float) -> None:
    """Say how much the draws of images of this run have in common. `seelike.start` calls this.

    Args:
        overlap: The share of its images that a repeat has in common with another, on average. A claim takes it
            where it is measured on repeats and its page gives no other.

    Example:
        >>> draws_share(0.5)
        >>> record("uniform_layers", [0.30, 0.32, 0.31])  # doctest: +ELLIPSIS
        Claim of Figures 1 and B.1: The layers of a ViT are more uniform than those of a CNN.
        0.310 ± 0.147 (95 %, 3 repeats, which share 50 % of their images): mean CKA...
        >>> draws_share(0.0)
    """
    global _overlap
    _overlap = overlap


def record(
    claim_id: str,
    values: Values,
    *,
    figure_name: str | None = None,
    by_neighbours: Values | None = None,
    overlap: float | None = None,
    otherwise: str = "This run has no network that it is about. Give models that are.",
) -> None:
    """Test a claim, show the result and keep it in the notebook in machine-readable form.

    Where there are no values, or one is NaN, the claim is recorded as not testable.

    Args:
        claim_id: A name in `CLAIMS`.
        values: The statistic, once per repeat, arranged so that the claim says "above the margin"; or such values
            of each training, by its seed or any other name.
        figure_name: The name of the figure, in the notebook, that shows it.
        by_neighbours: The same by the neighbours that layers share, in the place of CKA.
        overlap: The share of its images that a repeat has in common with another; that of the run by default.
        otherwise: Why it is not testable where there are no values, as a whole sentence.

    Raises:
        UnknownName: There is no such claim.
        ValueError: A value is infinite.

    Example:
        >>> record("uniform_layers", [0.30, 0.32, 0.31])
        Claim of Figures 1 and B.1: The layers of a ViT are more uniform than those of a CNN.
        0.310 ± 0.025 (95 %, 3 repeats): mean CKA of all pairs of different layers, ViTs minus CNNs
        ✓ holds in these networks. Margin, the smallest effect of interest: 0.05
        >>> three = {0: [0.30, 0.32, 0.31], 1: [0.36, 0.38, 0.37], 2: [0.33, 0.35, 0.34]}
        >>> record("uniform_layers", three)
        Claim of Figures 1 and B.1: The layers of a ViT are more uniform than those of a CNN.
        0.340 ± 0.079 (95 %, 3 trainings x 3 repeats): mean CKA of all pairs of different layers, ViTs minus CNNs
        ✓ holds. Margin, the smallest effect of interest: 0.05
    """
    others = [] if by_neighbours is None else [by_neighbours]
    _test_or_say_why(claim_id, [values], others, otherwise, figure_name, overlap)


def record_difference(
    claim_id: str,
    larger: Group,
    smaller: Group,
    *,
    figure_name: str | None = None,
    compares: str = "ViTs with CNNs",
    by_neighbours: tuple[Group, Group] | None = None,
    overlap: float | None = None,
) -> None:
    """Test a claim that one group of networks has a larger statistic than another, and record it.

    Where a group is empty, or a statistic is NaN for dead layers, the claim is recorded as not testable.

    Args:
        claim_id: A name in `CLAIMS`.
        larger: The statistic of each network that should have more of it, `[repeats]` each; they are averaged. Or
            that of each training, by its seed or any other name: `[repeats]`, or a list of networks.
        smaller: The same for the networks that should have less. Where one of the two has a name for each
            training, the other counts as one training if it has none.
        figure_name: The name of the figure, in the notebook, that shows it.
        compares: What the claim compares, for the reader of a run that does not have both.
        by_neighbours: `larger` and `smaller` once more, by the neighbours that layers share in the place of CKA.
        overlap: The share of its images that a repeat has in common with another; that of the run by default.

    Raises:
        UnknownName: There is no such claim.
        ValueError: A value is infinite.

    Example:
        >>> vits, cnns = [np.array([0.80, 0.84]), np.array([0.60, 0.62])], [np.array([0.40, 0.40])]
        >>> record_difference("uniform_layers", vits, cnns)
        Claim of Figures 1 and B.1: The layers of a ViT are more uniform than those of a CNN.
        0.315 ± 0.191 (95 %, 2 repeats): mean CKA of all pairs of different layers, ViTs minus CNNs
        ✓ holds in these networks. Margin, the smallest effect of interest: 0.05
        >>> vits = {0: np.array([0.80, 0.84]), 1: np.array([0.82, 0.86]), 2: np.array([0.81, 0.82])}
        >>> cnns = {0: np.array([0.40, 0.41]), 1: np.array([0.44, 0.44]), 2: np.array([0.42, 0.42])}
        >>> record_difference("uniform_layers", vits, cnns)  # doctest: +ELLIPSIS
        Claim of Figures 1 and B.1: The layers of a ViT are more uniform than those of a CNN.
        0.403 ± 0.059 (95 %, 3 and 3 trainings x 2 repeats): mean CKA of all pairs...
        ✓ holds. Margin, the smallest effect of interest: 0.05
        >>> record_difference("uniform_layers", vits, [])
        Claim of Figures 1 and B.1: The layers of a ViT are more uniform than those of a CNN.
        ○ not testable. It compares ViTs with CNNs, and this run does not have both. Give models or images that do.
    """
    groups = [_averaged(group) for group in (larger, smaller)]
    others = [_averaged(group) for group in by_neighbours or ()]
    if all(groups) and not isinstance(larger, Mapping) and not isinstance(smaller, Mapping):
        # One training of each network.
        groups, others = ([each[0][""] - each[1][""]] if each else [] for each in (groups, others))
    why = f"It compares {compares}, and this run does not have both. Give models or images that do."
    _test_or_say_why(claim_id, groups, others, why, figure_name, overlap)


def _test_or_say_why(
    claim_id: str,
    groups: Sequence[Any],
    others: Sequence[Any],
    otherwise: str,
    figure_name: str | None,
    overlap: float | None,
) -> None:
    """Test a claim and record it, or why it cannot be tested."""
    tables = [list(group.values()) if isinstance(group, Mapping) else group for group in (*groups, *others)]
    if not all(len(table) for table in tables):
        not_testable(claim_id, otherwise, figure_name=figure_name)
    elif any(np.isnan(np.asarray(table, float)).any() for table in tables):
        not_testable(claim_id, _NOT_DEFINED, figure_name=figure_name)
    else:
        of_run = _overlap if _claim(claim_id).over == "repeats" else 0.0
        shared = of_run if overlap is None else overlap
        _keep(evaluate(claim_id, *groups, figure_name=figure_name, by_neighbours=others, overlap=shared))


def _averaged(group: Group) -> dict[Any, np.ndarray]:
    """Average a group's networks, of each training; what has no names is one training."""
    named = group if isinstance(group, Mapping) else {"": group} if len(group) else {}
    return {name: np.mean(np.atleast_2d(np.asarray(one)), axis=0) for name, one in named.items()}


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
        ...✓ holds in these networks: The layers of a ViT are more uniform ... 0.310 ± 0.025 (95 %, 3 repeats)...
    """
    show(listed(list(_recorded.values())))


def listed(results: Sequence[Result]) -> dict[str, str]:
    """Write a list of claims, each with its verdict and number.

    Args:
        results: What is listed, in this order.

    Returns:
        The same as plain text, HTML and Markdown, by kind of content.
    """
    if not results:
        nothing = "This run has recorded no claim so far: run the cells above first."
        return {"text/plain": nothing, "text/html": f"<p>{nothing}</p>", "text/markdown": nothing}
    plain = [f"{_verdict(each)}: {each.claim.statement}{_number_after(each)}" for each in results]
    markdown = [f"- **{_verdict(each)}**: {each.claim.statement}{_number_after(each)}" for each in results]
    items = [
        f"<li><strong>{_verdict(each)}</strong>: {html.escape(each.claim.statement)}{_number_after(each)}</li>"
        for each in results
    ]
    return {
        "text/plain": "\n".join(plain),
        "text/html": "<ul>\n" + "\n".join(items) + "\n</ul>",
        "text/markdown": "\n".join(markdown),
    }


def _keep(result: Result) -> None:
    _recorded[result.claim.id] = result
    show(result._repr_mimebundle_())


def _claim(claim_id: str) -> Claim:
    if claim_id not in CLAIMS:
        raise unknown_name("claim", claim_id, CLAIMS)
    return CLAIMS[claim_id]


def spread_over(result: Result) -> str:
    """Name what varied: trainings of each network, and draws of images.

    Example:
        >>> spread_over(evaluate("uniform_layers", [0.30, 0.32]))
        '1 training x 2 repeats'
        >>> several = {"vit": [0.1, 0.2], "vit_seed_1": [0.3, 0.4], "large_vit": [0.3, 0.4]}
        >>> spread_over(evaluate("uniform_layers", several, {"resnet": [0.1, 0.1]}))
        '2 networks and 1 training x 2 repeats'
    """
    numbers = list(zip(result.networks, result.trainings, strict=True))
    if all(networks == 1 for networks, _ in numbers):
        trainings = " and ".join(map(str, result.trainings))
        cases = f"{trainings} training{'s' * (trainings != '1')}"
    else:
        cases = " and ".join(_many(n, "training") if networks == 1 else f"{n} networks" for networks, n in numbers)
    return f"{cases} x {len(result.values)} {result.claim.over}"


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _number(result: Result) -> str:
    assert result.statistic is not None
    if result.uncertainty is None:
        repeats = "one repeat" if len(result.values) == 1 else "all repeats on the same images"
        return f"{with_uncertainty(result.statistic, None)} ({repeats}, uncertainty not known)"
    # That there is one training is said with the verdict.
    varied = spread_over(result) if result.groups else f"{len(result.values)} {result.claim.over}"
    shared = f", which share {100 * result.overlap:.0f} % of their images" if result.overlap >= 0.05 else ""
    return f"{with_uncertainty(result.statistic, result.uncertainty)} (95 %, {varied}{shared})"


def _number_after(result: Result) -> str:
    return "" if result.statistic is None else f" {_number(result)}"


def _verdict(result: Result) -> str:
    return f"{SIGNS[result.verdict]} {result.says}"


def _notes(result: Result) -> list[str]:
    """What a card says after the verdict."""
    notes = [result.why] if result.why else []
    if result.verdict == "not testable":
        return notes
    other = result.estimate_by_neighbours
    if other is not None and _estimated(other) not in result.why:
        notes.append(f"By shared neighbours in the place of CKA: {_estimated(other)}.")
    return [*notes, f"Margin, the smallest effect of interest: {result.claim.margin:g}"]


def _plain(result: Result) -> str:
    lines = [f"Claim of {result.claim.figure}: {result.claim.statement}"]
    if result.statistic is not None:
        lines.append(f"{_number(result)}: {result.claim.statistic}")
    # A reason ends with a full stop.
    notes = " ".join(_notes(result))
    lines.append(_verdict(result) + (f". {notes}" if notes else ""))
    return "\n".join(lines)


def _markdown(result: Result) -> str:
    claim = result.claim
    lines = [f"**Claim of {claim.figure}.** {claim.statement}"]
    if result.statistic is not None:
        lines.append(f"- **{_number(result)}**: {claim.statistic}")
    lines.append(f"- The paper: {claim.paper}")
    notes = escape_markdown(" ".join(_notes(result)))
    lines.append(f"- **{_verdict(result)}**{f'. {notes}' if notes else ''}")
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def _html(result: Result) -> str:
    claim = result.claim
    number, measured = "", ""
    if result.statistic is not None:
        number = f": {_number(result)}"
        measured = f"<div>Measured: {html.escape(claim.statistic)}.</div>"
    notes = html.escape(" ".join(_notes(result)))
    # Colours are inherited, so the card is as readable in the dark as in the light.
    return (
        '<div class="seelike-claim" style="border: 1px solid; border-left-width: 0.4em; '
        'border-radius: 0.3em; padding: 0.4em 0.9em; margin: 0.5em 0; line-height: 1.4">'
        f"<div><strong>Claim of {claim.figure}.</strong> {html.escape(claim.statement)}</div>"
        f"<div><strong>{_verdict(result)}</strong>{number}{f'. {notes}' if notes else ''}</div>"
        "<details><summary>What is measured, and the paper's words</summary>"
        f"{measured}<div>The paper: {html.escape(claim.paper)}</div></details>"
        "</div>"
    )
