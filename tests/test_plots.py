"""Figures: what is where, and the slider that works without a kernel."""

import base64
import io
import re
from itertools import product

import ipywidgets as widgets
import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from seelike import claims, plots, profiles
from seelike.models import Layer
from seelike.plots.style import COLOURS, GREY, INK, looks


def layers(blocks, in_each):
    return [Layer("", "", None, 0.0, "")] + [
        Layer("", "", block, 0.0, "") for block in range(1, blocks + 1) for _ in range(in_each)
    ]


def drawn(figure):
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100)
    return Image.open(png).convert("RGB")


def test_first_layers_are_at_the_lower_left():
    matrix = np.zeros((4, 3))
    matrix[0, 2] = 1
    figure = plots.cka_map(matrix, layers(3, 1), layers(2, 1))
    axes = figure.axes[0]
    picture = drawn(figure)

    def colour(row, column):
        x, y = axes.transData.transform((column, row))
        dpi = 100 / figure.dpi
        return picture.getpixel((round(x * dpi), picture.height - 1 - round(y * dpi)))

    assert sum(colour(0, 2)) > 600
    assert sum(colour(3, 0)) < 30


def test_states_can_begin_at_any_of_them():
    figures, alt = {name: Figure() for name in "abc"}, dict.fromkeys("abc", "Nothing.")
    controls, stack = plots.states(figures, "State", alt, begin="b").children
    slider, menu = controls.children
    assert (slider.value, menu.index, stack.selected_index) == (1, 1, 1)
    with pytest.raises(ValueError, match="begin is 'd'"):
        plots.states(figures, "State", alt, begin="d")


def test_every_map_has_the_same_colours_from_0_to_1():
    maps = [plots.CKAMap(np.full((2, 2), value), layers(1, 1), layers(1, 1)) for value in (-0.01, 0.2, 0.9)]
    for axes in plots.cka_maps(maps).axes[:-1]:
        assert axes.images[0].get_clim() == (0, 1)


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ((0.42, 0.61), (0.4, 0.65)),
        ((0.52, 0.53), (0.5, 0.6)),
        ((-0.1, 0.02), (0, 0.1)),
        ((0.99, 1.0), (0.9, 1)),
        ((np.nan, 0.72), (0.7, 0.8)),
        ((np.nan, np.nan), (0, 1)),
    ],
)
def test_a_scale_of_the_maps_own_spans_their_values(values, limits):
    maps = [plots.CKAMap(np.full((2, 2), value), layers(1, 1), layers(1, 1)) for value in values]
    for axes in plots.cka_maps(maps, own_scale=True).axes[:-1]:
        assert axes.images[0].get_clim() == pytest.approx(limits)


def test_the_ridge_is_at_the_best_layer_of_the_stream():
    kinds = ("embedding", "norm", "block", "block")
    stream = [Layer("", kind, None, 0.0, "") for kind in kinds]
    matrix = np.array(
        [[0.1, 0.9, 0.7, np.nan], [0.9, 0.9, 0.9, np.nan], [0.2, 0.1, 0.3, np.nan], [np.nan, 0, 0, np.nan]]
    )
    axes = plots.cka_maps([plots.CKAMap(matrix, stream, stream, ridge=True)]).axes[0]
    assert [*zip(*axes.lines[0].get_data(), strict=True)] == [(0, 2), (2, 0)]


@pytest.mark.parametrize("matrix", [np.full((2, 2), np.nan), np.eye(2)])
def test_without_a_stream_or_a_value_there_is_no_ridge(matrix):
    drawn = plots.CKAMap(matrix, *[layers(1, 1)] * 2, ridge=True)
    assert not plots.cka_maps([drawn]).axes[0].lines


def test_a_cka_that_is_not_defined_has_a_colour_of_its_own():
    matrix = np.array([[1, np.nan], [np.nan, 1]])
    image = plots.cka_map(matrix, layers(1, 1), layers(1, 1)).axes[0].images[0]
    assert image.cmap(image.norm(np.ma.masked_invalid(matrix)))[0, 1] == pytest.approx(to_rgba(GREY))


def test_ticks_are_at_the_first_layer_of_each_block():
    figure = plots.cka_map(np.eye(61), layers(10, 6), layers(10, 6))
    axis = figure.axes[0].xaxis
    starts = [0.5 + 6 * block for block in range(10)]
    assert sorted({*axis.get_majorticklocs(), *axis.get_minorticklocs()}) == starts
    assert [label.get_text() for label in axis.get_ticklabels()] == ["1", "3", "5", "7", "9"]


