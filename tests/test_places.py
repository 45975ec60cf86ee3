"""Where the numbers of a layer are in the image: held against timm's own maps, and against what pixels do."""

import re

import foreign
import pytest
import timm
import torch
from torch import nn

from seelike.models import family, layers, places, read, residuals


def as_map(place, activation):
    """The spatial tokens as [b, channels, rows, columns]."""
    tokens = place.tokens(activation)[:, len(place.prefix) :]
    return tokens.transpose(1, 2).unflatten(2, place.require_grid())


@pytest.mark.parametrize("name", foreign.NETWORKS)
def test_blocks_are_the_maps_that_timm_gives(name):
    model, images = foreign.network(name), foreign.images(name)
    if not hasattr(model, "forward_intermediates"):
        pytest.skip("timm has no maps of it")
    with torch.no_grad():
        theirs = model.forward_intermediates(images, output_fmt="NCHW", intermediates_only=True, norm=False)
    names = [path for path, _ in model.named_modules() if re.fullmatch(r"(blocks|stages|layers)\.\d+", path)]
    found = layers(model, [*names, *(layer.name for layer in layers(model))])
    where = places(model, found, images)
    ours = [as_map(where[name], x) for name, x in read(model, found, images).items() if where[name].grid]
    # Not all that timm gives is the output of one module; what is, must be there.
    same = [any(a.shape == b.shape and torch.allclose(a, b, atol=1e-5) for a in ours) for b in theirs]
    assert sum(same) >= min(2, len(same)), f"{sum(same)} of {len(same)}"


@pytest.mark.parametrize("name", foreign.NETWORKS)
def test_a_sum_is_skip_plus_branch(name):
    model, images = foreign.network(name), foreign.images(name)
    found = residuals(model)
    assert found
    wanted = {layer.name: layer for each in found for layer in (*each.operands, each.output)}
    activations = read(model, list(wanted.values()), images)
    for each in found:
        skip, branch = (activations[layer.name] for layer in each.operands)
        assert skip.shape == branch.shape
        assert branch.abs().max() > 0, each.name
        expected = skip + branch
        if each.activation:
            expected = getattr(torch.ops.aten, each.activation)(expected)
        torch.testing.assert_close(
            activations[each.output.name].reshape(expected.shape), expected, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("name", ["ViT", "Swin", "Hiera", "ConvNeXt"])
def test_a_place_answers_to_its_own_pixels(name):
    """Of a network that mixes little, a change of the pixels of one place changes that place most."""
    model, images = foreign.network(name), foreign.images(name, 2)
    first = next(layer for layer in layers(model) if layer.kind == "embedding")
    place = places(model, [first], images)[first.name]
    rows, columns = place.require_grid()
    height, width = place.patch_size
    row, column = rows // 2, columns // 3
    changed = images.clone()
    top, left = int(row * height), int(column * width)
    changed[:, :, top : top + int(height), left : left + int(width)] += 3
    before, after = (as_map(place, read(model, [first], x)[first.name]) for x in (images, changed))
    apart = (after - before).abs().sum(dim=(0, 1))
    assert divmod(int(apart.argmax()), columns) == (row, column)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("ViT", ("cls",)),
        ("DINOv2 with registers", ("cls", *["register"] * 4)),
        ("registers, no CLS", ("register",) * 4),
        ("DeiT, distilled", ("cls", "distillation")),
        ("Mixer", ()),
        ("Hiera", ()),
    ],
)
def test_tokens_without_a_place_have_names(name, prefix):
    model = foreign.network(name)
    blocks = layers(model, kinds=["block"])
    assert places(model, blocks, foreign.images(name))[blocks[-1].name].prefix == prefix


def test_prefix_is_decided_layer_by_layer():
    """CaiT's CLS token comes in after its blocks."""
    model = foreign.network("CaiT, talking heads")
    where = places(model, layers(model), foreign.images("CaiT, talking heads"))
    assert where["block 1"].prefix == ()
    assert where["final norm"].prefix == ("cls",)


def test_grids_need_not_be_square():
    model = foreign.network("ViT, patches of 32 x 8")
    place = places(model, layers(model, ["block 1"]), foreign.images("ViT"))["block 1"]
    assert (place.grid, place.patch_size) == ((2, 8), (32.0, 8.0))
    dynamic = timm.create_model("test_vit", img_size=64, dynamic_img_size=True).eval()
    place = places(dynamic, layers(dynamic, ["block 1"]), torch.zeros(1, 3, 96, 64))["block 1"]
    assert (place.grid, place.patch_size) == ((6, 4), (16.0, 16.0))


