"""Statistics of Section 6: halves of a network, and CKA across a cut."""

import numpy as np
import pytest
import timm
import torch

from seelike import data
from seelike.models import Layer, load
from seelike.sections import skip_connections
from seelike.skip import skip_ratios


def network(blocks, in_each):
    """Layers of a network: an embedding, blocks, a final norm."""
    inner = [Layer("", "", block, 0.0, "") for block in range(1, blocks + 1) for _ in range(in_each)]
    return [Layer("", "", None, 0.0, ""), *inner, Layer("", "", None, 0.0, "")]


@pytest.mark.parametrize("additions", [2, 5, 16])
def test_halves_leave_out_the_middle_of_an_odd_number(additions):
    values = np.random.default_rng(additions).normal(size=(3, additions))
    expected = []
    for row in values:
        first = [value for place, value in enumerate(row) if place < (additions - 1) / 2]
        second = [value for place, value in enumerate(row) if place > (additions - 1) / 2]
        expected.append(sum(first) / len(first) - sum(second) / len(second))
    assert np.allclose(skip_connections.first_half_minus_second(values), expected, atol=1e-12)


def test_one_addition_has_no_halves():
    with pytest.raises(ValueError, match="got 1"):
        skip_connections.first_half_minus_second(np.ones((2, 1)))


@pytest.mark.parametrize("block", [1, 2, 4])
def test_across_a_cut_are_the_pairs_of_which_one_layer_is_before_and_one_after(block):
    layers = network(4, 3)
    cka = np.random.default_rng(block).random((2, len(layers), len(layers)))
    inside = [place for place, layer in enumerate(layers) if layer.block == block]
    pairs = [(i, j) for i in range(inside[0]) for j in range(inside[-1] + 1, len(layers))]
    expected = [np.mean([repeat[i, j] for i, j in pairs]) for repeat in cka]
    assert np.allclose(skip_connections.mean_across_cut(cka, layers, block), expected, atol=1e-12)


@pytest.mark.parametrize("block", [0, 5])
def test_a_block_that_there_is_not_is_no_cut(block):
    layers = network(4, 1)
    with pytest.raises(ValueError, match=r"blocks \[1, 2, 3, 4\]"):
        skip_connections.mean_across_cut(np.ones((1, 6, 6)), layers, block)


def test_a_last_block_with_nothing_after_it_is_no_cut():
    with pytest.raises(ValueError, match="one after it"):
        skip_connections.mean_across_cut(np.ones((1, 3, 3)), network(2, 1)[:-1], 2)


@pytest.mark.parametrize("name", ["tiny/vit_7x7:random", "tiny/resnet:random", "tiny/mixer:random"])
def test_repeats_hold_what_one_call_each_gives(name):
    model, images = load(name), data.load("fashion-mnist/test")
    draws = [images.sample(6, seed=seed) for seed in (3, 4)]
    measured = skip_connections.propagation(model, draws)
    for repeat, draw in enumerate(draws):
        for place, (addition, statistics) in enumerate(skip_ratios(model, draw).items()):
            assert measured.names[place] == addition
            kept = measured.ratio.shape[2]
            assert np.allclose(measured.ratio[repeat, place], statistics.tokens.mean_ratio[:kept], equal_nan=True)
            assert measured.ratio_of_spatial[repeat, place] == pytest.approx(
                float(statistics.spatial.mean_ratio), nan_ok=True
            )
    assert (measured.ratio_of_cls is None) == ("vit" not in name)
    assert sorted(place for kind in set(measured.kinds) for place in measured.of_kind(kind)) == list(
        range(len(measured.names))
    )


def test_architectures_whose_additions_are_not_known_are_refused():
    with pytest.raises(ValueError, match="no residual connections"):
        skip_connections.propagation(torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3)).eval(), [])


def test_a_network_whose_branches_are_all_zero_has_no_ratio():
    images = data.load("fashion-mnist/test").sample(4, seed=0)
    with pytest.raises(ValueError, match=r"In all 4 residual additions.*give trained weights"):
        skip_connections.propagation(timm.create_model("test_resnet", zero_init_last=True).eval(), [images])
