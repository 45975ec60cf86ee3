"""Train the tiny networks of the book.

    python -m seelike.train vit_7x7 mixer                       these networks
    python -m seelike.train --family vit_7x7_small              all that differ from it in seed, order or share of
                                                                the images, removed skips or pooling
    python -m seelike.train --all                               every network of models/tiny.toml
    python -m seelike.train --family resnet --at-once 5         five side by side, as one stacked model

With --family and --all, what has weights already is not trained again. The table says on which images each is
trained, on how many of them, for how long, and from which weights. Each run leaves NAME.safetensors (float16) and
NAME.json (configuration, learning curve, accuracy, seconds, device) in the output folder, and the same for what
the network was on its way, where the table has a name for it. A run that was stopped goes on after its last round,
which is an epoch or less. The same seed, device, precision, number of threads and of networks side by side give
the same weights; alone or side by side, they differ by rounding.
"""

import argparse
import hashlib
import json
import math
import platform
import time
from collections.abc import Sequence
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
from seelike.models.stacked import Stack
from seelike.models.tiny import PIXEL_MEAN, PIXEL_STD, TINY, build

BATCH_SIZE = 128
PEAK_LEARNING_RATE = 2e-3
WARM_UP = 0.1  # of all steps
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
LARGEST_SHIFT = 2  # pixels
ERASED_SIDE = 8  # pixels
ERASED_SHARE = 0.25  # of the images

CHANCES = 6  # random numbers that decide how an image is augmented
LONGEST_ROUND = 469  # steps between two measurements of the accuracy: an epoch of 60,000 images

PARTS = 10  # of the test images
# In these entries of the table, networks that are trained side by side may differ.
MAY_DIFFER = {"seed", "order", "share_of_images", "epochs", "without_skips", "pooling"}
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
    """What a run has done so far: enough, with the weights, to go on with it.

    Attributes:
        steps_done: Steps of the optimiser.
        seconds: They took, of all networks together.
        curves: For each network, points of "epoch", "loss" and "accuracy".
    """

    steps_done: int = 0
    seconds: float = 0.0
    curves: list[list[dict[str, float]]] = field(default_factory=list)


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
    images: Float[Tensor, "b 1 side side"], chance: Float[Tensor, "b 6"], *, mirrored: bool = True
) -> Float[Tensor, "b 1 side side"]:
    """Shift every image by up to two pixels, mirror half of them and erase a square in a quarter of them.

    Args:
        images: Normalised images.
        chance: Random numbers from 0 to 1 that decide for each image: its shift down and to the right, whether it
            is mirrored, the row and the column of the square, and whether it is erased.
        mirrored: Whether to mirror.

    Example:
        >>> augment(torch.zeros(4, 1, 28, 28), torch.rand(4, CHANCES)).shape
        torch.Size([4, 1, 28, 28])
    """
    count, _, side, _ = images.shape

    def draw(index: int, low: int, high: int) -> Int[Tensor, "b 1"]:
        return (low + chance[:, index, None] * (high + 1 - low)).floor().long()

    position = torch.arange(side, device=images.device)
    rows = (position + draw(0, -LARGEST_SHIFT, LARGEST_SHIFT)).clamp(0, side - 1)
    columns = (position + draw(1, -LARGEST_SHIFT, LARGEST_SHIFT)).clamp(0, side - 1)
    if mirrored:
        columns = torch.where(chance[:, 2, None] < 0.5, side - 1 - columns, columns)
    image = torch.arange(count, device=images.device)
    shifted = images[image[:, None, None], 0, rows[:, :, None], columns[:, None, :]]

    top, left = draw(3, 0, side - ERASED_SIDE), draw(4, 0, side - ERASED_SIDE)
    in_rows = (position >= top) & (position < top + ERASED_SIDE)
    in_columns = (position >= left) & (position < left + ERASED_SIDE)
    erased = in_rows[:, :, None] & in_columns[:, None, :] & (chance[:, 5] < ERASED_SHARE)[:, None, None]
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


