"""Measure every figure of the paper at the paper's size against the bare passes, and how the cost grows.

    python benchmarks/paper_scale.py [--device cuda|cpu] [--scale full|small] [--only ROW ...] [--rounds 3]
                                     [--precisions float32 mixed] [--again]

Random-weight networks of the real architectures look at random images with the spectrum of photographs, made on
the device. Each row is one measurement of the library, timed in turn with the bare forward or backward passes that
it cannot do without, and with peers where there are any. `--scale full` is the paper's protocol, for a GPU of 141
GB; `--scale small` runs the same code with small networks and few images, to prove the script on a CPU: its
numbers say nothing about a GPU. Seconds are those of the clock on a GPU, and those of the processor, all threads
together, on a CPU, where other work may run beside.

A round is a unit of the row's work: one repeat of CKA, one image of receptive fields with all channels, elsewhere
the whole. Rows with more units than rounds say how many were timed. Results are written after every round to
benchmarks/results/paper_scale.json: what was stopped goes on, and a row that was measured with this code, these
versions and on this device is not measured again, unless `--again` is given. benchmarks/speed_page.py makes the
table and the pictures of it.

What is counted: operations of matrix products, convolutions and eigendecompositions, and bytes, each tensor of
each operation read or written once (`hardware.Costs`), on a part of a round, scaled to the round where the cost is
proportional to images. Their shares are of the time of the row, at the rates of a matrix product and of a copy
that were measured when the process began. Peak memory is of the measurement alone: on a GPU that of the tensors
there, on a CPU that of the process.
"""

import argparse
import copy
import hashlib
import json
import math
import os
import statistics
import subprocess
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import side_by_side
import timm
import torch
from architectures import ARCHITECTURES
from attention import distances_of_maps, usual_way
from few_shot_baseline import fit_few_shot_probe
from hardware import Costs, forget_peak, rates, shares
from receptive_field import STREAM, bare
from side_by_side import ratio, surroundings
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from seelike.attention import attention_distances
from seelike.cka import cka_between, compare_models
from seelike.localization import token_patch_cka
from seelike.models import PRECISIONS, Layer, layers, precision_of, with_precision
from seelike.models.loading import input_size
from seelike.probes import RidgeProbe, probe_layers
from seelike.receptive_field import effective_receptive_field
from seelike.sections.linear_probes import HELD_OUT
from seelike.skip import skip_ratios
from seelike.streaming.memory import most_in_use

NAME = "paper_scale"
SCALES = ("full", "small")
# Code whose change makes results old.
MEASURED = ("lib/seelike", "benchmarks")
NOT_MEASURED = {"speed_page.py", "expected.py", "run_all.py", "costs.py"}
ROOT = Path(__file__).parents[1]
FEW_SHOT_STRENGTH = 2.0**10


@dataclass(frozen=True)
class Size:
    """How large a row is.

    Attributes:
        networks: Names of architectures, of `ARCHITECTURES` or of timm.
        images: In one unit of work.
        passes: Images in a forward pass; rows of a backward pass.
        minibatch: Images of an HSIC.
        units: How many units the whole work has.
        memory: What the measurement is told that it may take.
        layers: How many layers are read, spread evenly, or the last of the blocks; None for all.
        channels: Of receptive fields.
        classes: Of probes.
        test: How many of the images are for testing probes.
        side: Of the images in pixels; None for what the network asks for.
        depth: Blocks of the network; None for as many as it has.
    """

    networks: tuple[str, ...]
    images: int
    passes: int
    minibatch: int = 0
    units: int = 1
    memory: str = "8GB"
    layers: int | None = None
    channels: Any = "all"
    classes: int = 0
    test: int = 0
    side: int | None = None
    depth: int | None = None


@dataclass(frozen=True)
class Works:
    """What a row times: functions of a number of images.

    Attributes:
        ours: The measurement.
        against: What it is held against.
        against_name: What that is, such as "bare forward passes".
        peers: Others that do the same, by name, and by what their seconds are multiplied where they do a part.
        part: Images of which costs are counted; None for all, where they are not proportional to images.
        read: What is read, in words.
    """

    ours: Callable[[int], object]
    against: Callable[[int], object]
    against_name: str
    peers: Mapping[str, tuple[Callable[[int], object], float]] = field(default_factory=dict)
    part: int | None = None
    read: str = ""


