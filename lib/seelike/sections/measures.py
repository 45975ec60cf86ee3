"""Questions of measure: what the literature asks of a measure of likeness, each as one number.

*Readouts* (Harvey et al. 2024). Let y be a target of n images, of random numbers, and X the centred features of a
layer. The readout w = X'y, the direction that goes along with y, predicts X w = X X'y = K y. Over many targets

    E <K y, L y> / sqrt(E |K y|^2 E |L y|^2) = tr(K L) / sqrt(tr(K K) tr(L L)),

as E y y' is the identity: plain CKA is how far the readouts of two layers agree, on average over all targets.

*Search* (Groeger et al. 2026). The best of many pairs of layers is high by chance. With the images of one network
in another order, and with the same search, the largest of 19 orders is what one search in twenty exceeds. With t
for it,

    calibrated = max(0, (found - t) / (1 - t)).

*Layers in their order* (the test of ReSi by Klabunde et al. 2025 that is called layer monotonicity). For layers
i < j < k a measure is in order where S_ik is neither above S_ij nor above S_jk.

*Beyond chance.* Of an entry S of a map, and C of the same layers with the images of one in another order,
(S - C) / (1 - C): 0 by chance, 1 for the same cloud, so that measures with a bias can share a scale.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float64

from seelike.similarities import Measure, similarity_map


def agreement_of_readouts(
    x: Float[np.ndarray, "n r"], y: Float[np.ndarray, "n s"], targets: Float[np.ndarray, "n targets"]
) -> float:
    """Compute how far the readouts of two layers agree, over some targets.

    Args:
        x: Coordinates of n images in one layer, or its features.
        y: The same of the same images in another layer.
        targets: A column for each target.

    Returns:
        Up to 1. With as many targets as images, uncorrelated and of equal length, it is plain CKA.

    Example:
        >>> x = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
        >>> round(agreement_of_readouts(x, x[:, :1], np.eye(4)), 3)
        0.243
    """
    predicted = [each @ (each.T @ targets) for each in (x - x.mean(axis=0), y - y.mean(axis=0))]
    return float(np.sum(predicted[0] * predicted[1]) / np.prod([np.linalg.norm(each) for each in predicted]))


def shuffled_maps(
    rows: Mapping[str, Float[np.ndarray, "n _"]],
    columns: Mapping[str, Float[np.ndarray, "n _"]],
    measure: Measure,
    seed: int,
    times: int,
) -> Float64[np.ndarray, "times rows columns"]:
    """Measure all pairs of layers with the images of one network in another order, the same for all its layers.

    Args:
        rows: Coordinates of the same n images in each layer of one network, by its name.
        columns: The same of the other network, which is put into another order.
        measure: Such as `seelike.similarities.procrustes`.
        seed: Of the orders.
        times: How many orders.

    Returns:
        What chance gives.

    Example:
        >>> x = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
        >>> shuffled_maps({"a": x}, {"b": x}, lambda x, y: float(np.abs(x.T @ y).sum()), 0, 3).shape
        (3, 1, 1)
    """
    random = np.random.default_rng(seed)
    number = len(next(iter(columns.values())))
    orders = [random.permutation(number) for _ in range(times)]
    return np.array(
        [similarity_map(rows, {name: each[order] for name, each in columns.items()}, measure) for order in orders]
    )


def beyond_chance(
    found: Float[np.ndarray, "*shape"], chance: Float[np.ndarray, "*shape"]
) -> Float64[np.ndarray, "*shape"]:
    """Put a likeness on a scale from 0, for chance, to 1.

    Args:
        found: What a measure gave.
        chance: What it gives by chance.

    Returns:
        Below 0 for less than chance. NaN where chance gives 1.

    Example:
        >>> beyond_chance(np.array([1.0, 0.7]), np.array([0.4, 0.4])).round(3).tolist()
        [1.0, 0.5]
    """
    found, chance = np.asarray(found, dtype=float), np.asarray(chance, dtype=float)
    return np.asarray((found - chance) / np.where(chance < 1, 1 - chance, np.nan))


def calibrated_highest(
    found: Float[np.ndarray, "rows columns"], shuffled: Float[np.ndarray, "times rows columns"]
) -> tuple[float, float, float]:
    """Hold the highest likeness of two networks against the highest that the same search finds by chance.

    Args:
        found: A measure of all pairs of layers.
        shuffled: The same with the images of one network in other orders, 19 or more.

    Returns:
        The highest; what one search in twenty exceeds by chance; and the calibrated one, from 0 to 1.

    Raises:
        ValueError: There are fewer than 19 orders.

    Example:
        >>> calibrated_highest(np.array([[0.75, 0.2]]), np.full((19, 1, 2), 0.5))
        (0.75, 0.5, 0.5)
    """
    if len(shuffled) < 19:
        raise ValueError(
            f"One search in twenty is exceeded by chance with 19 orders or more; got {len(shuffled)}."
        )
    best = np.append(shuffled.max(axis=(1, 2)), found.max())
    # Of all searches, the one found among them, the value at rank 0.95 from below.
    threshold = float(np.sort(best)[int(np.ceil(0.95 * len(best))) - 1])
    highest = float(found.max())
    return highest, threshold, max(0.0, float(beyond_chance(np.array(highest), np.array(threshold))))


def share_in_order(similarity: Float[np.ndarray, "n n"]) -> float:
    """Compute the share of triples of layers of one network whose likeness is in the layers' order.

    Args:
        similarity: Of all layers with all layers, in firing order.

    Returns:
        1 where nearer layers are always more alike; about a third for numbers without any order.

    Raises:
        ValueError: There are fewer than three layers.

    Example:
        >>> share_in_order(np.array([[1.0, 0.8, 0.3], [0.8, 1.0, 0.5], [0.3, 0.5, 1.0]]))
        1.0
    """
    n = len(similarity)
    if n < 3:
        raise ValueError(f"Three layers make a triple; got {n}.")
    triples = [(i, j, k) for i in range(n) for j in range(i + 1, n) for k in range(j + 1, n)]
    s = similarity
    return float(np.mean([s[i, k] <= min(s[i, j], s[j, k]) for i, j, k in triples]))