def test_a_single_place_stands_for_the_whole_image():
    model = foreign.network("LeViT")
    last = layers(model, kinds=["block"])[-1]
    place = places(model, [last], foreign.images("LeViT"))[last.name]
    assert (place.grid, place.patch_size) == ((1, 1), (64.0, 64.0))


def test_channels_may_come_last():
    model = foreign.network("Swin")
    place = places(model, layers(model, ["block 1"]), foreign.images("Swin"))["block 1"]
    assert (place.kind, place.channels, place.grid) == ("map", 3, (14, 14))
    assert place.index(2, 5) == (slice(None), 2, 5, slice(None))


def test_what_is_no_map_is_refused():
    model = foreign.network("Mixer")
    hidden = layers(model, kinds=["hidden"])
    place = places(model, hidden, foreign.images("Mixer"))[hidden[0].name]
    with pytest.raises(ValueError, match=r"block 1/token mixing hidden.*many places at once"):
        place.require_grid()
    heads = places(model, layers(model, ["head"]), foreign.images("Mixer"))["head"]
    assert heads.kind == "vector"
    with pytest.raises(ValueError, match="no places"):
        heads.require_grid()


class Shuffled(nn.Module):
    """Tokens in the order of columns, with a parameter token at the end."""

    def __init__(self):
        super().__init__()
        self.pretrained_cfg = {"input_size": (3, 32, 24)}
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 8))
        self.mlp = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8))

    def forward(self, x):
        x = self.patches(x).transpose(2, 3).flatten(2).transpose(1, 2)
        x = torch.cat((x, self.cls_token.expand(len(x), -1, -1)), dim=1)
        return (x + self.mlp(x)).mean(dim=1)


def test_tokens_of_any_order_come_row_by_row():
    model = Shuffled().eval()
    block = layers(model, kinds=["block"])[0]
    images = torch.randn(2, 3, 32, 24)
    place = places(model, [block], images)[block.name]
    assert (place.grid, place.prefix, place.patch_size) == ((4, 3), ("cls",), (8.0, 8.0))
    embedded = model.patches(images)
    expected = embedded + model.mlp(embedded.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(as_map(place, read(model, [block], images)[block.name]), expected)


def test_families():
    families = {name: family(foreign.network(name)) for name in foreign.NETWORKS}
    by_family = {kind: [name for name in families if families[name] == kind] for kind in set(families.values())}
    assert by_family == {
        "vit": [
            "ViT",
            "ViT, patches of 32 x 8",
            "DINOv2 with registers",
            "registers, no CLS",
            "DINOv3, rotary",
            "EVA-02, rotary, SwiGLU",
            "BEiT, relative bias",
            "DeiT, distilled",
            "SigLIP, pooled by attention",
            "CaiT, talking heads",
        ],
        "mixer": ["ResMLP", "gMLP", "Mixer"],
        "other": ["Swin", "Hiera", "PVT", "LeViT"],
        "cnn": ["ConvNeXt", "EfficientNet", "RegNet", "NFNet", "MambaOut, channels last"],
        "resnet": ["BiT"],
    }


def test_unfolded_patches_are_where_they_were_cut_out():
    class Unfolds(nn.Module):
        def __init__(self):
            super().__init__()
            self.cut, self.linear = nn.Unfold((4, 2), stride=(4, 2)), nn.Linear(24, 5)
            self.pretrained_cfg = {"input_size": (3, 12, 8)}

        def forward(self, x):
            return self.linear(self.cut(x).mT)

    model, images = Unfolds().eval(), torch.randn(1, 3, 12, 8)
    layer = layers(model, ["linear"])[0]
    place = places(model, [layer], images)["linear"]
    assert (place.grid, place.patch_size) == ((3, 4), (4, 2))
    changed = images.clone()
    changed[:, :, 4:8, 6:] += 1
    apart = (
        (read(model, [layer], changed)["linear"] - read(model, [layer], images)["linear"]).abs().sum(dim=(0, 2))
    )
    assert apart.nonzero().flatten().tolist() == [1 * 4 + 3]
