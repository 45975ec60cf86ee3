"""Section 7 of the paper in numbers: whether high layers still know where things are in the image.

*Localization* is the share of interior tokens of a layer whose most similar patch of the image (by CKA,
`seelike.localization`) is their own or one of its eight neighbours. A token that takes any of the p patches for
the most similar is that near with a chance c of about 9 / p, so layers of different grids are compared by
(share - c) / (1 - c): 1 where every token knows its place, 0 where none does, below 0 where tokens point away from
it. Patches that are the same in all images have no CKA and cannot be the most similar; so c is the mean, over
these tokens, of the patches with a CKA around the token over all patches with one.
"""

import math

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from seelike.data import ImageSet
from seelike.localization import within_one_cell
from seelike.models import Layer, layers, places
from seelike.streaming import Images

# In a coarser grid nearly all patches are neighbours.
_FEWEST_LOCATIONS = 16
# Finer maps, of a ResNet's low stages, cost most, and their patches are of few pixels.
_MOST_LOCATIONS = 256


def localization_above_chance(cka: Float[Tensor, "t h w"]) -> float:
    """Compute how many interior tokens know their place, beyond what chance would give (Figures 9 and 10).

    Args:
        cka: CKA of all spatial tokens with all patches, t = h w, row by row. NaN where there is none.

    Returns:
        (share - c) / (1 - c), with c as the head of this module says; NaN where no interior token has a map.

    Raises:
        ValueError: There are not as many tokens as patches, or no interior, or all patches are neighbours.

    Example:
        >>> import torch
        >>> localization_above_chance(torch.eye(16).reshape(16, 4, 4))
        1.0
    """
    share = float(within_one_cell(cka))
    if math.isnan(share):
        return share
    has_cka = ~cka.isnan()
    patches = has_cka.any(dim=0).double()
    around = 9 * avg_pool2d(patches[None], kernel_size=3, stride=1)[0] / patches.sum()
    tokens = has_cka.flatten(1).any(dim=1).reshape(patches.shape)[1:-1, 1:-1]
    chance = float(around[tokens].mean())
    # Of a mean of ones, rounding may leave less.
    if chance > 1 - 1e-9:
        raise ValueError(
            f"In a grid of {cka.shape[1]} x {cka.shape[2]} patches all are neighbours. A grid of 4 x 4 or more is "
            "needed."
        )
    return (share - chance) / (1 - chance)


def mapped_blocks(model: nn.Module, images: ImageSet | Tensor, number: int = 8) -> list[Layer]:
    """Choose the blocks whose tokens are mapped onto the image (Figures 9, 10 and D.1 to D.4).

    These are the blocks with at most 256 locations, or as many as the last block has; so the low stages of a
    ResNet, whose fine maps cost most, are left out. Of more than `number` blocks, equal steps are taken, and
    always the last two.

    Args:
        model: A network in evaluation mode.
        images: An image set, or prepared images `[n, channels, height, width]`; the first shows the grids.
        number: Most blocks to choose.

    Returns:
        The blocks in firing order, the last block on a grid among them; none where no block is on a grid that
        cuts the image into equal patches, or the last one has fewer than 16 locations, most of which are
        neighbours.

    Example:
        >>> from seelike.models import load
        >>> import torch
        >>> [layer.name for layer in mapped_blocks(load("resnet18:random"), torch.zeros(1, 3, 224, 224))]
        ['block 5', 'block 6', 'block 7', 'block 8']
    """
    blocks = [layer for layer in layers(model) if layer.kind == "block"]
    image = Images(images, model)[:1]
    grids = {name: place.grid for name, place in places(model, blocks, image).items() if place.grid is not None}
    # Only what cuts the image into equal patches can be mapped onto it.
    height, width = image.shape[2:]
    found = {name: math.prod(grid) for name, grid in grids.items() if height % grid[0] == 0 == width % grid[1]}
    blocks = [block for block in blocks if block.name in found]
    if not blocks:
        return []
    of_last = found[blocks[-1].name]
    if of_last < _FEWEST_LOCATIONS:
        return []
    blocks = [block for block in blocks if found[block.name] <= max(_MOST_LOCATIONS, of_last)]
    if len(blocks) <= number:
        return blocks
    steps = np.linspace(0, len(blocks) - 3, max(0, number - 2)).round().astype(int).tolist()
    return [blocks[place] for place in [*steps, len(blocks) - 2, len(blocks) - 1][-number:]]
