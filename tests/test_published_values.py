"""Numbers that others have published, found again: to all digits that they give."""

import numpy as np
import pytest
import torch
from references import cka as debiased_cka
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import RidgeClassifierCV

from seelike.cka import MinibatchCKA, cka
from seelike.probes import RidgeProbe
from seelike.similarities import plain_cka

# The demo of Kornblith et al. (2019), representation_similarity/Demo.ipynb in google-research.
PLAIN, DEBIASED = 0.55761, 0.51346
# The example of RidgeClassifierCV in scikit-learn: "0.9630...", cut off and not rounded.
BREAST_CANCER = 0.9630


def features_of_the_demo():
    """100 images, 10 features; the second layer is the first one with as much noise."""
    random = np.random.RandomState(1337)
    x = random.randn(100, 10)
    return x, random.randn(100, 10) + x


def test_kornblith_plain():
    x, y = features_of_the_demo()
    assert round(plain_cka(x, y), 5) == PLAIN
    centre = np.eye(100) - 1 / 100
    k, m = (centre @ each @ each.T @ centre for each in (x, y))
    by_definition = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
    assert round(by_definition, 5) == PLAIN


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_kornblith_debiased_is_our_unbiased_hsic(dtype):
    x, y = features_of_the_demo()
    assert round(debiased_cka(x, y), 5) == DEBIASED
    assert round(cka(*(torch.from_numpy(each).to(dtype) for each in (x, y))), 5) == DEBIASED


def test_kornblith_debiased_of_one_minibatch():
    x, y = map(torch.from_numpy, features_of_the_demo())
    similarity = MinibatchCKA()
    similarity.update({"x": x}, {"y": y})
    assert round(float(similarity.compute()[0, 0]), 5) == DEBIASED


def test_breast_cancer_of_scikit_learn():
    x, y = load_breast_cancer(return_X_y=True)
    theirs = RidgeClassifierCV(alphas=[1e-3, 1e-2, 1e-1, 1]).fit(x, y)
    assert np.floor(theirs.score(x, y) * 1e4) / 1e4 == BREAST_CANCER
    # At the strength that it chooses: how RidgeProbe chooses its own is another question.
    ours = RidgeProbe(alphas=[theirs.alpha_]).fit(x, y)
    assert ours.score(x, y) == theirs.score(x, y)
