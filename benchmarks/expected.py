"""Work out how many operations the rows of benchmarks/paper_scale.py take, without running them.

Networks run on PyTorch's meta device, which knows shapes and no numbers; their matrix products and convolutions
are counted. What the measurements add follows from their mathematics, as on a GPU (on a CPU the blocks of Gram
matrices are others). Elementwise work, and what does not grow with images, tokens or channels, is left out. Two
operations for each multiplication with its addition.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping

import torch
from architectures import Operations
from hardware import OF_EIGENDECOMPOSITION
from paper_scale import (
    ROWS,
    Size,
    evenly,
    network,
    of_attention,
    of_cka,
    of_fields,
    of_localization,
    of_probes,
    of_skips,
)
from receptive_field import STREAM
from torch import nn

from seelike.models import layers, read, residuals
from seelike.models.loading import input_size
from seelike.probes import STRENGTHS
from seelike.sections.linear_probes import HELD_OUT

Count = Mapping[str, float]
# Of the blocks of a Gram matrix, in quarters, those on the diagonal and below it.
OF_BLOCKS = 5 / 8


def expected(name: str, scale: str = "full") -> tuple[Count, Count] | None:
    """Give the operations of the bare passes of a row, and what the measurement adds, by dtype; for all its units.

    None for rows that compare with peers, and for samples of channels.
    """
    row = ROWS[name]
    size: Size = getattr(row, scale)
    if row.prepare not in _ADDED or size.channels != "all":
        return None
    with torch.device("meta"):
        models = [network(each, "meta", size) for each in size.networks]
    side = size.side or input_size(models[0])[-1]
    bare, added = _ADDED[row.prepare](size, models, side)
    return tuple(
        {dtype: number * size.units for dtype, number in Counter(counted).items() if number}
        for counted in (bare, added)
    )


def forward(model: nn.Module, side: int) -> float:
    """Count the operations of the forward pass of one image."""
    with Operations() as counted, torch.no_grad():
        model(torch.empty(1, 3, side, side, device="meta"))
    return sum(counted.by_type.values())


def shapes(model: nn.Module, chosen: list, side: int) -> list[torch.Size]:
    """Give the shape of what each layer makes of one image."""
    image = torch.empty(1, 3, side, side, device="meta")
    return list(read(model, chosen, image, lambda _, x: x.shape[1:]).values())


def _cka(size: Size, models: list[nn.Module], side: int) -> tuple[Count, Count]:
    parts = math.ceil(size.images / size.minibatch)
    n = size.images / parts
    chosen = [evenly(layers(model), size.layers) for model in models]
    features = sum(
        math.prod(shape) for model, each in zip(models, chosen, strict=True) for shape in shapes(model, each, side)
    )
    number = sum(map(len, chosen))
    return (
        {"float32": size.images * sum(forward(model, side) for model in models)},
        {
            "float32": parts * features * (OF_BLOCKS * 2 * n**2 + 2 * n),
            "float64": parts * number**2 * n * (n - 1),
        },
    )


def _attention(size: Size, models: list[nn.Module], side: int) -> tuple[Count, Count]:
    (model,) = models
    tokens = model.patch_embed.num_patches
    scores = sum(2 * tokens**2 * block.attn.num_heads * block.attn.head_dim for block in model.blocks)
    return {"float32": size.images * forward(model, side)}, {"float32": size.images * scores}


def _skips(size: Size, models: list[nn.Module], side: int) -> tuple[Count, Count]:
    return {"float32": size.images * forward(models[0], side)}, {}


def _localization(size: Size, models: list[nn.Module], side: int) -> tuple[Count, Count]:
    (model,) = models
    parts = math.ceil(size.images / size.minibatch)
    n, tokens = size.images / parts, model.patch_embed.num_patches
    numbers = size.layers * tokens * model.embed_dim + 3 * side**2
    grams = OF_BLOCKS * 2 * n**2 * numbers
    cross = size.layers * tokens**2 * n * (n - 1)
    return {"float32": size.images * forward(model, side)}, {"float32": parts * (grams + cross)}


def _probes(size: Size, models: list[nn.Module], side: int) -> tuple[Count, Count]:
    (model,) = models
    d, tokens = model.embed_dim, model.patch_embed.num_patches + model.num_prefix_tokens
    problems = tokens * (size.layers or len(model.blocks))
    train = size.images - size.test
    held_out = HELD_OUT * train
    # Factorised for the part that is not held out, and then for all.
    factorised = 2 * (OF_EIGENDECOMPOSITION * d**3 + 2 * d**2 * size.classes) + 2 * d**2 * size.classes
    outputs = held_out * (2 * d**2 + len(STRENGTHS) * 2 * d * size.classes) + size.test * 2 * d * size.classes
    return (
        {"float32": size.images * forward(model, side)},
        {"float32": problems * outputs, "float64": problems * (factorised + 2 * train * d**2)},
    )


def _fields(size: Size, models: list[nn.Module], side: int) -> tuple[Count, Count]:
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


_ADDED: dict[Callable, Callable[[Size, list[nn.Module], int], tuple[Count, Count]]] = {
    of_cka: _cka,
    of_attention: _attention,
    of_fields: _fields,
    of_skips: _skips,
    of_localization: _localization,
    of_probes: _probes,
}
