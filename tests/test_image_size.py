"""Networks for images of another size than that of their weights."""

import json

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from seelike.errors import UnknownName
from seelike.models import layers, load, preprocessing, read, weights_source
from seelike.models.image_size import resized
from seelike.models.measurable import input_size

SMALL = {"depth": 2, "embed_dim": 24, "num_heads": 2}
WINDOWED = {"depths": (1, 1), "embed_dim": 12, "num_heads": (1, 2)}
# Architecture, arguments that make it small, a size, and whether timm.create_model with img_size gives the same.
FAMILIES = {
    "vit": ("vit_tiny_patch16_224", SMALL, (96, 160), True),
    "dinov2, registers": ("vit_small_patch14_reg4_dinov2", SMALL | {"img_size": 70}, (42, 56), True),
    "deit, distilled": ("deit_tiny_distilled_patch16_224", SMALL, (160, 160), True),
    "dinov3": ("vit_small_patch16_dinov3", SMALL, (96, 128), True),
    "eva02": ("eva02_tiny_patch14_224", SMALL, (112, 112), True),
    "beit": ("beit_base_patch16_224", SMALL, (96, 96), True),
    # timm.create_model keeps the windows of 7; set_input_size keeps their share of the image.
    "swin": ("swin_tiny_patch4_window7_224", WINDOWED, (192, 192), False),
    "swinv2": ("swinv2_tiny_window8_256", WINDOWED, (192, 192), True),
    "xcit": ("xcit_nano_12_p16_224", {"depth": 1, "embed_dim": 32, "num_heads": 2}, (96, 128), True),
    "resnet": ("resnet10t", {}, (65, 97), False),
    "convnext": ("convnext_atto", {}, (64, 96), False),
    "efficientnet": ("mobilenetv3_small_050", {}, (100, 90), False),
}


def write(path, model, metadata=None):
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path, metadata)
    return str(path)


def stated(architecture, arguments=None, **more):
    return {"architecture": architecture, "architecture_kwargs": json.dumps(arguments or {}), **more}


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(3)
    return timm.create_model("test_vit").eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_stay_and_positions_are_resampled_as_by_timm(name, tmp_path):
    architecture, arguments, size, as_created = FAMILIES[name]
    torch.manual_seed(5)
    own = timm.create_model(architecture, **arguments).eval()
    path = write(tmp_path / "a.safetensors", own, stated(architecture, arguments))
    model = load(path, image_size=size)
    assert input_size(model) == (3, *size)
    image = preprocessing(model)(Image.new("RGB", (300, 200), "teal"))
    assert image.shape == (3, *size)
    assert read(model, layers(model)[:1], image[None])
    before = own.state_dict()
    for key, value in model.named_parameters():
        assert torch.equal(value, before[key]) or "pos" in key, key
    if as_created:
        overlay = {"file": path, "custom_load": False}
        of_timm = {**arguments, "img_size": size, "pretrained": True, "pretrained_cfg_overlay": overlay}
        expected = timm.create_model(architecture, **of_timm).eval()
        with torch.no_grad():
            images = torch.randn(2, 3, *size)
            torch.testing.assert_close(model(images), expected(images), rtol=1e-5, atol=1e-5)


FIXED = {
    "mixer": ("mixer_s32_224", {}, "size mismatch", 192),
    "crossvit": ("crossvit_tiny_240", {}, "size mismatch", 192),
    "levit": ("levit_128s", {}, "size mismatch", 192),
    "hiera": ("hiera_tiny_224", {"embed_dim": 16, "stages": (1, 1, 1, 1)}, "size mismatch", 192),
    "not a multiple": ("vit_tiny_patch16_224", SMALL, "height has to be a multiple of 16", 200),
    # 28, 14 and 7 rows, of which the last stage would read 6.
    "nor the last stage": ("convnext_atto", {}, "height has to be a multiple of 32", 112),
}


@pytest.mark.parametrize("name", FIXED)
def test_networks_whose_size_cannot_be_changed_say_so(name, tmp_path):
    architecture, arguments, said, side = FIXED[name]
    own = timm.create_model(architecture, **arguments)
    path = write(tmp_path / "a.safetensors", own, stated(architecture, arguments))
    with pytest.raises(ValueError, match=rf"reads images of .* cannot read {side} x {side}: .*{said}"):
        load(path, image_size=side)


