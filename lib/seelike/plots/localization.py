"""Maps over the image: CKA of tokens with patches (Figures 9, 10, D.1 to D.3), accuracy of tokens (Figure D.4)."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from seelike.plots.style import GREY, WIDTH, in_lines

# Patches that are the same in all images have no CKA: grey.
_COLOURS = matplotlib.colormaps["magma"].with_extremes(bad=GREY)
# Letters, at nine points, that fit along the side of a map.
_LETTERS_ON_A_SIDE = 13
_MANY_ROWS = 10
_MANY_PANELS = 4


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
    side = WIDTH / (columns + 0.7)
    figure = Figure(figsize=(WIDTH, (side + 0.25) * len(maps) + 0.1), layout="compressed")
    rows = figure.subplots(len(maps), columns, squeeze=False)
    for row, (name, cka) in zip(rows, maps.items(), strict=True):
        shown = cka[list(chosen[name])]
        low, high = _limits(shown)
        for axes, token in zip(row, chosen[name], strict=True):
            image = axes.imshow(cka[token], cmap=_COLOURS, vmin=low, vmax=high)
            _frame(axes, token // cka.shape[2], token % cka.shape[2], cka.shape[1])
            axes.set_title(f"token {token}", fontsize=9)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(in_lines(name, _LETTERS_ON_A_SIDE), fontsize=9)
        figure.colorbar(image, ax=row.tolist(), label="CKA", fraction=0.04, aspect=15)
    return figure


def _frame(axes: Axes, row: int, column: int, rows: int) -> None:
    # White within black: seen on every colour of the map. Thin where cells are small, so as not to hide them.
    thin = 0.6 if rows > _MANY_ROWS else 1.0
    for colour, width in (("black", 3.0), ("white", 1.4)):
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                1,
                1,
                fill=False,
                edgecolor=colour,
                linewidth=thin * width,
                clip_on=False,
            )
        )


def _limits(cka: np.ndarray) -> tuple[float, float]:
    finite = cka[np.isfinite(cka)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def same_place(maps: Mapping[str, Float[np.ndarray, "t h w"]], down: float, across: float) -> Figure:
    """Draw the map of the token at one place of the image, for several networks beside each other.

    The scale of a network is that of all its tokens, so that places can be compared.

    Args:
        maps: For each title the CKA of all spatial tokens with all patches.
        down: Where, from 0 at the upper edge of the image to 1 at the lower.
        across: Likewise, from left to right.

    Returns:
        The figure.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> maps = {"coarse": np.eye(4).reshape(4, 2, 2), "fine": np.eye(16).reshape(16, 4, 4)}
        >>> figure = same_place(maps, 0.9, 0.1)
        >>> [axes.get_xlabel() for axes in figure.axes[:2]]
        ['token 2', 'token 12']
    """
    if not maps:
        raise ValueError("There is no map to draw. Give at least one network's.")
    figure = Figure(figsize=(WIDTH, 2.6 if len(maps) < _MANY_PANELS else 2.0), layout="compressed")
    for axes, (name, cka) in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps.items(), strict=True):
        row, column = _place(cka, down, across)
        low, high = _limits(cka)
        image = axes.imshow(cka[row * cka.shape[2] + column], cmap=_COLOURS, vmin=low, vmax=high)
        _frame(axes, row, column, cka.shape[1])
        axes.spines[:].set_visible(False)
        axes.set(xticks=[], yticks=[], xlabel=f"token {row * cka.shape[2] + column}")
        axes.set_title(in_lines(name, _LETTERS_ON_A_SIDE), fontsize=9)
        bar = figure.colorbar(image, ax=axes, label="CKA", location="bottom", fraction=0.06, aspect=15)
        bar.locator = MaxNLocator(3)
        bar.update_ticks()
    return figure


def same_place_alt(maps: Mapping[str, Float[np.ndarray, "t h w"]], down: float, across: float) -> str:
    """Say what `same_place` shows, for those who cannot see it.

    Args:
        maps: As for `same_place`.
        down: Likewise.
        across: Likewise.

    Returns:
        For each network the token's own place and the patch that it is most like.

    Example:
        >>> same_place_alt({"vit": np.eye(4).reshape(4, 2, 2)}, 0.9, 0.1)
        'vit: the token at row 2, column 1 is most like the patch at row 2, column 1.'
    """
    sentences = []
    for name, cka in maps.items():
        row, column = _place(cka, down, across)
        own = cka[row * cka.shape[2] + column]
        if np.isnan(own).all():
            most = "has no CKA with any patch"
        else:
            best_row, best_column = np.unravel_index(np.nanargmax(own), own.shape)
            most = f"is most like the patch at row {best_row + 1}, column {best_column + 1}"
        sentences.append(f"{name}: the token at row {row + 1}, column {column + 1} {most}.")
    return " ".join(sentences)


def _place(cka: np.ndarray, down: float, across: float) -> tuple[int, int]:
    h, w = cka.shape[1:]
    return min(int(down * h), h - 1), min(int(across * w), w - 1)


def accuracy_maps(rows: Mapping[str, Mapping[str, Float[np.ndarray, "h w"]]]) -> Figure:
    """Draw the accuracy of probes on single tokens, each at its place in the image (Figure D.4).

    Each map has its own scale, as in the paper: what is compared is where in the image a probe does well.

    Args:
        rows: For each network, and each title of a map, the accuracy of each spatial token, from 0 to 1.

    Returns:
        The figure, a row a network.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> figure = accuracy_maps({"vit": {"block 1": np.array([[0.2, 0.4], [0.3, 0.5]])}})
        >>> figure.axes[0].get_title(), figure.axes[0].get_ylabel()
        ('block 1', 'vit')
    """
    columns = max((len(row) for row in rows.values()), default=0)
    if columns == 0:
        raise ValueError("There is no map to draw. Give at least one network with one map.")
    figure = Figure(figsize=(min(WIDTH, 1.7 * columns + 0.3), 1.35 * len(rows) + 0.1), layout="compressed")
    all_axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (name, maps) in zip(all_axes, rows.items(), strict=True):
        for unused in row[len(maps) :]:
            unused.remove()
        for axes, (title, accuracy) in zip(row, maps.items(), strict=False):
            image = axes.imshow(100 * accuracy, cmap="viridis")
            axes.set_title(title, fontsize=9)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            bar = figure.colorbar(image, ax=axes, format="%.0f %%", fraction=0.05)
            bar.locator = MaxNLocator(4, integer=True)
            bar.update_ticks()
            bar.ax.tick_params(labelsize=9)
        row[0].set_ylabel(in_lines(name, _LETTERS_ON_A_SIDE), fontsize=9)
    return figure
