"""CKA of subsets of attention heads in float64 NumPy: concatenate what the heads give, then the formula."""

import numpy as np
import references


def cka_of_subset(batches_of_heads, subset, batches_of_layer):
    """Heads are `[n, tokens, heads * width]` per minibatch, before the projection; subsets of (head, width)."""
    concatenated = [
        np.concatenate([x[..., head * width : (head + 1) * width] for head, width in subset], axis=-1)
        for x in batches_of_heads
    ]
    return references.minibatch_cka(concatenated, batches_of_layer)