@pytest.mark.parametrize("number", [1, 2, 3, 6])
def test_at_most_two_maps_beside_each_other(number):
    figure = plots.cka_maps([plots.CKAMap(np.eye(2), layers(1, 1), layers(1, 1))] * number)
    *maps, bar = figure.axes
    assert len(maps) == number
    assert bar.get_ylabel() == "CKA"
    drawn(figure)
    assert len({round(axes.get_position().x0, 3) for axes in maps}) == min(2, number)
    # 6 inches of 10-point letters are read on a phone too.
    assert figure.get_figwidth() <= 6


def test_maps_of_another_measure_name_it_and_stand_in_as_many_columns_as_asked():
    figure = plots.cka_maps([plots.CKAMap(np.eye(2), layers(1, 1), layers(1, 1))] * 6, columns=3, label="likeness")
    *maps, bar = figure.axes
    assert bar.get_ylabel() == "likeness"
    drawn(figure)
    assert len({round(axes.get_position().x0, 3) for axes in maps}) == 3
    assert figure.get_figwidth() <= 6


def test_what_networks_are_held_against_is_grey():
    drawn = looks(["tiny/vit_7x7", "same class by chance", "equal pace"])
    assert drawn["tiny/vit_7x7"].colour != GREY
    assert {drawn[name].colour for name in ("same class by chance", "equal pace")} == {GREY}
    assert len(set(drawn.values())) == 3


def test_names_longer_than_a_map_take_more_lines():
    name = "vit_small_patch14_reg4_dinov2.lvd142m:224px"
    figure = plots.cka_map(np.eye(2), layers(1, 1), layers(1, 1), x_label=name, y_label="vit")
    across, upward = figure.axes[0].get_xlabel().split("\n"), figure.axes[0].get_ylabel().split("\n")
    assert "".join(across).replace(" ", "") == f"{name},byblock"
    assert max(map(len, across)) <= 26
    assert upward == ["vit, by block"]


def test_labels_must_fit_the_matrix():
    with pytest.raises(ValueError, match=r"'both'.*\(2, 3\).*got \(3, 2\)"):
        plots.cka_map(np.zeros((3, 2)), layers(1, 1), layers(2, 1), title="both")
    with pytest.raises(ValueError, match="no map"):
        plots.cka_maps([])


def test_a_network_has_one_look_in_all_figures_and_its_lines_differ():
    depth = np.linspace(0, 1, 4)
    line = (depth, depth, depth / 10)
    vit, cnn = "vit_small_patch14_dinov2.lvd142m:224px", "tf_efficientnet_lite0.in1k"
    alone = plots.depth_lines({vit: line}, y_label="CKA").axes[0].lines[0]
    one, other, third = (
        plots.line_panels({"": {cnn: line, f"{vit}, CLS": line, f"{vit}, spatial": line}}, x_label="", y_label="")
        .axes[0]
        .lines
    )
    assert alone.get_color() == other.get_color() == third.get_color() != one.get_color()
    assert alone.get_linestyle() == other.get_linestyle() != third.get_linestyle()


def test_the_networks_of_each_page_look_unlike_each_other():
    for profile, page in product(profiles.NAMES, profiles.PAGES):
        names = [*dict.fromkeys(profiles.profile_of(profile, page).networks)]
        found = looks(names)
        assert len(set(found.values())) == len(names), (profile, page)
        warm = [name for name, look in found.items() if look.colour in {"#d55e00", "#de8f05", "#ca9161"}]
        # Those of a role can be in one figure; a page as a whole has more than there are cold colours.
        assert len(names) > 12 or not [name for name in warm if name.removeprefix("tiny/").startswith("vit")]


def test_each_family_is_counted_by_itself():
    # Whatever ViTs and Mixers a profile has, its first CNN is solid orange's neighbour in the legend: dash-dotted.
    for profile in profiles.NAMES:
        every = [n for page in profiles.PAGES for n in profiles.profile_of(profile, page).networks]
        cnns = [n for n in dict.fromkeys(every) if not re.match(r"(tiny/)?(vit|deit|mixer)", n)]
        if profile == "tiny":
            assert looks(cnns)[cnns[0]] == ("#d55e00", "-.")
        assert {look.colour for look in looks(cnns[:3]).values()} <= {"#d55e00", "#de8f05", "#ca9161"}


def test_lines_of_one_network_with_others_look_like_the_others():
    found = looks(["tiny/mixer in tiny/vit_7x7", "tiny/mixer in tiny/resnet", "by chance"])
    assert found["tiny/mixer in tiny/vit_7x7"] == looks(["tiny/vit_7x7"])["tiny/vit_7x7"]
    assert found["tiny/mixer in tiny/resnet"] == looks(["tiny/resnet"])["tiny/resnet"]
    assert len(set(found.values())) == 3
    # Where the first ones differ, a line looks like its own network.
    both = looks(["tiny/mixer in tiny/vit_7x7", "tiny/resnet in tiny/vit_7x7"])
    assert [look.colour for look in both.values()] == ["#029e73", "#d55e00"]


