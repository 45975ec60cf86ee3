"""The jackknife: how sure a statistic of many images is.

A statistic that is no mean of values for single images, such as the ratio of two sums over all of them, has an
error by the jackknife (Tukey 1958): the images are put into G groups, the statistic is computed without each group
in turn, and with m for the mean of these values y_g,

    error^2 = (G - 1) / G  sum_g (y_g - m)^2.

For a mean, this is its standard error (`seelike.uncertainty`). For a statistic that moves in steps it is rough.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor


def jackknife(values: Float[Tensor, "groups *shape"]) -> Float64[Tensor, "*shape"]:
    """Compute the standard error of a statistic from what it is without each group of images in turn.

    Args:
        values: The statistic without each group, such as of each of `TokenPatchCKA.replicates()`.

    Returns:
        The error; NaN where there are fewer than two groups.

    Example:
        >>> jackknife(torch.tensor([[0.5], [0.7]]))
        tensor([0.1000], dtype=torch.float64)
    """
    if len(values) < 2:
        return torch.full(values.shape[1:], torch.nan, dtype=torch.float64)
    return ((len(values) - 1) * values.double().var(dim=0, correction=0)).sqrt()
