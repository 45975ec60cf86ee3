"""Section 8 and Appendices F and G in numbers: what changes with more data, and with other data.

- *Blocks compared*: CKA of each block of a network with the same block of another one of the same architecture,
  which saw less data, or was finetuned.
- *Thirds*: the first third of the blocks is the first ceil(n / 3) of them, the last third the last ceil(n / 3).
- *Half depth*: the accuracy of probes halfway between first and last block, interpolated linearly where no block
  is there.
"""

import math

import numpy as np
from jaxtyping import Float


def first_minus_last_block(values: Float[np.ndarray, "repeats blocks"]) -> Float[np.ndarray, " repeats"]:
    """Subtract the last block's value from the first block's (Figure 12).

    Args:
        values: One number for each block, per repeat.

    Example:
        >>> first_minus_last_block(np.array([[0.9, 0.7, 0.4]]))
        array([0.5])
    """
    return values[:, 0] - values[:, -1]


def first_minus_last_third(values: Float[np.ndarray, "repeats blocks"]) -> Float[np.ndarray, " repeats"]:
    """Subtract the mean over the last third of the blocks from that over the first (Figure G.1).

    Args:
        values: One number for each block, per repeat.

    Example:
        >>> first_minus_last_third(np.array([[0.9, 0.8, 0.5, 0.4]]))
        array([0.4])
    """
    third = math.ceil(values.shape[1] / 3)
    return values[:, :third].mean(axis=1) - values[:, -third:].mean(axis=1)


def at_half_depth(values: Float[np.ndarray, "repeats blocks"]) -> Float[np.ndarray, " repeats"]:
    """Give the value halfway between first and last block (Figure 13).

    Args:
        values: One number for each block, per repeat.

    Example:
        >>> at_half_depth(np.array([[0.2, 0.4, 0.9], [0.3, 0.5, 0.9]])), at_half_depth(np.array([[0.2, 0.4]]))
        (array([0.4, 0.5]), array([0.3]))
    """
    depth = np.linspace(0, 1, values.shape[1])
    return np.array([np.interp(0.5, depth, row) for row in values])
