"""Measure the peak memory of CKA of two large networks against its budget.

    python benchmarks/cka_memory.py [--device cuda] [--budgets 2GB 4GB 8GB] [--network vit_base_patch32_224]
                                    [--batch-size 1024] [--layers-of-blocks 12]

Two networks of one architecture with different random weights, all sublayers, one minibatch. Each budget has a
process of its own, whose peak resident memory (on a GPU: that of its tensors) is what the machine counted at its
end, with Python, torch and the weights in it. The networks differ by their seed. CKA of the budgets is compared,
too: the largest difference is in the results.
"""

import argparse
import json
import subprocess
import sys
import time

import numpy as np
import timm
import torch
from side_by_side import arguments, report, row
from torch import nn

from seelike import data
from seelike.cka import cka_between
from seelike.models import Layer, layers
from seelike.streaming.memory import most_in_use, number_of_bytes


def network(options: argparse.Namespace, seed: int) -> tuple[nn.Module, list[Layer]]:
    """Make a network, and list what is read of it."""
    torch.manual_seed(seed)
    model = timm.create_model(options.network).eval().to(options.device)
    last = options.layers_of_blocks
    return model, [each for each in layers(model) if last is None or each.block is None or each.block <= last]


def inside(options: argparse.Namespace) -> None:
    """Measure in this process, and print what came out."""
    (model_a, layers_a), (model_b, layers_b) = (network(options, seed) for seed in (0, 1))
    begin = time.perf_counter()
    comparison = cka_between(
        model_a,
        model_b,
        data.load("fashion-mnist/test"),
        layers_a,
        layers_b,
        batch_size=options.batch_size,
        number_of_images=options.batch_size,
        repeats=1,
        memory=options.inside,
    )
    seconds = time.perf_counter() - begin
    peak = most_in_use(torch.device(options.device))
    cka = comparison.mean("a", "b").tolist()
    print(json.dumps({"peak": peak, "seconds": seconds, "cka": cka}))


def main() -> None:
    """Measure each budget, print and write the table."""
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--budgets", nargs="+", default=["2GB", "4GB", "8GB"])
    parser.add_argument("--network", default="vit_base_patch32_224")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--layers-of-blocks", type=int, help="only layers of the first blocks, to be done sooner")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return inside(options)
    rows, first = [], None
    for budget in options.budgets:
        found = []
        for _ in range(options.rounds):
            command = [sys.executable, __file__, *sys.argv[1:], "--inside", budget]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found.append(json.loads(output.splitlines()[-1]))
        cka = np.array(found[0].pop("cka"))
        first = cka if first is None else first
        rows.append(
            row(
                "CKA, peak memory",
                f"{options.network} x the same with other weights, {cka.shape[0]} x {cka.shape[1]} layers, "
                f"minibatch of {options.batch_size}, memory={budget!r}",
                ("peak", [each["peak"] / 1e9 for each in found]),
                ("budget", [number_of_bytes(budget) / 1e9] * len(found)),
                "<= 1",
                "GB",
                seconds=[each["seconds"] for each in found],
                largest_difference_of_cka_from_first_budget=float(np.nanmax(np.abs(cka - first))),
            )
        )
    del options.inside
    report("cka_memory", rows, options)
    return None


if __name__ == "__main__":
    main()
