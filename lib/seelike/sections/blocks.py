"""What the pages on later work read of any network: its blocks, and what they ask of them, in one pass."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor, nn

from seelike.data import ImageSet
from seelike.models import Layer, Place, layers, places, read
from seelike.similarities import coordinates
from seelike.streaming import Images

# Layers that stand for blocks where none are known.
_A_FEW = 8


def blocks_of(model: nn.Module) -> list[Layer]:
    """List the outputs of the blocks of a network.

    Args:
        model: Any network. Where its blocks are not known, modules that are called blocks stand for them, or else
            eight layers or so.

    Returns:
        Layers, in firing order.

    Example:
        >>> from seelike.models import load
        >>> [layer.name for layer in blocks_of(load("tiny/vit_7x7:random"))][:2]
        ['block 1', 'block 2']
    """
    every = layers(model)
    known = [layer for layer in every if layer.kind == "block"]
    named = [layer for layer in every if re.search(r"blocks\.\d+$", layer.module)]
    return known or named or every[:: max(1, len(every) // _A_FEW)]


def clouds_of(
    model: nn.Module, images: ImageSet | Float[Tensor, "n channels height width"]
) -> dict[str, Float64[np.ndarray, "n r"]]:
    """Give the images' coordinates in every block of a network, by the name of the block.

    Args:
        model: The network, in evaluation mode.
        images: An image set, or prepared images.

    Raises:
        ValueError: All images are the same in a block, or the network is in training mode.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> clouds = clouds_of(load("tiny/vit_7x7:random"), data.load("digits/test").sample(6, seed=0))
        >>> clouds["block 1"].shape
        (6, 5)
    """
    return read(model, blocks_of(model), Images(images, model)[:], lambda _, features: coordinates(features))


def ask(
    model: nn.Module,
    images: Float[Tensor, "n c height width"],
    questions: Mapping[str, Callable[[Tensor, Place], Any]],
) -> dict[str, list[Any]]:
    """Put several questions to every block of a network, in one forward pass.

    Args:
        model: The network, in evaluation mode.
        images: Prepared images.
        questions: For each name a function of the tokens of a block, `[n, t, d]`, and of where they are. Where the
            channels of a block are not known, all of its numbers are one token.

    Returns:
        For each question the answers, one for each block in firing order.

    Example:
        >>> import torch
        >>> from seelike.models import load
        >>> questions = {"tokens": lambda tokens, place: tokens.shape[1], "prefix": lambda _, place: place.prefix}
        >>> answers = ask(load("tiny/vit_7x7:random"), torch.randn(2, 1, 28, 28), questions)
        >>> answers["tokens"][:2], answers["prefix"][0]
        ([50, 50], ('cls',))
    """
    blocks = blocks_of(model)
    known = places(model, blocks, images[:1])

    def of_block(layer: Layer, activation: Tensor) -> list[Any]:
        place = known[layer.name]
        tokens = activation.flatten(1)[:, None] if place.channels is None else place.tokens(activation)
        return [question(tokens, place) for question in questions.values()]

    answers = read(model, blocks, images, of_block).values()
    return dict(zip(questions, map(list, zip(*answers, strict=True)), strict=True))
