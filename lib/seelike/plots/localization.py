"""Maps over the image: CKA of tokens with patches (Figures 9, 10, D.1 to D.3), accuracy of tokens (Figure D.4)."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

# Patches that are the same in all images have no CKA: grey.
_COLOURS = matplotlib.colormaps["magma"].with_extremes(bad="0.6")
_WIDTH = 6.2  # inches
# Letters, at ten points, that fit along the side of a map.
_LETTERS_ON_A_SIDE = 18


def places(rows: int, columns: int) -> list[int]:
    """Choose the tokens that the paper shows: a corner, an edge and two of the interior.

    Args:
        rows: Rows of the grid of tokens.
        columns: Its columns.

    Example:
        >>> places(7, 7)
        [0, 3, 16, 24]
    """
    middle_row, middle = rows // 2, columns // 2
    return [0, middle, (rows // 3) * columns + columns // 3, middle_row * columns + middle]


def token_maps(
    maps: Mapping[str, Float[np.ndarray, "t h w"]], tokens: Mapping[str, Sequence[int]] | None = None
) -> Figure:
    """Draw how alike some tokens and all patches of the image are: a row a network, a column a token.

    Each row has its own scale, as networks differ in how alike their tokens are to any patch. A frame marks the
    token's own place.

    Args:
        maps: For each title the CKA of all spatial tokens with all patches.
        tokens: For each title the tokens to draw, equally many; by default a corner, an edge and two inside.

    Returns:
        The figure.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> figure = token_maps({"vit": np.eye(16).reshape(16, 4, 4)})
        >>> [axes.get_title() for axes in figure.axes[:4]]
        ['token 0', 'token 2', 'token 5', 'token 10']
    """
    if not maps:
        raise ValueError("There is no map to draw. Give at least one network's.")
    chosen = {name: places(*cka.shape[1:]) for name, cka in maps.items()} if tokens is None else tokens
    columns = max(len(each) for each in chosen.values())
    side = _WIDTH / (columns + 0.7)
    figure = Figure(figsize=(_WIDTH, (side + 0.25) * len(maps) + 0.1), layout="constrained")
    rows = figure.subplots(len(maps), columns, squeeze=False)
    for row, (name, cka) in zip(rows, maps.items(), strict=True):
        shown = cka[list(chosen[name])]
        low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
        for axes, token in zip(row, chosen[name], strict=True):
            image = axes.imshow(cka[token], cmap=_COLOURS, vmin=low, vmax=high)
            _frame(axes, *divmod(token, cka.shape[2]))
            axes.set_title(f"token {token}", fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(name, fontsize=min(10.0, 10 * _LETTERS_ON_A_SIDE / max(1, len(name))))
        figure.colorbar(image, ax=row.tolist(), label="CKA", fraction=0.04, aspect=15)
    return figure


def _frame(axes: Axes, row: int, column: int) -> None:
    # White within black: seen on every colour of the map.
    for colour, width in (("black", 3.0), ("white", 1.4)):
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=colour, linewidth=width, clip_on=False
            )
        )


def accuracy_maps(panels: Mapping[str, Float[np.ndarray, "h w"]]) -> Figure:
    """Draw the accuracy of probes on single tokens, each at its place in the image (Figure D.4).

    Each panel has its own scale, as in the paper: what is compared is where in the image a probe does well.

    Args:
        panels: For each title the accuracy of each spatial token, from 0 to 1.

    Returns:
        The figure, three panels beside each other.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> figure = accuracy_maps({"block 1": np.array([[0.2, 0.4], [0.3, 0.5]])})
        >>> figure.axes[0].get_title()
        'block 1'
    """
    if not panels:
        raise ValueError("There is no map to draw. Give at least one panel.")
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(2.1 * columns + 0.1, 2.0 * rows), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in all_axes[len(panels) :]:
        unused.remove()
    for axes, (title, accuracy) in zip(all_axes, panels.items(), strict=False):
        image = axes.imshow(100 * accuracy, cmap="viridis")
        axes.set_title(title, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        figure.colorbar(image, ax=axes, format="%.0f %%", fraction=0.05).ax.tick_params(labelsize=8)
    return figure
