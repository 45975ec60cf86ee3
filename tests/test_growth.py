"""Section 5: the jump of receptive fields against its formula."""

import itertools

import numpy as np
import pytest

from seelike.sections.growth import jump


def by_definition(radii):
    """Largest step minus mean step, by a loop, for one repeat."""
    largest, total = -np.inf, 0.0
    for before, after in itertools.pairwise(radii):
        largest, total = max(largest, after - before), total + (after - before)
    return largest - total / (len(radii) - 1)


@pytest.mark.parametrize("blocks", [2, 3, 8, 24])
def test_it_is_the_largest_step_minus_the_mean_step(blocks):
    radii = np.random.default_rng(blocks).random((4, blocks))
    assert np.allclose(jump(radii), [by_definition(row) for row in radii], rtol=0, atol=1e-12)


@pytest.mark.parametrize("growth", [0.0, 0.001, 0.4])
def test_even_growth_is_no_jump_however_small_it_is(growth):
    assert jump(np.linspace(0.1, 0.1 + growth, 9)[None]) == pytest.approx(0, abs=1e-12)


def test_shrinking_fields_have_a_number():
    assert jump(np.array([[0.4, 0.3, 0.35]])) == pytest.approx([0.05 - (-0.05 / 2)])


def test_one_block_has_no_step():
    assert np.isnan(jump(np.array([[0.3], [0.2]]))).tolist() == [True, True]
