"""Receptive fields against differences in float64 and a loop over channels; their error bars by repetition."""

import copy
from functools import partial

import numpy as np
import pytest
import references_receptive_field as references
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from timm.layers import GroupNormAct
from timm.models.mlp_mixer import MlpMixer
from timm.models.resnet import BasicBlock, ResNet
from timm.models.resnetv2 import ResNetV2
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from seelike.data import load as load_images
from seelike.errors import UnknownName
from seelike.models import Layer, layers, load, residuals
from seelike.receptive_field import (
    ReceptiveField,
    balanced_channels,
    centre_mass,
    effective_receptive_field,
    radius,
)

few_examples = settings(max_examples=25, deadline=None)
DRAWS = 300


def vit(size=(12, 12), **arguments):
    return VisionTransformer(
        img_size=size, patch_size=4, embed_dim=8, depth=2, num_heads=2, num_classes=3, **arguments
    )


def resnetv2(size=None):
    # Smooth, so that differences are exact; two stages, so that one shortcut is a convolution.
    norm = partial(GroupNormAct, num_groups=1, act_layer=nn.GELU)
    return ResNetV2(layers=[2, 1], channels=[8, 16], num_classes=3, stem_chs=4, norm_layer=norm, act_layer=nn.GELU)


def resnet(size=None):
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3, channels=(4, 8, 8, 8), stem_width=4)


# Network, size of the images, and how many tokens come before those of the grid.
NETWORKS = {
    "vit, odd grid": (vit, (12, 12), 1),
    "vit, even grid, not square": (partial(vit, size=(16, 8)), (16, 8), 1),
    "vit with registers": (partial(vit, reg_tokens=3), (12, 12), 4),
    "vit with pooling": (partial(vit, class_token=False, global_pool="avg", fc_norm=False), (12, 12), 0),
    "vit with layer scale": (partial(vit, init_values=0.3), (12, 12), 1),
    "mixer": (partial(MlpMixer, img_size=12, patch_size=4, embed_dim=8, num_blocks=2), (12, 12), 0),
    "resnetv2": (resnetv2, (12, 20), None),
    "resnet": (resnet, (20, 12), None),
}


def build(name, seed=0):
    make, size, prefix = NETWORKS[name]
    torch.manual_seed(seed)
    model = make().eval().double()
    for parameter in model.parameters():
        # What starts at zero (norms of ResNet branches, CLS token) would hide errors.
        parameter.data += 0.1 * torch.randn_like(parameter)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 1.5)
    images = torch.randn(3, 3, *size, dtype=torch.float64)
    model.pretrained_cfg = {"input_size": (3, *size)}
    return model, images, prefix


def on_a_grid(model):
    names = [layer for layer in layers(model) if layer.kind in ("embedding", "residual", "block", "mlp hidden")]
    return [layer for layer in names if layer.kind != "mlp hidden" or layer.block == 1]


def flat_largest_error(found, expected):
    return float(np.abs(found.numpy() - expected).max() / np.abs(expected).max())


# --- against the references ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_fields_are_those_of_differences_in_float64(name):
    model, images, prefix = build(name)
    images = images[:2]
    asked = on_a_grid(model)
    fields = effective_receptive_field(model, asked, images)
    assert list(fields.after) == list(fields.grids) == [layer.name for layer in asked]
    additions = {each.output.name: each for each in residuals(model)}
    assert list(fields.before) == [name for name in fields.after if name in additions]
    grids = {layer: fields.grids[layer.name] for layer in asked}
    grids |= {additions[name].branch: fields.grids[name] for name in fields.before}
    expected = references.fields_by_differences(
        model, [(layer, prefix, grid) for layer, grid in grids.items()], images
    )
    # Differences with steps of 1e-6 leave 1e-8 of rounding; a ReLU or max pool may lie within a step.
    for name, found in fields.after.items():
        assert flat_largest_error(found, expected[name]) < 1e-6, name
    for name, found in fields.before.items():
        assert flat_largest_error(found, expected[additions[name].branch.name]) < 1e-6, name


