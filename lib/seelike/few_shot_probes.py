"""The probes of Figures 11, 13, D.4 and F.1 to F.3: trained on ten images of each class, anew for each repeat.

Appendix A of the paper: ridge regression to targets -1 and 1, on ten images a class, with the strength chosen on
images that are held out. What the paper does with ImageNet is done here with any labelled images: a random half of
them is for training, the other for testing, so that no image is in both.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from torch import nn

from seelike.data import ImageSet
from seelike.probes import few_shot, probe_layers


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


def accuracy_by_block(
    models: Mapping[str, nn.Module],
    images: ImageSet,
    *,
    tokens: Sequence[str],
    repeats: int,
    seed: int,
    per_class: int = 10,
    number_of_test_images: int = 500,
    batch_size: int = 64,
) -> dict[str, dict[str, Float[np.ndarray, "repeats blocks"]]]:
    """Train and test probes on the output of every block of some networks.

    All networks get the same images. Repeat r draws them by `seed + r`.

    Args:
        models: Networks in evaluation mode, by name.
        images: An image set. Where it has no classes, or too few images of one, nothing can be probed.
        tokens: What is probed, as `seelike.probes.probe_layers` names it. "each" gives the mean over spatial ones.
        repeats: Draws of images.
        seed: Of the first draw.
        per_class: Training images of each class.
        number_of_test_images: Test images.
        batch_size: Images in a forward pass.

    Returns:
        By network, then by kind of token: the share of the test images that are classified rightly. Empty where
        the images have no classes.

    Raises:
        ValueError: A class has too few images.

    Example:
        >>> from seelike.data import load
        >>> from seelike.models import load as load_model
        >>> images, vit = load("fashion-mnist/test"), load_model("tiny/vit_7x7")
        >>> found = accuracy_by_block(
        ...     {"vit": vit}, images, tokens=["cls", "each"], repeats=1, seed=0, number_of_test_images=50
        ... )
        >>> found["vit"]["each"].shape
        (1, 8)
    """
    if images.labels is None:
        return {}
    rows: dict[str, dict[str, list[list[float]]]] = {name: {kind: [] for kind in tokens} for name in models}
    for repeat in range(repeats):
        training, test = training_and_test_images(
            images, per_class=per_class, number_of_test_images=number_of_test_images, seed=seed + repeat
        )
        for name, model in models.items():
            probes = probe_layers(model, training, test, tokens=tokens, batch_size=batch_size)
            for kind in tokens:
                of_kind = [probe for probe in probes if probe.tokens == kind]
                accuracies = [p.average if kind == "each" else float(p.accuracy) for p in of_kind]
                rows[name][kind].append(accuracies)
    return {name: {kind: np.array(values) for kind, values in kinds.items()} for name, kinds in rows.items()}
