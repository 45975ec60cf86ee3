"""Maps of CKA: Figures 1, 2, 8, B.1, H.1 and H.2."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from seelike.cka import ModelComparison
from seelike.models import STREAM, Layer
from seelike.plots.style import GREY, WIDTH, in_lines

# Perceptually uniform, readable with every kind of colour vision, and in print.
_CKA_COLOURS = matplotlib.colormaps["magma"].with_extremes(bad=GREY)
# Block numbers that fit along the maps of one row, all together.
_BLOCK_NUMBERS_IN_A_ROW = 14
# Letters, at ten points, that fit along the maps of one row, all together. Longer names take more lines.
_LETTERS_IN_A_ROW = 44
# Inches of a row of maps, by how many are beside each other.
_HEIGHTS = {1: 3.0, 2: 2.25, 3: 1.35}
# Of a scale of the maps' own: its ends are multiples of a step, and so far apart that noise does not look like a
# pattern.
_SCALE_STEPS = 20
_LEAST_SCALE = 0.1


@dataclass(frozen=True)
class CKAMap:
    """One map of a figure: the CKA of the layers of one network with those of the same or another.

    Attributes:
        matrix: CKA, a row for each layer of `y_layers`, a column for each of `x_layers`.
        y_layers: Layers of the rows, in firing order, as `seelike.models.layers` gives them.
        x_layers: Layers of the columns.
        y_label: The network of the rows; empty where the title says it.
        x_label: The network of the columns; likewise.
        title: What stands above the map.
        marked_block: A block of both networks whose first and last layer are marked by lines.
        ridge: Whether a dot marks, for each layer of the columns' residual stream, the most similar layer of the
            rows' one.
    """

    matrix: Float[np.ndarray, "y x"]
    y_layers: Sequence[Layer]
    x_layers: Sequence[Layer]
    y_label: str = ""
    x_label: str = ""
    title: str = ""
    marked_block: int | None = None
    ridge: bool = False

    def __post_init__(self) -> None:
        """Refuse labels that do not fit the matrix."""
        expected = (len(self.y_layers), len(self.x_layers))
        if self.matrix.shape != expected:
            raise ValueError(
                f"The map {self.title or self.y_label!r} needs a matrix of shape {expected}, rows for "
                f"y_layers and columns for x_layers; got {self.matrix.shape}."
            )


def cka_map(
    matrix: Float[np.ndarray, "y x"],
    y_layers: Sequence[Layer],
    x_layers: Sequence[Layer],
    *,
    y_label: str = "",
    x_label: str = "",
    title: str = "",
) -> Figure:
    r"""Draw one map of CKA, from the first layers at the lower left to the last at the upper right.

    Colours go from 0 to 1 in every figure, so that they can be compared. NaN is grey. Ticks are at the first
    layer of each block, with the number of some.

    Args:
        matrix: CKA, a row for each layer of `y_layers`, a column for each of `x_layers`.
        y_layers: Layers of the rows, in firing order.
        x_layers: Layers of the columns.
        y_label: The network of the rows; empty where the title says it.
        x_label: The network of the columns; likewise.
        title: What stands above the map.

    Returns:
        The figure. As the last expression of a cell it is shown.

    Raises:
        ValueError: The numbers of layers are not those of the matrix.

    Example:
        >>> layers = [Layer("", "", number, 0.0, "") for number in (None, 1, 1, 2)]
        >>> figure = cka_map(np.eye(4), layers, layers, y_label="vit", x_label="vit")
        >>> figure.axes[0].get_xlabel()
        'vit, by block'
    """
    return cka_maps([CKAMap(matrix, y_layers, x_layers, y_label, x_label, title)])


def map_between(comparison: ModelComparison, a: str, b: str, *, ridge: bool = False) -> CKAMap:
    """Make the map of two compared networks, or of one with itself: the mean over repeats.

    Args:
        comparison: As `seelike.cka.compare_models` gives it.
        a: The network of the rows.
        b: The network of the columns. Where it is `a`, the name is the title, else both are at the axes.
        ridge: Whether dots mark the most similar layers of the two residual streams.

    Returns:
        The map, for `cka_maps`.

    Raises:
        UnknownName: A network was not compared.

    Example:
        >>> from seelike.models import Layer
        >>> layers = [Layer("block 1", "block", 1, 0.0, "0"), Layer("block 2", "block", 2, 1.0, "1")]
        >>> comparison = ModelComparison({"vit": layers}, np.ones((3, 2, 2)))
        >>> map_between(comparison, "vit", "vit").title
        'vit'
    """
    matrix, y_layers, x_layers = comparison.mean(a, b), comparison.layers[a], comparison.layers[b]
    if a == b:
        return CKAMap(matrix, y_layers, x_layers, title=a, ridge=ridge)
    return CKAMap(matrix, y_layers, x_layers, y_label=a, x_label=b, ridge=ridge)


def cka_maps(maps: Sequence[CKAMap], *, columns: int = 2, label: str = "CKA", own_scale: bool = False) -> Figure:
    """Draw several maps of CKA with one colour bar, two beside each other (Figures 1, 2 and B.1).

    Args:
        maps: What to draw, row by row.
        columns: How many beside each other, three at most.
        label: What the colour is, where it is another measure of 0 to 1.
        own_scale: Whether the colours span the values of these maps, rounded outward to 0.05, in the place of 0
            to 1: for maps between networks, whose values can lie so close that no band would be seen.

    Returns:
        The figure. As the last expression of a cell it is shown.

    Raises:
        ValueError: There is nothing to draw, or `columns` is none of 1, 2 and 3.

    Example:
        >>> layers = [Layer("", "", number, 0.0, "") for number in (None, 1, 1, 2)]
        >>> maps = [CKAMap(np.eye(4), layers, layers, title=name) for name in ("vit", "resnet", "mixer")]
        >>> [axes.get_title() for axes in cka_maps(maps).axes]
        ['vit', 'resnet', 'mixer', '']
    """
    if not maps:
        raise ValueError("There is no map to draw. Give at least one CKAMap.")
    if columns not in _HEIGHTS:
        raise ValueError(f"columns is {columns}; expected 1, 2 or 3 maps beside each other.")
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    size = (3.9 if columns == 1 else WIDTH, _HEIGHTS[columns] * rows + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in axes[len(maps) :]:
        unused.remove()
    axes = axes[: len(maps)]
    limits = _own_limits(maps) if own_scale else (0.0, 1.0)
    images = [_draw(drawn, place, max(columns, 2), limits) for drawn, place in zip(maps, axes, strict=True)]
    for place, (drawn, each) in enumerate(zip(maps, axes, strict=True)):
        # What two neighbours have in common is written once.
        if place % columns and drawn.y_label == maps[place - 1].y_label:
            each.set_ylabel("")
        if place + columns < len(maps) and drawn.x_label == maps[place + columns].x_label:
            each.set_xlabel("")
    figure.colorbar(images[0], ax=axes.tolist(), label=label, fraction=0.05, shrink=0.9, aspect=30)
    return figure


def along(network: str, in_a_row: int = 2) -> str:
    """Say what is along the side of a map: the layers of a network, whose name may be said elsewhere.

    Args:
        network: Its name, or nothing.
        in_a_row: How many maps stand beside each other.

    Example:
        >>> along("vit"), along("")
        ('vit, by block', 'layers, by block')
    """
    return in_lines(f"{network or 'layers'}, by block", _LETTERS_IN_A_ROW // in_a_row)


def _own_limits(maps: Sequence[CKAMap]) -> tuple[float, float]:
    values = np.concatenate([drawn.matrix.ravel() for drawn in maps])
    known = np.clip(values[np.isfinite(values)], 0, 1)
    if not known.size:
        return 0.0, 1.0
    low = min(np.floor(known.min() * _SCALE_STEPS) / _SCALE_STEPS, 1 - _LEAST_SCALE)
    high = max(np.ceil(known.max() * _SCALE_STEPS) / _SCALE_STEPS, low + _LEAST_SCALE)
    return float(low), float(high)


def _draw(drawn: CKAMap, axes: Axes, in_a_row: int, limits: tuple[float, float]) -> AxesImage:
    image = axes.imshow(
        drawn.matrix,
        cmap=_CKA_COLOURS,
        vmin=limits[0],
        vmax=limits[1],
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_box_aspect(1)
    axes.set_title(in_lines(drawn.title, _LETTERS_IN_A_ROW // in_a_row))
    axes.set_xlabel(along(drawn.x_label, in_a_row))
    axes.set_ylabel(along(drawn.y_label, in_a_row))
    for layers, line in ((drawn.x_layers, axes.axvline), (drawn.y_layers, axes.axhline)):
        places = [place for place, layer in enumerate(layers) if layer.block == drawn.marked_block is not None]
        for edge in (places[0] - 0.5, places[-1] + 0.5) if places else ():
            # White on the dark, black on the bright: seen on every colour of the map.
            line(edge, color="white", linewidth=1.6)
            line(edge, color="black", linewidth=0.8, linestyle="--")
    if drawn.ridge:
        _draw_ridge(drawn, axes)
    block_numbers = _BLOCK_NUMBERS_IN_A_ROW // in_a_row
    for axis, layers in ((axes.xaxis, drawn.x_layers), (axes.yaxis, drawn.y_layers)):
        starts = _block_starts(layers)
        every = max(1, -(-len(starts) // block_numbers))
        axis.set_ticks([position for position, _ in starts], minor=True)
        axis.set_ticks([position for position, _ in starts[::every]], [str(block) for _, block in starts[::every]])
    return image


def _draw_ridge(drawn: CKAMap, axes: Axes) -> None:
    rows, columns = (
        np.array([place for place, layer in enumerate(layers) if layer.kind in STREAM], dtype=int)
        for layers in (drawn.y_layers, drawn.x_layers)
    )
    stream = drawn.matrix[np.ix_(rows, columns)]
    known = np.isfinite(stream).any(axis=0)
    if known.any():
        best = np.nanargmax(stream[:, known], axis=0)
        # White within black: seen on every colour of the map. Those of the first and last layers lie on its edge.
        dots: dict[str, Any] = {
            "markersize": 3,
            "markerfacecolor": "white",
            "markeredgecolor": "black",
            "markeredgewidth": 0.6,
        }
        axes.plot(columns[known], rows[best], "o", clip_on=False, **dots)


def _block_starts(layers: Sequence[Layer]) -> list[tuple[float, int]]:
    """The edge before the first layer of each block, and the number of the block."""
    starts, previous = [], None
    for index, layer in enumerate(layers):
        if layer.block is not None and layer.block != previous:
            starts.append((index - 0.5, layer.block))
        previous = layer.block
    return starts
