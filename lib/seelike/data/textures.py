"""Textures made by formulas: images whose classes differ by local structure, in any number.

A texture is a function of place, in pixels, between -1 and 1. The place (x, y) is first turned by a random angle t
and shifted:

    u = x cos t + y sin t + a        v = y cos t - x sin t + b

so that no class has a direction or an origin of its own. With k = 2 pi / period, the ten classes are

    stripes     sin k u                              circles     sin k r, r the distance from a random centre
    waves       sin (k u + 2.2 sin 2 pi v / l)       chequers    1.4 sin k u sin k v
    zigzag      sin (k u + 2.2 triangle wave of v)   grid        max (sin k u, sin k v)
    dots        discs, one in each cell              bricks      rectangles in rows shifted by half a brick
    faults      stripes that jump to their           bends       sin (k u + 0.35 k v |v| / 8)
                opposite at regular v

with a random period of 3.5 to 8 pixels. Contrast and sign are random too, and normal noise is added.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from seelike.data.image_set import ImageSet, in_memory

CLASSES = ("stripes", "waves", "zigzag", "circles", "chequers", "dots", "bricks", "grid", "faults", "bends")
SIDE = 28
NOISE = 0.25


def textures(n: int, seed: int) -> tuple[UInt8[np.ndarray, "n 28 28"], Int64[np.ndarray, "n"]]:
    """Make textures and their classes.

    Args:
        n: How many.
        seed: Seed of the generator, 0 or more.

    Returns:
        Grey levels `[n, 28, 28]`, and the class of each, a place in `CLASSES`.

    Example:
        >>> images, classes = textures(5, seed=0)
        >>> images.shape, [CLASSES[i] for i in classes]
        ((5, 28, 28), ['faults', 'bricks', 'dots', 'zigzag', 'circles'])
    """
    draw = np.random.default_rng(seed)
    classes = draw.integers(len(CLASSES), size=n)
    images = np.empty((n, SIDE, SIDE))
    for number, name in enumerate(CLASSES):
        of_class = np.flatnonzero(classes == number)
        images[of_class] = _FORMULAS[name](_Draw(draw, len(of_class)))
    contrast = draw.uniform(0.4, 1.0, size=(n, 1, 1)) * draw.choice([-1.0, 1.0], size=(n, 1, 1))
    images = images.clip(-1, 1) * contrast + NOISE * draw.standard_normal(images.shape)
    return np.rint((images.clip(-1.5, 1.5) + 1.5) * 85).astype(np.uint8), classes


class _Draw:
    """What is random about n textures of one class."""

    def __init__(self, draw: np.random.Generator, n: int) -> None:
        def between(low: float, high: float) -> Float64[np.ndarray, "n side side"]:
            return draw.uniform(low, high, size=(n, 1, 1))

        y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
        angle = between(0.0, 2 * np.pi)
        self.u = x * np.cos(angle) + y * np.sin(angle) + between(0.0, 20.0)
        self.v = y * np.cos(angle) - x * np.sin(angle) + between(0.0, 20.0)
        self.distance = np.hypot(x - between(-10.0, 10.0), y - between(-10.0, 10.0))
        self.period = between(3.5, 8.0)
        self.k = 2 * np.pi / self.period
        self.phase = between(0.0, 2 * np.pi)
        self.along = 2 * np.pi / (self.period * between(1.5, 2.5))


def _from_the_middle(place: Float64[np.ndarray, "n side side"]) -> Float64[np.ndarray, "n side side"]:
    """Give the distance from the middle of the cell, where cells go from one whole number to the next."""
    return np.abs(place - np.floor(place) - 0.5)


def _dots(t: _Draw) -> Float64[np.ndarray, "n side side"]:
    return 6 * (0.32 - np.hypot(_from_the_middle(t.u / t.period), _from_the_middle(t.v / t.period)))


def _bricks(t: _Draw) -> Float64[np.ndarray, "n side side"]:
    row = np.floor(t.u / t.period)
    across = 8 * (0.42 - _from_the_middle(t.u / t.period))
    along = 14 * (0.45 - _from_the_middle(t.v / (2 * t.period) + row % 2 / 2))
    return np.minimum(across, along)


_FORMULAS: dict[str, Callable[[_Draw], Float64[np.ndarray, "n side side"]]] = {
    "stripes": lambda t: np.sin(t.k * t.u + t.phase),
    "waves": lambda t: np.sin(t.k * t.u + t.phase + 2.2 * np.sin(t.along * t.v)),
    "zigzag": lambda t: np.sin(t.k * t.u + t.phase + 2.2 * 2 / np.pi * np.arcsin(np.sin(t.along * t.v))),
    "circles": lambda t: np.sin(t.k * t.distance + t.phase),
    "chequers": lambda t: 1.4 * np.sin(t.k * t.u) * np.sin(t.k * t.v),
    "dots": _dots,
    "bricks": _bricks,
    "grid": lambda t: np.maximum(np.sin(t.k * t.u), np.sin(t.k * t.v)),
    "faults": lambda t: np.sin(t.k * t.u + t.phase) * np.sign(np.sin(t.k * t.v / 2.5)),
    "bends": lambda t: np.sin(t.k * (t.u + 0.35 * t.v * np.abs(t.v) / 8) + t.phase),
}


def texture_set(split: str) -> ImageSet:
    """Make 2,000 textures for "test", 20,000 for "train"."""
    # Seed and number are part of what the name means.
    levels, labels = textures(2_000, seed=1) if split == "test" else textures(20_000, seed=0)
    return in_memory(f"textures/{split}", levels, labels, list(CLASSES))
