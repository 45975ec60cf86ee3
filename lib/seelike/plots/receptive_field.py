"""What a unit sees of the image: Figures 6 and C.1 to C.4."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from seelike.plots.style import WIDTH

# All in inches. Maps stand at places of our own: beside squares, layout engines of matplotlib leave wide gaps.
_LARGEST_SIDE = 1.7
_BETWEEN = 0.06
_NAME = 0.26
_TITLE = 0.19
_BAR = 0.62
_MAPS_BESIDE_EACH_OTHER = 6
# Brightness is the logarithm of the field: far from the middle, a thousandth of the largest value is seen as well.
_TICKS = (0.001, 0.01, 0.1, 1)


def field_maps(rows: Mapping[str, Mapping[str, Float[np.ndarray, "height width"]]]) -> Figure:
    """Draw receptive fields as small images: a row for each network or sublayer, from low to high layers.

    Each field is divided by its largest value, so that shapes can be compared. Brightness is logarithmic, and what
    is below a thousandth is black. A row of more than six fields goes on below.

    Args:
        rows: For the name of each row the fields of some layers, by title.

    Returns:
        The figure.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> figure = field_maps({"vit": {"block 1": np.eye(4), "block 2": np.ones((4, 4))}})
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['block 1', 'block 2']
    """
    rows = {name: fields for name, fields in rows.items() if fields}
    if not rows:
        raise ValueError("There is no receptive field to draw. Give at least one network with a layer.")
    longest = max(map(len, rows.values()))
    # No line is much shorter than the others.
    columns = -(-longest // -(-longest // _MAPS_BESIDE_EACH_OTHER))
    side = min(_LARGEST_SIDE, (WIDTH + _BETWEEN) / columns - _BETWEEN)
    lines = sum(-(-len(fields) // columns) for fields in rows.values())
    height = len(rows) * _NAME + lines * (_TITLE + side + _BETWEEN) + _BAR
    width = max(columns * (side + _BETWEEN) - _BETWEEN, WIDTH / 2)
    figure = Figure(figsize=(width, height))
    top = 0.0
    for name, fields in rows.items():
        figure.text(0, 1 - (top + _NAME / 2) / height, name, fontsize=10, fontweight="bold", va="center")
        top += _NAME
        for place, (title, field) in enumerate(fields.items()):
            line, column = divmod(place, columns)
            left, bottom = column * (side + _BETWEEN), top + (line + 1) * (_TITLE + side) + line * _BETWEEN
            axes = figure.add_axes((left / width, 1 - bottom / height, side / width, side / height))
            axes.imshow(field / field.max(), cmap="magma", norm=_logarithmic())
            axes.set_title(title, fontsize=9, pad=2)
            axes.set_axis_off()
        top += (place // columns + 1) * (_TITLE + side + _BETWEEN)
    bar = figure.add_axes((0.15, 0.42 / height, 0.7, 0.1 / height))
    shades = ScalarMappable(_logarithmic(), "magma")
    figure.colorbar(shades, cax=bar, orientation="horizontal", label="share of the largest value")
    bar.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    bar.minorticks_off()
    return figure


def _logarithmic() -> LogNorm:
    return LogNorm(_TICKS[0], _TICKS[-1], clip=True)
