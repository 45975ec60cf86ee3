"""Skip against branch: heat maps of tokens and blocks (Figures 7 and E.1)."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from seelike.plots.depth import label_plainly
from seelike.plots.style import WIDTH

_MOST_TICKS = 8


def skip_ratio_maps(
    panels: Mapping[str, Float[np.ndarray, "additions tokens"]],
    *,
    num_prefix_tokens: int = 1,
    label: str = "skip ratio",
) -> Figure:
    """Draw the skip ratio of each token at each residual addition, on one logarithmic scale.

    Args:
        panels: For each title the ratios, a row for each addition, in firing order, a column for each token.
        num_prefix_tokens: How many of the first tokens are CLS or registers; the first is named so.
        label: What the numbers are.

    Returns:
        The figure: blocks from left to right, tokens from top to bottom, a panel beside the other.

    Raises:
        ValueError: There is nothing to draw, or no ratio above zero.

    Example:
        >>> figure = skip_ratio_maps({"attention": np.array([[5.0, 1.0], [2.0, 3.0]])})
        >>> figure.axes[0].get_title(), figure.axes[0].get_yticklabels()[0].get_text()
        ('attention', 'CLS')
    """
    if not panels:
        raise ValueError("There is no map to draw. Give at least one panel.")
    every = np.concatenate([np.ravel(values) for values in panels.values()])
    positive = every[np.isfinite(every) & (every > 0)]
    if positive.size == 0:
        raise ValueError("No ratio is above zero: there is nothing to draw on a logarithmic scale.")
    scale = LogNorm(positive.min(), positive.max())
    figure = Figure(figsize=(min(WIDTH, 2.6 * len(panels) + 0.8), 3.0), layout="constrained")
    all_axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, values) in zip(all_axes, panels.items(), strict=True):
        image = axes.imshow(values.T, cmap="viridis", norm=scale, aspect="auto", interpolation="nearest")
        axes.set(title=title, xlabel="block")
        axes.set_xticks(*_ticks(range(1, len(values) + 1)))
    labels = [str(token) for token in range(values.shape[1])]
    if num_prefix_tokens:
        labels[0] = "CLS"
    all_axes[0].set_yticks(*_ticks(labels))
    all_axes[0].set_ylabel("token")
    bar = figure.colorbar(image, ax=list(all_axes), label=label, fraction=0.06, aspect=30)
    label_plainly(bar.ax.yaxis, *bar.ax.get_ylim())
    return figure


def _ticks(labels: Sequence[object]) -> tuple[range, list[str]]:
    places = range(0, len(labels), max(1, -(-len(labels) // _MOST_TICKS)))
    return places, [str(labels[place]) for place in places]
