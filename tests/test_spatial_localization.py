"""Section 7: localization beyond chance, and which blocks are mapped."""

import numpy as np
import pytest
import torch

from seelike.models import layers, load
from seelike.sections.spatial_localization import localization_above_chance, mapped_blocks


def by_definition(cka):
    """The share of interior tokens with the best patch at most one cell away, beyond chance, by loops."""
    tokens, rows, columns = cka.shape
    with_cka = {divmod(int(place), columns) for place in np.flatnonzero(~np.isnan(cka).all(axis=0))}
    near, chances = [], []
    for token in range(tokens):
        row, column = divmod(token, columns)
        if 0 < row < rows - 1 and 0 < column < columns - 1 and not np.isnan(cka[token]).all():
            best = np.unravel_index(np.nanargmax(cka[token]), (rows, columns))
            near.append(abs(best[0] - row) <= 1 and abs(best[1] - column) <= 1)
            around = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
            chances.append(len(around & with_cka) / len(with_cka))
    chance = np.mean(chances)
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


def test_dead_patches_and_tokens_do_not_count():
    cka = np.random.default_rng(0).random((30, 5, 6))
    cka[:, 0, 0] = cka[:, 2, 3] = cka[:, 4, 5] = np.nan
    cka[8] = np.nan
    assert localization_above_chance(torch.tensor(cka)) == pytest.approx(by_definition(cka), abs=1e-12)


def test_dead_patches_leave_chance_at_zero():
    generator = np.random.default_rng(0)
    maps = generator.random((400, 49, 7, 7))
    maps[:, :, 0] = maps[:, :, :, 0] = maps[:, :, 6] = np.nan
    values = [localization_above_chance(torch.tensor(cka)) for cka in maps]
    assert np.mean(values) == pytest.approx(0, abs=0.03)


def test_without_a_live_interior_token_there_is_no_number():
    assert np.isnan(localization_above_chance(torch.full((16, 4, 4), torch.nan)))


def blocks(name, number=8, side=28):
    return [block.block for block in mapped_blocks(load(name), torch.zeros(1, 1, side, side), number)]


def test_a_vit_has_all_its_blocks_mapped_or_some_at_equal_steps():
    assert blocks("tiny/vit_7x7") == [1, 2, 3, 4, 5, 6, 7, 8]
    assert blocks("tiny/vit_14x14", number=5) == [1, 3, 6, 7, 8]
    assert blocks("tiny/vit_7x7", number=2) == [7, 8]
    assert blocks("tiny/vit_7x7", number=1) == [8]


def test_the_fine_maps_of_a_resnet_are_left_out():
    # 28 x 28 locations in blocks 1 and 2, 14 x 14 in 3 to 5.
    assert blocks("tiny/resnet") == [3, 4, 5, 6, 7, 8]


def test_the_last_block_is_mapped_however_fine_it_is():
    # 19 x 19 locations, 361.
    assert blocks("tiny/resnet", side=76) == [6, 7, 8]


def test_nothing_is_mapped_where_nearly_all_patches_are_neighbours_or_blocks_are_not_known():
    assert blocks("tiny/resnet", side=12) == []
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3)).eval()
    assert len(layers(model)) > 0
    assert mapped_blocks(model, torch.zeros(1, 3, 224, 224)) == []


def test_any_cnn_is_mapped():
    found = mapped_blocks(load("convnext_atto:random"), torch.zeros(1, 3, 224, 224))
    assert [layer.name for layer in found][-1] == "block 12"
