"""Lines over depth with a point for each training of a network: Figures 4, 12 and G.1."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import seaborn
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seelike.plots.style import BAND, DASHES, GREY, WIDTH

# Of trainings that lie on each other, this share of the distance of two blocks makes each visible.
_APART = 0.2
_SHADES = (0.15, 0.75)


def over_trainings(
    panels: Mapping[str, Mapping[str, Float[np.ndarray, "trainings blocks"]]],
    *,
    y_label: str,
    names: Sequence[str] = (),
    controls: Collection[str] = (),
    margin: float | None = None,
) -> Figure:
    """Draw the mean over trainings as a line, and each training as a point, for several groups of networks.

    Args:
        panels: For each title, and each name in the legend, a row for each training and a column for each block.
        y_label: What the values are, with their unit.
        names: Those of the legend in their order, from light to dark; by default as they come.
        controls: Names that are drawn grey: what differs from them by chance alone.
        margin: The smallest effect of interest. Below the first control, a band of this height is shaded.

    Returns:
        The figure, a panel below the other, with one legend. As the last expression of a cell it is shown.

    Raises:
        ValueError: There is no panel, or one without a line.

    Example:
        >>> lines = {"10 %": np.array([[0.9, 0.5], [0.9, 0.6]]), "again": np.array([[0.9, 0.8], [0.9, 0.8]])}
        >>> figure = over_trainings({"ViT": lines}, y_label="CKA", controls=["again"], margin=0.05)
        >>> figure.axes[0].get_title()
        'ViT'
    """
    if not panels or not all(panels.values()):
        raise ValueError("There is nothing to draw. Give one panel or more, each with a line or more.")
    names = names or list(dict.fromkeys(name for lines in panels.values() for name in lines))
    coloured = [name for name in names if name not in controls]
    # From light to dark and not by hue: these are steps of one quantity, and can be told apart in grey as well.
    # Neither end is so light or so dark that it would not show on a page of its own colour.
    shades = seaborn.color_palette("crest", as_cmap=True)
    colours = [shades(step) for step in np.linspace(*_SHADES, len(coloured))]
    rows = -(-len(names) // 2)
    figure = Figure(figsize=(WIDTH, 2.6 * len(panels) + 0.24 * rows + 0.3), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for axes, (title, lines) in zip(all_axes, panels.items(), strict=True):
        for name, values in lines.items():
            number = names.index(name)
            grey = name in controls
            colour = GREY if grey else colours[coloured.index(name)]
            _line(axes, values, colour, DASHES[number % len(DASHES)], name, (number + 0.5) / len(names) - 0.5)
        if margin is not None and (control := next((name for name in controls if name in lines), None)):
            mean = lines[control].mean(axis=0)
            blocks = np.arange(1, len(mean) + 1)
            axes.fill_between(blocks, mean - margin, mean, color=BAND, linewidth=0, zorder=0)
        axes.set(ylabel=y_label)
        axes.set_title(title, parse_math=False)  # a folder's name may have dollar signs
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    all_axes[-1].set_xlabel("block")
    entries = {
        label: line for axes in all_axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend([entries[name] for name in names], names, loc="outside lower center", ncols=2)
    return figure


def _line(
    axes: Axes, values: np.ndarray, colour: str | tuple[float, ...], dashes: str, name: str, shift: float
) -> None:
    blocks = np.arange(1, values.shape[1] + 1)
    axes.plot(blocks, values.mean(axis=0), dashes, color=colour, label=name)
    for row in values if len(values) > 1 else []:
        axes.plot(blocks + _APART * shift, row, ".", color=colour, markersize=5, alpha=0.8)
