"""The explorer of CKA: what a point of a map is made of (Section 3; Figures 1, 2 and B.1).

A layer X says of every two images how alike they are: its Gram matrix, U-centred, and here divided by the root
of its mean square over the pairs of images. With x_ij and y_ij for two layers so scaled,

    CKA = mean_ij x_ij y_ij,

so that each pair of images has its part in CKA: it raises it by agreement (both layers find the two more alike
than the average, or both less), and lowers it by disagreement. The explorer shows which pairs these are.

A page may show the pictures that come with seelike, and not those of ImageNet. So the images are of two kinds:
some that are shown, and others that are measured with them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from seelike.cka import ModelComparison, gram, u_center
from seelike.data import ImageSet
from seelike.errors import unknown_name
from seelike.models import STREAM, Layer, preprocessing, read
from seelike.plots.cka import along
from seelike.plots.explorers.bundle import (
    LARGEST,
    Explorer,
    colour_table,
    contact_sheet,
    credit_lines,
    in_levels,
    in_words,
    packed,
    rounded_cka,
)
from seelike.plots.gram import ALIKE, FAR, draw_gram
from seelike.plots.style import WIDTH, in_lines

# Side of a thumbnail in pixels: seen at half of that, it is sharp on a phone.
_SIDE = 72
_PAIRS_IN_A_LIST = 3
_AFTER, _BEFORE = "after training", "before training"

State = tuple[ModelComparison, Mapping[str, nn.Module]]


def cka_explorer(
    comparison: ModelComparison,
    models: Mapping[str, nn.Module],
    images: ImageSet,
    untrained: State | None = None,
    *,
    others: ImageSet | None = None,
    number_of_images: int = 40,
    pair: tuple[str, str] | None = None,
    seed: int = 0,
) -> Explorer:
    """Make the explorer of all maps of CKA of some networks, within each and between every two.

    A click on a point of a map shows both Gram matrices, the cloud whose correlation is CKA, and the pairs of
    images on which the two layers agree and disagree most. Where all layers would be too much for a page, it has
    those of the residual streams alone, and says so.

    Args:
        comparison: CKA, as `seelike.cka.compare_models` gives it. The maps show its means over repeats.
        models: The networks to look at, by their names in `comparison`, which may have more. In evaluation mode.
        images: What the Gram matrices are of, **and what the page shows**: images that may be shown, such as
            `run.to_show(run.images)`.
        untrained: The same networks before training: their comparison, and they themselves, by the same names.
        others: Further images, measured and never shown: for where `images` are fewer than `number_of_images`.
        number_of_images: Images in the Gram matrices.
        pair: The networks of the map that it begins with, upwards and across; None: the first with itself.
        seed: Seed of the draw of images.

    Returns:
        The explorer. As the last expression of a cell it is shown.

    Raises:
        UnknownName: A network was not compared.
        ValueError: There are no networks, fewer than 4 images, layers of the untrained networks differ from those
            of the trained ones, or the data are too large.

    Example:
        >>> from seelike import data
        >>> from seelike.cka import compare_models
        >>> from seelike.models import layers, load
        >>> models, images = {"ViT": load("test_vit:random")}, data.load("fashion-mnist")
        >>> blocks = {"ViT": layers(models["ViT"], kinds=["block"])}
        >>> comparison = compare_models(
        ...     models, images, number_of_images=8, batch_size=8, repeats=1, seed=0, layers=blocks
        ... )
        >>> explorer = cka_explorer(comparison, models, images, number_of_images=8)
        >>> explorer.kind, [network["name"] for network in explorer.data["networks"]]
        ('cka', ['ViT'])
    """
    if not models:
        raise ValueError("models is empty; expected at least one network.")
    states = {_AFTER: (comparison, models)} | ({} if untrained is None else {_BEFORE: untrained})
    of_each = {when: _of_these(state[0], list(models)) for when, state in states.items()}
    note = ""
    if _expected_size(of_each.values(), number_of_images) > LARGEST:
        of_each = {when: each.only(STREAM) for when, each in of_each.items()}
        note = "Of all layers these are the ones of the residual streams: all would be too much for a page."
    layers = of_each[_AFTER].layers
    if untrained is not None:
        _require_same(layers, of_each[_BEFORE].layers)
    names = list(layers)
    pair = pair if pair is not None else (names[0], names[0])
    for name in pair:
        if name not in names:
            raise unknown_name("model", name, names)
    # Upwards stands what comes first in models, so that a map has one form.
    pair = (pair[0], pair[1]) if names.index(pair[0]) <= names.index(pair[1]) else (pair[1], pair[0])

    sample = _Sample.draw(images, others, number_of_images, seed)
    grams = {when: _grams(each.layers, states[when][1], sample) for when, each in of_each.items()}
    order = _order(sample.labels, grams[_AFTER])
    sample = sample.in_order(order)
    pairs = np.triu_indices(len(order), k=1)
    alike = {when: each[:, order][:, :, order][:, *pairs] for when, each in grams.items()}
    places = {name: _place_to_begin(layers[name]) for name in names}
    data: dict[str, Any] = {
        "networks": [
            {
                "name": name,
                "layers": [layer.name for layer in layers[name]],
                "blocks": [layer.block for layer in layers[name]],
                "begin": places[name],
            }
            for name in names
        ],
        "pair": [names.index(name) for name in pair],
        "states": [_packed_state(when, of_each[when], alike[when]) for when in of_each],
        "images": {
            "count": len(order),
            "names": sample.names,
            "thumbnails": sample.thumbnails,
            "sheet": contact_sheet([each for each in sample.pictures if each is not None], _SIDE),
        },
        "far": FAR,
        "listed": _PAIRS_IN_A_LIST,
        "colours": {"cka": colour_table("magma"), "alike": colour_table(ALIKE)},
        "note": note,
        "credit": images.note or f"The pictures are of {images.name}.",
    }
    start = {name: sum(len(layers[each]) for each in names[: names.index(name)]) for name in names}
    # A network with itself: an upper layer with a lower one, as the diagonal has nothing to tell.
    cell = places[pair[0]][1], places[pair[1]][0 if pair[0] == pair[1] else 1]
    rows = alike[_AFTER][[start[name] + place for name, place in zip(pair, cell, strict=True)]]
    figure, cka = _still(of_each[_AFTER], pair, cell, rows, sample, data["credit"])
    chosen = [f"{layers[name][place].name} of {name}" for name, place in zip(pair, cell, strict=True)]
    alt = (
        f"A map of CKA of the layers of {pair[0]}, upwards, and {pair[1]}, across. One point is opened: "
        f"{chosen[0]} and {chosen[1]}, whose CKA is {cka:.2f}. Beside it a cloud with a dot for each pair of "
        f"{len(order)} images, below it both Gram matrices and the pairs of pictures on which the two layers "
        "agree and disagree most."
    )
    return Explorer("cka", figure, alt, data)


def _of_these(comparison: ModelComparison, names: Sequence[str]) -> ModelComparison:
    """Take some networks of a comparison, in another order."""
    for name in names:
        if name not in comparison.layers:
            raise unknown_name("model", name, comparison.layers)
    cka = [[comparison.mean(a, b) for b in names] for a in names]
    return ModelComparison({name: comparison.layers[name] for name in names}, np.block(cka)[None])


def _expected_size(comparisons: Iterable[ModelComparison], images: int) -> int:
    numbers = 0
    for comparison in comparisons:
        layers = comparison.cka.shape[1]
        numbers += layers * (layers + 1) + layers * images * (images - 1) // 2 + 8 * layers
    return numbers * 4 // 3 + 1500 * images  # Base64, and thumbnails


def _require_same(after: Mapping[str, Sequence[Layer]], before: Mapping[str, Sequence[Layer]]) -> None:
    for name in after:
        if [layer.name for layer in after[name]] != [layer.name for layer in before.get(name, [])]:
            raise ValueError(
                f"The layers of {name} in untrained differ from those in comparison. Give the same network with "
                "random weights, under the same name, and the same layers of it."
            )


@dataclass(frozen=True, eq=False)
class _Sample:
    """Images that are measured; of some there is a picture that may be shown, which is the image itself."""

    images: list[Image.Image]
    pictures: list[Image.Image | None]
    names: list[str]
    labels: Int64[np.ndarray, " n"] | None

    @classmethod
    def draw(cls, shown: ImageSet, others: ImageSet | None, number: int, seed: int) -> "_Sample":
        first = shown.sample(min(number, len(shown)), seed=seed)
        missing = number - len(first)
        rest = others.sample(min(missing, len(others)), seed=seed) if missing and others is not None else None
        more = [] if rest is None else [rest[i] for i in range(len(rest))]
        images = [*(first[i] for i in range(len(first))), *more]
        if len(images) < 4:
            raise ValueError(f"There are {len(images)} images; U-centred Gram matrices need 4 or more.")
        names = [*in_words(first), *(["an image that is not ours to show"] * len(more))]
        return cls(images, [*images[: len(first)], *([None] * len(more))], names, None if more else first.labels)

    def in_order(self, order: Sequence[int]) -> "_Sample":
        return _Sample(
            [self.images[i] for i in order],
            [self.pictures[i] for i in order],
            [self.names[i] for i in order],
            None if self.labels is None else self.labels[list(order)],
        )

    @property
    def thumbnails(self) -> list[int]:
        """The place of each image among the thumbnails; -1 for those that are not shown."""
        places = np.cumsum([each is not None for each in self.pictures]) - 1
        return [int(place) if each is not None else -1 for place, each in zip(places, self.pictures, strict=True)]


def _grams(
    layers: Mapping[str, Sequence[Layer]], models: Mapping[str, nn.Module], sample: _Sample
) -> Float[np.ndarray, "layers n n"]:
    """Give the U-centred Gram matrix of each layer, its pairs of images in units of their root mean square."""
    every = []
    for name, chosen in layers.items():
        if name not in models:
            raise unknown_name("model", name, models)
        prepare = preprocessing(models[name])
        pixels = torch.stack([prepare(image) for image in sample.images])
        found = read(models[name], chosen, pixels, lambda _, x: u_center(gram(x)).cpu().numpy())
        every += [found[layer.name] for layer in chosen]
    n = len(sample.images)
    mean_squares = np.array([(each**2).sum() / (n * (n - 1)) for each in every])
    # A dead layer stays zero: what rounding leaves of it is no likeness.
    largest = mean_squares.max(initial=0)
    scale = np.where(mean_squares > 1e-24 * largest, np.sqrt(mean_squares), np.inf)
    return np.stack(every) / scale[:, None, None]


def _order(labels: Int64[np.ndarray, " n"] | None, grams: Float[np.ndarray, "layers n n"]) -> list[int]:
    """Put images side by side that belong together: by class, and in it by what the layers together say."""
    _, directions = np.linalg.eigh(grams.mean(axis=0))
    along = directions[:, -1]
    keys = [along] if labels is None else [along, labels]
    return [int(place) for place in np.lexsort(keys)]


def _place_to_begin(layers: Sequence[Layer]) -> tuple[int, int]:
    """Choose a lower and an upper block, as places among all layers: what is open before the reader chooses."""
    places = [place for place, layer in enumerate(layers) if layer.kind == "block"] or list(range(len(layers)))
    return places[len(places) // 3], places[2 * len(places) // 3]


def _packed_state(
    when: str, comparison: ModelComparison, alike: Float[np.ndarray, "layers pairs"]
) -> dict[str, Any]:
    cka = comparison.cka[0]
    levels, steps = in_levels(alike)
    return {
        "name": when,
        "cka": packed(rounded_cka(cka[np.triu_indices(len(cka))])),
        "alike": packed(levels),
        "steps": steps,
    }


def _still(
    comparison: ModelComparison,
    pair: tuple[str, str],
    cell: tuple[int, int],
    alike: Float[np.ndarray, "2 pairs"],
    sample: _Sample,
    credit: str,
) -> tuple[Figure, float]:
    """Draw what the explorer shows before a click; give the CKA of its point, too."""
    y, x = alike
    cka = comparison.mean(*pair)
    lines = credit_lines(credit)
    below = 2.0 + 0.16 * len(lines)
    figure = Figure(figsize=(WIDTH, 5.6 + below), layout="constrained")
    parts: Any = figure.subfigures(3, 1, height_ratios=(2.8, 2.8, below))
    top, middle, bottom = parts
    left, right = top.subplots(1, 2)
    image = left.imshow(cka, cmap="magma", vmin=0, vmax=1, origin="lower", aspect="auto", interpolation="nearest")
    for line, place in ((left.axhline, cell[0]), (left.axvline, cell[1])):
        line(place, color="white", linewidth=1.6)
        line(place, color="black", linewidth=0.8, linestyle="--")
    left.set_box_aspect(1)
    left.set_ylabel(along(pair[0]))
    left.set_xlabel(along(pair[1]))
    for axis, name in ((left.yaxis, pair[0]), (left.xaxis, pair[1])):
        middles = _middles_of_blocks(comparison.layers[name])
        every = -(-len(middles) // 7) or 1
        axis.set_ticks(list(middles.values())[::every], [str(block) for block in list(middles)[::every]])
    value = float(cka[cell])
    left.set_title(f"CKA at the cross: {value:.2f}")
    top.colorbar(image, ax=left, fraction=0.05, shrink=0.75, aspect=30)
    right.scatter(*(np.clip(each, -FAR, FAR) for each in (x, y)), s=5, alpha=0.35, linewidth=0)
    right.set(xlim=(-FAR - 0.2, FAR + 0.2), ylim=(-FAR - 0.2, FAR + 0.2), box_aspect=1)
    right.set_title(f"of these {len(sample.images)} images: {np.mean(x * y):.2f}")
    right.set_xlabel("alike in the layer across")
    right.set_ylabel("alike in the layer upward")
    for axes, values, name, place in zip(middle.subplots(1, 2), alike, pair, cell, strict=True):
        n = len(sample.images)
        whole = np.zeros((n, n))
        whole[np.triu_indices(n, k=1)] = values
        draw_gram(axes, whole + whole.T, in_lines(f"{comparison.layers[name][place].name}\nof {name}", 26))
    _draw_pairs(bottom, x, y, sample)
    bottom.supxlabel("\n".join(lines), fontsize=9)
    return figure, value


def _draw_pairs(
    figure: Any, x: Float[np.ndarray, " pairs"], y: Float[np.ndarray, " pairs"], sample: _Sample
) -> None:
    """Draw the pairs of pictures that the lists of the explorer have, a column for each list."""
    firsts, seconds = np.triu_indices(len(sample.images), k=1)
    shown = [each is not None for each in sample.pictures]
    lists = {
        "both: alike": (x > 0) & (y > 0),
        "both: unlike": (x < 0) & (y < 0),
        "only upward\nalike": (y > 0) & (x < 0),
        "only across\nalike": (x > 0) & (y < 0),
    }
    axes = figure.subplots(_PAIRS_IN_A_LIST, len(lists))
    for each in axes.flat:
        each.set_axis_off()
    for column, (name, belongs) in enumerate(lists.items()):
        axes[0, column].set_title(name, fontsize=9)
        some = [number for number in np.argsort(-np.abs(x * y)) if belongs[number]]
        some = [number for number in some if shown[firsts[number]] and shown[seconds[number]]]
        for row, number in enumerate(some[:_PAIRS_IN_A_LIST]):
            two = [sample.pictures[i] for i in (firsts[number], seconds[number])]
            sides = [each.convert("RGB").resize((_SIDE, _SIDE)) for each in two if each is not None]
            axes[row, column].imshow(np.hstack([np.asarray(each) for each in sides]))


def _middles_of_blocks(layers: Sequence[Layer]) -> dict[int, float]:
    """The middle place of the layers of each block."""
    places: dict[int, list[int]] = {}
    for place, layer in enumerate(layers):
        if layer.block is not None:
            places.setdefault(layer.block, []).append(place)
    return {block: (each[0] + each[-1]) / 2 for block, each in places.items()}
