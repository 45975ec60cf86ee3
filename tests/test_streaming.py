"""Measurements over image sets: any batch size, out of memory, stopped and resumed."""

import logging
import subprocess
import sys
import threading
import time
from contextlib import closing, nullcontext
from decimal import Decimal
from functools import partial, wraps

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.overrides import TorchFunctionMode

from seelike import data
from seelike.models import load, preprocessing, with_precision
from seelike.streaming import HalvingBatch, Images, Saved, accumulate, fingerprint
from seelike.streaming.memory import LiveBytes
from seelike.streaming.moments import Moments
from seelike.streaming.saved import hung_on


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


# --- the reader ----------------------------------------------------------------------------------------------


def folder_of(tmp_path, number, broken=()):
    """A folder of small photographs of many sizes and kinds, some of which break after they were listed."""
    random = np.random.default_rng(0)
    for i in range(number):
        sides = random.integers(20, 60, 2)
        pixels = Image.fromarray(random.integers(0, 256, (*sides, 3), dtype=np.uint8))
        pixels.convert("L" if i % 4 == 1 else "RGB").save(tmp_path / f"{i:03}.{'png' if i % 2 else 'jpg'}")
    images = data.load(tmp_path)
    for i in broken:
        images.stored[i].write_bytes(b"no image")
    return images


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("seelike images")]


@pytest.mark.parametrize("name", ["resnet18:random", "tiny/vit_7x7", "test_vit:random"])
def test_images_are_to_the_last_bit_what_the_preprocessing_gives(name, tmp_path):
    model, images = load(name), folder_of(tmp_path, 9)
    expected = torch.stack([preprocessing(model)(image) for image in images])
    parts = [slice(0, 4), slice(4, 5), slice(5, 9)]
    assert torch.equal(torch.cat(list(Images(images, model).batches(parts))), expected)
    chosen = np.array([7, 0, 7, 3])
    assert torch.equal(Images(images, model, chosen)[1:], expected[chosen[1:]])


def test_a_preprocessing_that_ends_in_another_way_is_followed_too(tmp_path, monkeypatch):
    model, images = load("resnet18:random"), folder_of(tmp_path, 5)
    monkeypatch.setattr("seelike.streaming.images._LAST_STEPS", ["other"])
    expected = torch.stack([preprocessing(model)(image) for image in images])
    assert torch.equal(Images(images, model)[:], expected)


def test_each_image_is_decoded_once_and_one_batch_ahead_at_most(monkeypatch):
    model = load("tiny/vit_7x7")
    images = data.load("fashion-mnist/test").sample(40, seed=0)
    decoded, lock, decode = [], threading.Lock(), type(images).__getitem__

    def counted(self, i):
        with lock:
            decoded.append(int(i))
        return decode(self, i)

    monkeypatch.setattr(type(images), "__getitem__", counted)
    parts = [slice(start, start + 10) for start in range(0, 40, 10)]
    with closing(Images(images, model).batches(parts)) as batches:
        for number, _ in enumerate(batches):
            time.sleep(0.1)
            assert set(range(10 * number + 10)) <= set(decoded) <= set(range(10 * number + 20))
    assert sorted(decoded) == list(range(40))


def test_a_batch_that_is_halved_is_not_decoded_again(monkeypatch):
    model, measure = load("tiny/vit_7x7"), Brightness()
    images = data.load("fashion-mnist/test").sample(20, seed=0)
    decoded, decode = [], type(images).__getitem__

    def counted(self, i):
        decoded.append(int(i))
        return decode(self, i)

    def two_fit(batch, first):
        batch.mul_(2)  # writes into what it got
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError
        return measure(batch / 2, first)

    monkeypatch.setattr(type(images), "__getitem__", counted)
    with pytest.warns(RuntimeWarning, match="Out of memory"):
        result = brightness(model, images, measure=two_fit, batch_size=8)
    assert sorted(decoded) == list(range(20))
    assert measure.seen == list(range(20))
    assert float(result.mean) == pytest.approx(float(brightness(model, images).mean), rel=1e-6)


def test_the_first_image_that_cannot_be_decoded_is_named(tmp_path):
    images = folder_of(tmp_path, 30, broken=[23, 11, 12])
    model = load("resnet18:random")
    for parts in ([slice(0, 30)], [slice(0, 8), slice(8, 16), slice(16, 30)]):
        with pytest.raises(ValueError, match=r"011\.png cannot be decoded"):
            list(Images(images, model).batches(parts))
        assert threads() == []


@pytest.mark.parametrize("stop", [None, ValueError, KeyboardInterrupt])
def test_no_thread_outlives_the_reader(stop):
    images = data.load("fashion-mnist/test").sample(30, seed=0)

    def measure(batch, first):
        assert threads()
        if stop is not None and first >= 10:
            raise stop
        return Brightness()(batch, first)

    with nullcontext() if stop is None else pytest.raises(stop):
        brightness(load("tiny/vit_7x7"), images, measure=measure, batch_size=5)
    assert threads() == []


