"""Work out how many operations the rows of benchmarks/paper_scale.py take, without running them.

Networks run on PyTorch's meta device, which knows shapes and no numbers; their matrix products and convolutions
are counted. What the measurements add follows from their mathematics, as on a GPU (on a CPU the blocks of Gram
matrices are others): the `counts` of each row. Elementwise work, and what does not grow with images, tokens or
channels, is left out. Two operations for each multiplication with its addition.
"""

import functools
from collections import Counter
from collections.abc import Sequence

import torch
from hardware import Operations
from scale import Count, Row, Size, network
from torch import nn

from seelike.models import Layer, read
from seelike.models.loading import input_size

# Of the blocks of a Gram matrix, in quarters, those on the diagonal and below it.
OF_BLOCKS = 5 / 8


@functools.cache
def expected(row: Row, scale: str = "full") -> tuple[Count, Count] | None:
    """Give the operations of the bare passes of a row, and what the measurement adds, by dtype; for all its units.

    None for rows that compare with peers, and for samples of channels.
    """
    size: Size = getattr(row, scale)
    if row.counts is None or size.channels != "all":
        return None
    with torch.device("meta"):
        models = [network(each, "meta", size) for each in size.networks]
    bare, added = (
        {dtype: number * size.units for dtype, number in Counter(counted).items() if number}
        for counted in row.counts(size, models, size.side or input_size(models[0])[-1])
    )
    return bare, added


def forward(size: Size, models: Sequence[nn.Module], side: int) -> Count:
    """Count the operations of the forward passes of all images of a unit."""
    image = torch.empty(1, 3, side, side, device="meta")
    with Operations() as counted, torch.no_grad():
        for model in models:
            model(image)
    return {"float32": size.images * counted.by_type.total()}


def shapes(model: nn.Module, chosen: list[Layer], side: int) -> list[torch.Size]:
    """Give the shape of what each layer makes of one image."""
    image = torch.empty(1, 3, side, side, device="meta")
    return list(read(model, chosen, image, lambda _, x: x.shape[1:]).values())
