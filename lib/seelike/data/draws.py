"""Which images each of several repeats shows, and how many of them two repeats share.

Repeat r of a run draws its images with the seed `seed + r`. Eight seeds in a row, from a multiple of eight on, lay
the N images of a set out in one random order, as on a circle, and begin at one of eight places on it, such that
those of the first seeds are far apart: at 0, 4, 2, 6, 1, 5, 3 and 7 eighths. From there each takes the n images
that follow. So from a seed that is a multiple of eight, two repeats share no image where n <= N / 2; four share
none where n <= N / 4, and eight where n <= N / 8. Draws of different eights are independent and share n / N on
average. More repeats leave the first as they are, and a larger draw begins with the smaller one.

Draws without an image in common are independent draws from whatever the set was drawn from: their spread says how
far n other images would move a number. Draws with images in common spread too little; `seelike.evidence` widens
intervals for that. Probes draw for themselves (`seelike.sections.linear_probes`).
"""

import math
from itertools import combinations, pairwise

import numpy as np
from jaxtyping import Int64

# The digits of 0 ... 7 in base two, read backwards (van der Corput 1935).
_EIGHTHS = (0, 4, 2, 6, 1, 5, 3, 7)


def draw(total: int, number: int, seed: int) -> Int64[np.ndarray, " number"]:
    """Choose images without replacement, in random order.

    The same seed draws the same images on every platform.

    Args:
        total: How many images there are.
        number: How many to draw, at most all.
        seed: Of the draw, 0 or more.

    Returns:
        Places of images.

    Example:
        >>> [sorted(draw(16, 4, seed).tolist()) for seed in range(4)]
        [[2, 3, 10, 11], [6, 9, 12, 14], [0, 4, 5, 7], [1, 8, 13, 15]]
    """
    order = np.random.default_rng(seed // len(_EIGHTHS)).permutation(total).astype(np.int64)
    return np.roll(order, -_start(total, seed))[:number]


def overlap(total: int, number: int, seed: int, repeats: int) -> float:
    """Compute the share of its images that a repeat has in common with another, mean over all pairs of repeats.

    Args:
        total: How many images there are.
        number: Images of each repeat, at most all.
        seed: Of the first repeat.
        repeats: Draws. One has no other.

    Example:
        >>> overlap(1000, 250, 0, repeats=4), overlap(1000, 500, 0, repeats=3), overlap(12, 12, 0, repeats=3)
        (0.0, 0.3333333333333333, 1.0)
    """
    shares = [_shared(total, number, *two) for two in combinations(range(seed, seed + repeats), 2)]
    return float(np.mean(shares)) if shares else 0.0


def enough(number: int, repeats: int, seed: int = 0) -> int:
    """Compute how many images a set needs so that repeats share none; those of different eights share some anyway.

    Args:
        number: Images of each repeat.
        repeats: Draws.
        seed: Of the first.

    Example:
        >>> enough(100, 1), enough(100, 3), enough(100, 3, seed=3), enough(100, 20)
        (100, 400, 800, 800)
    """
    if repeats == 1:
        return number
    seeds = range(seed, seed + repeats)
    if seed // len(_EIGHTHS) != seeds[-1] // len(_EIGHTHS):
        return number * len(_EIGHTHS)
    starts = sorted(_EIGHTHS[one % len(_EIGHTHS)] for one in seeds)
    gaps = [after - before for before, after in pairwise([*starts, starts[0] + len(_EIGHTHS)])]
    return math.ceil(number / min(gaps)) * len(_EIGHTHS)


def _shared(total: int, number: int, one: int, other: int) -> float:
    if one // len(_EIGHTHS) != other // len(_EIGHTHS):
        # In unrelated orders: as many as chance has it, on average.
        return number / total
    apart = abs(_start(total, one) - _start(total, other))
    # Two arcs of a circle can meet at either end.
    return (max(0, number - apart) + max(0, number - (total - apart))) / number


def _start(total: int, seed: int) -> int:
    return _EIGHTHS[seed % len(_EIGHTHS)] * total // len(_EIGHTHS)