@pytest.mark.parametrize("name", ["vit with registers", "mixer", "resnetv2", "resnet"])
def test_fields_are_those_of_a_backward_pass_for_each_channel(name):
    model, images, prefix = build(name)
    last = residuals(model)[-1]
    fields = effective_receptive_field(model, on_a_grid(model), images)
    grid = fields.grids[last.output.name]
    for layer, found in ((last.output, fields.after), (last.branch, fields.before)):
        expected = references.field_by_loop(model, layer, images, prefix, grid)
        assert flat_largest_error(found[last.output.name], expected) < 1e-12


@pytest.mark.parametrize("name", ["vit, odd grid", "mixer", "resnetv2", "resnet"])
@pytest.mark.parametrize("rows", [1, 5, 32, 100])
def test_fields_of_one_layer_do_not_depend_on_the_others_nor_on_the_batch(name, rows):
    # Alone, the output is differentiated; with the others it is a sum along the residual stream.
    model, images, _ = build(name)
    together = effective_receptive_field(model, on_a_grid(model), images)
    for layer in on_a_grid(model)[-2:]:
        alone = effective_receptive_field(model, [layer], images, batch_size=rows)
        torch.testing.assert_close(alone.after[layer.name], together.after[layer.name], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(alone.before[layer.name], together.before[layer.name], rtol=1e-9, atol=1e-12)


# The blocks of a ResNet are its additions: there the fields after them are sums of those before.
@pytest.mark.parametrize(("name", "share"), [("vit, odd grid", 0.5), ("resnet", 1)])
def test_without_branches_fewer_passes_give_the_same(name, share, monkeypatch):
    model, images, _ = build(name)
    blocks = [layer for layer in on_a_grid(model) if layer.kind == "block"]
    passes, grad = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given, **more: passes.append(1) or grad(*given, **more))
    both = effective_receptive_field(model, blocks, images)
    number = len(passes)
    after = effective_receptive_field(model, blocks, images, before=False)
    assert len(passes) - number <= share * number
    assert after.before == {}
    for block in blocks:
        torch.testing.assert_close(after.after[block.name], both.after[block.name], rtol=1e-9, atol=1e-12)


def test_one_row_at_a_time_gives_the_field_that_many_give():
    # Tokens of a BatchNorm's map: PyTorch differentiates them wrongly on a CPU where there is a single image.
    class AsTokens(nn.Module):
        def forward(self, x):
            return x.flatten(2).transpose(1, 2)

    model = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.BatchNorm2d(6), AsTokens(), nn.GELU()).double()
    nn.init.normal_(model[1].running_mean)
    nn.init.uniform_(model[1].running_var, 0.5, 2)
    model.eval().pretrained_cfg = {"input_size": (3, 12, 12)}
    images, last = torch.randn(1, 3, 12, 12, dtype=torch.float64), layers(model, ["3"])
    one, many = (effective_receptive_field(model, last, images, batch_size=rows).after["3"] for rows in (1, 5))
    torch.testing.assert_close(one, many, rtol=1e-12, atol=1e-15)


# What 16 bits leave: 2^-8 and 2^-11 for each rounding on the way down.
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2), (torch.float16, 1e-2)]
)
@pytest.mark.parametrize("name", ["vit, odd grid", "mixer", "resnetv2"])
def test_error_by_dtype(name, dtype, tolerance):
    model, images, _ = build(name)
    model, images = model.to(dtype), images.to(dtype)
    found = effective_receptive_field(model, on_a_grid(model), images)
    exact = effective_receptive_field(copy.deepcopy(model).double(), on_a_grid(model), images.double())
    for kind in ("after", "before"):
        for name, expected in getattr(exact, kind).items():
            assert flat_largest_error(getattr(found, kind)[name], expected.numpy()) < tolerance


