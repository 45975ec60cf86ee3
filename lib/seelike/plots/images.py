"""Rows of images, to see what networks were shown."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from seelike.plots.style import WIDTH

# In inches.
_LARGEST_SIDE = 0.6
_NAME = 0.25


def image_rows(rows: Mapping[str, Sequence[Image.Image]]) -> Figure:
    """Draw some images of each of several image sets, a row for each.

    Args:
        rows: For each name its images, the same number in every row. A single row may have an empty name.

    Returns:
        The figure. As the last expression of a cell it is shown.

    Raises:
        ValueError: There is no image, or rows differ in length.

    Example:
        >>> from seelike import data
        >>> figure = image_rows({"digits": [data.load("digits")[number] for number in range(3)]})
        >>> len(figure.axes)
        3
    """
    lengths = {len(images) for images in rows.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"image_rows needs as many images in every row, and at least one; got rows of {lengths}.")
    (columns,) = lengths
    side = min(_LARGEST_SIDE, WIDTH / columns)
    height = len(rows) * (side + _NAME * any(rows)) + 0.1
    figure = Figure(figsize=(columns * side, height), layout="constrained")
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (name, images) in zip(parts, rows.items(), strict=True):
        # The name of a folder may have dollar signs.
        if name:
            part.suptitle(name, fontsize=9, x=0.01, ha="left", parse_math=False)
        for axes, image in zip(part.subplots(1, columns, squeeze=False)[0], images, strict=True):
            axes.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
    return figure
