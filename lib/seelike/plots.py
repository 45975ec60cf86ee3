"""The figures of the book: one style, maps of CKA, lines over depth, and a slider over finished figures.

Figures are made without pyplot, so each is shown once, by the cell that ends with it.
"""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol, runtime_checkable

import ipywidgets as widgets
import matplotlib
import numpy as np
import seaborn
from IPython import get_ipython
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from seelike.cka import ModelComparison
from seelike.models import TrainingRecord

# Perceptually uniform, readable with every kind of colour vision, and in print.
_CKA_COLOURS = matplotlib.colormaps["magma"].with_extremes(bad="0.6")
_BLOCK_NUMBERS_ON_AN_AXIS = 7
# Letters, at ten points, that fit along one side of a map. Longer names are written smaller.
_LETTERS_ON_A_SIDE = 26


@runtime_checkable
class HasBlock(Protocol):
    """What a map needs of a layer: the number of its block, None outside of blocks."""

    @property
    def block(self) -> int | None:
        """The number of the layer's block, counted from 1."""


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
    """

    matrix: Float[np.ndarray, "y x"]
    y_layers: Sequence[HasBlock]
    x_layers: Sequence[HasBlock]
    y_label: str = ""
    x_label: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        """Refuse labels that do not fit the matrix."""
        expected = (len(self.y_layers), len(self.x_layers))
        if self.matrix.shape != expected:
            raise ValueError(
                f"The map {self.title or self.y_label!r} needs a matrix of shape {expected}, rows for "
                f"y_layers and columns for x_layers; got {self.matrix.shape}."
            )


def use_style() -> None:
    """Set the style of all figures, and PNG as the form in which a notebook keeps them.

    Letters are large for the size of the figure: they can be read where a page is as narrow as a phone.

    Example:
        >>> use_style()
        >>> matplotlib.rcParams["figure.dpi"]
        160.0
    """
    seaborn.set_theme(
        context="notebook",
        style="ticks",
        palette="colorblind",
        rc={
            "figure.dpi": 160,
            "savefig.dpi": 160,
            "axes.titlesize": 10,
            "axes.labelsize": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
        },
    )
    if get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("png")


def cka_map(
    matrix: Float[np.ndarray, "y x"],
    y_layers: Sequence[HasBlock],
    x_layers: Sequence[HasBlock],
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
        >>> from types import SimpleNamespace
        >>> layers = [SimpleNamespace(block=number) for number in (None, 1, 1, 2)]
        >>> figure = cka_map(np.eye(4), layers, layers, y_label="vit", x_label="vit")
        >>> figure.axes[0].get_xlabel()
        'vit\nlayers, by block'
    """
    return cka_maps([CKAMap(matrix, y_layers, x_layers, y_label, x_label, title)])