def test_fields_of_a_linear_network_by_hand():
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 1)).eval()
    model.pretrained_cfg = {"input_size": (2, 6, 5)}
    fields = effective_receptive_field(model, layers(model), torch.randn(4, 2, 6, 5))
    first = model[0].weight.detach().double()
    second = torch.einsum("oc,ckij->okij", model[1].weight.detach().double()[:, :, 0, 0], first)
    for name, weight in (("0", first), ("1", second)):
        expected = torch.zeros(6, 5, dtype=torch.float64)
        expected[2:5, 1:4] = weight.abs().mean(dim=(0, 1))  # around the centre, row 3 and column 2
        torch.testing.assert_close(fields.after[name], expected, rtol=1e-6, atol=1e-8)
    assert fields.grids == {"0": (6, 5), "1": (6, 5)}
    assert fields.before == {}


def test_it_is_not_the_gradient_of_the_channel_sum():
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False)).eval()
    model.pretrained_cfg = {"input_size": (1, 3, 3)}
    model[0].weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    fields = effective_receptive_field(model, layers(model), torch.randn(1, 1, 3, 3))
    assert fields.after["0"][1, 1] == 1  # the sum of the channels is zero everywhere


def test_a_network_of_the_book_with_images_of_the_package():
    model = load("tiny/vit_7x7")
    asked = layers(model, ["embedding", "block 1/after attention", "block 1"])
    fields = effective_receptive_field(model, asked, load_images("fashion-mnist").sample(3, seed=0))
    patch = fields.after["embedding"][12:16, 12:16].sum()
    assert patch == fields.after["embedding"].sum()
    assert fields.grids["block 1"] == (7, 7)
    spread = {name: radius(field, fields.grids[name]) for name, field in fields.after.items()}
    assert spread["embedding"] < spread["block 1/after attention"]
    own = {
        kind: centre_mass(getattr(fields, kind)["block 1/after attention"], (7, 7)) for kind in ("after", "before")
    }
    assert own["after"] > own["before"]


# --- figures of a field --------------------------------------------------------------------------------------


