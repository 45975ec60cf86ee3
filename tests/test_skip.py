"""Skip ratios against float64 references, and inside networks against activations computed apart."""

import foreign
import numpy as np
import pytest
import references_tokens
import timm
import torch
from calls import calls_of
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.mlp_mixer import MlpMixer
from timm.models.resnetv2 import ResNetV2
from torch import nn

from seelike.models import layers, read, residuals
from seelike.skip import SkipRatio, skip_ratios

NAMES = ("mean_ratio", "ratio_of_means", "cosine_with_branch", "cosine_with_output")


def skip_and_branch(n=9, t=5, d=7, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    skip, noise = torch.randn(2, n, t, d, generator=generator, dtype=torch.float64)
    scale = 1 + torch.rand(n, t, 1, generator=generator, dtype=torch.float64)
    return (2 * skip * scale).to(dtype), (noise - 0.3 * skip).to(dtype)


def measured(skip, branch, prefix=0):
    ratios = SkipRatio(prefix)
    ratios.update(skip, branch)
    return ratios.compute()


def assert_estimates(estimates, expected, tolerance):
    for name in NAMES:
        value, error = expected[name]
        np.testing.assert_allclose(getattr(estimates, name), value, rtol=tolerance, atol=tolerance)
        # An error is a difference of values that are right to the tolerance.
        np.testing.assert_allclose(getattr(estimates, f"{name}_error"), error, rtol=tolerance, atol=tolerance)


def assert_same(one, other, tolerance=1e-12):
    for estimates, others in ((one.tokens, other.tokens), (one.spatial, other.spatial)):
        for name, value in vars(estimates).items():
            torch.testing.assert_close(value, vars(others)[name], rtol=tolerance, atol=tolerance, equal_nan=True)
    assert one.images == other.images
    assert {k: v.tolist() for k, v in one.left_out.items()} == {k: v.tolist() for k, v in other.left_out.items()}


# --- against the reference -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 1e-6), (torch.float16, 1e-6)],
)
@pytest.mark.parametrize(
    ("n", "t", "d", "prefix"), [(2, 1, 1, 0), (9, 5, 7, 2), (3, 197, 768, 1), (700, 3, 65, 1)]
)
def test_error_by_dtype(n, t, d, prefix, dtype, tolerance):
    skip, branch = skip_and_branch(n, t, d, dtype=dtype)
    result = measured(skip, branch, prefix)
    # The reference sees the very numbers that the library sees.
    x, y = skip.double().numpy(), branch.double().numpy()
    assert_estimates(result.tokens, references_tokens.skip_statistics(x, y), tolerance)
    assert_estimates(result.spatial, references_tokens.spatial_statistics(x, y, prefix), tolerance)


def test_skip_and_branch_of_different_dtypes():
    # Under autocast the stream is float32 and the branch is not.
    skip, branch = skip_and_branch()
    branch = branch.bfloat16()
    expected = references_tokens.skip_statistics(skip.double().numpy(), branch.double().numpy())
    assert_estimates(measured(skip, branch).tokens, expected, 1e-6)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(torch.float16, 4000.0), (torch.float16, 1e-4), (torch.bfloat16, 1e30), (torch.bfloat16, 1e-30),
     (torch.float32, 1e30), (torch.float32, 1e-30), (torch.float64, 1e120)],
)  # fmt: skip
def test_large_and_small_numbers_neither_overflow_nor_vanish(dtype, scale):
    skip, branch = skip_and_branch(dtype=torch.float64)
    skip, branch = (skip * scale).to(dtype), (branch * scale).to(dtype)
    expected = references_tokens.skip_statistics(skip.double().numpy() / scale, branch.double().numpy() / scale)
    result = measured(skip, branch)
    assert_estimates(result.tokens, expected, 1e-6)


def test_a_branch_that_takes_nearly_all_of_the_skip_away():
    skip, noise = skip_and_branch(d=50)
    branch = -skip + 1e-4 * noise
    expected = references_tokens.skip_statistics(skip.double().numpy(), branch.double().numpy())
    # From the products of skip and branch alone, the cosine with the output would have no right digit.
    result = measured(skip, branch).tokens.cosine_with_output
    np.testing.assert_allclose(result, expected["cosine_with_output"][0], atol=1e-9)


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_a_common_scale_changes_nothing(scale, seed):
    skip, branch = skip_and_branch(12, 3, 4, seed=seed, dtype=torch.float64)
    assert_same(measured(scale * skip, scale * branch, 1), measured(skip, branch, 1), tolerance=1e-9)


# --- zeros ---------------------------------------------------------------------------------------------------


