"""Train the tiny networks of the book.

    python -m seelike.train vit_7x7 mixer      these networks
    python -m seelike.train --all              every network of models/tiny.toml that has no weights yet

The table says on which images each is trained, on how many of them, for how long, and from which weights. Each run
leaves NAME.safetensors (float16) and NAME.json (configuration, learning curve, accuracy, seconds, device) in the
output folder. A run that was stopped goes on after its last whole epoch. The same seed, device, precision and
number of threads give the same weights.
"""

import argparse
import json
import math
import platform
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import timm
import torch
from jaxtyping import Bool, Float, Int, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

import seelike
from seelike import data
from seelike.errors import unknown_name
from seelike.models.records import CHECKPOINTS
from seelike.models.tiny import PIXEL_MEAN, PIXEL_STD, TINY, build

BATCH_SIZE = 128
PEAK_LEARNING_RATE = 2e-3
WARM_UP = 0.1  # of all steps
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
LARGEST_SHIFT = 2  # pixels
ERASED_SIDE = 8  # pixels
ERASED_SHARE = 0.25  # of the images

PARTS = 10  # of the test images
CLASSIFIER = "head."  # what the names of its weights begin with, in all architectures of the table

Precision = Literal["float32", "bfloat16"]


@dataclass
class Pixels:
    """All images of a set in memory, with their classes."""

    images: UInt8[Tensor, "n 28 28"]
    labels: Int[Tensor, "n"]

    def to(self, device: str) -> "Pixels":
        """Give the same images on another device."""
        return Pixels(self.images.to(device), self.labels.to(device))


@dataclass
class Progress:
    """What a run has done so far: enough, with the weights, to go on with it."""

    epochs_done: int = 0
    seconds: float = 0.0
    curve: list[dict[str, int | float]] = field(default_factory=list)


@cache
def pixels(name: str) -> Pixels:
    """Read a labelled set of 28 x 28 grey images into memory.

    Args:
        name: A name that `seelike.data.load` knows.

    Example:
        >>> pixels("fashion-mnist/test").images.shape
        torch.Size([10000, 28, 28])
    """
    images = data.load(name)
    if images.labels is None:
        raise ValueError(f"{name!r} has no classes. Give a folder with one subfolder for each class.")
    grey_levels = [np.asarray(image.convert("L")) for image in map(images.__getitem__, range(len(images)))]
    if sizes := {each.shape for each in grey_levels} - {(28, 28)}:
        raise ValueError(f"{name!r} has images of {sizes.pop()} pixels; expected 28 x 28. Resize them.")
    return Pixels(torch.from_numpy(np.stack(grey_levels)), torch.tensor(images.labels))


def share_of_each_class(labels: Int[Tensor, "n"], share: float) -> Int[Tensor, "m"]:
    """Choose the same share of every class, the same images every time; a smaller share is part of a larger one.

    Args:
        labels: The class of each image.
        share: Of the images of each class, above 0 and up to 1.

    Returns:
        Indices of the images, in ascending order.

    Example:
        >>> share_of_each_class(torch.tensor([0, 0, 0, 0, 1, 1]), 0.5).shape
        torch.Size([3])
    """
    generator = torch.Generator().manual_seed(0)
    chosen = []
    for label in labels.unique():
        of_class = (labels == label).nonzero()[:, 0].cpu()
        order = torch.randperm(len(of_class), generator=generator)
        chosen.append(of_class[order[: max(1, round(share * len(of_class)))]])
    return torch.cat(chosen).sort().values


def normalise(images: UInt8[Tensor, "b 28 28"]) -> Float[Tensor, "b 1 28 28"]:
    """Turn grey levels into the numbers that the tiny networks read.

    Example:
        >>> normalise(torch.zeros(2, 28, 28, dtype=torch.uint8)).shape
        torch.Size([2, 1, 28, 28])
    """
    return ((images.float() / 255 - PIXEL_MEAN) / PIXEL_STD).unsqueeze(1)


def augment(
    images: Float[Tensor, "b 1 side side"], generator: torch.Generator, *, mirrored: bool = True
) -> Float[Tensor, "b 1 side side"]:
    """Shift every image by up to two pixels, mirror half of them and erase a square in a quarter of them.

    Args:
        images: Normalised images.
        generator: Where the random numbers come from; on the CPU, so that every device draws the same.
        mirrored: Whether to mirror.

    Example:
        >>> augment(torch.zeros(4, 1, 28, 28), torch.Generator()).shape
        torch.Size([4, 1, 28, 28])
    """
    count, _, side, _ = images.shape
    device = images.device

    def draw(low: int, high: int) -> Int[Tensor, "b 1"]:
        return torch.randint(low, high, (count, 1), generator=generator).to(device)

    def share(probability: float) -> Tensor:
        return (torch.rand(count, 1, generator=generator) < probability).to(device)

    position = torch.arange(side, device=device)
    rows = (position + draw(-LARGEST_SHIFT, LARGEST_SHIFT + 1)).clamp(0, side - 1)
    columns = (position + draw(-LARGEST_SHIFT, LARGEST_SHIFT + 1)).clamp(0, side - 1)
    columns = torch.where(share(0.5 if mirrored else 0.0), side - 1 - columns, columns)
    image = torch.arange(count, device=device)
    shifted = images[image[:, None, None], 0, rows[:, :, None], columns[:, None, :]]

    top, left = draw(0, side - ERASED_SIDE + 1), draw(0, side - ERASED_SIDE + 1)
    in_rows = (position >= top) & (position < top + ERASED_SIDE)
    in_columns = (position >= left) & (position < left + ERASED_SIDE)
    erased = in_rows[:, :, None] & in_columns[:, None, :] & share(ERASED_SHARE)[:, :, None]
    return shifted.masked_fill(erased, 0.0).unsqueeze(1)


