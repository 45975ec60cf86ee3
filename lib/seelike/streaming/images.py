"""Images as a network takes them, whatever they come from."""

import os
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from seelike.data import ImageSet
from seelike.models import preprocessing
from seelike.streaming.saved import fingerprint


class Images:
    """Images as a network takes them, whatever they come from.

    Args:
        images: An image set, which is prepared as the network's own configuration asks, or a tensor
            `[n, channels, height, width]` that is prepared already.
        model: The network. Images are given on its device and in its dtype.

    Raises:
        TypeError: `images` is neither.
        ValueError: There are no images, or a tensor has not four axes.

    Example:
        >>> model = nn.Conv2d(1, 1, 3)
        >>> images = Images(torch.zeros(5, 1, 28, 28), model)
        >>> len(images), images[3:5].shape
        (5, torch.Size([2, 1, 28, 28]))
    """

    def __init__(self, images: Any, model: nn.Module) -> None:
        """Remember where the images come from; none is opened yet."""
        if not isinstance(images, ImageSet | Tensor):
            raise TypeError(
                f"images is of type {type(images).__name__}; expected an ImageSet, as seelike.data.load gives it, "
                "or a tensor [n, channels, height, width] of prepared images."
            )
        if isinstance(images, Tensor) and (images.ndim != 4 or not images.is_floating_point()):
            raise ValueError(
                f"images is a tensor of shape {list(images.shape)} and dtype {images.dtype}; expected prepared "
                "images [n, channels, height, width] of a floating dtype."
            )
        if len(images) == 0:
            raise ValueError("images is empty; expected at least one image.")
        self.source = images
        self._prepare = None if isinstance(images, Tensor) else preprocessing(model)
        like = next(model.parameters(), torch.empty(0))
        self._device, self._dtype = like.device, like.dtype

    def __len__(self) -> int:
        """Count the images."""
        return len(self.source)

    def __getitem__(self, chosen: slice) -> Float[Tensor, "b channels height width"]:
        """Prepare the images of a slice."""
        if isinstance(self.source, Tensor):
            batch = self.source[chosen]
        else:
            assert self._prepare is not None
            indices = range(*chosen.indices(len(self)))
            batch = torch.stack([self._prepare(self.source[i]) for i in indices])
        return batch.to(self._device, self._dtype)

    def fingerprint(self) -> str:
        """Name the images by what they show and how they are prepared.

        Files count by path, size and time of change; pixels in memory by their content.

        Example:
            >>> model = nn.Conv2d(1, 1, 3)
            >>> one, other = (Images(torch.full((1, 1, 3, 3), value), model) for value in (0.0, 1.0))
            >>> one.fingerprint() == other.fingerprint()
            False
        """
        source = self.source
        if isinstance(source, Tensor):
            return fingerprint(source)
        if isinstance(source.stored, np.ndarray):
            return fingerprint(source.stored[source.places], repr(self._prepare))
        paths = [source.stored[place] for place in source.places]
        stats = [(os.fspath(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        return fingerprint(repr(stats), repr(self._prepare))
