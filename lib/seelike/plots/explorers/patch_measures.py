"""What the explorer of one patch shows, measured: for one picture, with every patch in turn.

One picture, cut into patches. For a patch p, the block of a network and the token of p there, z_p,

    attention   of each head: what query p gives to the patch q, renormalised over the patches, and the attention
                distance of this one query, in pixels (`seelike.attention`);
    likeness    the cosine of z_p and z_q, for every patch q;
    field       F(pixel) = mean over channels c and colours of |d z_pc / d x(colour, pixel)|, for this one picture
                (`seelike.receptive_field`, there of the centre), averaged over the pixels of each patch, and
                divided by its sum over the patches.

A CNN has no tokens. The location of its map that has the middle of patch p in it stands for one: fine maps have
many locations in a patch, and of a coarse one several patches share a location.

The patches are those of the first network. All networks see the same: the whole picture, scaled to what they take,
without the rim that some of them were built to cut off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import timm.data
import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor, nn

from seelike.attention import Scores, find_attentions, read_attention
from seelike.models import Layer, Place, places, preprocessing, read_tokens
from seelike.models.measurable import input_size
from seelike.models.reading import listening
from seelike.receptive_field import ReceptiveField, balanced_channels

# Rows of a backward pass: patches.
_ROWS = 25
Cells = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class PatchAttention:
    """Attention of each head of a block for one picture, with every patch as the query.

    Attributes:
        attention: What each query gives to each patch: renormalised over the patches, rows sum to 1.
        distance: Attention distance of each query, in pixels. Its mean is that of `attention_distances`.
        prefix_mass: What each query gives to tokens without a place, such as CLS, before renormalising.
    """

    attention: Float[np.ndarray, "heads patches patches"]
    distance: Float[np.ndarray, "heads patches"]
    prefix_mass: Float[np.ndarray, "heads patches"]


def patch_attention(
    model: nn.Module, pixels: Float[Tensor, "1 colours height width"]
) -> tuple[dict[str, PatchAttention], Place]:
    """Read where each head looks from each patch of one picture (the picture behind Figure 3).

    Args:
        model: A network in evaluation mode with attention, as for `seelike.attention.attention_distances`.
        pixels: One prepared picture.

    Returns:
        The attention of each block by its name, and where its tokens are: the grid and size of patches.

    Raises:
        ValueError: The network has no attention that can be read.

    Example:
        >>> from seelike.models import load
        >>> blocks, place = patch_attention(load("tiny/vit_7x7"), torch.zeros(1, 1, 28, 28))
        >>> blocks["block 1"].attention.shape, place.grid, place.patch_size
        ((4, 49, 49), (7, 7), (4.0, 4.0))
    """
    attentions = find_attentions(model, pixels)
    found: dict[str, PatchAttention] = {}

    def keep(block: str, seen: Scores | Tensor) -> None:
        place = attentions[block][1]
        prefix, everything = len(place.prefix), slice(None)
        if isinstance(seen, Tensor):
            attention = seen[0, :, prefix:].cpu().double()
        else:
            scores = seen.of(everything, everything, slice(prefix, None), everything)
            attention = scores[0].cpu().double().softmax(dim=-1)
        on_prefix, on_grid = attention[..., :prefix].sum(dim=-1), attention[..., prefix:]
        on_grid = on_grid / on_grid.sum(dim=-1, keepdim=True)
        distance = (on_grid * _distances(place)).sum(dim=-1)
        found[block] = PatchAttention(on_grid.numpy(), distance.numpy(), on_prefix.numpy())

    read_attention(model, attentions, pixels, keep)
    return found, next(place for _, place in attentions.values())


def _distances(place: Place) -> Float[Tensor, "patches patches"]:
    rows, columns = place.require_grid()
    height, width = place.patch_size
    row, column = (
        each.flatten().double() for each in torch.meshgrid(*map(torch.arange, (rows, columns)), indexing="ij")
    )
    return torch.hypot((row[:, None] - row) * height, (column[:, None] - column) * width)


def cells_of(grid: tuple[int, int], patches: tuple[int, int]) -> Cells:
    """Give the location of a map that has the middle of each patch in it, row by row.

    Args:
        grid: Rows and columns of the map.
        patches: Rows and columns of patches.

    Example:
        >>> cells_of((4, 4), (2, 2)), cells_of((1, 2), (2, 2))
        (((1, 1), (1, 3), (3, 1), (3, 3)), ((0, 0), (0, 1), (0, 0), (0, 1)))
    """
    # Whole numbers: a middle that lies on an edge belongs to the location after it, on every machine.
    row, column = (
        [(2 * place + 1) * locations // (2 * count) for place in range(count)]
        for locations, count in zip(grid, patches, strict=True)
    )
    return tuple((r, c) for r in row for c in column)


def patch_likeness(
    model: nn.Module,
    chosen: Sequence[Layer],
    pixels: Float[Tensor, "1 colours height width"],
    patches: tuple[int, int],
) -> dict[str, Float[np.ndarray, "patches patches"]]:
    """Measure how alike the tokens of each two patches of one picture are: the cosine.

    Args:
        model: A network in evaluation mode.
        chosen: Layers of it whose activations lie on a grid.
        pixels: One prepared picture.
        patches: Rows and columns of patches.

    Returns:
        The cosines, by the name of the layer. NaN where a token is zero.

    Raises:
        ValueError: A layer lies on no grid.

    Example:
        >>> from seelike.models import layers, load
        >>> model = load("tiny/resnet")
        >>> last = layers(model, kinds=["block"])[-1:]
        >>> patch_likeness(model, last, torch.randn(1, 1, 28, 28), (7, 7))["block 8"].shape
        (49, 49)
    """
    where = places(model, chosen, pixels)

    def cosines(layer: Layer, tokens: Tensor) -> Float[np.ndarray, "patches patches"]:
        place = where[layer.name]
        grid = place.require_grid()
        rows = [len(place.prefix) + row * grid[1] + column for row, column in cells_of(grid, patches)]
        own = tokens[0, rows].cpu().double()
        own = own / own.norm(dim=-1, keepdim=True)
        return (own @ own.T).numpy()

    return read_tokens(model, chosen, pixels, cosines)


def patch_fields(
    model: nn.Module,
    chosen: Sequence[Layer],
    pixels: Float[Tensor, "1 colours height width"],
    patches: tuple[int, int],
    channels: Literal["all"] | int = "all",
    *,
    seed: int = 0,
) -> dict[str, Float[np.ndarray, "patches rows columns"]]:
    """Measure the effective receptive field of every patch of one picture, over the patches (Figure 6).

    That of the patch in the middle, with all channels, is `effective_receptive_field` of this picture, averaged
    over the pixels of each patch. It takes a backward pass for each channel and `_ROWS` patches.

    Args:
        model: A network in evaluation mode.
        chosen: Layers of it whose activations lie on a grid.
        pixels: One prepared picture.
        patches: Rows and columns of patches.
        channels: "all", or how many to draw, the same for all patches of a layer.
        seed: Of the draw of channels.

    Returns:
        The field of each patch, by the name of the layer: the mean |derivative| over the pixels of each patch.

    Raises:
        ValueError: A layer lies on no grid.

    Example:
        >>> from seelike.models import layers, load
        >>> model = load("tiny/vit_7x7")
        >>> first = layers(model, kinds=["block"])[:1]
        >>> fields = patch_fields(model, first, torch.randn(1, 1, 28, 28), (7, 7), channels=2)
        >>> fields["block 1"].shape
        (49, 7, 7)
    """
    where = places(model, chosen, pixels)
    cells = {layer.name: cells_of(where[layer.name].require_grid(), patches) for layer in chosen}
    random = np.random.default_rng(seed)
    drawn = {}
    for layer in chosen:
        width = where[layer.name].width
        number = width if channels == "all" else min(channels, width)
        drawn[layer.name] = balanced_channels(width, number, 1, random)[0]
    measured: dict[str, dict[tuple[int, int], Tensor]] = {layer.name: {} for layer in chosen}
    # Layers with the same locations share the forward passes.
    for those in dict.fromkeys(cells.values()):
        sharing = [layer for layer in chosen if cells[layer.name] == those]
        distinct = list(dict.fromkeys(those))
        for first in range(0, len(distinct), _ROWS):
            some = distinct[first : first + _ROWS]
            for name, fields in _fields_at(model, sharing, pixels, where, some, drawn).items():
                measured[name] |= zip(some, (_pooled(field, patches) for field in fields), strict=True)
    return {name: torch.stack([measured[name][cell] for cell in cells[name]]).numpy() for name in measured}


def _fields_at(
    model: nn.Module,
    chosen: Sequence[Layer],
    pixels: Tensor,
    where: Mapping[str, Place],
    cells: Sequence[tuple[int, int]],
    drawn: Mapping[str, Int64[np.ndarray, " channels"]],
) -> dict[str, list[Float[Tensor, "height width"]]]:
    """Measure the fields of some locations: each is asked of a copy of the picture of its own."""
    like = next(model.parameters(), pixels)
    # Never a single row, as in `seelike.receptive_field`.
    copies = pixels.to(like.device, like.dtype).repeat(max(len(cells), 2), 1, 1, 1)
    kept: dict[str, Tensor] = {}

    def keep(layer: Layer, activation: Tensor) -> None:
        indices = [where[layer.name].index(*cell)[1:] for cell in cells]
        kept[layer.name] = torch.stack([activation[row][index] for row, index in enumerate(indices)])

    # Tensors that are made in inference mode cannot be differentiated.
    with torch.inference_mode(False), torch.enable_grad():
        copies = copies.clone().requires_grad_()
        with listening(model, chosen, keep):
            model(copies)
        fields = {}
        for layer in chosen:
            gradients = [
                torch.autograd.grad(kept[layer.name][:, channel].sum(), copies, retain_graph=True)[0]
                for channel in drawn[layer.name].tolist()
            ]
            # [cells, channels, colours, height, width]
            of_each = torch.stack(gradients, dim=1)[: len(cells)]
            fields[layer.name] = [_field(each, where[layer.name].width) for each in of_each]
    return fields


def _field(gradients: Float[Tensor, "channels colours height width"], width: int) -> Float[Tensor, "height width"]:
    accumulator = ReceptiveField(width)
    accumulator.update(gradients[None])
    return accumulator.compute()


def _pooled(field: Float[Tensor, "height width"], patches: tuple[int, int]) -> Float[Tensor, "rows columns"]:
    return nn.functional.adaptive_avg_pool2d(field[None, None], patches)[0, 0]


def whole_picture(model: nn.Module, picture: Image.Image) -> Float[Tensor, "1 colours height width"]:
    """Prepare all of a square picture for a network, with no rim cut off.

    Args:
        model: A network in evaluation mode.
        picture: A square one; of others the middle is taken.

    Example:
        >>> from seelike.models import load
        >>> whole_picture(load("resnet18:random"), Image.new("RGB", (256, 256))).shape
        torch.Size([1, 3, 224, 224])
    """
    config = {**timm.data.resolve_model_data_config(model), "input_size": input_size(model), "crop_pct": 1.0}
    transform = timm.data.create_transform(**config, is_training=False)
    like = next(model.parameters())
    return transform(picture.convert(preprocessing(model).mode))[None].to(like.device)
