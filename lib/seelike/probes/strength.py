"""Choosing the strength of ridge regression: by where the outputs point.

A probe predicts the class of the largest output, so all that counts of an image's outputs p is where they point,
and not how long they are. Least squares counts both. Of C targets all but one are -1, for every image; with many
classes and few images of each, outputs that all shrink to -1 have a small squared error and tell little. Accuracy
counts what is wanted, but coarsely: of a hundred images many strengths get as many right, or one more by chance.

So each image is asked for the cosine of the angle between its outputs and its target y, both less their mean
over classes. With y = 2 e - 1, e the unit vector of its class k, that is

    cos = p~_k / (|p~| sqrt(1 - 1/C))        p~ = p - mean of p over classes,

and the strength is chosen whose cosine, in the mean over images, is largest: their *agreement*. Where strengths
agree equally well (for two classes a cosine is 1 or -1, right or wrong), the least squared error decides. The
images are those held out, or each under the regression of all others (`seelike.probes.leave_one_out`).

Every image counts alike, so a class of many images counts for more. Measured, in points of test accuracy lost to
the best strength in hindsight, mean over problems and worst: 100 classes, 10 images of each, 384 features with a
spread of j^-1.5, by leave-one-out: squared error 26 and 27, agreement 0; with half of the images held out:
accuracy 1 and 4, agreement 0. Blocks of three trained networks, 10 images of each of 10 classes, half of them
held out: accuracy 1.2 and 11, agreement 0.6 and 6. No rule is safe where there are a few images in all: with 20
images of two classes agreement loses 2 to 3 points in the mean, and 13 at worst.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

# Strengths for features of any usual scale: the eigenvalues that they are added to grow with the number of images.
STRENGTHS = tuple(10.0**power for power in range(-3, 7))
# Agreements that differ by less are equal: rounding does not choose.
_EQUAL = 1e-9


def agreement_and_error(
    outputs: Float[Tensor, "*problems n classes"], labels: Int64[Tensor, "n"]
) -> Float[Tensor, "2 *problems n"]:
    """Give the cosine between each image's outputs and its target, and its squared error.

    Args:
        outputs: Of ridge regression: their sum over classes is that of the targets. It is taken out.
        labels: Class of each image, from 0.

    Example:
        >>> outputs = torch.tensor([[1.0, -1.0, -1.0], [-0.5, -0.2, -0.3]])
        >>> agreement_and_error(outputs, torch.tensor([0, 1]))
        tensor([[1.0000, 0.7559],
                [0.0000, 2.1800]])
    """
    classes = outputs.shape[-1]
    centred = outputs - outputs.mean(dim=-1, keepdim=True)
    own = centred.gather(-1, labels.expand(centred.shape[:-1])[..., None])[..., 0]
    squares = centred.square().sum(dim=-1)
    length = squares.sqrt().clamp(min=torch.finfo(squares.dtype).tiny)
    spread = 1 - 1 / classes  # a quarter of the square of a target less its mean
    return torch.stack([own / length / spread**0.5, squares - 4 * own + 4 * spread])


def best_strength(
    scores: Float64[Tensor, "2 strengths *problems"], strengths: Float64[Tensor, "strengths"]
) -> Float64[Tensor, "*problems"]:
    """Give the strength of the largest agreement for each problem; of equal ones, that of the least squared error.

    Args:
        scores: Means over images of what `agreement_and_error` gives, for each strength.
        strengths: The strengths.

    Example:
        >>> agreement, error = [0.5, 0.8, 0.8], [0.1, 0.3, 0.2]
        >>> best_strength(torch.tensor([agreement, error]).double(), torch.tensor([1.0, 10.0, 100.0]).double())
        tensor(100., dtype=torch.float64)
    """
    agreement, error = scores
    best = agreement >= agreement.amax(dim=0) - _EQUAL
    return strengths.to(scores.device)[error.masked_fill(~best, torch.inf).argmin(dim=0)]


def check_strengths(strengths: Any) -> Float64[Tensor, "strengths"]:
    """Refuse strengths that are not positive numbers.

    Example:
        >>> check_strengths([1, 0])
        Traceback (most recent call last):
            ...
        ValueError: alphas is [1, 0]; expected one or more positive, finite strengths.
    """
    try:
        values = np.asarray(strengths, dtype=np.float64).reshape(-1).copy()
    except (TypeError, ValueError):
        values = np.zeros(1)
    if not values.size or not ((values > 0) & np.isfinite(values)).all():
        raise ValueError(f"alphas is {strengths!r}; expected one or more positive, finite strengths.")
    return torch.from_numpy(values)


def held_out_part(
    labels: Int64[Tensor, "n"], share: Any, seed: int, names: Sequence[Any] | np.ndarray | None = None
) -> Bool[Tensor, "n"]:
    """Draw the images to hold out: the same share of each class, at least one, and never all.

    Args:
        labels: Class of each image.
        share: A number between 0 and 1.
        seed: Of the drawing.
        names: What errors call the classes.

    Raises:
        ValueError: The share is not between 0 and 1, or a class has only one image.

    Example:
        >>> held_out_part(torch.tensor([0, 0, 1, 1, 1, 1]), 0.5, seed=0).sum()
        tensor(3)
    """
    if not isinstance(share, Real) or not 0 < float(share) < 1:
        raise ValueError(f"held_out is {share!r}; expected a share of the images of each class, between 0 and 1.")
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        places = (labels == label).nonzero()[:, 0].cpu()
        if len(places) == 1:
            raise ValueError(
                f"Class {label if names is None else names[label]} has one image; holding one out leaves none to "
                "learn from. Give at least two of each class, or choose the strength in another way."
            )
        number = min(max(round(float(share) * len(places)), 1), len(places) - 1)
        held_out[places[torch.randperm(len(places), generator=generator)[:number]]] = True
    return held_out
