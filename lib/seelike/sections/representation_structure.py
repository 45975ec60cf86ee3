"""Section 4 and Appendices B and H in numbers: what the CKA maps of Figures 1, 2, B.1, H.1 and H.2 say.

The statistics take the CKA maps of all repeats, `[repeats, layers, layers]`, and give one number per
repeat. Layers are in firing order, and each has a relative depth from 0 (first) to 1 (last).

- The *first third* of a network is its layers of depth below 1/3, the *last third* those of depth above 2/3,
  the *middle third* the rest.
- The *stages* of a CNN are its runs of blocks at one resolution: a new one begins where there are fewer locations
  than ever before. A layer inside a block belongs to the stage of the block's output, one outside of blocks to the
  stage before it.
- The *quarters* are the layers of depth below 1/4, from there to below 1/2, and so on.
- The *best match* of a layer is the layer of the other network with which it has the highest CKA.
- A network falls into *two parts* at the edge between two blocks where the mean CKA within parts exceeds the mean
  CKA across them most. The embedding belongs to the first part, what follows the last block to the second.
- A ViT has one stage. To ask whether it falls into more, it is cut where the CNN's stages end, at equal
  relative depth. Layers near each other are alike in any network; with equal cuts that favours neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from seelike.models import Layer


@dataclass(frozen=True)
class TwoParts:
    """Where a network falls into two parts most, and how much it does (Figure H.1).

    Attributes:
        after_block: The last block of the first part, counted from 1.
        share: The first part's share of the layers.
        within_first: Mean CKA of pairs of different layers in the first part.
        within_second: The same of the second part.
        across: Mean CKA of the layers of the first part with those of the second.
        step: Mean CKA of all pairs of different layers of one part, minus `across`.
    """

    after_block: int
    share: float
    within_first: Float[np.ndarray, " repeats"]
    within_second: Float[np.ndarray, " repeats"]
    across: Float[np.ndarray, " repeats"]
    step: Float[np.ndarray, " repeats"]


def mean_off_diagonal(cka: Float[np.ndarray, "repeats n n"]) -> Float[np.ndarray, " repeats"]:
    """Average CKA over all pairs of different layers of one network (Figure 1: how uniform it is).

    Args:
        cka: CKA of all layers with all layers, per repeat.

    Returns:
        One number per repeat.

    Raises:
        ValueError: The network has a single layer.

    Example:
        >>> mean_off_diagonal(np.array([[[1.0, 0.2, 0.4], [0.2, 1.0, 0.6], [0.4, 0.6, 1.0]]]))
        array([0.4])
    """
    return _mean(cka, ~np.eye(cka.shape[1], dtype=bool), "pairs of different layers")


def first_third_with_last_third(
    cka: Float[np.ndarray, "repeats n n"], depth: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " repeats"]:
    """Average CKA of the first third with the last third of a network (Figure 1).

    Args:
        cka: CKA of all layers with all layers, per repeat.
        depth: Relative depth of each layer.

    Returns:
        One number per repeat.

    Raises:
        ValueError: One of the thirds has no layer.

    Example:
        >>> cka = np.array([[[1.0, 0.2, 0.4], [0.2, 1.0, 0.6], [0.4, 0.6, 1.0]]])
        >>> first_third_with_last_third(cka, np.array([0.0, 0.5, 1.0]))
        array([0.4])
    """
    return _mean(cka, np.outer(depth < 1 / 3, depth > 2 / 3), "layers in both the first and the last third")


def within_minus_between_stages(
    cka: Float[np.ndarray, "repeats n n"], stage: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " repeats"]:
    """Average CKA of pairs of different layers in one stage, minus that of pairs in two stages (Figure 1).

    Args:
        cka: CKA of all layers with all layers, per repeat.
        stage: The stage of each layer, from `stages` or `stages_at`.

    Returns:
        One number per repeat.

    Raises:
        ValueError: All layers are in one stage, or no stage has two.

    Example:
        >>> cka = np.array([[[1.0, 0.9, 0.3], [0.9, 1.0, 0.1], [0.3, 0.1, 1.0]]])
        >>> within_minus_between_stages(cka, np.array([0, 0, 1])).round(6)
        array([0.7])
    """
    same = stage[:, None] == stage[None, :]
    within = _mean(cka, same & ~np.eye(len(stage), dtype=bool), "pairs of layers within a stage")
    return within - _mean(cka, ~same, "pairs of layers in different stages")


def lowest_minus_second_quarter(
    cka: Float[np.ndarray, "repeats vit cnn"],
    vit_depth: Float[np.ndarray, " vit"],
    cnn_depth: Float[np.ndarray, " cnn"],
) -> Float[np.ndarray, " repeats"]:
    """How much more the CNN's second quarter is like the ViT's lowest quarter than like its second (Figure 2).

    Had both networks the same at the same depth, it would be below zero. It has no maximum in it: where the layers
    of a ViT are all alike, which of them is the best match hangs on next to nothing.

    Args:
        cka: CKA of all ViT layers with all CNN layers, per repeat.
        vit_depth: Relative depth of each ViT layer.
        cnn_depth: Relative depth of each CNN layer.

    Returns:
        Mean CKA of the pairs with the ViT's lowest quarter minus that of the pairs with its second quarter, one
        number per repeat.

    Raises:
        ValueError: One of the quarters has no layer.

    Example:
        >>> cka = np.array([[[0.9, 0.8, 0.3], [0.8, 0.6, 0.5], [0.2, 0.1, 0.4]]])
        >>> lowest_minus_second_quarter(cka, np.array([0.0, 0.3, 1.0]), np.array([0.0, 0.4, 1.0])).round(6)
        array([0.2])
    """
    second = (cnn_depth >= 1 / 4) & (cnn_depth < 1 / 2)
    lowest, next_ones = vit_depth < 1 / 4, (vit_depth >= 1 / 4) & (vit_depth < 1 / 2)
    means = [
        _mean(cka, np.outer(rows, second), f"pairs of the CNN's second quarter with the ViT's {which} quarter")
        for rows, which in ((lowest, "lowest"), (next_ones, "second"))
    ]
    return means[0] - means[1]


def depth_of_best_matches(
    cka: Float[np.ndarray, "repeats rows columns"], row_depth: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, "repeats columns"]:
    """Relative depth of the best match, among the rows, of each layer in the columns (Figures 2 and B.1).

    Args:
        cka: CKA of all layers of one network (rows) with all layers of another (columns), per repeat.
        row_depth: Relative depth of each layer of the rows.

    Returns:
        Numbers from 0 to 1. A column with a CKA that is NaN gives NaN.

    Example:
        >>> cka = np.array([[[0.9, 0.8, 0.3], [0.8, 0.6, 0.5], [0.2, 0.1, 0.4]]])
        >>> depth_of_best_matches(cka, np.array([0.0, 0.5, 1.0]))
        array([[0. , 0. , 0.5]])
    """
    # argmax takes NaN for the largest value: a layer without a CKA would be the best match.
    return np.where(np.isnan(cka).any(axis=1), np.nan, row_depth[cka.argmax(axis=1)])


def mean_highest(cka: Float[np.ndarray, "repeats rows columns"]) -> Float[np.ndarray, " repeats"]:
    """CKA of each layer of one network with its best match in another, mean over the former's layers (Figure H.2).

    A network with more layers offers more to choose from. `evenly_spaced` makes the choice equal.

    Args:
        cka: CKA of all layers of one network (rows) with all layers of another (columns), per repeat.

    Returns:
        One number per repeat; NaN where a layer has no CKA.

    Example:
        >>> mean_highest(np.array([[[0.9, 0.8, 0.3], [0.2, 0.6, 0.5]]]))
        array([0.75])
    """
    return cka.max(axis=2).mean(axis=1)


def highest_by_chance(
    rows: Mapping[str, Float64[Tensor, "n n"]],
    columns: Mapping[str, Float64[Tensor, "n n"]],
    seed: int,
    times: int = 100,
) -> Float[np.ndarray, " rows"]:
    """How high the CKA of a layer with its best match is where the two networks have nothing in common (Figure 2).

    The images of the one network are put into another order, the same for all of its layers: what they know of
    each other stays, and what they have in common with the other network goes. The best of many matches is above
    zero even then, the more so the more layers there are to choose from (Groeger et al. 2026).

    Args:
        rows: U-centred Gram matrices of the layers of one network, of one minibatch of images.
        columns: Those of the other, of the same images.
        seed: Of the orders.
        times: How many orders.

    Returns:
        For each row the CKA with its best match that one order in twenty exceeds. It falls with the number of
        images: more of them, in several minibatches, have less by chance.

    Example:
        >>> from seelike.cka import gram, u_center
        >>> one, other = torch.randn(2, 30, 8, generator=torch.Generator().manual_seed(0))
        >>> found = highest_by_chance({"a": u_center(gram(one))}, {"b": u_center(gram(other))}, seed=0)
        >>> bool(0.0 < found[0] < 0.3)
        True
    """
    random = np.random.default_rng(seed)
    stacks = [torch.stack(list(grams.values())) for grams in (rows, columns)]
    x, y = (each / torch.linalg.matrix_norm(each)[:, None, None] for each in stacks)
    highest = []
    for _ in range(times):
        order = torch.from_numpy(random.permutation(len(y[0])))
        cka = x.flatten(1) @ y[:, order][:, :, order].flatten(1).T
        highest.append(cka.amax(dim=1).numpy())
    return np.quantile(highest, 0.95, axis=0)


def evenly_spaced(layers: int, number: int) -> Int[np.ndarray, " number"]:
    """Choose some of the layers of a network, from the first to the last at equal distances.

    Args:
        layers: How many there are.
        number: How many to choose, at most as many as there are.

    Returns:
        Their places, from 0.

    Raises:
        ValueError: More are asked for than there are, or none.

    Example:
        >>> evenly_spaced(9, 3)
        array([0, 4, 8])
    """
    if not 1 <= number <= layers:
        raise ValueError(f"number is {number}; expected 1 to {layers}, as many as there are layers.")
    return np.linspace(0, layers - 1, number).round().astype(int)


def two_parts(cka: Float[np.ndarray, "repeats n n"], layers: Sequence[Layer]) -> TwoParts | None:
    """Find the edge between two blocks at which a network falls into two parts most (Figure H.1).

    Every network has such an edge. How deep it cuts is `TwoParts.step`, and whether the parts have nothing to do
    with each other is `TwoParts.across`. Dead layers are left out.

    Args:
        cka: CKA of all layers with all layers, per repeat.
        layers: The layers, in firing order.

    Returns:
        The two parts; one edge for all repeats, that of the largest mean step. None where there is no edge: fewer
        than two blocks, or blocks that are not known.

    Example:
        >>> cka = np.full((1, 4, 4), 0.8)
        >>> cka[:, 0, 1:] = cka[:, 1:, 0] = 0.1
        >>> parts = two_parts(cka, [Layer("", "", number, 0.0, "") for number in (1, 2, 3, 4)])
        >>> parts.after_block, parts.share, parts.step.round(6)
        (1, 0.25, array([0.7]))
    """
    alive = ~np.isnan(cka.diagonal(axis1=1, axis2=2)).any(axis=0)
    cka = cka[:, alive][:, :, alive]
    block = _running_block([layer for layer, keep in zip(layers, alive, strict=True) if keep])
    edges = np.unique(block)[:-1]
    if edges.size == 0:
        return None
    steps = [within_minus_between_stages(cka, (block > edge).astype(int)).mean() for edge in edges]
    edge = edges[np.argmax(steps)]
    second = block > edge
    return TwoParts(
        after_block=int(edge),
        share=float(np.mean(~second)),
        within_first=_mean_within(cka, ~second),
        within_second=_mean_within(cka, second),
        across=_mean(cka, np.outer(~second, second), "pairs across the parts"),
        step=within_minus_between_stages(cka, second.astype(int)),
    )


def pairs_by_size(vits: Sequence[str], cnns: Sequence[str]) -> list[tuple[str, str]]:
    """Pair ViTs with CNNs as Figure B.1 does: the smallest with the smallest, the larger ones with the largest.

    Args:
        vits: Names, from small to large.
        cnns: Names, likewise.

    Returns:
        One pair for each ViT; none where one of the lists is empty.

    Example:
        >>> pairs_by_size(["ViT-B/32", "ViT-L/16", "ViT-H/14"], ["ResNet50", "ResNet152x2"])
        [('ViT-B/32', 'ResNet50'), ('ViT-L/16', 'ResNet152x2'), ('ViT-H/14', 'ResNet152x2')]
    """
    return [(vit, cnns[0] if place == 0 else cnns[-1]) for place, vit in enumerate(vits) if cnns]


def row_maximum_middle_minus_last_third(
    cka: Float[np.ndarray, "repeats vit cnn"], vit_depth: Float[np.ndarray, " vit"]
) -> Float[np.ndarray, " repeats"]:
    """How much less the last third of a ViT is like any CNN layer than its middle third is (Figure 2).

    Each ViT layer is given its highest CKA with any CNN layer. These are averaged over the two thirds.

    Args:
        cka: CKA of all ViT layers with all CNN layers, per repeat.
        vit_depth: Relative depth of each ViT layer.

    Returns:
        Middle third minus last third, one number per repeat.

    Raises:
        ValueError: One of the thirds has no layer.

    Example:
        >>> cka = np.array([[[0.9, 0.8], [0.7, 0.6], [0.2, 0.3]]])
        >>> row_maximum_middle_minus_last_third(cka, np.array([0.0, 0.5, 1.0])).round(6)
        array([0.4])
    """
    best = cka.max(axis=2)
    last = vit_depth > 2 / 3
    middle = (vit_depth >= 1 / 3) & ~last
    return _mean(best, middle, "layers in the middle third") - _mean(best, last, "layers in the last third")


def stages(layers: Sequence[Layer]) -> Int[np.ndarray, " n"]:
    """Give the stage of each layer of a network, counted from 0.

    Args:
        layers: Its layers, or some of them, in firing order, as `seelike.models.layers` gives them.

    Returns:
        The stages; 0 for all layers of a network of one resolution, such as a ViT.

    Example:
        >>> from seelike.models import layers, load
        >>> stages(layers(load("test_resnet:random"), kinds=["block"]))
        array([0, 1, 2, 3])
    """
    return np.array([layer.stage for layer in layers])


def stages_like(
    stage: Int[np.ndarray, " n"],
    depth: Float[np.ndarray, " n"],
    cnn_stage: Int[np.ndarray, " cnn"],
    cnn_depth: Float[np.ndarray, " cnn"],
) -> Int[np.ndarray, " n"]:
    """The stages of a network: its own, or where it has but one, those of a CNN at equal relative depth.

    Args:
        stage: The stage of each layer of any network, from `stages`.
        depth: Relative depth of each of these layers.
        cnn_stage: The stage of each layer of a CNN.
        cnn_depth: Relative depth of each of these.

    Returns:
        The stage of each layer, counted from 0.

    Example:
        >>> cnn_stage, cnn_depth = np.array([0, 1]), np.array([0.0, 1.0])
        >>> stages_like(np.array([0, 0, 0]), np.array([0.0, 0.3, 0.9]), cnn_stage, cnn_depth)
        array([0, 0, 1])
    """
    return stage if len(np.unique(stage)) > 1 else stages_at(depth, cnn_depth, cnn_stage)


def stages_at(
    depth: Float[np.ndarray, " n"],
    cnn_depth: Float[np.ndarray, " cnn"],
    cnn_stage: Int[np.ndarray, " cnn"],
) -> Int[np.ndarray, " n"]:
    """Cut a network without stages at the relative depths where a CNN's stages end.

    Args:
        depth: Relative depth of each layer of the network to cut.
        cnn_depth: Relative depth of each CNN layer.
        cnn_stage: Stage of each CNN layer, from `stages`.

    Returns:
        The stage of each layer. A stage ends halfway between its last layer and the next stage's first.

    Example:
        >>> cnn_depth, cnn_stage = np.array([0.0, 0.2, 0.4, 1.0]), np.array([0, 0, 1, 1])
        >>> stages_at(np.array([0.0, 0.25, 0.35, 1.0]), cnn_depth, cnn_stage)
        array([0, 0, 1, 1])
    """
    ends = np.flatnonzero(np.diff(cnn_stage))
    cuts = (cnn_depth[ends] + cnn_depth[ends + 1]) / 2
    return np.searchsorted(cuts, depth, side="right")


def _running_block(layers: Sequence[Layer]) -> Int[np.ndarray, " n"]:
    """The block of each layer; layers outside of blocks belong to the block before them, or else to the first."""
    numbers = [layer.block for layer in layers if layer.block is not None]
    current, result = (numbers[0] if numbers else 0), []
    for layer in layers:
        current = current if layer.block is None else layer.block
        result.append(current)
    return np.array(result, dtype=int)


def _mean_within(cka: Float[np.ndarray, "repeats n n"], part: np.ndarray) -> Float[np.ndarray, " repeats"]:
    """Mean over pairs of different layers of a part; NaN where it has a single layer."""
    chosen = np.outer(part, part) & ~np.eye(len(part), dtype=bool)
    return cka[:, chosen].mean(axis=1) if chosen.any() else np.full(len(cka), np.nan)


def _mean(
    values: Float[np.ndarray, "repeats *rest"], chosen: np.ndarray, what: str
) -> Float[np.ndarray, " repeats"]:
    if not chosen.any():
        raise ValueError(f"There are no {what} among {chosen.shape[0]} layers. Read more layers.")
    return values[:, chosen].mean(axis=1)
