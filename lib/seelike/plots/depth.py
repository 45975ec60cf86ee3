"""Lines over relative depth: Figures 6, 7, 11, 12, 13, E.2 and G.1."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from seelike.plots.style import GREY, WIDTH, looks
from seelike.uncertainty import mean_and_uncertainty

# For each name in the legend: relative depths, values, and half the height of the band.
Lines = Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]

# Names in a legend, longer than this, stand below each other.
_LETTERS_BESIDE_EACH_OTHER = 24


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
    figure = Figure(figsize=(WIDTH, 0.7 + 0.55 * len(groups)), layout="constrained")
    axes = figure.subplots()
    numbers = [values[np.isfinite(values)] for values in groups.values()]
    axes.boxplot(numbers, orientation="horizontal", whis=(0, 100), tick_labels=list(groups), widths=0.6)
    axes.invert_yaxis()
    axes.axvline(0, color=GREY, linewidth=1, linestyle="--")
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    return figure


def over_depth(
    values: Float[np.ndarray, "repeats layers"],
) -> tuple[Float[np.ndarray, " layers"], Float[np.ndarray, " layers"], Float[np.ndarray, " layers"]]:
    """Make a line of `depth_lines` of what was measured at each layer of a network.

    Args:
        values: A row for each repeat, a column for each layer, in firing order.

    Returns:
        Relative depths from 0 to 1, means over repeats, and half the widths of their 95 % intervals.

    Example:
        >>> over_depth(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 5.0]]))[:2]
        (array([0. , 0.5, 1. ]), array([1., 2., 4.]))
    """
    mean, half_width = mean_and_uncertainty(values)
    return np.linspace(0, 1, values.shape[1]), mean, half_width


def label_plainly(axis: Axis, low: float, high: float) -> None:
    """Label a logarithmic axis with 20, not 2 x 10^1; and besides whole powers of ten 2 and 5 where these are few.

    Args:
        axis: The axis.
        low: Where it begins.
        high: Where it ends.

    Example:
        >>> axes = Figure().subplots()
        >>> axes.set_yscale("log")
        >>> label_plainly(axes.yaxis, 0.4, 30.0)
        >>> axes.yaxis.get_major_formatter()(0.5)
        '0.5'
    """
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def depth_lines(
    lines: Lines,
    *,
    y_label: str,
    title: str = "",
    y_scale: str = "linear",
    within: tuple[float, float] = (-np.inf, np.inf),
) -> Figure:
    """Draw one value per layer against relative depth, with a band for its uncertainty.

    Lines differ by dashes as well as by colour, and those of one network look the same on every page.

    Args:
        lines: For each name in the legend: relative depths, values, and half the height of the band, each
            `[layers]`.
        y_label: What the values are, with their unit.
        title: What stands above.
        y_scale: "linear" or "log".
        within: What values can be, such as 0 to 1 for a share: no band is drawn beyond.

    Returns:
        The figure. As the last expression of a cell it is shown.

    Example:
        >>> depth = np.linspace(0, 1, 5)
        >>> figure = depth_lines({"vit": (depth, depth**2, 0 * depth + 0.1)}, y_label="highest CKA")
        >>> figure.axes[0].get_ylabel()
        'highest CKA'
    """
    return depth_panels({title: lines}, y_label=y_label, y_scale=y_scale, within=within)


def depth_panels(
    panels: Mapping[str, Lines],
    *,
    y_label: str,
    y_scale: str = "linear",
    within: tuple[float, float] = (-np.inf, np.inf),
) -> Figure:
    """Draw several figures of the same lines below each other, with one legend.

    Args:
        panels: For each title the lines, as for `depth_lines`, of the same names.
        y_label: What the values are, with their unit.
        y_scale: "linear" or "log"; there, what is not above zero is left out.
        within: What values can be, such as 0 to 1 for a share: no band is drawn beyond.

    Returns:
        The figure. As the last expression of a cell it is shown.

    Raises:
        ValueError: There is no panel, or one without a line.

    Example:
        >>> line = (np.array([0.0, 1.0]), np.array([0.5, 0.7]), np.zeros(2))
        >>> figure = depth_panels({"digits": {"vit": line}, "textures": {"vit": line}}, y_label="accuracy")
        >>> [axes.get_title() for axes in figure.axes]
        ['digits', 'textures']
    """
    if not panels or not all(panels.values()):
        raise ValueError("There is nothing to draw. Give one panel or more, each with a line or more.")
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    drawn = looks(names)
    beside = 1 if max(map(len, names)) > _LETTERS_BESIDE_EACH_OTHER else 2
    legend = 0.22 * -(-len(names) // beside) if len(names) > 1 else 0.0
    each = 3.0 if len(panels) == 1 else 2.3
    figure = Figure(figsize=(WIDTH, each * len(panels) + legend), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (title, lines) in zip(all_axes, panels.items(), strict=True):
        for name, (depth, values, half_height) in lines.items():
            colour, dashes = drawn[name]
            if y_scale == "log":
                values = np.where(values > 0, values, np.nan)
            axes.plot(depth, values, dashes, color=colour, label=name)
            low, high = np.clip([values - half_height, values + half_height], *within)
            axes.fill_between(depth, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.set(ylabel=y_label, xlim=(0, 1))
        axes.set_title(title, parse_math=False)  # a folder's name may have dollar signs
        if y_scale == "log" and np.isfinite(axes.dataLim.intervaly).all() and axes.dataLim.intervaly[1] > 0:
            axes.set_yscale("log")
            label_plainly(axes.yaxis, *axes.get_ylim())
    all_axes[-1].set_xlabel("relative depth (0: first layer, 1: last)")
    if len(names) > 1:
        entries = {
            label: line for axes in all_axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend([entries[name] for name in names], names, loc="outside lower center", ncols=beside)
    return figure
