"""The story: its drawings take the page's colours, say what they show, and name places as the library does."""

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
import yaml
from test_prose import numbers_without_source

from seelike import models
from seelike.claims import CLAIMS
from seelike.models import layers

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "book" / "story.md"
TEXT = PAGE.read_text()
DRAWINGS = sorted((ROOT / "book").glob("story_*.svg"))
STYLE = (ROOT / "book/_static/seelike.css").read_text()
# What the page leaves for a drawing on a phone that is 390 px wide.
PHONE = 358

each_drawing = pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.stem)


def parsed(drawing):
    return ElementTree.parse(drawing).getroot()


def names(drawing):
    """The names of places in a drawing, each once."""
    return {text.text for text in parsed(drawing).iter("text") if text.get("class") == "name"}


def classes(drawing):
    return {word for element in parsed(drawing).iter() for word in element.get("class", "").split()}


def links():
    """All addresses within the book to which the page and its drawings lead."""
    found = re.findall(r"\]\(([^)\s]+)\)", TEXT)
    for drawing in DRAWINGS:
        found += [link.get("href") for link in parsed(drawing).iter("a")]
    return [link.partition("#")[0] for link in found if not link.startswith("https://")]


def test_the_page_shows_every_drawing_once():
    assert sorted(re.findall(r"^:file: (\S+)$", TEXT, re.MULTILINE)) == [path.name for path in DRAWINGS]
    assert re.findall(r"^\*\*Drawing (\d)\.\*\*", TEXT, re.MULTILINE) == list("12345")


@each_drawing
def test_a_drawing_says_what_it_shows(drawing):
    root = parsed(drawing)
    title = root[0]
    assert title.tag == "title"
    assert title.get("id") == root.get("aria-labelledby")
    assert len(title.text.split()) > 12
    # What is an image to a screen reader has no links in it.
    assert root.get("role") == ("group" if any(root.iter("a")) else "img")


@each_drawing
def test_a_drawing_takes_its_colours_from_the_page(drawing):
    for element in parsed(drawing).iter():
        assert element.get("style") is None
        for colour in ("fill", "stroke", "color", "stop-color"):
            assert element.get(colour) in (None, "none", "currentColor")
    styled = set(re.findall(r"\.([a-z][\w-]*)", re.sub(r"\{.*?\}|/\*.*?\*/", " ", STYLE, flags=re.DOTALL)))
    assert classes(drawing) <= styled


def test_the_colours_are_other_ones_in_the_dark():
    blocks = re.findall(r"^([^{}\n]*)\{([^}]*--seelike-across:[^}]*)\}", STYLE, re.MULTILINE)
    (_, day), (dark, night) = blocks
    assert 'data-theme="dark"' in dark
    colours = [dict(re.findall(r"(--seelike-\w+): (#\w+)", block)) for block in (day, night)]
    assert colours[0].keys() == colours[1].keys()
    assert set(re.findall(r"var\((--seelike-\w+)\)", STYLE)) == colours[0].keys()
    assert not set(colours[0].values()) & set(colours[1].values())


@each_drawing
def test_a_drawing_can_be_read_on_a_phone(drawing):
    root = parsed(drawing)
    left, top, width, _ = map(float, root.get("viewBox").split())
    assert (left, top) == (0, 0)
    sizes = re.findall(r"^\.seelike-drawing ([^{]*) \{[^}]*font-size: ([\d.]+)px", STYLE, re.MULTILINE)
    size = {selector: float(value) for selector, value in sizes}
    assert size.keys() == {"text", "a text", ".head", ".name"}
    used = {"text", *(f".{word}" for word in classes(drawing))} & size.keys()
    used = {"a text"} if any(root.iter("a")) else used
    assert min(size[selector] for selector in used) * PHONE / width >= 9


def test_no_two_things_of_the_page_have_one_name():
    found = [element.get("id") for drawing in DRAWINGS for element in parsed(drawing).iter()]
    found = [name for name in found if name]
    assert len(found) == len(set(found))


