"""Figures of single measurements: what is where."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from seelike import plots
from seelike.models import Layer
from seelike.sections.local_global import Heads


def test_skip_ratios_have_tokens_from_top_to_bottom_on_a_logarithmic_scale():
    ratio = np.array([[10.0, 1.0, 1.0], [0.1, 1.0, 1.0]])
    axes = plots.skip_ratio_maps({"attention": ratio, "mlp": ratio}).axes
    image = axes[0].images[0]
    assert np.array_equal(image.get_array(), ratio.T)
    assert axes[0].get_ylim()[0] > axes[0].get_ylim()[1]
    assert isinstance(image.norm, matplotlib.colors.LogNorm)
    assert (image.norm.vmin, image.norm.vmax) == (0.1, 10)
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["CLS", "1", "2"]


@pytest.mark.parametrize("panels", [{}, {"empty": np.zeros((2, 3))}])
def test_skip_ratios_need_something_above_zero(panels):
    with pytest.raises(ValueError, match="draw"):
        plots.skip_ratio_maps(panels)


def test_a_frame_marks_the_tokens_own_place():
    maps = np.random.default_rng(0).random((20, 4, 5))
    figure = plots.token_maps({"vit": maps}, {"vit": [0, 7, 19]})
    for axes, token in zip(figure.axes, (0, 7, 19), strict=False):
        row, column = divmod(token, 5)
        frames = {patch.get_xy() for patch in axes.patches}
        assert frames == {(column - 0.5, row - 0.5)}
        assert np.array_equal(axes.images[0].get_array(), maps[token])


def test_each_row_of_token_maps_has_one_scale():
    maps = np.random.default_rng(0).random((16, 4, 4))
    figure = plots.token_maps({"one": maps, "ten": 10 * maps})
    limits = [axes.images[0].get_clim() for axes in figure.axes[:8]]
    assert len(set(limits[:4])) == len(set(limits[4:])) == 1
    assert limits[4][1] == pytest.approx(10 * limits[0][1])


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (7, 7), (14, 14), (7, 12)])
def test_places_are_a_corner_an_edge_and_the_inside(rows, columns):
    corner, edge, *inside = (divmod(token, columns) for token in plots.places(rows, columns))
    assert corner == (0, 0)
    assert edge[0] == 0
    assert all(0 < row < rows - 1 and 0 < column < columns - 1 for row, column in inside)


def test_accuracy_is_drawn_in_percent():
    figure = plots.accuracy_maps({"vit": {"block 1": np.array([[0.2, 0.4], [0.3, 0.5]])}})
    assert figure.axes[0].images[0].get_clim() == pytest.approx((20, 50))


def test_heads_are_sorted_within_each_block_and_uniform_is_a_line():
    distance = np.random.default_rng(0).random((3, 6, 4)) * 10
    axes = plots.sorted_heads({"vit": Heads(distance, np.zeros_like(distance), uniform=7.0)}).axes[0]
    drawn = [container.lines[0].get_ydata() for container in axes.containers]
    assert len(drawn) == 4
    assert all(list(values) == sorted(values) for values in drawn)
    assert any(np.allclose(line.get_ydata(), 7.0) for line in axes.lines)


def test_fields_are_divided_by_their_largest_value():
    figure = plots.field_maps({"vit": {"a": np.full((4, 4), 3.0), "b": np.eye(4)}, "resnet": {"a": np.eye(4)}})
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert [image.max() for image in images[:3]] == [1, 1, 1]


def test_a_marked_block_is_between_its_lines():
    layers = [Layer("", "", block, 0.0, "") for block in (None, 1, 1, 2, 2, None)]
    drawn = plots.CKAMap(np.eye(6), layers, layers, marked_block=2)
    axes = plots.cka_maps([drawn]).axes[0]
    assert {line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1} == {2.5, 4.5}


@pytest.mark.parametrize("empty", [plots.token_maps, plots.accuracy_maps, plots.sorted_heads, plots.all_heads])
def test_nothing_to_draw_is_an_error(empty):
    with pytest.raises(ValueError, match="draw"):
        empty({})


def test_a_live_figure_is_drawn_for_the_first_choice_and_anew_for_another():
    drawn = []

    def draw(network, token):
        drawn.append((network, token))
        figure = Figure()
        figure.subplots()
        return figure

    menu, slider, picture = plots.live(draw, network=["a", "b"], token=range(0, 10, 3)).children
    first = picture.value
    assert drawn == [("a", 0)]
    assert (slider.min, slider.max, slider.step) == (0, 9, 3)
    menu.value = "b"
    slider.value = 6
    assert drawn[1:] == [("b", 0), ("b", 6)]
    assert 'alt="network b, token 6"' in picture.value != first


@pytest.mark.parametrize("choices", [{}, {"network": []}, {"token": range(0)}])
def test_a_live_figure_needs_choices(choices):
    with pytest.raises(ValueError, match="choose"):
        plots.live(lambda **_: Figure(), **choices)


def test_a_live_figure_can_begin_at_any_choice():
    drawn = []

    def draw(**chosen):
        drawn.append(chosen)
        return Figure()

    plots.live(draw, begin={"token": 6}, network=["a", "b"], token=range(0, 10, 3))
    assert drawn == [{"network": "a", "token": 6}]
