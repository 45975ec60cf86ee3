"""The explorer of one patch: its measures against formulas, its data against these, and what a click shows."""

import functools

import numpy as np
import pytest
import timm
import torch
from references_attention import distances, softmax_attention
from test_book import NARROW
from test_explorers import chromium, executed, opened, unpacked  # noqa: F401

from seelike import data
from seelike.attention import attention_distances
from seelike.models import layers, load, read, read_tokens
from seelike.plots.explorers.bundle import LARGEST
from seelike.plots.explorers.patch import patch_explorer
from seelike.plots.explorers.patch_measures import (
    cells_of,
    patch_attention,
    patch_fields,
    patch_likeness,
    whole_picture,
)
from seelike.receptive_field import effective_receptive_field

NAMES = ("tiny/vit_7x7", "tiny/resnet")
GRID, PATCHES = (7, 7), 49
BLOCKS = 3


@functools.cache
def network(name):
    return load(name)


@functools.cache
def pictures():
    return data.load("fashion-mnist").select(np.array([7, 3]))


@functools.cache
def explorer():
    models = {name: network(name) for name in NAMES}
    return patch_explorer(models, pictures(), number_of_blocks=BLOCKS, channels=2, seed=1)


def pixels_of(name, number=0):
    return whole_picture(network(name), pictures()[number])


def last_block(name):
    return layers(network(name), kinds=["block"])[-1:]


# Measures


def test_attention_and_its_distance_follow_from_queries_and_keys():
    model, pixels = network(NAMES[0]), pixels_of(NAMES[0])
    blocks, place = patch_attention(model, pixels)
    norm, qkv = layers(model, ["block 2/attention norm"]), model.blocks[1].attn.qkv
    q, k, _ = (
        qkv(read(model, norm, pixels)["block 2/attention norm"]).detach().reshape(50, 3, 4, 16).permute(1, 2, 0, 3)
    )
    whole = softmax_attention(q, k, 16**-0.5)[:, 1:]
    on_grid = whole[..., 1:] / whole[..., 1:].sum(axis=-1, keepdims=True)
    found = blocks["block 2"]
    np.testing.assert_allclose(found.prefix_mass, whole[..., 0], atol=1e-6)
    np.testing.assert_allclose(found.attention, on_grid, atol=1e-6)
    expected = (on_grid * distances(place.grid, place.patch_size)).sum(axis=-1)
    np.testing.assert_allclose(found.distance, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["tiny/vit_7x7", "test_vit:random:48x32px"])
def test_the_mean_over_patches_is_the_librarys_attention_distance(name):
    model = network(name)
    pixels = torch.randn(1, *model.pretrained_cfg["input_size"], generator=torch.Generator().manual_seed(0))
    whole, (of_patches, _) = attention_distances(model, pixels), patch_attention(model, pixels)
    assert whole.keys() == of_patches.keys()
    for block, each in of_patches.items():
        np.testing.assert_allclose(each.distance.mean(axis=1), whole[block].distance, rtol=1e-5)
        np.testing.assert_allclose(each.prefix_mass.mean(axis=1), whole[block].prefix_mass, rtol=1e-5)


def test_a_patch_has_the_location_that_its_middle_is_in():
    for count, locations in ((7, 28), (10, 35), (10, 18), (10, 9), (10, 5), (3, 1)):
        rows = [cell[0] for cell in cells_of((locations, 1), (count, 1))]
        assert rows == [int(np.floor((place + 0.5) * locations / count + 1e-9)) for place in range(count)]


