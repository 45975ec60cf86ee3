"""Figure 12: what less data changes inside a network, beyond what chance changes.

Let F be a network that was trained on all data, S one on a share of it, and C, the control, one on all data again,
in another order. All three begin with the same weights and take as many steps. Of block b of B,

    k_b(S) = CKA(block b of F, block b of S)

and the same for C. Both fall over depth, since two trainings that differ in chance alone do not end in the same
features. What the share of the data adds to that is, for the last block, first against last,

    d = [k_1(S) - k_B(S)] - [k_1(C) - k_B(C)].

There is one d for each training, that is for each weights to begin with.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from seelike.models import training_record
from seelike.sections.scale_and_transfer import first_minus_last_block
from seelike.sections.twins import all_but


@dataclass(frozen=True)
class Pair:
    """Two networks whose blocks are compared with each other.

    Attributes:
        full: The network that was trained on all data.
        other: The one that is compared with it.

    Example:
        >>> pair = Pair("tiny/vit_7x7", "tiny/vit_7x7_10_percent")
        >>> str(pair), pair.size, pair.label, pair.share
        ('vit_7x7_10_percent with vit_7x7', 'vit_7x7', '10 %', 0.1)
    """

    full: str
    other: str

    def __str__(self) -> str:
        """Name the pair."""
        return " with ".join(name.removeprefix("tiny/") for name in (self.other, self.full))

    @property
    def size(self) -> str:
        """The network on all data, whatever its seed."""
        return re.sub(r"_seed_\d+$", "", self.full.removeprefix("tiny/"))

    @property
    def share(self) -> float | None:
        """The share of the data that the other one saw; None where no record tells."""
        record = training_record(self.other)
        return None if record is None else float(record.configuration.get("share_of_images", 1.0))

    @property
    def label(self) -> str:
        """What was different in the training of the other one."""
        if self.share is None:
            return self.other
        if self.share < 1:
            return f"{self.share:.0%}".replace("%", " %")
        return "all, in another order" if self.is_control else "all, another seed"

    @property
    def is_control(self) -> bool:
        """Whether the two differ in nothing but the order of the images, and what follows from it."""
        full, other = training_record(self.full), training_record(self.other)
        return full is not None and other is not None and all_but("order", full) == all_but("order", other)


def pairs(groups: Sequence[Sequence[str]]) -> dict[str, Pair]:
    """List what is compared with what.

    Args:
        groups: In each the network on all data, then those that are compared with it.

    Returns:
        The pairs, by what they are called.

    Example:
        >>> list(pairs([["tiny/vit_7x7", "tiny/vit_7x7_30_percent", "tiny/vit_7x7_10_percent"]]))
        ['vit_7x7_30_percent with vit_7x7', 'vit_7x7_10_percent with vit_7x7']
    """
    found = [Pair(full, other) for full, *others in groups for other in others]
    return {str(pair): pair for pair in found}


def by_size_and_label(
    similarity: Mapping[Pair, Float[np.ndarray, "repeats blocks"]],
) -> dict[str, dict[str, Float[np.ndarray, "trainings blocks"]]]:
    """Average over draws of images, and put the trainings of the same network on the same data together.

    Args:
        similarity: CKA of each block with the same block of the network on all data, by pair.

    Returns:
        For each size of network and each label of a `Pair`, a row for each training.

    Example:
        >>> pair = Pair("tiny/vit_7x7", "tiny/vit_7x7_10_percent")
        >>> by_size_and_label({pair: np.array([[0.9, 0.5], [0.9, 0.7]])})
        {'vit_7x7': {'10 %': array([[0.9, 0.6]])}}
    """
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for pair, values in similarity.items():
        found.setdefault(pair.size, {}).setdefault(pair.label, []).append(values.mean(axis=0))
    return {size: {label: np.stack(rows) for label, rows in of.items()} for size, of in found.items()}


def labels(pairs: Iterable[Pair]) -> list[str]:
    """List the labels of pairs, from much data to little, with those on all data at the end.

    Example:
        >>> vit = "tiny/vit_7x7"
        >>> labels([Pair(vit, f"{vit}_3_percent"), Pair(vit, f"{vit}_30_percent")])
        ['30 %', '3 %']
    """
    ordered = sorted(pairs, key=lambda pair: -(pair.share or 0) if pair.share != 1 else 1)
    return list(dict.fromkeys(pair.label for pair in ordered))


def due_to_data(
    similarity: Mapping[Pair, Float[np.ndarray, "repeats blocks"]], share: float
) -> dict[str, dict[str, Float[np.ndarray, " repeats"]]]:
    """Compute how much more a share of the data changes the last block than the first, beyond chance: d above.

    Args:
        similarity: CKA of each block with the same block of the network on all data, by pair.
        share: Which share of the data.

    Returns:
        For each size of network and each training of it, by the name of the network on all data, d on each draw.
        Trainings that have no control, or no network on that share, are left out.

    Example:
        >>> small = "tiny/vit_7x7_small"
        >>> similarity = {
        ...     Pair(small, f"{small}_10_percent"): np.array([[0.9, 0.5], [0.9, 0.6]]),
        ...     Pair(small, f"{small}_other_order"): np.array([[0.9, 0.7], [0.9, 0.7]]),
        ... }
        >>> due_to_data(similarity, 0.1)["vit_7x7_small"][small].round(2)
        array([0.2, 0.1])
    """
    controls = {pair.full: values for pair, values in similarity.items() if pair.is_control}
    found: dict[str, dict[str, np.ndarray]] = {}
    for pair, values in similarity.items():
        if pair.share == share and pair.full in controls:
            d = first_minus_last_block(values) - first_minus_last_block(controls[pair.full])
            found.setdefault(pair.size, {})[pair.full] = d
    return found


def much_and_little(
    groups: Sequence[Sequence[str]], measured: Mapping[str, Float[np.ndarray, "repeats blocks"]]
) -> dict[str, dict[str, Float[np.ndarray, "trainings blocks"]]]:
    """Put what was measured on networks trained on much and on little data together, by size (Figure 13, left).

    Args:
        groups: In each a network on much data, and the same on little.
        measured: By network; groups of which one is not there are left out.

    Returns:
        For each size the means over draws of those on much and of those on little data, a row for each training.

    Example:
        >>> much, little = "tiny/vit_7x7", "tiny/vit_7x7_3_percent"
        >>> measured = {much: np.array([[0.5, 0.9]]), little: np.array([[0.4, 0.7]])}
        >>> much_and_little([[much, little]], measured)
        {'vit_7x7': {'much data': array([[0.5, 0.9]]), 'little data': array([[0.4, 0.7]])}}
    """
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for much, little, *_ in groups:
        if much in measured and little in measured:
            lines = found.setdefault(Pair(much, little).size, {"much data": [], "little data": []})
            lines["much data"].append(measured[much].mean(axis=0))
            lines["little data"].append(measured[little].mean(axis=0))
    return {size: {label: np.stack(rows) for label, rows in of.items()} for size, of in found.items()}
