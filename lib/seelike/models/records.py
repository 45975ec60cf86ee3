"""How each tiny network was trained, and how well it does: read from the record beside its weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    def images(self) -> str:
        """The image set that it was trained and tested on, a name of `seelike.data.load`."""
        return self.configuration.get("images", "fashion-mnist")


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