@dataclass(frozen=True)
class Limit:
    """What a row may take at most: times what it is held against, seconds, gigabytes."""

    ratio: float | None = None
    seconds: float | None = None
    gigabytes: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    title: str
    prepare: Callable[[Size, Sequence[nn.Module], Tensor], Works]
    full: Size
    small: Size
    limit: Limit = Limit()
    peer_rounds: int | None = None
    precisions: tuple[str, ...] = PRECISIONS


def natural_like(number: int, side: int, device: str, seed: int = 0) -> Tensor:
    """Make images whose amplitude falls as one over frequency, as in photographs, `[number, 3, side, side]`.

    Half of what they show is grey. Each has mean 0 and standard deviation 1, like normalised pixels.
    """
    generator = torch.Generator(device).manual_seed(seed)
    rows, columns = torch.fft.fftfreq(side, device=device), torch.fft.rfftfreq(side, device=device)
    frequency = torch.hypot(rows[:, None], columns).clamp(min=1 / side)
    images = torch.empty(number, 3, side, side, device=device)
    for some in images.split(256):
        noise = torch.randn(len(some), 4, side, side, generator=generator, device=device)
        noise = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency, s=(side, side))
        some.copy_(noise[:, :1] + noise[:, 1:] / math.sqrt(3))
        some.sub_(some.mean(dim=(1, 2, 3), keepdim=True)).div_(some.std(dim=(1, 2, 3), keepdim=True))
    return images


def network(name: str, device: str, size: Size) -> nn.Module:
    """Make a network with random weights, with no branch that begins at zero."""
    architecture = ARCHITECTURES.get(name, name)
    options: dict[str, Any] = {"zero_init_last": False} if "resnet" in architecture else {}
    if size.side is not None and "vit" in architecture:
        options["img_size"] = size.side
    if size.depth is not None:
        options["depth"] = size.depth
    torch.manual_seed(0)
    return timm.create_model(architecture, **options).eval().requires_grad_(False).to(device)


@torch.no_grad()
def forward_passes(models: Sequence[nn.Module], images: Tensor, passes: int) -> None:
    """Run the networks, and keep nothing."""
    for batch in images.split(passes):
        for model in models:
            model(batch)


def evenly(everything: Sequence[Layer], number: int | None) -> list[Layer]:
    """Choose layers from the first to the last; of one, the last, before which no forward pass can stop."""
    if number is None:
        return list(everything)
    return [everything[i] for i in np.linspace(len(everything) - 1, 0, number)[::-1].round().astype(int)]


