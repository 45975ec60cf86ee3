"""Gram matrices: how alike a layer makes every two images (Section 3)."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seelike.plots.style import GREY, WIDTH, in_lines

# What lies farther out than so many root mean squares has the last colour.
FAR = 4.0
# Orange is alike, purple unlike: told apart with every kind of colour vision.
ALIKE = "PuOr_r"
# Letters, at nine points, that fit above a matrix.
_LETTERS_OF_A_TITLE = 26


def gram_maps(grams: Mapping[str, Float[np.ndarray, "n n"]]) -> Figure:
    """Draw the Gram matrices of several layers for the same images, in one order of the images.

    Each is divided by the root mean square of its pairs of different images, so the mean of the product of two
    maps is CKA (Section 3). Images are in the order of the main direction of the last layer.

    Args:
        grams: For each title a Gram matrix, U-centred as `seelike.cka.u_center` gives it.

    Returns:
        The figure. As the last expression of a cell it is shown.

    Raises:
        ValueError: There is no matrix, or they are not all of the same images.

    Example:
        >>> import torch
        >>> from seelike.cka import gram, u_center
        >>> layers = {name: torch.randn(8, 3) for name in ("first", "last")}
        >>> figure = gram_maps({name: u_center(gram(x)).numpy() for name, x in layers.items()})
        >>> [axes.get_title() for axes in figure.axes]
        ['first', 'last']
    """
    shapes = {each.shape for each in grams.values()}
    if len(shapes) != 1:
        raise ValueError(f"gram_maps needs one matrix or more, of the same images; got shapes {sorted(shapes)}.")
    *_, last = grams.values()
    order = np.argsort(np.linalg.eigh(last)[1][:, -1])
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    for axes, (title, each) in zip(figure.subplots(1, len(grams), squeeze=False)[0], grams.items(), strict=True):
        pairs = each[~np.eye(len(each), dtype=bool)]
        scale = np.sqrt(np.mean(pairs**2)) or 1.0
        draw_gram(axes, each[np.ix_(order, order)] / scale, in_lines(title, _LETTERS_OF_A_TITLE))
    return figure


def draw_gram(axes: Axes, gram: Float[np.ndarray, "n n"], title: str) -> None:
    """Draw one Gram matrix in units of its root mean square; an image with itself is grey."""
    colours = matplotlib.colormaps[ALIKE].with_extremes(bad=GREY)
    without_self = np.where(np.eye(len(gram), dtype=bool), np.nan, gram)
    axes.imshow(without_self, cmap=colours, vmin=-FAR, vmax=FAR, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
