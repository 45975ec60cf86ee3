"""Lines over relative depth: Figures 6, 7, 11, 12, 13, E.2 and G.1."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from seelike.plots.style import DASHES

# Names in a legend, longer than this, stand below each other.
_LETTERS_BESIDE_EACH_OTHER = 28
_LETTERS_OF_THREE = 18
# Of the palette, without its pale pink and its yellow, which hardly show on white.
_COLOURS = ("C0", "C1", "C2", "C3", "C4", "C5", "C7", "C9")
# Letters, at ten points, that fit above one of two panels.
_LETTERS_ON_A_PANEL = 32


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


def depth_panels(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]], *, y_label: str
) -> Figure:
    """Draw `depth_lines` of several networks, two panels beside each other, on one scale and with one legend.

    Args:
        panels: For each title the lines, as `depth_lines` takes them. Lines of one name look the same in all.
        y_label: What the values are, with their unit.

    Returns:
        The figure. As the last expression of a cell it is shown.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> depth = np.linspace(0, 1, 5)
        >>> lines = {"first token": (depth, depth**2, 0 * depth + 0.1)}
        >>> figure = depth_panels({"CLS": lines, "GAP": lines}, y_label="accuracy")
        >>> [axes.get_title() for axes in figure.axes]
        ['CLS', 'GAP']
    """
    if not panels:
        raise ValueError("There is no line to draw. Give at least one panel.")
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    longest = max(map(len, names))
    beside = 1 if longest > _LETTERS_BESIDE_EACH_OTHER else 2 if longest > _LETTERS_OF_THREE else 3
    height = 2.6 * rows + 0.2 + 0.22 * -(-len(names) // beside)
    figure = Figure(figsize=(3.0 * columns, height), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    in_legend = {}
    for unused in all_axes.ravel()[len(panels) :]:
        unused.remove()
    for axes, (title, lines) in zip(all_axes.ravel(), panels.items(), strict=False):
        for name, (depth, values, half_height) in lines.items():
            number = names.index(name)
            colour, dashes = _COLOURS[number % len(_COLOURS)], DASHES[number % len(DASHES)]
            (in_legend[name],) = axes.plot(depth, values, dashes, color=colour)
            axes.fill_between(
                depth, values - half_height, values + half_height, color=colour, alpha=0.2, linewidth=0
            )
        axes.set(xlim=(0, 1), xlabel="relative depth")
        axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
        axes.set_title(title, fontsize=min(10.0, 10 * _LETTERS_ON_A_PANEL / max(1, len(title))))
    for axes in all_axes[:, 0]:
        axes.set_ylabel(y_label)
    figure.legend([in_legend[name] for name in names], names, loc="outside lower center", ncols=beside)
    return figure
