"""Time the nearest neighbours that layers share against distances and sets, and against plain products.

    python benchmarks/neighbours.py [--device cpu] [--rounds 5]

Two networks of thirty layers, 256 images, 256 features a layer. The peer finds the neighbours of each layer from
the distances of its features (torch.cdist), and compares the sets of two layers with torch.isin, image by image;
of one pair, scaled to all 900. The hardware limit is the matrix products alone: the Gram matrix of each layer in
float64, and in float32 the product of as many numbers as there are pairs of images, for all pairs of layers.
`largest_difference` is that of the two results, of the pair that both have.
"""

from collections.abc import Iterator

import torch
from errors import Draw, absolute, formulas, numpy
from side_by_side import arguments, report, row, side_by_side
from torch import Tensor

from seelike.cka import gram
from seelike.neighbours import nearest, number_of_neighbours, shared_neighbours

IMAGES, FEATURES, LAYERS = 256, 256, 30


def errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """Neighbours shared by related layers, with fewer and with more features than images."""
    reference = formulas("references_neighbours")
    for n, p, q in ((31, 200, 12), (64, 9, 15)):
        shared = normal(n, 3)
        x, y = (shared @ normal(3, width) + normal(n, width) for width in (p, q))
        found = shared_neighbours(nearest(gram(x))[None], nearest(gram(y))[None])
        expected = reference.shared_neighbours(numpy(x), numpy(y), number_of_neighbours(n))
        yield "Nearest neighbours", absolute(float(found), expected)


def by_sets(x: Tensor, y: Tensor) -> float:
    """Compare the neighbours of each image, a set at a time."""
    n, k = len(x), number_of_neighbours(len(x))
    found = []
    for features in (x, y):
        distances = torch.cdist(features, features).fill_diagonal_(torch.inf)
        found.append(distances.topk(k, largest=False).indices)
    shared = sum(int(torch.isin(a, b).sum()) for a, b in zip(*found, strict=True)) / (n * k)
    return (shared - k / (n - 1)) / (1 - k / (n - 1))


def main() -> None:
    """Measure, print and write the table."""
    options = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    shared = torch.randn(IMAGES, FEATURES)
    networks = [
        [(shared + torch.randn(IMAGES, FEATURES)).to(options.device) for _ in range(LAYERS)] for _ in range(2)
    ]
    x, y = (layers[0] for layers in networks)

    def ours() -> Tensor:
        found = [torch.stack([nearest(gram(features)) for features in layers]) for layers in networks]
        return shared_neighbours(*found)

    flat = torch.rand(LAYERS, IMAGES * IMAGES, device=options.device)

    def products() -> None:
        for layers in networks:
            for features in layers:
                wide = features.double()
                wide @ wide.T
        flat @ flat.T

    seconds = side_by_side(
        {"ours": ours, "sets": lambda: by_sets(x, y), "products": products}, options.rounds, options.device
    )
    setting = f"{LAYERS} x {LAYERS} layers, {IMAGES} images, {FEATURES} features"
    mine = ("neighbours of each layer, then all pairs", seconds["ours"])
    peer = ("distances and sets of one pair, scaled", [each * LAYERS**2 for each in seconds["sets"]])
    name, difference = "Nearest neighbours that layers share", abs(float(ours()[0, 0]) - by_sets(x, y))
    rows = [
        row(name, setting, mine, peer, largest_difference=difference),
        row(name, setting, mine, ("matrix products alone", seconds["products"])),
    ]
    report("neighbours", rows, options)


if __name__ == "__main__":
    main()
