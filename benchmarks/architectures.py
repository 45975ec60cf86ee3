"""Run every measurement on the paper's architectures at their real size, with random weights, on a few images.

    python benchmarks/architectures.py [--device cuda] [--images 8] [--only ViT-B/32 ...]

It shows that each measurement takes each architecture, in how much time and memory, and how far mixed precision
moves what a claim is made of. Each architecture and precision runs in a process of its own, whose peak memory is
taken: resident memory on a CPU, what PyTorch allocated on a GPU. A measurement that has no meaning for an
architecture says so. Seconds are those of the clock on a GPU, and those of the processor, all threads together,
on a CPU, where other work may run beside. Operations are those of matrix products and convolutions, two for each
multiplication with its addition, by the type of the numbers that come out. The table is
benchmarks/results/architectures.json; benchmarks/costs.py makes of it what each page costs. With --only, the rows
of other architectures stay as they were.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from side_by_side import RESULTS, clock, surroundings
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from seelike import data
from seelike.cka import compare_heads, compare_models, compare_pairs
from seelike.data import ImageSet
from seelike.localization import token_patch_cka
from seelike.models import PRECISIONS, layers, load, preprocessing, with_precision
from seelike.probes import probe_layers
from seelike.sections.local_global import measure_fields, measure_heads, radii
from seelike.sections.skip_connections import propagation
from seelike.sections.spatial_localization import localization_above_chance
from seelike.streaming.memory import most_in_use

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
NAME = "architectures"


class Operations(TorchDispatchMode):
    """Count floating-point operations by the type of their results, such as "bfloat16"."""

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.by_type: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and add what it takes."""
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if func.overloadpacket in flop_registry:
            first = next(leaf for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor))
            count = flop_registry[func.overloadpacket](*args, **kwargs, out_val=made)
            self.by_type[str(first.dtype).removeprefix("torch.")] += count
        return made


def forward_passes(model: nn.Module, images: ImageSet) -> float:
    """What every measurement takes at least. Not a statistic: the largest output."""
    prepare = preprocessing(model)
    device = next(model.parameters()).device
    with torch.no_grad():
        outputs = [model(prepare(image)[None].to(device)) for image in images]
    return float(torch.cat(outputs).max())


def mean_cka(model: nn.Module, images: ImageSet) -> float:
    """Figures 1, 2, 8, B.1 and H.1: CKA of all layers."""
    n = len(images)
    device = next(model.parameters()).device
    comparison = compare_models(
        {"it": model}, images, number_of_images=n, batch_size=n, repeats=1, seed=0, device=device
    )
    return float(np.nanmean(comparison.mean("it", "it")))


def cka_of_blocks(model: nn.Module, images: ImageSet) -> float:
    """Figures 12 and G.1: CKA of each block with the same block of another network, here of the same."""
    n = len(images)
    cka = compare_pairs(model, model, images, number_of_images=n, batch_size=n, repeats=1).cka
    return float(np.nanmean(cka))


def cka_of_heads(model: nn.Module, images: ImageSet) -> float:
    """Figure 5: subsets of heads, with the blocks of the same network."""
    n, blocks = len(images), layers(model, kinds=["block"])[:2]
    heads = compare_heads(model, model, images, blocks, number_of_images=n, batch_size=n, repeats=1)
    return float(np.nanmean(heads.between([[0], [1]])))


def nearest_head(model: nn.Module, images: ImageSet) -> float:
    """Figures 3 and C.6: attention distance of the nearest low head, as a share of that of a uniform one."""
    return float(measure_heads(model, [images]).nearest_low[0])


def radius(model: nn.Module, images: ImageSet) -> float:
    """Figures 6 and C.1 to C.5: receptive fields, of one channel on one image; radius at the last block."""
    return float(radii(measure_fields(model, [images.select(np.arange(1))], channels=1))[0, -1])


def log_skip_ratio(model: nn.Module, images: ImageSet) -> float:
    """Figures 7, E.1 and E.2: decadic logarithm of the skip ratio."""
    return float(np.log10(propagation(model, [images]).ratio_of_spatial).mean())


def localization(model: nn.Module, images: ImageSet) -> float:
    """Figures 9, 10 and D.1 to D.3: CKA of tokens of the last block with patches, at the place minus elsewhere."""
    block = layers(model, kinds=["block"])[-1:]
    (places,) = token_patch_cka(model, block, images, minibatch=len(images)).values()
    return localization_above_chance(places.cka)


def probe_accuracy(model: nn.Module, images: ImageSet) -> float:
    """Figures 11, 13, D.4 and F.1 to F.3: probes on each token of each block, trained on half of the images."""
    half = len(images) // 2
    train, test = images.select(np.arange(half)), images.select(np.arange(half, 2 * half))
    probes = probe_layers(model, train, test, tokens=["each", "mean"], held_out=test)
    return float(np.mean([probe.accuracy.double().mean() for probe in probes]))


MEASUREMENTS: dict[str, Callable[[nn.Module, ImageSet], float]] = {
    "forward passes": forward_passes,
    "CKA of all layers": mean_cka,
    "CKA of blocks": cka_of_blocks,
    "CKA of heads": cka_of_heads,
    "attention distance": nearest_head,
    "receptive fields": radius,
    "skip ratios": log_skip_ratio,
    "localization": localization,
    "probes": probe_accuracy,
}


def images_of_two_classes(number: int) -> ImageSet:
    """Garments of two classes in turn, so that any half of them has both."""
    garments = data.load("fashion-mnist/test")
    assert garments.labels is not None
    places = [np.flatnonzero(garments.labels == label)[: number // 2] for label in (0, 1)]
    return garments.select(np.stack(places, axis=1).ravel())


def measure(architecture: str, precision: str, device: str, number: int) -> dict:
    """Run all measurements on one architecture in this process."""
    images = images_of_two_classes(number)
    model = with_precision(load(f"{ARCHITECTURES[architecture]}:random", device=device), precision)
    now = clock(device)
    seconds, statistics, operations, not_here = {}, {}, {}, {}
    for name, measurement in MEASUREMENTS.items():
        begin = now()
        try:
            with Operations() as counted:
                statistics[name] = measurement(model, images)
        except ValueError as error:
            not_here[name] = str(error)
            continue
        seconds[name] = now() - begin
        operations[name] = dict(counted.by_type)
    return {
        "network": ARCHITECTURES[architecture],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": len(layers(model)),
        "precision": precision,
        "images": number,
        "seconds": seconds,
        "statistics": statistics,
        "operations": operations,
        "not_here": not_here,
        "peak_gigabytes": most_in_use(torch.device(device)) / 1e9,
    }


def main() -> None:
    """Measure each architecture in a process of its own, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=8, help="a multiple of four (8)")
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--precision", choices=PRECISIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.precision:
        print(json.dumps(measure(options.only[0], options.precision, options.device, options.images)))
        return
    file = RESULTS / f"{NAME}.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else {}
    for architecture in options.only:
        here = [sys.executable, __file__, "--device", options.device, "--images", str(options.images)]
        both = {}
        for precision in PRECISIONS:
            command = [*here, "--only", architecture, "--precision", precision]
            finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            both[precision] = json.loads(finished.stdout.splitlines()[-1])
            result = both[precision]
            print(
                f"{architecture}, {precision}: {sum(result['seconds'].values()):.0f} s, "
                f"{result['peak_gigabytes']:.1f} GB at most"
            )
        rows[architecture] = both
        file.write_text(json.dumps({"rows": rows, **surroundings(NAME, options)}, indent=2) + "\n")


if __name__ == "__main__":
    main()
