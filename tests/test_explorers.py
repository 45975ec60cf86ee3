"""Explorers: their data against the library's numbers, what may not be in them, and what a click shows."""

import base64
import functools
import json
import shutil
from dataclasses import replace
from itertools import pairwise

import explorers as staging
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output
from test_book import BROWSERS, NARROW, QUIET, WIDE, missing

from seelike import data
from seelike.cka import ModelComparison, cka
from seelike.errors import UnknownName
from seelike.models import layers, load, preprocessing, read
from seelike.plots.explorers import EXPLORER_MIME, Explorer, cka_explorer

NAMES = ("tiny/vit_7x7", "tiny/resnet")
IMAGES, LAYERS = 12, 20
PLACE = "notebooks/04_page"


def compared(ending=""):
    models = {name: load(name + ending) for name in NAMES}
    chosen = {name: layers(models[name])[:LAYERS] for name in NAMES}
    # What the map says is taken as it is given, so it may be anything; the rest is of the networks.
    values = np.random.default_rng(len(ending)).uniform(-0.05, 1, size=(2, 2 * LAYERS, 2 * LAYERS))
    return ModelComparison(chosen, (values + values.transpose(0, 2, 1)) / 2), models


@functools.cache
def states():
    return compared(), compared(":random")


@functools.cache
def of_garments():
    (comparison, models), untrained = states()
    return cka_explorer(
        comparison, models, data.load("fashion-mnist"), untrained, number_of_images=IMAGES, pair=NAMES, seed=24
    )


def unpacked(text, kind):
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def grams_of(explorer, state=0):
    """The scaled likeness of each pair of images, `[layers, pairs]`, as a page reads it."""
    packed = explorer.data["states"][state]
    levels = unpacked(packed["alike"], "<i1").reshape(len(packed["steps"]), -1)
    return levels * np.array(packed["steps"])[:, None]


# CKA


def test_all_cka_is_in_the_data_to_four_decimals():
    for state, (comparison, _) in zip(of_garments().data["states"], states(), strict=True):
        whole = comparison.cka.mean(axis=0)
        found = unpacked(state["cka"], "<i2") / 10_000
        np.testing.assert_allclose(found, whole[np.triu_indices(len(whole))], atol=5.1e-5)


def test_the_cloud_has_the_cka_of_its_images():
    explorer, (comparison, models) = of_garments(), states()[0]
    sample, every = data.load("fashion-mnist").sample(IMAGES, seed=24), []
    for name, network in models.items():
        pixels = torch.stack([preprocessing(network)(image) for image in sample])
        every += read(network, comparison.layers[name], pixels).values()
    alike = grams_of(explorer)
    for a, b in [(0, 0), (7, 30), (19, 20), (39, 3)]:
        assert (alike[a] * alike[b]).mean() == pytest.approx(float(cka(every[a], every[b])), abs=0.005)


def test_images_of_one_class_are_side_by_side_and_have_its_name():
    names = of_garments().data["images"]["names"]
    assert len(names) == IMAGES
    assert len({*names}) == 1 + sum(a != b for a, b in pairwise(names))


def test_only_pictures_that_may_be_shown_are_in_the_data():
    (comparison, models), _ = states()
    shown, others = data.load("photographs").select(np.arange(5)), data.load("fashion-mnist")
    explorer = cka_explorer(comparison, models, shown, others=others, number_of_images=IMAGES)
    images = explorer.data["images"]
    assert sorted(place for place in images["thumbnails"] if place >= 0) == list(range(5))
    assert images["thumbnails"].count(-1) == IMAGES - 5
    assert "John Severns" in explorer.data["credit"]
    texts = [each.get_supxlabel() for each in explorer.figure.subfigs]
    assert any("John Severns" in text for text in texts)
    # Eight thumbnails in a row.
    assert images["sheet"]["rows"] == 1
    assert grams_of(explorer).shape[1] == IMAGES * (IMAGES - 1) // 2


