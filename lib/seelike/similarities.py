"""Other measures of how alike two layers arrange the same images, to lay beside CKA.

X [n, p] and Y [n, q] are features of the same n images, with the mean over the images subtracted.

*Procrustes*. Scale both clouds of points to length 1, and turn and reflect the one until it lies on the other as
well as can be. What then is the same is

    procrustes(X, Y) = max_R <X R, Y> / (||X|| ||Y||) = ||X'Y||_* / (||X||_F ||Y||_F),

R orthogonal, ||.||_* the sum of the singular values. 2 - 2 procrustes is the squared distance that is left, and
the arc cosine of procrustes is a metric (Williams et al. 2021).

*Canonical correlation analysis* (CCA). Find the direction in X and the direction in Y along which the images are
correlated most, then the next two, uncorrelated with those before, and so on. With as many directions as images
everything is correlated; so both are first reduced to their k principal directions, as in SVCCA (Raghu et al.
2017), and

    cca(X, Y) = mean of rho_1^2, ..., rho_k^2.

All three measures are 1 for clouds that differ by a rotation. They differ in what counts. With principal
directions u_i of X and v_j of Y, along which the images have variances a_i and b_j, CKA adds up the squared
overlaps of u_i and v_j with the weights a_i b_j. CCA gives the first k directions the same weight and the rest
none. Procrustes is in between: it weighs by standard deviations.

Neither has an unbiased form like that of CKA: for unrelated layers both are above zero. `of_shuffled` says how
far.
"""

from collections.abc import Callable, Mapping

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor

from seelike.cka import cka, gram

Measure = Callable[[np.ndarray, np.ndarray], float]

# Of the largest variance of a direction; below is rounding.
_SMALLEST = 1e-10


def coordinates(features: Shaped[Tensor, "..."]) -> Float64[np.ndarray, "n r"]:
    """Give the images' places along the principal directions of a layer: the same cloud, in few axes.

    They have the same distances and the same Gram matrix as the features, so that every measure of this module,
    and CKA, is the same for both.

    Args:
        features: Of n images, `[n, ...]`, of any floating dtype; the axes after the first are flattened.

    Returns:
        `[n, r]`, r < n, centred, from the direction of the largest variance down.

    Raises:
        TypeError: The features are not of a floating dtype.
        ValueError: There are none, NaN or infinite numbers, or all images are the same.

    Example:
        >>> coordinates(torch.tensor([[0.0, 5.0], [3.0, 5.0], [0.0, 5.0]])).round(6).tolist()
        [[-1.0], [2.0], [-1.0]]
    """
    variances, directions = np.linalg.eigh(gram(features).cpu().numpy())
    kept = variances > _SMALLEST * variances[-1]
    if variances[-1] <= 0:
        raise ValueError("all images have the same features, so they have no principal direction.")
    found = directions[:, kept] * np.sqrt(variances[kept])
    # The sign of a direction is free: its largest coordinate is made positive.
    largest = np.abs(found).argmax(axis=0)
    return (found * np.sign(found[largest, range(found.shape[1])]))[:, ::-1].copy()


def procrustes(x: Float[np.ndarray, "n r"], y: Float[np.ndarray, "m s"]) -> float:
    """Measure how well one cloud can be turned onto the other, as the head of this module says.

    Args:
        x: Coordinates of n images in one layer, centred, as `coordinates` gives them.
        y: Coordinates of the same images in another layer.

    Returns:
        0 to 1.

    Raises:
        ValueError: The numbers of images differ.

    Example:
        >>> x = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
        >>> turned = x @ np.array([[0.0, 1.0], [-1.0, 0.0]])
        >>> round(procrustes(x, 3 * turned), 3), round(procrustes(x, x[[1, 2, 3, 0]]), 3)
        (1.0, 0.5)
    """
    _check_same_images(x, y)
    # SciPy turns clouds of equally many axes, so the smaller one gets axes in which nothing happens.
    width = max(x.shape[1], y.shape[1])
    padded = [np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in (x, y)]
    _, sum_of_singular_values = scipy.linalg.orthogonal_procrustes(*padded)
    return float(sum_of_singular_values / (np.linalg.norm(x) * np.linalg.norm(y)))


def canonical_correlations(
    x: Float[np.ndarray, "n r"], y: Float[np.ndarray, "m s"], directions: int = 20
) -> Float64[np.ndarray, " k"]:
    """Compute the canonical correlations of the first principal directions of two layers.

    Args:
        x: Coordinates of n images in one layer, centred, as `coordinates` gives them.
        y: Coordinates of the same images in another layer.
        directions: How many principal directions of each to take. A layer may have fewer.

    Returns:
        Correlations `[k]` from the largest down, k the smaller number of directions.

    Raises:
        ValueError: The numbers of images differ, or there are no more images than directions: then all
            correlations would be 1.

    Example:
        >>> x = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
        >>> canonical_correlations(x, x * [1, 5], directions=2).round(6).tolist()
        [1.0, 1.0]
    """
    _check_same_images(x, y)
    first = [each[:, :directions] for each in (x, y)]
    if len(x) <= max(each.shape[1] for each in first) + 1:
        raise ValueError(
            f"there are {len(x)} images for {directions} directions; expected {directions + 2} images or more, as "
            "otherwise everything is correlated. Take fewer directions."
        )
    return np.sort(np.cos(scipy.linalg.subspace_angles(*first)))[::-1]


