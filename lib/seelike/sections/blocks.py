"""What the pages on later work read of any network: its blocks, and where the images lie in them."""

import re
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64
from PIL import Image
from torch import Tensor, nn

from seelike.data import ImageSet
from seelike.models import Layer, layers, preprocessing, read
from seelike.similarities import coordinates

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


def prepared(model: nn.Module, images: ImageSet | Sequence[Image.Image]) -> Float[Tensor, "n c height width"]:
    """Prepare all images of a set as a network takes them.

    Args:
        model: The network.
        images: An image set, or a list of images.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> prepared(load("tiny/vit_7x7:random"), data.load("digits/test").sample(4, seed=0)).shape
        torch.Size([4, 1, 28, 28])
    """
    prepare = preprocessing(model)
    return torch.stack([prepare(images[number]) for number in range(len(images))])


def clouds_of(model: nn.Module, images: ImageSet | Sequence[Image.Image]) -> dict[str, Float64[np.ndarray, "n r"]]:
    """Give the images' coordinates in every block of a network, by the name of the block.

    Args:
        model: The network, in evaluation mode.
        images: An image set, or a list of images.

    Raises:
        ValueError: All images are the same in a block, or the network is in training mode.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> clouds = clouds_of(load("tiny/vit_7x7:random"), data.load("digits/test").sample(6, seed=0))
        >>> clouds["block 1"].shape
        (6, 5)
    """
    return read(model, blocks_of(model), prepared(model, images), lambda _, features: coordinates(features))
