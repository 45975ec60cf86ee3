"""Section 5 of the paper in numbers: whether receptive fields grow gradually or in a jump.

With r_1 ... r_n for the radii of the fields after n blocks, the steps are d_i = r_(i+1) - r_i, and the *jump* is

    max_i d_i - mean_i d_i.

It is 0 for even growth, however much that is, and near the whole growth where all of it is in one of many steps.
It has no denominator: a network whose fields hardly grow has a jump near 0, and not any number.
"""

import numpy as np
from jaxtyping import Float


def jump(radii: Float[np.ndarray, "repeats layers"]) -> Float[np.ndarray, " repeats"]:
    """Subtract the mean step of the radius from block to block from the largest one (Figure 6).

    Args:
        radii: Radius of the field after each block, as a share of the image's side, per repeat.

    Returns:
        One number per repeat, in the same unit; NaN where there is one block, and so no step.

    Example:
        >>> jump(np.array([[0.1, 0.2, 0.3], [0.1, 0.1, 0.3]])).round(2)
        array([0. , 0.1])
    """
    steps = np.diff(radii, axis=1)
    if steps.shape[1] == 0:
        return np.full(len(radii), np.nan)
    return steps.max(axis=1) - steps.mean(axis=1)
