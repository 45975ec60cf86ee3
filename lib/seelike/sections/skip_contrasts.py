"""Section 6 of the paper in numbers: skips that matter more throughout, and a network in two parts.

*Throughout*: with a(t) and b(t) for the decadic logarithm of the skip ratio of two networks at the relative depth
t, linear between their residual additions, the smallest difference is min_t a(t) - b(t). It is above zero only
where a is higher at every depth. Both are linear between all their additions together, so the minimum is at one.

*In two parts*: where block c has no skip connections, B are the layers before it and A those after. How far the
two are apart is

    mean CKA of the pairs of different layers within B and of those within A,
    minus the mean CKA of the pairs of a layer in B with one in A.

Layers that are near each other are more alike in any network, so an intact one is above zero, too. The same number
of an intact twin, from the same weights before training, is what a cut is compared with.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from seelike.models import Layer
from seelike.sections.skip_connections import mean_across_cut


def smallest_difference(
    ratio: Float[np.ndarray, "repeats m"], than: Float[np.ndarray, "repeats n"]
) -> Float[np.ndarray, " repeats"]:
    """Find how far the skip ratio of one network is above that of another where it is least so (Figure 7).

    Args:
        ratio: Skip ratio at each residual addition, in firing order, per repeat.
        than: The same of the network that should have less.

    Returns:
        The smallest difference of decadic logarithms at equal relative depth, per repeat. NaN where a ratio is.

    Example:
        >>> smallest_difference(np.array([[10.0, 100.0, 10.0]]), np.array([[1.0, 10.0]])).round(2)
        array([0.])
    """
    lines = [np.log10(ratio), np.log10(than)]
    at = [np.linspace(0, 1, line.shape[1]) for line in lines]
    depths = np.union1d(*at)
    both = [np.array([np.interp(depths, x, row) for row in line]) for x, line in zip(at, lines, strict=True)]
    return np.min(both[0] - both[1], axis=1)


def apart(
    cka: Float[np.ndarray, "repeats n n"], layers: Sequence[Layer], block: int
) -> Float[np.ndarray, " repeats"]:
    """Compute how much more alike layers on one side of a block are than layers on two sides of it (Figure 8).

    Args:
        cka: CKA of all layers with all layers of one network, per repeat.
        layers: These layers, in firing order.
        block: The number of the block, from 1. Its own layers are on no side.

    Returns:
        Mean CKA within the two parts minus mean CKA across the block, per repeat.

    Raises:
        ValueError: The network has no such block, no layer before or after it, or only one on each side.

    Example:
        >>> layers = [Layer("", "", block, 0.0, "") for block in (None, 1, 2, 3)]
        >>> two_parts = np.array([[[1, 0.5, 0.2, 0.2], [0.5, 1, 0, 0], [0.2, 0, 1, 0.9], [0.2, 0, 0.9, 1]]])
        >>> apart(two_parts, layers, 1).round(2)
        array([0.7])
    """
    across = mean_across_cut(cka, layers, block)
    inside = [place for place, layer in enumerate(layers) if layer.block == block]
    rows, columns = np.triu_indices(len(layers), k=1)
    within = (columns < inside[0]) | (rows > inside[-1])
    if not within.any():
        raise ValueError(f"On each side of block {block} there is one layer, and no pair of different ones.")
    return cka[:, rows[within], columns[within]].mean(axis=1) - across


def difference_of_shared(
    cka: Float[np.ndarray, "m m"],
    layers: Sequence[Layer],
    than: Float[np.ndarray, "n n"],
    than_layers: Sequence[Layer],
) -> tuple[Float[np.ndarray, "shared shared"], list[Layer]]:
    """Subtract the CKA map of one network from that of another, of the layers that both have (Figure 8).

    A network without the skip connections of a block lacks the layers after these additions.

    Args:
        cka: CKA of all layers with all layers of a network.
        layers: These layers.
        than: The same of the network whose map is subtracted.
        than_layers: Its layers.

    Returns:
        The difference, and the layers of its rows and columns, which are shared by name.

    Example:
        >>> a, b, c = (Layer(name, "", 1, 0.0, "") for name in "abc")
        >>> matrix, shared = difference_of_shared(np.ones((2, 2)), [a, c], np.eye(3), [a, b, c])
        >>> matrix, [layer.name for layer in shared]
        (array([[0., 1.],
               [1., 0.]]), ['a', 'c'])
    """
    places = {layer.name: place for place, layer in enumerate(than_layers)}
    shared = [place for place, layer in enumerate(layers) if layer.name in places]
    same = [places[layers[place].name] for place in shared]
    return cka[np.ix_(shared, shared)] - than[np.ix_(same, same)], [layers[place] for place in shared]