@each_drawing
def test_what_is_used_twice_is_in_the_drawing(drawing):
    root = parsed(drawing)
    own = {f"#{element.get('id')}" for element in root.iter()}
    assert {element.get("href") for element in root.iter("use")} <= own


@pytest.mark.parametrize(("drawing", "network"), [("vit", "tiny/vit_7x7"), ("resnet", "tiny/resnet")])
def test_the_inside_of_a_block_has_every_place_that_the_library_reads(drawing, network):
    there = {layer.name for layer in layers(models.load(network)) if layer.block == 1}
    assert names(ROOT / f"book/story_{drawing}_block.svg") == there | {"embedding"}


@pytest.mark.parametrize(
    ("drawing", "network"),
    [
        ("cnn_stages", "tiny/resnet"),
        ("vit_patches", "tiny/vit_7x7"),
        ("vit_blocks", "tiny/vit_7x7"),
        ("vit_view", "tiny/vit_7x7"),
    ],
)
def test_other_drawings_name_places_as_the_library_does(drawing, network):
    found = names(ROOT / f"book/story_{drawing}.svg")
    assert found
    assert found <= {layer.name for layer in layers(models.load(network))}


def test_the_cnn_is_drawn_with_the_stages_of_the_tiny_resnet():
    found = layers(models.load("tiny/resnet"), kinds=["embedding", "block"])
    assert names(ROOT / "book/story_cnn_stages.svg") == {layer.name for layer in found} | {"final norm"}
    columns = {}
    for text in parsed(ROOT / "book/story_cnn_stages.svg").iter("text"):
        if text.text.startswith("block"):
            columns.setdefault(float(text.get("x")), set()).add(text.text)
    stages = {}
    for layer in found:
        if layer.kind == "block":
            stages.setdefault(layer.stage, set()).add(layer.name)
    assert [columns[x] for x in sorted(columns)] == [stages[stage] for stage in sorted(stages)]


def test_every_link_leads_to_a_page():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = {chapter["file"] for part in contents["parts"] for chapter in part["chapters"]}
    assert "book/story" in listed
    assert links()
    for link in links():
        target = (PAGE.parent / link).resolve().relative_to(ROOT).with_suffix("")
        made = [target.with_suffix(suffix) for suffix in (".md", ".ipynb")]
        # The scoreboard is written when the book is made.
        assert any((ROOT / path).exists() for path in made) or target.as_posix() in listed, link


def test_every_link_of_the_chain_leads_to_the_section_that_it_names():
    chain = parsed(ROOT / "book/story_chain.svg")
    for link in chain.iter("a"):
        section = next(text.text for text in link.iter("text") if text.get("class") == "link")
        assert link.get("href").startswith(f"../notebooks/{section.removeprefix('Section '):0>2}_")
    # One paragraph for each box, by the same numbers.
    boxes = sorted(next(link.iter("text")).text[0] for link in chain.iter("a"))
    assert boxes == re.findall(r"^(\d)\. \*\*", TEXT, re.MULTILINE) == list("123456")


def test_the_story_has_no_number_of_a_result():
    assert numbers_without_source(TEXT) == []
    for drawing in DRAWINGS:
        assert not any(re.search(r"\d\.\d|%", text.text) for text in parsed(drawing).iter("text"))


def test_the_first_page_leads_to_the_story():
    assert "Begin with [the story](story.md)" in (ROOT / "book/intro.md").read_text()


def test_section_9_comes_back_to_every_link_with_claims_that_there_are():
    cells = nbformat.read(ROOT / "notebooks/09_discussion.ipynb", as_version=4).cells
    (source,) = [cell.source for cell in cells if cell.source.startswith("CHAIN = ")]
    chain = ast.literal_eval(source.removeprefix("CHAIN = "))
    told = re.findall(r"^(\d\. )\*\*(.+?)\.\*\*", TEXT, re.MULTILINE)
    assert list(chain) == [number + link for number, link in told]
    assert {name for ids in chain.values() for name in ids.split()} <= CLAIMS.keys()