def test_a_name_within_another_is_not_taken_for_it():
    assert looks(["vit_7x7_small_seed_1"]) != looks(["vit_7x7_small"])
    own = looks(["resnet"])["resnet"]
    assert looks(["a", "b", "resnet18"])["resnet18"] != own
    assert looks(["a", "b", "tiny/resnet, spatial"])["tiny/resnet, spatial"] == own


@pytest.mark.parametrize("colour", [INK, GREY, *COLOURS])
def test_colours_show_on_a_white_page_and_on_the_books_dark_one(colour):
    def luminance(shade):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgba(shade)[:3]]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    contrasts = [
        (max(pair) + 0.05) / (min(pair) + 0.05)
        for pair in [(luminance(colour), luminance(page)) for page in ("white", "#121212")]
    ]
    # Text asks for 4.5, which no grey has on both. Lines ask for 3, and the pale ones have dashes.
    assert contrasts[0] >= (4.5 if colour == INK else 2.2)
    assert contrasts[1] >= 3


def test_figures_have_no_ground_of_their_own():
    plots.use_style()
    file = io.BytesIO()
    plots.depth_lines({"a": (np.arange(2.0), np.arange(2.0), np.zeros(2))}, y_label="CKA").savefig(file)
    assert np.asarray(Image.open(file))[0, 0, 3] == 0


def test_lines_differ_without_colour():
    depth = np.linspace(0, 1, 4)
    figure = plots.depth_lines({name: (depth, depth, depth / 10) for name in "abc"}, y_label="CKA")
    lines = figure.axes[0].get_lines()
    assert len({line.get_linestyle() for line in lines}) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]


def test_a_figure_is_not_left_to_pyplot():
    """pyplot would show each a second time at the end of its cell."""
    import matplotlib.pyplot as plt

    plots.use_style()
    before = plt.get_fignums()
    plots.cka_map(np.eye(2), layers(1, 1), layers(1, 1))
    assert plt.get_fignums() == before
    assert matplotlib.rcParams["figure.dpi"] == 160


@pytest.fixture
def coloured():
    figures = {name: Figure(figsize=(1, 1), facecolor=name) for name in ("red", "blue")}
    for figure in figures.values():
        figure.add_axes((0, 0, 1, 1), facecolor="green")
    return figures


def test_states_are_pictures_with_a_text_each(coloured):
    widget = plots.states(coloured, "Colour", {"red": 'A "red" <one>.', "blue": "A blue one."})
    stack = widget.children[1]
    assert stack.selected_index == 0
    assert [re.search('alt="([^"]*)"', child.value)[1] for child in stack.children] == [
        "A &quot;red&quot; &lt;one&gt;.",
        "A blue one.",
    ]
    for child in stack.children:
        png = re.search('base64,([^"]*)', child.value)[1]
        assert Image.open(io.BytesIO(base64.b64decode(png))).format == "PNG"


def test_states_are_joined_in_the_page(coloured):
    """Only links of the front end work where no kernel runs; and only core models are known there."""
    widget = plots.states(coloured, "Colour", dict.fromkeys(coloured, "A colour."))
    (slider, menu), stack = widget.children[0].children, widget.children[1]
    made = widgets.Widget.get_manager_state(widgets=None)["state"]
    links = [model["state"] for model in made.values() if model["model_name"] == "LinkModel"]
    ends = [(link["source"], link["target"]) for link in links]
    name = "IPY_MODEL_{}".format
    assert ([name(slider.model_id), "value"], [name(stack.model_id), "selected_index"]) in ends
    assert ([name(slider.model_id), "value"], [name(menu.model_id), "index"]) in ends
    assert {model["model_module"] for model in made.values()} <= {
        "@jupyter-widgets/base",
        "@jupyter-widgets/controls",
    }
    assert menu.options == ("red", "blue")


def test_states_of_two_have_a_slider_for_each_choice(coloured):
    """The first slider turns the outer stack, the second all inner ones."""
    pairs = {(row, column): coloured[column] for row in ("up", "down") for column in ("red", "blue")}
    widget = plots.states_of_two(pairs, ("Row", "Colour"), {pair: " ".join(pair) for pair in pairs})
    (first, _), (second, _) = (box.children for box in widget.children[:2])
    outer = widget.children[2]
    texts = [[re.search('alt="([^"]*)"', each.value)[1] for each in inner.children] for inner in outer.children]
    assert texts == [["up red", "up blue"], ["down red", "down blue"]]
    made = widgets.Widget.get_manager_state(widgets=None)["state"]
    links = [model["state"] for model in made.values() if model["model_name"] == "LinkModel"]
    ends = [(link["source"][0], link["target"][0]) for link in links]
    name = "IPY_MODEL_{}".format
    assert (name(first.model_id), name(outer.model_id)) in ends
    for inner in outer.children:
        assert (name(second.model_id), name(inner.model_id)) in ends


