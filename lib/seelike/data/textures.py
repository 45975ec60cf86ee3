"""Textures that the library makes itself: `seelike.textures`."""

from seelike import textures as generator
from seelike.data.image_set import ImageSet, in_memory


def textures(split: str) -> ImageSet:
    """Make 2,000 textures for "test", 20,000 for "train"."""
    # Seed and number are part of what the name means.
    levels, labels = generator.textures(2_000, seed=1) if split == "test" else generator.textures(20_000, seed=0)
    return in_memory(f"textures/{split}", levels, labels, list(generator.CLASSES))
