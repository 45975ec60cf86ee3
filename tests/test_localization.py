"""CKA of tokens with patches against a loop over pairs in float64, and inside networks."""

import subprocess
import sys

import numpy as np
import pytest
import references
import references_tokens
import timm
import torch
from calls import calls_of
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.resnetv2 import ResNetV2
from torch import nn

from seelike import data
from seelike.cka import cka
from seelike.jackknife import jackknife
from seelike.localization import (
    PatchGrams,
    TokenPatchCKA,
    best_patch_distance,
    mean_map,
    patches,
    token_patch_cka,
    within_one_cell,
)
from seelike.models import Layer, layers, places, read
from seelike.streaming.memory import number_of_bytes

GRID = (2, 3)


def minibatch(n=12, t=4, d=7, seed=0, colours=2, dtype=torch.float32, grid=GRID, side=2):
    """Images and tokens that share part of what they say, as in real networks."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, colours, grid[0] * side, grid[1] * side, generator=generator, dtype=torch.float64)
    mix = torch.randn(images[0].numel(), t * d, generator=generator, dtype=torch.float64)
    tokens = (images.flatten(1) @ mix / 5).relu().unflatten(1, (t, d))
    return images.to(dtype), (tokens + torch.randn(n, t, d, generator=generator)).to(dtype)


def measured(*minibatches, grid=GRID):
    similarity = TokenPatchCKA(grid)
    for images, tokens in minibatches:
        similarity.update(images, tokens)
    return similarity


def reference(*minibatches, grid=GRID):
    # The reference sees the very numbers that the library sees.
    return references_tokens.token_patch_cka(
        [(images.double().numpy(), tokens.double().numpy()) for images, tokens in minibatches], grid
    )


# --- against the reference -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "mean", "tolerance"),
    [
        (torch.float64, 0, 1e-12),
        (torch.float64, 1000, 1e-12),
        (torch.float32, 0, 1e-6),
        (torch.float32, 1000, 1e-6),
        (torch.float32, 30_000, 1e-6),
        (torch.bfloat16, 0, 1e-6),
        (torch.float16, 0, 1e-6),
        (torch.float16, 1000, 1e-6),
    ],
)
@pytest.mark.parametrize(("n", "t", "d"), [(4, 3, 5), (33, 1, 1), (130, 5, 3000)])
def test_error_by_dtype(n, t, d, dtype, mean, tolerance):
    images, tokens = minibatch(n, t, d, dtype=torch.float64)
    pair = ((images + mean * images.std()).to(dtype), (tokens + mean * tokens.std()).to(dtype))
    similarity = measured(pair)
    with np.errstate(invalid="ignore"):
        expected = reference(pair)
    alive = ~similarity.compute().isnan().numpy()
    assert alive.all() or dtype == torch.float16
    np.testing.assert_allclose(similarity.compute()[alive], expected[alive], atol=tolerance, rtol=0)


def test_more_tokens_than_are_multiplied_at_a_time():
    pair = minibatch(5, t=150, d=2)
    np.testing.assert_allclose(measured(pair).compute(), reference(pair), atol=1e-6)


def test_pairs_of_images_that_fill_several_slices_unevenly():
    pair = minibatch(101, t=2)
    np.testing.assert_allclose(measured(pair).compute(), reference(pair), atol=1e-6)


def test_it_is_cka_of_the_library():
    images, tokens = minibatch(40)
    similarity = measured((images, tokens)).compute()
    assert similarity[2, 1, 0] == pytest.approx(cka(tokens[:, 2], patches(images, GRID)[:, 3]), abs=1e-6)


def test_hsics_are_averaged_over_minibatches_before_the_ratio():
    pairs = [minibatch(n, seed=n) for n in (12, 20, 13)]
    np.testing.assert_allclose(measured(*pairs).compute(), reference(*pairs), atol=1e-6)
    single = np.mean([reference(pair) for pair in pairs], axis=0)
    assert np.abs(single - reference(*pairs)).max() > 1e-3


def test_some_features_far_larger_than_the_others():
    images, tokens = minibatch(64, d=20)
    tokens[:, :, 0] *= 1e4
    images[5] *= 1e3
    np.testing.assert_allclose(measured((images, tokens)).compute(), reference((images, tokens)), atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "scale"), [(torch.bfloat16, 1e30), (torch.float32, 1e-30), (torch.float64, 1e60)]
)
def test_the_scale_does_not_matter(dtype, scale):
    images, tokens = minibatch(dtype=torch.float64)
    images, tokens = (images * scale).to(dtype), (tokens / scale).to(dtype)
    expected = reference((images.double() / scale, tokens.double() * scale))
    np.testing.assert_allclose(measured((images, tokens)).compute(), expected, atol=1e-6)


@given(seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
@settings(max_examples=20, deadline=None)
def test_invariances_and_bounds(seed, scale, shift):
    images, tokens = minibatch(seed=seed, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    turned = tokens @ torch.linalg.qr(torch.randn(7, 7, generator=generator).double())[0]
    order = torch.randperm(len(images), generator=generator)
    one = measured((images, tokens)).compute()
    other = measured((scale * images[order] + shift, turned[order] * scale)).compute()
    torch.testing.assert_close(one, other, atol=1e-9, rtol=0)
    assert one.abs().max() <= 1 + 1e-12


def test_a_patch_with_itself_is_one():
    images, _ = minibatch(30)
    own = measured((images, 3 * patches(images, GRID) - 2)).compute().flatten(1).diagonal()
    np.testing.assert_allclose(own, 1, atol=1e-6)


def test_low_precision_of_products_changes_nothing():
    pair = minibatch(64)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = measured(pair).compute()
    finally:
        torch.set_float32_matmul_precision("highest")
    np.testing.assert_allclose(result, reference(pair), atol=1e-6)


def test_patches_are_cut_row_by_row():
    images, _ = minibatch()
    cut = patches(images, GRID)
    for place in range(6):
        expected = references_tokens.patch(images.numpy(), GRID, *divmod(place, 3))
        np.testing.assert_array_equal(cut[:, place], expected)


# --- accumulating --------------------------------------------------------------------------------------------


def test_many_minibatches_share_groups():
    pairs = [minibatch(4, t=2, seed=seed) for seed in range(47)]
    whole, merged = measured(*pairs), measured(*pairs[:25])
    merged.merge(measured(*pairs[25:]))
    assert whole.replicates().shape == (20, 2, *GRID)
    torch.testing.assert_close(merged.replicates(), whole.replicates(), atol=1e-12, rtol=0)
    np.testing.assert_allclose(whole.compute(), reference(*pairs), atol=1e-6)


def test_layers_share_the_grams_of_patches():
    images, tokens = minibatch()
    shared = PatchGrams(images, GRID)
    assert torch.equal(measured((shared, tokens)).compute(), measured((images, tokens)).compute())


# --- standard errors -----------------------------------------------------------------------------------------


def test_the_standard_error_is_that_of_the_jackknife():
    pairs = [minibatch(seed=seed) for seed in range(4)]
    numpy = [(images.double().numpy(), tokens.double().numpy()) for images, tokens in pairs]
    expected = references_tokens.jackknife_error(numpy, GRID)
    np.testing.assert_allclose(measured(*pairs).standard_error(), expected, atol=1e-6)
    assert measured(pairs[0]).standard_error().isnan().all()


def test_standard_errors_are_those_of_repetition():
    generator = torch.Generator().manual_seed(0)
    values, errors = [], []
    for _ in range(150):
        images = torch.randn(160, 1, 2, 2, generator=generator)
        tokens = images.flatten(1)[:, None] + torch.randn(160, 1, 4, generator=generator)
        similarity = measured(*zip(images.split(16), tokens.split(16), strict=True), grid=(1, 1))
        values.append(similarity.compute())
        errors.append(similarity.standard_error())
    spread = float(torch.stack(values).std())
    assert float(torch.stack(errors).mean()) == pytest.approx(spread, rel=0.2)


# --- dead tokens and patches ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("n", [4, 30, 200])
@pytest.mark.parametrize("value", [0.0, 0.1, -0.42421296, 1000.1])
def test_dead_patches_and_tokens_are_nan_and_listed(n, dtype, value):
    images, tokens = minibatch(n, dtype=dtype)
    images[:, :, :2, 4:] = value
    images[:, :, 2:, :2] = value
    images[n // 2, :, 2:, 0] = 3  # one image alone differs
    tokens[:, 2] = torch.linspace(-1, 5, 7).to(dtype)
    similarity = measured((images, tokens))
    assert similarity.dead_patches() == ((0, 2), (1, 0))
    assert similarity.dead_tokens() == (2,)
    expected = torch.zeros(4, *GRID, dtype=torch.bool)
    expected[2] = True
    expected[:, 0, 2] = True
    expected[:, 1, 0] = True
    assert torch.equal(similarity.compute().isnan(), expected)


def test_a_patch_that_is_dead_in_some_minibatches_is_alive():
    pairs = [minibatch(seed=seed) for seed in range(4)]
    for images, _ in pairs[:3]:
        images[:, :, :2, :2] = -1
    similarity = measured(*pairs)
    assert similarity.dead_patches() == ()
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(similarity.compute(), reference(*pairs), atol=1e-6)
    # Without the one minibatch where it is alive, there is nothing to tell: so nor is there an error.
    assert similarity.standard_error()[:, 0, 0].isnan().all()
    assert not similarity.standard_error()[:, 1].isnan().any()


def test_patches_where_few_images_differ():
    images, tokens = minibatch(200)
    images[:, :, :2, :2] = -0.424
    images[[3, 77, 150], :, 0, 0] = torch.tensor([[1.0, -2.0], [3e-3, 0.0], [0.5, 0.5]])
    np.testing.assert_allclose(measured((images, tokens)).compute(), reference((images, tokens)), atol=1e-6)


def test_the_corners_of_fashion_mnist():
    pictures = data.load("fashion-mnist/test").sample(128, seed=0)
    grey = np.stack([np.array(picture, dtype=np.int64) for picture in pictures])[:, None]
    images = (torch.from_numpy(grey).float() / 255 - 0.286) / 0.353
    tokens = patches(images, (14, 14))[:, ::13].contiguous()
    similarity = TokenPatchCKA((14, 14))
    for pair in zip(images.split(32), tokens.split(32), strict=True):
        similarity.update(*pair)
    minibatches = [(i.double().numpy(), t.double().numpy()) for i, t in
                   zip(images.split(32), tokens.split(32), strict=True)]  # fmt: skip
    with np.errstate(all="ignore"):
        expected = references_tokens.token_patch_cka(minibatches, (14, 14))
    result = similarity.compute()
    dead = similarity.dead_patches()
    assert dead
    for place in range(196):
        pixels = references_tokens.patch(grey, (14, 14), *divmod(place, 14)).reshape(4, 32, -1)
        # In whole numbers: dead are patches that are black but in one image, or in such as share no bright pixel.
        grams = pixels @ pixels.swapaxes(1, 2)
        nothing_shared = (grams.sum(axis=(1, 2)) == np.trace(grams, axis1=1, axis2=2)).all()
        assert (divmod(place, 14) in dead) == nothing_shared
    alive = ~result.isnan().numpy()
    np.testing.assert_allclose(result[alive], expected[alive], atol=1e-6)


# --- what maps say -------------------------------------------------------------------------------------------


def test_distance_is_that_of_a_loop():
    maps = torch.rand(2, 12, 3, 4, generator=torch.Generator().manual_seed(0))
    maps[0, 5] = torch.nan
    maps[1, 3, 1] = torch.nan
    distance = best_patch_distance(maps)
    for which, token in np.ndindex(2, 12):
        if (which, token) == (0, 5):
            assert distance[0, 5].isnan()
            continue
        row, column = np.unravel_index(np.nanargmax(maps[which, token].numpy()), (3, 4))
        assert distance[which, token] == max(abs(row - token // 4), abs(column - token % 4))


def test_share_within_one_cell():
    maps = torch.zeros(2, 16, 4, 4)
    best = [
        0,
        0,
        0,
        0,
        0,
        0,
        12,
        0,
        0,
        8,
        15,
        0,
        0,
        0,
        0,
        0,
    ]  # of the interior 5, 6, 9 and 10: near, far, near, near
    maps[0, torch.arange(16), torch.tensor(best) // 4, torch.tensor(best) % 4] = 1
    maps[1] = maps[0]
    maps[1, 6] = torch.nan
    assert within_one_cell(maps).tolist() == [0.75, 1.0]
    assert within_one_cell(maps[:1], interior_only=False).tolist() == [6 / 16]
    assert within_one_cell(torch.full((9, 3, 3), torch.nan)).isnan()


def test_mean_map_is_that_of_a_loop():
    maps = torch.rand(6, 2, 3, dtype=torch.float64)
    maps[4, 0, 1] = torch.nan
    found = mean_map(maps)
    for down, across in np.ndindex(3, 5):
        values = [
            maps[token, token // 3 + down - 1, token % 3 + across - 2]
            for token in range(6)
            if 0 <= token // 3 + down - 1 < 2 and 0 <= token % 3 + across - 2 < 3
        ]
        assert found[down, across] == pytest.approx(np.nanmean(values))
    torch.testing.assert_close(mean_map(torch.stack([maps, 2 * maps])), torch.stack([found, 2 * found]))


def test_statistics_of_maps_have_standard_errors():
    pairs = [minibatch(t=6, seed=seed) for seed in range(3)]
    similarity = measured(*pairs)
    values = torch.stack([mean_map(each) for each in similarity.replicates()])
    torch.testing.assert_close(jackknife(mean_map(similarity.replicates())), jackknife(values))


# --- errors --------------------------------------------------------------------------------------------------


def test_errors_say_what_to_do():
    images, tokens = minibatch()
    with pytest.raises(ValueError, match=r"4 x 6 pixels cannot be cut into 3 x 3 .*Resize the images"):
        measured((images, tokens), grid=(3, 3))
    with pytest.raises(ValueError, match="got 12 images and tokens of 11"):
        measured((images, tokens[:11]))
    with pytest.raises(ValueError, match="got 12 images and tokens of 11"):
        measured((PatchGrams(images, GRID), tokens[:11]))
    with pytest.raises(ValueError, match=r"got 3 images; .* at least 4"):
        measured((images[:3], tokens[:3]))
    with pytest.raises(ValueError, match=r"Grams of \(2, 3\) patches; expected \(4, 6\)"):
        measured((PatchGrams(images, GRID), tokens), grid=(4, 6))
    with pytest.raises(RuntimeError, match="call update"):
        TokenPatchCKA(GRID).compute()
    similarity = measured((images, tokens))
    with pytest.raises(ValueError, match="got 3 tokens, but 4 tokens before"):
        similarity.update(images, tokens[:, :3])
    for statistic in (best_patch_distance, within_one_cell, mean_map):
        with pytest.raises(ValueError, match=r"4 tokens over 2 x 3 patches.*Leave out CLS"):
            statistic(similarity.compute())
    with pytest.raises(ValueError, match="2 x 3 has no interior"):
        within_one_cell(torch.zeros(6, 2, 3))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nan_and_infinity_are_refused_and_change_nothing(bad):
    images, tokens = minibatch()
    similarity = measured((images, tokens))
    before = similarity.compute()
    broken = tokens.clone()
    broken[3, 1, 2] = bad
    with pytest.raises(ValueError, match="tokens contain NaN"):
        similarity.update(images, broken)
    broken = images.clone()
    broken[0, 0, 0, 0] = bad
    with pytest.raises(ValueError, match="images contain NaN"):
        similarity.update(broken, tokens)
    assert torch.equal(similarity.compute(), before)
    with pytest.raises(ValueError, match="huge or tiny"):
        similarity.update(images, tokens.double() * 1e-90)


# --- inside networks -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return timm.create_model("test_vit4", img_size=48).eval()  # CLS and registers, 3 x 3 patches


@pytest.fixture(scope="module")
def pictures():
    return torch.randn(21, 3, 48, 48, generator=torch.Generator().manual_seed(1))


def hooks(model):
    return [
        hook
        for module in model.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]


def test_networks_against_copies_of_activations(vit, pictures):
    chosen = layers(vit, ["block 2", "block 1/attention"])
    results = token_patch_cka(vit, chosen, pictures, minibatch=8, batch_size=3)
    copies = read(vit, chosen, pictures)
    assert list(results) == ["block 1/attention", "block 2"]
    for name, maps in results.items():
        tokens = copies[name][:, vit.num_prefix_tokens :]
        pairs = list(zip(pictures.split(7), tokens.split(7), strict=True))
        assert maps.cka.shape == (9, 3, 3)
        np.testing.assert_allclose(maps.cka, reference(*pairs, grid=(3, 3)), atol=1e-5)
        torch.testing.assert_close(
            maps.standard_error, measured(*pairs, grid=(3, 3)).standard_error(), atol=1e-5, rtol=0
        )
        assert (maps.minibatches, maps.dead_tokens, maps.dead_patches) == (3, (), ())
        share, error = maps.estimate(within_one_cell)
        assert 0 <= share <= 1
        assert error >= 0
    assert hooks(vit) == []


def test_the_locations_of_a_resnet_are_its_tokens():
    torch.manual_seed(0)
    model = ResNetV2(layers=[1, 1], channels=(128, 256), stem_chs=32).eval()
    images = torch.randn(9, 3, 32, 16)
    chosen = layers(model, ["block 1", "block 2"])
    results = token_patch_cka(model, chosen, images, batch_size=4)
    for name, copy in read(model, chosen, images).items():
        grid = tuple(copy.shape[2:])
        expected = reference((images, copy.flatten(2).transpose(1, 2)), grid=grid)
        np.testing.assert_allclose(results[name].cka, expected, atol=1e-5)
    assert [maps.cka.shape[1:] for maps in results.values()] == [(8, 4), (4, 2)]
    assert results["block 1"].standard_error.isnan().all()


def test_the_forward_batch_does_not_matter(vit, pictures):
    chosen = layers(vit, ["block 3"])
    one, other = (token_patch_cka(vit, chosen, pictures, minibatch=11, batch_size=size) for size in (1, 21))
    torch.testing.assert_close(one["block 3"].cka, other["block 3"].cka, atol=1e-5, rtol=0)


def test_dead_patches_are_warned_of(vit, pictures):
    images = pictures.clone()
    images[:, :, :16, :16] = 0.3
    with pytest.warns(RuntimeWarning, match="0 tokens and 1 patches of 'block 1'"):
        results = token_patch_cka(vit, layers(vit, ["block 1"]), images, minibatch=11)
    assert results["block 1"].dead_patches == ((0, 0),)
    assert results["block 1"].cka.isnan().sum() == 9


def test_errors_come_before_the_long_pass(vit, pictures):
    block = layers(vit, ["block 1"])
    with pytest.raises(ValueError, match="layers is empty"):
        token_patch_cka(vit, [], pictures)
    with pytest.raises(ValueError, match="minibatches of at most 3; unbiased HSIC needs at least 4"):
        token_patch_cka(vit, block, pictures, minibatch=3)
    with pytest.raises(ValueError, match="7 images in minibatches of at most 6 leave 3 images in some"):
        token_patch_cka(vit, block, pictures[:7], minibatch=6)
    with pytest.raises(ValueError, match=r"of 21 images these layers take [\d.]+[MG]B or more: .*'block 1'"):
        token_patch_cka(vit, block, pictures, memory="20MB")
    with pytest.raises(ValueError, match=r"Layer 'head' gives \[1000\] for one image: a vector has no places"):
        token_patch_cka(vit, [Layer("head", "head", None, 1.0, "head")], pictures)
    odd = nn.Sequential(nn.Conv2d(3, 4, 3)).eval()
    odd.pretrained_cfg = {"input_size": (3, 48, 48)}
    with pytest.raises(ValueError, match="Layer '0': Images of 48 x 48 pixels cannot be cut into 46 x 46"):
        token_patch_cka(odd, layers(odd), pictures)
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2)).eval()
    pooled.pretrained_cfg = {"input_size": (3, 48, 48)}
    with pytest.raises(ValueError, match=r"Layer '1': Images of 48 x 24 pixels cannot be cut into 46 x 22"):
        token_patch_cka(pooled, layers(pooled, ["1"]), pictures[:, :, :, :24])
    with pytest.raises(ValueError, match="training mode"):
        token_patch_cka(vit.train(), block, pictures)
    vit.eval()
    assert hooks(vit) == []


def test_a_minibatch_that_does_not_fit_is_not_made_smaller(vit, pictures):
    chosen, seen = layers(vit, ["block 1"]), []

    def three_images_fit(module, inputs):
        if len(inputs[0]) > 3:
            raise torch.cuda.OutOfMemoryError

    def passes_that_plan_fit(module, inputs):
        seen.append(len(inputs[0]))
        if len(seen) > 3:
            raise torch.cuda.OutOfMemoryError

    whole = token_patch_cka(vit, chosen, pictures, minibatch=11)
    own = vit.blocks[0].register_forward_pre_hook(three_images_fit)
    with pytest.warns(RuntimeWarning, match="Out of memory: going on with 2 images"):
        small = token_patch_cka(vit, chosen, pictures, minibatch=11, batch_size=5)
    own.remove()
    torch.testing.assert_close(small["block 1"].cka, whole["block 1"].cka, atol=1e-5, rtol=0)

    own = vit.blocks[0].register_forward_pre_hook(passes_that_plan_fit)
    places(vit, chosen, pictures)  # Finding them runs the network anew, since it has another hook.
    seen.clear()
    with (
        pytest.warns(RuntimeWarning, match="Out of memory: going on with 2 images"),
        pytest.raises(torch.cuda.OutOfMemoryError),
    ):
        token_patch_cka(vit, chosen, pictures, minibatch=11, batch_size=5)
    own.remove()
    assert hooks(vit) == []


def test_a_stopped_call_goes_on(vit, pictures, tmp_path, monkeypatch):
    chosen = layers(vit, ["block 1"])
    places(vit, chosen, pictures)  # Finding them runs the network, too.
    seen = calls_of(vit.blocks[0], monkeypatch, stop_at=4)
    with pytest.raises(KeyboardInterrupt):
        token_patch_cka(vit, chosen, pictures, minibatch=11, cache=tmp_path)
    result = token_patch_cka(vit, chosen, pictures, minibatch=11, cache=tmp_path)
    # Each call looks at two and three images for the memory.
    assert seen == [2, 3, 11, 10, 2, 3, 10]
    whole = token_patch_cka(vit, chosen, pictures, minibatch=11)
    torch.testing.assert_close(result["block 1"].cka, whole["block 1"].cka, atol=1e-12, rtol=0)
    torch.testing.assert_close(
        result["block 1"].standard_error, whole["block 1"].standard_error, atol=1e-12, rtol=0
    )


# --- memory --------------------------------------------------------------------------------------------------


@pytest.fixture
def free(monkeypatch):
    """As if the process took nothing so far, so that small budgets mean something."""
    monkeypatch.setattr("seelike.localization.in_use", lambda device: 0)
    monkeypatch.setattr("seelike.localization._RESERVE", 0)


def least_memory(*arguments, **options):
    with pytest.raises(ValueError, match="memory is 1MB") as error:
        token_patch_cka(*arguments, **options, memory="1MB")
    return number_of_bytes(str(error.value).split(" take ")[1].split(" or more")[0])


@pytest.mark.parametrize("images", [300, 40])
def test_too_little_memory_says_how_much_would_do_and_that_does(vit, images, free):
    arguments, options = (vit, layers(vit, kinds=["block"]), torch.randn(images, 3, 48, 48)), {"minibatch": 150}
    least = least_memory(*arguments, **options)
    with pytest.raises(ValueError, match="fewer layers, layers of coarser grids, or a smaller minibatch"):
        token_patch_cka(*arguments, **options, memory=int(0.9 * least))
    # It is told in whole megabytes.
    token_patch_cka(*arguments, **options, memory=least + 1_000_000)


def test_the_result_does_not_depend_on_the_memory(vit, free, monkeypatch):
    arguments, options = (vit, layers(vit, kinds=["block"]), torch.randn(600, 3, 48, 48)), {"minibatch": 300}
    whole = token_patch_cka(*arguments, **options)
    seen = calls_of(vit, monkeypatch)
    monkeypatch.setattr("seelike.localization._TOKENS_AT_A_TIME", 2)  # so that Grams are small beside tokens
    monkeypatch.setattr("seelike.localization._BYTES_OF_GRAMS", 0)
    least = least_memory(*arguments, **options)
    seen.clear()
    small = token_patch_cka(*arguments, **options, memory=least + 1_000_000)
    assert sum(seen) >= 1 + 2 + 3 + 2 * 600  # not all layers in one pass
    for name, maps in whole.items():
        torch.testing.assert_close(small[name].cka, maps.cka, atol=1e-6, rtol=0)
        torch.testing.assert_close(small[name].standard_error, maps.standard_error, atol=1e-6, rtol=0)


def test_patches_whose_grams_do_not_fit_at_once_give_the_same(monkeypatch):
    pair = minibatch(6, t=70, grid=(10, 20), side=1)
    whole = measured(pair, grid=(10, 20)).compute()
    monkeypatch.setattr("seelike.localization._BYTES_OF_GRAMS", 0)
    monkeypatch.setattr("seelike.localization._PATCHES_AT_A_TIME", 30)
    torch.testing.assert_close(measured(pair, grid=(10, 20)).compute(), whole, atol=1e-6, rtol=0)


def test_there_are_as_many_groups_as_minibatches_up_to_twenty():
    similarity = TokenPatchCKA(GRID)
    for number in range(1, 25):
        similarity.update(*minibatch(5, seed=number))
        groups = min(number, 20)
        assert similarity.state_dict()["cross"].shape == (groups, 4, 6)
        assert similarity.replicates().shape == (groups if number > 1 else 0, 4, *GRID)


def test_the_process_stays_within_its_budget():
    # In a process of its own: what it took at most can only grow. Before, it would take some 1.2 GB.
    code = """
import timm, torch
from seelike.localization import token_patch_cka
from seelike.models import layers
from seelike.streaming.memory import in_use, most_in_use
torch.set_num_threads(1)
model = timm.create_model("resnet18").eval()
images, cpu = torch.randn(16, 3, 160, 160), torch.device("cpu")
model(images[:1])
budget = in_use(cpu) + 400_000_000
maps = token_patch_cka(model, layers(model, ["block 1"]), images, minibatch=8, memory=budget)
assert maps["block 1"].cka.shape == (1600, 40, 40)
print(budget, most_in_use(cpu))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    budget, peak = map(int, run.stdout.split())
    assert peak <= budget


def test_the_reference_knows_perfect_agreement():
    images, _ = minibatch(8)
    pixels = patches(images, GRID)[:, 0].numpy()
    assert references.cka(pixels, 2 * pixels) == pytest.approx(1)