def test_a_reader_that_is_dropped_half_read_leaves_no_thread():
    images = data.load("fashion-mnist/test").sample(30, seed=0)
    batches = Images(images, load("tiny/vit_7x7")).batches([slice(0, 10), slice(10, 20), slice(20, 30)])
    next(batches)
    assert threads()
    del batches
    assert threads() == []


def test_the_interpreter_ends_with_a_reader_half_read():
    code = """
from seelike import data
from seelike.models import load
from seelike.streaming import Images
images = data.load("fashion-mnist/test").sample(100, seed=0)
batches = Images(images, load("tiny/vit_7x7")).batches([slice(0, 50), slice(50, 100)])
print(len(next(batches)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert (run.stdout, run.stderr) == ("50\n", "")


def test_a_network_that_writes_into_its_images_leaves_those_of_the_caller(model):
    images = IMAGES.clone()

    def measure(batch, first):
        part = Brightness()(batch, first)
        batch.zero_()
        return part

    assert float(brightness(model, images, measure=measure).mean) == 4.5
    assert torch.equal(images, IMAGES)


def test_parts_are_measured_as_they_are_given(model, tmp_path):
    first, second = Brightness(stop_at=7), Brightness()
    parts = [slice(0, 7), slice(7, 8), slice(8, 10)]
    with pytest.raises(KeyboardInterrupt):
        brightness(model, measure=first, batch_size=parts, cache=tmp_path)
    sizes = []

    def measure(batch, start):
        sizes.append(len(batch))
        return second(batch, start)

    assert brightness(model, measure=measure, batch_size=parts, cache=tmp_path).count == 10
    assert (sizes, second.seen) == ([1, 2], [7, 8, 9])

    def out_of_memory(batch, start):
        raise torch.cuda.OutOfMemoryError

    with pytest.raises(torch.cuda.OutOfMemoryError):
        brightness(model, measure=out_of_memory, batch_size=parts)


# --- what a cache depends on ---------------------------------------------------------------------------------


class Unchanged(TorchFunctionMode):
    def __torch_function__(self, function, types, inputs=(), options=None):
        return function(*inputs, **(options or {}))


class Slots:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class Scaled(nn.Module):
    """A network with all that may be changed: a weight, buffers, settings, and what is no module."""

    offset = 0.0

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)
        self.register_buffer("lasting", torch.ones(2))
        self.register_buffer("passing", torch.ones(2), persistent=False)
        self.scale, self.fused, self.window, self.mode = 0.5, True, (7, 7), "mean"
        self.table, self.array, self.options = torch.ones(2), np.ones(2), {"shift": 3}
        self.activation, self.norm = torch.relu, partial(nn.functional.layer_norm, eps=1e-6)
        self.number, self.exact, self.slots = np.float32(1), Decimal(1), Slots(1)
        self.logger, self.lock, self.itself = logging.getLogger("test"), threading.Lock(), [self]

    def forward(self, x):
        return self.activation(self.conv(x)) * self.scale


def changes():
    def weight(model):
        with torch.no_grad():
            model.conv.weight[0, 0, 0, 0] += 1

    def of(name, value):
        def change(model):
            setattr(model, name, value)

        change.__name__ = name
        return change

    def buffer(model):
        model.passing[1] = 2

    def table(model):
        model.table[1] = 2

    def option(model):
        model.options["shift"] = 0

    def stride(model):
        model.conv.stride = (2, 2)

    def precision(model):
        with_precision(model, "mixed")

    attributes = [
        of("scale", 0.25), of("fused", False), of("window", (8, 8)), of("mode", "max"), of("array", np.zeros(2)),
        of("activation", torch.sigmoid), of("norm", partial(nn.functional.layer_norm, eps=1e-5)),
        of("lasting", torch.zeros(2)), of("number", np.float32(2)), of("exact", Decimal(2)), of("slots", Slots(2)),
    ]  # fmt: skip
    return [weight, buffer, table, option, stride, precision, *attributes]


def scaled():
    torch.manual_seed(0)
    return Scaled().eval()


@pytest.mark.parametrize("change", changes(), ids=lambda change: change.__name__)
def test_a_fingerprint_depends_on_all_that_a_network_computes_with(change):
    model = scaled()
    before = fingerprint(model)
    assert fingerprint(scaled()) == fingerprint(model) == before
    change(model)
    assert fingerprint(model) != before
    assert hung_on(model) == []


def test_a_fingerprint_depends_on_the_code_and_the_settings_of_the_class(monkeypatch):
    before = fingerprint(scaled())
    monkeypatch.setattr(Scaled, "offset", 1.0)
    assert fingerprint(scaled()) != before
    monkeypatch.undo()
    assert fingerprint(scaled()) == before
    monkeypatch.setattr(Scaled, "forward", lambda self, x: self.conv(x))
    assert fingerprint(scaled()) != before


def test_a_fingerprint_depends_on_how_pytorch_computes():
    model = scaled()
    before = fingerprint(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fingerprint(model) != before
    assert fingerprint(model) == before


def test_a_fingerprint_does_not_depend_on_what_changes_no_result():
    model = scaled()
    before = fingerprint(model)
    model(torch.zeros(1, 1, 5, 5))
    model.requires_grad_(False)
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    with_precision(with_precision(model, "mixed"), "float32")
    model.logger.isEnabledFor(logging.INFO)
    assert fingerprint(model) == before


@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "test_resnet", "swin_tiny_patch4_window7_224", "convnext_atto", "mixer_s32_224"],
)
def test_a_network_has_one_fingerprint_also_after_it_was_used_and_nothing_hangs_on_it(name):
    model, again = load(f"{name}:random"), load(f"{name}:random")
    before = fingerprint(model)
    with torch.no_grad():
        model(torch.zeros(1, 3, 224, 224) if name != "test_resnet" else torch.zeros(1, 3, 160, 160))
    assert fingerprint(model) == fingerprint(again) == before
    assert hung_on(model) == []


def hangings():
    def hook(model):
        return model.conv.register_forward_hook(lambda *_: None).remove

    def hook_before(model):
        return model.conv.register_forward_pre_hook(lambda *_: None).remove

    def hook_of_gradient(model):
        return model.conv.register_full_backward_hook(lambda *_: None).remove

    def hook_of_all(model):
        return nn.modules.module.register_module_forward_hook(lambda *_: None).remove

    def forward(model):
        model.conv.forward = lambda x: 0 * x
        return partial(delattr, model.conv, "forward")

    def forward_around_ours(model):
        ours = with_precision(model, "mixed").forward
        model.forward = wraps(ours)(lambda x: 0 * ours(x))
        return partial(delattr, model, "forward")

    def forward_inside_ours(model):
        model.forward = lambda x: 0 * x
        with_precision(model, "mixed")
        return partial(delattr, model, "forward")

    def method(model):
        model.conv._conv_forward = lambda x, weight, bias: 0 * x
        return partial(delattr, model.conv, "_conv_forward")

    def mode(model):
        mode = Unchanged()
        mode.__enter__()
        return partial(mode.__exit__, None, None, None)

    def mode_of_dispatch(model):
        mode = LiveBytes([])
        mode.__enter__()
        return partial(mode.__exit__, None, None, None)

    return [
        (hook, "a hook after 'conv'"), (hook_before, "a hook before 'conv'"),
        (hook_of_gradient, "a hook after the gradient of 'conv'"), (hook_of_all, "a hook after every module"),
        (forward, "another `forward` of 'conv'"), (forward_around_ours, "another `forward` of the Scaled"),
        (forward_inside_ours, "another `forward` of the Scaled"), (method, "another `_conv_forward` of 'conv'"),
        (mode, "the mode Unchanged"), (mode_of_dispatch, "the mode LiveBytes"),
    ]  # fmt: skip


@pytest.mark.parametrize(("hang", "words"), hangings(), ids=lambda each: getattr(each, "__name__", ""))
def test_what_others_hang_on_a_network_passes_the_cache_by_with_a_warning(hang, words, tmp_path):
    model = scaled()
    brightness(model, cache=tmp_path)
    remove = hang(model)
    try:
        measure = Brightness()
        with pytest.warns(RuntimeWarning, match="The cache is passed by") as warned:
            brightness(model, cache=tmp_path, measure=measure)
    finally:
        remove()
    assert words in str(warned[0].message)
    assert len(measure.seen) == 10
    assert len(list(tmp_path.iterdir())) == 1
    measure = Brightness()
    brightness(model, cache=tmp_path, measure=measure)
    assert measure.seen == []


def test_the_size_of_the_images_is_in_the_fingerprint():
    images = data.load("fashion-mnist/test").sample(3, seed=0)
    small, large = load("tiny/vit_7x7"), load("tiny/vit_7x7")
    assert Images(images, small).fingerprint() == Images(images, large).fingerprint()
    large.pretrained_cfg = {**small.pretrained_cfg, "mean": (0.28604002,), "std": (0.35302421,)}
    large.patch_embed.img_size = (32, 32)
    assert Images(images, small).fingerprint() != Images(images, large).fingerprint()


def test_a_fingerprint_of_preparation_has_all_digits():
    images = data.load("fashion-mnist/test").sample(3, seed=0)
    one, other = load("resnet18:random"), load("resnet18:random")
    other.pretrained_cfg = {**one.pretrained_cfg, "mean": (0.4850001, 0.456, 0.406)}
    assert Images(images, one).fingerprint() != Images(images, other).fingerprint()


# --- errors --------------------------------------------------------------------------------------------------


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
