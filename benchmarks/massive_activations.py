"""Time the search for massive activations against the forward passes that it cannot do without, and by hand.

    python benchmarks/massive_activations.py [--device cuda] [--rounds 5]

All blocks of ViT-Tiny and ResNet-50 with random weights, at 224 pixels. What is beyond the forward pass are two
medians for each block and image, over all its numbers and over the lengths of its tokens, in float64. By hand
means: the outputs of all blocks are kept, and NumPy takes the first of the two ratios from them, in float32.
`largest_difference` is that of the two results, in decadic logarithms.
"""

from collections.abc import Iterator

import numpy as np
import timm
import torch
from errors import Draw, absolute, formulas, numpy
from scale import forward_passes
from side_by_side import arguments, report, row, side_by_side
from torch import Tensor, nn

from seelike.data import ImageSet
from seelike.massive_activations import Massive, massive_activations, unevenness
from seelike.models import layers, read

BATCH = 16


def errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """Logarithms of largest over median number, and of longest over median token, absolute."""
    by_definition = formulas("references_massive_activations").unevenness
    for shape in ((3, 5, 4), (2, 7, 33)):
        tokens = normal(*shape)
        expected = [by_definition(each.tolist()) for each in numpy(tokens)]
        yield "massive activations, logarithm", absolute(unevenness(tokens), np.array(expected))


def log_largest_number(model: nn.Module, images: ImageSet) -> float:
    """Decadic logarithm of the largest number of the last block over its median."""
    return float(np.log10(massive_activations(model, [images]).largest_number[0, -1]))


STATISTICS = {"largest numbers": log_largest_number}


def by_hand(model: nn.Module, images: Tensor) -> np.ndarray:
    """Keep the outputs of all blocks; give each block's largest number over its median, mean of logarithms."""
    blocks, found = layers(model, kinds=["block"]), []
    for batch in images.split(BATCH):
        kept = read(model, blocks, batch, lambda _, x: x.abs().flatten(1).cpu().numpy())
        medians = [[np.median(image[image > 0]) for image in numbers] for numbers in kept.values()]
        found.append(np.log10([numbers.max(axis=1) for numbers in kept.values()]) - np.log10(medians))
    return np.concatenate(found, axis=1).mean(axis=1)


def main() -> None:
    """Measure, print and write the table."""
    options = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    rows = []
    for name in ("vit_tiny_patch16_224", "resnet50"):
        network = timm.create_model(name).eval().to(options.device)
        images = torch.randn(BATCH, 3, 224, 224, device=options.device)

        def ours(network=network, images=images) -> Massive:
            return massive_activations(network, [images], batch_size=BATCH)

        works = {
            "forward": lambda network=network, images=images: forward_passes([network], images, BATCH),
            "ours": ours,
            "by hand": lambda network=network, images=images: by_hand(network, images),
        }
        seconds = side_by_side(works, options.rounds, options.device)
        setting, mine = f"{name}, {len(images)} images", ("massive_activations", seconds["ours"])
        difference = np.abs(np.log10(ours().largest_number[0]) - by_hand(network, images)).max()
        rows += [
            row("massive activations", setting, mine, ("bare forward", seconds["forward"])),
            row(
                "massive activations",
                setting,
                mine,
                ("one of both ratios by hand", seconds["by hand"]),
                largest_difference=float(difference),
            ),
        ]
    report("massive_activations", rows, options)


if __name__ == "__main__":
    main()
