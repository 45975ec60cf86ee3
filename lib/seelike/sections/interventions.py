"""Interventions in numbers: what is left of a network's answers, and of its layers, when it is changed inside.

For each intervention the same images are shown to the network as it was trained and to the changed one.

- *Same class*: the share of images that keep the class that the intact network gives them. A network with a
  classifier gives a class by it. For one without, a linear probe of what it hands on does, trained once on the
  intact network and then left alone, as a classifier would be.
- *By chance*: the share of pairs of different images to which the intact network gives one class. So often would
  answers that have nothing to do with the image agree with those of the intact network, if they had its classes.
- *CKA with the intact network*, of each block with itself.
- *Heads to remove* are chosen in each block by itself, as many in each: nearest or farthest by attention distance,
  or at random. Chosen in the whole network, near heads would be those of low blocks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from seelike.attention import attention_distances
from seelike.cka import CentredGrams, PairedCKA, gram, minibatches
from seelike.data import ImageSet
from seelike.interventions import (
    cls_tokens,
    mean_of_heads,
    replaced_cls,
    shuffled_patches,
    shuffled_tokens,
    without_heads,
    without_skip,
)
from seelike.models import Layer, layers, places, read
from seelike.probes import RidgeProbe
from seelike.sections.linear_probes import training_and_test_images, why_no_probes
from seelike.streaming import Images

# Training images of each class for a probe, as the paper takes.
_PER_CLASS = 10
# What is changed while a minibatch passes, by the number of the minibatch.
Change = Callable[[int], AbstractContextManager[None]]
Which = Literal["local", "global", "random"]
KINDS: tuple[Which, ...] = ("local", "global", "random")


@dataclass(frozen=True, eq=False)
class Effect:
    """What an intervention does.

    Attributes:
        same_class: The share of images that keep their class.
        cka: CKA of each block with the same block of the intact network; NaN where one is dead.
        classes: The class of each image.
    """

    same_class: float
    cka: Float[np.ndarray, " blocks"]
    classes: Int64[Tensor, " n"]


@dataclass(frozen=True, eq=False)
class Intact:
    """A network as it was trained, on the images of one draw: what interventions are held against.

    Attributes:
        model: The network.
        blocks: Its blocks.
        training: Images on which nothing is tested: for means, and for the probe.
        batches: The test images, in minibatches.
        grams: Of the blocks, for each minibatch.
        classify: Gives classes for what the network hands on.
        classes: The class of each test image.
        accuracy: The share of them that is right; NaN where the images have no such classes.
        by: "classifier" or "probe".
    """

    model: nn.Module
    blocks: list[Layer]
    training: ImageSet
    batches: list[Tensor]
    grams: list[CentredGrams]
    classify: Callable[[Tensor], Tensor]
    classes: Int64[Tensor, " n"]
    accuracy: float
    by: str

    @property
    def by_chance(self) -> float:
        """The share of pairs of different images that have one class."""
        n = len(self.classes)
        counts = self.classes.unique(return_counts=True)[1].double()
        return float((counts * (counts - 1)).sum() / (n * (n - 1)))

    @cached_property
    def mean_of_heads(self) -> dict[int, Tensor]:
        """What heads sum of their values, mean over the training images: `seelike.interventions.mean_of_heads`."""
        return mean_of_heads(self.model, self.training)

    def effect(self, change: Change, images: Callable[[Tensor], Tensor] = lambda batch: batch) -> Effect:
        """Measure what an intervention does to classes and blocks.

        Args:
            change: Gives the context to run in, for the minibatch of each number.
            images: Changes the images before the network sees them.

        Raises:
            ValueError: The intervention is not possible in this network.
        """
        similarity, classes = PairedCKA(), []
        for number, batch in enumerate(self.batches):
            with change(number):
                given, grams = _pass(self.model, self.blocks, images(batch))
            similarity.update_centred(self.grams[number], grams)
            classes.append(self.classify(given))
        found = torch.cat(classes)
        same = float((found == self.classes).double().mean())
        return Effect(same, similarity.compute(on_dead="nan").numpy(), found)

    def distance(self, change: Change, images: Callable[[Tensor], Tensor] = lambda batch: batch) -> float:
        """Measure how far heads look in the changed network: mean over heads and blocks, as a share of uniform.

        Args:
            change: Gives the context to run in. It has to be the same for all images, and so for all minibatches.
            images: Changes the images before the network sees them.

        Raises:
            ValueError: The network has no attention that can be read.
        """
        with change(0):
            found = attention_distances(
                self.model, images(torch.cat(self.batches)), batch_size=len(self.batches[0])
            )
        return float(np.mean([float(each.distance.mean()) / each.uniform for each in found.values()]))


def unchanged(_: int) -> AbstractContextManager[None]:
    """Change nothing.

    Example:
        >>> with unchanged(0):
        ...     pass
    """
    return nullcontext()


def read_intact(model: nn.Module, images: ImageSet, *, number: int, batch_size: int, seed: int) -> Intact:
    """Draw images, and read from the network as it is what interventions are held against.

    Args:
        model: A network in evaluation mode.
        images: An image set; with classes, where the network has no classifier.
        number: Test images, at most half of all where there are no classes.
        batch_size: Images in a minibatch of CKA.
        seed: Of the draw.

    Raises:
        ValueError: The network has no classifier and the images no classes, or its blocks are not known.

    Example:
        >>> from seelike import data
        >>> from seelike.interventions import without_skip
        >>> from seelike.models import load
        >>> images = data.load("fashion-mnist/test")
        >>> intact = read_intact(load("tiny/vit_7x7"), images, number=16, batch_size=16, seed=0)
        >>> intact.effect(unchanged).same_class, len(intact.blocks), intact.by
        (1.0, 8, 'classifier')
        >>> intact.effect(lambda _: without_skip(intact.model, 4)).same_class < 1
        True
    """
    blocks = layers(model, kinds=["block"])
    training, test = _two_parts(images, number, seed)
    prepared = Images(test, model)[:]
    batches = [prepared[part] for part in minibatches(len(test), batch_size)]
    passes = [_pass(model, blocks, batch) for batch in batches]
    given = torch.cat([given for given, _ in passes])
    by = "classifier" if _has_classifier(model, given) else "probe"
    classify = _largest if by == "classifier" else _probe(model, training, images, batch_size)
    classes, accuracy = classify(given), np.nan
    # A classifier of other classes than those of the images cannot be right.
    if test.labels is not None and (by == "probe" or len(test.class_names or ()) == given.shape[1]):
        accuracy = float((classes == torch.tensor(test.labels)).double().mean())
    grams = [grams for _, grams in passes]
    return Intact(model, blocks, training, batches, grams, classify, classes, accuracy, by)


def _two_parts(images: ImageSet, number: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Draw images for training, ten of each class where there are so many, and others for testing."""
    fewest = 0 if images.labels is None else min((n for n in images.images_per_class().values() if n), default=0)
    if fewest > 1:
        per_class = min(_PER_CLASS, fewest // 2)
        return training_and_test_images(images, per_class=per_class, number_of_test_images=number, seed=seed)
    drawn = images.sample(min(2 * number, len(images)), seed=seed)
    half = len(drawn) // 2
    return drawn.select(np.arange(half)), drawn.select(np.arange(half, len(drawn)))


def _has_classifier(model: nn.Module, given: Tensor) -> bool:
    number = getattr(model, "num_classes", 0)
    return bool(number) and given.ndim == 2 and given.shape[1] == number


def _largest(given: Tensor) -> Tensor:
    return given.argmax(dim=1).cpu()


def _probe(model: nn.Module, training: ImageSet, images: ImageSet, batch_size: int) -> Callable[[Tensor], Tensor]:
    if why_not := why_no_probes(images, per_class=1):
        raise ValueError(f"The network has no classifier, and no probe can take its place. {why_not}")
    with torch.no_grad():
        features = torch.cat([_flat(model(batch)) for batch in _batches(model, training, batch_size)])
    probe = RidgeProbe().fit(features, training.labels)
    return lambda given: torch.from_numpy(probe.predict(_flat(given)))


def _flat(given: Tensor) -> Tensor:
    return given.detach().flatten(1).float().cpu()


def _batches(model: nn.Module, images: ImageSet, batch_size: int) -> Iterator[Tensor]:
    prepared = Images(images, model)
    for start in range(0, len(prepared), batch_size):
        yield prepared[start : start + batch_size]


def _pass(model: nn.Module, blocks: list[Layer], batch: Tensor) -> tuple[Tensor, CentredGrams]:
    """Read what a network hands on, and the Gram matrices of its blocks."""
    given: list[Tensor] = []
    hook = model.register_forward_hook(lambda _, inputs, output: given.append(output))
    try:
        found = read(model, blocks, batch, lambda _, x: gram(x))
    finally:
        hook.remove()
    grams = CentredGrams(list(found), len(batch))
    for name, of_block in found.items():
        grams[name] = of_block.cpu()
    return given[0], grams


def choose_heads(
    distance: Float[np.ndarray, "blocks heads"], number: int, which: Which, seed: int = 0
) -> set[tuple[int, int]]:
    """Choose the same number of heads in each block.

    Args:
        distance: Attention distance of each head.
        number: How many of each block.
        which: "local", the nearest ones; "global", the farthest; or at "random".
        seed: Of the random choice.

    Returns:
        Block, from 1, and head, from 0, as `seelike.interventions.without_heads` takes them.

    Example:
        >>> distance = np.array([[30.0, 10.0, 20.0], [1.0, 2.0, 3.0]])
        >>> sorted(choose_heads(distance, 1, "local")), sorted(choose_heads(distance, 1, "global"))
        ([(1, 1), (2, 0)], [(1, 0), (2, 2)])
    """
    random = np.random.default_rng(seed)
    sign = {"local": 1.0, "global": -1.0, "random": 0.0}[which]
    return {
        (block, int(head))
        for block, of_block in enumerate(distance, start=1)
        for head in np.argsort(sign * of_block if sign else random.random(len(of_block)), kind="stable")[:number]
    }


def heads_removed(
    intact: Intact, distance: Float[np.ndarray, "blocks heads"], numbers: Sequence[int], seed: int
) -> Float[np.ndarray, "ways numbers kinds values"]:
    """Take heads out of every block, with zero in their place, and with their mean over the training images.

    Args:
        intact: The network, as `read_intact` gives it.
        distance: Attention distance of each head, by which they are chosen.
        numbers: How many heads of each block.
        seed: Of the random choice.

    Returns:
        By zero or mean, number of heads, and choice ("local", "global", "random"): the share of images with the
        same class, and CKA of the last block.

    Raises:
        ValueError: The heads of the network cannot be taken out.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> images = data.load("fashion-mnist/test")
        >>> intact = read_intact(load("tiny/vit_7x7"), images, number=16, batch_size=16, seed=0)
        >>> heads_removed(intact, np.random.rand(8, 4), [1], seed=0).shape
        (2, 1, 3, 2)
    """

    def left(heads: set[tuple[int, int]], way: dict[int, Tensor] | None) -> tuple[float, float]:
        effect = intact.effect(lambda _: without_heads(intact.model, heads, way))
        return effect.same_class, float(effect.cka[-1])

    chosen = [[choose_heads(distance, number, which, seed) for which in KINDS] for number in numbers]
    return np.array(
        [
            [[left(heads, way) for heads in of_number] for of_number in chosen]
            for way in (None, intact.mean_of_heads)
        ]
    )


def grid_of(intact: Intact) -> tuple[int, int]:
    """Give rows and columns of the patches that enter the first block.

    Args:
        intact: The network, as `read_intact` gives it.

    Raises:
        ValueError: What enters it makes no grid.
    """
    embedding = layers(intact.model, ["embedding"])
    return places(intact.model, embedding, intact.batches[0])["embedding"].require_grid()


def random_order(number: int, seed: int) -> Int64[Tensor, " number"]:
    """Draw an order.

    Example:
        >>> random_order(5, seed=0).sort().values
        tensor([0, 1, 2, 3, 4])
    """
    return torch.randperm(number, generator=torch.Generator().manual_seed(seed))


def shuffle_effects(intact: Intact, seed: int) -> dict[str, Effect]:
    """Shuffle pieces of the images, from a few large ones to single patches, and tokens in the first block.

    Args:
        intact: The network, as `read_intact` gives it.
        seed: Of the orders. One order is that of all images.

    Returns:
        Effects by "2 x 2 pieces", ..., and "tokens". Pieces are of whole patches.

    Raises:
        ValueError: The network has no grid of tokens.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> images = data.load("fashion-mnist/test")
        >>> intact = read_intact(load("tiny/vit_7x7"), images, number=16, batch_size=16, seed=0)
        >>> list(shuffle_effects(intact, seed=0))
        ['7 x 7 pieces', 'tokens']
    """
    rows, columns = grid_of(intact)
    sides = [side for side in range(2, rows) if rows % side == 0 and columns % side == 0][:2]
    found = {}
    for cut in (*((side, side) for side in sides), (rows, columns)):
        move = partial(_moved, cut, random_order(cut[0] * cut[1], seed))
        found[f"{cut[0]} x {cut[1]} pieces"] = intact.effect(unchanged, move)
    order = random_order(rows * columns, seed)
    found["tokens"] = intact.effect(lambda _: shuffled_tokens(intact.model, order))
    return found


def _moved(cut: tuple[int, int], order: Tensor, images: Tensor) -> Tensor:
    return shuffled_patches(images, *cut, order)


def side_by_side(
    intact: Intact, distance: Float[np.ndarray, "blocks heads"], seed: int
) -> dict[str, tuple[float, float, float]]:
    """Measure one intervention of each kind.

    Args:
        intact: The network, as `read_intact` gives it.
        distance: Attention distance of each head.
        seed: Of what is random.

    Returns:
        By intervention: the share of images with the same class, CKA of the last block, and the mean attention
        distance of the changed network, as a share of uniform.

    Raises:
        ValueError: The network has no attention that can be read, or no such parts to change.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> images = data.load("fashion-mnist/test")
        >>> intact = read_intact(load("tiny/vit_7x7"), images, number=16, batch_size=16, seed=0)
        >>> side_by_side(intact, np.random.rand(8, 4), seed=0)["intact"][:2]
        (1.0, 1.0)
    """
    model, middle, grid = intact.model, max(1, len(intact.blocks) // 2), grid_of(intact)
    half = max(1, distance.shape[1] // 2)
    order = random_order(grid[0] * grid[1], seed)
    chosen = {which: choose_heads(distance, half, which, seed) for which in KINDS}
    changes: dict[str, Change] = {"intact": unchanged}
    for which, heads in chosen.items():
        changes[f"half of the heads, {which}"] = partial(_without, model, heads, intact.mean_of_heads)
    changes["tokens shuffled"] = lambda _: shuffled_tokens(model, order)
    changes[f"skips of block {middle} dropped"] = lambda _: without_skip(model, middle)
    measured = {what: (intact.effect(change), intact.distance(change)) for what, change in changes.items()}
    move = partial(_moved, grid, order)
    measured["patches shuffled"] = (intact.effect(unchanged, move), intact.distance(unchanged, move))
    return {
        what: (effect.same_class, round(float(effect.cka[-1]), 9), distance)
        for what, (effect, distance) in measured.items()
    }


def _without(
    model: nn.Module, heads: set[tuple[int, int]], mean: dict[int, Tensor], _: int
) -> AbstractContextManager[None]:
    return without_heads(model, heads, mean)


@dataclass(frozen=True, eq=False)
class Swapped:
    """What the class of an image is when its CLS token is that of another image, the mean over images, or zero.

    Attributes:
        own: By depth, the share of images that keep their class with the CLS token of an image of another class.
        other: The share of these that get the class of the other image.
        by_mean: The share of images that keep their class with the mean of CLS tokens.
        by_zero: The same with zero in the place of the token.
        mean: The mean at each depth.
    """

    own: Float[np.ndarray, " depths"]
    other: Float[np.ndarray, " depths"]
    by_mean: Float[np.ndarray, " depths"]
    by_zero: Float[np.ndarray, " depths"]
    mean: list[Tensor]


def swapped_cls(intact: Intact, depths: Sequence[int]) -> Swapped:
    """Replace the CLS token at each depth: by that of the next image of the minibatch, the mean, and zero.

    Args:
        intact: The network, as `read_intact` gives it.
        depths: Numbers of the blocks behind which it is replaced; 0 for what enters the first one.

    Raises:
        ValueError: The network has no CLS token.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> images = data.load("fashion-mnist/test")
        >>> intact = read_intact(load("tiny/vit_7x7"), images, number=16, batch_size=16, seed=0)
        >>> swapped = swapped_cls(intact, [0, 8])
        >>> swapped.own, swapped.other  # all images begin with the same CLS token
        (array([1., 0.]), array([0., 1.]))
    """
    model, size = intact.model, len(intact.batches[0])
    of_batches = [cls_tokens(model, batch, depths) for batch in intact.batches]
    of_training = [cls_tokens(model, batch, depths) for batch in _batches(model, intact.training, size)]
    means = [torch.cat(tokens).mean(dim=0, keepdim=True) for tokens in zip(*of_training, strict=True)]
    parts = intact.classes.split([len(batch) for batch in intact.batches])
    donors = torch.cat([part.roll(-1) for part in parts])
    differ = donors != intact.classes
    rows = []
    for place, (after, mean) in enumerate(zip(depths, means, strict=True)):
        of_others = [tokens[place].roll(-1, dims=0) for tokens in of_batches]
        found = intact.effect(_replaced(model, after, of_others)).classes[differ]
        same = [
            intact.effect(_replaced(model, after, [token] * len(parts))).same_class
            for token in (mean, torch.zeros_like(mean))
        ]
        share = [float((found == classes[differ]).double().mean()) for classes in (intact.classes, donors)]
        rows.append([*share, *same])
    own, other, by_mean, by_zero = np.array(rows).T
    return Swapped(own, other, by_mean, by_zero, means)


def _replaced(model: nn.Module, after: int, tokens: Sequence[Tensor]) -> Change:
    """Put tokens in the place of the CLS token, those of its number in each minibatch."""
    return lambda number: replaced_cls(model, after, tokens[number])
