"""The check of shapes and types is made once for functions that are alike, and never for others."""

import pytest
import torch
from checked import typechecker
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor

checked = jaxtyped(typechecker=typechecker)


def rows_times(factor, kind=int):
    """A nested function, defined anew at each call."""

    @checked
    def rows(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], times: kind = factor) -> Float[Tensor, "n d"]:
        return times * x if y.any() else x[1:]

    return rows


def test_functions_that_are_alike_are_each_their_own_and_all_checked():
    x, y = torch.ones(2, 3), torch.ones(3, 2)
    for factor in (2, 3):
        rows = rows_times(factor)
        assert torch.equal(rows(x, x), factor * x)
        with pytest.raises(TypeCheckError):
            rows(x, y)
        with pytest.raises(TypeCheckError):
            rows(x, 0 * x)
        with pytest.raises(TypeCheckError):
            rows(x, x, 1.5)


def test_another_annotation_is_another_check():
    x = torch.ones(2, 3)
    assert torch.equal(rows_times(2.0, float)(x, x), 2 * x)
    with pytest.raises(TypeCheckError):
        rows_times(2, int)(x, x, 2.0)
    with pytest.raises(TypeCheckError):
        rows_times(2.0, float)(x, x, 2)