def family(name: str) -> list[str]:
    """List the networks of the table that can be trained side by side with one: they differ in `MAY_DIFFER` alone.

    Example:
        >>> family("resnet")
        ['resnet', 'resnet_seed_1', 'resnet_seed_2', 'resnet_seed_3', 'resnet_seed_4']
    """
    return [other for other in TINY if _kind(other) == _kind(name)]


def _kind(name: str) -> dict[str, Any]:
    """Tell what the networks of a family have in common, the length of the training included."""
    entry = TINY[name]
    images_seen = round(entry["epochs"] * entry.get("share_of_images", 1.0), 1)
    return {**{key: value for key, value in entry.items() if key not in MAY_DIFFER}, "images_seen": images_seen}


def train(
    names: Sequence[str],
    training: Pixels,
    test: Pixels,
    *,
    output: Path = CHECKPOINTS,
    work: Path = Path("build/training"),
    device: str = "cpu",
    precision: Precision = "float32",
) -> dict[str, float]:
    """Train networks of one family side by side, and write the weights and the record of each.

    Each has its own initial weights, images and order of them, and gets what it would get alone, but for rounding.

    Args:
        names: Of `models/tiny.toml`, one or more of one `family`.
        training: The images to train on, of which each network takes its share of every class.
        test: The images that measure accuracy on the way; they choose nothing.
        output: Folder for `NAME.safetensors` and `NAME.json`.
        work: Folder for the state after each round, from which a stopped run goes on.
        device: Where to train: "cpu", "cuda", ... Images and weights stay there.
        precision: Of the products in the network. Weights, sums and the loss are float32 either way.

    Returns:
        For each network the accuracy of the weights as they were written, rounded to float16.

    Raises:
        UnknownName: The table has no such network.
        ValueError: The networks are not of one family; or a run of another configuration or precision was stopped,
            and its state is still in `work`.
        FileNotFoundError: A network is finetuned from another, which has no weights yet.
    """
    _check(names)
    models = [_begin(name, output).to(device).train() for name in names]
    stack = Stack(models)
    optimiser = torch.optim.AdamW(_parameter_groups(stack), lr=0.0, weight_decay=WEIGHT_DECAY)
    feeds = [_feed(name, training.labels) for name in names]
    run = _Run(list(names), stack, optimiser, feeds, training.to(device), test.to(device), precision, output)
    state_file = work / f"{names[0]}{f'_and_{len(names) - 1}_more' * (len(names) > 1)}.pt"
    progress = _resume(state_file, run)
    for until in [end for end in _ends(run) if end > progress.steps_done or end == 0 == progress.steps_done]:
        if until > 0:
            _round(run, progress, until)
        _write_checkpoints(run, progress)
        _keep(state_file, run, progress)

    reached = {name: _write(run, progress, name, index) for index, name in enumerate(names)}
    state_file.unlink(missing_ok=True)
    return reached


