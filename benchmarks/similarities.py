"""Time Procrustes and CCA of all pairs of layers against the formulas on features, and against plain products.

    python benchmarks/similarities.py [--device cpu] [--rounds 5]

Two networks of six layers, 256 images, 1,024 features a layer. The library first gives each layer coordinates in
as many axes as images, from one Gram matrix, and then compares these. Peers, of one pair, scaled to all 36:

- Procrustes: the singular values of X'Y, as the formula has it;
- CCA as SVCCA does it: the principal directions of both layers by a singular value decomposition of the features,
  anew for each pair, and then of the product of their orthogonal bases.

The hardware limit is the matrix products alone: the Gram matrix of each layer, in float64, and one product of each
pair of coordinates. `largest_difference` is that of the two results, of the pair that both have.
"""

from collections.abc import Iterator

import numpy as np
import torch
from errors import Draw, absolute, formulas, numpy
from side_by_side import arguments, report, row, side_by_side

from seelike.similarities import cca, coordinates, procrustes, similarity_map

IMAGES, FEATURES, LAYERS, DIRECTIONS = 256, 1024, 6, 20


def errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """Procrustes and CCA of related layers, with fewer and with more features than images."""
    reference = formulas("references_similarities")
    for n, p, q in ((31, 200, 12), (64, 9, 15)):
        shared = normal(n, 3)
        x, y = (shared @ normal(3, width) + normal(n, width) for width in (p, q))
        a, b = coordinates(x), coordinates(y)
        yield "Procrustes", absolute(procrustes(a, b), reference.procrustes(numpy(x), numpy(y)))
        yield "CCA", absolute(cca(a, b, 5), reference.cca(numpy(x), numpy(y), 5))


def procrustes_of_features(x: np.ndarray, y: np.ndarray) -> float:
    """Sum the singular values of X'Y."""
    lengths = np.linalg.norm(x) * np.linalg.norm(y)
    return float(np.linalg.svd(x.T @ y, compute_uv=False).sum() / lengths)


def cca_of_features(x: np.ndarray, y: np.ndarray) -> float:
    """Reduce both layers to their first directions, and average the squared canonical correlations."""
    bases = [np.linalg.svd(each, full_matrices=False)[0][:, :DIRECTIONS] for each in (x, y)]
    return float(np.mean(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False) ** 2))


def main() -> None:
    """Measure, print and write the table."""
    options = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    spread = torch.arange(1, FEATURES + 1) ** -0.5
    shared = torch.randn(IMAGES, FEATURES) * spread
    networks = [
        {f"layer {i}": (shared + torch.randn(IMAGES, FEATURES) * spread).to(options.device) for i in range(LAYERS)}
        for _ in range(2)
    ]
    x, y = (next(iter(layers.values())).double().cpu().numpy() for layers in networks)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    reduced = coordinates(next(iter(networks[0].values())))

    def clouds() -> list[dict[str, np.ndarray]]:
        return [{name: coordinates(features) for name, features in layers.items()} for layers in networks]

    def products() -> None:
        for layers in networks:
            for features in layers.values():
                wide = features.double()
                wide @ wide.T
        for _ in range(LAYERS**2):
            reduced.T @ reduced

    ours = {"Procrustes": procrustes, "CCA": lambda a, b: cca(a, b, DIRECTIONS)}
    theirs = {"Procrustes": procrustes_of_features, "CCA": cca_of_features}
    rows = []
    for name, measure in ours.items():
        works = {
            "ours": lambda measure=measure: similarity_map(*clouds(), measure),
            "theirs": lambda name=name: theirs[name](x, y),
            "products": products,
        }
        seconds = side_by_side(works, options.rounds, options.device)
        scaled = [each * LAYERS**2 for each in seconds["theirs"]]
        difference = abs(similarity_map(*clouds(), measure)[0, 0] - theirs[name](x, y))
        setting = f"{LAYERS} x {LAYERS} layers, {IMAGES} images, {FEATURES} features"
        mine = ("coordinates, then all pairs", seconds["ours"])
        peer = ("features of one pair, scaled", scaled)
        rows += [
            row(f"{name} of two layers", setting, mine, peer, largest_difference=difference),
            row(f"{name} of two layers", setting, mine, ("matrix products alone", seconds["products"])),
        ]
    report("similarities", rows, options)


if __name__ == "__main__":
    main()
