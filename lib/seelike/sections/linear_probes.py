"""The probes of Figures 11, 13, D.4 and F.1 to F.3: trained on ten images of each class, anew for each repeat.

Appendix A of the paper: ridge regression to targets -1 and 1, on ten images a class, with the strength chosen on
images that are held out. What the paper does with ImageNet is done here with any labelled images: a random half of
them is for training, the other for testing, so that no image is in both. A probe of ten images a class may fail
for want of images and not because a token does not know the class; so it is also trained on many (our Appendix F).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit
from torch import nn

from seelike.data import ImageSet
from seelike.models import Layer, layers
from seelike.probes import few_shot, probe_layers

# The share of the training images by which the strength is chosen.
HELD_OUT = 0.5


def why_no_probes(images: ImageSet, *, per_class: int) -> str:
    """Say why probes cannot be trained on some images.

    Args:
        images: An image set.
        per_class: Training images of each class.

    Returns:
        What is missing, as a whole sentence; empty where nothing is.

    Example:
        >>> from seelike.data import load
        >>> images = load("fashion-mnist/test")
        >>> why_no_probes(images, per_class=10)
        ''
        >>> why_no_probes(images.select(np.arange(30)), per_class=2)
        'Probes need 3 images of each class, one of them for testing; fashion-mnist/test has fewer of 3 of its 10 \
classes: 2 of T-shirt/top, 2 of Dress, 1 of Bag. Give more of these.'
    """
    if images.labels is None or images.class_names is None:
        what_to_do = "Give a folder with one folder for each class."
        return f"Probes need images with classes; {images.name} has none. {what_to_do}"
    counts = {name: n for name, n in images.images_per_class().items() if n}
    if len(counts) < 2:
        return f"Probes need images of two classes or more; {images.name} has {len(counts)}. Give images of more."
    few = [f"{n} of {name}" for name, n in counts.items() if n <= per_class]
    if not few:
        return ""
    more = f" and {len(few) - 5} others" if len(few) > 5 else ""
    return (
        f"Probes need {per_class + 1} images of each class, one of them for testing; {images.name} has fewer of "
        f"{len(few)} of its {len(counts)} classes: {', '.join(few[:5])}{more}. Give more of these."
    )


def training_and_test_images(
    images: ImageSet, *, per_class: int, number_of_test_images: int, seed: int
) -> tuple[ImageSet, ImageSet]:
    """Draw images for a probe: a few of each class to train on, and others to test on (Appendix A).

    Args:
        images: An image set with classes.
        per_class: Training images of each class; the paper takes 10.
        number_of_test_images: Test images, of all others; all of these, where there are fewer.
        seed: Of the draw.

    Returns:
        Training images and test images: none is in both.

    Raises:
        ValueError: The images have no classes, a class has too few of them, or none is left to test on.

    Example:
        >>> from seelike.data import load
        >>> images = load("fashion-mnist/test")
        >>> training, test = training_and_test_images(images, per_class=10, number_of_test_images=50, seed=0)
        >>> len(training), len(test), np.intersect1d(training.places, test.places).size
        (100, 50, 0)
    """
    training = few_shot(images, per_class=per_class, seed=seed)
    others = np.flatnonzero(~np.isin(images.places, training.places))
    if others.size == 0:
        raise ValueError(
            f"All {len(images)} images of {images.name} are for training, and none is left to test on. Give more "
            "images, or ask for fewer of each class."
        )
    # A stream of its own: with that of the training images, both draws would be of one order.
    drawn = np.random.default_rng([seed, 1]).permutation(others)[:number_of_test_images]
    return training, images.select(np.sort(drawn))


def share_drawn(images: ImageSet, *, per_class: int = 10, number_of_test_images: int = 300) -> float:
    """Compute which share of its images one repeat of `accuracy_by_block` has in common with another, at most.

    An accuracy varies with the training images and with the test images. Each part is correlated between repeats
    by the share that two repeats have in common: n / N_c of the n training images of a class of N_c; and of the
    test images of a class as many as is likely for one of its images to be a test image. Whatever the two parts
    weigh, and whichever class weighs most, the accuracy is correlated by the largest of these shares or less.

    Args:
        images: An image set with classes.
        per_class: Training images of each class.
        number_of_test_images: Test images, at most what is left.

    Returns:
        The largest share; 0 where no probe can be trained on these images (`why_no_probes`).

    Example:
        >>> from seelike.data import load
        >>> round(share_drawn(load("fashion-mnist/test")), 3)
        0.03
    """
    if why_no_probes(images, per_class=per_class):
        return 0.0
    of_classes = np.array([number for number in images.images_per_class().values() if number])
    training = per_class / of_classes
    others = np.sum(of_classes - per_class)
    test = (1 - training) * min(1.0, number_of_test_images / others)
    return float(max(training.max(), test.max()))


def accuracy_by_block(
    models: Mapping[str, nn.Module],
    images: ImageSet,
    *,
    tokens: Sequence[str],
    repeats: int,
    seed: int,
    per_class: int = 10,
    number_of_test_images: int = 300,
    batch_size: int = 64,
) -> dict[str, dict[str, Float[np.ndarray, "repeats blocks"]]]:
    """Train and test probes on the output of every block of some networks.

    All networks get the same images. Repeat r draws them by `seed + r`.

    Args:
        models: Networks in evaluation mode, by name.
        images: An image set with classes.
        tokens: What is probed, as `seelike.probes.probe_layers` names it. "each" gives the mean over spatial ones.
        repeats: Draws of images.
        seed: Of the first draw.
        per_class: Training images of each class.
        number_of_test_images: Test images.
        batch_size: Images in a forward pass.

    Returns:
        By network, then by kind of token: the share of the test images that are classified rightly.

    Raises:
        ValueError: The images have no classes, or too few images of one, as `why_no_probes` says; or a network has
            no blocks, or no such tokens.

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
    if why_not := why_no_probes(images, per_class=per_class):
        raise ValueError(why_not)
    rows: dict[str, dict[str, list[list[float]]]] = {name: {kind: [] for kind in tokens} for name in models}
    for repeat in range(repeats):
        training, test = training_and_test_images(
            images, per_class=per_class, number_of_test_images=number_of_test_images, seed=seed + repeat
        )
        for name, model in models.items():
            probes = probe_layers(model, training, test, tokens=tokens, held_out=HELD_OUT, batch_size=batch_size)
            for kind in tokens:
                of_kind = [probe for probe in probes if probe.tokens == kind]
                rows[name][kind].append([probe.average for probe in of_kind])
    return {name: {kind: np.array(values) for kind, values in kinds.items()} for name, kinds in rows.items()}


