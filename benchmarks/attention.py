"""Time attention distance against the forward pass that it cannot do without, and against the usual way.

    python benchmarks/attention.py [--device cuda] [--rounds 5] [--images 4] [--network vit_base_patch16_224]

All blocks and heads of ViT-B/16 with random weights, at 224 pixels. The usual way turns fused attention off, keeps
the maps of all blocks, and takes the distances from them afterwards. `largest_difference` is the largest relative
difference between the two results, both in float32.
"""

import copy

import numpy as np
import timm
import torch
from side_by_side import arguments, report, row, side_by_side
from torch import Tensor, nn

from seelike.attention import attention_distances


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

    @torch.no_grad()
    def forward() -> None:
        model(images)

    works = {
        "bare forward": forward,
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
