"""Tokens: what a Transformer has by itself, and a ResNet by its locations (Section 7 of the paper)."""

from jaxtyping import Float
from torch import Tensor


def as_tokens(activation: Float[Tensor, "..."]) -> Float[Tensor, "b t d"]:
    """See an activation as tokens: of a feature map, each location is one, with all its channels.

    Args:
        activation: Tokens `[b, t, d]`, or a feature map `[b, d, h, w]`.

    Returns:
        Tokens `[b, t, d]`; those of a feature map row by row, t = h w. It is a view: nothing is copied.

    Raises:
        ValueError: It is neither.

    Example:
        >>> import torch
        >>> as_tokens(torch.zeros(2, 64, 7, 7)).shape
        torch.Size([2, 49, 64])
    """
    if activation.ndim == 3:
        return activation
    if activation.ndim == 4:
        return activation.flatten(2).transpose(1, 2)
    raise ValueError(
        f"got an activation of shape {list(activation.shape)}; expected tokens [b, t, d] or a feature map "
        "[b, d, h, w]. After pooling there are no tokens: read an earlier layer."
    )
