"""Phases of later work: where a CKA map falls into runs of layers that are alike, and how much it does.

Cut n layers, in firing order, into k runs, each of one layer or more. Of all ways to cut, `phases` takes the one
with the largest

    sum over pairs i < j of one run of (S_ij - mean of S over all pairs i < j).

It adds up over runs, so the best way for the first m layers and r runs is the best over where the last run begins:
n^2 k steps in all, and no way is left out.

Layers near each other are alike in any network, so any map can be cut. The control is a map of which only that is
left, `smooth_band`: every pair has the mean of all pairs as far apart as it is,

    B_ij = mean of S over all pairs (a, b) with |a - b| = |i - j|.

It has no boundaries. Phases are what a map has beyond its band, each cut where it is best.

Source: Jacobs et al. (2025), who cut the maps of ViTs and train a network of as many blocks as there are phases.
"""

import numpy as np
from jaxtyping import Float, Int


def phases(cka: Float[np.ndarray, "n n"], number: int) -> Int[np.ndarray, " n"]:
    """Cut a network into phases: the runs of layers that are most alike within.

    Args:
        cka: CKA of all layers with all layers of one network, in firing order.
        number: How many phases.

    Returns:
        The phase of each layer, from 0: what `representation_structure.within_minus_between_stages` takes.

    Raises:
        ValueError: The number is below 1, or above the number of layers.

    Example:
        >>> phases(np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]]), 2).tolist()
        [0, 0, 1]
    """
    layers = len(cka)
    if not 1 <= number <= layers:
        raise ValueError(f"{layers} layers make from 1 to {layers} phases; got a number of {number}.")
    above = np.triu(np.ones((layers, layers), dtype=bool), k=1)
    excess = np.where(above, cka - (cka[above].mean() if above.any() else 0.0), 0.0)
    # What a run from layer a up to, and without, layer b adds.
    of_run = np.array([[excess[a:b, a:b].sum() for b in range(layers + 1)] for a in range(layers)])
    best = np.full((number + 1, layers + 1), -np.inf)
    best[0, 0] = 0.0
    begins = np.zeros((number + 1, layers + 1), dtype=int)
    for run in range(1, number + 1):
        for end in range(run, layers + 1):
            sums = best[run - 1, run - 1 : end] + of_run[run - 1 : end, end]
            begins[run, end] = run - 1 + sums.argmax()
            best[run, end] = sums.max()
    phase, end = np.zeros(layers, dtype=int), layers
    for run in range(number, 0, -1):
        phase[begins[run, end] : end] = run - 1
        end = begins[run, end]
    return phase


def smooth_band(cka: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Leave of a map only how much less alike layers are the farther they are apart.

    Args:
        cka: CKA of all layers with all layers of one network, in firing order.

    Returns:
        A map of the same means at every distance, without boundaries.

    Example:
        >>> smooth_band(np.array([[1.0, 0.8, 0.1], [0.8, 1.0, 0.4], [0.1, 0.4, 1.0]])).round(6).tolist()
        [[1.0, 0.6, 0.1], [0.6, 1.0, 0.6], [0.1, 0.6, 1.0]]
    """
    places = np.arange(len(cka))
    apart = np.abs(places[:, None] - places[None, :])
    return np.array([cka[apart == distance].mean() for distance in places])[apart]
