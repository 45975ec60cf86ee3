"""Networks by name, from files, and their own preprocessing."""

import copy
import hashlib
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from seelike.errors import UnknownName
from seelike.models import (
    available,
    layers,
    load,
    loading,
    preprocessing,
    read,
    training_record,
    training_records,
    weights_source,
)
from seelike.models.tiny import PIXEL_MEAN, PIXEL_STD, TINY, build

SMALL = {"img_size": 32, "in_chans": 1, "num_classes": 7}


@pytest.fixture(scope="module")
def small_vit():
    torch.manual_seed(3)
    return timm.create_model("test_vit", **SMALL).eval()


def write(path, model, metadata=None):
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path, metadata)
    return str(path)


def same_scores(first, second, side=32):
    images = torch.randn(2, 1, side, side)
    with torch.no_grad():
        return torch.equal(first(images), second(images))


@pytest.mark.parametrize("name", TINY)
def test_tiny_networks_are_loaded_from_float16(name, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "CHECKPOINTS", tmp_path)
    torch.manual_seed(1)
    trained = build(name).half()
    write(tmp_path / f"{name}.safetensors", trained)
    model = load(f"tiny/{name}")
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert same_scores(model, trained.float().eval(), side=28)


def test_tiny_without_weights_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "CHECKPOINTS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"python -m seelike.train vit_7x7.*'tiny/vit_7x7:random'"):
        load("tiny/vit_7x7")


def test_random_weights_are_the_same_every_time():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second = load("tiny/vit_7x7:random"), load("tiny/vit_7x7:random")
    assert torch.equal(torch.get_rng_state(), state)
    assert same_scores(first, second, side=28)
    tagged = load("resnet18.a1_in1k:random")
    assert torch.equal(tagged.conv1.weight, load("resnet18:random").conv1.weight)


@pytest.mark.parametrize("name", ["resnet50", "convnext_atto", "cait_xxs24_224", "dm_nfnet_f0", "resmlp_12_224"])
def test_every_branch_of_an_untrained_network_acts(name):
    """LayerScale and the last norms of branches begin at, or near, zero: such a network hands its input on."""
    factor = re.compile(r"gamma|gain|bn3|\bls\d")
    found = [
        float(parameter.detach().abs().mean())
        for name, parameter in load(f"{name}:random").named_parameters()
        if factor.search(name) and not name.endswith("bias")
    ]
    assert found
    assert min(found) > 0.1


def test_what_training_found_near_zero_stays():
    model = timm.create_model("vit_tiny_patch16_224", init_values=1e-5)
    torch.nn.init.uniform_(model.blocks[0].ls1.gamma, -1e-3, 1e-3)
    kept = model.blocks[0].ls1.gamma.detach().clone()
    assert torch.equal(loading.with_branches(model).blocks[0].ls1.gamma, kept)


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("tiny/vit_7x8", "'tiny/vit_7x7'"),
        ("vit_base_pach16_224", "'vit_base_patch16_224'"),
        ("resnet18.a1_in2k", "'resnet18.a1_in1k'"),
        ("resnet1888:random", "'resnet18"),
        ("tiny/resnett:random", "'tiny/resnet'"),
    ],
)
def test_unknown_names_name_the_near_ones(given, near):
    with pytest.raises(UnknownName, match=f"Did you mean.*{near}"):
        load(given)


OLD = "vit_tiny_patch16_224_in21k"


@pytest.mark.filterwarnings("ignore:Mapping deprecated model name")
def test_names_that_timm_has_given_up_are_taken_as_timm_takes_them(tmp_path):
    of_timm = timm.create_model(OLD)
    assert of_timm.num_classes == 21843
    with pytest.warns(UserWarning, match=f"timm calls '{OLD}' 'vit_tiny_patch16_224.augreg_in21k' today"):
        model = load(f"{OLD}:random")
    assert model.pretrained_cfg == of_timm.pretrained_cfg
    path = write(tmp_path / "a.safetensors", of_timm)
    with pytest.warns(UserWarning, match="today"):
        model = load(f"{OLD}@{path}:32px")
    assert torch.equal(model.head.weight, of_timm.head.weight)
    # Of two, timm names weights that it does not have itself.
    with pytest.warns(UserWarning, match="today"), pytest.raises(UnknownName, match=r"patch16_224\.sam_in1k"):
        load("vit_base_patch16_224_sam")


