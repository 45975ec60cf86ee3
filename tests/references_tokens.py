"""Measurements of tokens in float64 NumPy, written from the formulas, for the tests to compare with."""

import numpy as np
import references


def mean_and_error(values):
    """Mean over images, and the sample standard deviation (n - 1) over sqrt(n)."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def skip_statistics(skip, branch):
    """Mean and standard error by name, per token, of skip and branch [n, t, d] without zero vectors."""
    skip, branch = np.asarray(skip, dtype=np.float64), np.asarray(branch, dtype=np.float64)
    return statistics_of(*(np.linalg.norm(x, axis=2) for x in (skip, branch)), *cosines(skip, branch))


def cosines(skip, branch):
    def cosine(x, y):
        return (x * y).sum(axis=2) / (np.linalg.norm(x, axis=2) * np.linalg.norm(y, axis=2))

    return cosine(skip, branch), cosine(skip, skip + branch)


def statistics_of(skip_norm, branch_norm, with_branch, with_output):
    ratio = skip_norm.mean(axis=0) / branch_norm.mean(axis=0)
    # Delta method: the linear part of the quotient of two means, image by image.
    linear = (skip_norm - ratio * branch_norm) / branch_norm.mean(axis=0)
    return {
        "mean_ratio": mean_and_error(skip_norm / branch_norm),
        "ratio_of_means": (ratio, mean_and_error(linear)[1]),
        "cosine_with_branch": mean_and_error(with_branch),
        "cosine_with_output": mean_and_error(with_output),
    }


def spatial_statistics(skip, branch, prefix):
    """The mean over spatial tokens: each image gives one number of each kind first."""
    skip, branch = np.asarray(skip, dtype=np.float64)[:, prefix:], np.asarray(branch, dtype=np.float64)[:, prefix:]
    norms = [np.linalg.norm(x, axis=2) for x in (skip, branch)]
    of_image = [values.mean(axis=1) for values in (*norms, *cosines(skip, branch))]
    found = statistics_of(*of_image)
    found["mean_ratio"] = mean_and_error((norms[0] / norms[1]).mean(axis=1))
    return found


def patch(images, grid, row, column):
    """The pixels of one patch, all colours, [n, p]."""
    height, width = images.shape[2] // grid[0], images.shape[3] // grid[1]
    rows, columns = slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)
    return images[:, :, rows, columns].reshape(len(images), -1)


def token_patch_cka(minibatches, grid):
    """CKA of each token with each patch, [t, h, w], from pairs of images [n, c, H, W] and tokens [n, t, d]."""
    maps = np.empty((minibatches[0][1].shape[1], *grid))
    for token, row, column in np.ndindex(maps.shape):
        maps[token, row, column] = references.minibatch_cka(
            [tokens[:, token] for _, tokens in minibatches],
            [patch(images, grid, row, column) for images, _ in minibatches],
        )
    return maps


def jackknife_error(minibatches, grid):
    """Leave out one minibatch at a time."""
    without = [token_patch_cka(minibatches[:i] + minibatches[i + 1 :], grid) for i in range(len(minibatches))]
    deviations = np.stack(without) - np.mean(without, axis=0)
    return np.sqrt((len(without) - 1) / len(without) * (deviations**2).sum(axis=0))
