"""How far heads look: Figures 3, 4, 5, C.5 and C.6."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seelike.plots.style import GREY, INK, WIDTH, in_lines, looks
from seelike.sections.local_global import Heads
from seelike.uncertainty import mean_and_uncertainty

_MARKERS = ("o", "s", "^", "D")
_NAMES = ("first block", "second block", "last block but one", "last block")
_OTHER = "other blocks"
_UNIFORM = "everywhere alike"
# Room above the farthest head, so that its mark is whole.
_ROOM = 1.1
# Of the way from one head to the next.
_SIDE_BY_SIDE = 0.16
# Of a title, that fit above a panel of half the page.
_LETTERS = 22


def sorted_heads(panels: Mapping[str, Heads]) -> Figure:
    """Draw the heads of the two lowest and the two highest blocks, sorted by their attention distance (Figure 4).

    The dashed line is a head that looks everywhere alike. Bars are 95 % intervals over draws of images.

    Args:
        panels: For each title the heads of a ViT.

    Returns:
        The figure, two panels beside each other.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> figure = sorted_heads({"vit": Heads(np.random.rand(3, 6, 4), np.zeros((3, 6, 4)), uniform=0.5)})
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['first block', 'second block', 'last block but one', 'last block', 'everywhere alike']
    """
    _require_heads(panels)
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH if columns > 1 else 4.0, 2.2 * rows + 0.6), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in all_axes[len(panels) :]:
        unused.remove()
    for axes, (title, heads) in zip(all_axes, panels.items(), strict=False):
        _draw_sorted(axes, heads)
        axes.set_title(in_lines(title, _LETTERS))
    for axes in all_axes[len(panels) - columns : len(panels)]:
        axes.set_xlabel("head, sorted")
    _legend(figure)
    return figure


def all_heads(panels: Mapping[str, Heads]) -> Figure:
    """Draw the sorted heads of the lowest and highest blocks, and beside them those of all blocks (Figure 3).

    The dashed line is a head that looks everywhere alike. Bars are 95 % intervals over draws of images.

    Args:
        panels: For each title the heads of a ViT.

    Returns:
        The figure, a row for each ViT.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> figure = all_heads({"vit": Heads(np.random.rand(3, 6, 4), np.zeros((3, 6, 4)), uniform=0.5)})
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['head, sorted', 'block']
    """
    _require_heads(panels)
    figure = Figure(figsize=(WIDTH, 2.2 * len(panels) + 0.6), layout="constrained")
    pairs = figure.subplots(len(panels), 2, squeeze=False, sharey="row")
    for (left, right), (title, heads) in zip(pairs, panels.items(), strict=True):
        _draw_sorted(left, heads)
        _draw_blocks(right, heads)
        left.set_title(in_lines(title, _LETTERS))
        right.set_title("all blocks")
    for axes, label in zip(pairs[-1], ("head, sorted", "block"), strict=True):
        axes.set_xlabel(label)
    _legend(figure)
    return figure


def head_map(heads: Heads, block: int, head: int, attention: Float[np.ndarray, "down right"]) -> Figure:
    """Draw one head: its place among all heads, and its mean attention by the offset of the patch that is seen.

    Args:
        heads: All heads of the ViT.
        block: Number of the block, from 1.
        head: Number of the head, from 1.
        attention: As one head of `seelike.attention.mean_attention`; the own patch is in the middle.

    Returns:
        The figure, distances on the left and the map on the right.

    Example:
        >>> heads = Heads(np.random.rand(3, 6, 4), np.zeros((3, 6, 4)), uniform=0.5)
        >>> [axes.get_xlabel() for axes in head_map(heads, 1, 4, np.eye(5)).axes[:2]]
        ['block', 'patches to the right']
    """
    figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_blocks(left, heads)
    here = heads.distance[:, block - 1, head - 1].mean()
    left.plot(block, here, "o", markersize=13, markerfacecolor="none", markeredgecolor=INK, zorder=4)
    left.set(xlabel="block", ylabel="distance (pixels)", title="this head among all")
    rows, columns = (size // 2 + 0.5 for size in attention.shape)
    image = right.imshow(attention, cmap="magma", vmin=0, extent=(-columns, columns, rows, -rows))
    right.plot(0, 0, "+", markersize=9, markeredgecolor="tab:cyan", markeredgewidth=1.5)
    right.set(xlabel="patches to the right", ylabel="patches down", title="where it looks")
    for axis in (right.xaxis, right.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))
    figure.colorbar(image, ax=right, label="attention", fraction=0.05)
    return figure


def subsets_of_heads(
    panels: Mapping[str, tuple[Float[np.ndarray, " subsets"], Float[np.ndarray, "repeats subsets"]]],
) -> Figure:
    """Draw CKA of subsets of heads with low layers of a CNN, against their attention distance (Figure 5).

    Args:
        panels: For each name in the legend, mean distance of each subset in pixels and its CKA, per repeat.

    Returns:
        The figure.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> figure = subsets_of_heads({"vit": (np.array([5.0, 9.0]), np.array([[0.6, 0.5], [0.7, 0.5]]))})
        >>> figure.axes[0].get_xlabel()
        'mean attention distance of the subset (pixels)'
    """
    if not panels:
        raise ValueError("There are no subsets to draw. Give at least one ViT.")
    figure = Figure(figsize=(WIDTH, 3.0 + 0.22 * len(panels)), layout="constrained")
    axes = figure.subplots()
    drawn = looks(panels)
    for place, (name, (distance, cka)) in enumerate(panels.items()):
        mean, half_height = mean_and_uncertainty(cka)
        axes.errorbar(
            distance,
            mean,
            yerr=np.nan_to_num(half_height),
            marker=_MARKERS[place % len(_MARKERS)],
            color=drawn[name].colour,
            linestyle=":",
            capsize=2,
            label=name,
        )
    axes.set(xlabel="mean attention distance of the subset (pixels)", ylabel="CKA with low CNN layers")
    figure.legend(loc="outside lower center")
    return figure


def _require_heads(panels: Mapping[str, Heads]) -> None:
    if not panels:
        raise ValueError("There are no heads to draw. Give at least one ViT.")


def _marked(heads: Heads) -> dict[int, dict[str, Any]]:
    """The two lowest and the two highest blocks, from 0, with the look of their marks."""
    blocks = heads.distance.shape[1]
    # Of a network with few blocks the lowest come first: no block is drawn twice.
    places = dict(zip((blocks - 1, blocks - 2, 1, 0), (3, 2, 1, 0), strict=True))
    return {
        block: {"marker": _MARKERS[look], "color": f"C{look}", "label": _NAMES[look]}
        for block, look in sorted(places.items())
        if 0 <= block < blocks
    }


def _draw_sorted(axes: Axes, heads: Heads) -> None:
    marked = _marked(heads)
    for place, (block, look) in enumerate(marked.items()):
        mean, half_height = mean_and_uncertainty(heads.distance[:, block])
        order = np.argsort(mean)
        bars = np.nan_to_num(half_height[order])
        # Side by side, so that blocks of the same distance are all seen.
        rank = np.arange(1, len(mean) + 1) + _SIDE_BY_SIDE * (place - (len(marked) - 1) / 2)
        axes.errorbar(rank, mean[order], yerr=bars, linestyle="none", markersize=4.5, **look)
    number = heads.distance.shape[2]
    axes.set_xticks(_few(range(1, number + 1)))
    axes.set_xlim(0.5, number + 0.5)
    axes.set_ylabel("distance (pixels)")
    _uniform_line(axes, heads)


def _draw_blocks(axes: Axes, heads: Heads) -> None:
    marked = _marked(heads)
    mean, half_height = mean_and_uncertainty(heads.distance)
    for block, (means, bars) in enumerate(zip(mean, np.nan_to_num(half_height), strict=True)):
        look = marked.get(block, {"marker": "o", "color": GREY, "label": _OTHER})
        axes.errorbar([block + 1] * len(means), means, yerr=bars, linestyle="none", markersize=4, **look)
    axes.set_xticks(_few(range(1, len(mean) + 1)))
    _uniform_line(axes, heads)


def _uniform_line(axes: Axes, heads: Heads) -> None:
    axes.axhline(heads.uniform, color=INK, linestyle="--", linewidth=1, label=_UNIFORM, zorder=1)
    axes.set_ylim(0, _ROOM * max(heads.uniform, float(heads.distance.max())))


def _legend(figure: Figure) -> None:
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    order = [name for name in (*_NAMES, _OTHER, _UNIFORM) if name in entries]
    figure.legend([entries[name] for name in order], order, loc="outside lower center", ncols=3)


def _few(places: Sequence[int]) -> Sequence[int]:
    return places[:: max(1, -(-len(places) // 8))]
