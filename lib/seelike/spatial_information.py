"""Section 7 of the paper in numbers: whether high layers still know where things are in the image.

- *Localization*: the share of interior tokens of a layer whose most similar patch of the image (by CKA,
  `seelike.localization`) is their own or one of its eight neighbours. A token that takes any of p patches for
  the most similar is that near with a chance of c = 9 / p, so layers of different grids are compared by
  (share - c) / (1 - c): 1 where every token knows its place, 0 where none does.
- *Probes* are trained on a few images of each class and tested on others, drawn anew for each repeat.
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from seelike.data import ImageSet
from seelike.localization import within_one_cell
from seelike.probes import few_shot


def localization_above_chance(cka: Float[Tensor, "t h w"]) -> float:
    """Compute how many interior tokens know their place, beyond what chance would give (Figures 9 and 10).

    Args:
        cka: CKA of all spatial tokens with all patches, t = h w, row by row.

    Returns:
        (share - c) / (1 - c) with c = 9 / (h w); NaN where no token has a map.

    Raises:
        ValueError: There are not as many tokens as patches, or no interior, or nine patches and fewer.

    Example:
        >>> import torch
        >>> localization_above_chance(torch.eye(16).reshape(16, 4, 4))
        1.0
    """
    patches = cka.shape[1] * cka.shape[2]
    if patches <= 9:
        raise ValueError(f"In a grid of {patches} patches all are neighbours. A grid of 4 x 4 or more is needed.")
    chance = 9 / patches
    return (float(within_one_cell(cka)) - chance) / (1 - chance)


def training_and_test_images(
    images: ImageSet, *, per_class: int, number_of_test_images: int, seed: int
) -> tuple[ImageSet, ImageSet]:
    """Draw images for a probe: a few of each class to train on, and others to test on (Appendix A).

    A random half of the images is for training, the other for testing: no image is in both.

    Args:
        images: An image set with classes.
        per_class: Training images of each class; the paper takes 10.
        number_of_test_images: Test images; all of their half, where it has fewer.
        seed: Of the draw.

    Returns:
        Training images and test images.

    Raises:
        ValueError: The images have no classes, or a class has too few of them.

    Example:
        >>> from seelike.data import load
        >>> images = load("fashion-mnist/test")
        >>> training, test = training_and_test_images(images, per_class=10, number_of_test_images=50, seed=0)
        >>> len(training), len(test)
        (100, 50)
    """
    order = np.random.default_rng(seed).permutation(len(images))
    half = len(images) // 2
    training = few_shot(images.select(np.sort(order[:half])), per_class=per_class, seed=seed)
    return training, images.select(np.sort(order[half:][:number_of_test_images]))
