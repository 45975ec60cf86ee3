"""All claims of the book in one figure (Section 9)."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from seelike.claims import SIGNS, Result, Verdict

# Blue and orange are told apart with every kind of colour vision; the shapes say the same.
_MARKS: dict[Verdict, tuple[str, str]] = {
    "holds": ("#0062a3", "o"),
    "does not hold": ("#b34700", "X"),
    "undecided": ("#666666", "s"),
}
# Below this the axis is linear, above it logarithmic: most statistics are between 0.001 and 1.
_LINEAR = 0.05


def forest(results: Sequence[Result]) -> Figure:
    """Draw the statistic of every claim with its interval, against zero.

    Statistics differ in kind, some are CKA, some accuracies: compare each with zero, not with each other. The axis
    is linear near zero and logarithmic beyond.

    Args:
        results: As `seelike.claims.gather` reads them. Claims that could not be tested have a line of their own.

    Returns:
        The figure, the first claim on top.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> from seelike.claims import evaluate
        >>> figure = forest([evaluate("uniform_layers", [0.3, 0.32]), evaluate("resnet_stages", [-0.1, 0.1])])
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['uniform layers', 'resnet stages']
    """
    if not results:
        raise ValueError("There is no claim to draw. Run the pages that record claims first: `make book`.")
    figure = Figure(figsize=(6.2, 0.9 + 0.27 * len(results)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="0.3", linewidth=1)
    for place, result in enumerate(results):
        if result.statistic is None:
            axes.text(0, place, " not testable", va="center", fontsize=8, color="0.35")
            continue
        colour, marker = _MARKS[result.verdict]
        axes.errorbar(result.statistic, place, xerr=result.uncertainty, color=colour, marker=marker, capsize=2)
    for verdict, (colour, marker) in _MARKS.items():
        axes.plot([], [], marker, color=colour, label=f"{SIGNS[verdict]} {verdict}")
    axes.set_xscale("symlog", linthresh=_LINEAR)
    # As far as the largest interval reaches, to both sides alike: some statistics are ratios, and far above 1.
    largest = max([abs(r.statistic) + (r.uncertainty or 0) for r in results if r.statistic is not None] or [0])
    axes.set_xlim(-1.5 * max(1, largest), 1.5 * max(1, largest))
    powers = [10.0**power for power in range(-1, math.ceil(math.log10(1.5 * max(1, largest))))]
    ticks = [*(-power for power in reversed(powers)), 0, *powers]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(range(len(results)), [result.claim.id.replace("_", " ") for result in results], fontsize=8)
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.set_xlabel("statistic, above zero where the claim holds")
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=len(_MARKS))
    return figure