def test_states_of_two_need_every_pair(coloured):
    pairs = {("up", "red"): coloured["red"], ("down", "blue"): coloured["blue"]}
    with pytest.raises(ValueError, match="each of the 2 x 2 pairs"):
        plots.states_of_two(pairs, ("Row", "Colour"), dict.fromkeys(pairs, "A colour."))
    with pytest.raises(ValueError, match="needs a figure"):
        plots.states_of_two({}, ("Row", "Colour"), {})


def test_a_choice_of_one_has_no_slider(coloured):
    pairs = {("up", name): figure for name, figure in coloured.items()}
    widget = plots.states_of_two(pairs, ("Row", "Colour"), dict.fromkeys(pairs, "A colour."))
    assert [type(child) for child in widget.children] == [widgets.HBox, widgets.Stack]


def test_one_state_has_no_slider():
    widget = plots.states({"only": Figure()}, "State", {"only": "Nothing."})
    assert isinstance(widget, widgets.Stack)


def test_states_and_texts_must_agree(coloured):
    with pytest.raises(ValueError, match=r"\['red', 'blue'\].*\['red'\]"):
        plots.states(coloured, "Colour", {"red": "A red one."})
    with pytest.raises(ValueError, match="one or more figures"):
        plots.states({}, "Colour", {})


def test_a_forest_has_a_line_for_each_claim_and_tells_verdicts_apart():
    results = [
        claims.evaluate("uniform_layers", [0.30, 0.32]),
        claims.evaluate("resnet_stages", [-0.30, -0.32]),
        claims.evaluate("gap_localizes_less", [-0.1, 0.1]),
        claims.evaluate("mixer_is_nearer_to_vit", [0.01, 0.01]),
        claims.evaluate("far_targets_change_more", [-0.05, -0.055, -0.06]),
        claims.evaluate("skips_matter_more_in_vits", [-0.30, -0.32]),
        claims.evaluate("last_third_matches_no_resnet_layer", [0.3, 0.31], by_neighbours=[[-0.3, -0.31]]),
        claims.Result(claims.CLAIMS["batch_size_has_no_effect_on_cka"], "not testable", why="One amount."),
    ]
    (axes,) = plots.forest(results).axes
    labels = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    assert labels[1] == "a CNN falls into stages"
    assert labels[-1] == "amounts have no effect on CKA"
    assert [text.get_text().strip() for text in axes.texts] == ["not testable"]
    # Those of the legend have no place.
    marks = {line.get_marker() for line in axes.lines if len(line.get_xdata())} - {"None", "|"}
    assert marks == {"o", "D", "<", "X", "P", "s"}


def test_a_forest_measures_by_the_smallest_effect_of_interest():
    axes = plots.forest([claims.evaluate("uniform_layers", [0.30, 0.32])]).axes[0]
    (mark,) = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert mark.get_xdata() == pytest.approx([0.31 / claims.CLAIMS["uniform_layers"].margin])
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == (-1, 2)


def test_without_claims_there_is_no_forest():
    with pytest.raises(ValueError, match="make book"):
        plots.forest([])


@pytest.mark.parametrize("claim", ["vit_fields_stay_at_their_patch", "low_layers_have_local_heads"])
@pytest.mark.parametrize("value", [0.3, 1.2, -9.9, 250.0])
def test_a_forest_reaches_as_far_as_its_claims(value, claim):
    axes = plots.forest([claims.evaluate(claim, [value, value * 1.1])]).axes[0]
    lowest, highest = axes.get_xlim()
    assert lowest < -1.1 * abs(value) < 1.1 * abs(value) < highest == -lowest
    assert highest / 10 <= axes.get_xticks()[-1] <= highest


def test_on_a_logarithmic_scale_what_is_not_above_zero_is_left_out():
    depth, nothing = np.linspace(0, 1, 3), np.zeros(3)
    line = (depth, np.array([0.0, 1.0, 10.0]), nothing)
    axes = plots.depth_lines({"a": line}, y_label="ratio", y_scale="log").axes[0]
    assert axes.get_yscale() == "log"
    assert np.isnan(axes.lines[0].get_ydata()[0])
    figure = plots.depth_lines({"a": (depth, nothing, nothing)}, y_label="ratio", y_scale="log")
    figure.savefig(io.BytesIO())
