"""Measurements in float64 NumPy, written from the formulas of the papers, for the tests to compare with."""

import numpy as np


def centred_gram(x):
    """K = X X' of features minus their mean over images; shifting features changes neither HSIC nor CKA."""
    x = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    x = x - x.mean(axis=0)
    return x @ x.T


def unbiased_hsic(gram_x, gram_y):
    """Equation 5 of Song et al. (2012), as Nguyen et al. (2020) print it (their equation 3)."""
    n = len(gram_x)
    k, m = gram_x - np.diag(np.diag(gram_x)), gram_y - np.diag(np.diag(gram_y))
    ones = np.ones(n)
    trace = np.trace(k @ m)
    sums = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    mixed = 2 / (n - 2) * (ones @ k @ m @ ones)
    return (trace + sums - mixed) / (n * (n - 3))


def minibatch_cka(batches_of_x, batches_of_y):
    """Equation 2 of Nguyen et al. (2020): each HSIC is averaged over minibatches, then they are divided."""
    grams = [(centred_gram(x), centred_gram(y)) for x, y in zip(batches_of_x, batches_of_y, strict=True)]
    xy = np.mean([unbiased_hsic(k, m) for k, m in grams])
    xx = np.mean([unbiased_hsic(k, k) for k, _ in grams])
    yy = np.mean([unbiased_hsic(m, m) for _, m in grams])
    return xy / np.sqrt(xx * yy)


def cka(x, y):
    return minibatch_cka([x], [y])