@pytest.mark.parametrize(("name", "prefix", "side"), [(NAMES[0], 1, 7), (NAMES[1], 0, 7)])
def test_likeness_is_the_cosine_of_tokens(name, prefix, side):
    chosen = last_block(name)
    pixels = pixels_of(name)
    found = patch_likeness(network(name), chosen, pixels, GRID)[chosen[0].name]
    tokens = read_tokens(network(name), chosen, pixels)[chosen[0].name][0].double().numpy()[prefix:]
    for p, q in [(0, 0), (3, 40), (24, 25), (48, 7)]:
        a, b = tokens[p], tokens[q]
        assert found[p, q] == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_field_of_the_middle_is_the_librarys(name):
    chosen, pixels = last_block(name), pixels_of(name)
    found = patch_fields(network(name), chosen, pixels, GRID)[chosen[0].name]
    expected = effective_receptive_field(network(name), chosen, pixels).after[chosen[0].name]
    pooled = expected.reshape(7, 4, 7, 4).mean(dim=(1, 3))
    np.testing.assert_allclose(found[PATCHES // 2], pooled, rtol=1e-4, atol=1e-7)


def test_the_field_of_any_patch_follows_from_the_definition():
    model = timm.create_model("test_vit", in_chans=1, img_size=(48, 32), depth=2).eval().double()
    pixels = torch.randn(1, 1, 48, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first = layers(model, ["block 1"])
    found = patch_fields(model, first, pixels, (3, 2))["block 1"]
    for patch in (0, 3, 5):

        def token(x, patch=patch):
            tokens = model._pos_embed(model.patch_embed(x))
            return model.blocks[0](model.norm_pre(tokens))[0, 1 + patch]

        jacobian = torch.autograd.functional.jacobian(token, pixels)[:, 0, 0].abs().mean(dim=0)
        np.testing.assert_allclose(found[patch], jacobian.reshape(3, 16, 2, 16).mean(dim=(1, 3)), rtol=1e-9)


def test_patches_of_one_location_have_one_field_and_channels_are_sampled():
    model, chosen, pixels = network(NAMES[1]), last_block(NAMES[1]), pixels_of(NAMES[1])
    name = chosen[0].name
    found = patch_fields(model, chosen, pixels, (14, 14), channels=2)[name]
    np.testing.assert_array_equal(found[0], found[1])  # the map is 7 x 7
    assert not np.allclose(found[0], found[2])
    other = patch_fields(model, chosen, pixels, (14, 14), channels=2, seed=5)[name]
    assert not np.allclose(found[0], other[0])
    again = patch_fields(model, chosen, pixels, (14, 14), channels=2)[name]
    np.testing.assert_array_equal(found, again)


def test_no_rim_is_cut_off():
    model = network("test_resnet:random:64px")
    picture = pictures()[0].resize((256, 256))
    assert model.pretrained_cfg["crop_pct"] < 1
    corner = picture.copy()
    corner.putpixel((0, 0), 255 - corner.getpixel((0, 0)))
    assert not torch.equal(whole_picture(model, picture), whole_picture(model, corner))


# Data


def levels(packed):
    values = unpacked(packed["levels"], "<i1").reshape(len(packed["steps"]), -1)
    return values * np.array(packed["steps"])[:, None]


def test_the_data_are_the_measures():
    found = explorer().data
    assert found["grid"] == [7, 7]
    assert found["uniform"] == round(
        attention_distances(network(NAMES[0]), pixels_of(NAMES[0]))["block 1"].uniform, 1
    )
    assert found["networks"][0]["blocks"] == ["block 1", "block 5", "block 8"]
    for number, name in enumerate(NAMES):
        chosen = layers(network(name), found["networks"][number]["blocks"])
        pixels = pixels_of(name, 1)
        alike = patch_likeness(network(name), chosen, pixels, GRID)
        fields = patch_fields(network(name), chosen, pixels, GRID, 2, seed=1)
        for layer, block in zip(chosen, found["states"][1][number], strict=True):
            upper = alike[layer.name][np.triu_indices(PATCHES)]
            np.testing.assert_allclose(unpacked(block["alike"], "<i2") / 10_000, upper, atol=5.1e-5)
            field = fields[layer.name].reshape(PATCHES, -1)
            field = field / field.sum(axis=1, keepdims=True)
            assert np.abs(levels(block["field"]) - field).max() <= field.max() / 127
    heads, _ = patch_attention(network(NAMES[0]), pixels_of(NAMES[0], 1))
    for name, block in zip(found["networks"][0]["blocks"], found["states"][1][0], strict=True):
        attention = heads[name].attention.reshape(-1, PATCHES)
        assert (np.abs(levels(block["attention"]) - attention).max(axis=1) <= attention.max(axis=1) / 127).all()
        np.testing.assert_allclose(
            unpacked(block["distance"], "<i2") / 10, heads[name].distance.flatten(), atol=0.051
        )
        np.testing.assert_allclose(
            unpacked(block["prefix"], "<i2") / 1000, heads[name].prefix_mass.flatten(), atol=6e-4
        )
    assert found["networks"][1]["heads"] == 0
    assert "attention" not in found["states"][0][1][0]


def test_a_cnn_is_read_at_the_nearest_depth():
    resnet = load("test_resnet:random:28px")
    models = {"ViT": network(NAMES[0]), "ResNet": resnet}
    of_vit, of_resnet = patch_explorer(models, pictures().select(np.array([0])), channels=1).data["networks"]
    depth = {layer.name: layer.depth for layer in layers(network(NAMES[0]), of_vit["blocks"])}
    blocks = {layer.name: layer.depth for layer in layers(resnet, kinds=["block"])}
    for own, other in zip(of_vit["blocks"], of_resnet["blocks"], strict=True):
        assert abs(blocks[other] - depth[own]) == min(abs(each - depth[own]) for each in blocks.values())


def test_what_has_no_room_has_fewer_blocks_or_is_refused(monkeypatch):
    models = {"ViT": network(NAMES[0])}
    one = pictures().select(np.array([0]))
    monkeypatch.setattr("seelike.plots.explorers.patch.LARGEST", 140_000)
    few = patch_explorer(models, one, channels=1)
    assert 1 <= len(few.data["networks"][0]["blocks"]) < 5
    assert few.size < 140_000
    monkeypatch.setattr("seelike.plots.explorers.patch.LARGEST", 70_000)
    with pytest.raises(ValueError, match="a network for smaller images"):
        patch_explorer(models, one, channels=1)


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="models is empty"):
        patch_explorer({}, pictures())
    with pytest.raises(ValueError, match="There are no pictures"):
        patch_explorer({"ViT": network(NAMES[0])}, pictures().select(np.array([], dtype=int)))
    with pytest.raises(ValueError, match="has no distance"):
        patch_explorer({"ResNet": network(NAMES[1])}, pictures())


def test_a_notebook_shows_a_still_and_a_page_loads_little():
    bundle = explorer()._repr_mimebundle_()
    assert "one patch marked, in row 4 and column 4" in bundle["text/plain"]
    assert "fashion-mnist" in explorer().data["credit"]
    assert explorer().size < LARGEST / 5


# In a browser


def click(page, row, column, by_finger=False):
    canvas = page.locator(".patch-top canvas")
    box = canvas.bounding_box()
    touch = canvas.tap if by_finger else canvas.click
    touch(position={"x": (column + 0.5) * box["width"] / 7, "y": (row + 0.5) * box["height"] / 7})


def values(page):
    """What stands above and below the maps: of the heads, and of each network likeness and field."""
    of_heads = page.locator(".heads .tile p").all_inner_texts()
    of_networks = page.locator(".sides .value").all_inner_texts()
    return [
        text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")
        for text in [*of_heads, *of_networks]
    ]


def percent(share):
    return f"{100 * share:.{1 if share < 0.0995 else 0}f} %"


def expected(picture, block, patch, read):
    """The same from the library, as far as a page rounds it: shares may be off by their last digit."""
    vit, resnet = network(NAMES[0]), network(NAMES[1])
    name = explorer().data["networks"][0]["blocks"][block]
    heads = patch_attention(vit, pixels_of(NAMES[0], picture))[0][name]
    cosines = []
    for number, model in enumerate((vit, resnet)):
        chosen = layers(model, [explorer().data["networks"][number]["blocks"][block]])
        alike = patch_likeness(model, chosen, pixels_of(NAMES[number], picture), GRID)
        cosines.append(alike[chosen[0].name][patch, read])
    return heads.distance[:, patch], heads.attention[:, patch, read], heads.prefix_mass[:, patch], cosines


def require(page, picture, block, patch, read):
    word = "itself" if patch == read else "there"
    shown = values(page)
    far, attention, prefix, cosines = expected(picture, block, patch, read)
    states = explorer().data["states"][picture]
    for head in range(4):
        assert shown[2 * head] == f"Head {head + 1}: {far[head]:.1f} px"
        stored = levels(states[0][block]["attention"])[head * PATCHES + patch, read]
        assert stored == pytest.approx(attention[head], abs=0.005)
        assert shown[2 * head + 1] == f"{word} {percent(stored)}\nCLS {percent(round(prefix[head], 3))}"
    for number in range(2):
        assert shown[8 + 2 * number] == f"{word} {cosines[number]:.2f}"
        assert shown[9 + 2 * number] == f"{word} {percent(levels(states[number][block]['field'])[patch, read])}"


@pytest.mark.browser
def test_what_a_click_shows_is_the_librarys_number(opened):  # noqa: F811
    page = opened(explorer())
    for row, column in [(1, 2), (5, 3)]:
        click(page, row, column)
        require(page, 0, 1, 7 * row + column, 7 * row + column)
        assert page.locator(".readout strong").inner_text() == f"Patch in row {row + 1}, column {column + 1}"
    # Pointing at a map reads all of them there.
    box = page.locator(".sides canvas").first.bounding_box()
    page.locator(".sides canvas").first.hover(position={"x": 0.5 / 7 * box["width"], "y": 6.5 / 7 * box["height"]})
    require(page, 0, 1, 38, 42)
    page.locator(".choice span").nth(1).click()
    require(page, 1, 1, 38, 42)
    assert opened.complaints == []


@pytest.mark.browser
def test_all_can_be_done_by_keyboard(opened):  # noqa: F811
    page = opened(explorer(), NARROW)
    page.locator("input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("output").inner_text() == "block 8 of 8"
    page.locator(".patch-top canvas").focus()
    for key in ("Home", "PageUp", "ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    require(page, 0, 2, 9, 9)
    page.keyboard.press("Shift+ArrowDown")
    require(page, 0, 2, 9, 16)
    assert "Read at row 3, column 3" in page.locator(".readout").inner_text()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert opened.complaints == []


@pytest.mark.browser
def test_all_can_be_done_by_finger(opened):  # noqa: F811
    page = opened(explorer(), NARROW)
    click(page, 2, 5, by_finger=True)
    require(page, 0, 1, 19, 19)
    canvas = page.locator(".heads canvas").nth(2)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    canvas.tap(position={"x": 6.5 / 7 * box["width"], "y": 0.5 / 7 * box["height"]})
    require(page, 0, 1, 19, 6)
    assert opened.complaints == []