def of_cka(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """Figures 1 and 2: CKA of all layers with all, one repeat."""
    named = dict(zip(size.networks, models, strict=True))
    chosen = {name: evenly(layers(model), size.layers) for name, model in named.items()}

    def ours(n: int) -> None:
        compare_models(
            named,
            images[:n],
            number_of_images=n,
            batch_size=size.minibatch,
            repeats=1,
            seed=0,
            layers=chosen,
            device=images.device,
            memory=size.memory,
        )

    return Works(
        ours,
        lambda n: forward_passes(models, images[:n], size.passes),
        "bare forward passes",
        part=size.minibatch,
        read=f"{sum(map(len, chosen.values()))} layers, minibatches of {size.minibatch}",
    )


def of_attention(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """Figure 3: attention distances of all heads; as a peer, of maps that are stored."""
    (model,) = models
    unfused = with_precision(usual_way(with_precision(copy.copy(model), "float32")), precision_of(model))

    def stored(n: int) -> None:
        for batch in images[:n].split(size.passes):
            distances_of_maps(unfused, batch)

    tokens = model.patch_embed.num_patches + model.num_prefix_tokens
    maps = 4 * sum(block.attn.num_heads for block in model.blocks) * tokens**2 * size.images
    return Works(
        lambda n: attention_distances(model, images[:n], batch_size=size.passes),
        lambda n: forward_passes(models, images[:n], size.passes),
        "bare forward passes",
        {"maps stored batch by batch": (stored, 1)},
        part=size.passes,
        read=f"{len(model.blocks)} blocks, whose maps would take {maps / 1e9:.3g} GB",
    )


def of_fields(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """Figure 6: receptive fields of the embedding and every sublayer; as a peer, one channel at a time."""
    (model,) = models
    places = [layer for layer in layers(model) if layer.kind in STREAM]
    sample = size.channels != "all"

    def one_at_a_time(n: int) -> None:
        bare(model, some, images[:n], rows=1)

    some = evenly(places, 3)
    peers = {} if sample else {"one backward pass a channel, of 3 layers": (one_at_a_time, len(places) / 3)}
    return Works(
        lambda n: effective_receptive_field(
            model, places, images[:n], channels=size.channels, batch_size=size.passes
        ),
        (lambda n: forward_passes(models, images[:n], size.passes))
        if sample
        else (lambda n: bare(model, places, images[:n], size.passes)),
        "bare forward passes" if sample else "bare backward passes",
        peers,
        part=None if sample else 1,
        read=f"{len(places)} layers, {size.channels} channels",
    )


def of_skips(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """Figure 7: skip ratios at every residual addition."""
    (model,) = models
    return Works(
        lambda n: skip_ratios(model, images[:n], batch_size=size.passes),
        lambda n: forward_passes(models, images[:n], size.passes),
        "bare forward passes",
        part=size.passes,
        read="every residual addition",
    )


def of_localization(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """Figure 9: CKA of all tokens of the last blocks with all patches."""
    (model,) = models
    last = layers(model, kinds=["block"])[-(size.layers or 0) :]
    return Works(
        lambda n: token_patch_cka(model, last, images[:n], minibatch=size.minibatch, batch_size=size.passes),
        lambda n: forward_passes(models, images[:n], size.passes),
        "bare forward passes",
        part=size.minibatch,
        read=f"{len(last)} blocks, {model.patch_embed.num_patches} tokens and patches, "
        f"minibatches of {size.minibatch}",
    )


def of_probes(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """Figures 11 and D.4: a probe of each token of each block."""
    (model,) = models
    labels = torch.arange(len(images)) % size.classes
    blocks = [layer.name for layer in evenly(layers(model, kinds=["block"]), size.layers)]

    def ours(n: int) -> None:
        train, test = slice(0, n - size.test), slice(n - size.test, n)
        probe_layers(
            model,
            (images[train], labels[train]),
            (images[test], labels[test]),
            tokens="each",
            layers=blocks,
            held_out=HELD_OUT,
            batch_size=size.passes,
            memory=size.memory,
        )

    return Works(
        ours,
        lambda n: forward_passes(models, images[:n], size.passes),
        "bare forward passes",
        read=f"{len(blocks)} blocks, each token, {size.classes} classes, {size.test} images to test",
    )


def of_cka_peers(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """CKA of two networks, all modules with all, against two other packages; one minibatch after the other."""
    from cka_peers import cka_of_pytorch_cka, cka_of_torch_cka, places

    chosen = [places(model) for model in models]
    names = [[layer.name for layer in each] for each in chosen]
    device = str(images.device)
    protocol = {"batch_size": size.minibatch, "repeats": 1, "memory": size.memory}

    def loader(n: int) -> DataLoader:
        return DataLoader(TensorDataset(images[:n]), batch_size=size.minibatch)

    return Works(
        lambda n: cka_between(*models, images[:n], *chosen, number_of_images=n, **protocol),
        lambda n: forward_passes(models, images[:n], size.minibatch),
        "bare forward passes",
        {
            "pytorch-cka": (lambda n: cka_of_pytorch_cka(models, names, loader(n), device), 1),
            "torch_cka": (lambda n: cka_of_torch_cka(models, names, loader(n), device), 1),
        },
        part=size.minibatch,
        read=f"{' x '.join(str(len(each)) for each in chosen)} layers, minibatches of {size.minibatch}",
    )


def of_probe_peers(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """Probes of one strength on each token of the last block, against big_vision's, one token after the other."""
    (model,) = models
    labels = torch.arange(len(images), device=images.device) % size.classes
    with torch.no_grad():
        features = torch.cat([model.forward_features(batch) for batch in images.split(size.passes)])
    features = features[:, : size.layers].movedim(1, 0).float().contiguous()

    def peer(n: int) -> None:
        for token in features:
            fit_few_shot_probe(token[:n], labels[:n], size.classes, FEW_SHOT_STRENGTH)

    return Works(
        lambda n: RidgeProbe(alphas=[FEW_SHOT_STRENGTH]).fit(features[:, :n], labels[:n]),
        peer,
        "big_vision's few-shot probe",
        read=f"{len(features)} tokens, {size.classes} classes, one strength",
    )


_VIT, _SMALLER_VIT, _SMALLER_RESNET = "vit_tiny_patch16_224", "test_vit", "resnetv2_18"
_CKA_SMALL = Size((_VIT,), 128, 16, minibatch=64, units=20, memory="4GB")
_FIELDS = {"images": 1, "passes": 128, "units": 32}
_FIELDS_SMALL = {"images": 1, "passes": 32, "units": 32}
_SUBSET = {"images": 32, "passes": 128, "channels": 8}
_SUBSET_SMALL = {"images": 4, "passes": 16, "channels": 4}

ROWS = {
    "figure_1_vit_l16": Row(
        "Figure 1, ViT-L/16",
        of_cka,
        Size(("ViT-L/16",), 10_240, 256, minibatch=1024, units=20, memory="120GB"),
        _CKA_SMALL,
        Limit(ratio=2.0),
    ),
    "figure_1_vit_h14": Row(
        "Figure 1, ViT-H/14",
        of_cka,
        Size(("ViT-H/14",), 10_240, 256, minibatch=1024, memory="95GB"),
        replace(_CKA_SMALL, networks=(_SMALLER_VIT,), units=1),
        Limit(ratio=2.5, gigabytes=100),
    ),
    "figure_2": Row(
        "Figure 2, ViT-L/16 with ResNet152x2",
        of_cka,
        Size(("ViT-L/16", "ResNet152x2"), 10_240, 256, minibatch=1024, memory="120GB"),
        replace(_CKA_SMALL, networks=(_SMALLER_VIT, _SMALLER_RESNET), units=1),
        Limit(ratio=2.0),
    ),
    "figure_3_vit_l16": Row(
        "Figure 3, ViT-L/16",
        of_attention,
        Size(("ViT-L/16",), 5000, 256),
        Size((_VIT,), 64, 16),
        Limit(ratio=1.1),
    ),
    "figure_3_vit_h14": Row(
        "Figure 3, ViT-H/14",
        of_attention,
        Size(("ViT-H/14",), 5000, 256),
        Size((_SMALLER_VIT,), 128, 32),
        Limit(ratio=1.1),
    ),
    "figure_6_vit_b32": Row(
        "Figure 6, ViT-B/32",
        of_fields,
        Size(("ViT-B/32",), **_FIELDS),
        Size((_SMALLER_VIT,), **_FIELDS_SMALL),
        Limit(ratio=1.3),
        peer_rounds=1,
    ),
    "figure_6_vit_l16": Row(
        "Figure 6, ViT-L/16",
        of_fields,
        Size(("ViT-L/16",), **_FIELDS),
        Size(("test_vit3",), **_FIELDS_SMALL),
        Limit(ratio=1.3),
        peer_rounds=1,
    ),
    "figure_6_resnet50": Row(
        "Figure 6, ResNet50",
        of_fields,
        Size(("ResNet50x1",), **_FIELDS),
        Size((_SMALLER_RESNET,), **_FIELDS_SMALL, side=64),
        Limit(ratio=1.3),
        peer_rounds=1,
    ),
    "figure_6_subset_vit_b32": Row(
        "Figure 6, ViT-B/32, some channels",
        of_fields,
        Size(("ViT-B/32",), **_SUBSET),
        Size((_SMALLER_VIT,), **_SUBSET_SMALL),
        Limit(seconds=60),
    ),
    "figure_6_subset_vit_l16": Row(
        "Figure 6, ViT-L/16, some channels",
        of_fields,
        Size(("ViT-L/16",), **_SUBSET),
        Size(("test_vit3",), **_SUBSET_SMALL),
        Limit(seconds=60),
    ),
    "figure_6_subset_resnet50": Row(
        "Figure 6, ResNet50, some channels",
        of_fields,
        Size(("ResNet50x1",), **_SUBSET),
        Size((_SMALLER_RESNET,), **_SUBSET_SMALL, side=64),
        Limit(seconds=60),
    ),
    "figure_7_vit_b16": Row(
        "Figure 7, ViT-B/16",
        of_skips,
        Size(("ViT-B/16",), 5000, 256),
        Size((_VIT,), 64, 16),
        Limit(ratio=1.1),
    ),
    "figure_7_resnet50": Row(
        "Figure 7, ResNet50",
        of_skips,
        Size(("ResNet50x1",), 5000, 256),
        Size((_SMALLER_RESNET,), 64, 16),
        Limit(ratio=1.1),
    ),
    "figure_9": Row(
        "Figure 9, ViT-B/16",
        of_localization,
        Size(("ViT-B/16",), 10_240, 256, minibatch=1024, layers=4),
        Size((_VIT,), 128, 16, minibatch=64, layers=4),
        Limit(ratio=1.2),
    ),
    "figure_11": Row(
        "Figures 11 and D.4, ViT-B/16",
        of_probes,
        Size(("ViT-B/16",), 10_500, 256, classes=1000, test=500, memory="110GB"),
        Size((_SMALLER_VIT,), 320, 32, classes=20, test=40, memory="4GB"),
        Limit(ratio=1.5),
    ),
    "cka_peers": Row(
        "CKA beside other packages, ViT-B/16 with ResNet50",
        of_cka_peers,
        Size(("ViT-B/16", "ResNet50x1"), 512, 128, minibatch=128, memory="100GB"),
        Size((_SMALLER_VIT, _SMALLER_RESNET), 64, 32, minibatch=32, memory="4GB"),
        peer_rounds=1,
        precisions=("float32",),
    ),
    "probe_peers": Row(
        "Probes beside big_vision's, ViT-B/16",
        of_probe_peers,
        Size(("ViT-B/16",), 10_000, 256, layers=16, classes=1000),
        Size((_SMALLER_VIT,), 320, 32, layers=16, classes=20),
        precisions=("float32",),
    ),
}


# How the cost grows: from a middle size, one thing is changed at a time.
GROWING = {
    "CKA of all layers": of_cka,
    "attention distance": of_attention,
    "localization": of_localization,
    "probes": of_probes,
}
_MIDDLE = {
    "full": Size(
        ("vit_base_patch16_224",),
        4096,
        256,
        minibatch=512,
        memory="100GB",
        layers=8,
        classes=100,
        test=96,
        side=224,
    ),
    "small": Size(
        ("vit_tiny_patch16_224",),
        96,
        16,
        minibatch=32,
        memory="4GB",
        layers=4,
        classes=4,
        test=16,
        side=112,
        depth=4,
    ),
}
AXES: dict[str, dict[str, list[int]]] = {
    "full": {
        "layers": [1, 2, 4, 8, 12],
        "tokens": [49, 100, 196, 400],
        "images": [1024, 2048, 4096, 8192],
        "batch": [128, 256, 512, 1024],
    },
    "small": {"layers": [1, 2, 4], "tokens": [16, 49, 100], "images": [48, 96, 192], "batch": [16, 32, 48]},
}


def grown(middle: Size, what: str, axis: str, value: int) -> Size:
    """Change one thing of a size: layers, tokens, images, or the batch (of an HSIC, else of a forward pass)."""
    if axis == "layers":
        # All blocks of a network have attention distances.
        return replace(middle, depth=value) if what == "attention distance" else replace(middle, layers=value)
    if axis == "tokens":
        return replace(middle, side=16 * math.isqrt(value))
    if axis == "images":
        return replace(middle, images=value)
    if what in ("CKA of all layers", "localization"):
        return replace(middle, minibatch=value)
    return replace(middle, passes=value)


def prepared(row: Row, size: Size, device: str, precision: str) -> Works:
    """Make networks and images, and what is timed."""
    models = [with_precision(network(name, device, size), precision) for name in size.networks]
    images = natural_like(size.images, size.side or input_size(models[0])[-1], device)
    return row.prepare(size, models, images)


def count(works: Works, size: Size) -> dict[str, Any]:
    """Count operations and bytes of one unit, and of what it is held against. It also warms up."""
    part = min(works.part or size.images, size.images)
    counted = {}
    for name, work in (("ours", works.ours), ("against", works.against)):
        with Costs() as costs:
            work(part)
        share = size.images / part
        counted[name] = {
            "operations": {dtype: number * share for dtype, number in costs.by_type.items()},
            "bytes": costs.bytes * share,
        }
    return counted


def measure(
    row: Row, record: dict[str, Any], size: Size, device: str, rounds: int, save: Callable[[], None]
) -> None:
    """Time rounds until there are as many as are asked for, and save each."""
    works = prepared(row, size, device, record["precision"])
    record |= {"read": works.read, "against": works.against_name}
    if "costs" not in record:
        record["costs"] = count(works, size)
        save()
    else:
        part = min(works.part or size.images, size.images)
        for work in (works.ours, works.against) if part < size.images else (works.against,):
            work(part)
    seconds: dict[str, list[float]] = record["seconds"]
    peak = 0

    def ours() -> None:
        nonlocal peak
        forget_peak(device)
        works.ours(size.images)
        peak = most_in_use(torch.device(device))

    for done in range(len(seconds.get("against", [])), rounds):
        peers = works.peers if row.peer_rounds is None or done < row.peer_rounds else {}
        in_turn = {"against": lambda: works.against(size.images), "ours": ours}
        in_turn |= {name: lambda work=work: work(size.images) for name, (work, _) in peers.items()}
        taken = side_by_side.side_by_side(in_turn, 1, device, warm_up=False, clock=side_by_side.clock(device))
        for name, values in taken.items():
            factor = works.peers[name][1] if name in works.peers else 1
            seconds.setdefault(name, []).append(values[0] * factor)
        record["peak_gigabytes"] = max(record.get("peak_gigabytes", 0), peak / 1e9)
        record |= summary(record)
        save()
        print(line(record), flush=True)


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """Compute what follows from the seconds and the costs."""
    seconds = record["seconds"]
    ours = seconds["ours"]
    costs, unit = record["costs"]["ours"], statistics.median(ours)
    return {
        "ratio": ratio(ours, seconds["against"]),
        "peers": {
            name: ratio(ours[: len(values)], values)
            for name, values in seconds.items()
            if name not in ("ours", "against")
        },
        "seconds_of_all": unit * record["units"],
        "shares": shares(costs["operations"], costs["bytes"], unit, record["rates"]),
    }


def line(record: Mapping[str, Any]) -> str:
    """Say in one line how a row stands."""
    spread = record["ratio"]
    peers = "".join(f", {each['median']:.3g} times {name}" for name, each in record["peers"].items())
    median = statistics.median(record["seconds"]["ours"])
    return (
        f"{record['title']} [{record['scale']}, {record['precision']}]: {median:.3g} s, "
        f"{spread['median']:.3g} ({spread['lowest']:.3g} to {spread['highest']:.3g}) times {record['against']}"
        f"{peers}; {record['peak_gigabytes']:.3g} GB"
    )


def measure_growth(what: str, record: dict[str, Any], device: str, rounds: int, save: Callable[[], None]) -> None:
    """Time the points of one measurement that are not there yet, each with its bare passes."""
    scale = record["scale"]
    row = Row(what, GROWING[what], _MIDDLE[scale], _MIDDLE[scale])
    for axis, values in AXES[scale].items():
        for value in values:
            points = record["points"].setdefault(axis, {})
            if len(points.get(str(value), {}).get("ours", [])) >= rounds:
                continue
            size = grown(_MIDDLE[scale], what, axis, value)
            works = prepared(row, size, device, record["precision"])
            in_turn = {
                "ours": lambda works=works, n=size.images: works.ours(n),
                "against": lambda works=works, n=size.images: works.against(n),
            }
            points[str(value)] = side_by_side.side_by_side(
                in_turn, rounds, device, clock=side_by_side.clock(device)
            )
            save()
            medians = [statistics.median(each) for each in points[str(value)].values()]
            print(f"{what}, {value} {axis}: {medians[0]:.3g} s, bare passes {medians[1]:.3g} s", flush=True)


def code() -> str:
    """Name the code by its content, which is the same with and without git: 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for folder in MEASURED:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name not in NOT_MEASURED:
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def commit() -> str:
    """Name the commit that is checked out; empty where there is no git."""
    found = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def begun(records: dict[str, Any], key: str, now: Mapping[str, Any], again: bool) -> dict[str, Any]:
    """Give the record of a row to go on with: the one that is there, if it is of the same code and machine."""
    same = ("code", "versions", "device", "threads")
    known = records.get(key)
    if known is None or again or any(known[name] != now[name] for name in same):
        records[key] = dict(now)
    return records[key]


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = side_by_side.arguments(__doc__, rounds=3)
    parser.add_argument("--scale", choices=SCALES, help="full on a GPU, small on a CPU, if not given")
    names = [*ROWS, "growth"]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="ROW", help=", ".join(names))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    options = parser.parse_args(given)
    options.scale = options.scale or ("full" if options.device.startswith("cuda") else "small")
    return options


def main(given: Sequence[str] | None = None) -> None:
    """Measure the rows that are asked for and not there yet."""
    options = parse(given)
    file = side_by_side.RESULTS / f"{NAME}.json"
    file.parent.mkdir(exist_ok=True)
    records: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def save() -> None:
        half_written = file.with_suffix(".part")
        half_written.write_text(json.dumps(dict(sorted(records.items())), indent=2) + "\n")
        half_written.replace(file)

    measured, of_code = rates(options.device), code()
    kind = options.device.partition(":")[0]
    # Networks with random weights may have branches and heads that are dead; all that counts here is time.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="seelike")
    for precision in options.precisions:
        for name in options.only:
            asked = argparse.Namespace(
                device=options.device, scale=options.scale, only=name, precisions=precision, rounds=options.rounds
            )
            now = {
                "scale": options.scale,
                "precision": precision,
                "code": of_code,
                "commit": commit(),
                "rates": measured,
                **surroundings(NAME, asked),
            }
            if name == "growth":
                for what in GROWING:
                    key = f"growth of {what}, {precision}, {options.scale}, {kind}"
                    record = begun(records, key, now | {"title": what, "points": {}}, options.again)
                    measure_growth(what, record, options.device, options.rounds, save)
                continue
            row = ROWS[name]
            if precision not in row.precisions:
                continue
            size: Size = getattr(row, options.scale)
            now |= {
                "row": name,
                "title": row.title,
                "networks": list(size.networks),
                "images": size.images,
                "units": size.units,
                "limit": vars(row.limit),
                "seconds": {},
            }
            key = f"{name}, {precision}, {options.scale}, {kind}"
            record = begun(records, key, now, options.again)
            if len(record["seconds"].get("against", [])) >= options.rounds:
                print(f"{row.title}, {precision}: measured already")
                continue
            try:
                measure(row, record, size, options.device, options.rounds, save)
            except ModuleNotFoundError as error:
                print(f"{row.title}: not measured, since {error.name} is not installed")
                del records[key]
            except torch.cuda.OutOfMemoryError as error:
                # The other rows go on, and the next run tries this one again.
                print(f"{row.title}, {precision}: out of memory ({error})")
                record["failed"] = f"out of memory: {error}"
                save()
            if kind == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
