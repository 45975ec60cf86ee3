"""Measure the error of CKA, ours and two peers', where the features' mean is far from zero; beside it the time.

    python benchmarks/cka_means.py [--device cuda] [--rounds 5] [--images 256]

Two networks of six layers with random weights, whose outputs have a mean of 0, 10 and 100 times their spread, the
same for all features. CKA does not depend on a mean; what computes in float32 and subtracts it late loses digits
to it. All packages read the same layers, in one minibatch. Errors are the largest differences from CKA in float64,
made of the same activations with the formula of Song et al. (2012). The time of each package is that of all pairs,
with the forward passes.
"""

import torch
from cka_speed import exact, packages
from side_by_side import arguments, report, row, side_by_side
from torch import Tensor, nn

from seelike.models import Layer

MEANS = (0, 10, 100)
LAYERS, WIDTH, SIDE = 6, 512, 16


class Away(nn.Module):
    """Adds the same number to all features."""

    def __init__(self, mean: float) -> None:
        """Keep the number."""
        super().__init__()
        self.mean = mean

    def forward(self, x: Tensor) -> Tensor:
        """Add it."""
        return x + self.mean


def network(mean: float, seed: int) -> nn.Module:
    """Make a network whose `Away` layers give features of standard deviation 1 and this mean."""
    torch.manual_seed(seed)
    parts: list[nn.Module] = [nn.Flatten()]
    for number in range(LAYERS):
        linear = nn.Linear(WIDTH if number else 3 * SIDE**2, WIDTH, bias=False)
        nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        # The normalisation takes the mean away again, so that the next layer does not amplify it.
        parts += [linear, Away(mean), nn.LayerNorm(WIDTH), nn.Tanh(), nn.LayerNorm(WIDTH)]
    return nn.Sequential(*parts).eval()


def away(model: nn.Module) -> list[Layer]:
    """List the layers that are far from zero."""
    return [Layer(path, "", None, 0.0, path) for path, each in model.named_modules() if isinstance(each, Away)]


def main() -> None:
    """Measure, print and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=256)
    options = parser.parse_args()
    rows = []
    for mean in MEANS:
        models = [network(mean, seed).to(options.device) for seed in (0, 1)]
        chosen = [away(model) for model in models]
        torch.manual_seed(2)
        images = torch.randn(options.images, 3, SIDE, SIDE, device=options.device)
        found: dict[str, Tensor] = {}
        seconds = side_by_side(
            packages(models, chosen, images, options.images, found), options.rounds, options.device
        )
        reference = exact(models, chosen, images, options.images)
        errors = {name: largest_error(each, reference) for name, each in found.items()}
        setting = f"{LAYERS} x {LAYERS} layers of {WIDTH} features, {options.images} images"
        rows += [
            row(
                f"CKA, mean of {mean} times the spread",
                setting,
                ("seelike", seconds["seelike"]),
                (peer, seconds[peer]),
                errors=(errors["seelike"], errors[peer]),
            )
            for peer in ("pytorch-cka", "torch_cka")
        ]
    report("cka_means", rows, options)
    for each in rows:
        print(f"{each['measurement']}: error {each['errors'][0]}, of {each['against']} {each['errors'][1]}")


def largest_error(found: Tensor, reference: Tensor) -> float | None:
    """Give the largest difference; None where anything is NaN."""
    difference = (found.cpu() - reference.cpu()).abs().max()
    return None if difference.isnan() else float(difference)


if __name__ == "__main__":
    main()
