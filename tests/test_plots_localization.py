"""Maps over the image: what is where."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from seelike import plots
from seelike.plots.style import GREY


def maps(rows, columns, seed=0):
    return np.random.default_rng(seed).random((rows * columns, rows, columns))


def test_the_same_place_is_found_in_grids_of_any_size():
    given = {"coarse": maps(4, 4), "fine": maps(14, 14), "wide": maps(4, 8)}
    figure = plots.same_place(given, down=0.3, across=0.99)
    # Rows 1, 4 and 1, columns at the right edge.
    for axes, (name, cka), token in zip(figure.axes, given.items(), (7, 69, 15), strict=False):
        assert axes.get_title() == name
        assert np.array_equal(axes.images[0].get_array(), cka[token])
        row, column = divmod(token, cka.shape[2])
        assert {patch.get_xy() for patch in axes.patches} == {(column - 0.5, row - 0.5)}


def test_a_network_keeps_its_scale_from_place_to_place():
    given = {"vit": maps(7, 7)}
    limits = {plots.same_place(given, down, 0.5).axes[0].images[0].get_clim() for down in (0.0, 0.5, 1.0)}
    assert limits == {(given["vit"].min(), given["vit"].max())}


def test_the_alternative_text_says_where_the_map_is_brightest():
    cka = np.zeros((16, 4, 4))
    cka[5, 2, 3] = 1
    text = plots.same_place_alt({"vit": cka, "dead": np.full((16, 4, 4), np.nan)}, 0.3, 0.3)
    assert "vit: the token at row 2, column 2 is most like the patch at row 3, column 4." in text
    assert "dead: the token at row 2, column 2 has no CKA with any patch." in text


@pytest.mark.filterwarnings("error")
def test_maps_without_a_number_are_grey():
    dead = np.full((16, 4, 4), np.nan)
    for figure in (plots.token_maps({"dead": dead}), plots.same_place({"dead": dead}, 0.5, 0.5)):
        image = figure.axes[0].images[0]
        assert image.cmap(image.norm(image.get_array()))[0, 0] == pytest.approx(to_rgba(GREY))
        figure.savefig("/dev/null", format="png")


def test_long_names_are_broken_after_their_separators():
    name = "vit_base_patch32_224.orig_in21k\nblock 12"
    lines = plots.token_maps({name: maps(7, 7)}).axes[0].get_ylabel().split("\n")
    assert "".join(lines) == name.replace("\n", "")
    assert lines[-1] == "block 12"
    assert len(lines) > 2
    assert max(map(len, lines)) <= 18


def test_each_network_has_a_row_of_accuracies():
    given = {"vit": {"block 1": maps(2, 2)[0], "block 8": maps(2, 2)[1]}, "resnet": {"block 4": maps(2, 2)[2]}}
    axes = [each for each in plots.accuracy_maps(given).axes if each.images and each.get_title()]
    assert [each.get_title() for each in axes] == ["block 1", "block 8", "block 4"]
    assert [each.get_ylabel() for each in axes] == ["vit", "", "resnet"]
    drawn = [each.images[0].get_array() for each in axes]
    assert np.allclose(drawn[2], 100 * given["resnet"]["block 4"])


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="draw"):
        plots.same_place({}, 0.0, 0.0)
    with pytest.raises(ValueError, match="draw"):
        plots.accuracy_maps({"vit": {}})
