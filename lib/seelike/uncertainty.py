"""How sure a mean is: standard errors and intervals.

Of n values x_1 ... x_n that were drawn alike, the mean is m = sum_i x_i / n, and its standard error is

    error = sqrt( sum_i (x_i - m)^2 / (n (n - 1)) ).

One value tells nothing about it. With few values the error itself is unsure; Student's t allows for that, so that
m - t error ... m + t error, with t at 0.975 and n - 1 degrees of freedom, holds the true mean 95 times in 100.

What is no mean of values for single images has an error by the jackknife (`seelike.jackknife`).
"""

import math

# Without torch: tools that read claims import this module, and need not wait for it.
import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit


def standard_error(values: Float[np.ndarray, "n *rest"]) -> Float[np.ndarray, "*rest"]:
    """Compute the standard error of the mean over the first axis; NaN where there is one value.

    Example:
        >>> standard_error(np.array([[0.30, 0.8], [0.32, 0.8]])).round(6)
        array([0.01, 0.  ])
    """
    if len(values) == 1:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(values.std(axis=0, ddof=1) / math.sqrt(len(values)))


def mean_and_uncertainty(
    values: Float[np.ndarray, "repeats *rest"],
) -> tuple[Float[np.ndarray, "*rest"], Float[np.ndarray, "*rest"]]:
    """Average over repeats, with half the width of Student's 95 % interval of that mean.

    It says how far another draw of images could move the mean; it says nothing of networks trained anew.

    Args:
        values: One measurement per repeat, of any shape.

    Returns:
        The mean and the half-width; the half-width is NaN where there is one repeat.

    Example:
        >>> mean, half_width = mean_and_uncertainty(np.array([[0.30, 0.8], [0.32, 0.8], [0.31, 0.8]]))
        >>> mean.round(3), half_width.round(3)
        (array([0.31, 0.8 ]), array([0.025, 0.   ]))
    """
    width = stdtrit(len(values) - 1, 0.975) if len(values) > 1 else 1.0
    return np.asarray(values.mean(axis=0)), np.asarray(width * standard_error(values))


def with_uncertainty(statistic: float, uncertainty: float | None) -> str:
    """Write a number with its uncertainty, both to the digits that the uncertainty leaves.

    Example:
        >>> with_uncertainty(0.31142, 0.02487), with_uncertainty(0.00012, 0.00002), with_uncertainty(0.25, None)
        ('0.311 ± 0.025', '0.00012 ± 0.00002', '0.250')
        >>> with_uncertainty(-2e-9, 1e-8)
        '0.000 ± 0.000'
    """
    if uncertainty is None:
        return f"{statistic:.3f}"
    # Three decimals at least, and one significant digit of the uncertainty where that needs more. Repeats that
    # agree but for rounding in float32 have an uncertainty near 1e-8, which is as good as zero.
    decimals = 3 if uncertainty < 1e-7 else max(3, math.ceil(-math.log10(uncertainty)))
    # Adding zero takes the sign from a zero.
    return f"{round(statistic, decimals) + 0:.{decimals}f} ± {uncertainty:.{decimals}f}"


def summary(values: Float[np.ndarray, " repeats"]) -> str:
    """Write the mean over repeats with its uncertainty, for tables.

    Args:
        values: One number per repeat. Where one is NaN, the mean is not defined.

    Example:
        >>> summary(np.array([0.30, 0.32, 0.31])), summary(np.array([0.3]))
        ('0.310 ± 0.025', '0.300')
        >>> summary(np.array([0.30, np.nan]))
        'not defined'
    """
    mean, half_width = mean_and_uncertainty(values)
    if np.isnan(mean):
        return "not defined"
    return with_uncertainty(float(mean), None if np.isnan(half_width) else float(half_width))