def test_zero_branches_are_left_out_and_counted():
    skip, branch = skip_and_branch(dtype=torch.float64)
    branch[2, 1] = 0
    branch[:, 3] = 0
    result = measured(skip, branch)
    keep = np.arange(9) != 2
    expected = references_tokens.skip_statistics(skip[keep, 1:2], branch[keep, 1:2])
    for name in ("mean_ratio", "cosine_with_branch"):
        np.testing.assert_allclose(getattr(result.tokens, name)[1], expected[name][0][0])
        np.testing.assert_allclose(getattr(result.tokens, f"{name}_error")[1], expected[name][1][0])
        assert result.left_out[name].tolist() == [0, 1, 0, 9, 0]
        assert getattr(result.tokens, name).isnan().tolist() == [False, False, False, True, False]
    # The output is the skip there, and the ratio of means takes all images.
    assert result.left_out["cosine_with_output"].tolist() == [0] * 5
    assert result.tokens.cosine_with_output[3] == pytest.approx(1)
    assert result.tokens.ratio_of_means[3] == torch.inf
    norms = [np.linalg.norm(x[:, 1], axis=1).mean() for x in (skip, branch)]
    assert result.tokens.ratio_of_means[1] == pytest.approx(norms[0] / norms[1])
    # The mean over spatial tokens goes on with the tokens that have a value.
    assert torch.isfinite(result.spatial.mean_ratio)


def test_a_zero_skip_has_the_ratio_zero_and_no_cosine():
    skip, branch = skip_and_branch(dtype=torch.float32)
    skip[:, 0] = 0
    result = measured(skip, branch)
    assert result.tokens.mean_ratio[0] == 0
    assert result.tokens.cosine_with_output.isnan().tolist() == [True] + 4 * [False]
    assert result.left_out["mean_ratio"].tolist() == [0] * 5
    assert result.left_out["cosine_with_branch"].tolist() == [9, 0, 0, 0, 0]


def test_zeros_in_some_parts_of_a_merge():
    skip, branch = skip_and_branch(dtype=torch.float64)
    branch[:4, 1] = 0
    merged = SkipRatio()
    for part in (slice(0, 4), slice(4, 9)):
        merged.update(skip[part], branch[part])
    assert_same(merged.compute(), measured(skip, branch))


def test_one_image_has_no_standard_error():
    result = measured(*skip_and_branch(n=1))
    assert result.tokens.mean_ratio_error.isnan().all()
    assert result.tokens.ratio_of_means_error.isnan().all()
    assert torch.isfinite(result.tokens.mean_ratio).all()


def test_standard_errors_are_those_of_repetition():
    generator = torch.Generator().manual_seed(3)
    values = []
    for _ in range(300):
        skip = 1 + torch.rand(40, 1, 2, generator=generator, dtype=torch.float64)
        values.append(measured(skip, skip.flip(2) * torch.rand(40, 1, 1, generator=generator).double() + 1).tokens)
    for name in NAMES:
        spread = torch.stack([getattr(value, name) for value in values]).std()
        told = torch.stack([getattr(value, f"{name}_error") for value in values]).mean()
        assert told == pytest.approx(float(spread), rel=0.15)


# --- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_nan_and_infinity_are_refused_and_change_nothing(bad, dtype):
    skip, branch = skip_and_branch(dtype=dtype)
    ratios = SkipRatio()
    ratios.update(skip, branch)
    branch = branch.clone()
    branch[1, 2, 3] = bad
    with pytest.raises(ValueError, match="NaN, infinite or huge"):
        ratios.update(skip, branch)
    assert ratios.images == 9


def test_errors_say_what_to_do():
    skip, branch = skip_and_branch()
    with pytest.raises(ValueError, match=r"shape \[9, 5, 7\] and a branch of shape \[9, 4, 7\].*shortcut"):
        SkipRatio().update(skip, branch[:, :4])
    with pytest.raises(ValueError, match="5 tokens, of which 5 are CLS or registers"):
        SkipRatio(5).update(skip, branch)
    with pytest.raises(ValueError, match="num_prefix_tokens is -1"):
        SkipRatio(-1)
    with pytest.raises(RuntimeError, match="call update"):
        SkipRatio().compute()
    with pytest.raises(ValueError, match="no CLS token"):
        _ = measured(skip, branch).cls
    ratios = SkipRatio()
    ratios.update(skip, branch)
    with pytest.raises(ValueError, match="got 4 tokens, but 5 tokens before"):
        ratios.update(skip[:, :4], branch[:, :4])


# --- inside networks -----------------------------------------------------------------------------------------


def prepared(model):
    torch.manual_seed(0)
    for parameter in model.parameters():
        # Nothing that starts at zero or one stays there.
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


