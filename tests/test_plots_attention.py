"""Figures of heads: what is where."""

import numpy as np
import pytest

from seelike import plots
from seelike.sections.local_global import Heads


def heads(blocks=6, number=4, seed=0):
    distance = np.random.default_rng(seed).random((3, blocks, number)) * 10
    return Heads(distance, np.zeros_like(distance), uniform=7.0)


def marks(axes):
    """What is drawn of each block: values by name in the legend."""
    drawn = {}
    for container in axes.containers:
        drawn.setdefault(container.get_label(), []).append(container.lines[0].get_ydata())
    return drawn


def test_sorted_heads_are_those_of_the_two_lowest_and_highest_blocks():
    measured = heads()
    drawn = marks(plots.sorted_heads({"vit": measured}).axes[0])
    mean = measured.distance.mean(axis=0)
    for name, block in (("first block", 0), ("second block", 1), ("last block but one", 4), ("last block", 5)):
        assert np.allclose(drawn[name], np.sort(mean[block]))
    assert len(drawn) == 4


def test_all_blocks_stand_beside_with_the_same_marks():
    measured = heads()
    left, right = plots.all_heads({"vit": measured}).axes
    drawn = marks(right)
    assert np.allclose(drawn["other blocks"], measured.distance.mean(axis=0)[2:4])
    colours = [{c.get_label(): c.lines[0].get_color() for c in axes.containers} for axes in (left, right)]
    assert all(colours[1][name] == colour for name, colour in colours[0].items())
    assert left.get_ylim() == right.get_ylim()


@pytest.mark.parametrize(("blocks", "names"), [(1, 1), (2, 2), (3, 3), (4, 4), (24, 4)])
def test_no_block_is_drawn_twice_or_left_out(blocks, names):
    left, right = plots.all_heads({"vit": heads(blocks, 3)}).axes
    assert len(left.containers) == len(marks(left)) == names
    assert sorted(int(container.lines[0].get_xdata()[0]) for container in right.containers) == list(
        range(1, blocks + 1)
    )


@pytest.mark.parametrize("draw", [plots.sorted_heads, plots.all_heads])
def test_uniform_is_a_line_and_the_farthest_head_is_whole(draw):
    axes = draw({"vit": heads()}).axes[0]
    assert any(np.allclose(line.get_ydata(), 7.0) for line in axes.lines)
    farthest = max(values.max() for rows in marks(axes).values() for values in rows)
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 1.05 * farthest


def test_one_repeat_has_no_bars():
    one = Heads(np.ones((1, 6, 4)), np.zeros((1, 6, 4)), uniform=2.0)
    for container in plots.sorted_heads({"vit": one}).axes[0].containers:
        (bars,) = container.lines[2]
        assert all(np.ptp(path.vertices[:, 1]) == 0 for path in bars.get_paths())


def test_legend_has_every_kind_of_mark_once():
    figure = plots.all_heads({"short": heads(2), "long": heads(8)})
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    expected = ["first block", "second block", "last block but one", "last block", "other blocks"]
    assert names == [*expected, "everywhere alike"]


def test_a_head_is_ringed_and_its_map_has_the_own_patch_in_the_middle():
    measured, attention = heads(), np.random.default_rng(1).random((13, 9))
    left, right = plots.head_map(measured, 2, 3, attention).axes[:2]
    (ring,) = [line for line in left.lines if line.get_markerfacecolor() == "none"]
    assert ring.get_xydata() == pytest.approx(np.array([[2, measured.distance[:, 1, 2].mean()]]))
    (image,) = right.images
    assert np.array_equal(image.get_array(), attention)
    assert tuple(image.get_extent()) == (-4.5, 4.5, 6.5, -6.5)


def test_subsets_stand_at_their_distance_and_mean_cka():
    distance, cka = np.array([3.0, 5.0, 9.0]), np.array([[0.5, 0.4, 0.1], [0.7, 0.2, 0.3]])
    axes = plots.subsets_of_heads({"vit": (distance, cka)}).axes[0]
    line = axes.containers[0].lines[0]
    assert np.allclose(line.get_xdata(), distance)
    assert np.allclose(line.get_ydata(), [0.6, 0.3, 0.2])


@pytest.mark.parametrize("empty", [plots.sorted_heads, plots.all_heads, plots.subsets_of_heads])
def test_nothing_to_draw_is_an_error(empty):
    with pytest.raises(ValueError, match="draw"):
        empty({})
