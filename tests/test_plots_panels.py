"""Lines in panels: what is where."""

import numpy as np
import pytest

from seelike import plots


def line(blocks=4):
    return np.arange(1, blocks + 1), np.linspace(1, 0.5, blocks), np.full(blocks, 0.1)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_at_most_two_panels_beside_each_other(number):
    figure = plots.line_panels(
        {f"panel {i}": {"a": line()} for i in range(number)}, x_label="block", y_label="CKA"
    )
    figure.draw_without_rendering()
    assert [axes.get_title() for axes in figure.axes] == [f"panel {i}" for i in range(number)]
    assert len({round(axes.get_position().x0, 3) for axes in figure.axes}) == min(2, number)
    assert figure.get_figwidth() <= 6
    # The lowest panel of each column says what its axis is.
    assert [axes.get_xlabel() for axes in figure.axes[-min(2, number) :]] == ["block"] * min(2, number)
    assert {axes.get_ylim() for axes in figure.axes} == {figure.axes[0].get_ylim()}


def test_a_name_looks_the_same_in_every_panel_and_unlike_the_others():
    names = ["a", "b", "c", "d"]
    panels = {"one": {name: line() for name in names}, "two": {name: line() for name in names[::-1]}}
    figure = plots.line_panels(panels, x_label="block", y_label="CKA")
    looks = [
        {drawn.get_label(): (drawn.get_color(), drawn.get_linestyle(), drawn.get_marker()) for drawn in axes.lines}
        for axes in figure.axes
    ]
    assert looks[0] == looks[1]
    for part in zip(*looks[0].values(), strict=True):
        assert len(set(part)) == 4
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names


def test_one_line_needs_no_legend():
    assert plots.line_panels({"one": {"a": line()}}, x_label="block", y_label="CKA").legends == []


def test_whole_numbers_have_whole_ticks():
    figure = plots.line_panels({"one": {"a": line(3)}}, x_label="block", y_label="CKA")
    ticks = figure.axes[0].get_xticks()
    assert np.array_equal(ticks, np.round(ticks))


def test_label_and_legend_do_not_overlap():
    panels = {f"panel {i}": {name: line() for name in ("a long name", "another name")} for i in range(4)}
    figure = plots.line_panels(panels, x_label="block", y_label="CKA")
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().y1 <= figure.axes[-1].xaxis.label.get_window_extent().y0 + 1


@pytest.mark.parametrize("panels", [{}, {"one": {}}])
def test_nothing_to_draw(panels):
    with pytest.raises(ValueError, match="no line to draw"):
        plots.line_panels(panels, x_label="block", y_label="CKA")
