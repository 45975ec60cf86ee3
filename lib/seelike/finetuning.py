"""Appendix G of the paper in numbers: how much finetuning changes each block of a network.

A network is trained on some images, and then trained further on others, the *target*. CKA compares each block
before finetuning with the same block after it, on the same images: 1 where finetuning left the representation as
it was.

- Blocks count from the first to the last. The relative depth of block i of n is (i - 1) / (n - 1). What the first
  third of them keeps more than the last is `seelike.scale.first_minus_last_third`.
- CKA compares layers on a set of images. On those of the target it tells how much had to change for the new task,
  on those of the first training how much of the old one is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import nn

from seelike.cka import compare_pairs
from seelike.data import ImageSet
from seelike.models import Layer, family, layers, training_record


@dataclass(frozen=True)
class Finetuning:
    """One network before and after finetuning.

    Attributes:
        before: The network that finetuning began with, as `seelike.models.load` names it.
        after: The network that came out.
        target: A short name for what it was finetuned on.
        images: The image set that it was finetuned on, a name of `seelike.data.load`; None where it is not known.
    """

    before: str
    after: str
    target: str
    images: str | None


def finetunings(groups: Sequence[Sequence[str]]) -> list[Finetuning]:
    """List what was finetuned on what, from groups of names.

    The records of training of the tiny networks say on which images they were trained. For other networks the
    target is what the name has after that of the first network.

    Args:
        groups: In each the network before finetuning, then those after it, on targets from near to far.

    Returns:
        One entry for each network after finetuning, group by group.

    Example:
        >>> name = "vit_base_patch32_224.augreg_in21k"
        >>> finetunings([[name, f"{name}_ft_in1k"]])[0].target
        'ft_in1k'
    """
    found = []
    for before, *after in groups:
        for name in after:
            record = training_record(name)
            rest = name.removeprefix(before).strip("_-./:") if name.startswith(before) else ""
            images = record.images if record else None
            found.append(Finetuning(before, name, images or rest or name, images and f"{images}/test"))
    return found


def partners(before: nn.Module, after: nn.Module) -> tuple[list[Layer], list[Layer]] | None:
    """Find the layers to compare: the outputs of the blocks, or all layers where the blocks are not known.

    Args:
        before: A network.
        after: Another.

    Returns:
        The layers of both, in the order of partners; None where they do not pair up, because one network has more
        of them or is of another family.

    Example:
        >>> import timm
        >>> vit = timm.create_model("test_vit")
        >>> [layer.name for layer in partners(vit, vit)[0]][:2], partners(vit, timm.create_model("resnet18"))
        (['block 1', 'block 2'], None)
    """
    families = family(before), family(after)
    if families[0] != families[1]:
        return None
    kinds = None if families[0] == "other" else ["block"]
    found = layers(before, kinds=kinds), layers(after, kinds=kinds)
    return found if len(found[0]) == len(found[1]) else None


def kept(
    before: nn.Module,
    after: nn.Module,
    images: ImageSet,
    *,
    number_of_images: int,
    batch_size: int,
    repeats: int,
    seed: int,
) -> Float[np.ndarray, "repeats blocks"] | None:
    """Measure how much of each block finetuning keeps: its CKA before with after (Figures G.1 and G.2).

    Args:
        before: The network before finetuning, in evaluation mode.
        after: The same after it, on the same device.
        images: What to show to both.
        number_of_images: Images in each repeat; at most half of those there are, so that repeats differ.
        batch_size: Most images in a minibatch.
        repeats: How many draws of images.
        seed: Seed of the first draw.

    Returns:
        CKA of each block, per repeat; None where the networks have no blocks that pair up.

    Raises:
        ValueError: There are too few images: unbiased HSIC needs at least 4.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> vit, amounts = load("test_vit:random"), dict(number_of_images=8, batch_size=8, repeats=2, seed=0)
        >>> kept(vit, vit, data.load("digits"), **amounts).shape
        (2, 6)
    """
    pairs = partners(before, after)
    if pairs is None:
        return None
    comparison = compare_pairs(
        before,
        after,
        images,
        *pairs,
        number_of_images=min(number_of_images, max(4, len(images) // 2)),
        batch_size=batch_size,
        repeats=repeats,
        seed=seed,
    )
    return comparison.cka


def depth_of_blocks(blocks: int) -> Float[np.ndarray, " blocks"]:
    """Relative depth of each block among the blocks, from 0 (first) to 1 (last).

    Args:
        blocks: How many there are.

    Example:
        >>> depth_of_blocks(3)
        array([0. , 0.5, 1. ])
    """
    return np.linspace(0, 1, blocks) if blocks > 1 else np.zeros(blocks)


def nearest_and_farthest(
    steps: Sequence[Finetuning],
) -> list[tuple[Finetuning, Finetuning]]:
    """Choose, for each network before finetuning, its nearest and its farthest target.

    Args:
        steps: What was finetuned on what; targets of one network from near to far.

    Returns:
        One pair for each network with two targets or more.

    Example:
        >>> steps = [Finetuning("vit", f"vit_on_{target}", target, None) for target in ("cats", "dogs", "roads")]
        >>> [(near.target, far.target) for near, far in nearest_and_farthest(steps)]
        [('cats', 'roads')]
    """
    by_network: dict[str, list[Finetuning]] = {}
    for step in steps:
        by_network.setdefault(step.before, []).append(step)
    return [(of_one[0], of_one[-1]) for of_one in by_network.values() if len(of_one) > 1]
