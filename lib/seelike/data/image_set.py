"""Images in a fixed order, with or without classes, whatever they come from."""

import hashlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from seelike.data.draws import draw
from seelike.data.files import decode


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images in a fixed order, with or without classes; `load` makes them.

    Images stay as they are stored (files, or bytes in memory) until they are asked for: `images[i]` decodes one,
    and `for image in images` all, one by one. An ImageSet never changes; `sample` makes a new one that shares the
    storage.

    Attributes:
        name: What was loaded: "fashion-mnist/test", or the folder as it was given.
        labels: Class of each image, a place in `class_names`; None without classes.
        class_names: Names of the classes; None without classes.
        stored: All images of the source: grey levels in memory, or paths of files.
        places: Where in `stored` each image of this set is.
        note: What the reader should know of how these images were had; pages show it at their top.

    Example:
        >>> from seelike.data import load
        >>> images = load("fashion-mnist/test")
        >>> images
        <ImageSet 'fashion-mnist/test': 10,000 images, 10 classes>
        >>> images[0].size, images.class_names[images.labels[0]]
        ((28, 28), 'Ankle boot')
    """

    name: str
    labels: Int64[np.ndarray, "n"] | None
    class_names: list[str] | None
    stored: UInt8[np.ndarray, "all height width"] | Sequence[Path]
    places: Int64[np.ndarray, "n"]
    note: str = ""

    def __repr__(self) -> str:
        """Say the name and how many images and classes there are."""
        classes = "" if self.class_names is None else f", {len(self.class_names)} classes"
        return f"<ImageSet {self.name!r}: {len(self):,} images{classes}>"

    def __len__(self) -> int:
        """Count the images."""
        return len(self.places)

    def __getitem__(self, i: SupportsIndex) -> Image.Image:
        """Decode image `i`, in mode "L" (grey) or "RGB", 8 bits a channel.

        The EXIF orientation is applied, transparent parts lie on white, 16-bit grey levels are scaled to 8 bits, a
        palette gives RGB, and of an animation the first frame is shown.

        Raises:
            IndexError: There is no image `i`.
            ValueError: The image file cannot be decoded; the error names it.
        """
        place = self.places[operator.index(i)]
        if isinstance(self.stored, np.ndarray):
            return Image.fromarray(self.stored[place])
        return decode(self.stored[place])

    def sample(self, n: int, seed: int) -> "ImageSet":
        """Draw n images without replacement, in random order, with their labels.

        The same seed draws the same images on every platform. A smaller sample is the beginning of a larger one.
        Samples of the seeds 0 to 7, of 8 to 15 and so on share none where there are enough (`seelike.data.draws`).

        Args:
            n: How many images.
            seed: Seed of the generator, 0 or more.

        Raises:
            ValueError: n is less than 1, or more than there are images.

        Example:
            >>> from seelike.data import load
            >>> images = load("fashion-mnist/test").sample(100, seed=0)
            >>> len(images), len(images.labels)
            (100, 100)
        """
        if not 1 <= n <= len(self):
            raise ValueError(
                f"Cannot draw {n} images without replacement from {self.name}, which has {len(self)}; "
                f"ask for 1 to {len(self)}."
            )
        return self.select(draw(len(self), n, seed))

    def select(self, chosen: Int64[np.ndarray, "n"]) -> "ImageSet":
        """Take the images at these indices, in this order, with their labels.

        Args:
            chosen: Indices of images, from 0.

        Raises:
            IndexError: There is no such image.

        Example:
            >>> from seelike.data import load
            >>> images = load("fashion-mnist/test")
            >>> images.select(np.flatnonzero(images.labels == 9))
            <ImageSet 'fashion-mnist/test': 1,000 images, 10 classes>
        """
        labels = None if self.labels is None else read_only(self.labels[chosen])
        return replace(self, labels=labels, places=read_only(self.places[chosen]))

    def list_sha256(self) -> str:
        """Hash the list of the images: of each its place, and of files the name without folders and the class.

        It tells one list of images from another, to cite it. The pixels are not read.

        Returns:
            64 hexadecimal digits.

        Example:
            >>> from seelike.data import load
            >>> images = load("fashion-mnist/test")
            >>> images.list_sha256() == images.select(np.arange(5)).list_sha256()
            False
        """
        listed = hashlib.sha256()
        for i, place in enumerate(self.places.tolist()):
            file = self.name if isinstance(self.stored, np.ndarray) else self.stored[place].name
            name = "" if self.labels is None or self.class_names is None else self.class_names[self.labels[i]]
            listed.update(f"{place}\t{file}\t{name}\n".encode())
        return listed.hexdigest()

    def images_per_class(self) -> dict[str, int]:
        """Count the images of each class, in the order of the classes; none without classes.

        Example:
            >>> from seelike.data import load
            >>> load("fashion-mnist/test").select(np.arange(20)).images_per_class()["Bag"]
            1
        """
        if self.labels is None or self.class_names is None:
            return {}
        counts = np.bincount(self.labels, minlength=len(self.class_names)).tolist()
        return dict(zip(self.class_names, counts, strict=True))


def read_only(array: np.ndarray) -> np.ndarray:
    """Make an array one that cannot be changed."""
    array.setflags(write=False)
    return array


def in_memory(name: str, levels: np.ndarray, labels: np.ndarray, class_names: list[str]) -> ImageSet:
    """Make an image set of grey levels `[n, height, width]` and the class of each."""
    return ImageSet(
        name=name,
        labels=read_only(labels.astype(np.int64)),
        class_names=class_names,
        stored=read_only(levels),
        places=read_only(np.arange(len(levels), dtype=np.int64)),
    )


def of_files(
    name: str, paths: Sequence[Path], labels: np.ndarray | None, class_names: list[str] | None
) -> ImageSet:
    """Make an image set of files, and the class of each if they have classes."""
    return ImageSet(
        name=name,
        labels=None if labels is None else read_only(labels.astype(np.int64)),
        class_names=class_names,
        stored=tuple(paths),
        places=read_only(np.arange(len(paths), dtype=np.int64)),
    )
