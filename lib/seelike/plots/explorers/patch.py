"""The explorer of one patch: what a network makes of it, block by block (Sections 4 and 5; Figures 3, 6 and 9).

For the block on a slider it shows where each head looks from the patch, which patches are like it, and its
receptive field, as `patch_measures` measures them. What a page stores: attention and fields in 127 steps of the
largest number of each row; cosines with four decimals; distances in tenths of a pixel, and what CLS gets in tenths
of a per cent.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from seelike.attention import uniform_distance
from seelike.data import ImageSet
from seelike.data.photographs import credit_line, sources
from seelike.models import Layer, layers, places
from seelike.models.measurable import input_size
from seelike.plots.explorers.bundle import (
    LARGEST,
    Explorer,
    colour_table,
    credit_lines,
    in_levels,
    in_words,
    packed,
)
from seelike.plots.explorers.bundle import rounded_cka as to_four_decimals
from seelike.plots.explorers.patch_measures import (
    PatchAttention,
    patch_attention,
    patch_fields,
    patch_likeness,
    whole_picture,
)
from seelike.plots.style import WIDTH, in_lines
from seelike.sections.local_global import evenly_spaced

# Side of a picture in the page, in pixels.
_SIDE = 256
_ALIKE = "PuOr_r"


@dataclass(frozen=True, eq=False)
class _Seen:
    """What one network makes of one picture, by block."""

    alike: list[Float[np.ndarray, "patches patches"]]
    fields: list[Float[np.ndarray, "patches patches"]]
    heads: list[PatchAttention]


def patch_explorer(
    models: Mapping[str, nn.Module],
    pictures: ImageSet,
    *,
    at: tuple[float, float] = (0.5, 0.5),
    number_of_blocks: int = 5,
    channels: Literal["all"] | int = "all",
    seed: int = 0,
) -> Explorer:
    """Make the explorer of one patch: click a patch of a picture, and see what each network makes of it.

    For the block on a slider it shows where each head looks from that patch, and how far; how alike the tokens of
    all patches are to that of the patch; and its receptive field. A network without attention that can be read has
    the last two, at its block of the nearest relative depth.

    Args:
        models: Networks side by side, by their names, in evaluation mode. The first has attention; the patches and
            blocks are its own.
        pictures: Pictures that may be shown. Square ones; of others the middle is taken.
        at: The patch to begin with: where in the picture it lies, as a share of the way down and to the right.
        number_of_blocks: How many blocks of the first network, evenly spaced from first to last; fewer where a
            page has no room for so many.
        channels: Channels of a token whose derivatives make its field: "all", or how many to draw.
        seed: Of the draw of channels.

    Returns:
        The explorer. As the last expression of a cell it is shown.

    Raises:
        ValueError: There are no networks or no pictures, `at` is not in the picture, the first network has no
            attention that can be read, no layer lies on a grid, or the data are too large for a page.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> models = {"ViT": load("tiny/vit_7x7"), "ResNet": load("tiny/resnet")}
        >>> pictures = data.load("fashion-mnist").select(np.arange(1))
        >>> explorer = patch_explorer(models, pictures, number_of_blocks=2, channels=1)
        >>> explorer.kind, explorer.data["grid"], [each["blocks"] for each in explorer.data["networks"]]
        ('patch', [7, 7], [['block 1', 'block 8'], ['block 1', 'block 8']])
    """
    if not models:
        raise ValueError("models is empty; expected at least one network, the first with attention.")
    if not len(pictures):
        raise ValueError("There are no pictures; expected at least one.")
    if not all(0 <= share < 1 for share in at):
        raise ValueError(f"at is {at}; expected two shares of the way, 0 or more and less than 1.")
    first, names = next(iter(models.values())), list(models)
    shown = [_square(pictures[number]) for number in range(len(pictures))]
    heads, place = patch_attention(first, whole_picture(first, shown[0]))
    grid = place.require_grid()
    number_of_heads = max(len(each.distance) for each in heads.values())
    number = min(number_of_blocks, _blocks_that_fit(grid, number_of_heads, len(names), len(shown)))
    all_blocks = [each for each in layers(first, kinds=["block"]) if each.name in heads]
    chosen = {names[0]: [all_blocks[each] for each in evenly_spaced(len(all_blocks), number)]}
    for name in names[1:]:
        chosen[name] = _nearest(_on_a_grid(models[name]), chosen[names[0]])
    seen = [
        [_look(models[name], chosen[name], picture, grid, channels, seed) for name in names] for picture in shown
    ]
    count = grid[0] * grid[1]
    row, column = (int(share * places) for share, places in zip(at, grid, strict=True))
    begin = row * grid[1] + column
    credit = _credit(pictures)
    data: dict[str, Any] = {
        "grid": list(grid),
        "patch": list(place.patch_size),
        "uniform": round(uniform_distance(grid, place.patch_size), 1),
        "prefix": {(): "", ("cls",): "CLS"}.get(place.prefix, "CLS and registers"),
        "begin": begin,
        "of": len(layers(first, kinds=["block"])),
        "networks": [
            {
                "name": name,
                "blocks": [layer.name for layer in chosen[name]],
                "grids": _grids(models[name], chosen[name]),
                "heads": len(seen[0][number].heads[0].distance) if seen[0][number].heads else 0,
            }
            for number, name in enumerate(names)
        ],
        "pictures": {"names": in_words(pictures), "src": [_as_jpeg(picture) for picture in shown]},
        "states": [[_packed(each, count) for each in of_networks] for of_networks in seen],
        "channels": channels,
        "colours": {"share": colour_table("magma"), "alike": colour_table(_ALIKE)},
        "credit": credit,
    }
    figure = _still(shown[0], seen[0], chosen, grid, begin, credit)
    alt = (
        f"A picture of {in_words(pictures)[0]} with one patch marked, in row {row + 1} and column {column + 1}. "
        f"Below it a row for each of {len(chosen[names[0]])} blocks: where the nearest and the farthest head of "
        f"{names[0]} look from there, and for each of {', '.join(names)} which patches are like it, and its "
        "receptive field."
    )
    return Explorer("patch", figure, alt, data)


def _credit(pictures: ImageSet) -> str:
    """Name the authors of these pictures alone, where they are known."""
    files = [] if isinstance(pictures.stored, np.ndarray) else [pictures.stored[each] for each in pictures.places]
    known = [each for each in sources() if each.file in files]
    if known:
        return f"The photographs were cut and scaled, and are by {credit_line(known)}."
    return pictures.note or f"The pictures are of {pictures.name}."


def _square(picture: Image.Image) -> Image.Image:
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    return picture.crop((left, top, left + side, top + side))


def _blocks_that_fit(grid: tuple[int, int], heads: int, networks: int, pictures: int) -> int:
    """Count the blocks that a page has room for; heads of all networks are taken to be as many."""
    patches = grid[0] * grid[1]
    # Likeness and field of a network, then the attention of each head; in Base64, and the steps of rows as text.
    numbers = networks * patches * (2 * patches + 2) + heads * patches * (patches + 4)
    size = numbers * 4 // 3 + 11 * patches * (networks + heads)
    fitting = (LARGEST - 60_000 * pictures) // (size * pictures)
    if fitting < 1:
        raise ValueError(
            f"{grid[0]} x {grid[1]} patches of {pictures} pictures, with {heads} heads, are too much for a page. "
            "Give fewer pictures, or a network for smaller images, such as vit_small_patch14_dinov2:140px."
        )
    return fitting


def _on_a_grid(model: nn.Module) -> list[Layer]:
    """List the blocks whose places are known, or, where no blocks are, all such layers."""
    every = layers(model)
    like = next(model.parameters())
    image = torch.zeros(1, *input_size(model), device=like.device, dtype=like.dtype)
    where = places(model, every, image)
    placed = [layer for layer in every if where[layer.name].grid is not None]
    found = [layer for layer in placed if layer.kind == "block"] or placed
    if not found:
        raise ValueError(f"No layer of {type(model).__name__} lies on a grid of places. Give another network.")
    return found


def _nearest(candidates: Sequence[Layer], others: Sequence[Layer]) -> list[Layer]:
    return [min(candidates, key=lambda layer: abs(layer.depth - other.depth)) for other in others]


def _look(
    model: nn.Module,
    chosen: Sequence[Layer],
    picture: Image.Image,
    grid: tuple[int, int],
    channels: Literal["all"] | int,
    seed: int,
) -> _Seen:
    pixels = whole_picture(model, picture)
    # A block may be the nearest one of two.
    distinct = list(dict.fromkeys(chosen))
    alike = patch_likeness(model, distinct, pixels, grid)
    fields = patch_fields(model, distinct, pixels, grid, channels, seed=seed)
    try:
        heads, place = patch_attention(model, pixels)
    except ValueError:  # no attention, or none on a grid
        known = False
    else:
        known = place.grid == grid and all(layer.name in heads for layer in chosen)
    return _Seen(
        alike=[alike[layer.name] for layer in chosen],
        fields=[_shares(fields[layer.name]) for layer in chosen],
        heads=[heads[layer.name] for layer in chosen] if known else [],
    )


def _shares(fields: Float[np.ndarray, "patches rows columns"]) -> Float[np.ndarray, "patches patches"]:
    flat = fields.reshape(len(fields), -1)
    total = flat.sum(axis=1, keepdims=True)
    return flat / np.where(total > 0, total, 1)


def _grids(model: nn.Module, chosen: Sequence[Layer]) -> list[list[int]]:
    like = next(model.parameters())
    image = torch.zeros(1, *input_size(model), device=like.device, dtype=like.dtype)
    where = places(model, list(dict.fromkeys(chosen)), image)
    return [list(where[layer.name].require_grid()) for layer in chosen]


def _packed(seen: _Seen, patches: int) -> list[dict[str, Any]]:
    upper = np.triu_indices(patches)
    blocks = []
    for number, (alike, field) in enumerate(zip(seen.alike, seen.fields, strict=True)):
        block: dict[str, Any] = {"alike": packed(to_four_decimals(alike[upper])), "field": _in_levels(field)}
        if seen.heads:
            heads = seen.heads[number]
            block["attention"] = _in_levels(heads.attention.reshape(-1, patches))
            # Tenths of a pixel, and of a per cent.
            for name, values, steps in (("distance", heads.distance, 10), ("prefix", heads.prefix_mass, 1000)):
                block[name] = packed(np.round(values * steps).astype(np.int16))
        blocks.append(block)
    return blocks


def _in_levels(shares: Float[np.ndarray, "rows patches"]) -> dict[str, Any]:
    levels, steps = in_levels(shares)
    return {"levels": packed(levels), "steps": steps}


def _as_jpeg(picture: Image.Image) -> str:
    scale = Image.Resampling.NEAREST if max(picture.size) < _SIDE else Image.Resampling.LANCZOS
    jpeg = BytesIO()
    picture.convert("RGB").resize((_SIDE, _SIDE), scale).save(jpeg, format="JPEG", quality=85, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"


def _still(
    picture: Image.Image,
    seen: Sequence[_Seen],
    chosen: Mapping[str, Sequence[Layer]],
    grid: tuple[int, int],
    patch: int,
    credit: str,
) -> Figure:
    """Draw what the explorer shows of one patch, a row for each block; brightness is the root of a share."""
    heads = seen[0].heads
    columns = [f"{word} head" for word in ("nearest", "farthest")]
    columns += [f"{what} {name.partition('.')[0]}" for name in chosen for what in ("alike in", "field in")]
    names = list(chosen)
    side = min(1.25, WIDTH / len(columns))
    lines = credit_lines(credit)
    below = (side + 0.25) * len(heads) + 0.8 + 0.16 * len(lines)
    figure = Figure(figsize=(WIDTH, 1.5 + below), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.5, below))
    top, bottom = parts
    axes = top.subplots()
    axes.imshow(picture.convert("RGB"), extent=(-0.5, grid[1] - 0.5, grid[0] - 0.5, -0.5))
    _mark(axes, patch, grid)
    every = bottom.subplots(len(heads), len(columns), squeeze=False)
    for row, of_row in enumerate(every):
        order = np.argsort(heads[row].distance[:, patch])
        for place, head in enumerate((order[0], order[-1])):
            _draw(of_row[place], np.sqrt(heads[row].attention[head, patch]), grid, patch)
            of_row[place].set_xlabel(f"{heads[row].distance[head, patch]:.0f} px", fontsize=9)
        for number, each in enumerate(seen):
            of_network = of_row[2 + 2 * number : 4 + 2 * number]
            _draw(of_network[0], each.alike[row][patch], grid, patch, cmap=_ALIKE, vmin=-1, vmax=1)
            _draw(of_network[1], np.sqrt(each.fields[row][patch]), grid, patch)
            of_network[0].set_xlabel(in_lines(chosen[names[number]][row].name, 11), fontsize=9)
        of_row[0].set_ylabel(in_lines(chosen[names[0]][row].name, 11), fontsize=9)
    for axes, title in zip(every[0], columns, strict=True):
        axes.set_title(in_lines(title, 11), fontsize=9)
    bottom.supxlabel("\n".join(lines), fontsize=9)
    return figure


def _draw(
    axes: Axes, values: Float[np.ndarray, " patches"], grid: tuple[int, int], patch: int, **scale: Any
) -> None:
    how: dict[str, Any] = {"cmap": "magma", "vmin": 0} | scale
    axes.imshow(values.reshape(grid), interpolation="nearest", **how)
    _mark(axes, patch, grid)


def _mark(axes: Axes, patch: int, grid: tuple[int, int]) -> None:
    row, column = divmod(patch, grid[1])
    for width, colour in ((1.8, "black"), (0.9, "white")):
        left, right, top, bottom = column - 0.5, column + 0.5, row - 0.5, row + 0.5
        axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=colour, linewidth=width)
    axes.set(xticks=[], yticks=[])