def cca(x: Float[np.ndarray, "n r"], y: Float[np.ndarray, "m s"], directions: int = 20) -> float:
    """Average the squared canonical correlations of the first principal directions of two layers.

    Args:
        x: Coordinates of n images in one layer, centred, as `coordinates` gives them.
        y: Coordinates of the same images in another layer.
        directions: How many principal directions of each to take.

    Returns:
        0 to 1. Of unrelated layers, about `directions` / n.

    Raises:
        ValueError: As `canonical_correlations`.

    Example:
        >>> x = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
        >>> round(cca(x, x * [1, 5], directions=2), 6)
        1.0
    """
    return float(np.mean(canonical_correlations(x, y, directions) ** 2))


def similarity_map(
    rows: Mapping[str, Float[np.ndarray, "n _"]], columns: Mapping[str, Float[np.ndarray, "n _"]], measure: Measure
) -> Float64[np.ndarray, "rows columns"]:
    """Measure every layer of one network with every layer of another, or of the same.

    Args:
        rows: Coordinates of the same n images in each layer of one network, by its name.
        columns: The same of the other network.
        measure: Such as `procrustes` or `cca`.

    Returns:
        A row for each layer of `rows`, a column for each of `columns`.

    Example:
        >>> x = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
        >>> layers = {"first": x, "second": x[[1, 2, 3, 0]]}
        >>> similarity_map(layers, layers, procrustes).round(3).tolist()
        [[1.0, 0.5], [0.5, 1.0]]
    """
    return np.array([[measure(x, y) for y in columns.values()] for x in rows.values()])


def of_shuffled(
    x: Float[np.ndarray, "n r"], y: Float[np.ndarray, "m s"], measure: Measure, seed: int, times: int = 5
) -> float:
    """Measure two layers that have nothing to do with each other, but are shaped like these two.

    Args:
        x: Coordinates of n images in one layer.
        y: Coordinates of the same images in another layer, which is given them in another order.
        measure: Such as `procrustes` or `cca`.
        seed: Of the orders.
        times: How many orders to average over.

    Returns:
        What the measure gives by chance.

    Example:
        >>> x, y = np.random.default_rng(0).normal(size=(2, 60, 30))
        >>> round(of_shuffled(x, y, procrustes, seed=0), 1)
        0.6
    """
    random = np.random.default_rng(seed)
    return float(np.mean([measure(x, y[random.permutation(len(y))]) for _ in range(times)]))


def move_away(x: Float[np.ndarray, "n r"], times: float, number: int = 1) -> Float64[np.ndarray, "n r+1"]:
    """Move the first images of a layer away from all others, together, in a direction that no image has used.

    Args:
        x: Coordinates of n images.
        times: How far, in units of the root mean square distance of the images from their mean.
        number: How many images.

    Returns:
        Coordinates along the principal directions of the new cloud, up to one more than before.

    Example:
        >>> x = np.array([[1.0], [-1.0], [1.0], [-1.0]])
        >>> away = move_away(x, 10.0)
        >>> (away @ away.T).round(2).tolist()[0]
        [57.25, -19.75, -17.75, -19.75]
    """
    away = np.zeros(len(x))
    away[:number] = times * np.sqrt(np.mean(np.sum(x**2, axis=1)))
    return coordinates(torch.from_numpy(np.column_stack([x, away])))


def unbiased_cka(x: Float[np.ndarray, "n r"], y: Float[np.ndarray, "m s"]) -> float:
    """Compute CKA as all pages of this book do, `seelike.cka.cka`, of two layers that are given by coordinates.

    Example:
        >>> x = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
        >>> round(unbiased_cka(x, x), 6)
        1.0
    """
    _check_same_images(x, y)
    return cka(*(torch.from_numpy(np.array(each)) for each in (x, y)))


def plain_cka(x: Float[np.ndarray, "n r"], y: Float[np.ndarray, "m s"]) -> float:
    """Compute CKA as Equation 1 of the paper has it, with its bias, of two layers that are given by coordinates.

    Example:
        >>> x = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
        >>> round(plain_cka(x, x), 6)
        1.0
    """
    _check_same_images(x, y)
    return float(np.sum((x.T @ y) ** 2) / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def _check_same_images(x: np.ndarray, y: np.ndarray) -> None:
    if len(x) != len(y):
        raise ValueError(
            f"got {len(x)} images in the one layer and {len(y)} in the other; expected the same ones."
        )
