"""Statistics of Section 5: heads as a share of uniform, subsets of heads, radii and their steps."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seelike import data, local_global
from seelike.attention import attention_distances
from seelike.models import load


def test_heads_are_those_of_attention_distances():
    model, images = load("tiny/vit_7x7:random"), data.load("fashion-mnist/test")
    draws = [images.sample(5, seed=seed) for seed in (0, 1)]
    heads = local_global.measure_heads(model, draws)
    for repeat, draw in enumerate(draws):
        for block, one in enumerate(attention_distances(model, draw).values()):
            assert np.allclose(heads.distance[repeat, block], one.distance)
            assert np.allclose(heads.prefix_mass[repeat, block], one.prefix_mass)


def test_nearest_and_farthest_are_of_the_two_lowest_and_highest_blocks():
    distance = np.array([[[5.0, 9.0], [4.0, 8.0], [1.0, 20.0], [6.0, 7.0], [3.0, 9.0]]])
    heads = local_global.Heads(distance, np.zeros_like(distance), uniform=10.0)
    assert (heads.nearest_low, heads.farthest_low, heads.nearest_high) == (0.4, 0.9, 0.3)


@pytest.mark.parametrize("heads", [1, 2, 4, 6, 12, 16])
def test_subsets_of_heads_go_from_local_to_global(heads):
    distance = np.random.default_rng(heads).random(heads)
    subsets = local_global.subsets_of_heads(distance)
    means = [distance[subset].mean() for subset in subsets]
    assert means == sorted(means)
    assert {head for subset in subsets for head in subset} == set(range(heads))
    assert {len(subset) for subset in subsets} == {max(1, heads // 4)}


def ranks(values):
    """Rank of each value, equal ones sharing the mean of theirs."""
    return np.array([np.mean([(other < value) + 0.5 * (other == value) for other in values]) for value in values])


def test_rank_correlation_is_the_correlation_of_ranks():
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 5, 9).astype(float), generator.integers(0, 5, (3, 9)).astype(float)
    expected = [np.corrcoef(ranks(x), ranks(row))[0, 1] for row in y]
    assert np.allclose(local_global.rank_correlation(x, y), expected, atol=1e-12)


def test_radius_is_a_share_of_the_side():
    disc = (torch.hypot(*torch.meshgrid(*[torch.arange(101.0) - 50] * 2, indexing="ij")) <= 30).float()
    fields = [SimpleNamespace(after={"a": disc}, grids={"a": (1, 1)})]
    # Half of a disc lies within its radius over the square root of two.
    assert local_global.radii(fields)[0, 0] == pytest.approx(30 / np.sqrt(2) / 101, rel=0.02)


def test_largest_step():
    radii = np.array([[0.1, 0.2, 0.3, 0.5], [0.1, 0.1, 0.1, 0.4], [0.4, 0.5, 0.2, 0.4]])
    assert local_global.largest_step(radii) == pytest.approx([0.5, 1.0, np.nan], nan_ok=True)


@pytest.mark.parametrize("layers", [1, 2, 4, 8])
def test_first_third(layers):
    values = np.random.default_rng(layers).random((2, layers))
    low = [place for place in range(layers) if place < (layers - 1) / 3 or place == 0]
    assert np.allclose(local_global.mean_of_first_third(values), values[:, low].mean(axis=1))
