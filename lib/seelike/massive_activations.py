"""Numbers and tokens that are far larger than all others of their layer (Darcet et al. 2024, Sun et al. 2024).

For one image, let x [t, d] be what a block gives: d numbers for each of t tokens. Two ratios say how uneven it is:

    largest number = max |x| / median |x|,        longest token = max_t ||x_t|| / median_t ||x_t||.

Numbers that are exactly zero, as behind a ReLU, do not count for the median. Ratios differ by powers of ten from
one image to the next, so their decadic logarithms are averaged over images. The CLS token and registers are
tokens like all others here: large numbers are often found there.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from seelike.data import ImageSet
from seelike.models import Layer, layers, read_tokens
from seelike.streaming import accumulate
from seelike.streaming.moments import Moments


@dataclass(frozen=True)
class Massive:
    """How uneven the blocks of a network are, on some draws of images.

    Attributes:
        names: The blocks, in firing order.
        largest_number: Of each block, the largest number over the median one, per repeat.
        longest_token: Of each block, the longest token over the median one, per repeat.
    """

    names: list[str]
    largest_number: Float[np.ndarray, "repeats blocks"]
    longest_token: Float[np.ndarray, "repeats blocks"]


def unevenness(tokens: Float[Tensor, "b t d"]) -> Float[Tensor, "b 2"]:
    """Compute both ratios of the head of this module for each image, as decadic logarithms.

    Args:
        tokens: What a layer gives, as `seelike.models.Place.tokens` sees it.

    Returns:
        For each image the logarithm of largest over median number, and of longest over median token; NaN where all
        numbers are zero.

    Example:
        >>> tokens = torch.ones(1, 3, 4)
        >>> tokens[0, 0, 0] = 1000
        >>> unevenness(tokens).round(decimals=2)
        tensor([[3.0000, 2.7000]], dtype=torch.float64)
    """
    tokens = tokens.double()
    numbers = tokens.flatten(1).abs()
    lengths = tokens.norm(dim=2)
    ratios = [
        each.amax(dim=1) / each.where(each > 0, math.nan).nanmedian(dim=1).values for each in (numbers, lengths)
    ]
    return torch.stack(ratios, dim=1).log10()


def massive_activations(model: nn.Module, draws: Iterable[ImageSet | Tensor], *, batch_size: int = 64) -> Massive:
    """Measure how uneven the output of each block of a network is, on each draw of images.

    Args:
        model: A network in evaluation mode.
        draws: Image sets, or prepared images, one for each repeat.
        batch_size: Images in a forward pass.

    Raises:
        UnknownName: The blocks of the network are not known here.
        ValueError: The network is in training mode.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> images = data.load("fashion-mnist/test")
        >>> measured = massive_activations(load("tiny/vit_7x7"), [images.sample(8, seed=0)])
        >>> measured.names[:2], measured.largest_number.shape
        (['block 1', 'block 2'], (1, 8))
    """
    blocks = layers(model, kinds=["block"])

    def of_block(_: Layer, tokens: Tensor) -> Moments:
        moments = Moments()
        moments.update(unevenness(tokens))
        return moments

    def measure(batch: Tensor, first: int) -> dict[str, Moments]:
        return read_tokens(model, blocks, batch, of_block)

    repeats = []
    for images in draws:
        into = {block.name: Moments() for block in blocks}
        measured = accumulate(model, images, measure, into, batch_size=batch_size, what="largest numbers")
        repeats.append([10 ** measured[block.name].mean.numpy() for block in blocks])
    found = np.array(repeats)
    return Massive([block.name for block in blocks], found[..., 0], found[..., 1])


def without_largest_channel(tokens: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
    """Set the channel that has the largest variance over images and tokens to zero.

    Args:
        tokens: What a layer gives, as `seelike.models.Place.tokens` sees it.

    Returns:
        Tokens, a copy.

    Example:
        >>> without_largest_channel(torch.tensor([[[1.0, 10.0]], [[2.0, -10.0]]])).tolist()
        [[[1.0, 0.0]], [[2.0, 0.0]]]
    """
    tokens = tokens.clone()
    tokens[..., tokens.flatten(0, 1).var(dim=0).argmax()] = 0
    return tokens


def with_massive_activation(
    tokens: Float[Tensor, "b t d"], times: float, places: Float[Tensor, " places"]
) -> Float[Tensor, "b t d"]:
    """Put one massive activation into each image: the first channel of one token is set to a very large number.

    The number is the same for all images, as Sun et al. (2024) find it. Which token gets it may differ.

    Args:
        tokens: What a layer gives, as `seelike.models.Place.tokens` sees it.
        times: How many times the median number of the layer, by absolute value and without zeros, it is.
        places: For each image the token that gets it, as a share of all tokens, 0 or more and below 1: 0 is the
            first token, 0.5 one in the middle. So layers of different resolution have it in about the same place.

    Returns:
        Tokens, a copy.

    Raises:
        ValueError: A place is not a share, or there is not one for each image.

    Example:
        >>> with_massive_activation(torch.ones(2, 2, 2), 100.0, torch.tensor([0.0, 0.5])).tolist()
        [[[100.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [100.0, 1.0]]]
    """
    tokens = tokens.clone()
    if len(places) != len(tokens) or (places < 0).any() or (places >= 1).any():
        raise ValueError(
            f"places must hold a share of the tokens, 0 or more and below 1, for each of {len(tokens)} images; "
            f"got {len(places)}, of which the first are {places[:5].tolist()}."
        )
    numbers = tokens.abs()
    of_image = torch.arange(len(tokens), device=tokens.device)
    of_token = (places.to(tokens.device) * tokens.shape[1]).long()
    tokens[of_image, of_token, 0] = times * numbers[numbers > 0].median()
    return tokens
