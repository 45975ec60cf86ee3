"""Time CKA of all layers against its forward passes, two peers, and a plain matrix product; and their errors.

    python benchmarks/cka.py [--device cuda] [--rounds 5] [--images 512] [--batch-size 128] [--no-torch-cka]

ResNet-18 against ViT-Tiny with patches of 8 pixels, random weights, images of 64 pixels. All read the outputs of
the same modules: every one that computes something. "Beyond" is the time less that of the bare forward passes in
the same round. The peers:

- pytorch-cka keeps all features of a minibatch, then makes their Gram matrices;
- torch_cka also makes them anew for every pair of layers. It takes minutes, so it runs once, without a warm-up.

The plain product is X X' in float32 of as many images and features as the layers have. Errors are the largest
differences from CKA in float64, made of the same activations with the formula of Song et al. (2012). The peers
keep references to activations that in-place operations overwrite: their errors are given for all layers, and for
those that stay as they were.
"""

import statistics

import numpy as np
import timm
import torch
from cka_peers import cka_of_pytorch_cka, cka_of_torch_cka, places
from side_by_side import arguments, ratio, report, row, side_by_side
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from seelike.cka import cka_between
from seelike.models import Layer, read


def networks(device: str) -> list[nn.Module]:
    """Make the two networks, with no dead layer."""
    torch.manual_seed(0)
    models = [
        timm.create_model("resnet18"),
        timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8),
    ]
    for module in models[0].modules():
        if isinstance(module, nn.BatchNorm2d):  # The last one of each branch starts at zero.
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return [model.eval().to(device) for model in models]


def exact(models: list[nn.Module], layers: list[list[Layer]], images: Tensor, batch_size: int) -> Tensor:
    """Compute CKA in float64 with Song's formula."""
    total: list[Tensor] = [torch.zeros(()) for _ in range(3)]
    for batch in images.split(batch_size):
        n = len(batch)

        def gram(_: Layer, x: Tensor) -> Tensor:
            x = x.flatten(1).double()
            x = x - x.mean(dim=0)
            k = x @ x.T
            return k.fill_diagonal_(0)

        ks, ls = (
            torch.stack(list(read(model, each, batch, gram).values()))
            for model, each in zip(models, layers, strict=True)
        )

        def hsic(k: Tensor, m: Tensor, n: int = n) -> Tensor:
            traces = k.flatten(1) @ m.flatten(1).T
            sums = k.sum(dim=(1, 2))[:, None] * m.sum(dim=(1, 2)) / ((n - 1) * (n - 2))
            return (traces + sums - 2 / (n - 2) * k.sum(dim=1) @ m.sum(dim=1).T) / (n * (n - 3))

        parts = hsic(ks, ls), hsic(ks, ks).diag(), hsic(ls, ls).diag()
        total = [whole + part for whole, part in zip(total, parts, strict=True)]
    return total[0] / (total[1].sqrt()[:, None] * total[2].sqrt())


def overwritten(models: list[nn.Module], layers: list[list[Layer]], images: Tensor) -> list[Tensor]:
    """Tell which activations are no longer what they were when the forward pass ends."""
    flags = []
    for model, each in zip(models, layers, strict=True):
        kept: dict[str, Tensor] = {}

        def copy(layer: Layer, x: Tensor, kept: dict[str, Tensor] = kept) -> Tensor:
            kept[layer.name] = x
            return x.clone()

        copies = read(model, each, images, copy)
        flags.append(torch.tensor([not torch.equal(kept[name], copies[name]) for name in copies]))
    return flags


def main() -> None:
    """Measure, print and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--no-torch-cka", action="store_true", help="leave out the peer that takes minutes")
    options = parser.parse_args()
    device, size = options.device, options.batch_size
    models = networks(device)
    layers = [places(model) for model in models]
    names = [[layer.name for layer in each] for each in layers]
    # The images that all see: in the order in which they are drawn here, so that minibatches are the same.
    images = torch.randn(options.images, 3, 64, 64, device=device)
    results: dict[str, Tensor] = {}
    numbers = {"number_of_images": options.images, "batch_size": size, "repeats": 1}

    @torch.no_grad()
    def forward() -> None:
        for batch in images.split(size):
            for model in models:
                model(batch)

    def ours() -> None:
        comparison = cka_between(*models, images, *layers, **numbers)
        results["seelike"] = torch.from_numpy(comparison.mean("a", "b"))

    drawn = images[torch.from_numpy(np.random.default_rng(0).permutation(options.images))]
    loader = DataLoader(TensorDataset(drawn), batch_size=size)

    def pytorch() -> None:
        results["pytorch-cka"] = cka_of_pytorch_cka(models, names, loader, device)

    def torch_other() -> None:
        results["torch_cka"] = cka_of_torch_cka(models, names, loader, device)

    widths = [
        width
        for model, each in zip(models, layers, strict=True)
        for width in read(model, each, images[:2], lambda _, x: x[0].numel()).values()
    ]
    numbers_of_largest = torch.randn(size * max(widths), device=device)

    def product() -> None:
        for _ in range(-(-options.images // size)):
            for width in widths:
                x = numbers_of_largest[: size * width].view(size, width)
                x @ x.T

    works = {"forward passes": forward, "seelike": ours, "pytorch-cka": pytorch, "plain product": product}
    seconds = side_by_side(works, options.rounds, device)
    once = {}
    if not options.no_torch_cka:
        once = side_by_side(
            {"forward passes": forward, "seelike": ours, "torch_cka": torch_other}, 1, device, False
        )

    reference = exact(models, layers, drawn, size)
    rows_lost, columns_lost = overwritten(models, layers, images[:4])
    intact = ~rows_lost[:, None] & ~columns_lost
    errors = {
        name: {
            "largest_error": float((found - reference).abs().nan_to_num(torch.inf).max()),
            "largest_error_where_nothing_is_overwritten": float((found - reference).abs()[intact].max()),
        }
        for name, found in results.items()
    }

    def beyond(times: dict[str, list[float]], name: str) -> list[float]:
        return [whole - bare for whole, bare in zip(times[name], times["forward passes"], strict=True)]

    setting = (
        f"ResNet-18 x ViT-Tiny, {len(names[0])} x {len(names[1])} layers, {options.images} images of 64 px, "
        f"minibatches of {size}"
    )
    mine = ("beyond the forward passes", beyond(seconds, "seelike"))
    rows = [
        row(
            "CKA, time beyond the forward passes",
            setting,
            mine,
            ("pytorch-cka", beyond(seconds, "pytorch-cka")),
            "<= 0.6",
            seconds={name: statistics.median(each) for name, each in seconds.items()},
            errors=errors,
        ),
        row("CKA, time beyond the forward passes", setting, mine, ("plain product", seconds["plain product"])),
        row(
            "CKA, whole", setting, ("with CKA", seconds["seelike"]), ("forward passes", seconds["forward passes"])
        ),
    ]
    if once:
        ours_once, theirs = beyond(once, "seelike"), beyond(once, "torch_cka")
        rows.append(
            row(
                "CKA, time beyond the forward passes, one round",
                setting,
                ("beyond the forward passes", ours_once),
                ("torch_cka", theirs),
                f"<= {1 / 60:.3g}",
                times_faster=ratio(theirs, ours_once)["median"],
            )
        )
    report("cka", rows, options)
    for name, each in errors.items():
        print(f"largest error of {name}: " + ", ".join(f"{key} {value:.1e}" for key, value in each.items()))


if __name__ == "__main__":
    main()