def test_as_many_patches_in_another_shape_are_resampled_too(vit, tmp_path):
    path = write(tmp_path / "a.safetensors", vit)
    model = load(f"test_vit@{path}:80x320px")  # 5 x 20 patches for 10 x 10
    expected = resample_abs_pos_embed(
        vit.pos_embed, new_size=(5, 20), old_size=(10, 10), num_prefix_tokens=vit.num_prefix_tokens
    )
    assert torch.equal(model.pos_embed, expected)
    # Where timm builds anew, it cannot tell these.
    with pytest.raises(ValueError, match="only from a square to another number"):
        load("hiera_tiny_224:random:112x448px")


def test_from_images_that_are_not_square(tmp_path):
    arguments = {"img_size": (32, 128)}
    own = timm.create_model("test_vit", **arguments).eval()
    path = write(tmp_path / "a.safetensors", own, stated("test_vit", arguments))
    expected = resample_abs_pos_embed(own.pos_embed, new_size=(4, 4), old_size=(2, 8))
    assert torch.equal(load(path, image_size=64).pos_embed, expected)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("test_vit:random:32px", (32, 32)),
        ("test_vit:32px:random", (32, 32)),
        ("test_vit.r160_in1k:random:32x48px", (32, 48)),
        ("test_vit:random", (160, 160)),
        ("test_resnet:random:70x50px", (70, 50)),
        ("tiny/resnet:random:20px", (20, 20)),
    ],
)
def test_the_size_within_a_name(name, size):
    model = load(name)
    assert input_size(model)[1:] == size
    assert preprocessing(model)(Image.new("L", (99, 77))).shape[1:] == size
    model(torch.zeros(1, *input_size(model)))


def test_the_size_as_an_argument():
    assert input_size(load("test_vit:random", image_size=32)) == (3, 32, 32)
    assert input_size(load("test_vit:random:32px", image_size=(32, 32))) == (3, 32, 32)
    same = load("test_vit:random", image_size=160)
    assert torch.equal(same.pos_embed, load("test_vit:random").pos_embed)


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("test_vit:random:32px", 48, "two sizes"),
        ("test_vit:random:32px:48px", None, "two sizes"),
        ("test_vit:random:0px", None, "expected a whole number of pixels"),
        ("test_vit:random", -4, "expected a whole number of pixels"),
    ],
)
def test_sizes_that_are_none(name, size, said):
    with pytest.raises(ValueError, match=said):
        load(name, image_size=size)


@pytest.mark.parametrize(
    "name", ["test_vit:32", "test_vit:32x48", "test_vit:px", "test_vit:32px@weights.safetensors"]
)
def test_what_is_not_written_as_a_size_is_told_how(name):
    with pytest.raises((UnknownName, FileNotFoundError), match=r"as ':224px'|There is no file"):
        load(name)


def test_tiny_networks_at_another_size():
    own, model = load("tiny/vit_7x7"), load("tiny/vit_7x7:56px")
    assert input_size(model) == (1, 56, 56)
    expected = resample_abs_pos_embed(own.pos_embed, new_size=(14, 14), old_size=(7, 7))
    assert torch.equal(model.pos_embed, expected)
    assert weights_source(model) == weights_source(own)
    others = {key: value for key, value in own.state_dict().items() if key != "pos_embed"}
    assert all(torch.equal(model.state_dict()[key], value) for key, value in others.items())
    assert torch.equal(load("tiny/resnet:56px").head.fc.weight, load("tiny/resnet").head.fc.weight)
    with pytest.raises(ValueError, match=r"MlpMixer .* reads images of 28 x 28 .* cannot read 56 x 56"):
        load("tiny/mixer:56px")


@pytest.mark.parametrize(("written", "size"), [("96", (96, 96)), ("[64, 96]", (64, 96))])
def test_the_size_in_a_files_metadata(written, size, vit, tmp_path):
    path = write(tmp_path / "a.safetensors", vit, stated("test_vit", image_size=written))
    model = load(path)
    assert input_size(model) == (3, *size)
    assert torch.equal(model.blocks[0].attn.qkv.weight, vit.blocks[0].attn.qkv.weight)
    assert input_size(load(path, image_size=48)) == (3, 48, 48)
    assert input_size(load(f"test_vit@{path}")) == (3, *size)