def test_a_dead_layer_is_marked_and_does_not_stop_the_others():
    (comparison, models), _ = states()
    values = comparison.cka.copy()
    values[:, 3], values[:, :, 3] = np.nan, np.nan
    dead = replace(comparison, cka=values)
    packed = cka_explorer(dead, models, data.load("fashion-mnist"), number_of_images=8).data["states"][0]
    assert (unpacked(packed["cka"], "<i2") == -32768).sum() == len(values[0])


def test_what_is_too_large_is_cut_to_the_residual_streams(monkeypatch):
    (comparison, models), _ = states()
    monkeypatch.setattr("seelike.plots.explorers.cka.LARGEST", 20_000)
    explorer = cka_explorer(comparison, models, data.load("fashion-mnist"), number_of_images=IMAGES)
    stream = comparison.only(["embedding", "residual", "block"]).layers
    assert [each["layers"] for each in explorer.data["networks"]] == [
        [layer.name for layer in each] for each in stream.values()
    ]
    assert "residual streams" in explorer.data["note"]


def test_more_than_a_page_takes_is_refused():
    with pytest.raises(ValueError, match="Give fewer networks"):
        Explorer("cka", of_garments().figure, "", {"much": "x" * 1_500_000})


def test_errors_say_what_is_wrong():
    (comparison, models), (random, _) = states()
    images = data.load("fashion-mnist")
    with pytest.raises(ValueError, match="models is empty"):
        cka_explorer(comparison, {}, images)
    with pytest.raises(UnknownName, match="tiny/mixer"):
        cka_explorer(comparison, {"tiny/mixer": load("tiny/mixer")}, images)
    with pytest.raises(UnknownName, match="elsewhere"):
        cka_explorer(comparison, models, images, pair=("tiny/resnet", "elsewhere"))
    with pytest.raises(ValueError, match="3 images"):
        cka_explorer(comparison, models, images, number_of_images=3)
    fewer = {name: chosen[:5] for name, chosen in random.layers.items()}
    other = ModelComparison(fewer, np.ones((1, 10, 10)))
    with pytest.raises(ValueError, match="differ from those in comparison"):
        cka_explorer(comparison, models, images, (other, models))


# In a notebook, and on the way to the book


def executed(explorer):
    output = new_output("execute_result", json.loads(json.dumps(explorer._repr_mimebundle_())), execution_count=1)
    return new_notebook(cells=[new_code_cell("cka_explorer(...)", outputs=[output])])


def test_a_notebook_shows_a_still_with_a_text():
    bundle = of_garments()._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert "whose CKA is" in bundle["text/plain"]
    assert bundle[EXPLORER_MIME]["kind"] == "cka"


def test_the_book_keeps_the_data_in_a_file_of_its_own():
    notebook = executed(of_garments())
    files = {path.as_posix(): content for path, content in staging.take_out(notebook, PLACE).items()}
    assert list(files) == [f"static/explorers/notebooks-04_page-1.{ending}" for ending in ("js", "png")]
    (output,) = notebook.cells[0].outputs
    assert set(output.data) == {"text/plain", "text/html"}
    assert 'src="../_static/explorers/notebooks-04_page-1.png" alt="A map of CKA' in output.data["text/html"]
    assert len(output.data["text/html"]) < 2_000
    assert staging.take_out(notebook, PLACE) == {}


def test_a_page_loads_little(tmp_path):
    scripts = {path.name: len(content) for path, content in staging.scripts().items()}
    assert {"common.js", "cka.js", "explorers.css"} <= scripts.keys()
    assert sum(scripts.values()) < 100_000
    assert of_garments().size < 150_000