@dataclass(frozen=True)
class _Feed:
    """What one network reads: which images, and the seed of their order and augmentation."""

    chosen: Int[Tensor, "n"]
    order: int

    def images(self, first: int, last: int) -> Int[Tensor, "steps b"]:
        """Choose the images of some steps: all of them in a new order, and then again in another."""
        count = len(self.chosen)
        epochs = range(first * BATCH_SIZE // count, (last * BATCH_SIZE - 1) // count + 1)
        orders = [torch.randperm(count, generator=_generator(self.order, "order", epoch)) for epoch in epochs]
        start = first * BATCH_SIZE - epochs.start * count
        positions = torch.cat(orders)[start : start + (last - first) * BATCH_SIZE]
        return self.chosen[positions].view(last - first, BATCH_SIZE)

    def chance(self, first: int, last: int) -> Float[Tensor, "steps b chances"]:
        """Draw what decides the augmentation of the images of some steps."""
        steps = [_generator(self.order, "augmentation", step) for step in range(first, last)]
        return torch.stack([torch.rand(BATCH_SIZE, CHANCES, generator=generator) for generator in steps])


@dataclass(frozen=True)
class _Run:
    """Networks that are being trained side by side, and all that they need."""

    names: list[str]
    stack: Stack
    optimiser: torch.optim.Optimizer
    feeds: list[_Feed]
    training: Pixels
    test: Pixels
    precision: Precision
    output: Path

    @property
    def steps(self) -> int:
        return round(TINY[self.names[0]]["epochs"] * len(self.feeds[0].chosen) / BATCH_SIZE)

    @property
    def configuration(self) -> dict[str, Any]:
        """What must be the same in a run that goes on."""
        return {
            "networks": {name: TINY[name] for name in self.names},
            "precision": self.precision,
            "training_images": [len(feed.chosen) for feed in self.feeds],
        }

    def checkpoints(self) -> dict[str, tuple[int, int]]:
        """Tell which networks of the table are one of these on its way: the index of that one, and the step."""
        return {
            name: (self.names.index(whole), self.steps_of(self.names.index(whole), entry["after_epochs"]))
            for name, entry in TINY.items()
            if (whole := entry.get("checkpoint_of")) in self.names
        }

    def steps_of(self, index: int, epochs: int | float) -> int:
        return round(epochs * len(self.feeds[index].chosen) / BATCH_SIZE)


def _check(names: Sequence[str]) -> None:
    for name in names:
        if name not in TINY:
            raise unknown_name("tiny model", name, TINY)
        if whole := TINY[name].get("checkpoint_of"):
            raise ValueError(
                f"{name!r} is a checkpoint on the way of {whole!r}. Train {whole!r}, which writes both."
            )
        if _kind(name) != _kind(names[0]):
            raise ValueError(
                f"{name!r} cannot be trained side by side with {names[0]!r}: they differ in more than "
                f"{', '.join(sorted(MAY_DIFFER))}. Train them one after the other."
            )


def _begin(name: str, output: Path) -> nn.Module:
    torch.manual_seed(TINY[name]["seed"])
    model = build(name)
    if "finetuned_from" in TINY[name]:
        _take_weights(model, TINY[name]["finetuned_from"], output)
    return model


def _feed(name: str, labels: Int[Tensor, "n"]) -> _Feed:
    entry = TINY[name]
    chosen = share_of_each_class(labels, entry.get("share_of_images", 1.0))
    return _Feed(chosen, entry.get("order", entry["seed"]))


def _generator(seed: int, purpose: str, index: int) -> torch.Generator:
    """Give the random numbers for one purpose: no state to keep, and the same however a run is cut into parts."""
    digest = hashlib.sha256(f"{seed} {purpose} {index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))


def _ends(run: _Run) -> list[int]:
    """List the steps after which accuracies are measured: ten times, or every epoch if that is more often."""
    steps = run.steps
    each = max(1, min(LONGEST_ROUND, steps // 10))
    on_the_way = {step for _, step in run.checkpoints().values()}
    return sorted({*range(each, steps, each), *(step for step in on_the_way if step < steps), steps})


def _parameter_groups(stack: Stack) -> list[dict[str, Any]]:
    # Weight decay pulls on matrices only: on biases, norms, the CLS token and positions it does harm. The networks
    # are one more axis.
    matrices = {
        name
        for name, weights in stack.weights.items()
        if weights.ndim > 2 and "embed" not in name and "token" not in name
    }
    rest = [weights for name, weights in stack.weights.items() if name not in matrices]
    return [
        {"params": [stack.weights[name] for name in stack.weights if name in matrices]},
        {"params": rest, "weight_decay": 0.0},
    ]


def _round(run: _Run, progress: Progress, until: int) -> None:
    """Train up to a step, and measure the accuracies after it."""
    started = time.perf_counter()
    losses = _steps(run, progress.steps_done, until)
    run.stack.unstack()
    progress.steps_done = until
    for index, (name, model) in enumerate(zip(run.names, run.stack.models, strict=True)):
        accuracy = _share(rightly_classified(model, run.test))
        epoch = until * BATCH_SIZE / len(run.feeds[index].chosen)
        progress.curves[index].append({"epoch": round(epoch, 3), "loss": losses[index], "accuracy": accuracy})
        print(f"{name}: epoch {epoch:.1f}, loss {losses[index]:.3f}, accuracy {accuracy:.4f}", flush=True)
    progress.seconds += time.perf_counter() - started


def _steps(run: _Run, first: int, last: int) -> list[float]:
    """Take the steps from `first` to before `last`, and give the mean loss of each network."""
    device = run.training.labels.device
    entry = TINY[run.names[0]]
    chosen = torch.stack([feed.images(first, last) for feed in run.feeds], dim=1).to(device)
    chance = torch.stack([feed.chance(first, last) for feed in run.feeds], dim=1).to(device)
    losses = []
    for step in tqdm(range(first, last), desc=", ".join(run.names), mininterval=5):
        for group in run.optimiser.param_groups:
            group["lr"] = learning_rate(step + 1, run.steps, entry.get("learning_rate", PEAK_LEARNING_RATE))
        flat = chosen[step - first].flatten()
        images = augment(
            normalise(run.training.images[flat]),
            chance[step - first].flatten(0, 1),
            mirrored=entry.get("mirrored", True),
        )
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=run.precision == "bfloat16"):
            scores = run.stack.scores(images.unflatten(0, (len(run.names), BATCH_SIZE)))
        loss = nn.functional.cross_entropy(
            scores.float().flatten(0, 1),
            run.training.labels[flat],
            label_smoothing=LABEL_SMOOTHING,
            reduction="none",
        ).unflatten(0, (len(run.names), BATCH_SIZE))
        run.optimiser.zero_grad()
        # The mean over the images of each network; the sum over networks, so that each has its own gradient.
        loss.mean(dim=1).sum().backward()
        run.stack.clip_gradients(1.0)
        run.optimiser.step()
        losses.append(loss.detach().mean(dim=1))
    return [float(each) for each in torch.stack(losses).mean(dim=0)]


def _keep(file: Path, run: _Run, progress: Progress) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "configuration": run.configuration,
        "weights": {name: weights.detach() for name, weights in run.stack.weights.items()},
        "optimiser": run.optimiser.state_dict(),
        "progress": asdict(progress),
    }
    # A kill in the middle of writing must not cost the rounds before it.
    half_written = file.with_suffix(".part")
    torch.save(state, half_written)
    half_written.replace(file)


def _resume(file: Path, run: _Run) -> Progress:
    if not file.exists():
        return Progress(curves=[[] for _ in run.names])
    state = torch.load(file, weights_only=True, map_location="cpu")
    # Epochs set the learning rates, so not even a longer run can go on from a shorter one.
    if state.get("configuration") != run.configuration:
        raise ValueError(
            f"{file} is of a run with another configuration: {state.get('configuration')}; now it is "
            f"{run.configuration}. Remove the file to begin anew, or put the configuration back to go on."
        )
    with torch.no_grad():
        for name, weights in run.stack.weights.items():
            weights.copy_(state["weights"][name])
    run.stack.unstack()
    run.optimiser.load_state_dict(state["optimiser"])
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


def _write_checkpoints(run: _Run, progress: Progress) -> None:
    """Write what the networks are on their way, where the table has a name for it."""
    for name, (index, step) in run.checkpoints().items():
        if step == progress.steps_done:
            _write(run, progress, name, index)


def _write(run: _Run, progress: Progress, name: str, index: int) -> float:
    """Write the weights that a network has now, and their record, under a name of the table."""
    run.output.mkdir(parents=True, exist_ok=True)
    model = run.stack.models[index]
    weights = {key: value.half().contiguous().cpu() for key, value in model.state_dict().items()}
    file = run.output / f"{name}.safetensors"
    save_file(weights, file, metadata={"architecture": f"tiny/{name}"})
    # The accuracy that we state is that of the file, not of the float32 weights it was rounded from.
    model.load_state_dict({key: value.float() for key, value in load_file(file).items()})
    right = rightly_classified(model, run.test)
    reached = _share(right)
    device = run.test.labels.device
    record = {
        "name": f"tiny/{name}",
        "configuration": TINY[name],
        "parameters": sum(p.numel() for p in model.parameters()),
        "training_images": len(run.feeds[index].chosen),
        "accuracy": reached,
        "accuracy_standard_error": math.sqrt(reached * (1 - reached) / len(right)),
        # Of ten parts of the test images, in their order: networks are compared on the same images.
        "accuracy_by_part": [_share(part) for part in right.tensor_split(PARTS)],
        "test_images": len(right),
        "curve": progress.curves[index],
        # Of a network's share in the time of all that were trained side by side.
        "seconds": round(progress.seconds / len(run.names), 1),
        "side_by_side": len(run.names),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU ({platform.machine()})",
        "precision": run.precision,
        "threads": torch.get_num_threads(),
        "versions": {"seelike": seelike.__version__, "torch": torch.__version__, "timm": timm.__version__},
    }
    (run.output / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    return reached


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: see the top of this file."""
    options = _options().parse_args(arguments)
    names = [name.removeprefix("tiny/") for name in options.names]
    for name in names:
        if name not in TINY:
            _options().error(str(unknown_name("tiny model", name, TINY)))
    if options.family:
        names = [each for name in names for each in family(name)]
    if options.all:
        names += [name for name in TINY if "checkpoint_of" not in TINY[name]]
    if options.all or options.family:
        names = [name for name in dict.fromkeys(names) if not (options.output / f"{name}.safetensors").exists()]
    if not names:
        _options().error(
            "nothing to train: give one or more names, or --all; what has weights is not trained again"
        )
    if options.threads:
        torch.set_num_threads(options.threads)
    for group in _groups(names, options.at_once):
        images = TINY[group[0]].get("images", "fashion-mnist")
        reached = train(
            group,
            pixels(f"{images}/train"),
            pixels(f"{images}/test"),
            output=options.output,
            device=options.device,
            precision=options.precision,
        )
        for name, accuracy in reached.items():
            print(f"{name}: accuracy {accuracy:.4f} on the test images", flush=True)


def _groups(names: Sequence[str], at_once: int) -> list[list[str]]:
    """Put names of one family together, in groups of at most so many, in the order of the first of each.

    Example:
        >>> _groups(["resnet", "mixer", "resnet_seed_1"], 8)
        [['resnet', 'resnet_seed_1'], ['mixer']]
    """
    groups: list[list[str]] = []
    for name in names:
        room = (group for group in groups if len(group) < at_once and _kind(group[0]) == _kind(name))
        if group := next(room, None):
            group.append(name)
        else:
            groups.append([name])
    return groups


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m seelike.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"networks to train: {', '.join(TINY)}")
    parser.add_argument("--all", action="store_true", help="every network that has no weights yet")
    parser.add_argument(
        "--family", action="store_true", help="all without weights that can be trained side by side with these"
    )
    parser.add_argument(
        "--at-once",
        type=int,
        default=8 if torch.cuda.is_available() else 1,
        metavar="N",
        help="train up to so many of one family side by side; a GPU has room for many, a CPU gains nothing by it",
    )
    parser.add_argument("--output", type=Path, default=CHECKPOINTS, help="folder for the weights and records")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="float32",
        help="bfloat16 is faster on a GPU; on a CPU a small network is slower with it",
    )
    parser.add_argument("--threads", type=int, help="CPU threads to use (default: all)")
    return parser


if __name__ == "__main__":
    main()
