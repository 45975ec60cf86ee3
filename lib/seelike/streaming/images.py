"""Images as a network takes them, whatever they come from: the next are prepared while the last are in use.

To decode, resize and normalise a JPEG of 500 x 375 pixels takes some 3 ms, as long as a small network takes to
look at it. So threads do it, each writing into its own row of the batch. Pillow and NumPy do most of it outside
of the interpreter's lock.

What follows the resizing depends on nothing but the level of each pixel and its colour: a network's preprocessing
turns 256 levels of each colour into 256 numbers. So these are computed once, by the preprocessing itself, and then
looked up: the same numbers to the last bit, in half the time, and without PyTorch, which would start a team of
threads in each of ours.
"""

import hashlib
import os
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from PIL import Image
from torch import Tensor, nn

from seelike.data import ImageSet
from seelike.models import preprocessing
from seelike.models.loading import Preprocessing
from seelike.streaming.saved import fingerprint

# An image of 500 x 375 pixels holds the interpreter's lock for a sixth of the time that it takes. More threads
# than some six would wait for each other, and let the thread wait that runs the network.
_MOST_WORKERS = 8
# The steps of timm's preprocessing that work pixel by pixel.
_LAST_STEPS = ["MaybeToTensor", "Normalize"]


class Images:
    """Images as a network takes them, whatever they come from.

    Args:
        images: An image set, which is prepared as the network's own configuration asks, or a tensor
            `[n, channels, height, width]` that is prepared already.
        model: The network. Images are given on its device and in its dtype.
        chosen: Indices of the images to take, in this order; None for all.

    Raises:
        TypeError: `images` is neither.
        ValueError: There are no images, or a tensor has not four axes.

    Example:
        >>> model = nn.Conv2d(1, 1, 3)
        >>> images = Images(torch.zeros(5, 1, 28, 28), model)
        >>> len(images), images[3:5].shape
        (5, torch.Size([2, 1, 28, 28]))
    """

    def __init__(self, images: Any, model: nn.Module, chosen: Int64[np.ndarray, "n"] | None = None) -> None:
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
        self._chosen = np.arange(len(images)) if chosen is None else chosen
        self.preparation = None if isinstance(images, Tensor) else preprocessing(model)
        like = next(model.parameters(), torch.empty(0))
        self._device, self._dtype = like.device, like.dtype

    def __len__(self) -> int:
        """Count the images."""
        return len(self._chosen)

    def __getitem__(self, part: slice) -> Float[Tensor, "b channels height width"]:
        """Prepare the images of a slice, for the network. They are a copy."""
        with closing(self.batches([part])) as batches:
            return self.for_network(next(batches))

    def for_network(self, batch: Tensor, copy: bool = False) -> Tensor:
        """Take a batch to the device and the dtype of the network.

        Args:
            batch: Images of `batches`.
            copy: Whether to copy them where they are there already, since a network may write into what it gets.
        """
        return batch.to(self._device, self._dtype, copy=copy)

    def batches(self, parts: Sequence[slice]) -> Generator[Float[Tensor, "b channels height width"], None, None]:
        """Prepare the images part by part, each while the one before is in use.

        The threads that do it end with the iterator, also when it is closed before its end.

        Args:
            parts: Which images make each batch.

        Yields:
            Copies of the images of each part, in order, where they lie: those of an image set in float32 on the
            CPU. `for_network` takes them on.

        Raises:
            ValueError: An image cannot be decoded. The error names the first such image.

        Example:
            >>> images = Images(torch.arange(5.0)[:, None, None, None], nn.Conv2d(1, 1, 1))
            >>> [batch.flatten().tolist() for batch in images.batches([slice(0, 3), slice(3, 5)])]
            [[0.0, 1.0, 2.0], [3.0, 4.0]]
        """
        if isinstance(self.source, Tensor):
            for part in parts:
                yield self.source[torch.from_numpy(self._chosen[part])]
            return
        assert self.preparation is not None
        prepare = _Prepare(self.preparation)
        pool = ThreadPoolExecutor(workers(), thread_name_prefix="seelike images")
        begun = (_Batch(self.source, prepare, self._chosen[part], pool) for part in parts)
        now = ahead = None
        try:
            now = next(begun, None)
            while now is not None:
                ahead = next(begun, None)
                yield now.result()
                now = ahead
        finally:
            for batch in (now, ahead):
                if batch is not None:
                    batch.stop()
            pool.shutdown()

    def fingerprint(self) -> str:
        """Name the images by what they show and how they are prepared.

        Files count by path, size and time of change; pixels in memory by their content.

        Example:
            >>> model = nn.Conv2d(1, 1, 3)
            >>> one, other = (Images(torch.full((1, 1, 3, 3), value), model) for value in (0.0, 1.0))
            >>> one.fingerprint() == other.fingerprint()
            False
        """
        names = names_of_images(self.source)
        return fingerprint([names[place] for place in self._chosen.tolist()], self.preparation)


