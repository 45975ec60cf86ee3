"""Figures of several trainings: what is where."""

import numpy as np
import pytest

from seelike.models import Layer
from seelike.plots import CKAMap, twins
from seelike.plots.style import COLOURS, GREY


def seeds(number, draws=3, layers=None, seed=0):
    size = draws if layers is None else (draws, layers)
    return {f"seed {i}": np.random.default_rng(10 * seed + i).random(size) for i in range(number)}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_twins_are_joined_and_means_stand_before_them():
    much, little = seeds(3), seeds(3, seed=1)
    figure = twins.side_by_side(
        {"nearest": [much, little]},
        names=["much", "little"],
        y_label="y",
        bands={"nearest": (0.4, 0.6)},
        reference=(1.0, "uniform"),
    )
    assert legend(figure) == ["much", "little", "too small to count", "uniform"]
    means = [[values.mean() for values in kind.values()] for kind in (much, little)]
    drawn = [line.get_ydata() for line in figure.axes[0].lines]
    for pair in zip(*means, strict=True):
        assert any(np.shape(y) == (2,) and np.allclose(y, pair) for y in drawn)
    for kind in means:
        assert any(np.shape(y) == (3,) and np.allclose(y, kind) for y in drawn)
        assert any(np.allclose(np.ravel(y), [np.mean(kind)]) for y in drawn if np.size(y) == 1)


def test_a_band_is_behind_its_group_alone():
    much = seeds(2)
    groups = {"a": [much, much], "b": [much, much]}
    figure = twins.side_by_side(groups, names=["x", "y"], y_label="y", bands={"b": (0.25, 0.75)})
    (band,) = figure.axes[0].collections
    (left, low), (right, high) = (of(band.get_paths()[0].vertices, axis=0) for of in (np.min, np.max))
    assert (low, high) == (0.25, 0.75)
    assert 0.5 < left < 1 < right < 1.5


def test_controls_are_grey_and_take_no_colour_from_the_others():
    both = {"a": [seeds(2), seeds(2, seed=1)]}
    colours = []
    for controls in ((), ["x"]):
        figure = twins.side_by_side(both, names=["x", "y"], y_label="y", bands={}, controls=controls)
        means = [line for line in figure.axes[0].lines if line.get_markersize() == 9]
        colours.append([line.get_color() for line in means])
    assert colours == [[COLOURS[0], COLOURS[1]], [GREY, COLOURS[0]]]


def test_each_training_is_a_point_and_the_first_row_is_on_top():
    rows = {"block 1": seeds(3), "block 8": seeds(2, seed=1)}
    axes = twins.differences(rows, x_label="x", margin=0.1).axes[0]
    drawn = [np.ravel(line.get_xdata()) for line in axes.lines]
    for each in rows.values():
        means = [values.mean() for values in each.values()]
        assert any(len(x) == len(means) and np.allclose(x, means) for x in drawn)
        assert any(len(x) == 1 and np.allclose(x, np.mean(means)) for x in drawn)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_lines_of_one_kind_have_one_entry_and_one_colour():
    groups = {"ViT": seeds(3, layers=5), "resnet": seeds(1, layers=4, seed=1)}
    figure = twins.lines({"digits": groups}, y_label="accuracy")
    assert legend(figure) == ["ViT", "resnet"]
    lines = figure.axes[0].lines
    # Three thin ones and their mean; a single training is its own mean.
    assert [len(line.get_xdata()) for line in lines] == [5, 5, 5, 5, 4]
    assert len({line.get_color() for line in lines}) == 2
    assert np.allclose(lines[3].get_ydata(), np.mean([v.mean(axis=0) for v in groups["ViT"].values()], axis=0))


def test_maps_of_differences_have_one_scale_around_zero():
    layers = [Layer("", "", number, 0.0, "") for number in (None, 1, 2)]
    maps = [CKAMap(value * np.eye(3), layers, layers) for value in (-0.4, 0.2, np.nan)]
    figure = twins.difference_maps(maps, label="difference")
    assert {axes.images[0].get_clim() for axes in figure.axes[:3]} == {(-0.4, 0.4)}


@pytest.mark.parametrize(
    "draw",
    [
        lambda: twins.side_by_side({}, names=["a"], y_label="", bands={}),
        lambda: twins.side_by_side({"a": [{}]}, names=["a"], y_label="", bands={}),
        lambda: twins.differences({"a": {}}, x_label="", margin=0.1),
        lambda: twins.lines({"a": {}}, y_label=""),
        lambda: twins.difference_maps([], label=""),
    ],
)
def test_nothing_to_draw_is_said(draw):
    with pytest.raises(ValueError, match=r"nothing to draw|no map to draw"):
        draw()
