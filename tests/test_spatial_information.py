"""The statistic of Section 7: localization beyond chance."""

import numpy as np
import pytest
import torch

from seelike.spatial_information import localization_above_chance


def by_definition(cka):
    """The share of interior tokens with the best patch at most one cell away, beyond chance, by loops."""
    tokens, rows, columns = cka.shape
    near = []
    for token in range(tokens):
        row, column = divmod(token, columns)
        if 0 < row < rows - 1 and 0 < column < columns - 1:
            best = np.unravel_index(np.argmax(cka[token]), (rows, columns))
            near.append(abs(best[0] - row) <= 1 and abs(best[1] - column) <= 1)
    chance = 9 / (rows * columns)
    return (np.mean(near) - chance) / (1 - chance)


@pytest.mark.parametrize("grid", [(4, 4), (7, 7), (5, 8)])
def test_it_is_the_share_beyond_chance(grid):
    rows, columns = grid
    cka = np.random.default_rng(rows).random((rows * columns, rows, columns))
    assert localization_above_chance(torch.tensor(cka)) == pytest.approx(by_definition(cka), abs=1e-12)


def test_tokens_that_take_any_patch_are_at_zero():
    generator = np.random.default_rng(0)
    values = [localization_above_chance(torch.tensor(generator.random((49, 7, 7)))) for _ in range(400)]
    # 25 interior tokens in each of 400: a standard error of 0.005.
    assert np.mean(values) == pytest.approx(0, abs=0.025)


def test_a_grid_in_which_all_are_neighbours_is_refused():
    with pytest.raises(ValueError, match="4 x 4"):
        localization_above_chance(torch.rand(9, 3, 3))