def learning_rate(step: int, steps: int, peak: float = PEAK_LEARNING_RATE) -> float:
    """Give the learning rate of a step: a linear warm-up to the peak, then half a cosine down to zero.

    Example:
        >>> learning_rate(10, 100) == PEAK_LEARNING_RATE
        True
    """
    warm_up = WARM_UP * steps
    if step < warm_up:
        return peak * step / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


@torch.no_grad()
def rightly_classified(model: nn.Module, test: Pixels) -> Bool[Tensor, "n"]:
    """Tell of each image whether a network gives it its class.

    Example:
        >>> test = Pixels(torch.zeros(8, 28, 28, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64))
        >>> rightly_classified(build("tiny/mixer"), test).shape
        torch.Size([8])
    """
    was_training = model.training
    model.eval()
    classes = [model(normalise(images)).argmax(dim=1) for images in test.images.split(500)]
    model.train(was_training)
    return torch.cat(classes) == test.labels


def _share(right: Bool[Tensor, "n"]) -> float:
    return int(right.sum()) / len(right)


def train(
    name: str,
    training: Pixels,
    test: Pixels,
    *,
    output: Path = CHECKPOINTS,
    work: Path = Path("build/training"),
    device: str = "cpu",
    precision: Precision = "float32",
) -> float:
    """Train one network of the table and write its weights and its record.

    Args:
        name: A name of `models/tiny.toml`.
        training: The images to train on, of which the network takes its share of every class.
        test: The images that measure accuracy after every epoch; they choose nothing.
        output: Folder for `NAME.safetensors` and `NAME.json`.
        work: Folder for the state after each epoch, from which a stopped run goes on.
        device: Where to train: "cpu", "cuda", ...
        precision: Of the products in the network. Weights, sums and the loss are float32 either way.

    Returns:
        The accuracy of the weights as they were written, rounded to float16.

    Raises:
        UnknownName: The table has no such network.
        ValueError: A run of another configuration or precision was stopped, and its state is still in `work`.
        FileNotFoundError: The network is finetuned from another, which has no weights yet.
    """
    if name not in TINY:
        raise unknown_name("tiny model", name, TINY)
    configuration = TINY[name]
    torch.manual_seed(configuration["seed"])
    model = build(name)
    if "finetuned_from" in configuration:
        _take_weights(model, configuration["finetuned_from"], output)
    model = model.to(device).train()
    optimiser = torch.optim.AdamW(_parameter_groups(model), lr=0.0, weight_decay=WEIGHT_DECAY)
    generator = torch.Generator().manual_seed(configuration["seed"])
    chosen = share_of_each_class(training.labels, configuration.get("share_of_images", 1.0))
    training = Pixels(training.images[chosen], training.labels[chosen]).to(device)
    test = test.to(device)

    state_file = work / f"{name}.pt"
    run = {**configuration, "precision": precision, "training_images": len(chosen)}
    progress = _resume(state_file, run, model, optimiser, generator)
    while progress.epochs_done < configuration["epochs"]:
        started = time.perf_counter()
        loss = _epoch(model, optimiser, generator, training, configuration, progress, name, precision)
        test_accuracy = _share(rightly_classified(model, test))
        progress.epochs_done += 1
        progress.seconds += time.perf_counter() - started
        progress.curve.append({"epoch": progress.epochs_done, "loss": loss, "accuracy": test_accuracy})
        print(f"{name}: epoch {progress.epochs_done}, loss {loss:.3f}, accuracy {test_accuracy:.4f}", flush=True)
        _keep(state_file, run, model, optimiser, generator, progress)

    reached = _write(output, name, model, test, progress, device, precision, len(chosen))
    state_file.unlink(missing_ok=True)
    return reached


def _parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    # Weight decay pulls on matrices only: on biases, norms, the CLS token and positions it does harm.
    matrices = [
        p for name, p in model.named_parameters() if p.ndim > 1 and "embed" not in name and "token" not in name
    ]
    held = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in held]
    return [{"params": matrices}, {"params": rest, "weight_decay": 0.0}]


