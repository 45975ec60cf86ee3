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
from typing import SupportsFloat

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


def principal_directions(features: Shaped[Tensor, "..."], number: int) -> Float64[Tensor, "d k"]:
    """Find the directions in which the features of some images vary most.

    They are meant for other images than these. What is left of a layer when its own first directions are taken
    away was chosen by looking at the images, and no estimate is unbiased for that: the unbiased CKA with the whole
    layer then falls below zero.

    Args:
        features: Of n images, `[n, ...]`, of any floating dtype; the axes after the first are flattened.
        number: How many directions, at most. There are no more than n - 1.

    Returns:
        A column of length 1 for each direction, from the largest variance down, orthogonal to each other; on the
        device of the features.

    Raises:
        TypeError: The features are not of a floating dtype.
        ValueError: There are none, NaN or infinite numbers, or all images are the same.

    Example:
        >>> found = principal_directions(torch.tensor([[0.0, 5.0], [3.0, 5.0], [0.0, 5.0]]), 2)
        >>> found.round(decimals=6).tolist()
        [[1.0], [0.0]]
    """
    places = torch.from_numpy(coordinates(features)[:, :number]).to(features.device)
    flat = features.flatten(1).double()
    return (flat - flat.mean(dim=0)).T @ places / places.square().sum(dim=0)


def procrustes(x: Float[np.ndarray, "n r"], y: Float[np.ndarray, "m s"]) -> float:
    """Measure how well one cloud can be turned onto the other, as the head of this module says.

    Args:
        x: Coordinates of n images in one layer, or its features.
        y: The same of the same images in another layer.

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
    x, y = _centred(x, y)
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
        x: Coordinates of n images in one layer, as `coordinates` gives them.
        y: Coordinates of the same images in another layer.
        directions: How many principal directions of each to take. A layer may have fewer.

    Returns:
        Correlations `[k]` from the largest down, k the smaller number of directions.

    Raises:
        ValueError: The numbers of images differ; or some columns would be left out, and they are no coordinates
            along principal directions; or there are not enough more images than directions, so that all
            correlations would be 1.

    Example:
        >>> x = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
        >>> canonical_correlations(x, x * [1, 5], directions=2).round(6).tolist()
        [1.0, 1.0]
    """
    x, y = _centred(x, y)
    for each in (x, y):
        _check_first_columns_are_principal(each, directions)
    first = [each[:, :directions] for each in (x, y)]
    taken = max(each.shape[1] for each in first)
    if len(x) <= taken + 1:
        raise ValueError(
            f"there are {len(x)} images for {taken} directions; expected {taken + 2} images or more, as otherwise "
            "everything is correlated. Take fewer directions."
        )
    return np.sort(np.cos(scipy.linalg.subspace_angles(*first)))[::-1]


def cca(x: Float[np.ndarray, "n r"], y: Float[np.ndarray, "m s"], directions: int = 20) -> float:
    """Average the squared canonical correlations of the first principal directions of two layers.

    Args:
        x: Coordinates of n images in one layer, as `coordinates` gives them.
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


def directions_that_keep(x: Float[np.ndarray, "n r"], share: float = 0.99) -> int:
    """Count the principal directions that together hold a share of the variance, as SVCCA takes them.

    Args:
        x: Coordinates of n images in one layer, as `coordinates` gives them.
        share: Of the variance, above 0 and at most 1.

    Returns:
        The smallest number of first directions with at least this share.

    Raises:
        ValueError: The share is not above 0, or above 1.

    Example:
        >>> x = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> directions_that_keep(x, 0.9), directions_that_keep(x)
        (1, 2)
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is a share of the variance, above 0 and at most 1; got {share}.")
    variances = np.sum(x**2, axis=0)
    reached = np.cumsum(variances) >= share * np.sum(variances) * (1 - _SMALLEST)
    return int(np.argmax(reached)) + 1


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


def move_away(x: Float[np.ndarray, "n r"], times: SupportsFloat, number: int = 1) -> Float64[np.ndarray, "n r+1"]:
    """Move the first images of a layer away from all others, together, in a direction that no image has used.

    Args:
        x: Coordinates of n images.
        times: How far, in units of the root mean square distance of the images from their mean.
        number: How many images.

    Returns:
        Coordinates along the principal directions of the new cloud, up to one more than before.

    Example:
        >>> x = np.array([[1.0], [-1.0], [1.0], [-1.0]])
        >>> away = move_away(x, 10)
        >>> (away @ away.T).round(2).tolist()[0]
        [57.25, -19.75, -17.75, -19.75]
    """
    away = np.zeros(len(x))
    away[:number] = float(times) * np.sqrt(np.mean(np.sum(x**2, axis=1)))
    return coordinates(torch.from_numpy(np.column_stack([x, away])))


def unbiased_cka(x: Float[np.ndarray, "n r"], y: Float[np.ndarray, "m s"]) -> float:
    """Compute CKA as all pages of this book do, `seelike.cka.cka`, of two layers' coordinates or features.

    Args:
        x: Coordinates of n images in one layer, or its features.
        y: The same of the same images in another layer.

    Returns:
        CKA, at most 1. Where the truth is near 0 it can be below.

    Raises:
        ValueError: The numbers of images differ, or there are fewer than 4.

    Example:
        >>> x = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
        >>> round(unbiased_cka(x, x), 6)
        1.0
    """
    _check_same_images(x, y)
    return cka(*(torch.from_numpy(np.array(each)) for each in (x, y)))


def plain_cka(x: Float[np.ndarray, "n r"], y: Float[np.ndarray, "m s"]) -> float:
    """Compute CKA as Equation 1 of the paper has it, with its bias, of two layers' coordinates or features.

    Args:
        x: Coordinates of n images in one layer, or its features.
        y: The same of the same images in another layer.

    Returns:
        0 to 1.

    Raises:
        ValueError: The numbers of images differ.

    Example:
        >>> x = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
        >>> round(plain_cka(x, x), 6)
        1.0
    """
    x, y = _centred(x, y)
    return float(np.sum((x.T @ y) ** 2) / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def _check_same_images(x: np.ndarray, y: np.ndarray) -> None:
    if len(x) != len(y):
        raise ValueError(
            f"got {len(x)} images in the one layer and {len(y)} in the other; expected the same ones."
        )


def _centred(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take the mean over the images away. Coordinates have none; a row that was taken out leaves one."""
    _check_same_images(x, y)
    return x - x.mean(axis=0), y - y.mean(axis=0)


def _check_first_columns_are_principal(x: np.ndarray, directions: int) -> None:
    """Where columns are left out it must be the last principal directions; else CCA depends on the axes."""
    if x.shape[1] <= directions:
        return
    covariances = x.T @ x
    variances = np.diag(covariances)
    tolerance = 1e-6 * variances.sum()
    apart = np.abs(covariances - np.diag(variances)).max() <= tolerance
    if not (apart and (np.diff(variances) <= tolerance).all()):
        raise ValueError(
            f"got features of {x.shape[1]} columns, of which CCA would take {directions}; expected coordinates "
            "along principal directions, from the largest variance down. Pass the features through `coordinates` "
            "first."
        )
