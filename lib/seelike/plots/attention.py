"""How far heads look: Figures 3, 4, 5, C.5 and C.6."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from seelike.claims import mean_and_uncertainty
from seelike.local_global import Heads

_MARKERS = ("o", "s", "^", "D")


def sorted_heads(panels: Mapping[str, Heads]) -> Figure:
    """Draw the heads of the two lowest and the two highest blocks, sorted by their attention distance (Figure 3).

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
        ['block 1', 'block 2', 'block 5', 'block 6', 'everywhere alike']
    """
    if not panels:
        raise ValueError("There are no heads to draw. Give at least one ViT.")
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.5 * rows + 0.6), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in all_axes[len(panels) :]:
        unused.remove()
    for axes, (title, heads) in zip(all_axes, panels.items(), strict=False):
        blocks = heads.distance.shape[1]
        shown = sorted({0, 1, blocks - 2, blocks - 1} & set(range(blocks)))
        for place, block in enumerate(shown):
            mean, half_height = mean_and_uncertainty(heads.distance[:, block])
            order = np.argsort(mean)
            axes.errorbar(
                range(1, len(mean) + 1),
                mean[order],
                yerr=np.nan_to_num(half_height[order]),
                marker=_MARKERS[place],
                markersize=5,
                linestyle="none",
                label=f"block {block + 1}",
            )
        axes.axhline(heads.uniform, color="0.3", linestyle="--", linewidth=1, label="everywhere alike")
        axes.set(title=title, xlabel="head, sorted", ylabel="distance (pixels)", ylim=(0, None))
        axes.set_xticks(_few(range(1, heads.distance.shape[2] + 1)))
    entries = dict(zip(*reversed(all_axes[0].get_legend_handles_labels()), strict=True))
    dashed = entries.pop("everywhere alike")
    entries["everywhere alike"] = dashed
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=3)
    return figure


def all_heads(panels: Mapping[str, Heads]) -> Figure:
    """Draw the attention distance of all heads of all blocks, mean over draws of images.

    Args:
        panels: For each title the heads of a ViT.

    Returns:
        The figure, a panel below the other.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> figure = all_heads({"vit": Heads(np.random.rand(3, 6, 4), np.zeros((3, 6, 4)), uniform=0.5)})
        >>> figure.axes[0].get_xlabel()
        'block'
    """
    if not panels:
        raise ValueError("There are no heads to draw. Give at least one ViT.")
    figure = Figure(figsize=(5.2, 2.1 * len(panels) + 0.3), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, (title, heads) in zip(all_axes, panels.items(), strict=True):
        mean = heads.distance.mean(axis=0)
        block = np.repeat(np.arange(1, len(mean) + 1), mean.shape[1])
        axes.plot(block, mean.ravel(), "o", markersize=5, alpha=0.7)
        axes.axhline(heads.uniform, color="0.3", linestyle="--", linewidth=1)
        axes.set(title=title, ylabel="distance (pixels)", ylim=(0, None))
        axes.set_xticks(_few(range(1, len(mean) + 1)))
    all_axes[-1].set_xlabel("block")
    return figure


def attention_map(attention: Float[np.ndarray, "down right"], title: str = "") -> Figure:
    """Draw the mean attention of one head by the offset from the patch that looks to the patch that is seen.

    Args:
        attention: As one head of `seelike.attention.mean_attention`; the own patch is in the middle.
        title: What stands above.

    Returns:
        The figure.

    Example:
        >>> attention_map(np.eye(5), "head 1").axes[0].get_xlabel()
        'patches to the right'
    """
    rows, columns = (size // 2 + 0.5 for size in attention.shape)
    figure = Figure(figsize=(3.4, 2.8), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(attention, cmap="magma", vmin=0, extent=(-columns, columns, rows, -rows))
    axes.plot(0, 0, "+", color="white", markersize=9, markeredgecolor="white")
    axes.set_title(title, fontsize=9)
    axes.set(xlabel="patches to the right", ylabel="patches down")
    figure.colorbar(image, ax=axes, label="attention", fraction=0.05)
    return figure


def subsets_of_heads(
    panels: Mapping[str, tuple[Float[np.ndarray, " subsets"], Float[np.ndarray, "repeats subsets"]]],
) -> Figure:
    """Draw CKA of subsets of heads with low layers of a ResNet, against their attention distance (Figure 5).

    Args:
        panels: For each name in the legend, mean distance of each subset in pixels and its CKA, per repeat.

    Returns:
        The figure.

    Example:
        >>> figure = subsets_of_heads({"vit": (np.array([5.0, 9.0]), np.array([[0.6, 0.5], [0.7, 0.5]]))})
        >>> figure.axes[0].get_xlabel()
        'mean attention distance of the subset (pixels)'
    """
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    for place, (name, (distance, cka)) in enumerate(panels.items()):
        mean, half_height = mean_and_uncertainty(cka)
        axes.errorbar(
            distance,
            mean,
            yerr=np.nan_to_num(half_height),
            marker=_MARKERS[place % len(_MARKERS)],
            linestyle=":",
            capsize=2,
            label=name,
        )
    axes.set(xlabel="mean attention distance of the subset (pixels)", ylabel="CKA with low ResNet layers")
    figure.legend(loc="outside lower center")
    return figure


def _few(places: Sequence[int]) -> Sequence[int]:
    return places[:: max(1, -(-len(places) // 8))]
