"""Figure 12: shares of the data against chance, training by training."""

import numpy as np
import pytest

from seelike.models import training_records
from seelike.plots.evidence import draws_and_trainings
from seelike.plots.trainings import over_trainings
from seelike.profiles import profile_of
from seelike.sections import shares_of_data
from seelike.sections.shares_of_data import Pair
from seelike.sections.twins import last_gain, twins

SMALL = "tiny/vit_7x7_small"
GROUPS = profile_of("tiny", "08_scale_and_transfer").groups["shares_of_data"]


def test_pairs_of_the_profile_are_told_apart_by_their_records():
    found = shares_of_data.pairs(GROUPS).values()
    small = [pair for pair in found if pair.size == "vit_7x7_small"]
    by_label = {label: [pair for pair in small if pair.label == label] for label in {pair.label for pair in small}}
    both = ("10 %", "all, in another order", "all, another seed")
    assert [len(by_label[label]) for label in both] == [3, 3, 3], "three trainings of each"
    assert [pair.is_control for pair in by_label["all, in another order"]] == [True] * 3
    assert not any(pair.is_control for pair in by_label["all, another seed"] + by_label["10 %"])
    assert len({pair.full for pair in by_label["10 %"]}) == 3
    for pair in by_label["10 %"]:
        assert pair.other.replace("_10_percent", "") == pair.full, "twins begin with the same weights"


def test_labels_go_from_much_data_to_little():
    found = shares_of_data.labels(shares_of_data.pairs(GROUPS).values())
    assert found == ["30 %", "10 %", "3 %", "all, in another order", "all, another seed"]


def test_networks_without_a_record_are_no_control_and_have_no_share():
    pair = Pair("resnet18", "resnet34")
    assert (pair.share, pair.is_control, pair.label, pair.size) == (None, False, "resnet34", "resnet18")
    assert shares_of_data.due_to_data({pair: np.ones((2, 3))}, 0.1) == {}


def test_due_to_data_is_the_fall_of_the_share_minus_that_of_its_own_control():
    generator = np.random.default_rng()
    similarity = {pair: generator.random((4, 8)) for pair in shares_of_data.pairs(GROUPS).values()}
    found = shares_of_data.due_to_data(similarity, 0.1)
    # Only the smallest ViT has controls.
    assert list(found) == ["vit_7x7_small"]
    for full, values in found["vit_7x7_small"].items():
        seed = full.removeprefix(SMALL)
        share = similarity[Pair(full, f"{SMALL}_10_percent{seed}")]
        control = similarity[Pair(full, f"{SMALL}_other_order{seed}")]
        expected = [(s[0] - s[-1]) - (c[0] - c[-1]) for s, c in zip(share, control, strict=True)]
        np.testing.assert_allclose(values, expected)


def test_trainings_of_one_size_on_one_share_are_rows_of_one_table():
    generator = np.random.default_rng()
    similarity = {pair: generator.random((4, 8)) for pair in shares_of_data.pairs(GROUPS).values()}
    table = shares_of_data.by_size_and_label(similarity)
    assert table["vit_7x7_small"]["10 %"].shape == (3, 8)
    assert table["vit_7x7"]["10 %"].shape == (1, 8)
    first = similarity[Pair(SMALL, f"{SMALL}_10_percent")]
    np.testing.assert_allclose(table["vit_7x7_small"]["10 %"][0], [np.mean(column) for column in first.T])


def test_much_and_little_leaves_out_what_was_not_measured():
    groups = [["tiny/vit_7x7", "tiny/vit_7x7_3_percent"], [SMALL, f"{SMALL}_3_percent"]]
    measured = {name: np.ones((2, 8)) for name in (*groups[0], SMALL)}
    assert list(shares_of_data.much_and_little(groups, measured)) == ["vit_7x7"]


def test_twins_differ_in_one_entry_alone():
    records = training_records()
    of = {record.name: record.configuration for record in records}
    for entry, first in (("without_skips", None), ("pooling", "cls"), ("seed", 0)):
        found = twins(records, entry, first)
        assert found
        for intact, others in found.items():
            assert of[intact].get(entry) == first
            for other in others:
                keys = of[intact] | other.configuration
                differ = {key for key in keys if of[intact].get(key) != other.configuration.get(key)}
                assert differ == {entry}, "a checkpoint on the way is no twin, either"


def test_the_last_gain_is_that_of_the_last_tenth():
    for record in training_records():
        if len(record.curve) < 10:
            continue
        end = record.curve[-1]
        before = max((p["epoch"], p["accuracy"]) for p in record.curve if p["epoch"] <= 0.9 * end["epoch"])
        assert last_gain([record]) == {record.name: end["accuracy"] - before[1]}
    assert last_gain([record for record in training_records() if not record.curve]) == {}


def test_figures_draw_a_point_for_each_training_and_each_draw():
    values = np.random.default_rng().random((3, 8))
    figure = over_trainings(
        {"ViT": {"10 %": values, "again": values}}, y_label="CKA", controls=["again"], margin=0.1
    )
    points = [line for line in figure.axes[0].lines if line.get_marker() == "."]
    assert len(points) == 6
    assert all(len(line.get_ydata()) == 8 for line in points)
    with pytest.raises(ValueError, match="nothing to draw"):
        over_trainings({}, y_label="CKA")
    with pytest.raises(ValueError, match="one control for each result"):
        draws_and_trainings([], [])
