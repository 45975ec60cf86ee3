"""Section 7 of the paper in numbers: how much more a token is like its own place than like others.

With C(t, p) for the CKA of token t with patch p of the image, N(t) for the token's own patch and its eight
neighbours, and F(t) for all others, the *contrast* of a layer is

    mean_t [ mean_(p in N(t)) C(t, p)  -  mean_(p in F(t)) C(t, p) ]

over the tokens that are not at the edge. It takes no maximum, so it moves smoothly where two patches are nearly
equally alike. Patches and tokens that are the same in all images have no CKA, and do not count.

The images set its limit: where distant patches of an image tell of each other, no token can be like one of them
only. A token that was its own patch, pixel by pixel, would have the map C(t, p) = CKA of patch t with patch p. The
contrast of a layer over that of the patches themselves is therefore its *share of what the images allow*: 0 for
tokens that are like all places alike, 1 for tokens that are as much of their place as the pixels there.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from seelike.cka import minibatches
from seelike.data import ImageSet
from seelike.localization import TokenPatchCKA, patches
from seelike.models import Layer, places
from seelike.streaming import Images


def contrast(cka: Float[Tensor, "t h w"]) -> float:
    """Compute how much more tokens are like their own and neighbouring patches than like the others (Figure 10).

    Args:
        cka: CKA of all spatial tokens with all patches, t = h w, row by row. NaN where there is none.

    Returns:
        The mean over the interior tokens that have near and distant patches; NaN where there is none.

    Raises:
        ValueError: There are not as many tokens as patches, or all patches of a token are neighbours.

    Example:
        >>> contrast(torch.eye(16).reshape(16, 4, 4)), contrast(torch.full((16, 4, 4), 0.7))
        (0.1111111111111111, 0.0)
    """
    t, h, w = cka.shape
    if t != h * w or min(h, w) < 3 or max(h, w) < 4:
        raise ValueError(
            f"got maps of {t} tokens over {h} x {w} patches; expected a token for each patch, in a grid of 3 x 4 "
            "or more, where not all are neighbours."
        )
    rows, columns = np.divmod(np.arange(t), w)
    near = (abs(rows[:, None] - rows) <= 1) & (abs(columns[:, None] - columns) <= 1)
    inner = (rows > 0) & (rows < h - 1) & (columns > 0) & (columns < w - 1)
    values = cka.reshape(t, t)[torch.from_numpy(inner)].double()
    of_near, of_far = (
        values.masked_fill(torch.from_numpy(~mask), torch.nan).nanmean(dim=1)
        for mask in (near[inner], ~near[inner])
    )
    return float((of_near - of_far).nanmean())


def maps_of_patches(
    model: nn.Module, layer: Layer, images: ImageSet | Tensor, *, minibatch: int
) -> Float64[Tensor, "t h w"]:
    """Compare the patches of images with each other, cut as a layer's tokens cut them: no network runs.

    Args:
        model: A network in evaluation mode. Images are prepared as it sees them.
        layer: A layer of it, for its grid.
        images: An image set, or prepared images.
        minibatch: Most images for one HSIC, as for `seelike.localization.token_patch_cka`.

    Returns:
        CKA of each patch with each patch, as the maps of tokens.

    Raises:
        ValueError: There are too few images, or they cannot be cut into this grid.

    Example:
        >>> from seelike import data
        >>> from seelike.models import layers, load
        >>> model = load("tiny/vit_7x7:random")
        >>> images = data.load("fashion-mnist/test").sample(16, seed=0)
        >>> maps = maps_of_patches(model, *layers(model, ["block 8"]), images, minibatch=16)
        >>> maps.shape, round(float(maps[24, 3, 3]), 6)
        (torch.Size([49, 7, 7]), 1.0)
    """
    prepared = Images(images, model)
    grid = places(model, [layer], prepared[:2])[layer.name].require_grid()
    similarity = TokenPatchCKA(grid)
    for part in minibatches(len(prepared), minibatch):
        batch = prepared[part]
        similarity.update(batch, patches(batch, grid))
    return similarity.compute()
