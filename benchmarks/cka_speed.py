"""Time CKA of all layers against its forward passes, two peers, and a plain matrix product; and their errors.

    python benchmarks/cka_speed.py [--device cuda] [--rounds 5] [--images 512] [--batch-size 128] [--no-torch-cka]

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

import functools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import expected
import numpy as np
import timm
import torch
from errors import Draw, absolute, formulas, numpy
from scale import (
    SMALLER_RESNET,
    SMALLER_VIT,
    VIT,
    Count,
    Growth,
    Limit,
    Row,
    Size,
    Works,
    beside_forward_passes,
    evenly,
    forward_passes,
)
from side_by_side import arguments, ratio, report, row, side_by_side
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from seelike.cka import cka, cka_between, compare_heads, compare_models, compare_pairs
from seelike.data import ImageSet
from seelike.models import Layer, layers, read


def errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """CKA of related layers, with a mean of 0 and of 1,000 times the spread."""
    for n, p, q in ((31, 3200, 70), (64, 5001, 333)):
        shared = normal(n, 3, dtype=torch.float32)
        x = shared @ normal(3, p, dtype=torch.float32) + normal(n, p, dtype=torch.float32)
        y = (shared @ normal(3, q, dtype=torch.float32)).relu() + normal(n, q, dtype=torch.float32)
        for name, mean in (("CKA", 0.0), ("CKA, mean 1,000 times the spread", 1000.0)):
            a, b = ((features + mean).to(normal(1).dtype) for features in (x, y))
            yield name, absolute(cka(a, b), formulas("references").cka(numpy(a), numpy(b)))


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
    return float(np.nanmean(compare_pairs(model, model, images, number_of_images=n, batch_size=n, repeats=1).cka))


def cka_of_heads(model: nn.Module, images: ImageSet) -> float:
    """Figure 5: subsets of heads, with the blocks of the same network."""
    n, blocks = len(images), layers(model, kinds=["block"])[:2]
    heads = compare_heads(model, model, images, blocks, number_of_images=n, batch_size=n, repeats=1)
    return float(np.nanmean(heads.between([[0], [1]])))


STATISTICS = {"CKA of all layers": mean_cka, "CKA of blocks": cka_of_blocks, "CKA of heads": cka_of_heads}


def of_cka(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """Figures 1 and 2: CKA of all layers with all, one repeat."""
    named = dict(zip(size.networks, models, strict=True))
    chosen = {name: evenly(layers(model), size.layers) for name, model in named.items()}

    def ours(n: int) -> None:
        compare_models(
            named,
            images[:n],
            number_of_images=n,
            batch_size=size.minibatch,
            repeats=1,
            seed=0,
            layers=chosen,
            device=images.device,
            memory=size.memory,
        )

    read = f"{sum(map(len, chosen.values()))} layers, minibatches of {size.minibatch}"
    return beside_forward_passes(ours, size, models, images, part=size.minibatch, read=read)


def counts(size: Size, models: Sequence[nn.Module], side: int) -> tuple[Count, Count]:
    """Grams of all layers, and one product of all pairs."""
    parts = math.ceil(size.images / size.minibatch)
    n = size.images / parts
    chosen = [evenly(layers(model), size.layers) for model in models]
    features = sum(
        math.prod(shape)
        for model, each in zip(models, chosen, strict=True)
        for shape in expected.shapes(model, each, side)
    )
    return expected.forward(size, models, side), {
        "float32": parts * features * (expected.OF_BLOCKS * 2 * n**2 + 2 * n),
        "float64": parts * sum(map(len, chosen)) ** 2 * n * (n - 1),
    }


def packages(
    models: Sequence[nn.Module],
    chosen: list[list[Layer]],
    images: Tensor,
    batch_size: int,
    found: dict[str, Tensor],
    **settings: Any,
) -> dict[str, Callable[[], None]]:
    """Give the bare forward passes, and CKA with each package, by name; it goes into `found`."""
    from cka_peers import cka_of_pytorch_cka, cka_of_torch_cka

    names, device = [[layer.name for layer in each] for each in chosen], str(images.device)
    loader = DataLoader(TensorDataset(drawn(images)), batch_size=batch_size)

    def ours() -> None:
        numbers = {"number_of_images": len(images), "batch_size": batch_size, "repeats": 1}
        comparison = cka_between(*models, images, *chosen, **numbers, **settings)
        found["seelike"] = torch.from_numpy(comparison.mean("a", "b"))

    def pytorch() -> None:
        found["pytorch-cka"] = cka_of_pytorch_cka(models, names, loader, device)

    def torch_other() -> None:
        found["torch_cka"] = cka_of_torch_cka(models, names, loader, device)

    return {
        "forward passes": lambda: forward_passes(models, images, batch_size),
        "seelike": ours,
        "pytorch-cka": pytorch,
        "torch_cka": torch_other,
    }


def drawn(images: Tensor) -> Tensor:
    """Put images in the order in which they are drawn here, so that all see the same minibatches."""
    return images[torch.from_numpy(np.random.default_rng(0).permutation(len(images)))]


def of_cka_peers(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """CKA of two networks, all modules with all, against two other packages; one minibatch after the other."""
    from cka_peers import places

    chosen = [places(model) for model in models]

    @functools.cache
    def works(n: int) -> dict[str, Callable[[], None]]:
        return packages(models, chosen, images[:n], size.minibatch, {}, memory=size.memory)

    def run(name: str) -> Callable[[int], None]:
        return lambda n: works(n)[name]()

    return Works(
        run("seelike"),
        run("forward passes"),
        "bare forward passes",
        {name: (run(name), 1) for name in ("pytorch-cka", "torch_cka")},
        part=size.minibatch,
        read=f"{' x '.join(str(len(each)) for each in chosen)} layers, minibatches of {size.minibatch}",
    )


_SMALL = Size((VIT,), 128, 16, minibatch=64, units=20, memory="4GB")
ROWS = {
    "figure_1_vit_l16": Row(
        "Figure 1, ViT-L/16",
        of_cka,
        Size(("ViT-L/16",), 10_240, 256, minibatch=1024, units=20, memory="120GB"),
        _SMALL,
        Limit(ratio=2.0),
        counts=counts,
    ),
    "figure_1_vit_h14": Row(
        "Figure 1, ViT-H/14",
        of_cka,
        Size(("ViT-H/14",), 10_240, 256, minibatch=1024, memory="95GB"),
        replace(_SMALL, networks=(SMALLER_VIT,), units=1),
        Limit(ratio=2.5, gigabytes=100),
        counts=counts,
    ),
    "figure_2": Row(
        "Figure 2, ViT-L/16 with ResNet152x2",
        of_cka,
        Size(("ViT-L/16", "ResNet152x2"), 10_240, 256, minibatch=1024, memory="120GB"),
        replace(_SMALL, networks=(SMALLER_VIT, SMALLER_RESNET), units=1),
        Limit(ratio=2.0),
        counts=counts,
    ),
    "cka_peers": Row(
        "CKA beside other packages, ViT-B/16 with ResNet50",
        of_cka_peers,
        Size(("ViT-B/16", "ResNet50x1"), 512, 128, minibatch=128, memory="100GB"),
        Size((SMALLER_VIT, SMALLER_RESNET), 64, 32, minibatch=32, memory="4GB"),
        peer_rounds=1,
        precisions=("float32",),
    ),
}
GROWTH = Growth("CKA of all layers", of_cka)


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
    from cka_peers import places

    device, size = options.device, options.batch_size
    models = networks(device)
    chosen = [places(model) for model in models]
    images = torch.randn(options.images, 3, 64, 64, device=device)
    results: dict[str, Tensor] = {}
    works = packages(models, chosen, images, size, results)
    slow = works.pop("torch_cka")

    widths = [
        width
        for model, each in zip(models, chosen, strict=True)
        for width in read(model, each, images[:2], lambda _, x: x[0].numel()).values()
    ]
    numbers_of_largest = torch.randn(size * max(widths), device=device)

    def product() -> None:
        for _ in range(-(-options.images // size)):
            for width in widths:
                x = numbers_of_largest[: size * width].view(size, width)
                x @ x.T

    seconds = side_by_side({**works, "plain product": product}, options.rounds, device)
    once = {}
    if not options.no_torch_cka:
        del works["pytorch-cka"]
        once = side_by_side({**works, "torch_cka": slow}, 1, device, False)

    reference = exact(models, chosen, drawn(images), size)
    rows_lost, columns_lost = overwritten(models, chosen, images[:4])
    intact = ~rows_lost[:, None] & ~columns_lost
    largest = {
        name: {
            "largest_error": float((found - reference).abs().nan_to_num(torch.inf).max()),
            "largest_error_where_nothing_is_overwritten": float((found - reference).abs()[intact].max()),
        }
        for name, found in results.items()
    }

    def beyond(times: dict[str, list[float]], name: str) -> list[float]:
        return [whole - bare for whole, bare in zip(times[name], times["forward passes"], strict=True)]

    setting = (
        f"ResNet-18 x ViT-Tiny, {' x '.join(str(len(each)) for each in chosen)} layers, "
        f"{options.images} images of 64 px, minibatches of {size}"
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
            errors_of_packages=largest,
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
    report("cka_speed", rows, options)
    for name, each in largest.items():
        print(f"largest error of {name}: " + ", ".join(f"{key} {value:.1e}" for key, value in each.items()))


if __name__ == "__main__":
    main()
