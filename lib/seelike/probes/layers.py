"""Linear probes: what a layer knows about the class of an image (Figures 11, 13, D.4 and F.1 to F.3).

A probe is ridge regression from the representation of an image, in one layer and at one token, to targets
{-1, 1}^C, in closed form; it predicts the class of the largest output. `seelike.probes.ridge` has the mathematics.
Each token, and each way of pooling tokens, is a problem of its own, and all are solved at once.

A ResNet has few channels early, which would put its early layers at a disadvantage. So the feature map [c, h, w]
is cut into patches of k x k locations, and each patch flattened, with k such that c k^2 is near the c of the last
stage. Then it is averaged over the grid of the last stage (Appendix A). What is left are tokens, as in a
Transformer.

Networks are read batch by batch. What is kept of the training images are sums for each layer and token (or the
features, while there are fewer images than features); of the test images, who was right.

Source: Raghu et al. (2021), Section 7 and Appendices A, D and F.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn
from torch.nn import functional

from seelike.data import ImageSet
from seelike.errors import unknown_name
from seelike.models import Layer, Place, places, read
from seelike.models import layers as all_layers
from seelike.models.measurable import require_measurable
from seelike.probes.labels import as_labels, require_same_kind
from seelike.probes.ridge import RidgeSums
from seelike.probes.strength import STRENGTHS, best_strength, check_strengths, held_out_part
from seelike.streaming import Images, accumulate, fingerprint
from seelike.streaming.memory import number_of_bytes
from seelike.streaming.moments import Moments

TOKENS = ("cls", "first", "each", "mean", "mean of spatial", "mean but first")
Labelled = ImageSet | tuple[ImageSet | Tensor, Any]


def few_shot(images: ImageSet, per_class: int, seed: int) -> ImageSet:
    """Draw the same number of images of each class, without replacement, in random order.

    The same seed draws the same images on every platform. Of one seed, fewer images of a class are among more.
    Classes without any image are left out, and a warning says so.

    Args:
        images: An image set with classes.
        per_class: How many of each class; the paper draws 10.
        seed: Seed of the generator, 0 or more.

    Raises:
        ValueError: The images have no classes, or a class has fewer images. The error names the classes.

    Example:
        >>> from seelike.data import load
        >>> few = few_shot(load("fashion-mnist/test"), per_class=10, seed=0)
        >>> few, np.bincount(few.labels).tolist()
        (<ImageSet 'fashion-mnist/test': 100 images, 10 classes>, [10, 10, 10, 10, 10, 10, 10, 10, 10, 10])
    """
    if images.labels is None or images.class_names is None:
        raise ValueError(f"{images.name} has no classes. Few-shot sampling draws from each class; give labels.")
    if per_class < 1:
        raise ValueError(f"per_class is {per_class}; expected 1 or more.")
    counts = images.images_per_class()
    if few := {name: n for name, n in counts.items() if 0 < n < per_class}:
        raise ValueError(
            f"{len(few)} classes of {images.name} have fewer than {per_class} images: "
            f"{', '.join(f'{name} ({n})' for name, n in list(few.items())[:5])}{', ...' if len(few) > 5 else ''}. "
            f"Ask for at most {min(few.values())} of each class, or give more images."
        )
    if missing := [name for name, n in counts.items() if n == 0]:
        warnings.warn(
            f"{len(missing)} of the {len(counts)} classes of {images.name} have no image here, such as "
            f"{missing[0]}: they are left out.",
            stacklevel=2,
        )
    order = np.random.default_rng(seed).permutation(len(images))
    drawn = np.zeros(len(counts), dtype=np.int64)
    chosen = []
    for i in order:
        if drawn[images.labels[i]] < per_class:
            drawn[images.labels[i]] += 1
            chosen.append(i)
    return images.select(np.array(chosen, dtype=np.int64))


@dataclass(frozen=True)
class ProbeAccuracy:
    """How well probes of one layer classify the test images.

    Attributes:
        layer: The layer.
        tokens: Which tokens were probed, as `probe_layers` was asked.
        accuracy: Share of the test images that are classified rightly: a single number `[]`, or for "each" one for
            every token, `[t]`, prefix tokens (CLS, registers) first.
        standard_error: Of the accuracy over test images, sqrt(p (1 - p) / (n - 1)). What other training images
            would give is beyond it: repeat with other seeds.
        average: For "each", the mean accuracy of the spatial tokens (Figure 11, left).
        average_standard_error: Of the average, from the mean over tokens for each test image.
        alpha: The strength that was chosen, of the shape of the accuracy.
        num_prefix_tokens: How many of the tokens are not spatial.
        grid: Rows and columns of the spatial tokens, for maps; None where they form no square.
    """

    layer: Layer
    tokens: str
    accuracy: Float64[Tensor, "..."]
    standard_error: Float64[Tensor, "..."]
    average: float
    average_standard_error: float
    alpha: Float64[Tensor, "..."]
    num_prefix_tokens: int
    grid: tuple[int, int] | None

    @property
    def map(self) -> Float64[Tensor, "rows columns"]:
        """The accuracy of each spatial token at its place (Figure D.4)."""
        if self.tokens != "each" or self.grid is None:
            raise ValueError(f"There is a map only for each token of a grid; these are of {self.tokens!r}.")
        return self.accuracy[self.num_prefix_tokens :].reshape(self.grid)


def probe_layers(
    model: nn.Module,
    train: Labelled,
    test: Labelled,
    *,
    tokens: str | Sequence[str] = "cls",
    layers: Sequence[str] | None = None,
    alphas: Sequence[float] = STRENGTHS,
    held_out: Labelled | SupportsFloat = 0.2,
    seed: int = 0,
    batch_size: int = 64,
    memory: str | int = "8GB",
    cache: str | Path | None = None,
) -> list[ProbeAccuracy]:
    """Train linear probes on layers of a network, and test them (Figures 11, 13, D.4 and F.1 to F.3).

    Args:
        model: A network in evaluation mode.
        train: Training images: an image set with classes; or images, such as prepared ones `[n, channels, height,
            width]`, with the class of each `[n]`, a whole number or a string. The paper takes 10 of each class:
            see `few_shot`.
        test: Test images, in the same way, of classes that the training images have. Classes are matched by name,
            or by number where none of the images have names.
        tokens: What is probed, in one pass also several: "cls", the CLS token; "first", whatever token comes
            first; "each" token by itself; the "mean" of all, the "mean of spatial" tokens (without CLS and
            registers), or the "mean but first" (Figure 11, right). A ResNet's tokens are its locations, with
            patches flattened as the head of this module says.
        layers: Names of layers; None takes the output of every block.
        alphas: Strengths to choose from, for each layer and token by itself.
        held_out: Images to choose the strength by, in the same way as `train`; or the share of the training
            images of each class to hold out for it, and then the probes are trained on all of them. Chosen is the
            strength whose outputs point most nearly to the targets there (`seelike.probes.strength`).
        seed: Of drawing the share that is held out.
        batch_size: Most images in a forward pass. The result does not depend on it.
        memory: What sums and weights may take, about: bytes, or text such as "8GB". Where they need more, the
            images pass through the network once for each group of layers.
        cache: Folder to keep the state in, so that a call that was stopped goes on where it was.

    Returns:
        Accuracies with standard errors: for each layer in firing order, one for each of `tokens`.

    Raises:
        UnknownName: There is no such layer, or no such choice of tokens.
        ValueError: The network is in training mode or has no such token, images have no classes, test images are
            of other classes, classes are fractions or cannot be matched, or there are too few images of a class.

    Example:
        >>> from seelike.data import load
        >>> from seelike.models import load as load_model
        >>> images = load("fashion-mnist/test")
        >>> train = few_shot(images.select(np.arange(5000)), per_class=10, seed=0)
        >>> test = images.select(np.arange(5000, 5100))
        >>> probes = probe_layers(load_model("tiny/vit_7x7"), train, test, tokens=["cls", "each"])
        >>> [(probe.layer.name, probe.tokens, list(probe.accuracy.shape)) for probe in probes[:2]]
        [('block 1', 'cls', []), ('block 1', 'each', [50])]
        >>> probes[-1].map.shape, bool(probes[-2].accuracy > 0.6)
        (torch.Size([7, 7]), True)
    """
    require_measurable(model)
    strengths, budget = check_strengths(alphas), number_of_bytes(memory)
    kinds = (tokens,) if isinstance(tokens, str) else tuple(tokens)
    for kind in kinds:
        if kind not in TOKENS:
            raise unknown_name("choice of tokens", kind, TOKENS)
    chosen = all_layers(model, names=layers, kinds=["block"] if layers is None else None)
    given = {"train": train, "test": test}
    refit = not isinstance(held_out, ImageSet | tuple | list)
    parts = _matched(given if refit else {**given, "held out": held_out})
    num_classes, num_images = len(parts["train"].classes), len(parts["train"].labels)
    if refit:
        left = held_out_part(parts["train"].labels, held_out, seed, parts["train"].classes)
        parts["held out"] = parts["train"].select(left)
        parts["train"] = parts["train"].select(~left)
    readings = _readings(model, chosen, kinds, parts["train"].images)
    # What earlier passes saw is in the result of the later ones, and so in the key of what is kept of them.
    settings = f"{kinds} {strengths.tolist()} by agreement {refit}"
    if cache is not None:
        shown = [Images(part.images, model).fingerprint() + fingerprint(part.labels) for part in parts.values()]
        settings += f" {shown}"
    rows: list[ProbeAccuracy] = []
    for group in _groups(readings, num_classes, num_images, budget):
        names = [reading.layer.name for reading in group]
        passes = {"batch_size": batch_size, "cache": cache, "settings": f"{settings} {names}"}
        rows += _probe_group(model, group, parts, num_classes, strengths, refit, passes)
    return rows


@dataclass(frozen=True)
class _LabelledImages:
    images: ImageSet | Tensor
    labels: Int64[Tensor, "n"]  # places in the classes
    classes: np.ndarray

    def select(self, which: Tensor) -> "_LabelledImages":
        places = which.nonzero()[:, 0]
        chosen = self.images.select(places.numpy()) if isinstance(self.images, ImageSet) else self.images[places]
        return _LabelledImages(chosen, self.labels[places], self.classes)


def _matched(given: Mapping[str, Any]) -> dict[str, _LabelledImages]:
    """Number the classes of training and other images alike: those that the training images have, from 0."""
    read = {what: _images_and_classes(some, what) for what, some in given.items()}
    if any(names != read["train"][2] for _, _, names in read.values()):
        # Numbers mean the same only in sets of the same names.
        read = {
            what: (images, _by_name(labels, names, what), None) for what, (images, labels, names) in read.items()
        }
    classes = np.unique(read["train"][1])
    if len(classes) < 2:
        raise ValueError(f"train has images of {len(classes)} class; a probe needs at least 2 classes.")
    matched = {}
    for what, (images, labels, _) in read.items():
        require_same_kind(labels, classes, what, "train")
        if len(unseen := np.setdiff1d(labels, classes)):
            raise ValueError(
                f"{what} has images of classes {unseen.tolist()[:5]}, of which train has none. No probe can be "
                "right there: leave them out, or add such images to train."
            )
        matched[what] = _LabelledImages(images, torch.from_numpy(np.searchsorted(classes, labels)), classes)
    return matched


def _images_and_classes(given: Any, what: str) -> tuple[ImageSet | Tensor, np.ndarray, list[str] | None]:
    """Give images, their classes, and, where these are places in a list of names, the names."""
    names = None
    if isinstance(given, ImageSet):
        images, labels, names = given, given.labels, given.class_names
        if labels is None:
            raise ValueError(f"{what} has no classes. Give an image set with classes, or (images, labels).")
    elif isinstance(given, tuple | list) and len(given) == 2 and isinstance(given[0], ImageSet | Tensor):
        images, labels = given
    else:
        raise ValueError(
            f"{what} is of type {type(given).__name__}; expected an image set with classes, or (images, labels), "
            "with images a tensor [n, channels, height, width]."
        )
    return images, as_labels(labels, len(images), f"labels of {what}"), names


def _by_name(labels: np.ndarray, names: list[str] | None, what: str) -> np.ndarray:
    if names is None:
        return labels
    if twice := [name for name in set(names) if names.count(name) > 1]:
        raise ValueError(
            f"{what} has several classes of the name {twice[0]!r}, so that they cannot be matched with those of "
            "other images by name. Give each a name of its own."
        )
    return np.array(names)[labels]


@dataclass(frozen=True)
class _Reading:
    """How the tokens that are probed are read off a layer: `[b, probes, d]`."""

    layer: Layer
    kinds: tuple[str, ...]
    place: Place
    grid: tuple[int, int] | None  # of what is probed
    patch: int  # side of the patches that a map is cut into; 1 for none

    @property
    def num_prefix_tokens(self) -> int:
        return len(self.place.prefix)

    @property
    def num_tokens(self) -> int:
        spatial = self.place.num_tokens - self.num_prefix_tokens if self.grid is None else math.prod(self.grid)
        return self.num_prefix_tokens + spatial

    @property
    def width(self) -> int:
        return self.place.width * self.patch**2

    def __call__(self, activation: Tensor) -> Float[Tensor, "b probes d"]:
        tokens = self.place.tokens(activation)
        if self.grid is not None and self.grid != self.place.grid:
            prefix, spatial = tokens[:, : self.num_prefix_tokens], tokens[:, self.num_prefix_tokens :]
            cut = functional.pixel_unshuffle(
                spatial.mT.unflatten(2, self.place.require_grid()).float(), self.patch
            )
            pooled = functional.adaptive_avg_pool2d(cut, self.grid).flatten(2).mT
            tokens = torch.cat((prefix.float(), pooled), dim=1) if self.num_prefix_tokens else pooled
        return torch.cat([self._read(kind, tokens) for kind in self.kinds], dim=1)

    def _read(self, kind: str, tokens: Tensor) -> Tensor:
        if kind == "each":
            return tokens
        if kind in ("cls", "first"):
            return tokens[:, :1]
        begin = {"mean": 0, "mean of spatial": self.num_prefix_tokens, "mean but first": 1}[kind]
        return tokens[:, begin:].mean(dim=1, keepdim=True, dtype=torch.float32)

    def split(self, values: Tensor) -> dict[str, Tensor]:
        """Give every kind of tokens its part of the last axis."""
        sizes = [self.num_tokens if kind == "each" else 1 for kind in self.kinds]
        return dict(zip(self.kinds, values.split(sizes, dim=-1), strict=True))

    def with_average(self, hits: Tensor) -> Float[Tensor, "b _"]:
        """Add the average over the spatial tokens of "each", image by image; NaN without."""
        each = self.split(hits).get("each", hits[:, :0])
        return torch.cat([hits, each[:, self.num_prefix_tokens :].mean(dim=1, keepdim=True)], dim=1)


def _readings(
    model: nn.Module, chosen: Sequence[Layer], kinds: tuple[str, ...], images: ImageSet | Tensor
) -> list[_Reading]:
    if not chosen:
        raise ValueError(f"{type(model).__name__} has no known blocks. Name the layers to probe.")
    blocks = [layer for layer in all_layers(model) if layer.kind == "block"]
    where = places(
        model, [*chosen, *(block for block in blocks if block not in chosen)], Images(images, model)[:1]
    )
    last = [where[block.name] for block in blocks if where[block.name].grid is not None][-1:]
    readings = []
    for layer in chosen:
        place = where[layer.name]
        if place.channels is None or place.kind == "vector":
            raise ValueError(f"Layer {layer.name!r} gives {list(place.shape)} for one image: {place.why}")
        if "cls" in kinds and not place.has_cls:
            raise ValueError(
                f"{type(model).__name__} has no CLS token at {layer.name!r}. Ask for tokens='mean', 'each' or "
                "'first'."
            )
        grid, patch = place.grid, 1
        if layer.kind == "block" and last and grid is not None and grid != last[0].grid:
            # Of one size with the last stage's. Tokens without a place are not cut into patches.
            grid = last[0].require_grid()
            if not place.prefix:
                patch = patch_side((place.width, *place.require_grid()), (last[0].width, *grid))
        reading = _Reading(layer, kinds, place, grid, patch)
        if reading.num_tokens < 2 and "mean but first" in kinds:
            raise ValueError(
                f"Layer {layer.name!r} has {reading.num_tokens} token; 'mean but first' needs at least 2."
            )
        readings.append(reading)
    return readings


def patch_side(shape: Sequence[int], last: Sequence[int]) -> int:
    """Give the side of the patches whose flattened width is nearest to the width of the last stage.

    Patches tile the map, and leave at least as many of them as the last stage has locations.

    Args:
        shape: Channels, height and width of a feature map.
        last: The same of the last stage.

    Example:
        >>> [patch_side(shape, (2048, 7, 7)) for shape in ((256, 56, 56), (512, 28, 28), (1024, 14, 14))]
        [2, 2, 1]
    """
    channels, height, width = shape
    fitting = [
        side
        for side in range(1, min(height, width) + 1)
        if height % side == width % side == 0 and height // side >= last[1] and width // side >= last[2]
    ]
    return min(fitting or [1], key=lambda side: (abs(channels * side**2 - last[0]), side))


def _groups(
    readings: Sequence[_Reading], num_classes: int, num_images: int, memory: int
) -> Iterator[list[_Reading]]:
    """Split layers into groups whose sums, eigenvectors and weights stay within the memory, in bytes."""
    group: list[_Reading] = []
    taken = 0.0
    for reading in readings:
        probes = sum(reading.num_tokens if kind == "each" else 1 for kind in reading.kinds)
        rank = min(num_images, reading.width)
        # In float64: the sums of both parts of the images (or the features), the factorisation, the weights.
        needed = 8.0 * probes * (rank + num_classes) * reading.width * 4
        if group and taken + needed > memory:
            yield group
            group, taken = [], 0.0
        group.append(reading)
        taken += needed
    if group:
        yield group


def _probe_group(
    model: nn.Module,
    group: Sequence[_Reading],
    parts: Mapping[str, _LabelledImages],
    num_classes: int,
    strengths: Tensor,
    refit: bool,
    passes: Mapping[str, Any],
) -> list[ProbeAccuracy]:
    by_name = {reading.layer.name: reading for reading in group}
    chosen = [reading.layer for reading in group]

    def carry(part: str, measured: Callable[[str, Tensor, Tensor], dict[str, Any]], into: dict[str, Any]) -> None:
        labels = parts[part].labels

        def measure(batch: Tensor, first: int) -> dict[str, Any]:
            def reduce(layer: Layer, activation: Tensor) -> dict[str, Any]:
                own = labels[first : first + len(batch)].to(activation.device)
                return measured(layer.name, by_name[layer.name](activation), own)

            by_layer = read(model, chosen, batch, reduce)
            return {name: value for values in by_layer.values() for name, value in values.items()}

        accumulate(model, parts[part].images, measure, into, what=f"probes {part}", **passes)

    def sums_of(name: str, features: Tensor, labels: Tensor) -> dict[str, Any]:
        sums = RidgeSums(num_classes)
        sums.update(features, labels)
        return {name: sums}

    sums = {name: RidgeSums(num_classes) for name in by_name}
    carry("train", sums_of, sums)
    paths = {name: each.path() for name, each in sums.items()}

    def scores_of(name: str, features: Tensor, labels: Tensor) -> dict[str, Any]:
        device, scores = paths[name].mean.device, Moments()
        scores.update(
            paths[name].scores(features.movedim(0, -2).to(device), labels.to(device), strengths.to(device))
        )
        return {f"{name} score": scores, **(sums_of(name, features, labels) if refit else {})}

    more = {name: RidgeSums(num_classes) for name in by_name} if refit else {}
    scores = {f"{name} score": Moments() for name in by_name}
    carry("held out", scores_of, {**scores, **more})
    for name, each in more.items():
        sums[name].merge(each)
        paths[name] = sums[name].path()
    alphas = {name: best_strength(scores[f"{name} score"].mean.cpu(), strengths) for name in by_name}
    ridges = {name: path.at(alphas[name]) for name, path in paths.items()}

    def accuracy_of(name: str, features: Tensor, labels: Tensor) -> dict[str, Any]:
        predicted = ridges[name].predict(features.movedim(0, -2).to(ridges[name].mean.device))
        hits = (predicted == labels.to(predicted.device)).movedim(-1, 0).double()
        accuracy = Moments()
        accuracy.update(by_name[name].with_average(hits))
        return {name: accuracy}

    accuracies = {name: Moments() for name in by_name}
    carry("test", accuracy_of, accuracies)
    return [row for name, reading in by_name.items() for row in _rows(reading, accuracies[name], alphas[name])]


def _rows(reading: _Reading, accuracy: Moments, alpha: Tensor) -> Iterator[ProbeAccuracy]:
    mean, error = accuracy.mean.cpu(), accuracy.standard_error.cpu()
    means, errors, alphas = (reading.split(values) for values in (mean[:-1], error[:-1], alpha))
    for kind in reading.kinds:
        if kind == "each":
            values, average = (means[kind], errors[kind], alphas[kind]), (mean[-1], error[-1])
        else:
            values = (means[kind][0], errors[kind][0], alphas[kind][0])
            average = values[:2]
        yield ProbeAccuracy(
            layer=reading.layer,
            tokens=kind,
            accuracy=values[0],
            standard_error=values[1],
            average=float(average[0]),
            average_standard_error=float(average[1]),
            alpha=values[2],
            num_prefix_tokens=reading.num_prefix_tokens,
            grid=reading.grid,
        )
