"""Section 7 of the paper in numbers: whether high layers still know where things are in the image.

*Localization* is the share of interior tokens of a layer whose most similar patch of the image (by CKA,
`seelike.localization`) is their own or one of its eight neighbours. A token that takes any of p patches for the
most similar is that near with a chance of c = 9 / p, so layers of different grids are compared by
(share - c) / (1 - c): 1 where every token knows its place, 0 where none does.
"""

from jaxtyping import Float
from torch import Tensor

from seelike.localization import within_one_cell


def localization_above_chance(cka: Float[Tensor, "t h w"]) -> float:
    """Compute how many interior tokens know their place, beyond what chance would give (Figures 9 and 10).

    Args:
        cka: CKA of all spatial tokens with all patches, t = h w, row by row.

    Returns:
        (share - c) / (1 - c) with c = 9 / (h w); NaN where no token has a map.

    Raises:
        ValueError: There are not as many tokens as patches, or no interior, or nine patches and fewer.

    Example:
        >>> import torch
        >>> localization_above_chance(torch.eye(16).reshape(16, 4, 4))
        1.0
    """
    patches = cka.shape[1] * cka.shape[2]
    if patches <= 9:
        raise ValueError(f"In a grid of {patches} patches all are neighbours. A grid of 4 x 4 or more is needed.")
    chance = 9 / patches
    return (float(within_one_cell(cka)) - chance) / (1 - chance)
