"""Networks that differ in one entry of their training alone: what is that entry worth in accuracy?

Twins begin with the same weights, see the same images in the same order, and are augmented alike. What tells them
apart is one entry of the table `models/tiny.toml`, such as the block without skip connections, and rounding.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from seelike.models import TrainingRecord
from seelike.models.tiny import TINY


def twins(records: Iterable[TrainingRecord], entry: str, first: object = None) -> dict[str, list[TrainingRecord]]:
    """Find the networks that differ from another in one entry alone.

    Args:
        records: Of all networks that are looked at.
        entry: Of the table, such as "without_skips".
        first: What the networks have there with which the others are compared; None where they have no such entry.

    Returns:
        By the name of each network that has any, its twins, in the order of the records.

    Example:
        >>> from seelike.models import training_records
        >>> found = twins(training_records(), "without_skips")
        >>> [record.configuration["without_skips"] for record in found["tiny/vit_7x7"]]
        [1, 3, 4, 6, 8]
    """
    of: dict[str, list[TrainingRecord]] = {}
    for record in records:
        if "checkpoint_of" not in record.configuration:
            of.setdefault(json.dumps(all_but(entry, record), sort_keys=True), []).append(record)
    found = {}
    for family in of.values():
        intact = next((record for record in family if record.configuration.get(entry) == first), None)
        if intact is not None and len(family) > 1:
            found[intact.name] = [record for record in family if record is not intact]
    return found


def all_but(entry: str, record: TrainingRecord) -> dict[str, Any]:
    """Give what the table says of a network but for one entry: twins have it in common.

    Example:
        >>> from seelike.models import training_record
        >>> intact, cut = map(training_record, ["tiny/vit_7x7", "tiny/vit_7x7_without_skips_4"])
        >>> all_but("without_skips", intact) == all_but("without_skips", cut)
        True
    """
    return _without(entry, record.configuration)


def _without(entry: str, configuration: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in configuration.items() if key != entry}


def last_gain(records: Sequence[TrainingRecord]) -> dict[str, float]:
    """Compute how much accuracy rose in the last tenth of a training; near zero where the curve is flat.

    Args:
        records: Of networks; those with no curve, such as one before training, are left out.

    Returns:
        By name, the accuracy at the end minus that after nine tenths of the way or just before, as a share.

    Example:
        >>> from seelike.models import training_record
        >>> gains = last_gain([training_record("tiny/resnet")])
        >>> abs(gains["tiny/resnet"]) < 0.01
        True
    """
    found = {}
    for record in records:
        ends = [point for point in record.curve if point["epoch"] <= 0.9 * record.curve[-1]["epoch"]]
        if ends:
            found[record.name] = record.curve[-1]["accuracy"] - ends[-1]["accuracy"]
    return found


def are_trainings(names: Collection[str]) -> bool:
    """Tell whether networks are trainings of one tiny network, which differ in their seed alone.

    Args:
        names: Of any networks.

    Example:
        >>> are_trainings(["tiny/vit_7x7_small", "tiny/vit_7x7_small_seed_1"])
        True
        >>> are_trainings(["tiny/vit_7x7", "tiny/resnet"]), are_trainings(["resnet50"])
        (False, False)
    """
    kinds = [_without("seed", TINY.get(name.removeprefix("tiny/").removesuffix(":random"), {})) for name in names]
    return len(kinds) > 1 and bool(kinds[0]) and all(kind == kinds[0] for kind in kinds)
