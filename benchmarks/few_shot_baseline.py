"""The few-shot probe of big_vision, made anew in torch from its definition, as a peer of `seelike.probes`.

Features are standardised by their own mean and standard deviation (over n, plus 1e-5), and get a constant feature
of 100, which stands for the intercept and is hardly penalised. Targets are 1 for the own class and -1 for the
others. Ridge regression of one fixed strength follows from the eigenvectors of the smaller of X'X and XX'. It is
one problem at a time, in the dtype of the features.

Source: https://github.com/google-research/big_vision, evaluators/fewshot_lsr.py.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

_CONSTANT = 100.0


class FewShotProbe(NamedTuple):
    """A fitted probe: how to standardise features, and the weights, the last row for the constant."""

    mean: Float[Tensor, " d"]
    spread: Float[Tensor, " d"]
    weights: Float[Tensor, "d_and_one classes"]

    def predict(self, features: Float[Tensor, "n d"]) -> Int64[Tensor, " n"]:
        """Give the class of the largest output for each image."""
        return (_prepared(features, self.mean, self.spread) @ self.weights).argmax(dim=1)


def fit_few_shot_probe(
    features: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], classes: int, strength: float = 2.0**10
) -> FewShotProbe:
    """Fit one probe.

    Args:
        features: Of the training images.
        labels: Their classes, from 0.
        classes: How many there are.
        strength: Of the penalty; big_vision's default is 2^10.
    """
    mean, spread = features.mean(dim=0), features.std(dim=0, correction=0) + 1e-5
    x = _prepared(features, mean, spread)
    targets = 2 * functional.one_hot(labels, classes).to(x) - 1
    wide = len(x) < x.shape[1]
    eigenvalues, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    right = vectors.T @ (targets if wide else x.T @ targets)
    left = x.T @ vectors if wide else vectors
    return FewShotProbe(mean, spread, (left / (eigenvalues + strength)) @ right)


def _prepared(features: Tensor, mean: Tensor, spread: Tensor) -> Float[Tensor, "n d_and_one"]:
    return functional.pad((features - mean) / spread, (0, 1), value=_CONSTANT)
