"""Lines in several panels with the same axes: Figures G.1 and G.2."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from seelike.plots.style import WIDTH, in_lines, looks

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_COLUMNS = 2
# Letters of the names in a legend that fit beside each other in one row.
_LETTERS_IN_A_ROW = 44
# Letters of a title that fit above a panel.
_LETTERS_OF_A_TITLE = 24


def line_panels(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]],
    *,
    x_label: str,
    y_label: str,
) -> Figure:
    """Draw lines with bands for their uncertainty in panels of equal axes, two beside each other.

    A line of one name looks the same in every panel: lines differ by colour, dashes and markers. Those of one
    network look the same on every page.

    Args:
        panels: For each title the lines: for each name in the legend the places, values, and half the height of
            the band, each `[points]`.
        x_label: What the places are.
        y_label: What the values are, with their unit.

    Returns:
        The figure. As the last expression of a cell it is shown.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> line = np.arange(1, 4), np.array([1.0, 0.9, 0.5]), np.full(3, 0.1)
        >>> figure = line_panels({"digits": {"ViT": line}}, x_label="block", y_label="CKA")
        >>> figure.axes[0].get_title(), figure.axes[0].get_ylabel()
        ('digits', 'CKA')
    """
    if not any(panels.values()):
        raise ValueError("There is no line to draw. Give at least one panel with a line.")
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    beside = max(1, min(len(names), _LETTERS_IN_A_ROW // (max(map(len, names)) + 4)))
    rows_of_legend = -(-len(names) // beside)
    width = 4.4 if columns == 1 else WIDTH
    figure = Figure(figsize=(width, 2.45 * rows + 0.3 + 0.2 * rows_of_legend), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for place, each in enumerate(axes.ravel()):
        if place >= len(panels):
            each.remove()
        elif place + columns >= len(panels):
            # The lowest of its column, also where the last row is not full.
            each.set_xlabel(in_lines(x_label, _LETTERS_OF_A_TITLE))
            each.tick_params(labelbottom=True)
    if all(np.array_equal(x, np.round(x)) for lines in panels.values() for x, *_ in lines.values()):
        axes[0, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    handles: dict[str, Line2D] = {}
    drawn = looks(names)
    for each, (title, lines) in zip(axes.ravel(), panels.items(), strict=False):
        # A folder's name may have dollar signs.
        each.set_title(in_lines(title, _LETTERS_OF_A_TITLE), parse_math=False)
        for name, (x, values, half_height) in lines.items():
            colour, dashes = drawn[name]
            (line,) = each.plot(
                x,
                values,
                dashes,
                color=colour,
                marker=_MARKERS[names.index(name) % len(_MARKERS)],
                markersize=4,
                label=name,
            )
            each.fill_between(x, values - half_height, values + half_height, color=colour, alpha=0.2, linewidth=0)
            handles.setdefault(name, line)
    for each in axes[:, 0]:
        each.set_ylabel(y_label)
    if len(names) > 1:
        figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=beside)
    return figure
