"""Section 7 of the paper in numbers once more, by shared nearest neighbours in the place of CKA.

A token t of a layer and a patch p of the image each say of every image which k others are nearest to it
(`seelike.neighbours`). The map of a token is the share of these neighbours that it has in common with each patch,
0 by chance and 1 where all are the same, averaged over minibatches. What `seelike.sections.place_contrasts` makes
of maps of CKA, it makes of these.

Where images are equally far from one, as those are in which a patch is black, the nearest are chosen among them by
lot, and for each token and each patch anew: otherwise two black corners would agree on the order of the images.
"""

import torch
from jaxtyping import Float64, Int
from torch import Tensor, nn

from seelike.cka import gram, minibatches
from seelike.data import ImageSet
from seelike.localization import patches
from seelike.models import Layer, places, read
from seelike.neighbours import nearest, shared_neighbours
from seelike.streaming import Images

# Far below what tells two images apart, far above the rounding of float64.
_LOT = 1e-9


def place_maps_by_neighbours(
    model: nn.Module, layer: Layer, images: ImageSet | Tensor, *, minibatch: int, seed: int = 0
) -> Float64[Tensor, "tokens_and_patches t h w"]:
    """Compare a layer's tokens, and the patches themselves, with all patches of the image by shared neighbours.

    Args:
        model: A network in evaluation mode.
        layer: A layer of it that has a grid.
        images: An image set, or prepared images `[n, channels, height, width]`.
        minibatch: Most images among which neighbours are looked for, and of a forward pass.
        seed: Of the lots that are drawn where images are equally far.

    Returns:
        First the maps of all spatial tokens, then those of the patches as if each were a token, row by row; NaN
        where a token or a patch is the same in all images of a minibatch.

    Raises:
        ValueError: The layer has no grid, the images cannot be cut into it, or there are too few of them.

    Example:
        >>> from seelike import data
        >>> from seelike.models import layers, load
        >>> model = load("tiny/vit_7x7:random")
        >>> images = data.load("textures/test").sample(16, seed=0)
        >>> place_maps_by_neighbours(model, *layers(model, ["block 8"]), images, minibatch=16).shape
        torch.Size([2, 49, 7, 7])
    """
    prepared = Images(images, model)
    place = places(model, [layer], prepared[:2])[layer.name]
    grid = place.require_grid()
    lots = torch.Generator().manual_seed(seed)
    found = []
    for part in minibatches(len(prepared), minibatch):
        batch = prepared[part]
        cut = patches(batch, grid)
        # A copy, since the network may write into what it gets.
        activation = read(model, [layer], batch.clone(), lambda _, activation: activation)[layer.name]
        tokens = place.tokens(activation)[:, len(place.prefix) :]
        columns, no_columns = _neighbours(cut, lots)
        maps = []
        for features in (tokens, cut):
            rows, no_rows = _neighbours(features, lots)
            shared = shared_neighbours(rows, columns)
            shared[no_rows] = shared[:, no_columns] = torch.nan
            maps.append(shared)
        found.append(torch.stack(maps))
    return torch.stack(found).mean(dim=0).unflatten(-1, grid).cpu()


def _neighbours(features: Tensor, lots: torch.Generator) -> tuple[Int[Tensor, "places n k"], Tensor]:
    """Find the neighbours of each image at each place, and the places that are the same in all images."""
    found, dead = [], []
    for at_place in features.unbind(dim=1):
        k = gram(at_place.double())
        spread = k.diagonal().mean()
        dead.append(bool(spread == 0))
        drawn = torch.rand(k.shape, generator=lots, dtype=k.dtype).to(k.device)
        found.append(nearest(k + _LOT * spread * drawn))
    return torch.stack(found), torch.tensor(dead)