MODELS = {
    "vit": lambda: prepared(timm.create_model("test_vit", img_size=32)),
    "registers": lambda: prepared(timm.create_model("test_vit4", img_size=32)),
    "mixer": lambda: prepared(MlpMixer(img_size=32, num_blocks=2, embed_dim=32)),
    "resnetv2": lambda: prepared(ResNetV2(layers=[1, 2], channels=(128, 256), stem_chs=32)),
    "resnet": lambda: prepared(timm.create_model("resnet10t")),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture(scope="module")
def pictures(model):
    return torch.randn(7, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def hooks(model):
    return [
        hook
        for module in model.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]


@pytest.mark.filterwarnings("ignore:Skip or branch is exactly zero")
def test_networks_against_copies_of_all_activations(model, pictures):
    copies = read(model, layers(model), pictures)
    results = skip_ratios(model, pictures, batch_size=3)
    prefix = getattr(model, "num_prefix_tokens", 0)
    assert list(results) == [residual.name for residual in residuals(model)]
    for residual in residuals(model):
        both = (copies[layer.name].double() for layer in (residual.skip, residual.branch))
        skip, branch = (x.flatten(2).mT if x.ndim == 4 else x for x in both)
        result = results[residual.name]
        assert_same(result, measured(skip, branch, prefix), tolerance=1e-5)
        assert (result.images, result.num_prefix_tokens) == (7, prefix)
        if getattr(model, "cls_token", None) is not None:
            assert result.cls.mean_ratio == result.tokens.mean_ratio[0]
    assert hooks(model) == []


@pytest.mark.filterwarnings("ignore:Skip or branch is exactly zero")
def test_the_forward_batch_does_not_matter(model, pictures):
    whole, single = skip_ratios(model, pictures, batch_size=7), skip_ratios(model, pictures, batch_size=1)
    for name, result in whole.items():
        assert_same(result, single[name], tolerance=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_networks_of_16_bits(dtype):
    model = MODELS["vit"]().to(dtype)
    images = torch.randn(4, 3, 32, 32)
    copies = read(model, layers(model), images)
    for residual in residuals(model):
        expected = measured(copies[residual.skip.name].double(), copies[residual.branch.name].double(), 1)
        assert_same(skip_ratios(model, images)[residual.name], expected, tolerance=1e-5)


def test_dead_branches_are_named():
    model = MODELS["vit"]()
    nn.init.zeros_(model.blocks[1].mlp.fc2.weight)
    nn.init.zeros_(model.blocks[1].mlp.fc2.bias)
    with pytest.warns(RuntimeWarning, match="exactly zero for some tokens of some images at 'block 2/mlp'"):
        results = skip_ratios(model, torch.randn(2, 3, 32, 32))
    assert results["block 2/mlp"].tokens.mean_ratio.isnan().all()


def test_what_a_hook_changes_is_measured_as_it_is_added():
    model, images = MODELS["vit"](), torch.randn(2, 3, 32, 32)
    before = skip_ratios(model, images)["block 2/mlp"]
    model.blocks[1].mlp.register_forward_hook(lambda module, inputs, output: 2 * output)
    after = skip_ratios(model, images)["block 2/mlp"]
    torch.testing.assert_close(2 * after.tokens.mean_ratio, before.tokens.mean_ratio)


def test_a_register_is_not_taken_for_cls():
    results = skip_ratios(foreign.network("registers, no CLS"), foreign.images("registers, no CLS"))
    assert results["block 1/mlp"].num_prefix_tokens == 4
    with pytest.raises(ValueError, match="only registers and spatial tokens"):
        _ = results["block 1/mlp"].cls


def test_blocks_that_run_several_times_count_as_often():
    model = MODELS["vit"]()
    model.blocks[1] = model.blocks[0]
    images = torch.randn(3, 3, 32, 32)
    assert len(skip_ratios(model, images)) == len(residuals(model)) == 2 * len(model.blocks)
    blocks = layers(model, kinds=["block"])
    steps = model.forward_intermediates(images, indices=2, output_fmt="NLC", intermediates_only=True, norm=False)
    assert len(blocks) == len(model.blocks)
    activations = read(model, blocks, images)
    torch.testing.assert_close(activations["block 6"][:, model.num_prefix_tokens :], steps[-1])


def test_training_mode_and_unknown_architectures_are_refused():
    model = MODELS["vit"]()
    with pytest.raises(ValueError, match="training mode"):
        skip_ratios(model.train(), torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="Sequential has no residual connections"):
        skip_ratios(nn.Sequential(nn.Conv2d(3, 3, 1)).eval(), torch.zeros(1, 3, 8, 8))


def test_a_stopped_call_goes_on(tmp_path, monkeypatch):
    model = MODELS["vit"]()
    images = torch.randn(6, 3, 32, 32)
    residuals(model)  # Finding them runs the network, too.
    seen = calls_of(model.blocks[5], monkeypatch, stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        skip_ratios(model, images, batch_size=2, cache=tmp_path)
    results = skip_ratios(model, images, batch_size=2, cache=tmp_path)
    assert len(seen) == 4
    for name, result in skip_ratios(model, images).items():
        assert_same(results[name], result, tolerance=1e-4)


def test_nothing_is_copied(monkeypatch):
    model = MODELS["vit"]()
    residuals(model)
    copies = []
    monkeypatch.setattr(torch.Tensor, "clone", lambda self, *args, **kwargs: copies.append(self))
    skip_ratios(model, torch.randn(2, 3, 32, 32))
    assert copies == []
