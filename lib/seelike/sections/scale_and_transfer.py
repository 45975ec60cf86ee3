"""Section 8 and Appendices F and G in numbers: what changes with more data, with other data, and with finetuning.

- *Blocks compared*: CKA of each block of a network with the same block of another one of the same architecture,
  which saw less data, or was finetuned. It is 1 where the representation is as it was.
- Blocks count from the first to the last. The relative depth of block i of n is (i - 1) / (n - 1).
- *Thirds*: the first third of the blocks is the first ceil(n / 3) of them, the last third the last ceil(n / 3).
- *Half depth*: the accuracy of probes halfway between first and last block, interpolated linearly where no block
  is there.
- A network is trained on some images, and then trained further on others, the *target*. CKA compares layers on a
  set of images. On those of the target it tells how much had to change for the new task, on those of the first
  training how much of the old one is kept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import nn

from seelike.cka import PairComparison, compare_pairs
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
    if family(before) != family(after):
        return None
    every = layers(before), layers(after)
    blocks = (
        [layer for layer in every[0] if layer.kind == "block"],
        [layer for layer in every[1] if layer.kind == "block"],
    )
    found = blocks if any(blocks) else every
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
) -> PairComparison | None:
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
        CKA of each block, and the nearest neighbours that it shares; None where the networks have no blocks that
        pair up.

    Raises:
        ValueError: There are too few images: unbiased HSIC needs at least 4.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> vit, amounts = load("test_vit:random"), dict(number_of_images=8, batch_size=8, repeats=2, seed=0)
        >>> kept(vit, vit, data.load("digits"), **amounts).cka.shape
        (2, 6)
    """
    pairs = partners(before, after)
    if pairs is None:
        return None
    return compare_pairs(
        before,
        after,
        images,
        *pairs,
        number_of_images=min(number_of_images, max(4, len(images) // 2)),
        batch_size=batch_size,
        repeats=repeats,
        seed=seed,
        neighbours=True,
    )


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


def first_minus_last_block(values: Float[np.ndarray, "repeats blocks"]) -> Float[np.ndarray, " repeats"]:
    """Subtract the last block's value from the first block's (Figure 12).

    Args:
        values: One number for each block, per repeat.

    Example:
        >>> first_minus_last_block(np.array([[0.9, 0.7, 0.4]]))
        array([0.5])
    """
    return values[:, 0] - values[:, -1]


def first_minus_last_third(values: Float[np.ndarray, "repeats blocks"]) -> Float[np.ndarray, " repeats"]:
    """Subtract the mean over the last third of the blocks from that over the first (Figure G.1).

    Args:
        values: One number for each block, per repeat.

    Example:
        >>> first_minus_last_third(np.array([[0.9, 0.8, 0.5, 0.4]]))
        array([0.4])
    """
    third = math.ceil(values.shape[1] / 3)
    return values[:, :third].mean(axis=1) - values[:, -third:].mean(axis=1)


def at_half_depth(values: Float[np.ndarray, "repeats blocks"]) -> Float[np.ndarray, " repeats"]:
    """Give the value halfway between first and last block (Figure 13).

    Args:
        values: One number for each block, per repeat.

    Example:
        >>> at_half_depth(np.array([[0.2, 0.4, 0.9], [0.3, 0.5, 0.9]])), at_half_depth(np.array([[0.2, 0.4]]))
        (array([0.4, 0.5]), array([0.3]))
    """
    depth = np.linspace(0, 1, values.shape[1])
    return np.array([np.interp(0.5, depth, row) for row in values])
