"""Where in the image the numbers of a layer are: the one answer that every measurement asks for.

Each layer of a network gives tokens, a map or a vector. Which axis holds the channels, how the places lie on a
grid of rows and columns, whether they are in the order of reading, and which tokens are CLS, registers or others
without a place: all of this is followed through the network's own operations (`seelike.models.positions`), for
images of the size that is measured. Where it cannot be known, `Place.why` says why, and what needs it is refused.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from seelike.models.positions import FIRST_TOKEN, MIXED, Codes, decode

Prefix = Literal["cls", "register", "distillation", "other"]


@dataclass(frozen=True, eq=False)
class Place:
    """Where the numbers of a layer's activation are.

    Attributes:
        layer: Name of the layer.
        shape: Shape of the activation of one image.
        kind: "tokens" `[b, t, channels]`, a "map" with rows and columns, or a "vector" `[b, channels]`.
        channels: Which axis of the activation has the channels; None where that is not known.
        axes: Which axes have the places.
        prefix: What the tokens without a place are, in their order: "cls", "register", "distillation" or "other".
        grid: Rows and columns of places; None where they make none.
        patch_size: Height and width in pixels of what a place stands for, the distance to the next one; else NaN.
        why: Why there is no grid, as a whole sentence; else empty.
        order: Which token of the network each of `tokens` is; None where they come in that order.

    Example:
        >>> import timm, torch
        >>> from seelike.models import layers, places
        >>> model = timm.create_model("test_vit").eval()
        >>> place = places(model, layers(model, ["block 1"]), torch.zeros(1, 3, 160, 96))["block 1"]
        >>> place.kind, place.channels, place.grid, place.patch_size, place.prefix
        ('tokens', 2, (10, 6), (16.0, 16.0), ('cls',))
    """

    layer: str
    shape: tuple[int, ...]
    kind: Literal["tokens", "map", "vector"]
    channels: int | None
    axes: tuple[int, ...] = ()
    prefix: tuple[Prefix, ...] = ()
    grid: tuple[int, int] | None = None
    patch_size: tuple[float, float] = (math.nan, math.nan)
    why: str = ""
    order: Int64[Tensor, " tokens"] | None = None

    @cached_property
    def width(self) -> int:
        """How many channels there are."""
        return self.shape[self._channels() - 1]

    @property
    def num_tokens(self) -> int:
        """How many tokens there are, those without a place among them."""
        return math.prod(self.shape) // self.width

    @property
    def has_cls(self) -> bool:
        """Whether the first of all tokens is CLS."""
        return self.prefix[:1] == ("cls",)

    def require_grid(self) -> tuple[int, int]:
        """Give rows and columns.

        Raises:
            ValueError: The places make no grid, or are not known.
        """
        if self.grid is None:
            raise ValueError(f"Layer {self.layer!r} gives {list(self.shape)} for one image: {self.why}")
        return self.grid

    def tokens(self, activation: Float[Tensor, "b ..."]) -> Float[Tensor, "b t d"]:
        """See an activation as tokens: those without a place first, then the places row by row.

        Nothing is copied where the network has them in this order.

        Args:
            activation: What the layer gave, for any number of images of the size that was asked for.

        Raises:
            ValueError: It has another shape, or its channels are not known.

        Example:
            >>> place = Place("map", (64, 7, 7), "map", channels=1, axes=(2, 3), grid=(7, 7))
            >>> place.tokens(torch.zeros(2, 64, 7, 7)).shape
            torch.Size([2, 49, 64])
        """
        channels = self._channels()
        if tuple(activation.shape[1:]) != self.shape:
            raise ValueError(
                f"Layer {self.layer!r} gave {list(activation.shape[1:])} for one image, where it gave "
                f"{list(self.shape)} before. Show images of one size."
            )
        others = [axis for axis in range(1, activation.ndim) if axis != channels]
        tokens = activation.permute(0, *others, channels).flatten(1, -2)
        return tokens if self.order is None else tokens[:, self.order.to(tokens.device)]

    def index(self, row: int, column: int) -> tuple[slice | int, ...]:
        """Give the index of a place in the activation, which gives `[b, channels]`.

        Raises:
            ValueError: The places make no grid.

        Example:
            >>> Place("map", (64, 7, 5), "map", channels=1, axes=(2, 3), grid=(7, 5)).index(3, 2)
            (slice(None, None, None), slice(None, None, None), 3, 2)
        """
        grid = self.require_grid()
        token = len(self.prefix) + row * grid[1] + column
        place = token if self.order is None else int(self.order[token])
        sizes = [self.shape[axis - 1] for axis in self.axes]
        index: list[slice | int] = [
            slice(None) if axis in (0, self.channels) else 0 for axis in range(len(self.shape) + 1)
        ]
        for axis, size in zip(reversed(self.axes), reversed(sizes), strict=True):
            place, index[axis] = divmod(place, size)
        return tuple(index)

    def _channels(self) -> int:
        if self.channels is None:
            raise ValueError(f"Layer {self.layer!r} gives {list(self.shape)} for one image: {self.why}")
        return self.channels


def place_of(
    layer: str, codes: Codes | None, shape: Sequence[int], images: Sequence[int], token_names: Sequence[str]
) -> Place:
    """Read off the codes of an activation where its numbers are.

    Args:
        layer: Name of the layer.
        codes: As `seelike.models.positions` gives them.
        shape: Shape of the activation.
        images: Shape of the images, `[n, channels, height, width]`.
        token_names: Names of the parameters that tokens began as.
    """
    of_one = tuple(shape[1:])
    kind: Literal["tokens", "map", "vector"] = {2: "vector", 3: "tokens"}.get(len(shape), "map")  # type: ignore[assignment]

    def unknown(why: str, channels: int | None = None) -> Place:
        return Place(layer, of_one, kind, channels, why=f"{why} Read another layer.")

    if len(shape) < 2 or shape[0] != images[0] or (codes is not None and codes.shape[0] > 1):
        return unknown("its first axis is not that of the images, as inside windows or heads of attention.")
    if kind == "vector":
        return unknown("a vector has no places.", channels=1)
    if codes is None:
        return unknown("where its numbers are in the image could not be followed.")
    if bool((codes == MIXED).any()):
        return unknown("its numbers are of many places at once, as inside token mixing.")
    axes = [axis for axis in range(1, len(shape)) if codes.shape[axis] > 1]
    others = [axis for axis in range(1, len(shape)) if axis not in axes]
    wide = [axis for axis in others if shape[axis] > 1]
    if len(wide) > 1 or not others:
        return unknown("it has several axes of channels, as inside heads of attention.")
    channels = wide[0] if wide else others[-1 if len(shape) == 3 else 0]
    # Axes of one place belong to the grid as well.
    axes = [axis for axis in range(1, len(shape)) if axis != channels]
    flat = codes.expand(1, *of_one).select(channels, 0).flatten()
    placed = (flat >= 0).nonzero()[:, 0]
    without = (flat < 0).nonzero()[:, 0]
    prefix = tuple(_prefix(int(flat[token]), token_names) for token in without)
    if len(placed) == 0:
        why = "it has no token with a place in the image. Read another layer."
        return Place(layer, of_one, kind, channels, tuple(axes), prefix, why=why)
    y, x = decode(flat[placed])
    rows, columns = y.unique(), x.unique()
    # By row, and by column within a row: both sorts keep the order of equals.
    by_column = x.argsort(stable=True)
    raster = placed[by_column[y[by_column].argsort(stable=True)]]
    grid = (len(rows), len(columns))
    on_grid = len(placed) == grid[0] * grid[1] and len(flat[placed].unique()) == len(placed)
    if not on_grid or not (_even(rows) and _even(columns)):
        why = f"its {len(placed)} places lie on no grid of rows and columns. Read another layer."
        return Place(layer, of_one, kind, channels, tuple(axes), prefix, why=why)
    order = torch.cat((without, raster))
    in_order = bool((order == torch.arange(len(order))).all())
    height, width = (
        float(centres[-1] - centres[0]) / (len(centres) - 1) if len(centres) > 1 else float(side)
        for centres, side in zip((rows, columns), images[2:], strict=True)
    )
    permutation = None if in_order else order
    return Place(layer, of_one, kind, channels, tuple(axes), prefix, grid, (height, width), order=permutation)


def _even(centres: Tensor) -> bool:
    steps = centres.diff()
    return len(steps) == 0 or float(steps.max() - steps.min()) < 0.02 * float(steps.mean()) + 0.01


def _prefix(code: int, token_names: Sequence[str]) -> Prefix:
    if code > FIRST_TOKEN:
        return "other"
    name = token_names[FIRST_TOKEN - code].rpartition(".")[2].lower()
    kinds: dict[str, Prefix] = {
        "cls": "cls",
        "class": "cls",
        "reg": "register",
        "storage": "register",
        "dist": "distillation",
    }
    return next((kind for part, kind in kinds.items() if part in name), "other")
