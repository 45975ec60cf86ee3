"""Figures of receptive fields: what is where."""

import numpy as np
import pytest

from seelike import plots


def maps(figure):
    """The axes of the fields, without the scale."""
    return [axes for axes in figure.axes if axes.images]


def some(number, seed=0):
    generator = np.random.default_rng(seed)
    return {f"block {place + 1}": 5 * generator.random((4, 4)) for place in range(number)}


def test_fields_are_divided_by_their_largest_value_and_share_a_scale():
    fields = some(3)
    drawn = maps(plots.field_maps({"vit": fields}))
    for axes, field in zip(drawn, fields.values(), strict=True):
        assert np.allclose(axes.images[0].get_array(), field / field.max())
        assert axes.images[0].get_clim() == (0.001, 1)


def test_brightness_is_logarithmic_and_dark_below_a_thousandth():
    figure = plots.field_maps({"vit": {"block 1": np.array([[1, 0.1], [0.001, 0]])}})
    image = maps(figure)[0].images[0]
    np.testing.assert_allclose(image.norm(image.get_array()), [[1, 2 / 3], [0, 0]], atol=1e-9)
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == ["0.001", "0.01", "0.1", "1"]


def test_rows_go_from_top_to_bottom_and_layers_from_left_to_right():
    figure = plots.field_maps({"vit": some(3), "resnet": some(2)})
    boxes = [axes.get_position() for axes in maps(figure)]
    assert [axes.get_title() for axes in maps(figure)] == [f"block {b}" for b in (1, 2, 3, 1, 2)]
    assert boxes[0].x0 < boxes[1].x0 < boxes[2].x0
    assert boxes[3].x0 == pytest.approx(boxes[0].x0)
    assert boxes[3].y1 < boxes[0].y0


@pytest.mark.parametrize("number", [1, 2, 7, 8, 9, 16, 24])
def test_maps_are_squares_that_do_not_overlap(number):
    figure = plots.field_maps({"vit": some(number), "resnet": some(3)})
    width, height = figure.get_size_inches()
    boxes = [axes.get_position() for axes in figure.axes]
    for box in boxes[:-1]:
        assert box.width * width == pytest.approx(box.height * height)
    assert all(0 <= box.x0 < box.x1 <= 1 + 1e-9 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    for place, one in enumerate(boxes):
        assert not any(one.x0 < o.x1 and o.x0 < one.x1 and one.y0 < o.y1 and o.y0 < one.y1 for o in boxes[:place])


def test_a_long_row_goes_on_below_after_six():
    drawn = maps(plots.field_maps({"vit": some(10)}))
    # Ten in two lines of five.
    assert drawn[5].get_position().x0 == pytest.approx(drawn[0].get_position().x0)
    assert drawn[5].get_position().y1 < drawn[0].get_position().y0


def test_a_row_without_fields_is_left_out():
    figure = plots.field_maps({"mixer": {}, "vit": some(2)})
    assert [text.get_text() for text in figure.texts] == ["vit"]


@pytest.mark.parametrize("rows", [{}, {"vit": {}}])
def test_nothing_to_draw_is_an_error(rows):
    with pytest.raises(ValueError, match="draw"):
        plots.field_maps(rows)