def test_available_lists_what_has_weights():
    assert available("tiny/*") == [f"tiny/{name}" for name in TINY]
    assert "resnet18.a1_in1k" in available("resnet18*")
    assert available("nothing*") == []


def test_an_architecture_without_pretrained_weights():
    with pytest.raises(RuntimeError, match=r"no pretrained weights for 'vit_base_resnet26d_224'.*:random"):
        load("vit_base_resnet26d_224")


def test_file_that_states_its_architecture(small_vit, tmp_path):
    metadata = {"architecture": "test_vit", "architecture_kwargs": json.dumps(SMALL)}
    model = load(write(tmp_path / "a.safetensors", small_vit, metadata))
    assert same_scores(model, small_vit)
    assert preprocessing(model)(Image.new("RGB", (50, 40))).shape == (1, 32, 32)


def test_file_with_a_config_beside_it(small_vit, tmp_path):
    config = {"architecture": "test_vit", "num_classes": 7, "model_args": {"img_size": 32, "in_chans": 1}}
    config["pretrained_cfg"] = {"input_size": [1, 32, 32], "mean": [0.25], "std": [0.5], "classifier": "head"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = load(write(tmp_path / "model.safetensors", small_vit))
    assert same_scores(model, small_vit)
    # 0.25 is the mean, so a black image is (0 - 0.25) / 0.5 everywhere.
    black = preprocessing(model)(Image.new("L", (32, 32)))
    torch.testing.assert_close(black, torch.full((1, 32, 32), -0.5))


def test_architecture_before_the_path(tmp_path):
    fine_tuned = timm.create_model("test_vit", num_classes=3).eval()
    path = write(tmp_path / "b.safetensors", fine_tuned)
    model = load(f"test_vit@{path}")
    assert model.num_classes == 3
    assert torch.equal(model.head.weight, fine_tuned.head.weight)
    with pytest.raises(ValueError, match=r"does not say its architecture.*'architecture@"):
        load(path)
    with pytest.raises(UnknownName, match="'test_vit'"):
        load(f"test_vitt@{path}")


def test_where_weights_came_from(small_vit, tmp_path):
    tiny = weights_source(load("tiny/mixer"))
    assert tiny == weights_source(load("tiny/mixer"))
    assert (tiny.file, tiny.repository, tiny.revision) == ("seelike/checkpoints/mixer.safetensors", None, None)
    path = write(
        tmp_path / "h.safetensors",
        small_vit,
        {"architecture": "test_vit", "architecture_kwargs": json.dumps(SMALL)},
    )
    model = load(path)
    assert weights_source(model).file == path
    assert weights_source(model).sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    # A copy may be changed.
    assert weights_source(copy.deepcopy(model)) is None
    assert weights_source(load("tiny/mixer:random")) is None


def test_file_of_a_tiny_architecture(tmp_path):
    model = build("tiny/mixer").eval()
    path = write(tmp_path / "c.safetensors", model, {"architecture": "tiny/mixer"})
    assert same_scores(load(path), model, side=28)


def test_tensors_that_do_not_fit_are_named(small_vit, tmp_path):
    state = {key: value.contiguous() for key, value in small_vit.state_dict().items()}
    del state["norm.weight"]
    state["other"] = torch.zeros(1)
    state["pos_embed"] = torch.zeros(1, 2, 64)
    metadata = {"architecture": "test_vit", "architecture_kwargs": json.dumps(SMALL)}
    save_file(state, tmp_path / "d.safetensors", metadata)
    with pytest.raises(ValueError, match="do not fit 'test_vit'") as caught:
        load(str(tmp_path / "d.safetensors"))
    message = str(caught.value)
    assert "1 missing (norm.weight)" in message
    assert "1 not of this architecture (other)" in message
    assert "pos_embed [1, 2, 64], expected [1, 5, 64]" in message


def test_damaged_and_missing_files(small_vit, tmp_path):
    path = tmp_path / "e.safetensors"
    write(path, small_vit)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load(str(path))
    with pytest.raises(FileNotFoundError, match=r"There is no file .*absent\.safetensors"):
        load("absent.safetensors")


def test_arguments_that_do_not_build_are_told(small_vit, tmp_path):
    wrong = {"architecture": "test_vit", "architecture_kwargs": '{"depht": 2}'}
    with pytest.raises(ValueError, match=r"does not build 'test_vit'.*depht"):
        load(write(tmp_path / "f.safetensors", small_vit, wrong))
    wrong["architecture_kwargs"] = "{"
    with pytest.raises(ValueError, match="is not right JSON"):
        load(write(tmp_path / "f.safetensors", small_vit, wrong))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a local pickle was opened",))


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".pth"])
def test_pickles_are_never_opened(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    for name in (str(path), f"test_vit@{path}"):
        with pytest.raises(ValueError, match=r"not a safetensors file.*Convert"):
            load(name)


def test_a_file_cannot_make_timm_open_a_pickle(small_vit, tmp_path):
    bomb = tmp_path / "bomb.pt"
    bomb.write_bytes(pickle.dumps(Bomb()))
    arguments = {**SMALL, "pretrained": True, "checkpoint_path": str(bomb)}
    metadata = {"architecture": "test_vit", "architecture_kwargs": json.dumps(arguments)}
    assert same_scores(load(write(tmp_path / "g.safetensors", small_vit, metadata)), small_vit)


def test_a_28_pixel_image_passes_unresized():
    prepare = preprocessing(load("tiny/vit_7x7:random"))
    levels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    expected = (levels.astype(np.float64) / 255 - PIXEL_MEAN) / PIXEL_STD
    # float32 rounding of values up to 2.
    np.testing.assert_allclose(prepare(Image.fromarray(levels)).numpy()[0], expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B", "I"])
@pytest.mark.parametrize(("name", "channels"), [("tiny/mixer:random", 1), ("test_resnet:random", 3)])
def test_every_mode_becomes_the_networks(mode, name, channels):
    prepare = pickle.loads(pickle.dumps(preprocessing(load(name))))
    tensor = prepare(Image.new(mode, (60, 40)))
    assert tensor.shape[0] == channels
    assert tensor.dtype == torch.float32


def test_transparency_is_laid_on_white():
    prepare = preprocessing(load("test_resnet:random"))
    clear = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    torch.testing.assert_close(prepare(clear), prepare(Image.new("RGB", (40, 40), "white")))
    palette = Image.new("P", (40, 40), 0)
    palette.info["transparency"] = 0
    torch.testing.assert_close(prepare(palette), prepare(Image.new("RGB", (40, 40), "white")))


def test_16_bits_are_scaled_not_clipped():
    prepare = preprocessing(load("tiny/mixer:random"))
    deep = Image.fromarray(np.full((28, 28), 128 * 257, dtype=np.uint16))
    torch.testing.assert_close(prepare(deep), prepare(Image.new("L", (28, 28), 128)))
    with pytest.raises(ValueError, match="floating-point pixels"):
        prepare(Image.new("F", (28, 28)))


def test_networks_of_other_channels_are_refused():
    with pytest.raises(ValueError, match="5 channels; expected 1"):
        preprocessing(timm.create_model("test_resnet", in_chans=5))


def test_preprocessing_feeds_the_network():
    model = load("test_resnet:random")
    image = preprocessing(model)(Image.new("L", (300, 200), 40))
    assert read(model, layers(model)[:1], image[None])["embedding"].shape[0] == 1


def test_accuracy_is_told_of_the_tiny_networks_as_they_were_trained():
    for record in training_records():
        binomial = (record.accuracy * (1 - record.accuracy) / record.test_images) ** 0.5
        assert record.standard_error == pytest.approx(binomial, rel=1e-6)
        model = build(record.name)
        assert record.parameters == sum(p.numel() for p in model.parameters())
        epochs = record.configuration.get("after_epochs", record.configuration["epochs"])
        assert (record.curve[-1]["epoch"] if record.curve else 0) == pytest.approx(epochs, abs=0.05 * epochs)
    for name in ("tiny/resnet:random", "resnet", "resnet18", "tiny/none"):
        assert training_record(name) is None
