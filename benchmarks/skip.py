"""Time skip ratios against the forward passes that they cannot do without.

    python benchmarks/skip.py [--device cuda] [--rounds 5]

All residual additions of ViT-B/16, ViT-Tiny and ResNet-50 with random weights, at 224 pixels. What is beyond the
forward pass are a copy of the skip, and three inner products for each token and residual addition.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import timm
import torch
from errors import Draw, absolute, formulas, numpy, relative
from expected import forward
from scale import SMALLER_RESNET, VIT, Count, Limit, Row, Size, Works, beside_forward_passes, forward_passes
from side_by_side import arguments, report, row, side_by_side
from torch import Tensor, nn

from seelike.data import ImageSet
from seelike.sections.skip_connections import propagation
from seelike.skip import SkipRatio, skip_ratios

BATCH = 16


def errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """Skip ratio and cosines."""
    skip, branch = 3 * normal(5, 7, 33), normal(5, 7, 33)
    ratios = SkipRatio(num_prefix_tokens=1)
    ratios.update(skip, branch)
    measured = ratios.compute().tokens
    expected = formulas("references_tokens").skip_statistics(numpy(skip), numpy(branch))
    for name, (mean, _) in expected.items():
        error = absolute if name.startswith("cosine") else relative
        yield f"skip: {name.replace('_', ' ')}", error(getattr(measured, name), mean)


def log_skip_ratio(model: nn.Module, images: ImageSet) -> float:
    """Figures 7, E.1 and E.2: decadic logarithm of the skip ratio."""
    return float(np.log10(propagation(model, [images]).ratio_of_spatial).mean())


STATISTICS = {"skip ratios": log_skip_ratio}


def of_skips(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """Figure 7: skip ratios at every residual addition."""
    (model,) = models
    return beside_forward_passes(
        lambda n: skip_ratios(model, images[:n], batch_size=size.passes),
        size,
        models,
        images,
        part=size.passes,
        read="every residual addition",
    )


def counts(size: Size, models: Sequence[nn.Module], side: int) -> tuple[Count, Count]:
    """Inner products alone, which are no matrix products."""
    return forward(size, models, side), {}


ROWS = {
    "figure_7_vit_b16": Row(
        "Figure 7, ViT-B/16",
        of_skips,
        Size(("ViT-B/16",), 5000, 256),
        Size((VIT,), 64, 16),
        Limit(ratio=1.1),
        counts=counts,
    ),
    "figure_7_resnet50": Row(
        "Figure 7, ResNet50",
        of_skips,
        Size(("ResNet50x1",), 5000, 256),
        Size((SMALLER_RESNET,), 64, 16),
        Limit(ratio=1.1),
        counts=counts,
    ),
}


def main() -> None:
    """Measure, print and write the table."""
    options = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    rows = []
    for name in ("vit_base_patch16_224", "vit_tiny_patch16_224", "resnet50"):
        # A last norm that starts at zero would make all branches of the ResNet zero.
        zero = {"zero_init_last": False} if name == "resnet50" else {}
        network = timm.create_model(name, **zero).eval().to(options.device)
        images = torch.randn(3 * BATCH, 3, 224, 224, device=options.device)

        works = {
            "forward": lambda network=network, images=images: forward_passes([network], images, BATCH),
            "skip": lambda network=network, images=images: skip_ratios(network, images, batch_size=BATCH),
        }
        seconds = side_by_side(works, options.rounds, options.device)
        rows.append(
            row(
                "skip ratios",
                f"{name}, {len(images)} images",
                ("skip_ratios", seconds["skip"]),
                ("bare forward", seconds["forward"]),
                asked="about 1.1",
            )
        )
    report("skip", rows, options)


if __name__ == "__main__":
    main()
