"""Time CKA against the forward passes that it cannot do without.

    python benchmarks/cka.py [--device cuda] [--rounds 5]

All sublayers of ResNet-18 against all of ViT-Tiny, random weights, 256 images of 64 pixels in minibatches of 128.
The two are timed in turn, round by round, so that their ratio holds where the machine's speed drifts. The table is
also written to benchmarks/results/cka.json, with the versions and the machine.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import timm
import torch
from torch import nn

import seelike
from seelike.cka import MinibatchCKA, gram
from seelike.models import layers, read

RESULTS = Path(__file__).parent / "results" / "cka.json"


def seconds(work, device: str) -> float:
    """Time one call, to the end of what it started on the device."""
    begin = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def measure(networks: dict[str, nn.Module], batches: list[torch.Tensor], device: str, rounds: int) -> dict:
    """Time the bare forward passes and CKA in turn."""
    places = {name: layers(network) for name, network in networks.items()}

    @torch.no_grad()
    def forward() -> None:
        for batch in batches:
            for network in networks.values():
                network(batch)

    def cka() -> None:
        similarity = MinibatchCKA()
        for batch in batches:
            rows, columns = (
                read(network, places[name], batch, reduce=lambda layer, x: gram(x))
                for name, network in networks.items()
            )
            similarity.update_grams(rows, columns)
        # timm starts the last norm of each ResNet block at zero: with random weights the branches are dead.
        similarity.compute(on_dead="nan")

    forward()
    timings = [(seconds(forward, device), seconds(cka, device)) for _ in range(rounds)]
    ratios = sorted(whole / bare for bare, whole in timings)
    return {
        "layers": {name: len(each) for name, each in places.items()},
        "forward_seconds": statistics.median(bare for bare, _ in timings),
        "cka_seconds": statistics.median(whole for _, whole in timings),
        "ratio": {"lowest": ratios[0], "median": statistics.median(ratios), "highest": ratios[-1]},
    }


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    networks = {
        "resnet18": timm.create_model("resnet18"),
        "vit_tiny": timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8),
    }
    networks = {name: network.eval().to(options.device) for name, network in networks.items()}
    batches = [torch.randn(128, 3, 64, 64, device=options.device) for _ in range(2)]
    result = measure(networks, batches, options.device, options.rounds)
    cuda = options.device.startswith("cuda")
    result |= {
        "rounds": options.rounds,
        "device": torch.cuda.get_device_name() if cuda else platform.machine(),
        "threads": torch.get_num_threads(),
        "versions": {"seelike": seelike.__version__, "torch": torch.__version__, "timm": timm.__version__},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    spread = result["ratio"]
    print(f"forward passes {result['forward_seconds']:.2f} s, with CKA {result['cka_seconds']:.2f} s")
    print(f"ratio {spread['median']:.2f} ({spread['lowest']:.2f} to {spread['highest']:.2f})")


if __name__ == "__main__":
    main()
