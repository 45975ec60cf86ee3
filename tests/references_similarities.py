"""Procrustes and CCA in float64 NumPy: the best rotation, and an eigenproblem of covariances."""

import numpy as np


def centred(x):
    return x - x.mean(axis=0)


def procrustes(x, y):
    """Turn one cloud onto the other by the singular vectors of X'Y, and see what is the same then."""
    x, y = centred(x), centred(y)
    x, y = x / np.sqrt((x**2).sum()), y / np.sqrt((y**2).sum())
    u, _, v = np.linalg.svd(x.T @ y, full_matrices=False)
    turned = x @ u @ v
    return sum(turned[i, j] * y[i, j] for i in range(len(y)) for j in range(y.shape[1]))


def principal(x, directions):
    """Project features on the eigenvectors of their covariance with the largest eigenvalues."""
    x = centred(x)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    order = np.argsort(values)[::-1][: min(directions, (values > 1e-10 * values.max()).sum())]
    return x @ vectors[:, order]


def cca(x, y, directions):
    """Mean squared canonical correlation: eigenvalues of Cxx^-1 Cxy Cyy^-1 Cyx."""
    x, y = principal(x, directions), principal(y, directions)
    xx, xy, yy = x.T @ x, x.T @ y, y.T @ y
    squared = np.linalg.eigvals(np.linalg.inv(xx) @ xy @ np.linalg.inv(yy) @ xy.T).real
    return np.sort(squared)[::-1][: min(x.shape[1], y.shape[1])].mean()
