"""Section 6: ratios compared throughout the depth, and how far two parts of a network are apart."""

import numpy as np
import pytest

from seelike.models import Layer, layers, load
from seelike.sections.skip_contrasts import apart, difference_of_shared, smallest_difference


def line(values, depth):
    """A value between additions at equal steps of depth, by hand."""
    place = depth * (len(values) - 1)
    below = min(int(place), len(values) - 2)
    return values[below] + (place - below) * (values[below + 1] - values[below])


@pytest.mark.parametrize(("m", "n"), [(2, 2), (16, 8), (24, 7), (5, 13)])
def test_it_is_the_smallest_difference_over_all_depths(m, n):
    generator = np.random.default_rng(m)
    ratio, than = 10 ** generator.normal(size=(3, m)), 10 ** generator.normal(size=(3, n))
    # Every addition of either network is at one of these depths.
    depths = [place / ((m - 1) * (n - 1)) for place in range((m - 1) * (n - 1) + 1)]
    expected = [
        min(line(np.log10(a), depth) - line(np.log10(b), depth) for depth in depths)
        for a, b in zip(ratio, than, strict=True)
    ]
    assert np.allclose(smallest_difference(ratio, than), expected, rtol=0, atol=1e-9)


def test_a_network_that_is_ahead_by_a_factor_is_ahead_by_it_everywhere():
    ratio = 10 ** np.random.default_rng(0).normal(size=(2, 9))
    assert smallest_difference(100 * ratio, ratio) == pytest.approx([2, 2])


def test_a_stretch_where_the_other_is_ahead_decides():
    # By the mean over depth it would be ahead.
    assert smallest_difference(np.array([[1e-2, 1e3, 1e3]]), np.array([[1.0, 1.0]])) == pytest.approx([-2])


def test_a_ratio_that_is_not_defined_gives_no_number():
    assert np.isnan(smallest_difference(np.array([[1.0, np.nan, 1.0]]), np.ones((1, 3)))).all()


def network(blocks, in_each):
    """Layers of a network: an embedding, blocks, a final norm."""
    inner = [
        Layer(f"block {block}, {place}", "", block, 0.0, "")
        for block in range(1, blocks + 1)
        for place in range(in_each)
    ]
    return [Layer("embedding", "", None, 0.0, ""), *inner, Layer("norm", "", None, 0.0, "")]


@pytest.mark.parametrize("block", [1, 2, 4])
def test_apart_is_within_minus_across(block):
    these = network(4, 3)
    cka = np.random.default_rng(block).random((2, len(these), len(these)))
    cka = (cka + cka.transpose(0, 2, 1)) / 2
    first, last = 3 * (block - 1) + 1, 3 * block
    before, after = list(range(first)), list(range(last + 1, len(these)))
    for repeat, value in zip(cka, apart(cka, these, block), strict=True):
        within = [repeat[i, j] for part in (before, after) for i in part for j in part if i < j]
        across = [repeat[i, j] for i in before for j in after]
        assert value == pytest.approx(np.mean(within) - np.mean(across), abs=1e-12)


def test_parts_that_have_nothing_to_do_with_each_other_are_one_apart():
    these = network(3, 2)
    part = np.array([0] * 3 + [1] * 2 + [2] * 3)
    assert apart((part[:, None] == part)[None].astype(float), these, 2) == pytest.approx([1])
    assert apart(np.ones((1, 8, 8)), these, 2) == pytest.approx([0])


def test_one_layer_on_each_side_has_no_pairs():
    with pytest.raises(ValueError, match="one layer"):
        apart(np.ones((1, 3, 3)), network(1, 1), 1)


def test_the_difference_of_maps_is_of_equal_layers():
    intact, cut = layers(load("tiny/vit_7x7:random")), layers(load("tiny/vit_7x7_without_skips_4:random"))
    generator = np.random.default_rng(0)
    of_cut, of_intact = (generator.random((len(each), len(each))) for each in (cut, intact))
    matrix, shared = difference_of_shared(of_cut, cut, of_intact, intact)
    names = [layer.name for layer in shared]
    assert names == [layer.name for layer in cut if layer.name in [other.name for other in intact]]
    assert matrix.shape == (len(names), len(names))
    for i, row in enumerate(names):
        for j, column in enumerate(names):
            here = [[layer.name for layer in each].index for each in (cut, intact)]
            expected = of_cut[here[0](row), here[0](column)] - of_intact[here[1](row), here[1](column)]
            assert matrix[i, j] == expected
