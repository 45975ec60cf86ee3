"""Run every measurement on the paper's architectures at their real size, with random weights, on a few images.

    python benchmarks/architectures.py [--device cuda] [--images 8] [--only ViT-B/32 ...] [--statistics probes ...]

It shows that each measurement takes each architecture, in how much time and memory, and how far mixed precision
moves what a claim is made of. Each architecture and precision runs in a process of its own, whose peak memory is
taken: resident memory on a CPU, what PyTorch allocated on a GPU. A measurement that has no meaning for an
architecture says so. Seconds are those of the clock on a GPU, and those of the processor, all threads together,
on a CPU, where other work may run beside. Operations are those of matrix products and convolutions, two for each
multiplication with its addition, by the type of the numbers that come out. The table is
benchmarks/results/architectures.json; benchmarks/costs.py makes of it what each page costs. With --only, the rows
of other architectures stay as they were, and with --statistics the other measurements.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterable

import numpy as np
import torch
from hardware import Operations
from registry import MEASUREMENTS
from scale import ARCHITECTURES
from side_by_side import RESULTS, clock, surroundings
from torch import nn

from seelike import data
from seelike.data import ImageSet
from seelike.models import PRECISIONS, layers, load, preprocessing, with_precision
from seelike.streaming.memory import most_in_use

NAME = "architectures"


def forward_passes(model: nn.Module, images: ImageSet) -> float:
    """What every measurement takes at least. Not a statistic: the largest output."""
    prepare = preprocessing(model)
    device = next(model.parameters()).device
    with torch.no_grad():
        outputs = [model(prepare(image)[None].to(device)) for image in images]
    return float(torch.cat(outputs).max())


STATISTICS: dict[str, Callable[[nn.Module, ImageSet], float]] = {"forward passes": forward_passes}
STATISTICS |= {name: statistic for each in MEASUREMENTS for name, statistic in each.statistics().items()}


def images_of_two_classes(number: int) -> ImageSet:
    """Garments of two classes in turn, so that any half of them has both."""
    garments = data.load("fashion-mnist/test")
    assert garments.labels is not None
    places = [np.flatnonzero(garments.labels == label)[: number // 2] for label in (0, 1)]
    return garments.select(np.stack(places, axis=1).ravel())


def measure(architecture: str, precision: str, device: str, number: int, names: Iterable[str]) -> dict:
    """Run measurements on one architecture in this process."""
    images = images_of_two_classes(number)
    model = with_precision(load(f"{ARCHITECTURES[architecture]}:random", device=device), precision)
    now = clock(device)
    seconds, statistics, operations, not_here = {}, {}, {}, {}
    for name in names:
        begin = now()
        try:
            with Operations() as counted:
                statistics[name] = STATISTICS[name](model, images)
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


def merged(before: dict, now: dict) -> dict:
    """Keep of an earlier run of one architecture what was not measured again."""
    if not before:
        return now
    both = {name: before[name] | now[name] for name in ("seconds", "statistics", "operations", "not_here")}
    both["not_here"] = {name: why for name, why in both["not_here"].items() if name not in now["statistics"]}
    return now | both | {"peak_gigabytes": max(before["peak_gigabytes"], now["peak_gigabytes"])}


def main() -> None:
    """Measure each architecture in a process of its own, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=8, help="a multiple of four (8)")
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--statistics", nargs="+", choices=STATISTICS, default=list(STATISTICS))
    parser.add_argument("--precision", choices=PRECISIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.precision:
        print(
            json.dumps(
                measure(options.only[0], options.precision, options.device, options.images, options.statistics)
            )
        )
        return
    file = RESULTS / f"{NAME}.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else {}
    for architecture in options.only:
        here = [sys.executable, __file__, "--device", options.device, "--images", str(options.images)]
        here += ["--statistics", *options.statistics]
        before = rows.get(architecture, {}) if len(options.statistics) < len(STATISTICS) else {}
        both = {}
        for precision in PRECISIONS:
            command = [*here, "--only", architecture, "--precision", precision]
            finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            result = json.loads(finished.stdout.splitlines()[-1])
            both[precision] = merged(before.get(precision, {}), result)
            print(
                f"{architecture}, {precision}: {sum(result['seconds'].values()):.0f} s, "
                f"{result['peak_gigabytes']:.1f} GB at most"
            )
        rows[architecture] = both
        file.write_text(json.dumps({"rows": rows, **surroundings(NAME, options)}, indent=2) + "\n")


if __name__ == "__main__":
    main()
