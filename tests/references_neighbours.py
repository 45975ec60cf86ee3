"""Shared nearest neighbours in float64 NumPy, written from the formula of `seelike.neighbours`."""

import numpy as np


def shared_neighbours(x, y, k):
    """The share of k nearest neighbours that two layers have in common, less what chance gives."""
    n = len(x)
    found = []
    for layer in (x, y):
        flat = np.asarray(layer, dtype=np.float64).reshape(n, -1)
        distances = [
            [np.inf if i == j else np.linalg.norm(a - b) for j, b in enumerate(flat)] for i, a in enumerate(flat)
        ]
        found.append([set(np.argsort(row)[:k]) for row in distances])
    share = np.mean([len(a & b) / k for a, b in zip(*found, strict=True)])
    chance = k / (n - 1)
    return (share - chance) / (1 - chance)
