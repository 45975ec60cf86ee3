"""Rows of images: what is where."""

import numpy as np
import pytest
from PIL import Image

from seelike import plots


def test_a_row_without_a_name_takes_no_room_for_one():
    images = [Image.new("L", (4, 4))] * 8
    assert plots.image_rows({"": images}).get_figheight() <= 0.7 < plots.image_rows({"a": images}).get_figheight()


def test_a_row_for_each_name():
    grey, colour = Image.new("L", (4, 4), 100), Image.new("RGB", (4, 4), "red")
    figure = plots.image_rows({"grey": [grey] * 3, "colour": [colour] * 3})
    assert [part.get_suptitle() for part in figure.subfigs] == ["grey", "colour"]
    assert [len(part.axes) for part in figure.subfigs] == [3, 3]
    # The same grey is equally dark in every row.
    assert figure.subfigs[0].axes[0].images[0].get_clim() == (0, 255)


@pytest.mark.parametrize("lengths", [(), (0,), (2, 3)])
def test_rows_are_equally_long(lengths):
    with pytest.raises(ValueError, match="as many images in every row"):
        plots.image_rows({str(n): [Image.new("L", (4, 4))] * n for n in lengths})


def test_the_name_of_a_folder_is_not_read_as_a_formula():
    name = r"/photos/$\frac$"
    figure = plots.image_rows({name: [Image.new("L", (4, 4))]})
    figure.draw_without_rendering()
    assert figure.subfigs[0].get_suptitle() == name
    line = (np.array([0.0, 1.0]), np.ones(2), np.zeros(2))
    for draw, labels in ((plots.depth_panels, {}), (plots.line_panels, {"x_label": "block"})):
        figure = draw({name: {"a": line}}, y_label="accuracy", **labels)
        figure.draw_without_rendering()
        assert figure.axes[0].get_title() == name