# In a browser


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        missing("There is no Chromium on the PATH.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """Open a page with an explorer as a file, and scroll to it; all that goes wrong in it is a complaint."""
    contexts, complaints = [], []

    def show(explorer, viewport=WIDE):
        notebook = executed(explorer)
        files = staging.take_out(notebook, PLACE) | staging.scripts()
        for path, content in files.items():
            target = tmp_path / "_static" / path.relative_to(staging.STATIC)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        page_file = tmp_path / f"{PLACE}.html"
        page_file.parent.mkdir(exist_ok=True)
        shown = notebook.cells[0].outputs[0].data["text/html"]
        page_file.write_text(f'<!doctype html><div style="height: 3000px"></div>{shown}')
        contexts.append(chromium.new_context(viewport=viewport, has_touch=viewport is NARROW))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda one: complaints.append(one.text) if one.type == "error" else None)
        page.goto(page_file.as_uri())
        # Nothing is loaded before the reader comes near.
        assert page.locator("head script").count() == 0
        page.locator(".seelike-explorer").scroll_into_view_if_needed()
        page.wait_for_selector(".seelike-explorer[data-ready]")
        return page

    show.complaints = complaints
    yield show
    for context in contexts:
        context.close()


def click(page, row, column, rows, columns, by_finger=False):
    canvas = page.locator(".map .field canvas")
    box = canvas.bounding_box()
    right, down = (column + 0.5) / columns, 1 - (row + 0.5) / rows
    touch = canvas.tap if by_finger else canvas.click
    touch(position={"x": right * box["width"], "y": down * box["height"]})


@pytest.mark.browser
def test_what_a_click_on_the_map_shows_is_the_librarys_number(opened):
    page = opened(of_garments())
    readout, text = page.locator(".readout"), page.locator(".cloud > .small")
    (comparison, _), (random, _) = states()
    expected = comparison.mean(*NAMES)
    for row, column in [(2, 17), (13, 4)]:
        click(page, row, column, *expected.shape)
        words = readout.inner_text()
        assert f"{NAMES[0]}: {comparison.layers[NAMES[0]][row].name}\n" in words
        assert f"{NAMES[1]}: {comparison.layers[NAMES[1]][column].name}\n" in words
        assert f"CKA {expected[row, column]:.3f}" in words
        alike = grams_of(of_garments())
        of_these = (alike[row] * alike[20 + column]).mean()
        assert f"of these {IMAGES} images {of_these:.2f}" in text.inner_text().replace("\N{MINUS SIGN}", "-")
    page.get_by_text("before training", exact=True).click()
    assert f"CKA {random.mean(*NAMES)[13, 4]:.3f}\nafter training: {expected[13, 4]:.3f}" in readout.inner_text()
    page.locator("select").select_option(label=NAMES[1])
    own = random.mean(NAMES[1], NAMES[1])
    click(page, 19, 0, *own.shape)
    assert f"CKA {own[19, 0]:.3f}" in readout.inner_text()
    assert opened.complaints == []


@pytest.mark.browser
def test_all_can_be_done_by_keyboard(opened):
    page = opened(of_garments(), NARROW)
    (comparison, _), _ = states()
    before = page.locator(".cloud > .small").inner_text()
    page.locator(".map .field canvas").focus()
    for key in ("Home", "PageDown", "ArrowUp", "ArrowUp", "ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    assert f"CKA {comparison.mean(*NAMES)[2, 11]:.3f}" in page.locator(".readout").inner_text()
    assert page.locator(".cloud > .small").inner_text() == before
    page.keyboard.press("Enter")
    assert page.locator(".cloud > .small").inner_text() != before
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    last = page.locator(".lists button").last
    last.press("Enter")
    assert last.get_attribute("aria-pressed") == "true"
    assert page.locator(".pictures p span").first.inner_text() == last.get_attribute("aria-label")
    page.locator(".gram canvas").first.press("ArrowDown")
    assert page.locator(".pictures p span").first.inner_text() != last.get_attribute("aria-label")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert opened.complaints == []


@pytest.mark.browser
def test_the_lists_have_the_pairs_that_raise_and_lower_cka_most(opened):
    page = opened(of_garments(), NARROW)
    click(page, 5, 8, 20, 20, by_finger=True)
    alike = grams_of(of_garments())
    y, x = alike[5], alike[28]
    products = np.where((x > 0) & (y > 0), x * y, -np.inf)
    agree = page.locator(".lists > div").first.locator("button")
    assert int(agree.first.get_attribute("data-pair")) == products.argmax()
    only_upward = np.where((y > 0) & (x < 0), x * y, np.inf)
    disagree = page.locator(".lists > div").nth(2).locator("button")
    if np.isfinite(only_upward).any():
        assert int(disagree.first.get_attribute("data-pair")) == only_upward.argmin()