def spread_blocks(model: nn.Module, number: int) -> list[tuple[Layer, float]]:
    """Choose blocks in nearly equal steps, the first and the last among them.

    Args:
        model: A network in evaluation mode.
        number: Most blocks to choose, 2 or more.

    Returns:
        The blocks in firing order, each with its relative depth among all: 0 for the first block, 1 for the last.

    Example:
        >>> from seelike.models import load
        >>> [(block.name, round(depth, 2)) for block, depth in spread_blocks(load("tiny/vit_7x7"), 3)]
        [('block 1', 0.0), ('block 5', 0.57), ('block 8', 1.0)]
    """
    blocks = [layer for layer in layers(model) if layer.kind == "block"]
    steps = np.linspace(0, len(blocks) - 1, min(number, len(blocks))).round().astype(int).tolist()
    return [(blocks[step], step / max(1, len(blocks) - 1)) for step in steps]


def accuracy_on_many(
    model: nn.Module,
    images: ImageSet,
    *,
    tokens: Sequence[str],
    seed: int,
    per_class: int = 1000,
    number_of_test_images: int = 1000,
    number_of_blocks: int = 6,
    batch_size: int = 64,
) -> dict[str, tuple[Float[np.ndarray, " blocks"], Float[np.ndarray, " blocks"], Float[np.ndarray, " blocks"]]]:
    """Train and test probes on many images of each class, on some blocks: one draw, since it takes most of them.

    Args:
        model: A network in evaluation mode.
        images: An image set with classes.
        tokens: What is probed, as `seelike.probes.probe_layers` names it. "each" gives the mean over spatial ones.
        seed: Of the draw.
        per_class: Training images of each class; at most half of what the smallest class has.
        number_of_test_images: Test images, of all others.
        number_of_blocks: Most blocks, chosen by `spread_blocks`.
        batch_size: Images in a forward pass.

    Returns:
        By kind of token a line of `seelike.plots.depth_lines`: relative depths, the shares of the test images that
        are classified rightly, and half the widths of their 95 % intervals over test images.

    Raises:
        ValueError: The images have no classes, or too few images of one; or a network has no blocks, or no such
            tokens.

    Example:
        >>> from seelike.data import load
        >>> from seelike.models import load as load_model
        >>> images = load("fashion-mnist/test")
        >>> options = dict(tokens=["mean"], per_class=30, number_of_test_images=100, number_of_blocks=3, seed=0)
        >>> depth, accuracy, _ = accuracy_on_many(load_model("tiny/vit_7x7"), images, **options)["mean"]
        >>> depth.round(2), bool(accuracy[-1] > 0.7)
        (array([0.  , 0.57, 1.  ]), True)
    """
    if why_not := why_no_probes(images, per_class=1):
        raise ValueError(why_not)
    fewest = min(number for number in images.images_per_class().values() if number)
    training, test = training_and_test_images(
        images,
        per_class=min(per_class, fewest // 2),
        number_of_test_images=number_of_test_images,
        seed=seed,
    )
    chosen = spread_blocks(model, number_of_blocks)
    probes = probe_layers(
        model,
        training,
        test,
        tokens=tokens,
        layers=[block.name for block, _ in chosen],
        held_out=HELD_OUT,
        batch_size=batch_size,
    )
    depth = np.array([depth for _, depth in chosen])
    found = {}
    for kind in tokens:
        of_kind = [probe for probe in probes if probe.tokens == kind]
        accuracy, error = (
            np.array([getattr(probe, name) for probe in of_kind]) for name in ("average", "average_standard_error")
        )
        found[kind] = (depth, accuracy, stdtrit(len(test) - 1, 0.975) * error)
    return found
