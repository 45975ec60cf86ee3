"""Lines over relative depth: Figures 6, 7, 11, 12, 13, E.2 and G.1."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from seelike.plots.style import DASHES

# Names in a legend, longer than this, stand below each other.
_LETTERS_BESIDE_EACH_OTHER = 28


def boxes(groups: Mapping[str, np.ndarray], *, label: str) -> Figure:
    """Draw the spread of some groups of numbers: median, quartiles, and whiskers to the extremes (Appendix A).

    Args:
        groups: Numbers by name; NaN is left out.
        label: What the numbers are.

    Returns:
        The figure, a box below the other.

    Example:
        >>> boxes({"64 images": np.array([0.1, 0.2, np.nan])}, label="difference").axes[0].get_xlabel()
        'difference'
    """
    figure = Figure(figsize=(5.2, 0.7 + 0.55 * len(groups)), layout="constrained")
    axes = figure.subplots()
    numbers = [values[np.isfinite(values)] for values in groups.values()]
    axes.boxplot(numbers, orientation="horizontal", whis=(0, 100), tick_labels=list(groups), widths=0.6)
    axes.invert_yaxis()
    axes.axvline(0, color="0.5", linewidth=1, linestyle="--")
    axes.set_xlabel(label)
    return figure


def depth_lines(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    *,
    y_label: str,
    title: str = "",
    y_scale: str = "linear",
) -> Figure:
    """Draw one value per layer against relative depth, with a band for its uncertainty.

    Lines differ by dashes as well as by colour.

    Args:
        lines: For each name in the legend: relative depths, values, and half the height of the band, each
            `[layers]`.
        y_label: What the values are, with their unit.
        title: What stands above.
        y_scale: "linear" or "log".

    Returns:
        The figure. As the last expression of a cell it is shown.

    Example:
        >>> depth = np.linspace(0, 1, 5)
        >>> figure = depth_lines({"vit": (depth, depth**2, 0 * depth + 0.1)}, y_label="highest CKA")
        >>> figure.axes[0].get_ylabel()
        'highest CKA'
    """
    beside = 1 if max(map(len, lines)) > _LETTERS_BESIDE_EACH_OTHER else 2
    rows_of_legend = -(-len(lines) // beside) if len(lines) > 1 else 0
    figure = Figure(figsize=(5.2, 3.0 + 0.22 * rows_of_legend), layout="constrained")
    axes = figure.subplots()
    for number, (name, (depth, values, half_height)) in enumerate(lines.items()):
        (line,) = axes.plot(depth, values, DASHES[number % len(DASHES)], label=name)
        axes.fill_between(
            depth, values - half_height, values + half_height, color=line.get_color(), alpha=0.2, linewidth=0
        )
    axes.set(
        xlabel="relative depth (0: first layer, 1: last)", ylabel=y_label, title=title, xlim=(0, 1), yscale=y_scale
    )
    if len(lines) > 1:
        figure.legend(loc="outside lower center", ncols=beside)
    return figure