def map_between(comparison: ModelComparison, a: str, b: str) -> CKAMap:
    """Make the map of two compared networks, or of one with itself: the mean over repeats.

    Args:
        comparison: As `seelike.cka.compare_models` gives it.
        a: The network of the rows.
        b: The network of the columns. Where it is `a`, the name is the title, else both are at the axes.

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
    names = {"title": a} if a == b else {"y_label": a, "x_label": b}
    return CKAMap(comparison.mean(a, b), comparison.layers[a], comparison.layers[b], **names)


def cka_maps(maps: Sequence[CKAMap]) -> Figure:
    """Draw several maps of CKA with one colour bar, two beside each other (Figures 1, 2 and B.1).

    Args:
        maps: What to draw, row by row.

    Returns:
        The figure. As the last expression of a cell it is shown.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> from types import SimpleNamespace
        >>> layers = [SimpleNamespace(block=number) for number in (None, 1, 1, 2)]
        >>> maps = [CKAMap(np.eye(4), layers, layers, title=name) for name in ("vit", "resnet", "mixer")]
        >>> [axes.get_title() for axes in cka_maps(maps).axes]
        ['vit', 'resnet', 'mixer', '']
    """
    if not maps:
        raise ValueError("There is no map to draw. Give at least one CKAMap.")
    columns = min(2, len(maps))
    rows = -(-len(maps) // columns)
    figure = Figure(figsize=(3.9, 3.3) if columns == 1 else (6.0, 2.75 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in axes[len(maps) :]:
        unused.remove()
    axes = axes[: len(maps)]
    images = [_draw(drawn, place) for drawn, place in zip(maps, axes, strict=True)]
    figure.colorbar(images[0], ax=axes.tolist(), label="CKA", fraction=0.05, shrink=0.9, aspect=30)
    return figure


def _draw(drawn: CKAMap, axes: Axes) -> AxesImage:
    image = axes.imshow(
        drawn.matrix,
        cmap=_CKA_COLOURS,
        vmin=0,
        vmax=1,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_box_aspect(1)
    axes.set_title(drawn.title, fontsize=_size(drawn.title))
    axes.set_xlabel(f"{drawn.x_label}\nlayers, by block".strip(), fontsize=_size(drawn.x_label))
    axes.set_ylabel(f"{drawn.y_label}\nlayers, by block".strip(), fontsize=_size(drawn.y_label))
    for axis, layers in ((axes.xaxis, drawn.x_layers), (axes.yaxis, drawn.y_layers)):
        starts = _block_starts(layers)
        every = max(1, -(-len(starts) // _BLOCK_NUMBERS_ON_AN_AXIS))
        axis.set_ticks([position for position, _ in starts], minor=True)
        axis.set_ticks([position for position, _ in starts[::every]], [str(block) for _, block in starts[::every]])
    return image


def _size(name: str) -> float:
    return min(10.0, 10 * _LETTERS_ON_A_SIDE / max(1, len(name)))


def _block_starts(layers: Sequence[HasBlock]) -> list[tuple[float, int]]:
    """The edge before the first layer of each block, and the number of the block."""
    starts, previous = [], None
    for index, layer in enumerate(layers):
        if layer.block is not None and layer.block != previous:
            starts.append((index - 0.5, layer.block))
        previous = layer.block
    return starts


def depth_lines(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], *, y_label: str, title: str = ""
) -> Figure:
    """Draw one value per layer against relative depth, with a band for its uncertainty.

    Lines differ by dashes as well as by colour.

    Args:
        lines: For each name in the legend: relative depths, values, and half the height of the band, each
            `[layers]`.
        y_label: What the values are, with their unit.
        title: What stands above.

    Returns:
        The figure. As the last expression of a cell it is shown.

    Example:
        >>> depth = np.linspace(0, 1, 5)
        >>> figure = depth_lines({"vit": (depth, depth**2, 0 * depth + 0.1)}, y_label="highest CKA")
        >>> figure.axes[0].get_ylabel()
        'highest CKA'
    """
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.subplots()
    dashes = ("-", "--", "-.", ":")
    for number, (name, (depth, values, half_height)) in enumerate(lines.items()):
        (line,) = axes.plot(depth, values, dashes[number % len(dashes)], label=name)
        axes.fill_between(
            depth, values - half_height, values + half_height, color=line.get_color(), alpha=0.2, linewidth=0
        )
    axes.set(xlabel="relative depth (0: first layer, 1: last)", ylabel=y_label, title=title, xlim=(0, 1))
    if len(lines) > 1:
        axes.legend()
    return figure


def learning_curves(panels: Mapping[str, Sequence[TrainingRecord]]) -> Figure:
    """Draw the accuracy on the test images after each epoch, against the images that the network has seen by then.

    Args:
        panels: For each title, the records of the networks whose curves are in one panel.

    Returns:
        The figure, a panel below the other. As the last expression of a cell it is shown.

    Example:
        >>> from seelike.models import training_records
        >>> figure = learning_curves({"All": training_records()})
        >>> figure.axes[0].get_xlabel()
        'training images seen, with repetition'
    """
    figure = Figure(figsize=(5.2, 2.7 * len(panels)), layout="constrained")
    dashes = ("-", "--", "-.", ":")
    all_axes = figure.subplots(len(panels), squeeze=False, sharex=True)[:, 0]
    for axes, (title, records) in zip(all_axes, panels.items(), strict=True):
        for number, record in enumerate(records):
            seen = [record.training_images * point["epoch"] for point in record.curve]
            accuracies = [point["accuracy"] for point in record.curve]
            name = record.name.removeprefix("tiny/")
            axes.plot(seen, accuracies, dashes[number // 2 % len(dashes)], label=name, linewidth=1.5)
        axes.set(title=title, ylabel="accuracy", xscale="log")
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    all_axes[-1].set_xlabel("training images seen, with repetition")
    return figure


def states(figures: Mapping[str, Figure], label: str, alt: Mapping[str, str]) -> widgets.Widget:
    """Put finished figures behind a slider and a menu, of which one is seen at a time.

    They are joined in the page itself, so the widget works in a rendered book, without a kernel.

    Args:
        figures: The figure of each state, by the name that the menu shows.
        label: What the states are, for the slider and the menu: "Networks".
        alt: A text for those who cannot see the figure, for each state.

    Returns:
        The widget. As the last expression of a cell it is shown.

    Raises:
        ValueError: There is no figure, or the states of `figures` and `alt` differ.

    Example:
        >>> figures = {"first": Figure(), "second": Figure()}
        >>> widget = states(figures, "State", {"first": "Nothing yet.", "second": "Still nothing."})
        >>> [type(child).__name__ for child in widget.children]
        ['HBox', 'Stack']
    """
    if not figures or list(figures) != list(alt):
        raise ValueError(
            f"states needs one or more figures, and the same states in alt, in the same order; got figures "
            f"for {list(figures)} and alt for {list(alt)}."
        )
    # widgets.Image has no alternative text, so each picture is an <img> with one.
    pictures = [widgets.HTML(_picture(figure, name, alt[name])) for name, figure in figures.items()]
    stack = widgets.Stack(pictures, selected_index=0, layout={"max_width": "100%"})
    # A slider whose ends are equal does not start in the page, and stops the other widgets there.
    if len(figures) == 1:
        return stack
    slider = widgets.IntSlider(
        min=0,
        max=len(figures) - 1,
        readout=False,
        description=label,
        style={"description_width": "initial"},
        layout={"width": "18em", "max_width": "100%"},
    )
    menu = widgets.Dropdown(
        options=list(figures), index=0, tooltip=label, layout={"width": "18em", "max_width": "100%"}
    )
    widgets.jslink((slider, "value"), (stack, "selected_index"))
    widgets.jslink((slider, "value"), (menu, "index"))
    controls = widgets.HBox([slider, menu], layout={"flex_flow": "row wrap", "max_width": "100%"})
    return widgets.VBox([controls, stack], layout={"max_width": "100%"})


def _picture(figure: Figure, name: str, alt: str) -> str:
    png = BytesIO()
    figure.savefig(png, format="png", dpi=160, bbox_inches="tight", facecolor="white")
    encoded = base64.b64encode(png.getvalue()).decode()
    return (
        '<figure style="margin: 0; line-height: 1.4">'
        f'<img src="data:image/png;base64,{encoded}" alt="{html.escape(alt)}" '
        'style="max-width: 100%; height: auto">'
        f"<figcaption>{html.escape(name)}</figcaption></figure>"
    )
