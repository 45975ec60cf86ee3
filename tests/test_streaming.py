"""Measurements over image sets: any batch size, out of memory, stopped and resumed."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seelike import data
from seelike.models import load, preprocessing
from seelike.streaming import HalvingBatch, Images, Saved, accumulate, fingerprint
from seelike.streaming.moments import Moments


@pytest.fixture
def model():
    return nn.Conv2d(1, 1, 3).eval()


IMAGES = torch.arange(10.0)[:, None, None, None].expand(10, 1, 3, 3).contiguous()


class Brightness:
    """Measures the mean of each image, and notes which images it was shown."""

    def __init__(self, stop_at=None):
        self.seen = []
        self.stop_at = stop_at

    def __call__(self, batch, first):
        if self.stop_at is not None and first >= self.stop_at:
            raise KeyboardInterrupt
        self.seen += range(first, first + len(batch))
        moments = Moments()
        moments.update(batch.mean(dim=(1, 2, 3)))
        return {"brightness": moments}


def brightness(model, images=IMAGES, measure=None, **options):
    into = {"brightness": Moments()}
    options = {"batch_size": 4, "what": "brightness", **options}
    return accumulate(model, images, measure or Brightness(), into, **options)["brightness"]


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_the_result_does_not_depend_on_the_batch_size(model, batch_size):
    result = brightness(model, batch_size=batch_size)
    assert result.count == 10
    assert float(result.mean) == pytest.approx(4.5, abs=1e-12)


def test_gradients_only_when_asked(model):
    grads = []

    def measure(batch, first):
        grads.append(model(batch).requires_grad)
        return Brightness()(batch, first)

    brightness(model, measure=measure, batch_size=10)
    brightness(model, measure=measure, batch_size=10, gradients=True)
    assert grads == [False, True]


def test_an_image_set_is_prepared_as_the_network_asks():
    model = load("tiny/vit_7x7")
    images = data.load("fashion-mnist/test").sample(5, seed=0)
    expected = torch.stack([preprocessing(model)(image) for image in images])
    torch.testing.assert_close(Images(images, model)[1:4], expected[1:4], rtol=0, atol=0)


def test_images_take_the_dtype_of_the_network(model):
    assert Images(IMAGES, model.double())[:2].dtype == torch.float64


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("full"), "of the CPU"])
def test_out_of_memory_halves_the_batch_and_says_so_once(model, error):
    measure = Brightness()

    def forward(batch, first):
        if len(batch) > 2:
            if isinstance(error, Exception):
                raise error
            torch.empty(10**15)
        return measure(batch, first)

    with pytest.warns(RuntimeWarning, match="Out of memory") as warned:
        result = brightness(model, measure=forward, batch_size=8)
    assert len(warned) == 1
    assert result.count == 10
    assert measure.seen == list(range(10))


def test_a_single_image_out_of_memory_is_an_error(model):
    def forward(batch, first):
        raise torch.cuda.OutOfMemoryError("full")

    with pytest.warns(RuntimeWarning, match="Out of memory"), pytest.raises(torch.cuda.OutOfMemoryError):
        brightness(model, measure=forward)


def test_other_errors_are_not_taken_for_memory():
    with pytest.raises(RuntimeError, match="else"), HalvingBatch(8).or_half():
        raise RuntimeError("something else")


def test_a_stopped_call_goes_on_where_it_was(model, tmp_path):
    first, second, third = Brightness(stop_at=8), Brightness(), Brightness()
    with pytest.raises(KeyboardInterrupt):
        brightness(model, measure=first, cache=tmp_path)
    result = brightness(model, measure=second, cache=tmp_path)
    assert (first.seen, second.seen) == (list(range(8)), [8, 9])
    assert (result.count, float(result.mean)) == (10, 4.5)
    again = brightness(model, measure=third, cache=tmp_path)
    assert third.seen == []
    assert float(again.standard_error) == float(result.standard_error)


def test_stopped_amid_a_merge_nothing_counts_twice(model, tmp_path):
    stops = Moments()

    def merge(other):
        if stops.count == 4:
            raise KeyboardInterrupt
        Moments.merge(stops, other)

    stops.merge = merge

    def measure(batch, first):
        part = Brightness()(batch, first)["brightness"]
        return {"a": part, "b": part}

    options = {"batch_size": 2, "what": "two", "cache": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        accumulate(model, IMAGES, measure, {"a": Moments(), "b": stops}, **options)
    result = accumulate(model, IMAGES, measure, {"a": Moments(), "b": Moments()}, **options)
    assert (result["a"].count, result["b"].count, float(result["a"].mean)) == (10, 10, 4.5)


def test_other_weights_images_or_settings_begin_anew(model, tmp_path):
    brightness(model, cache=tmp_path)
    others = [
        {"model": nn.Conv2d(1, 1, 3).eval()},
        {"images": IMAGES + 1},
        {"settings": "twice as bright"},
        {"what": "darkness"},
    ]
    for other in others:
        measure = Brightness()
        brightness(**{"model": model, "cache": tmp_path, "measure": measure, **other})
        assert len(measure.seen) == 10, other


def test_a_broken_state_begins_anew_and_says_so(model, tmp_path):
    brightness(model, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.warns(RuntimeWarning, match="cannot be read"):
        assert brightness(model, cache=tmp_path).count == 10


def test_saving_leaves_the_last_state_when_it_fails(tmp_path):
    saved = Saved(tmp_path / "new" / "folder", "test", "key")
    saved.save({"done": 1})
    with pytest.raises(Exception, match="pickle"):
        saved.save({"done": lambda: 2})
    assert saved.load() == {"done": 1}
    assert len(list(saved.file.parent.iterdir())) == 1


def test_fingerprints_tell_contents_apart(tmp_path):
    model = nn.BatchNorm2d(2)
    parts = [torch.zeros(2), torch.zeros(2, dtype=torch.float64), torch.zeros(1, 2), np.ones(2), "a", model]
    prints = {fingerprint(part) for part in parts} | {fingerprint("ab", "c"), fingerprint("a", "bc")}
    assert len(prints) == len(parts) + 2
    before = fingerprint(model)
    model.running_mean += 1
    assert fingerprint(model) != before


def test_files_count_by_what_is_in_them(tmp_path):
    for name in "ab":
        Image.new("L", (28, 28)).save(tmp_path / f"{name}.png")
    model = load("tiny/vit_7x7")
    before = Images(data.load(tmp_path), model).fingerprint()
    assert Images(data.load(tmp_path), model).fingerprint() == before
    Image.new("L", (30, 28), color=200).save(tmp_path / "b.png")
    assert Images(data.load(tmp_path), model).fingerprint() != before


def test_what_cannot_be_measured_is_refused(model):
    with pytest.raises(ValueError, match="training mode"):
        brightness(model.train())
    model.eval()
    with pytest.raises(TypeError, match="expected an ImageSet"):
        Images([1, 2], model)
    with pytest.raises(ValueError, match=r"shape \[3, 3\]"):
        brightness(model, images=torch.zeros(3, 3))
    with pytest.raises(ValueError, match="empty"):
        brightness(model, images=IMAGES[:0])
    with pytest.raises(ValueError, match="forward batch is 0"):
        brightness(model, batch_size=0)
