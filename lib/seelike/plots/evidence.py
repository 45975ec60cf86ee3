"""What a verdict rests on: each draw, each training and the control as points (How sure are we?)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seelike.claims import Result
from seelike.plots.style import BAND, GREY, INK, WIDTH

# Blue and orange are told apart with every kind of colour vision; the shapes say the same.
_TRAINED, _COMPARED, _CONTROL = "#0173b2", "#d55e00", GREY
_Draws = Mapping[str, Sequence[float] | np.ndarray]


def draws_and_trainings(results: Sequence[Result], controls: Sequence[_Draws]) -> Figure:
    """Draw all numbers behind some verdicts, against the smallest effect of interest.

    Of each claim there is a row for each training, with a small dot for each draw of images and a large one for
    their mean; rows of the control, in grey; and the mean with its 95 % interval. The shaded band reaches as far
    as the smallest effect of interest to both sides of zero. Where two groups of networks are compared, a training
    of the first is set against the mean of the second, and the other way round.

    Args:
        results: Claims with a statistic, as `seelike.claims.evaluate` gives them.
        controls: For each claim the same statistic of networks that should not have the effect, by what they are.

    Returns:
        The figure, a panel for each claim below the other.

    Raises:
        ValueError: There is not one control for each result, or no result.

    Example:
        >>> from seelike.claims import evaluate
        >>> result = evaluate("uniform_layers", {"seed 0": [0.30, 0.32, 0.31], "seed 1": [0.36, 0.38, 0.37]})
        >>> figure = draws_and_trainings([result], [{"before training": [0.1, 0.12, 0.11]}])
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['seed 0', 'seed 1', 'before training', 'mean']
    """
    if not results or len(results) != len(controls):
        raise ValueError(
            f"Give one control for each result; got {len(results)} results, {len(controls)} controls."
        )
    rows = [
        [*_trainings(result), *_rows(control, _CONTROL)] for result, control in zip(results, controls, strict=True)
    ]
    heights = [len(of_one) + 2.2 for of_one in rows]
    figure = Figure(figsize=(WIDTH, 0.24 * sum(heights) + 0.3), layout="constrained")
    all_axes = figure.subplots(len(results), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, result, of_one in zip(all_axes, results, rows, strict=True):
        _draw(axes, result, of_one)
    all_axes[-1].set_xlabel("statistic of the claim; shaded: too small to be of interest")
    return figure


def _trainings(result: Result) -> list[tuple[str, np.ndarray, str]]:
    """Give what the claim's statistic is by training: a label, a number for each draw, and a colour."""
    if not result.groups:
        return _rows({"one training": result.values}, _TRAINED)
    first, *rest = result.groups
    if not rest:
        return _rows(first, _TRAINED)
    means = [np.mean(list(group.values()), axis=0) for group in (first, rest[0])]
    against = {name: np.asarray(values) - means[1] for name, values in first.items()}
    compared = {name: means[0] - np.asarray(values) for name, values in rest[0].items()}
    return [*_rows(against, _TRAINED), *_rows(compared, _COMPARED)]


def _rows(by_name: _Draws, colour: str) -> list[tuple[str, np.ndarray, str]]:
    return [(name.removeprefix("tiny/"), np.asarray(values), colour) for name, values in by_name.items()]


def _draw(axes: Axes, result: Result, rows: Sequence[tuple[str, np.ndarray, str]]) -> None:
    axes.axvspan(-result.claim.margin, result.claim.margin, color=BAND, zorder=0)
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    for place, (_, values, colour) in enumerate(rows):
        axes.plot(values, np.full(len(values), place), ".", color=colour, markersize=4, alpha=0.6)
        axes.plot(values.mean(), place, "o", color=colour, markersize=7)
    axes.errorbar(
        result.statistic or 0, len(rows), xerr=result.uncertainty, fmt="D", color=INK, capsize=3, markersize=5
    )
    axes.set_yticks(range(len(rows) + 1), [*(name for name, _, _ in rows), "mean"])
    axes.set_ylim(len(rows) + 0.6, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.set_title(f"{result.claim.title}: {result.says}", loc="left")
