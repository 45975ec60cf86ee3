"""Attention distance in float64 NumPy, written from its definition, for the tests to compare with."""

import math

import numpy as np


def softmax_attention(q, k, scale):
    """Softmax over keys of scale <q, k>, of `[..., t, d]`."""
    scores = scale * (np.asarray(q, dtype=np.float64) @ np.asarray(k, dtype=np.float64).swapaxes(-1, -2))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def centres(grid, patch_size):
    """Centre of each patch in pixels, row by row."""
    rows, columns = grid
    height, width = patch_size
    return [((row + 0.5) * height, (column + 0.5) * width) for row in range(rows) for column in range(columns)]


def distances(grid, patch_size):
    places = centres(grid, patch_size)
    return np.array([[math.dist(query, key) for key in places] for query in places])


def by_image(attention, grid, patch_size, prefix):
    """Renormalised and unrenormalised distance and prefix mass of `[b, heads, t, t]`: each `[b, heads]`."""
    attention = np.asarray(attention, dtype=np.float64)[:, :, prefix:]
    on_prefix, on_grid = attention[..., :prefix].sum(axis=-1), attention[..., prefix:]
    reach = (on_grid * distances(grid, patch_size)).sum(axis=-1)
    return (reach / on_grid.sum(axis=-1)).mean(axis=-1), reach.mean(axis=-1), on_prefix.mean(axis=-1)


def by_offset(attention, grid, prefix):
    """Renormalised attention by the offset from query to key, averaged over the pairs with it and images."""
    rows, columns = grid
    on_grid = np.asarray(attention, dtype=np.float64)[:, :, prefix:, prefix:]
    on_grid = on_grid / on_grid.sum(axis=-1, keepdims=True)
    result = np.zeros((on_grid.shape[1], 2 * rows - 1, 2 * columns - 1))
    pairs = np.zeros(result.shape[1:])
    for query in range(rows * columns):
        for key in range(rows * columns):
            down = key // columns - query // columns
            right = key % columns - query % columns
            result[:, down + rows - 1, right + columns - 1] += on_grid[:, :, query, key].mean(axis=0)
            pairs[down + rows - 1, right + columns - 1] += 1
    return result / pairs


def standard_error(values):
    return values.std(axis=0, ddof=1) / math.sqrt(len(values))
