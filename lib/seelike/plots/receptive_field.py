"""What a unit sees of the image: Figures 6 and C.1 to C.4."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

_WIDTH = 6.2  # inches
_LETTERS_ON_A_SIDE = 16
# Brightness is the square root of the field: its weak surroundings are seen as well.
_POWER = 0.5


def field_maps(rows: Mapping[str, Mapping[str, Float[np.ndarray, "height width"]]]) -> Figure:
    """Draw receptive fields as small images: a row for each network, from low to high layers.

    Each field is divided by its largest value, so that shapes can be compared.

    Args:
        rows: For each network the fields of some layers, by title.

    Returns:
        The figure.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> figure = field_maps({"vit": {"block 1": np.eye(4), "block 2": np.ones((4, 4))}})
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['block 1', 'block 2']
    """
    if not rows or not any(rows.values()):
        raise ValueError("There is no receptive field to draw. Give at least one network with a layer.")
    columns = max(len(fields) for fields in rows.values())
    side = _WIDTH / (columns + 0.6)
    figure = Figure(figsize=(_WIDTH, (side + 0.25) * len(rows) + 0.1), layout="constrained")
    all_axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, fields) in zip(all_axes, rows.items(), strict=True):
        for unused in line[len(fields) :]:
            unused.set_axis_off()
        for axes, (title, field) in zip(line, fields.items(), strict=False):
            image = axes.imshow(field / field.max(), cmap="magma", norm=PowerNorm(_POWER, 0, 1))
            axes.set_title(title, fontsize=8)
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(name, fontsize=min(10.0, 10 * _LETTERS_ON_A_SIDE / max(1, len(name))))
    bar = figure.colorbar(image, ax=all_axes.ravel().tolist(), label="share of the largest value", fraction=0.03)
    bar.set_ticks([0, 0.1, 0.25, 0.5, 1])
    return figure
