"""Statistics of Section 7: localization beyond chance, and images for probes."""

import numpy as np
import pytest
import torch

from seelike import data
from seelike.spatial_information import localization_above_chance, training_and_test_images


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


def test_training_and_test_images_are_apart_and_the_same_every_time():
    images = data.load("fashion-mnist/test")

    def draw(seed):
        return training_and_test_images(images, per_class=3, number_of_test_images=40, seed=seed)

    (training, test), (again, _), (other, _) = draw(1), draw(1), draw(2)
    assert np.bincount(training.labels).tolist() == [3] * 10
    assert len(test) == 40
    as_bytes = [{np.asarray(image).tobytes() for image in part} for part in (training, test, again, other)]
    assert not as_bytes[0] & as_bytes[1]
    assert as_bytes[0] == as_bytes[2] != as_bytes[3]


def test_of_few_images_all_of_their_half_are_tested():
    images = data.load("fashion-mnist/test").select(np.arange(400))
    training, test = training_and_test_images(images, per_class=2, number_of_test_images=1000, seed=0)
    assert (len(training), len(test)) == (20, 200)


def test_too_few_images_of_a_class_are_an_error_that_names_it():
    images = data.load("fashion-mnist/test").select(np.arange(60))
    with pytest.raises(ValueError, match="class"):
        training_and_test_images(images, per_class=10, number_of_test_images=10, seed=0)
