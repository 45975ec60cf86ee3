"""Time attention distance against the forward pass that it cannot do without, and against the usual way.

    python benchmarks/attention.py [--device cuda] [--rounds 5] [--images 4] [--network vit_base_patch16_224]

All blocks and heads of ViT-B/16 with random weights, at 224 pixels. The usual way turns fused attention off, keeps
the maps of all blocks, and takes the distances from them afterwards. `largest_difference` is the largest relative
difference between the two results, both in float32.
"""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import timm
import torch
from errors import Draw, formulas, numpy, relative
from expected import forward
from scale import (
    SMALLER_VIT,
    VIT,
    Count,
    Growth,
    Limit,
    Row,
    Size,
    Works,
    beside_forward_passes,
    forward_passes,
)
from side_by_side import arguments, report, row, side_by_side
from torch import Tensor, nn

from seelike.attention import AttentionDistance, attention_distances
from seelike.data import ImageSet
from seelike.models import precision_of, with_precision
from seelike.sections.local_global import measure_heads


def errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """Attention distance from queries and keys, relative."""
    reference = formulas("references_attention")
    grid, patch_size, prefix = (5, 3), (16, 16), 2
    q, k = (normal(3, 2, prefix + 15, 13) for _ in range(2))
    attention = reference.softmax_attention(numpy(q), numpy(k), 13**-0.5)
    heads = AttentionDistance(grid, patch_size, prefix)
    heads.update_qk(q, k, 13**-0.5)
    expected, _, mass = reference.by_image(attention, grid, patch_size, prefix)
    yield "attention distance", relative(heads.compute().distance, expected.mean(axis=0))
    yield "attention to CLS and registers", relative(heads.compute().prefix_mass, mass.mean(axis=0))


def nearest_head(model: nn.Module, images: ImageSet) -> float:
    """Figures 3 and C.6: attention distance of the nearest low head, as a share of that of a uniform one."""
    return float(measure_heads(model, [images]).nearest_low[0])


STATISTICS = {"attention distance": nearest_head}


def usual_way(model: nn.Module) -> nn.Module:
    """Copy a network with its attention unfused, where what goes into the dropout is the map."""
    model = copy.deepcopy(model)
    for block in model.blocks:
        block.attn.fused_attn = False
    return model


@torch.no_grad()
def distances_of_maps(unfused: nn.Module, images: Tensor) -> Tensor:
    """Keep the maps of all blocks, `[b, heads, t, t]` each, then weight pixel distances by them."""
    maps: list[Tensor] = []
    handles = [
        block.attn.attn_drop.register_forward_hook(lambda _, inputs, output: maps.append(output))
        for block in unfused.blocks
    ]
    unfused(images)
    for handle in handles:
        handle.remove()
    rows, columns = unfused.patch_embed.grid_size
    height, width = unfused.patch_embed.patch_size
    places = np.stack(np.mgrid[:rows, :columns], axis=-1).reshape(-1, 2) * (height, width)
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    pixels = torch.from_numpy(distances).to(images)
    prefix = unfused.num_prefix_tokens
    result = []
    for attention in maps:
        on_grid = attention[:, :, prefix:, prefix:]
        on_grid = on_grid / on_grid.sum(dim=-1, keepdim=True)
        result.append((on_grid * pixels).sum(dim=-1).mean(dim=(0, 2)))
    return torch.stack(result)


def of_attention(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """Figure 3: attention distances of all heads; as a peer, of maps that are stored."""
    (model,) = models
    unfused = with_precision(usual_way(with_precision(copy.copy(model), "float32")), precision_of(model))

    def stored(n: int) -> None:
        for batch in images[:n].split(size.passes):
            distances_of_maps(unfused, batch)

    tokens = model.patch_embed.num_patches + model.num_prefix_tokens
    maps = 4 * sum(block.attn.num_heads for block in model.blocks) * tokens**2 * size.images
    return beside_forward_passes(
        lambda n: attention_distances(model, images[:n], batch_size=size.passes),
        size,
        models,
        images,
        peers={"maps stored batch by batch": (stored, 1)},
        part=size.passes,
        read=f"{len(model.blocks)} blocks, whose maps would take {maps / 1e9:.3g} GB",
    )


def counts(size: Size, models: Sequence[nn.Module], side: int) -> tuple[Count, Count]:
    """The scores, which fused attention does not hand out."""
    (model,) = models
    tokens = model.patch_embed.num_patches
    scores = sum(2 * tokens**2 * block.attn.num_heads * block.attn.head_dim for block in model.blocks)
    return forward(size, models, side), {"float32": size.images * scores}


ROWS = {
    "figure_3_vit_l16": Row(
        "Figure 3, ViT-L/16",
        of_attention,
        Size(("ViT-L/16",), 5000, 256),
        Size((VIT,), 64, 16),
        Limit(ratio=1.1),
        counts=counts,
    ),
    "figure_3_vit_h14": Row(
        "Figure 3, ViT-H/14",
        of_attention,
        Size(("ViT-H/14",), 5000, 256),
        Size((SMALLER_VIT,), 128, 32),
        Limit(ratio=1.1),
        counts=counts,
    ),
}
# All blocks of a network have attention distances.
GROWTH = Growth("attention distance", of_attention, layers="depth", batch="passes")


def main() -> None:
    """Measure, print and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, help="in one forward pass (4 on a CPU, 64 on a GPU)")
    parser.add_argument("--network", default="vit_base_patch16_224")
    options = parser.parse_args()
    options.images = options.images or (4 if options.device == "cpu" else 64)
    torch.manual_seed(0)
    model = timm.create_model(options.network).eval().to(options.device)
    unfused = usual_way(model)
    images = torch.randn(options.images, *model.pretrained_cfg["input_size"], device=options.device)
    works = {
        "bare forward": lambda: forward_passes([model], images, options.images),
        "attention distances": lambda: attention_distances(model, images, batch_size=options.images),
        "stored maps": lambda: distances_of_maps(unfused, images),
    }
    seconds = side_by_side(works, options.rounds, options.device)

    ours = torch.stack([block.distance for block in attention_distances(model, images).values()])
    theirs = distances_of_maps(unfused, images).double().cpu()
    first = model.blocks[0].attn
    tokens = model.patch_embed.num_patches + model.num_prefix_tokens
    map_bytes = len(model.blocks) * options.images * first.num_heads * tokens**2 * images.element_size()
    setting = f"{options.network}, {options.images} images"
    timed = ("with attention distances", seconds["attention distances"])
    report(
        "attention",
        [
            row(
                "attention distance",
                setting,
                timed,
                ("bare forward", seconds["bare forward"]),
                asked="<= 1.15",
                largest_difference=float((ours / theirs - 1).abs().max()),
            ),
            row(
                "attention distance", setting, timed, ("stored maps", seconds["stored maps"]), map_bytes=map_bytes
            ),
        ],
        options,
    )


if __name__ == "__main__":
    main()
