"""How each tiny network was trained, and how well it does: read from the record beside its weights."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from seelike.models.tiny import TINY

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"


@dataclass(frozen=True)
class TrainingRecord:
    """One run of `python -m seelike.train`.

    Attributes:
        name: "tiny/vit_7x7".
        configuration: Its entry in the table `models/tiny.toml`.
        parameters: Numbers that were trained.
        training_images: How many images it was trained on.
        test_images: How many measured its accuracy.
        accuracy: Share of these that its weights, as they are stored, classify rightly.
        standard_error: Of that share: binomial.
        accuracy_by_part: Of each of ten parts of the test images, in their order; empty where it was not kept.
        curve: For each epoch, "epoch", "loss" (on augmented training images) and "accuracy" (on the test images).
        seconds: How long it took.
        device: Where it ran.
        precision: "float32" or "bfloat16".
    """

    name: str
    configuration: dict[str, Any]
    parameters: int
    training_images: int
    test_images: int
    accuracy: float
    standard_error: float
    accuracy_by_part: list[float]
    curve: list[dict[str, int | float]]
    seconds: float
    device: str
    precision: str

    @property
    def in_percent(self) -> str:
        """The accuracy in percent, with its standard error."""
        return f"{100 * self.accuracy:.1f} ± {100 * self.standard_error:.1f}"

    @property
    def images(self) -> str:
        """The image set that it was trained and tested on, a name of `seelike.data.load`."""
        return self.configuration.get("images", "fashion-mnist")

    @property
    def group(self) -> str:
        """What the network was trained for, the same words for all that are compared with each other."""
        family = {"vit": "ViTs", "resnetv2": "ResNets", "mixer": "Mixers"}[self.configuration["architecture"]]
        if "finetuned_from" in self.configuration:
            return f"{family}, finetuned"
        if "without_skips" in self.configuration:
            return f"{family} without the skip connections of one block"
        if "share_of_images" in self.configuration:
            return f"{family} on a share of the images"
        return f"{family} on all images"


def training_record(name: str) -> TrainingRecord | None:
    """Read how a tiny network was trained.

    Args:
        name: A name that `seelike.models.load` takes.

    Returns:
        None for a network that is not one of this package, or has no weights here.

    Example:
        >>> record = training_record("tiny/resnet")
        >>> record.accuracy > 0.8, record.standard_error < 0.005, training_record("resnet18")
        (True, True, None)
    """
    file = CHECKPOINTS / f"{name.removeprefix('tiny/')}.json"
    if not name.startswith("tiny/") or not file.exists():
        return None
    content = json.loads(file.read_text())
    return TrainingRecord(
        name=content["name"],
        configuration=content["configuration"],
        parameters=content["parameters"],
        training_images=content["training_images"],
        test_images=content["test_images"],
        accuracy=content["accuracy"],
        standard_error=content["accuracy_standard_error"],
        accuracy_by_part=content.get("accuracy_by_part", []),
        curve=content["curve"],
        seconds=content["seconds"],
        device=content["device"],
        precision=content["precision"],
    )


def training_records() -> list[TrainingRecord]:
    """Read the records of all tiny networks that have weights, in the order of the table.

    Example:
        >>> [record.name for record in training_records()][:2]
        ['tiny/vit_7x7', 'tiny/vit_14x14']
    """
    found = (training_record(f"tiny/{name}") for name in TINY)
    return [record for record in found if record is not None]


def model_card(records: Sequence[TrainingRecord]) -> pd.DataFrame:
    """Put the records of networks into one table, for people to read.

    Args:
        records: One row each.

    Returns:
        By network: its parameters, the images it was trained on, how often it saw each, its accuracy on test
        images in percent with the binomial standard error, and the minutes that training took.

    Example:
        >>> print(model_card([training_record("tiny/resnet")]).columns.tolist())
        ['parameters', 'trained on', 'epochs', 'accuracy (%)', 'minutes']
    """
    rows = {
        record.name.removeprefix("tiny/"): {
            "parameters": f"{record.parameters:,}",
            "trained on": f"{record.training_images:,} {record.images}",
            "epochs": record.configuration["epochs"],
            "accuracy (%)": record.in_percent,
            "minutes": f"{record.seconds / 60:.0f}",
        }
        for record in records
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def accuracy_difference(better: TrainingRecord, worse: Sequence[TrainingRecord]) -> Float[np.ndarray, " parts"]:
    """Compare the accuracies of networks on the same images, in parts, so that the difference has an uncertainty.

    Images that are hard are so for all networks. On each part of the test images that cancels.

    Args:
        better: The network that is expected to be right more often.
        worse: The networks to compare it with; their accuracies are averaged.

    Returns:
        For each part of the test images, the first accuracy minus the mean of the others, as a share of them.

    Raises:
        ValueError: There is nothing to compare with, a record has no accuracies of parts, or the networks were
            tested on different images.

    Example:
        >>> vit, gap = training_record("tiny/vit_7x7"), training_record("tiny/vit_7x7_gap")
        >>> accuracy_difference(vit, [gap]).shape
        (10,)
    """
    if not worse:
        raise ValueError("accuracy_difference needs one or more networks to compare with; got none.")
    for record in (better, *worse):
        if not record.accuracy_by_part:
            raise ValueError(
                f"The record of {record.name!r} has no accuracies of parts of the test images. Train it again."
            )
        if record.images != better.images:
            raise ValueError(
                f"{record.name!r} was tested on {record.images}, {better.name!r} on {better.images}. Compare "
                "networks that were tested on the same images."
            )
    return np.array(better.accuracy_by_part) - np.mean([record.accuracy_by_part for record in worse], axis=0)
