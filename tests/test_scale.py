"""Statistics of Section 8 and Appendix G: thirds of the blocks, and half of the depth."""

import numpy as np
import pytest

from seelike import scale


@pytest.mark.parametrize("blocks", [1, 2, 3, 7, 12])
def test_first_and_last(blocks):
    values = np.random.default_rng(blocks).random((4, blocks))
    assert np.allclose(scale.first_minus_last_block(values), [row[0] - row[-1] for row in values])
    third = next(count for count in range(1, blocks + 1) if 3 * count >= blocks)
    expected = [sum(row[:third]) / third - sum(row[-third:]) / third for row in values]
    assert np.allclose(scale.first_minus_last_third(values), expected, atol=1e-12)


@pytest.mark.parametrize(("row", "expected"), [([0.3], 0.3), ([0.2, 0.6], 0.4), ([0.1, 0.5, 0.9], 0.5)])
def test_half_depth(row, expected):
    assert scale.at_half_depth(np.array([row])) == pytest.approx([expected])


def test_half_depth_of_an_even_number_is_between_the_two_in_the_middle():
    values = np.random.default_rng(0).random((3, 8))
    assert np.allclose(scale.at_half_depth(values), (values[:, 3] + values[:, 4]) / 2)