def names_of_images(images: ImageSet | Tensor) -> list[str]:
    """Name each image by what it shows: a file by path, size and time of change, pixels in memory by content.

    Example:
        >>> one, two, three = names_of_images(torch.tensor([1.0, 2.0, 1.0])[:, None, None, None])
        >>> one == two, one == three
        (False, True)
    """
    if isinstance(images, Tensor):
        return [fingerprint(image) for image in images]
    stored = images.stored
    if isinstance(stored, np.ndarray):
        size = stored.shape[1:]
        return [f"{size} {hashlib.sha256(stored[place].data).hexdigest()}" for place in images.places]
    stats = ((path, path.stat()) for path in (stored[place] for place in images.places))
    return [f"{os.fspath(path)} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats]


class _Prepare:
    """A network's preprocessing in two steps: to levels, of which each then becomes a number."""

    def __init__(self, whole: Preprocessing) -> None:
        self.whole = whole
        in_turn: Any = type(whole.transform)  # torchvision's Compose
        steps = getattr(whole.transform, "transforms", ())
        self._numbers: np.ndarray | None = None
        if [type(step).__name__ for step in steps[-2:]] == _LAST_STEPS:
            self._to_size = in_turn(steps[:-2])
            all_levels = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert(whole.mode)
            self._numbers = in_turn(steps[-2:])(all_levels).flatten(1).numpy()

    def levels(self, image: Image.Image) -> np.ndarray:
        """Decode, resize and crop an image of an image set, which is grey or RGB: `[channels, height, width]`."""
        if self._numbers is None:  # what comes last is not known, so it is done here
            return self.whole(image).numpy()
        if image.mode != self.whole.mode:
            image = image.convert(self.whole.mode)
        levels = np.asarray(self._to_size(image))
        return levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)

    def write(self, levels: np.ndarray, row: np.ndarray) -> None:
        """Turn levels into the numbers that the network gets."""
        if self._numbers is None:
            row[...] = levels
        else:
            for numbers, plane, place in zip(self._numbers, levels, row, strict=True):
                np.take(numbers, plane, out=place, mode="clip")


class _Batch:
    """Images that threads are preparing, each taking the next that none has taken."""

    def __init__(
        self, images: ImageSet, prepare: _Prepare, places: Int64[np.ndarray, "b"], pool: ThreadPoolExecutor
    ) -> None:
        self._images, self._prepare, self._places = images, prepare, places
        self._lock = Lock()
        self._todo = iter(range(len(places)))
        self._rows: np.ndarray | None = None
        self._errors: dict[int, Exception] = {}
        self._work = [pool.submit(self._take) for _ in range(min(workers(), len(places)))]

    def _take(self) -> None:
        while (row := self._next()) is not None:
            try:
                levels = self._prepare.levels(self._images[self._places[row]])
                with self._lock:
                    if self._rows is None:
                        self._rows = np.empty((len(self._places), *levels.shape), dtype=np.float32)
                self._prepare.write(levels, self._rows[row])
            except Exception as error:
                self._errors[row] = error
                self.stop()

    def _next(self) -> int | None:
        with self._lock:
            return next(self._todo, None)

    def stop(self) -> None:
        """Let no thread take another image."""
        with self._lock:
            self._todo = iter(range(0))

    def result(self) -> Float32[Tensor, "b channels height width"]:
        """Wait for the images; of several errors, raise that of the first image."""
        for work in self._work:
            work.result()
        if self._errors:
            # All images before it had been taken: none of them failed.
            raise self._errors[min(self._errors)]
        return torch.from_numpy(self._rows)


def workers() -> int:
    """Tell how many threads prepare images: as many as there are cores that this process may use, up to eight.

    Example:
        >>> 1 <= workers() <= 8
        True
    """
    # Not every system can be asked.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_WORKERS, cores)
