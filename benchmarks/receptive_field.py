"""Time receptive fields against the backward passes that they cannot do without, and count what error bars cover.

    python benchmarks/receptive_field.py [--device cuda] [--rounds 3] [--images 1] [--repeats 100]

ViT-Tiny with patches of 8 at 64 pixels, random weights: the embedding and the stream after every attention and
every MLP, with the branches before the addition, all channels. The bare cost is one backward pass for each of
these layers and each channel, with batches of the same size and no gradients of weights; nothing is kept of it.
Since the library makes no whole backward pass for an MLP, it is also held against the passes that remain.

Then 1/16 of the channels of the trained vit_7x7 of this package, 32 images, again and again with other seeds: how
many of the intervals of 95 % (Student's t) cover the exact field, over the brighter half of the pixels.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import timm
import torch
from errors import Draw, formulas, relative
from hardware import Operations
from scale import SMALLER_RESNET, SMALLER_VIT, Count, Limit, Row, Size, Works, beside_forward_passes, evenly
from scipy import stats
from side_by_side import arguments, report, row, side_by_side
from torch import Tensor, nn

from seelike.data import ImageSet
from seelike.data import load as load_images
from seelike.models import Layer, layers, load, read, residuals
from seelike.receptive_field import ReceptiveFields, effective_receptive_field
from seelike.sections.local_global import measure_fields, radii

STREAM = ["embedding", "residual", "block"]
BATCH = 32


def errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """Receptive fields of a network of the book, against one backward pass for each image and channel."""
    if normal(1).dtype in (torch.bfloat16, torch.float16):
        return  # The derivative itself is then that of a rounded network: there is no formula to compare with.
    model = load("tiny/vit_7x7").to(normal(1).device, normal(1).dtype)
    images = normal(2, 1, 28, 28)
    chosen = layers(model, ["block 2/mlp", "block 2", "block 3/attention"])
    fields = effective_receptive_field(model, chosen, images)
    exact: nn.Module = load("tiny/vit_7x7").double()
    by_loop = formulas("references_receptive_field").field_by_loop
    for layer in chosen:
        expected = by_loop(exact, layer, images.double().cpu(), 1, (7, 7))
        yield "receptive field", relative(fields.after[layer.name], expected)


def radius(model: nn.Module, images: ImageSet) -> float:
    """Figures 6 and C.1 to C.5: receptive fields, of one channel on one image; radius at the last block."""
    return float(radii(measure_fields(model, [images.select(np.arange(1))], channels=1))[0, -1])


STATISTICS = {"receptive fields": radius}


def of_fields(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """Figure 6: receptive fields of the embedding and every sublayer; as a peer, one channel at a time."""
    (model,) = models
    places = [layer for layer in layers(model) if layer.kind in STREAM]
    some = evenly(places, 3)

    def ours(n: int) -> None:
        effective_receptive_field(model, places, images[:n], channels=size.channels, batch_size=size.passes)

    said = f"{len(places)} layers, {size.channels} channels"
    if size.channels != "all":
        return beside_forward_passes(ours, size, models, images, read=said)
    return Works(
        ours,
        lambda n: bare(model, places, images[:n], size.passes),
        "bare backward passes",
        {
            "one backward pass a channel, of 3 layers": (
                lambda n: bare(model, some, images[:n], rows=1),
                len(places) / 3,
            )
        },
        part=1,
        read=said,
    )


def counts(size: Size, models: Sequence[nn.Module], side: int) -> tuple[Count, Count]:
    """Backward passes: from a layer they take about what the forward pass to it takes, for each of its channels.

    That is so of linear layers and convolutions; the backward pass of attention takes twice as much. The library
    makes none from MLPs, but the output of one is differentiated by the centre of what goes into it, in place.
    """
    (model,) = models
    places = [layer for layer in layers(model) if layer.kind in STREAM]
    reached: list[tuple[int, float]] = []
    image = torch.empty(1, 3, side, side, device="meta")
    with Operations() as counted:
        read(
            model,
            places,
            image,
            lambda _, x: reached.append(
                (x.shape[1] if x.ndim == 4 else x.shape[2], sum(counted.by_type.values()))
            ),
        )
    whole = sum(width * operations for width, operations in reached)
    transformer = hasattr(model, "blocks")
    mlps = [layer.kind == "block" and transformer for layer in places]
    left_out = sum(width * operations for (width, operations), mlp in zip(reached, mlps, strict=True) if mlp)
    products = sum(2 * width**2 * 3 * side**2 for (width, _), mlp in zip(reached, mlps, strict=True) if mlp)
    # Where the skip is not a layer of its own, as where a ResNet changes its width, branch and output both have
    # one.
    names = [layer.name for layer in places]
    again = sum(
        math.prod(reached[names.index(each.output.name)])
        for each in residuals(model)
        if each.output.name in names and (each.activation or each.skip.name not in names)
    )
    return {"float32": size.images * whole}, {"float32": size.images * (products + again - left_out)}


_FIELDS = {"images": 1, "passes": 128, "units": 32}
_FIELDS_SMALL = {"images": 1, "passes": 32, "units": 32}
_SUBSET = {"images": 32, "passes": 128, "channels": 8}
_SUBSET_SMALL = {"images": 4, "passes": 16, "channels": 4}
# The networks of Figure 6, and what stands for each on a CPU.
_NETWORKS = {
    "vit_b32": ("ViT-B/32", "ViT-B/32", {"networks": (SMALLER_VIT,)}),
    "vit_l16": ("ViT-L/16", "ViT-L/16", {"networks": ("test_vit3",)}),
    "resnet50": ("ResNet50", "ResNet50x1", {"networks": (SMALLER_RESNET,), "side": 64}),
}
ROWS = {
    f"figure_6_{key}": Row(
        f"Figure 6, {title}",
        of_fields,
        Size((network,), **_FIELDS),
        Size(**small, **_FIELDS_SMALL),
        Limit(ratio=1.3),
        peer_rounds=1,
        counts=counts,
    )
    for key, (title, network, small) in _NETWORKS.items()
} | {
    f"figure_6_subset_{key}": Row(
        f"Figure 6, {title}, some channels",
        of_fields,
        Size((network,), **_SUBSET),
        Size(**small, **_SUBSET_SMALL),
        Limit(seconds=60),
    )
    for key, (title, network, small) in _NETWORKS.items()
}


def bare(model: nn.Module, places: list[Layer], images: torch.Tensor, rows: int = BATCH) -> None:
    """Run the backward passes of one image after the other from the centre of each layer, some channels a time."""
    modules = dict(model.named_modules())
    for image in images:
        pixels = image.expand(rows, *image.shape).clone().requires_grad_()
        centres: list[torch.Tensor] = []

        def keep(_: nn.Module, given: tuple, output: torch.Tensor | None = None, kept=centres) -> None:
            # A copy: a ResNet adds in place to what it gives.
            kept.append(centre(model, given[0] if output is None else output).clone())

        handles = [
            modules[layer.module].register_forward_pre_hook(keep)
            if layer.side == "input"
            else modules[layer.module].register_forward_hook(keep)
            for layer in places
        ]
        model(pixels)
        for handle in handles:
            handle.remove()
        for each in centres:
            for start in range(0, each.shape[1], rows):
                chosen = torch.zeros_like(each)
                chosen[:, start : start + rows].fill_diagonal_(1)
                torch.autograd.grad(each, pixels, chosen, retain_graph=True)


def centre(model: nn.Module, activation: torch.Tensor) -> torch.Tensor:
    """Take the centre of a feature map, or of the grid of a ViT's tokens: `[b, channels]`."""
    if activation.ndim == 4:
        return activation[:, :, activation.shape[2] // 2, activation.shape[3] // 2]
    rows, columns = model.patch_embed.grid_size
    return activation[:, model.num_prefix_tokens + rows // 2 * columns + columns // 2]


def largest_error(found: ReceptiveFields, exact: ReceptiveFields) -> float:
    """Give the largest error of all fields, each relative to its brightest pixel."""
    return max(
        float((getattr(found, kind)[name] - field).abs().max() / field.max())
        for kind in ("after", "before")
        for name, field in getattr(exact, kind).items()
    )


def coverage(device: str, repeats: int) -> dict[str, float]:
    """Say how often 95 % intervals cover the exact field, with 1/16 of the channels."""
    model = load("tiny/vit_7x7", device)
    images = load_images("fashion-mnist").sample(32, seed=0)
    places = layers(model, ["block 1/after attention", "block 4"])
    exact = effective_receptive_field(model, places, images)
    # 16 pairs of images with 4 channels each: 48 degrees of freedom.
    width = stats.t.ppf(0.975, 16 * 3)
    covered = []
    for seed in range(repeats):
        sample = effective_receptive_field(model, places, images, channels=4, seed=seed)
        for kind in ("after", "before"):
            for name, field in getattr(exact, kind).items():
                bright = field > field.median()
                wrong = (getattr(sample, kind)[name] - field).abs() > width * getattr(sample, f"{kind}_error")[
                    name
                ]
                covered.append(1 - float(wrong[bright].double().mean()))
    return {"coverage": sum(covered) / len(covered), "coverage_asked": 0.95, "repeats": repeats}


def main() -> None:
    """Measure, print and write the table."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--images", type=int, default=1, help="images for each round (1)")
    parser.add_argument("--repeats", type=int, default=100, help="samples of channels (100)")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8).eval().to(options.device)
    model.requires_grad_(False)
    images = torch.randn(options.images, 3, 64, 64, device=options.device)
    places = layers(model, kinds=STREAM)
    remaining = layers(model, kinds=["embedding", "residual"])
    some = layers(model, ["embedding", "block 1/after attention", "block 1", "block 2/after attention", "block 2"])

    timed = side_by_side(
        {
            "fields": lambda: effective_receptive_field(model, places, images, batch_size=BATCH),
            "backward passes": lambda: bare(model, places, images),
            "remaining passes": lambda: bare(model, remaining, images),
            "fields of 1/16": lambda: effective_receptive_field(model, places, images, 12, batch_size=BATCH),
        },
        options.rounds,
        options.device,
        warm_up=options.device.startswith("cuda"),
    )
    found = effective_receptive_field(model, some, images, batch_size=BATCH)
    error = largest_error(found, effective_receptive_field(model.double(), some, images.double()))
    setting = f"ViT-Tiny, {len(places)} layers, {options.images} image(s) of 64 px"
    table = [
        row(
            "receptive fields, all channels",
            setting,
            ("fields after and before", timed["fields"]),
            ("bare backward passes", timed["backward passes"]),
            "<= 1.3",
            largest_error=error,
        ),
        row(
            "receptive fields, all channels",
            setting,
            ("fields after and before", timed["fields"]),
            ("bare backward passes, none for MLPs", timed["remaining passes"]),
            "<= 1.3",
        ),
        row(
            "receptive fields, 1/16 of the channels",
            setting,
            ("fields after and before", timed["fields of 1/16"]),
            ("all channels", timed["fields"]),
            **coverage(options.device, options.repeats),
        ),
    ]
    report("receptive_field", table, options)
    print(f"largest error {error:.1e}; 95 % intervals cover {table[2]['coverage']:.1%}")


if __name__ == "__main__":
    main()