@pytest.mark.parametrize("written", ["96px", "true", "[96, 96, 3]", "[96.5, 96]"])
def test_a_size_in_the_metadata_that_is_none(written, vit, tmp_path):
    path = write(tmp_path / "a.safetensors", vit, stated("test_vit", image_size=written))
    with pytest.raises(ValueError, match=r"in the metadata of .* expected a whole number"):
        load(path)


def test_weights_that_were_trained_at_the_size_stay_as_they_are(tmp_path):
    trained = timm.create_model("test_vit", img_size=96).eval()
    images = torch.randn(2, 3, 96, 96)
    path = write(tmp_path / "a.safetensors", trained)
    write(tmp_path / "b.safetensors", trained, stated("test_vit", image_size="96"))
    for model in (load(f"test_vit@{path}:96px"), load(str(tmp_path / "b.safetensors"))):
        with torch.no_grad():
            assert torch.equal(model(images), trained(images))
    with pytest.raises(ValueError, match=r"do not fit .*pos_embed \[1, 37, 64\], expected \[1, 101, 64\]"):
        load(f"test_vit@{path}")


def test_the_size_in_a_config_beside_the_file(tmp_path):
    trained = timm.create_model("test_vit", img_size=96).eval()
    config = {"architecture": "test_vit", "pretrained_cfg": {"input_size": [3, 96, 96], "classifier": "head"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    path = write(tmp_path / "model.safetensors", trained)
    assert input_size(load(path)) == (3, 96, 96)
    assert torch.equal(load(path).pos_embed, trained.pos_embed)
    convolutional = timm.create_model("test_resnet").eval()
    (tmp_path / "config.json").write_text(json.dumps(config | {"architecture": "test_resnet"}))
    write(tmp_path / "model.safetensors", convolutional)
    assert preprocessing(load(path))(Image.new("L", (300, 200))).shape == (3, 96, 96)
    assert input_size(load(path, image_size=64)) == (3, 64, 64)


def test_another_number_of_classes_and_channels_stay(tmp_path):
    arguments = {"in_chans": 1, "depth": 1}
    own = timm.create_model("eva02_tiny_patch14_224", num_classes=7, **arguments).eval()
    path = write(tmp_path / "a.safetensors", own, stated("eva02_tiny_patch14_224", arguments))
    model = load(path, image_size=112)
    assert input_size(model) == (1, 112, 112)
    assert torch.equal(model.head.weight, own.head.weight)
    assert torch.equal(model.patch_embed.proj.weight, own.patch_embed.proj.weight)


def test_built_anew_where_a_class_has_no_other_way(tmp_path, monkeypatch):
    """The way for a class without `set_input_size`."""
    name = "eva02_tiny_patch14_224"
    own = timm.create_model(name, num_classes=7, in_chans=1, **SMALL).eval()
    path = write(tmp_path / "a.safetensors", own, stated(name, SMALL | {"in_chans": 1}))
    expected, images = load(path, image_size=112), torch.randn(2, 1, 112, 112)
    monkeypatch.delattr(type(own), "set_input_size")
    model = load(path, image_size=112)
    with torch.no_grad():
        assert torch.equal(model(images), expected(images))
    # What the file names is not opened.
    bomb = {"pretrained_cfg_overlay": {"file": "bomb.pt"}, "pretrained": True, "checkpoint_path": "bomb.pt"}
    bomb["pretrained_cfg"] = {"source": "hf-hub", "hf_hub_id": "nobody/bomb", "classifier": "head"}
    path = write(tmp_path / "b.safetensors", own, stated(name, SMALL | {"in_chans": 1} | bomb))
    with torch.no_grad():
        assert torch.equal(load(path, image_size=112)(images), expected(images))


def test_the_own_size_changes_nothing():
    model = timm.create_model("vit_so400m_patch14_siglip_384", depth=1)  # 384 is no multiple of 14
    assert resized(model, (384, 384)) is model
