"""Time skip ratios against the forward passes that they cannot do without.

    python benchmarks/skip.py [--device cuda] [--rounds 5]

All residual additions of ViT-B/16, ViT-Tiny and ResNet-50 with random weights, at 224 pixels. What is beyond the
forward pass are a copy of the skip, and three inner products for each token and residual addition.
"""

import timm
import torch
from side_by_side import arguments, report, row, side_by_side

from seelike.skip import skip_ratios

BATCH = 16


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

        @torch.no_grad()
        def forward(network=network, images=images) -> None:
            for batch in images.split(BATCH):
                network(batch)

        def ratios(network=network, images=images) -> None:
            skip_ratios(network, images, batch_size=BATCH)

        seconds = side_by_side({"forward": forward, "skip": ratios}, options.rounds, options.device)
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
