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

import torch
from side_by_side import arguments, report, row, side_by_side

from seelike.cka import cka, gram, u_center
from seelike.localization import PatchGrams, TokenPatchCKA, patches

GRID = (14, 14)
IMAGES = 512
PAIRS = 8


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
        errors = [abs(float(ours()[i].flatten()[i]) - value) for i, value in zip(few, loop(), strict=True)]
        setting = f"{setting}, {IMAGES} images"
        rows += [
            row(
                "localisation",
                setting,
                ("TokenPatchCKA", seconds["ours"]),
                (f"loop over pairs of seelike.cka.cka, {PAIRS} pairs scaled", scaled["loop"]),
                asked="<= 0.02",
                largest_difference=max(errors),
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
