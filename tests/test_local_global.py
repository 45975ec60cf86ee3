"""Statistics of Section 5: heads as a share of uniform, subsets of heads, radii and their steps."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seelike import data
from seelike.attention import attention_distances
from seelike.models import load
from seelike.sections import local_global


def test_heads_are_those_of_attention_distances():
    model, images = load("tiny/vit_7x7:random"), data.load("fashion-mnist/test")
    draws = [images.sample(5, seed=seed) for seed in (0, 1)]
    heads = local_global.measure_heads(model, draws)
    for repeat, draw in enumerate(draws):
        for block, one in enumerate(attention_distances(model, draw).values()):
            assert np.allclose(heads.distance[repeat, block], one.distance)
            assert np.allclose(heads.prefix_mass[repeat, block], one.prefix_mass)


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ({"block 11": (2, 14.4), "block 12": (2, 14.4)}, "of block 11, block 12, which are not the lowest blocks"),
        ({"block 1": (2, 14.4), "block 2": (4, 14.4)}, "number of heads or in their grid"),
        ({"block 1": (2, 28.8), "block 2": (2, 14.4)}, "number of heads or in their grid"),
    ],
)
def test_blocks_that_make_no_table_of_heads_are_refused(monkeypatch, blocks, said):
    """A block is drawn and named by its place in the table."""
    found = {name: SimpleNamespace(distance=torch.ones(n), uniform=each) for name, (n, each) in blocks.items()}
    monkeypatch.setattr(local_global, "attention_distances", lambda *_, **__: found)
    images = data.load("fashion-mnist/test").sample(4, seed=0)
    with pytest.raises(ValueError, match=said):
        local_global.measure_heads(load("tiny/vit_7x7:random"), [images])


def test_nearest_heads_are_of_two_blocks_and_a_spread_is_within_one():
    distance = np.array([[[5.0, 9.0], [4.0, 8.0], [1.0, 20.0], [6.0, 7.0], [3.0, 9.0]]])
    heads = local_global.Heads(distance, np.zeros_like(distance), uniform=10.0)
    assert (heads.nearest_low, heads.nearest_high) == (0.4, 0.3)
    assert heads.spread_low == pytest.approx(
        0.4
    )  # not 0.5, from the nearest of one block to the farthest of the other


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


@pytest.mark.parametrize("layers", [1, 2, 4, 8])
def test_first_third(layers):
    values = np.random.default_rng(layers).random((2, layers))
    low = [place for place in range(layers) if place < (layers - 1) / 3 or place == 0]
    assert np.allclose(local_global.mean_of_first_third(values), values[:, low].mean(axis=1))


def fields(**layers):
    """Fields after and before the addition, of a grid of 3 x 3."""
    after = {name.replace("_", " "): torch.tensor(field, dtype=torch.float32) for name, field in layers.items()}
    before = {name: field + 1 for name, field in after.items()}
    return SimpleNamespace(after=after, before=before, grids=dict.fromkeys(after, (3, 3)))


CENTRE, EVEN = np.pad([[1.0]], 1), np.ones((3, 3))


def test_own_patch_has_all_or_its_share():
    repeats = [fields(block_1=CENTRE, block_2=EVEN), fields(block_1=EVEN, block_2=CENTRE)]
    assert np.allclose(local_global.own_patch(repeats), [[9, 1], [1, 9]])
    # One more everywhere: 2 of 10 are in the middle.
    assert np.allclose(local_global.own_patch(repeats, "before"), [[9 * 2 / 10, 1], [1, 9 * 2 / 10]])


def test_share_in_own_patch_is_that_of_attention_alone():
    one = fields(block_1=CENTRE)
    for kind in (one.after, one.before):
        kind["block 1/after attention"] = kind["block 1"] + 1
        kind["block 2/after attention"] = torch.ones(3, 3)
    one.grids = dict.fromkeys(one.after, (3, 3))
    assert local_global.share_in_own_patch([one], "after") == pytest.approx([(2 / 10 + 1 / 9) / 2])
    assert local_global.share_in_own_patch([one], "before") == pytest.approx([(3 / 19 + 1 / 9) / 2])
    assert np.isnan(local_global.share_in_own_patch([one], "after", "token mixing")).all()


def test_mean_fields_average_over_the_repeats():
    repeats = [fields(block_1=CENTRE), fields(block_1=3 * EVEN)]
    assert np.allclose(local_global.mean_fields(repeats)["block 1"], (CENTRE + 3) / 2)
    assert np.allclose(local_global.mean_fields(repeats, "before")["block 1"], (CENTRE + 5) / 2)


@pytest.mark.parametrize(
    ("name", "sublayers"),
    [
        ("tiny/vit_7x7:random", ["attention", "MLP"]),
        ("tiny/mixer:random", ["token mixing", "MLP"]),
        ("tiny/resnet:random", ["block"]),
        ("test_convnext:random:32px", ["block"]),
    ],
)
def test_every_addition_of_a_network_is_measured_and_sorted_by_sublayer(name, sublayers):
    model = load(name)
    images = data.load("fashion-mnist/test").sample(2, seed=0)
    (one,) = local_global.measure_fields(model, [images], additions=True, channels=1)
    found = local_global.by_sublayer(one.after)
    assert list(found) == sublayers
    blocks = max(int(block.removeprefix("block ")) for block in found[sublayers[-1]])
    assert all(list(each) == [f"block {b + 1}" for b in range(blocks)] for each in found.values())
    assert local_global.by_sublayer(one.before).keys() == found.keys()


def test_a_block_without_a_skip_connection_has_no_number_before_the_addition():
    one = fields(block_1=CENTRE, block_2=EVEN)
    del one.before["block 1"]
    for statistic in (local_global.radii, local_global.own_patch):
        assert np.isnan(statistic([one], "before")).tolist() == [[True, False]]
        assert np.isfinite(statistic([one])).all()


@pytest.mark.parametrize(("number", "count"), [(1, 5), (5, 5), (8, 5), (48, 16), (3, 1)])
def test_places_are_evenly_spaced(number, count):
    places = local_global.evenly_spaced(number, count)
    assert len(places) == min(number, count)
    assert places == sorted(set(places))
    assert places[0] == 0
    assert places[-1] == (number - 1 if count > 1 else 0)
    assert np.ptp(np.diff(places)) <= 1 if len(places) > 1 else True
