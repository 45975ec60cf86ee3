"""All claims of the book in one figure (Section 9)."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seelike.claims import SIGNS, Result, Verdict

# Told apart with every kind of colour vision (after Okabe and Ito); the shapes say the same.
_MARKS: dict[Verdict, tuple[str, str]] = {
    "holds": ("#0062a3", "o"),
    "negligible": ("#00705a", "D"),
    "reversed": ("#b34700", "<"),
    "does not hold": ("#8a3d78", "X"),
    "depends on the measure": ("#7d5a00", "P"),
    "undecided": ("#666666", "s"),
}
# The axis is linear up to here, and logarithmic beyond: statistics are up to a hundred times their margin. Those
# that have a threshold within have no margin, and are mostly between 0.05 and 1.
_LINEAR, _LINEAR_WITHOUT_MARGIN = 1.0, 0.05
_BAND = "0.9"


def forest(results: Sequence[Result]) -> Figure:
    """Draw the statistic of every claim with its 95 % interval, in units of its margin.

    Statistics differ in kind, some are CKA, some accuracies. Divided by the smallest effect of interest they can
    stand on one axis, which is linear up to that and logarithmic beyond. Those that have a threshold within, and
    so no margin, are in a panel of their own, as they are.

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
        ['uniform layers', 'resnet stages']
    """
    if not results:
        raise ValueError("There is no claim to draw. Run the pages that record claims first: `make book`.")
    panels = [[one for one in results if (one.claim.margin > 0) == has_margin] for has_margin in (True, False)]
    panels = [panel for panel in panels if panel]
    rows = [len(panel) for panel in panels]
    figure = Figure(figsize=(6.2, 0.3 + 0.6 * len(panels) + 0.27 * sum(rows)), layout="constrained")
    for axes, panel in zip(
        figure.subplots(len(panels), height_ratios=rows, squeeze=False).flat, panels, strict=True
    ):
        _panel(axes, panel)
    for verdict, (colour, marker) in _MARKS.items():
        axes.plot([], [], marker, color=colour, label=f"{SIGNS[verdict]} {verdict}")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8)
    return figure


def _panel(axes: Axes, results: Sequence[Result]) -> None:
    has_margin = results[0].claim.margin > 0
    linear = _LINEAR if has_margin else _LINEAR_WITHOUT_MARGIN
    if has_margin:
        axes.axvspan(-1, 1, color=_BAND)
    axes.axvline(0, color="0.3", linewidth=1)
    largest = linear
    for place, result in enumerate(results):
        if result.statistic is None or result.verdict == "not testable":
            axes.text(0, place, " not testable", va="center", fontsize=8, color="0.35")
            continue
        unit = result.claim.margin or 1.0
        centre, width = result.statistic / unit, (result.uncertainty or 0) / unit
        colour, marker = _MARKS[result.verdict]
        axes.errorbar(centre, place, xerr=width, color=colour, marker=marker, capsize=2)
        largest = max(largest, abs(centre) + width)
    axes.set_xscale("symlog", linthresh=linear)
    # As far as the largest interval reaches, to both sides alike.
    axes.set_xlim(-1.5 * max(1, largest), 1.5 * max(1, largest))
    first = 0 if has_margin else -1
    powers = [10.0**power for power in range(first, math.ceil(math.log10(1.5 * max(1, largest))))]
    ticks = [*(-power for power in reversed(powers)), 0, *powers]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(range(len(results)), [result.claim.id.replace("_", " ") for result in results], fontsize=8)
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.set_xlabel(
        "in units of the smallest effect of interest" if has_margin else "statistic with its threshold within"
    )
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
