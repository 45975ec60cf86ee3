"""The photographs that may be shown, and the table of whose they are."""

import hashlib
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import seelike
from seelike import data, models
from seelike.data.photographs import credit_line, sources
from seelike.models.measurable import input_size

FOLDER = Path(seelike.__file__).parent / "photographs"
TABLE = tomllib.loads((FOLDER / "sources.toml").read_text())
# All let a photograph be changed and handed on, in a package of another licence, if its author is named.
ALLOWED = {"public domain", "CC0 1.0", "CC BY 1.0", "CC BY 2.0", "CC BY 4.0"}

each = pytest.mark.parametrize("photograph", sources(), ids=lambda photograph: photograph.file.stem)


def test_every_file_is_in_the_table_and_every_entry_has_its_file():
    files = [path for path in sorted(FOLDER.iterdir()) if path.name not in ("LICENSE", "sources.toml")]
    assert files == [photograph.file for photograph in sources()]
    assert 8 <= len(files) <= 16


def test_they_are_small_enough_to_be_in_the_package():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000


@each
def test_a_file_is_the_one_that_was_looked_at(photograph):
    assert hashlib.sha256(photograph.file.read_bytes()).hexdigest() == photograph.sha256


@each
def test_a_photograph_is_large_enough_for_a_network_and_has_nothing_but_its_pixels(photograph):
    with Image.open(photograph.file) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert min(image.size) >= 256
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert np.asarray(Image.open(photograph.file)).std() > 30


@each
def test_its_licence_allows_to_show_it(photograph):
    assert photograph.licence in ALLOWED
    assert photograph.licence_address.startswith("https://creativecommons.org/")
    for text in (photograph.shows, photograph.author, photograph.package, photograph.path, photograph.stated_in):
        assert text == text.strip() != ""
    assert photograph.origin is None or photograph.origin.startswith("https://")


def test_the_table_names_the_licences_that_are_used_and_no_others():
    assert set(TABLE["licences"]) == {photograph.licence for photograph in sources()}


def test_they_load_without_a_network_in_the_order_of_the_table(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a connection is opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    images = data.load("photographs")
    assert (images.labels, images.class_names) == (None, None)
    assert len(images) == len(sources())
    for image, photograph in zip(images, sources(), strict=True):
        with Image.open(photograph.file) as stored:
            assert (np.asarray(image) == np.asarray(stored)).all()


def test_pages_name_the_authors():
    for photograph in sources():
        assert photograph.author in data.load("photographs").note
    first, second = sources()[5:7]
    assert credit_line([first, second, first]).count(first.author) == 1


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224:random", "resnet18:random", "tiny/vit_7x7"])
def test_networks_take_them(name):
    model = models.load(name)
    prepare = models.preprocessing(model)
    batch = np.stack([prepare(image).numpy() for image in data.load("photographs")])
    assert batch.shape == (len(sources()), *input_size(model))
    assert np.isfinite(batch).all()
    # No two are alike, and none has gone grey.
    assert np.ptp(batch, axis=(1, 2, 3)).min() > 1
    assert len({array.tobytes() for array in batch}) == len(batch)