def _epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    training: Pixels,
    configuration: dict[str, Any],
    progress: Progress,
    name: str,
    precision: Precision,
) -> float:
    epochs = configuration["epochs"]
    peak = configuration.get("learning_rate", PEAK_LEARNING_RATE)
    device = training.labels.device
    order = torch.randperm(len(training.labels), generator=generator).to(device)
    batches = order.split(BATCH_SIZE)
    losses = []
    for index, chosen in enumerate(
        tqdm(batches, desc=f"{name} epoch {progress.epochs_done + 1}/{epochs}", mininterval=5)
    ):
        for group in optimiser.param_groups:
            step = progress.epochs_done * len(batches) + index + 1
            group["lr"] = learning_rate(step, epochs * len(batches), peak)
        images = augment(
            normalise(training.images[chosen]), generator, mirrored=configuration.get("mirrored", True)
        )
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            scores = model(images)
        loss = nn.functional.cross_entropy(
            scores.float(), training.labels[chosen], label_smoothing=LABEL_SMOOTHING
        )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())


def _keep(
    file: Path,
    configuration: dict[str, Any],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    progress: Progress,
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "configuration": configuration,
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "generator": generator.get_state(),
        "progress": asdict(progress),
    }
    # A kill in the middle of writing must not cost the epochs before it.
    half_written = file.with_suffix(".part")
    torch.save(state, half_written)
    half_written.replace(file)


def _resume(
    file: Path,
    configuration: dict[str, Any],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
) -> Progress:
    if not file.exists():
        return Progress()
    state = torch.load(file, weights_only=True, map_location="cpu")
    # Epochs set the learning rates, so not even a longer run can go on from a shorter one.
    if state.get("configuration") != configuration:
        raise ValueError(
            f"{file} is of a run with another configuration: {state.get('configuration')}; now it is "
            f"{configuration}. Remove the file to begin anew, or put the configuration back to go on."
        )
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    generator.set_state(state["generator"])
    return Progress(**state["progress"])


def _take_weights(model: nn.Module, name: str, output: Path) -> None:
    """Begin with the weights of a trained network, all but those of its last layer, which tells the classes."""
    file = output / f"{name}.safetensors"
    if not file.exists():
        raise FileNotFoundError(f"There is no {file} to finetune. Train {name!r} first, into the same folder.")
    weights = {key: value.float() for key, value in load_file(file).items() if not key.startswith(CLASSIFIER)}
    found = model.load_state_dict(weights, strict=False)
    assert not found.unexpected_keys
    assert all(key.startswith(CLASSIFIER) for key in found.missing_keys)


def _write(
    output: Path,
    name: str,
    model: nn.Module,
    test: Pixels,
    progress: Progress,
    device: str,
    precision: Precision,
    training_images: int,
) -> float:
    output.mkdir(parents=True, exist_ok=True)
    weights = {key: value.half().contiguous().cpu() for key, value in model.state_dict().items()}
    file = output / f"{name}.safetensors"
    save_file(weights, file, metadata={"architecture": f"tiny/{name}"})
    # The accuracy that we state is that of the file, not of the float32 weights it was rounded from.
    model.load_state_dict({key: value.float() for key, value in load_file(file).items()})
    right = rightly_classified(model, test)
    reached = _share(right)
    record = {
        "name": f"tiny/{name}",
        "configuration": TINY[name],
        "parameters": sum(p.numel() for p in model.parameters()),
        "training_images": training_images,
        "accuracy": reached,
        "accuracy_standard_error": math.sqrt(reached * (1 - reached) / len(test.labels)),
        # Of ten parts of the test images, in their order: networks are compared on the same images.
        "accuracy_by_part": [_share(part) for part in right.tensor_split(PARTS)],
        "test_images": len(test.labels),
        "curve": progress.curve,
        "seconds": round(progress.seconds, 1),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else f"CPU ({platform.machine()})",
        "precision": precision,
        "threads": torch.get_num_threads(),
        "versions": {"seelike": seelike.__version__, "torch": torch.__version__, "timm": timm.__version__},
    }
    (output / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    return reached


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: see the top of this file."""
    parser = argparse.ArgumentParser(
        prog="python -m seelike.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"networks to train: {', '.join(TINY)}")
    parser.add_argument("--all", action="store_true", help="every network that has no weights yet")
    parser.add_argument("--output", type=Path, default=CHECKPOINTS, help="folder for the weights and records")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="float32",
        help="bfloat16 is about twice as fast where the processor has it",
    )
    parser.add_argument("--threads", type=int, help="CPU threads to use (default: all)")
    options = parser.parse_args(arguments)
    names = [name.removeprefix("tiny/") for name in options.names]
    if options.all:
        names += [name for name in TINY if not (options.output / f"{name}.safetensors").exists()]
    for name in names:
        if name not in TINY:
            parser.error(str(unknown_name("tiny model", name, TINY)))
    if not names:
        parser.error("nothing to train: give one or more names, or --all")
    if options.threads:
        torch.set_num_threads(options.threads)
    for name in names:
        images = TINY[name].get("images", "fashion-mnist")
        reached = train(
            name,
            pixels(f"{images}/train"),
            pixels(f"{images}/test"),
            output=options.output,
            device=options.device,
            precision=options.precision,
        )
        print(f"{name}: accuracy {reached:.4f} on the test images", flush=True)


if __name__ == "__main__":
    main()
