"""What the rows of benchmarks/paper_scale.py are made of: networks, images, sizes, and what a row times."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from seelike.models import PRECISIONS, Layer

ARCHITECTURES = {
    "ViT-B/32": "vit_base_patch32_224",
    "ViT-B/16": "vit_base_patch16_224",
    "ViT-L/16": "vit_large_patch16_224",
    "ViT-H/14": "vit_huge_patch14_224",
    "ResNet50x1": "resnetv2_50x1_bit",
    "ResNet152x2": "resnetv2_152x2_bit",
    "Mixer-B/16": "mixer_b16_224",
    "Mixer-L/16": "mixer_l16_224",
    "ViT with GAP": "vit_medium_patch16_gap_240",
    "DINOv2 with registers": "vit_base_patch14_reg4_dinov2",
    "DeiT III": "deit3_large_patch16_224",
}
# Those of small rows.
VIT, SMALLER_VIT, SMALLER_RESNET = "vit_tiny_patch16_224", "test_vit", "resnetv2_18"
# Operations by dtype.
Count = Mapping[str, float]


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
    """A row of the table.

    Attributes:
        title: Which figure, and of which networks.
        prepare: Gives what is timed of networks and images.
        full: How large the work is on a GPU.
        small: How large it is on a CPU.
        limit: What it may take.
        peer_rounds: How many rounds peers are timed in; None for all.
        precisions: Of the networks.
        counts: How many operations the bare passes of one unit take, and how many the measurement adds, by
            dtype, as its mathematics has it; None for rows that compare with peers.
    """

    title: str
    prepare: Callable[[Size, Sequence[nn.Module], Tensor], Works]
    full: Size
    small: Size
    limit: Limit = Limit()
    peer_rounds: int | None = None
    precisions: tuple[str, ...] = PRECISIONS
    counts: Callable[[Size, Sequence[nn.Module], int], tuple[Count, Count]] | None = None


@dataclass(frozen=True)
class Growth:
    """A measurement whose cost is followed as one thing grows.

    Attributes:
        title: What is measured.
        prepare: As of a `Row`.
        layers: What of its `Size` says how many layers are read.
        batch: What of its `Size` says how many images are in a minibatch.
    """

    title: str
    prepare: Callable[[Size, Sequence[nn.Module], Tensor], Works]
    layers: str = "layers"
    batch: str = "minibatch"


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


def beside_forward_passes(
    ours: Callable[[int], object], size: Size, models: Sequence[nn.Module], images: Tensor, **more: Any
) -> Works:
    """Hold a measurement against the bare forward passes of its images."""
    return Works(ours, lambda n: forward_passes(models, images[:n], size.passes), "bare forward passes", **more)
