"""Section 5 of the paper in numbers: how far heads look, and how much of the image a unit sees.

- *Attention distances* are divided by the distance of a head that looks everywhere alike: 1 is global, 0 is a head
  that looks at its own patch only. The *lowest blocks* are the first two, the *highest* the last two.
- *Subsets of heads* (Figure 5) are neighbours in the order of distance, a quarter of the heads at a time, from the
  most local to the most global.
- *Radii* of receptive fields, within which half of the field lies, are divided by the side of the image.
- *Own patch*: how much of a token's field lies in the patch that the token was made from, over that patch's share
  of the image. After the residual addition the field is that of the stream, before it that of the branch alone.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor, nn

from seelike.attention import attention_distances
from seelike.data import ImageSet
from seelike.models import layers, residuals
from seelike.receptive_field import ReceptiveFields, centre_mass, effective_receptive_field, radius

_BLOCKS = 2

Side = Literal["after", "before"]
Field = TypeVar("Field")


@dataclass(frozen=True)
class Heads:
    """Attention distances of all heads of a ViT, over draws of images.

    Attributes:
        distance: In pixels.
        prefix_mass: Share of the attention of spatial tokens that goes to CLS and registers.
        uniform: Distance of a head that looks everywhere alike, in pixels.
    """

    distance: Float[np.ndarray, "repeats blocks heads"]
    prefix_mass: Float[np.ndarray, "repeats blocks heads"]
    uniform: float

    @property
    def nearest_low(self) -> Float[np.ndarray, " repeats"]:
        """Distance of the nearest head of the two lowest blocks, as a share of uniform."""
        return self.distance[:, :_BLOCKS].min(axis=(1, 2)) / self.uniform

    @property
    def spread_low(self) -> Float[np.ndarray, " repeats"]:
        """Farthest minus nearest head of one block, as a share of uniform: mean over the two lowest blocks."""
        return np.ptp(self.distance[:, :_BLOCKS], axis=2).mean(axis=1) / self.uniform

    @property
    def nearest_high(self) -> Float[np.ndarray, " repeats"]:
        """Distance of the nearest head of the two highest blocks, as a share of uniform."""
        return self.distance[:, -_BLOCKS:].min(axis=(1, 2)) / self.uniform


def measure_heads(model: nn.Module, draws: Iterable[ImageSet], *, batch_size: int = 64) -> Heads:
    """Measure the attention distance of all heads of a ViT on each draw of images (Figures 3 and 4).

    Args:
        model: A VisionTransformer of timm in evaluation mode.
        draws: Image sets, one for each repeat.
        batch_size: Images in a forward pass.

    Raises:
        ValueError: The network has no attention that can be read, or not from the first block on with as many
            heads on one grid.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> images = data.load("fashion-mnist/test")
        >>> heads = measure_heads(load("tiny/vit_7x7"), [images.sample(8, seed=0), images.sample(8, seed=1)])
        >>> heads.distance.shape, round(heads.uniform, 1)
        ((2, 8, 4), 14.4)
    """
    repeats = [attention_distances(model, images, batch_size=batch_size) for images in draws]
    blocks = [list(repeat.values()) for repeat in repeats]
    first = repeats[0]
    # Block i is looked up at place i - 1, and one line says what is uniform.
    if list(first) != [f"block {number}" for number in range(1, len(first) + 1)]:
        raise ValueError(
            f"Attention distances can be had of {', '.join(first)}, which are not the lowest blocks one by one. "
            "seelike.attention.attention_distances gives them block by block."
        )
    if len({(len(block.distance), block.uniform) for block in first.values()}) > 1:
        raise ValueError(
            "The blocks differ in their number of heads or in their grid, and make no table of heads. "
            "seelike.attention.attention_distances gives them block by block."
        )
    return Heads(
        distance=np.array([[block.distance.numpy() for block in repeat] for repeat in blocks]),
        prefix_mass=np.array([[block.prefix_mass.numpy() for block in repeat] for repeat in blocks]),
        uniform=blocks[0][0].uniform,
    )


def subsets_of_heads(distance: Float[np.ndarray, " heads"]) -> list[list[int]]:
    """Choose subsets of the heads of a block, from the most local to the most global (Figure 5).

    Args:
        distance: Mean attention distance of each head.

    Returns:
        Numbers of heads: each subset is a quarter of them, neighbours in the order of distance, and the next
        begins one head farther.

    Example:
        >>> subsets_of_heads(np.array([30.0, 10.0, 20.0, 40.0]))
        [[1], [2], [0], [3]]
    """
    order = np.argsort(distance, kind="stable").tolist()
    size = max(1, len(order) // 4)
    return [order[start : start + size] for start in range(len(order) - size + 1)]


def rank_correlation(
    x: Float[np.ndarray, " subsets"], y: Float[np.ndarray, "repeats subsets"]
) -> Float[np.ndarray, " repeats"]:
    """Correlate the ranks of one list with those of another, for each repeat (Spearman).

    Args:
        x: For example, mean distance of each subset of heads.
        y: For example, CKA of each subset.

    Returns:
        From -1 to 1; NaN where all of a list are equal.

    Example:
        >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([[0.9, 0.5, 0.4], [0.1, 0.2, 0.3]]))
        array([-1.,  1.])
    """
    return np.array([spearmanr(x, row).statistic for row in y])


def measure_fields(
    model: nn.Module,
    draws: Iterable[ImageSet],
    *,
    additions: bool = False,
    channels: int,
    seed: int = 0,
    batch_size: int = 32,
) -> list[ReceptiveFields]:
    """Measure the receptive fields of the blocks of a network on each draw of images (Figures 6 and C.1 to C.4).

    Args:
        model: A network in evaluation mode whose blocks give tokens or feature maps.
        draws: Image sets, one for each repeat.
        additions: Measure the sums of all residual additions, two for each block of a ViT or Mixer, and the
            branches before them, instead of the outputs of all blocks. A block without a skip connection has none.
        channels: How many channels to take of each layer: an unbiased estimate.
        seed: Of the choice of channels on the first draw; each draw has a choice of its own.
        batch_size: Rows of a backward pass.

    Raises:
        ValueError: The network has no such layers, or a field that is zero everywhere.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> images = data.load("fashion-mnist/test").sample(2, seed=0)
        >>> (fields,) = measure_fields(load("tiny/mixer"), [images], channels=2)
        >>> list(fields.after)[:2]
        ['block 1', 'block 2']
    """
    chosen = (
        [each.output for each in residuals(model)]
        if additions
        else [each for each in layers(model) if each.kind == "block"]
    )
    return [
        effective_receptive_field(
            model, chosen, images, channels=channels, before=additions, seed=one, batch_size=batch_size
        )
        for one, images in enumerate(draws, seed)
    ]


@runtime_checkable
class HasFields(Protocol):
    """What is needed of receptive fields here; `seelike.receptive_field.ReceptiveFields` has it."""

    after: dict[str, Tensor]
    grids: dict[str, tuple[int, int]]


def radii(fields: Sequence[HasFields], side: Side = "after") -> Float[np.ndarray, "repeats layers"]:
    """Compute the radius of each field, as a share of the side of the image.

    Args:
        fields: The fields of each repeat.
        side: After or before the residual addition.

    Returns:
        A column for each layer; NaN where it has nothing before, as the output of a block without a skip has not.

    Example:
        >>> from types import SimpleNamespace
        >>> import torch
        >>> one = SimpleNamespace(after={"block 1": torch.ones(200, 200)}, grids={"block 1": (1, 1)})
        >>> radii([one]).round(2)
        array([[0.4]])
    """

    def share(field: Tensor, grid: tuple[int, int]) -> float:
        return radius(field, grid) / math.sqrt(field.shape[0] * field.shape[1])

    return _of_each(share, fields, side)


def _of_each(
    statistic: Callable[[Tensor, tuple[int, int]], float], fields: Sequence[HasFields], side: Side
) -> Float[np.ndarray, "repeats layers"]:
    """Compute a number of each field; NaN for a layer that has none on this side."""

    def of(each: HasFields, name: str) -> float:
        field = getattr(each, side).get(name)
        return math.nan if field is None else statistic(field, each.grids[name])

    return np.array([[of(each, name) for name in each.after] for each in fields])


def own_patch(fields: Sequence[HasFields], side: Side = "after") -> Float[np.ndarray, "repeats layers"]:
    """Compute how many times its share of the image a token's own patch has of each field.

    Args:
        fields: The fields of each repeat.
        side: After or before the residual addition.

    Returns:
        1 where the patch has no more than its share of the area; the number of patches where it has all. NaN where
        a layer has nothing before.

    Example:
        >>> from types import SimpleNamespace
        >>> import torch
        >>> one = SimpleNamespace(after={"block 1": torch.ones(6, 6)}, grids={"block 1": (3, 3)})
        >>> own_patch([one])
        array([[1.]])
    """
    return _of_each(centre_mass, fields, side)


def share_in_own_patch(
    fields: Sequence[HasFields], side: Side, sublayer: str = "attention"
) -> Float[np.ndarray, " repeats"]:
    """Compute the share of the fields of one kind of sublayer that lies in the token's own patch (Figure C.4).

    Args:
        fields: The fields of each repeat.
        side: After or before the residual addition.
        sublayer: What the names of the layers end with, after "after".

    Returns:
        From 0 to 1, mean over the blocks; NaN where there is no such sublayer.

    Example:
        >>> from types import SimpleNamespace
        >>> import torch
        >>> field = {"block 1/after attention": torch.ones(6, 6)}
        >>> one = SimpleNamespace(after=field, grids={"block 1/after attention": (3, 3)})
        >>> share_in_own_patch([one], "after").round(3)
        array([0.111])
    """
    names = [name for name in getattr(fields[0], side) if name.endswith(f"/after {sublayer}")]
    if not names:
        return np.full(len(fields), np.nan)
    shares = [
        [centre_mass(getattr(each, side)[name], each.grids[name]) / math.prod(each.grids[name]) for name in names]
        for each in fields
    ]
    return np.mean(shares, axis=1)


def mean_fields(fields: Sequence[HasFields], side: Side = "after") -> dict[str, Float[np.ndarray, "height width"]]:
    """Average the field of each layer over the repeats.

    Args:
        fields: The fields of each repeat.
        side: After or before the residual addition.

    Example:
        >>> from types import SimpleNamespace
        >>> import torch
        >>> repeats = [SimpleNamespace(after={"block 1": torch.full((1, 2), x)}, grids={}) for x in (1.0, 2.0)]
        >>> mean_fields(repeats)
        {'block 1': array([[1.5, 1.5]])}
    """
    every: list[dict[str, Tensor]] = [getattr(each, side) for each in fields]
    return {name: np.mean([each[name].double().numpy() for each in every], axis=0) for name in every[0]}


def by_sublayer(fields: Mapping[str, Field]) -> dict[str, dict[str, Field]]:
    """Sort the fields of a network by sublayer, each over the blocks.

    Args:
        fields: Fields by the names of layers, "block 1/after attention" or "block 1".

    Returns:
        For each sublayer its fields by block: "attention" and "MLP" of a ViT, "token mixing" and "MLP" of a Mixer,
        and "block" of a CNN.

    Example:
        >>> by_sublayer({"block 1/after attention": 0.1, "block 1": 0.2, "block 2/after attention": 0.3})
        {'attention': {'block 1': 0.1, 'block 2': 0.3}, 'MLP': {'block 1': 0.2}}
        >>> by_sublayer({"block 1": 0.1})
        {'block': {'block 1': 0.1}}
    """
    last = "MLP" if any("/" in name for name in fields) else "block"
    sublayers: dict[str, dict[str, Field]] = {}
    for name, field in fields.items():
        block, _, sublayer = name.partition("/after ")
        sublayers.setdefault(sublayer or last, {})[block] = field
    return sublayers


def evenly_spaced(number: int, count: int) -> list[int]:
    """Choose places from the first to the last, evenly spaced.

    Args:
        number: How many places there are.
        count: How many to choose; all where there are no more.

    Example:
        >>> evenly_spaced(12, 5), evenly_spaced(3, 5)
        ([0, 3, 6, 8, 11], [0, 1, 2])
    """
    return np.unique(np.linspace(0, number - 1, min(count, number)).round().astype(int)).tolist()


def mean_of_first_third(values: Float[np.ndarray, "repeats layers"]) -> Float[np.ndarray, " repeats"]:
    """Average over the layers of relative depth below one third.

    Args:
        values: One number for each layer, in firing order, per repeat.

    Example:
        >>> mean_of_first_third(np.array([[1.0, 3.0, 9.0, 9.0, 9.0]]))
        array([2.])
    """
    depth = np.linspace(0, 1, values.shape[1])
    return values[:, depth < 1 / 3].mean(axis=1)