@few_examples
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    seed=st.integers(0, 10**6),
)
def test_radius_and_centre_mass_are_those_of_the_formula(height, width, rows, columns, seed):
    field = np.random.default_rng(seed).random((height, width)) ** 3
    middle = [(n // 2 + 0.5) * size / n - 0.5 for n, size in ((rows, height), (columns, width))]
    found = radius(torch.from_numpy(field), (rows, columns))
    assert found == pytest.approx(references.radius(field, middle), abs=1e-9)
    assert radius(torch.from_numpy(7 * field), (rows, columns)) == pytest.approx(found, abs=1e-9)
    # Pixels cut so small that patches share none.
    fine = np.kron(field, np.ones((rows, columns)))
    top, left = rows // 2 * height, columns // 2 * width
    share = fine[top : top + height, left : left + width].sum() / fine.sum()
    expected = share * rows * columns
    assert centre_mass(torch.from_numpy(field), (rows, columns)) == pytest.approx(expected, rel=1e-9)


def test_uniform_fields():
    uniform = torch.ones(28, 28)
    assert centre_mass(uniform, (7, 7)) == pytest.approx(1)
    assert centre_mass(uniform, (5, 3)) == pytest.approx(1)
    # Half of a disc's mass lies within 1 / sqrt(2) of its radius.
    rows, columns = torch.meshgrid(torch.arange(201.0), torch.arange(201.0), indexing="ij")
    disc = ((rows - 100).square() + (columns - 100).square() <= 100**2).float()
    assert radius(disc) == pytest.approx(100 / 2**0.5, abs=0.5)


@pytest.mark.parametrize("bad", [torch.zeros(2, 2), torch.tensor([[1.0, torch.nan]]), torch.tensor([[2.0, -1.0]])])
def test_what_is_no_field(bad):
    with pytest.raises(ValueError, match="no receptive field"):
        radius(bad)
    with pytest.raises(ValueError, match="no receptive field"):
        centre_mass(bad, (1, 1))


# --- a sample of the channels --------------------------------------------------------------------------------


@few_examples
@given(width=st.integers(1, 20), share=st.floats(0.01, 1), groups=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_channels_are_used_equally_often_and_never_twice_by_one_group(width, share, groups, seed):
    channels = max(int(share * width), 1)
    rows = balanced_channels(width, channels, groups, np.random.default_rng(seed))
    assert rows.shape == (groups, channels)
    assert all(len(set(row)) == channels for row in rows.tolist())
    uses = np.bincount(rows.reshape(-1), minlength=width)
    assert len(uses) == width
    assert uses.max() - uses.min() <= 1


@pytest.mark.parametrize(("width", "channels"), [(6, 2), (7, 3), (5, 4)])
def test_every_group_is_as_likely_to_get_any_channel(width, channels):
    draws = np.zeros((4, width))
    for seed in range(3000):
        rows = balanced_channels(width, channels, 4, np.random.default_rng(seed))
        np.add.at(draws, (np.arange(4)[:, None], rows), 1)
    spread = np.sqrt(3000 * channels / width * (1 - channels / width))
    assert np.abs(draws - 3000 * channels / width).max() < 4.5 * spread


def population(images, width, random, shared):
    """|d z_c / d x| [images, width, 2 pixels], with what channels add and what is left."""
    of_images = random.gamma(5, 1, (images, 1, 2))
    of_channels = random.gamma(1, 1, (1, width, 2))
    return of_images + shared * of_channels + random.gamma(1, 1, (images, width, 2))


def draw(magnitudes, channels, seed):
    random = np.random.default_rng(seed)
    images, width, pixels = magnitudes.shape
    order = random.permutation(images)
    measured = ReceptiveField(width)
    rows = balanced_channels(width, channels, -(-images // 2), random)
    for pair, chosen in enumerate(rows):
        some = magnitudes[order[2 * pair : 2 * pair + 2]][:, chosen]
        measured.update(torch.from_numpy(some).reshape(*some.shape[:2], 1, 1, pixels), pair)
    return measured.compute()[0].numpy(), measured.standard_error[0].numpy()


@pytest.mark.parametrize("shared", [0, 5])
@pytest.mark.parametrize(
    ("images", "width", "channels"),
    [
        (32, 64, 4),  # each pair its own channels, all of them once
        (32, 16, 4),  # several lists of channels
        (24, 60, 4),  # not all channels
        (21, 50, 7),  # an image without a partner, and a list that is not finished
    ],
)
def test_error_bars_cover_the_exact_value_as_often_as_they_say(images, width, channels, shared):
    magnitudes = population(images, width, np.random.default_rng(images), shared)
    exact = magnitudes.mean(axis=(0, 1))
    found, errors = map(np.array, zip(*(draw(magnitudes, channels, seed) for seed in range(DRAWS)), strict=True))
    spread = found.std(axis=0)
    assert np.abs(found.mean(axis=0) - exact).max() < 4.5 * spread.max() / DRAWS**0.5  # no bias
    # 300 draws know their spread to 1 / sqrt(600) = 4 %.
    np.testing.assert_allclose(np.sqrt((errors**2).mean(axis=0)) / spread, 1, atol=0.16)
    t = np.abs(found - exact) / errors
    freedom = images // 2 * (channels - 1)
    for level in (0.68, 0.95):
        covered = (t < stats.t.ppf((1 + level) / 2, freedom)).mean()
        assert covered == pytest.approx(level, abs=3.5 * (level * (1 - level) / DRAWS) ** 0.5)


@pytest.mark.parametrize(
    ("images", "width", "channels"),
    [
        (2, 5, 2),  # one pair
        (4, 4, 2),  # two pairs that share all channels
        (4, 5, 2),  # the list is not finished
    ],
)
def test_over_all_ways_to_draw_the_mean_is_exact_and_so_is_the_variance(images, width, channels):
    magnitudes = np.random.default_rng(0).random((images, width, 3))
    found, variances = [], []
    for draws in references.all_draws(magnitudes, channels):
        measured = ReceptiveField(width)
        for chosen, dealt in draws:
            some = magnitudes[list(chosen)][:, list(dealt)]
            measured.update(torch.from_numpy(some).reshape(len(chosen), channels, 1, 1, 3))
        found.append(measured.compute()[0].numpy())
        variances.append(measured.standard_error[0].numpy() ** 2)
    np.testing.assert_allclose(np.mean(found, axis=0), magnitudes.mean(axis=(0, 1)), rtol=1e-9)
    np.testing.assert_allclose(np.mean(variances, axis=0), np.var(found, axis=0), rtol=1e-9)


def test_what_does_not_depend_on_the_image_has_no_error_once_all_channels_are_drawn():
    model, _, _ = build("vit, odd grid")
    images = torch.randn(8, 3, 12, 12)
    asked = layers(model, ["embedding"])
    exact = effective_receptive_field(model, asked, images)
    sampled = effective_receptive_field(model, asked, images, channels=2)
    torch.testing.assert_close(sampled.after["embedding"], exact.after["embedding"])
    assert sampled.after_error["embedding"].max() < 1e-9 * exact.after["embedding"].max()
    assert exact.after_error["embedding"].max() == 0


@pytest.mark.parametrize("name", ["vit, even grid, not square", "mixer", "resnetv2"])
def test_samples_of_a_network_are_unbiased_and_covered(name):
    model, _, _ = build(name)
    model = model.float()
    size = NETWORKS[name][1]
    images = torch.randn(8, 3, *size, generator=torch.Generator().manual_seed(1))
    asked = residuals(model)[-1].output
    exact = effective_receptive_field(model, [asked], images, batch_size=128)
    repeats = [effective_receptive_field(model, [asked], images, 3, seed=seed) for seed in range(40)]
    for kind in ("after", "before"):
        truth = getattr(exact, kind)[asked.name]
        found = torch.stack([getattr(each, kind)[asked.name] for each in repeats])
        errors = torch.stack([getattr(each, f"{kind}_error")[asked.name] for each in repeats])
        lit = truth > truth.mean()
        bias = (found.mean(dim=0) - truth) / (found.std(dim=0) / 40**0.5)
        assert bias[lit].abs().max() < 4.5
        covered = ((found - truth).abs() < stats.t.ppf(0.975, 8) * errors)[:, lit].double().mean()
        assert 0.9 < covered < 0.98


def test_as_many_channels_as_there_are_is_exact():
    model, images, _ = build("vit, odd grid")
    asked = on_a_grid(model)
    exact = effective_receptive_field(model, asked, images)
    sampled = effective_receptive_field(model, asked, images, channels=8)
    for name, field in exact.after.items():
        if name != "block 1/mlp hidden":  # 32 channels
            torch.testing.assert_close(sampled.after[name], field)
            assert sampled.after_error[name].max() == 0
    assert sampled.after_error["block 1/mlp hidden"].max() > 0


def test_errors_of_one_channel_or_one_image():
    model, images, _ = build("vit, odd grid")
    asked = layers(model, ["block 1"])
    assert effective_receptive_field(model, asked, images, channels=1).after_error["block 1"].isnan().all()
    alone = effective_receptive_field(model, asked, images[:1], channels=4)
    assert (alone.after_error["block 1"] > 0).any()


def test_the_same_seed_draws_the_same_channels_whatever_the_batch():
    model, _, _ = build("vit, odd grid")
    images = torch.randn(7, 3, 12, 12, dtype=torch.float64)
    asked = on_a_grid(model)
    first = effective_receptive_field(model, asked, images, channels=3, seed=1)
    for rows in (1, 3, 6, 50):
        again = effective_receptive_field(model, asked, images, channels=3, seed=1, batch_size=rows)
        torch.testing.assert_close(again.after, first.after, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(again.before_error, first.before_error, rtol=1e-9, atol=1e-12)
    other = effective_receptive_field(model, asked, images, channels=3, seed=2)
    assert not torch.equal(other.after["block 1"], first.after["block 1"])


# --- accumulators --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [3, 6])
def test_a_group_of_images_can_be_left_out(channels):
    gradients = torch.randn(4, 2, channels, 3, 5, 4, dtype=torch.float64)
    measured = ReceptiveField(6)
    for pair, each in enumerate(gradients):
        measured.update(each, pair)
    assert measured.groups == [0, 1, 2, 3]
    torch.testing.assert_close(measured.compute(), gradients.abs().mean(dim=(0, 1, 2, 3)))
    torch.testing.assert_close(measured.without(3), gradients[:3].abs().mean(dim=(0, 1, 2, 3)))


def test_an_accumulator_refuses_what_does_not_fit():
    measured = ReceptiveField(6)
    with pytest.raises(RuntimeError, match="call update"):
        measured.compute()
    with pytest.raises(RuntimeError, match="call update"):
        _ = measured.standard_error
    with pytest.raises(ValueError, match="got gradients of 7 channels; the layer has 6"):
        measured.update(torch.ones(1, 7, 3, 4, 4))
    measured.update(torch.ones(1, 2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"of 3 channels for \[4, 4\] pixels, but .* 2 channels for \[4, 4\]"):
        measured.update(torch.ones(1, 3, 3, 4, 4))
    with pytest.raises(RuntimeError, match="all images are in the group"):
        measured.without(0)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    model, _, _ = build("vit, odd grid")
    images = torch.randn(16, 3, 12, 12, dtype=torch.float64)
    asked = layers(model, ["block 1"])
    fields = effective_receptive_field(model, asked, images)

    def mass(fields):
        return float(fields.after["block 1"].sum())

    # Image i is in group i % 8.
    groups = [mass(effective_receptive_field(model, asked, images[[i, i + 8]])) for i in range(8)]
    value, error = fields.jackknife(mass)
    assert value == pytest.approx(np.mean(groups))
    assert error == pytest.approx(np.std(groups, ddof=1) / 8**0.5)
    alone = effective_receptive_field(model, asked, images[:1])
    assert np.isnan(alone.jackknife(mass)[1])


# --- on a network --------------------------------------------------------------------------------------------


def all_hooks(model):
    return [
        each
        for module in model.modules()
        for each in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]


def test_the_network_is_left_as_it_was():
    model, images, _ = build("vit, odd grid")
    model.head.requires_grad_(False)
    learning = [parameter.requires_grad for parameter in model.parameters()]
    seen = []
    own = model.blocks[0].register_forward_hook(lambda *_: seen.append("own"))
    with torch.no_grad():
        effective_receptive_field(model, on_a_grid(model), images)
        assert not torch.is_grad_enabled()
    assert seen
    assert all_hooks(model) == list(model.blocks[0]._forward_hooks.values())
    own.remove()
    assert [parameter.requires_grad for parameter in model.parameters()] == learning
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not images.requires_grad


def test_the_network_is_left_as_it_was_after_an_exception(monkeypatch):
    model, images, _ = build("vit, odd grid")

    def fail(*_, **__):
        raise ArithmeticError

    monkeypatch.setattr(torch.autograd, "grad", fail)
    with pytest.raises(ArithmeticError):
        effective_receptive_field(model, on_a_grid(model), images)
    assert all_hooks(model) == []
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_inference_mode_around_it():
    model, images, _ = build("vit, odd grid")
    asked = layers(model, ["block 1"])
    expected = effective_receptive_field(model, asked, images)
    with torch.inference_mode():
        found = effective_receptive_field(model, asked, images.clone())
    assert torch.equal(found.after["block 1"], expected.after["block 1"])


def test_out_of_memory_halves_the_rows_and_goes_on(monkeypatch):
    model, images, _ = build("vit, odd grid")
    asked = on_a_grid(model)
    expected = effective_receptive_field(model, asked, images)
    grad = torch.autograd.grad

    def small(outputs, *arguments, **settings):
        if len(outputs) > 4:
            raise torch.cuda.OutOfMemoryError
        return grad(outputs, *arguments, **settings)

    monkeypatch.setattr(torch.autograd, "grad", small)
    for channels in ("all", 3):
        with pytest.warns(RuntimeWarning, match="Out of memory"):
            found = effective_receptive_field(model, asked, images, channels)
    with pytest.warns(RuntimeWarning, match="Out of memory"):
        found = effective_receptive_field(model, asked, images)
    torch.testing.assert_close(found.after, expected.after, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("channels", "passes"), [("all", 50), (3, 10)])
def test_a_call_that_was_stopped_goes_on(tmp_path, monkeypatch, channels, passes):
    model, _, _ = build("vit, odd grid")
    images = torch.randn(6, 3, 12, 12, dtype=torch.float64)
    asked = on_a_grid(model)
    expected = effective_receptive_field(model, asked, images, channels)
    grad, calls = torch.autograd.grad, []

    def stop(*arguments, **settings):
        calls.append(None)
        if len(calls) == passes:
            raise KeyboardInterrupt
        return grad(*arguments, **settings)

    def measure():
        return effective_receptive_field(model, asked, images, channels, batch_size=6, cache=tmp_path)

    monkeypatch.setattr(torch.autograd, "grad", stop)
    with pytest.raises(KeyboardInterrupt):
        measure()
    found = measure()
    calls.clear()
    torch.testing.assert_close(found.after, expected.after, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.after_error, expected.after_error, rtol=1e-9, atol=1e-12)
    measure()
    assert not calls  # all of it was there


def test_layers_that_are_not_on_a_grid():
    pooled = VisionTransformer(
        img_size=12, patch_size=4, embed_dim=8, depth=1, num_heads=2, global_pool="avg"
    ).eval()
    with pytest.raises(ValueError, match=r"Layer 'final norm' gives \[8\] for one image: a vector has no places"):
        effective_receptive_field(pooled, layers(pooled, ["final norm"]), torch.randn(2, 3, 12, 12))
    mixer, images, _ = build("mixer")
    inside = layers(mixer, ["block 1/token mixing hidden"])
    with pytest.raises(ValueError, match=r"'block 1/token mixing hidden' gives .* many places at once"):
        effective_receptive_field(mixer, inside, images)


def test_training_mode_and_compiled_networks_are_refused():
    model, images, _ = build("vit, odd grid")
    asked = layers(model, ["block 1"])
    with pytest.raises(ValueError, match="is in training mode"):
        effective_receptive_field(model.train(), asked, images)
    model.eval()
    with pytest.raises(ValueError, match="is compiled"):
        effective_receptive_field(torch.compile(model), asked, images)
    model.compile()
    with pytest.raises(ValueError, match="is compiled"):
        effective_receptive_field(model, asked, images)


def test_layers_that_say_nothing():
    model, images, _ = build("resnetv2")
    asked = layers(model, ["block 1"])
    model.stages[0].blocks[0].conv3.weight.data.zero_()
    with pytest.raises(ValueError, match="'before block 1' is zero everywhere"):
        effective_receptive_field(model, asked, images)

    class Cut(nn.Module):
        def forward(self, x):
            return x.detach()

    cut = nn.Sequential(Cut(), nn.Conv2d(3, 2, 1)).eval()
    cut.pretrained_cfg = {"input_size": (3, 4, 4)}
    with pytest.raises(ValueError, match="'after 1' is zero everywhere"):
        effective_receptive_field(cut, layers(cut, ["1"]), torch.randn(2, 3, 4, 4))
    model.stages[0].blocks[0].conv3.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="has NaN or infinite numbers"):
        effective_receptive_field(model, asked, images)


def test_wrong_arguments():
    model, images, _ = build("vit, odd grid")
    asked = layers(model, ["block 1"])
    with pytest.raises(ValueError, match=r"channels is 0; expected 'all', or"):
        effective_receptive_field(model, asked, images, 0)
    with pytest.raises(ValueError, match="layers is empty"):
        effective_receptive_field(model, [], images)
    with pytest.raises(ValueError, match="'block 1' is given twice"):
        effective_receptive_field(model, [*asked, *asked], images)
    with pytest.raises(UnknownName, match="Unknown module 'elsewhere'"):
        effective_receptive_field(model, [Layer("x", "", None, 0.0, "elsewhere")], images)
    with pytest.raises(RuntimeError, match="did not fire"):
        effective_receptive_field(model, [Layer("x", "", None, 0.0, "norm", call=1)], images)


def test_a_vit_on_images_of_another_size():
    torch.manual_seed(0)
    model = timm.create_model("test_vit", img_size=32, dynamic_img_size=True).eval()
    fields = effective_receptive_field(model, layers(model, ["block 1"]), torch.randn(1, 3, 48, 32))
    assert fields.grids["block 1"] == (3, 2)
    assert centre_mass(fields.after["block 1"], (3, 2)) > 1
