"""Shared nearest neighbours: do two layers say of an image that the same others are like it?

Of n images, let N(i; X) be the k that are nearest to image i in a layer X. With the Gram matrix K = X X',

    ||x_i - x_j||^2 = K_ii + K_jj - 2 K_ij,

so that the neighbours follow from K. Two layers X and Y share

    m(X, Y) = mean_i |N(i; X) ∩ N(i; Y)| / k

of them (Huh et al. 2024). Of layers that have nothing to do with each other these are c = k / (n - 1), whatever
the layers are, and

    shared(X, Y) = (m(X, Y) - c) / (1 - c)

is 1 where all neighbours are the same, and 0 where as many are as chance would have it.

CKA correlates two Gram matrices, so that a few images that lie far out can count for most of it. Here every
image counts the same, and of the distances only their order: what the two measures agree on hangs on neither.
Groeger et al. (2026) find that of the likeness of networks it is mostly this one that is left when what search and
width give by chance is taken away.

A layer that shows every image the same has no neighbours. `seelike.cka.compare_models` gives NaN for it.
"""

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

# As many as Huh et al. take; of a small minibatch a quarter, since there ten are most of it.
NEIGHBOURS = 10
# Numbers of zeros and ones that are multiplied at a time: 16 MB.
_CHUNK = 2**22


def number_of_neighbours(n: int) -> int:
    """Tell how many neighbours each of n images has.

    Example:
        >>> number_of_neighbours(128), number_of_neighbours(16)
        (10, 4)
    """
    return max(1, min(NEIGHBOURS, n // 4))


def nearest(k: Float[Tensor, "n n"]) -> Int[Tensor, "n k"]:
    """Find the nearest neighbours of each image, in no order.

    Args:
        k: Gram matrix of n images, centred or not, as `seelike.cka.gram` gives it.

    Returns:
        Their numbers, from 0.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [5.0], [6.0]])
        >>> nearest(x @ x.T).tolist()
        [[1], [0], [3], [2]]
    """
    squares = k.diag()
    distances = squares + squares[:, None] - 2 * k
    distances.fill_diagonal_(torch.inf)
    return distances.topk(number_of_neighbours(len(k)), largest=False, sorted=False).indices


def shared_neighbours(
    x: Int[Tensor, "rows n k"], y: Int[Tensor, "columns n k"]
) -> Float64[Tensor, "rows columns"]:
    """Count the neighbours that layers share, as the head of this module defines it.

    Args:
        x: The neighbours of the same n images in some layers, from `nearest`.
        y: The same in others.

    Returns:
        1 where all are the same, 0 where as many are as by chance.

    Example:
        >>> a, b = torch.tensor([[[1], [0], [3], [2]], [[1], [0], [1], [2]]])
        >>> shared_neighbours(a[None], torch.stack([a, b])).round(decimals=6)
        tensor([[1.0000, 0.6250]], dtype=torch.float64)
    """
    n, k = x.shape[1:]
    counts = torch.zeros(len(x), len(y), dtype=torch.float64, device=x.device)
    width = max(1, _CHUNK // (n * (len(x) + len(y))))
    for start in range(0, n, width):
        # float32 counts exactly up to 16 million.
        counts += _indicators(x[:, start : start + width], n) @ _indicators(y[:, start : start + width], n).T
    chance = k / (n - 1)
    return (counts / (n * k) - chance) / (1 - chance)


def _indicators(neighbours: Int[Tensor, "rows some k"], n: int) -> Float[Tensor, "rows some_n"]:
    found = torch.zeros(*neighbours.shape[:2], n, device=neighbours.device)
    return found.scatter_(2, neighbours, 1.0).flatten(1)
