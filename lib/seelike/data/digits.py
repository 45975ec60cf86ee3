"""Handwritten digits of the UCI repository (Alpaydin and Kaynak 1998), part of the package."""

from pathlib import Path

import numpy as np
from PIL import Image

from seelike.data.image_set import ImageSet, in_memory

_FILE = Path(__file__).parents[1] / "digits" / "digits.npz"


def digits(split: str) -> ImageSet:
    """Load the digits, 8 x 8 pixels of 17 grey levels enlarged to 28 x 28: 500 for "test", 1,297 for "train"."""
    with np.load(_FILE) as content:
        levels, labels = content["levels"], content["labels"]
    # Each writer's digits lie together: the last images are of writers who wrote none of the first.
    kept = slice(-500, None) if split == "test" else slice(None, -500)
    grown = [
        np.asarray(Image.fromarray(each * 15).resize((28, 28), Image.Resampling.BICUBIC)) for each in levels[kept]
    ]
    return in_memory(f"digits/{split}", np.stack(grown), labels[kept], [str(digit) for digit in range(10)])
