"""Time token-to-patch CKA against a loop over pairs, and against plain matrix products of the same size.

    python benchmarks/localization.py [--device cuda] [--rounds 5]

196 tokens of 768 channels (ViT-B/16) against the 196 patches of 512 images of 224 pixels, and 196 tokens of 64
channels against the 2 x 2 pixels of 28 (the tiny networks). Peers:

- a loop over pairs that calls `seelike.cka.cka`, which makes both Grams anew for each pair;
- a loop over pairs of the plain formula, the U-centred Grams made once for each token and patch and all kept.

Both loops run over a few pairs and are scaled to all 38,416. The second is given its Grams: only the sums over
pairs are timed. The hardware limit is the matrix products alone: the Grams of all tokens and patches, full, in
float32, and the product of all tokens with all patches. (The library makes 5/8 of each Gram, so it may come
below.)
"""

import math
from collections.abc import Iterator, Sequence

import expected
import torch
from errors import Draw, absolute, formulas, numpy
from scale import VIT, Count, Growth, Limit, Row, Size, Works, beside_forward_passes
from side_by_side import arguments, report, row, side_by_side
from torch import Tensor, nn

from seelike.cka import cka, gram, u_center
from seelike.data import ImageSet
from seelike.localization import PatchGrams, TokenPatchCKA, patches, token_patch_cka
from seelike.models import layers
from seelike.sections.spatial_localization import localization_above_chance

GRID = (14, 14)
IMAGES = 512
PAIRS = 8


def errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """CKA of tokens with patches."""
    grid = (2, 3)
    similarity = TokenPatchCKA(grid)
    minibatches = []
    for n in (9, 8):
        images = normal(n, 3, 8, 12)
        squares = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(n, 6, -1)
        tokens = torch.cat((squares, normal(n, 6, 20)), dim=2)
        similarity.update(images, tokens)
        minibatches.append((numpy(images), numpy(tokens)))
    exact = formulas("references_tokens").token_patch_cka(minibatches, grid)
    yield "CKA of tokens with patches", absolute(similarity.compute(), exact)


def above_chance(model: nn.Module, images: ImageSet) -> float:
    """Figures 9, 10 and D.1 to D.3: CKA of tokens of the last block with patches, at the place minus elsewhere."""
    block = layers(model, kinds=["block"])[-1:]
    (places,) = token_patch_cka(model, block, images, minibatch=len(images)).values()
    return localization_above_chance(places.cka)


STATISTICS = {"localization": above_chance}


def of_localization(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """Figure 9: CKA of all tokens of the last blocks with all patches."""
    (model,) = models
    last = layers(model, kinds=["block"])[-(size.layers or 0) :]
    return beside_forward_passes(
        lambda n: token_patch_cka(model, last, images[:n], minibatch=size.minibatch, batch_size=size.passes),
        size,
        models,
        images,
        part=size.minibatch,
        read=f"{len(last)} blocks, {model.patch_embed.num_patches} tokens and patches, "
        f"minibatches of {size.minibatch}",
    )


def counts(size: Size, models: Sequence[nn.Module], side: int) -> tuple[Count, Count]:
    """Grams of tokens and patches, and the products of all tokens with all patches."""
    (model,) = models
    parts = math.ceil(size.images / size.minibatch)
    n, tokens = size.images / parts, model.patch_embed.num_patches
    numbers = size.layers * tokens * model.embed_dim + 3 * side**2
    grams = expected.OF_BLOCKS * 2 * n**2 * numbers
    cross = size.layers * tokens**2 * n * (n - 1)
    return expected.forward(size, models, side), {"float32": parts * (grams + cross)}


ROWS = {
    "figure_9": Row(
        "Figure 9, ViT-B/16",
        of_localization,
        Size(("ViT-B/16",), 10_240, 256, minibatch=1024, layers=4),
        Size((VIT,), 128, 16, minibatch=64, layers=4),
        Limit(ratio=1.2),
        counts=counts,
    ),
}
GROWTH = Growth("localization", of_localization)


def main() -> None:
    """Measure, print and write the table."""
    options = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    rows = []
    for setting, channels, colours, side in (
        ("ViT-B/16, 224 pixels", 768, 3, 224),
        ("tiny, 28 pixels", 64, 1, 28),
    ):
        images = torch.randn(IMAGES, colours, side, side, device=options.device)
        pixels = patches(images, GRID)
        mix = torch.randn(pixels.shape[2], channels, device=options.device) / pixels.shape[2] ** 0.5
        tokens = pixels @ mix + torch.randn(IMAGES, 196, channels, device=options.device)
        shared = PatchGrams(images, GRID)
        few = range(0, 196, 196 // PAIRS)[:PAIRS]
        token_grams = [u_center(gram(tokens[:, i])) for i in few]
        patch_grams = [u_center(gram(pixels[:, i])) for i in few]
        pairs = IMAGES * (IMAGES - 1) // 2
        flat_tokens, flat_patches = torch.randn(2, 196, pairs, device=options.device)

        def ours(images=images, tokens=tokens) -> torch.Tensor:
            similarity = TokenPatchCKA(GRID)
            similarity.update(images, tokens)
            return similarity.compute()

        def next_layer(shared=shared, tokens=tokens) -> None:
            TokenPatchCKA(GRID).update(shared, tokens)

        def loop(tokens=tokens, pixels=pixels, few=few) -> list[float]:
            return [cka(tokens[:, i], pixels[:, i]) for i in few]

        def loop_of_sums(token_grams=token_grams, patch_grams=patch_grams) -> list[float]:
            return [
                float((k * m).sum() / (k.square().sum() * m.square().sum()).sqrt())
                for k, m in zip(token_grams, patch_grams, strict=True)
            ]

        def products(tokens=tokens, pixels=pixels, a=flat_tokens, b=flat_patches) -> None:
            for features in (tokens, pixels):
                for part in features.transpose(0, 1).split(8):
                    part @ part.mT
            a @ b.T

        works = {
            "ours": ours,
            "next": next_layer,
            "loop": loop,
            "sums": loop_of_sums,
            "products": products,
        }
        seconds = side_by_side(works, options.rounds, options.device)
        scaled = {name: [each * 196 * 196 / PAIRS for each in seconds[name]] for name in ("loop", "sums")}
        differences = [abs(float(ours()[i].flatten()[i]) - value) for i, value in zip(few, loop(), strict=True)]
        setting = f"{setting}, {IMAGES} images"
        rows += [
            row(
                "localisation",
                setting,
                ("TokenPatchCKA", seconds["ours"]),
                (f"loop over pairs of seelike.cka.cka, {PAIRS} pairs scaled", scaled["loop"]),
                asked="<= 0.02",
                largest_difference=max(differences),
            ),
            row(
                "localisation",
                setting,
                ("TokenPatchCKA", seconds["ours"]),
                (f"loop over pairs of ready Grams, {PAIRS} pairs scaled", scaled["sums"]),
            ),
            row(
                "localisation",
                setting,
                ("TokenPatchCKA", seconds["ours"]),
                ("its matrix products alone", seconds["products"]),
            ),
            row(
                "localisation",
                setting,
                ("each further layer", seconds["next"]),
                ("TokenPatchCKA", seconds["ours"]),
            ),
        ]
    report("localization", rows, options)


if __name__ == "__main__":
    main()
