"""All claims of the book in one figure (Section 9)."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from seelike.claims import SIGNS, Result, Verdict
from seelike.plots.style import BAND, INK, WIDTH, in_lines

# Told apart with every kind of colour vision (after Okabe and Ito); the shapes say the same.
_MARKS: dict[Verdict, tuple[str, str]] = {
    "holds": ("#0173b2", "o"),
    "negligible": ("#00806a", "D"),
    "reversed": ("#c04d00", "<"),
    "does not hold": ("#a3508f", "X"),
    "depends on the measure": ("#8a6500", "P"),
    "undecided": ("#707070", "s"),
}
# The axis is linear up to here, and logarithmic beyond: statistics are up to a hundred times their margin.
_LINEAR = 1.0
# Letters of a claim's name that fit into a line beside the axes.
_LETTERS = 28


def forest(results: Sequence[Result]) -> Figure:
    """Draw the statistic of every claim with its 95 % interval, in units of its margin.

    Statistics differ in kind, some are CKA, some accuracies. Divided by the smallest effect of interest they can
    stand on one axis, which is linear up to that and logarithmic beyond.

    Args:
        results: As `seelike.verdicts.gather` reads them. Claims that could not be tested have a line of their own.

    Returns:
        The figure, the first claim on top.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> from seelike.claims import evaluate
        >>> figure = forest([evaluate("uniform_layers", [0.3, 0.32]), evaluate("resnet_stages", [-0.1, 0.1])])
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['a ViT is more uniform', 'a CNN falls into stages']
    """
    if not results:
        raise ValueError("There is no claim to draw. Run the pages that record claims first: `make book`.")
    figure = Figure(figsize=(WIDTH, 1.4 + 0.32 * len(results)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-1, 1, color=BAND)
    axes.axvline(0, color=INK, linewidth=1)
    largest = _LINEAR
    for place, result in enumerate(results):
        if result.statistic is None or result.verdict == "not testable":
            axes.text(0, place, " not testable", va="center", fontsize=9, color=INK)
            continue
        margin = result.claim.margin
        centre, width = result.statistic / margin, (result.uncertainty or 0) / margin
        colour, marker = _MARKS[result.verdict]
        axes.errorbar(centre, place, xerr=width, color=colour, marker=marker, capsize=2)
        largest = max(largest, abs(centre) + width)
    axes.set_xscale("symlog", linthresh=_LINEAR)
    # As far as the largest interval reaches, to both sides alike.
    end = 1.5 * largest
    axes.set_xlim(-end, end)
    powers = [10.0**power for power in range(math.ceil(math.log10(end)))]
    ticks = [*(-power for power in reversed(powers)), 0, *powers]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    names = [in_lines(result.claim.title, _LETTERS) for result in results]
    axes.set_yticks(range(len(results)), names, linespacing=0.95)
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.set_xlabel("in units of the smallest effect of interest")
    axes.grid(axis="y", color=BAND)
    axes.set_axisbelow(True)
    for verdict, (colour, marker) in _MARKS.items():
        axes.plot([], [], marker, color=colour, label=f"{SIGNS[verdict]} {verdict}")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure
