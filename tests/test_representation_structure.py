"""The statistics of Section 4 against loops written from their definitions. Tolerance 1e-12, in float64."""

import re

import numpy as np
import pytest
import references
import torch

from seelike.cka import gram, u_center
from seelike.models import Layer, layers, load
from seelike.sections import representation_structure as structure


@pytest.fixture
def random():
    return np.random.default_rng()


def self_maps(random, repeats, n):
    """Symmetric maps with ones on the diagonal, as CKA of a network with itself."""
    maps = random.uniform(-0.1, 1, (repeats, n, n))
    maps = (maps + maps.transpose(0, 2, 1)) / 2
    maps[:, range(n), range(n)] = 1
    return maps


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_mean_off_diagonal(random):
    maps = self_maps(random, 3, 7)
    expected = [np.mean([m[i, j] for i in range(7) for j in range(7) if i != j]) for m in maps]
    assert_close(structure.mean_off_diagonal(maps), expected)


def test_first_third_with_last_third(random):
    maps, depth = self_maps(random, 3, 11), np.arange(11) / 10
    expected = [
        np.mean([m[i, j] for i in range(11) for j in range(11) if depth[i] < 1 / 3 and depth[j] > 2 / 3])
        for m in maps
    ]
    assert_close(structure.first_third_with_last_third(maps, depth), expected)


def test_within_minus_between_stages(random):
    maps, stage = self_maps(random, 4, 9), np.sort(np.r_[0, 0, 1, 2, random.integers(0, 3, 5)])
    expected = []
    for m in maps:
        within = [m[i, j] for i in range(9) for j in range(9) if i != j and stage[i] == stage[j]]
        between = [m[i, j] for i in range(9) for j in range(9) if stage[i] != stage[j]]
        expected.append(np.mean(within) - np.mean(between))
    assert_close(structure.within_minus_between_stages(maps, stage), expected)


def test_lowest_minus_second_quarter(random):
    maps = random.uniform(0, 1, (6, 13, 9))
    vit_depth, cnn_depth = np.arange(13) / 12, np.arange(9) / 8
    expected = []
    for m in maps:
        second = [j for j in range(9) if 0.25 <= cnn_depth[j] < 0.5]
        lowest = [m[i, j] for i in range(13) for j in second if vit_depth[i] < 0.25]
        next_ones = [m[i, j] for i in range(13) for j in second if 0.25 <= vit_depth[i] < 0.5]
        expected.append(np.mean(lowest) - np.mean(next_ones))
    assert_close(structure.lowest_minus_second_quarter(maps, vit_depth, cnn_depth), expected)


def test_networks_that_do_the_same_at_equal_depth_have_no_lowest_match():
    depth = np.arange(20) / 19
    same = 1 - np.abs(depth[:, None] - depth)
    assert structure.lowest_minus_second_quarter(same[None], depth, depth)[0] < -0.1
    twice_as_fast = 1 - np.abs(2 * depth[:, None] - depth)
    assert structure.lowest_minus_second_quarter(twice_as_fast[None], depth, depth)[0] > 0.1


def test_the_highest_match_by_chance_is_what_many_orders_of_the_images_give(random):
    """A slow reference: an order of the images at a time, a pair of layers at a time."""
    n, times = 24, 40
    rows, columns = ([random.normal(size=(n, 5)) for _ in range(number)] for number in (2, 3))
    drawn = np.random.default_rng(7)
    highest = []
    for _ in range(times):
        order = drawn.permutation(n)
        highest.append([max(references.cka(x, y[order]) for y in columns) for x in rows])
    grams = [
        {str(place): u_center(gram(torch.from_numpy(x))) for place, x in enumerate(layers)}
        for layers in (rows, columns)
    ]
    found = structure.highest_by_chance(*grams, seed=7, times=times)
    np.testing.assert_allclose(found, np.quantile(highest, 0.95, axis=0), atol=1e-9)


def test_row_maximum_middle_minus_last_third(random):
    maps, depth = random.uniform(0, 1, (3, 10, 5)), np.arange(10) / 9
    expected = []
    for m in maps:
        middle = [max(m[i]) for i in range(10) if 1 / 3 <= depth[i] <= 2 / 3]
        last = [max(m[i]) for i in range(10) if depth[i] > 2 / 3]
        expected.append(np.mean(middle) - np.mean(last))
    assert_close(structure.row_maximum_middle_minus_last_third(maps, depth), expected)


@pytest.mark.parametrize("name", ["tiny/resnet", "tiny/resnet_wide", "test_resnet:random", "resnet18:random"])
def test_the_stages_of_a_resnet_are_those_that_its_modules_name(name):
    network = load(name)
    every = layers(network)
    named = [re.search(r"(?:stages\.|layer)(\d)", layer.module) for layer in every]
    # What lies outside of all stages belongs to the one before, or to the first.
    current, expected = None, []
    for match in named:
        current = int(match[1]) if match else current
        expected.append(current)
    first = next(stage for stage in expected if stage is not None)
    assert structure.stages(every).tolist() == [0 if s is None else s - first for s in expected]


def test_a_network_of_unknown_blocks_has_a_stage_for_each_resolution():
    """Also where its modules have names of their own, and where a gate looks at the mean of the map."""

    class Gated(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pool, self.gate = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return x * self.gate(self.pool(x))

    wide, small = torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Conv2d(3, 3, 3, stride=2, padding=1)
    network = torch.nn.Sequential(wide, Gated(), small, torch.nn.ReLU(), torch.nn.AvgPool2d(2)).eval()
    network.pretrained_cfg = {"input_size": (3, 16, 16)}
    every = layers(network)
    found = dict(zip([layer.module for layer in every], structure.stages(every), strict=True))
    assert found == {"0": 0, "1.pool": 0, "1.gate": 0, "1": 0, "2": 1, "3": 1, "4": 2}


@pytest.mark.parametrize("name", ["tiny/vit_7x7", "tiny/mixer"])
def test_a_vit_or_mixer_has_one_stage(name):
    network = load(name)
    assert not structure.stages(layers(network)).any()


def test_equal_depths_are_cut_equally(random):
    """A network of the CNN's own depths gets the CNN's own stages, whatever they are."""
    depth, stage = np.arange(40) / 39, np.sort(np.r_[0, 1, 2, random.integers(0, 3, 37)])
    assert structure.stages_at(depth, depth, stage).tolist() == stage.tolist()


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        (lambda m: structure.mean_off_diagonal(m[:, :1, :1]), "pairs of different layers among 1"),
        (lambda m: structure.first_third_with_last_third(m, np.array([0.4, 0.5])), "last third among 2"),
        (lambda m: structure.within_minus_between_stages(m, np.array([0, 0])), "different stages"),
        (lambda m: structure.within_minus_between_stages(m, np.array([0, 1])), "within a stage"),
        (lambda m: structure.row_maximum_middle_minus_last_third(m, np.array([0.0, 1.0])), "middle third"),
        (lambda m: structure.lowest_minus_second_quarter(m, *2 * [np.array([0.0, 0.1])]), "lowest quarter"),
        (lambda m: structure.lowest_minus_second_quarter(m, *2 * [np.array([0.3, 0.4])]), "lowest quarter"),
    ],
)
def test_an_empty_group_is_an_error(measure, said):
    with pytest.raises(ValueError, match=said):
        measure(np.ones((2, 2, 2)))


def test_a_network_with_stages_keeps_its_own():
    cnn = np.array([0, 0, 1, 1, 2]), np.arange(5) / 4
    assert structure.stages_like(np.array([0, 1, 1]), np.arange(3) / 2, *cnn).tolist() == [0, 1, 1]
    # Cut halfway between the ends of stages: at depths 0.375 and 0.875.
    cut = structure.stages_like(np.zeros(9, dtype=int), np.arange(9) / 8, *cnn)
    assert cut.tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2]


def test_depth_of_best_matches(random):
    maps, depth = random.uniform(0, 1, (3, 6, 4)), np.arange(6) / 5
    maps[1, 3, 2] = np.nan
    expected = [
        [
            np.nan if np.isnan(m[:, j]).any() else depth[max(range(6), key=lambda i, m=m, j=j: m[i, j])]
            for j in range(4)
        ]
        for m in maps
    ]
    assert_close(structure.depth_of_best_matches(maps, depth), expected)


def test_mean_highest(random):
    maps = random.uniform(-0.1, 1, (3, 6, 4))
    assert_close(structure.mean_highest(maps), [np.mean([max(row) for row in m]) for m in maps])


def test_a_layer_without_a_cka_has_no_highest(random):
    maps = random.uniform(0, 1, (2, 3, 3))
    maps[1, 2, 0] = np.nan
    assert np.isnan(structure.mean_highest(maps)).tolist() == [False, True]


@pytest.mark.parametrize(("layers", "number"), [(58, 58), (96, 58), (61, 1), (7, 3)])
def test_evenly_spaced_layers_are_different_and_begin_with_the_first(layers, number):
    chosen = structure.evenly_spaced(layers, number)
    assert len(set(chosen.tolist())) == number
    assert chosen[0] == 0
    assert number == 1 or chosen[-1] == layers - 1


def test_more_layers_than_there_are():
    with pytest.raises(ValueError, match=r"number is 4; expected 1 to 3"):
        structure.evenly_spaced(3, 4)


def blocks(*numbers):
    return [Layer("", "", number, 0.0, "") for number in numbers]


def test_two_parts_tries_every_edge_between_blocks(random):
    maps = self_maps(random, 3, 9)
    layers = blocks(None, 1, 1, 2, 2, 3, 3, 3, None)
    of_layer = [1, 1, 1, 2, 2, 3, 3, 3, 3]
    everything = [(i, j) for i in range(9) for j in range(9) if i != j]

    def step(m, edge):
        same = [m[i, j] for i, j in everything if (of_layer[i] > edge) == (of_layer[j] > edge)]
        return np.mean(same) - np.mean([m[i, j] for i, j in everything if of_layer[i] <= edge < of_layer[j]])

    edge = max((1, 2), key=lambda edge: np.mean([step(m, edge) for m in maps]))
    first = [i for i in range(9) if of_layer[i] <= edge]
    second = [i for i in range(9) if of_layer[i] > edge]
    found = structure.two_parts(maps, layers)
    assert found.after_block == edge
    assert found.share == len(first) / 9
    assert_close(found.step, [step(m, edge) for m in maps])
    assert_close(found.across, [np.mean([m[i, j] for i in first for j in second]) for m in maps])
    for part, values in ((first, found.within_first), (second, found.within_second)):
        assert_close(values, [np.mean([m[i, j] for i in part for j in part if i != j]) for m in maps])


def test_a_map_of_two_squares_is_cut_between_them():
    maps = np.full((2, 10, 10), 0.05)
    maps[:, :3, :3] = maps[:, 3:, 3:] = 0.9
    found = structure.two_parts(maps, blocks(None, 1, 1, 2, 2, 3, 3, 4, 4, None))
    assert (found.after_block, found.share) == (1, 0.3)
    assert_close(found.step, [0.85, 0.85])
    assert_close(found.across, [0.05, 0.05])


def test_dead_layers_are_left_out_of_the_parts():
    maps = np.full((1, 5, 5), 0.1)
    maps[:, :2, :2] = maps[:, 2:, 2:] = 0.9
    maps[:, 4] = maps[:, :, 4] = np.nan
    found = structure.two_parts(maps, blocks(1, 1, 2, 2, 2))
    assert found.share == 0.5
    assert_close(found.step, [0.8])


@pytest.mark.parametrize("numbers", [(None, None, None), (None, 1, 1)])
def test_without_two_blocks_there_is_no_edge(numbers):
    assert structure.two_parts(np.ones((2, 3, 3)), blocks(*numbers)) is None


def test_pairs_by_size():
    assert structure.pairs_by_size(["a"], ["x", "y"]) == [("a", "x")]
    assert structure.pairs_by_size(["a", "b"], ["x"]) == [("a", "x"), ("b", "x")]
    assert structure.pairs_by_size(["a"], []) == structure.pairs_by_size([], ["x"]) == []
