"""Attention distance against float64 references, with and without maps, and every network that it must refuse."""

import copy
import math

import foreign
import numpy as np
import pytest
import references_attention as references
import timm
import torch
from calls import calls_of
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models import vision_transformer
from timm.models.mlp_mixer import MlpMixer
from torch import nn

from seelike import attention as attention_module
from seelike.attention import AttentionDistance, attention_distances, mean_attention, uniform_distance
from seelike.models import Place
from seelike.models.measurable import input_size

few_examples = settings(max_examples=25, deadline=None)


def fresh_seed():
    seed = int(np.random.default_rng().integers(2**31))
    print(f"seed {seed}")  # shown if the test fails
    return seed


def queries_and_keys(images, heads, tokens, width=8, seed=0, dtype=torch.float32, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, images, heads, tokens, width, generator=generator, dtype=torch.float64) * spread
    return q.to(dtype), k.to(dtype)


def reference_map(q, k, scale):
    # The reference sees the very numbers that the library sees: rounding the input is not an error of it.
    return references.softmax_attention(q.double().numpy(), k.double().numpy(), scale)


def assert_is(result, attention, grid, patch_size, prefix, rtol=1e-6):
    """The result holds means and standard errors of what the reference says of this attention."""
    distance, unrenormalized, mass = references.by_image(attention, grid, patch_size, prefix)
    for values, mean, error in (
        (distance, result.distance, result.distance_error),
        (unrenormalized, result.unrenormalized, result.unrenormalized_error),
        (mass, result.prefix_mass, result.prefix_mass_error),
    ):
        np.testing.assert_allclose(mean, values.mean(axis=0), rtol=rtol, atol=1e-12)
        # A standard error is a difference of values, whose rounding is relative to them.
        if len(values) > 1:
            scale = np.abs(values).max()
            np.testing.assert_allclose(error, references.standard_error(values), rtol=0, atol=rtol * scale + 1e-12)
    assert result.images == len(attention)


def tiny_vit(**settings):
    """A ViT with attention that depends on the image, as that of timm's own initialisation hardly does."""
    torch.manual_seed(0)
    settings = {"img_size": (24, 40), "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3} | settings
    model = vision_transformer.VisionTransformer(num_classes=5, **settings).eval()
    for block in model.blocks:
        if hasattr(block, "attn") and hasattr(block.attn, "qkv"):
            nn.init.normal_(block.attn.qkv.weight, std=0.4)
    return model


def tiny_images(count=5, size=(24, 40), dtype=torch.float32):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1)).to(dtype)


def maps_of_unfused_copy(model, images):
    """Attention maps of all blocks: the usual way."""
    model = copy.deepcopy(model)
    maps = []
    for block in model.blocks:
        block.attn.fused_attn = False
        # What goes into the dropout is the map.
        block.attn.attn_drop.register_forward_hook(lambda _, inputs, output: maps.append(inputs[0].clone()))
    with torch.no_grad():
        model(images)
    return maps


def hooks_of(model):
    return {
        (name, kind, number)
        for name, module in model.named_modules()
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs")
        for number in getattr(module, kind)
    }


# --- examples by hand ----------------------------------------------------------------------------------------


def test_two_by_two_by_hand():
    # Patches of 10 pixels: neighbours are 10 apart, across 10 sqrt(2).
    #   a b
    #   c d
    attention = torch.tensor(
        [
            [1.0, 0.0, 0.0, 0.0],  # a looks at itself: 0
            [0.5, 0.0, 0.5, 0.0],  # b at a and c: (10 + 14.14) / 2
            [0.0, 0.0, 0.0, 1.0],  # c at d: 10
            [0.25, 0.25, 0.25, 0.25],  # d at all: (14.14 + 10 + 10) / 4
        ]
    )
    heads = AttentionDistance(2, 10, num_prefix_tokens=0)
    heads.update(attention[None, None])
    across = 10 * math.sqrt(2)
    expected = (0 + (10 + across) / 2 + 10 + (across + 20) / 4) / 4
    result = heads.compute()
    assert result.distance.tolist() == pytest.approx([expected], rel=1e-7)
    assert result.unrenormalized.tolist() == pytest.approx([expected], rel=1e-7)
    assert result.prefix_mass.tolist() == [0]
    assert result.uniform == pytest.approx((20 + across) / 4)
    assert bool(result.distance_error.isnan().all())


def test_prefix_by_hand():
    # CLS and a register; patches of 4 x 6 pixels beside each other, so 6 apart.
    attention = torch.tensor(
        [
            [0.0, 0.0, 0.0, 1.0],
            [0.0, 0.0, 1.0, 0.0],
            [0.5, 0.25, 0.125, 0.125],  # half of the rest goes to the other: 3 of 6 pixels; 0.75 unrenormalised
            [0.0, 0.0, 1.0, 0.0],  # all to the other: 6 pixels
        ]
    )
    for renormalize, expected in ((True, 4.5), (False, 3.375)):
        heads = AttentionDistance((1, 2), (4, 6), num_prefix_tokens=2, renormalize=renormalize)
        heads.update(attention[None, None])
        result = heads.compute()
        assert result.distance.tolist() == [expected]
        assert result.unrenormalized.tolist() == [3.375]
        assert result.prefix_mass.tolist() == [0.375]


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (4, 4), (5, 3)])
@pytest.mark.parametrize("patch_size", [(16, 16), (4, 9)])
def test_uniform_attention_has_the_uniform_distance(grid, patch_size):
    expected = references.distances(grid, patch_size).mean()
    assert uniform_distance(grid, patch_size) == pytest.approx(expected, rel=1e-12)
    tokens = 2 + grid[0] * grid[1]
    heads = AttentionDistance(grid, patch_size, num_prefix_tokens=2)
    heads.update(torch.full((2, 3, tokens, tokens), 1 / tokens, dtype=torch.float64))
    heads.update_qk(*torch.zeros(2, 2, 3, tokens, 4), scale=0.5)
    result = heads.compute()
    assert result.distance.tolist() == pytest.approx([expected] * 3, rel=1e-6)
    assert result.unrenormalized.tolist() == pytest.approx([expected * (1 - 2 / tokens)] * 3, rel=1e-6)
    assert result.prefix_mass.tolist() == pytest.approx([2 / tokens] * 3, rel=1e-6)
    assert result.distance_error.tolist() == pytest.approx([0] * 3, abs=1e-4)


def test_attention_to_itself_has_distance_zero():
    heads = AttentionDistance((3, 4), 16, num_prefix_tokens=1)
    heads.update(torch.eye(13).expand(2, 2, 13, 13))
    q = torch.eye(13).expand(2, 2, 13, 13) * 100
    heads.update_qk(q, q, scale=1.0)
    assert heads.compute().distance.tolist() == [0, 0]
    assert heads.compute().prefix_mass.tolist() == pytest.approx([0, 0], abs=1e-12)


def test_one_number_is_a_square():
    assert uniform_distance(3, 8) == uniform_distance((3, 3), (8, 8))
    assert AttentionDistance(3, 8, 1).grid == (3, 3)


# --- against the reference -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("grid", "prefix"), [((1, 1), 1), ((1, 5), 0), ((3, 2), 5), ((14, 14), 1), ((9, 17), 4)])
# With queries and keys of spread 3, scores reach 60, and float32 knows them to 4e-6 only.
@pytest.mark.parametrize(("spread", "float32_tolerance"), [(1.0, 1e-6), (3.0, 1e-5)])
def test_queries_and_keys_of_every_dtype(dtype, grid, prefix, spread, float32_tolerance):
    tokens = prefix + grid[0] * grid[1]
    q, k = queries_and_keys(3, 2, tokens, dtype=dtype, spread=spread, seed=fresh_seed())
    heads = AttentionDistance(grid, (16, 12), prefix)
    heads.update_qk(q, k, scale=8**-0.5)
    rtol = 1e-12 if dtype == torch.float64 else float32_tolerance
    assert_is(heads.compute(), reference_map(q, k, 8**-0.5), grid, (16, 12), prefix, rtol)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("grid", "prefix"), [((1, 5), 0), ((3, 2), 5), ((14, 14), 1)])
def test_maps_of_every_dtype(dtype, grid, prefix):
    q, k = queries_and_keys(3, 2, prefix + grid[0] * grid[1], seed=fresh_seed())
    attention = torch.from_numpy(reference_map(q, k, 0.5)).to(dtype)
    heads = AttentionDistance(grid, (16, 12), prefix)
    heads.update(attention)
    rtol = 1e-12 if dtype == torch.float64 else 1e-6
    assert_is(heads.compute(), attention.double().numpy(), grid, (16, 12), prefix, rtol)


def test_maps_and_queries_and_keys_agree():
    q, k = queries_and_keys(4, 3, 1 + 5 * 7, dtype=torch.float64)
    by_map, by_queries = (AttentionDistance((5, 7), 16, 1) for _ in range(2))
    by_map.update((q @ k.mT * 0.3).softmax(dim=-1))
    by_queries.update_qk(q, k, 0.3)
    for name, value in vars(by_map.compute()).items():
        torch.testing.assert_close(vars(by_queries.compute())[name], value, rtol=1e-12, atol=1e-12)


def test_huge_scores_do_not_overflow():
    q, k = queries_and_keys(2, 2, 16, spread=40.0)
    heads = AttentionDistance(4, 16, 0)
    heads.update_qk(q, k, scale=1.0)
    # Scores of some 10,000 are off by 1e-3 in float32, which matters where two keys are that near to each other.
    expected = references.by_image(reference_map(q, k, 1.0), (4, 4), (16, 16), 0)[0].mean(axis=0)
    np.testing.assert_allclose(heads.compute().distance, expected, rtol=1e-3)


def test_attention_that_all_but_misses_the_grid():
    # exp(-500) is 0 in float64, too: only the odds keep what happens on the grid.
    q, k = queries_and_keys(2, 2, 1 + 16, dtype=torch.float64)
    q[..., 0] = 1.0
    k[..., 0] = 0.0
    k[:, :, 0, 0] = 500.0
    heads, on_grid = AttentionDistance(4, 16, 1), AttentionDistance(4, 16, 0)
    heads.update_qk(q, k, scale=1.0)
    on_grid.update_qk(q[:, :, 1:], k[:, :, 1:], scale=1.0)
    result = heads.compute()
    torch.testing.assert_close(result.distance, on_grid.compute().distance, rtol=1e-12, atol=0)
    assert result.prefix_mass.tolist() == pytest.approx([1, 1], abs=1e-12)
    assert bool((result.unrenormalized < 1e-100).all())


# --- tiles ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [1, 25, 100, 35**2, 3 * 35**2, 10**9])
def test_no_tile_is_larger_than_stated_and_none_changes_the_result(monkeypatch, tile):
    q, k = queries_and_keys(4, 3, 2 + 35, dtype=torch.float64)
    attention = torch.from_numpy(reference_map(q, k, 0.3))
    sizes = []
    exponentials = attention_module._exponentials

    def spy(scores):
        weights, largest = exponentials(scores)
        sizes.append(weights.numel())
        return weights, largest

    monkeypatch.setattr(attention_module, "_exponentials", spy)
    monkeypatch.setattr(attention_module, "_TILE_ON_CPU", tile)
    by_map, by_queries = (AttentionDistance((5, 7), 16, 2) for _ in range(2))
    by_queries.update_qk(q, k, 0.3)
    by_map.update(attention)
    assert max(sizes) <= max(tile, 35)
    assert sum(sizes) == 4 * 3 * 35**2
    for heads in (by_map, by_queries):
        assert_is(heads.compute(), attention.numpy(), (5, 7), (16, 16), 2, rtol=1e-12)
    place = Place("tokens", (37, 8), "tokens", 2, prefix=("cls", "register"), grid=(5, 7))
    sums = 35 * attention_module._by_offset(attention_module.Scores(q, k, 0.3), place).mean(dim=0)
    # An offset of (down, right) is that of so many pairs of patches of the grid.
    pairs = np.outer(5 - abs(np.arange(-4, 5)), 7 - abs(np.arange(-6, 7)))
    np.testing.assert_allclose(sums / pairs, references.by_offset(attention, (5, 7), 2), rtol=1e-10)


def test_large_grids_have_no_map(monkeypatch):
    largest = 0
    exponentials = attention_module._exponentials

    def spy(scores):
        nonlocal largest
        weights, most = exponentials(scores)
        largest = max(largest, weights.numel())
        return weights, most

    monkeypatch.setattr(attention_module, "_exponentials", spy)
    heads = AttentionDistance((40, 64), 4, 0)
    q = torch.zeros(1, 1, 40 * 64, 2)
    heads.update_qk(q, q, scale=1.0)
    assert heads.compute().distance.tolist() == pytest.approx([uniform_distance((40, 64), 4)], rel=1e-6)
    assert largest <= attention_module._TILE_ON_CPU < (40 * 64) ** 2


# --- invariances ---------------------------------------------------------------------------------------------


@few_examples
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3), st.integers(0, 2**31), st.floats(0.01, 5))
def test_bounds_and_invariances(rows, columns, prefix, seed, scale):
    q, k = queries_and_keys(2, 3, prefix + rows * columns, seed=seed, dtype=torch.float64)

    def measured(q, k, grid=(rows, columns), patch_size=(16, 16)):
        heads = AttentionDistance(grid, patch_size, prefix)
        heads.update_qk(q, k, scale)
        return heads.compute()

    result = measured(q, k)
    diagonal = 16 * math.hypot(rows - 1, columns - 1)
    assert bool((result.distance >= 0).all())
    assert bool((result.distance <= diagonal * (1 + 1e-12)).all())
    assert bool((result.unrenormalized <= diagonal * (1 - result.prefix_mass) + 1e-9).all())
    assert bool(((result.prefix_mass >= 0) & (result.prefix_mass <= 1)).all())

    def same(other, expected=result.distance):
        torch.testing.assert_close(other.distance, expected, rtol=1e-9, atol=1e-9)

    same(measured(q, k + torch.randn(8, dtype=torch.float64)))  # the same for all keys of a query
    same(measured(q.flip(1), k.flip(1)), result.distance.flip(0))  # heads in another order
    same(measured(q, k, patch_size=(48, 48)), 3 * result.distance)
    turned = [torch.cat((x[:, :, :prefix], x[:, :, prefix:].flip(2)), dim=2) for x in (q, k)]
    same(measured(*turned))  # the image turned by half a circle
    grids = [x[:, :, prefix:].unflatten(2, (rows, columns)).transpose(2, 3).flatten(2, 3) for x in (q, k)]
    mirrored = [torch.cat((x[:, :, :prefix], y), dim=2) for x, y in zip((q, k), grids, strict=True)]
    same(measured(*mirrored, grid=(columns, rows)))


# --- the accumulator -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 3), 16, 1), "grid is"),
        (((2, 3), 0, 1), "patch_size is 0"),
        (((2, 3), 16, -1), "num_prefix_tokens is -1"),
    ],
)
def test_impossible_geometry(arguments, message):
    with pytest.raises(ValueError, match=message):
        AttentionDistance(*arguments)


def test_wrong_input_is_refused_and_changes_nothing():
    heads = AttentionDistance((2, 3), 16, 1)
    q, k = queries_and_keys(2, 2, 7)
    attention = (q @ k.mT).softmax(dim=-1)
    heads.update(attention)
    before = heads.compute().distance
    dropped_out = attention * 1.1
    of_prefix_alone = torch.zeros(1, 2, 7, 7)
    of_prefix_alone[..., 0] = 1
    bad_q = q.clone()
    bad_q[1, 1, 3] = torch.inf
    for message, wrong in [
        (r"expected \[b, heads, 7, 7\]", lambda: heads.update(attention[:, :, 1:, 1:])),
        (r"expected \[b, heads, 7, d\]", lambda: heads.update_qk(q[:, :, 1:], k[:, :, 1:], 0.5)),
        ("do not sum to 1", lambda: heads.update(dropped_out)),
        ("do not sum to 1", lambda: heads.update(q @ k.mT)),
        ("do not sum to 1", lambda: heads.update(attention * torch.nan)),
        ("keys along the last axis", lambda: heads.update(attention.mT.contiguous())),
        ("nothing to renormalise", lambda: heads.update(of_prefix_alone)),
        ("NaN or infinite", lambda: heads.update_qk(bad_q, k, 0.5)),
        ("got 1 heads, but 2 heads before", lambda: heads.update(attention[:, :1])),
    ]:
        with pytest.raises(ValueError, match=message):
            wrong()
        assert heads.images == 2
        assert bool((heads.compute().distance == before).all())
    # Fewer keys than queries: the annotation says so first where it is checked.
    with pytest.raises((ValueError, TypeError)):
        heads.update_qk(q, k[:, :, 1:], 0.5)


def test_attention_to_the_prefix_alone_without_renormalisation():
    attention = torch.zeros(1, 1, 3, 3)
    attention[..., 0] = 1
    heads = AttentionDistance((1, 2), 16, 1, renormalize=False)
    heads.update(attention)
    assert heads.compute().distance.tolist() == [0]
    assert heads.compute().prefix_mass.tolist() == [1]


# --- networks ------------------------------------------------------------------------------------------------

VITS = {
    "CLS": {},
    "GAP": {"class_token": False, "global_pool": "avg"},
    "registers": {"reg_tokens": 4},
    "no CLS, registers": {"class_token": False, "reg_tokens": 2, "global_pool": "avg", "no_embed_class": True},
    "normed queries": {"qk_norm": True},
    "post-norm": {"block_fn": vision_transformer.ResPostBlock},
    "oblong patches": {"patch_size": (4, 8)},
    "LayerScale": {"init_values": 0.1},
}


@pytest.mark.parametrize("name", VITS)
def test_fused_vit_agrees_with_the_maps_of_its_unfused_copy(name, monkeypatch):
    model, images = tiny_vit(**VITS[name]), tiny_images()
    attention_distances(model, images[:1])  # finds what is where
    fused = []
    function = torch.nn.functional.scaled_dot_product_attention

    def spy(*args, **kwargs):
        fused.append(args)
        return function(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    before = hooks_of(model)
    distances = attention_distances(model, images, batch_size=2)
    assert hooks_of(model) == before
    assert len(fused) == 3 * 3  # blocks x batches
    assert list(distances) == ["block 1", "block 2", "block 3"]

    patch_size = (4, 8) if name == "oblong patches" else (8, 8)
    grid = (24 // patch_size[0], 40 // patch_size[1])
    maps = maps_of_unfused_copy(model, images)
    for attention, result in zip(maps, distances.values(), strict=True):
        # The copy's own softmax is in float32.
        assert_is(result, attention, grid, patch_size, model.num_prefix_tokens, rtol=1e-5)
        assert result.uniform == uniform_distance(grid, patch_size)
    for number, attention in enumerate(maps, start=1):
        expected = references.by_offset(attention, grid, model.num_prefix_tokens)
        np.testing.assert_allclose(mean_attention(model, images, number), expected, rtol=1e-4, atol=1e-7)


def test_mean_attention_carries_the_distance():
    model, images = tiny_vit(), tiny_images()
    attention = mean_attention(model, images, block=2, batch_size=2)
    lengths = np.hypot(8 * np.arange(-2, 3)[:, None], 8 * np.arange(-4, 5)[None, :])
    pairs = np.outer([1, 2, 3, 2, 1], [1, 2, 3, 4, 5, 4, 3, 2, 1])
    shares = attention * torch.from_numpy(pairs) / 15
    distance = (shares * torch.from_numpy(lengths)).sum(dim=(1, 2))
    torch.testing.assert_close(distance, attention_distances(model, images)["block 2"].distance, rtol=1e-6, atol=0)
    torch.testing.assert_close(shares.sum(dim=(1, 2)), torch.ones(3, dtype=torch.float64))


def test_mean_attention_of_a_uniform_head_is_flat():
    model, images = tiny_vit(), tiny_images()
    with torch.no_grad():
        model.blocks[1].attn.qkv.weight[: 2 * model.embed_dim] = 0
        model.blocks[1].attn.qkv.bias[: 2 * model.embed_dim] = 0
    flat = torch.full((3, 5, 9), 1 / 15, dtype=torch.float64)
    torch.testing.assert_close(mean_attention(model, images, block=2), flat)


def test_an_unfused_network_with_its_own_scale():
    model, images = tiny_vit(), tiny_images()
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.scale = 0.1
    for attention, result in zip(
        maps_of_unfused_copy(model, images), attention_distances(model, images).values(), strict=True
    ):
        assert_is(result, attention, (3, 5), (8, 8), 1, rtol=1e-5)


def test_fused_attention_has_the_usual_scale():
    # Fused attention never sees the module's scale, so neither must we.
    model, images = tiny_vit(), tiny_images()
    expected = attention_distances(model, images)["block 1"].distance
    model.blocks[0].attn.scale = 0.1
    torch.testing.assert_close(attention_distances(model, images)["block 1"].distance, expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_networks(dtype):
    model, images = tiny_vit().to(dtype), tiny_images()
    seen = []
    for norm in (model.blocks[1].attn.q_norm, model.blocks[1].attn.k_norm):
        norm.register_forward_hook(lambda _, inputs, output: seen.append(output.clone()))
    result = attention_distances(model, images)["block 2"]
    # The last pass is the measured one.
    assert_is(result, reference_map(*seen[-2:], scale=8**-0.5), (3, 5), (8, 8), 1)


def test_images_of_another_size_than_the_network_was_made_for():
    model, images = tiny_vit(dynamic_img_size=True, dynamic_img_pad=True), tiny_images(3, size=(33, 16))
    for attention, result in zip(
        maps_of_unfused_copy(model, images), attention_distances(model, images).values(), strict=True
    ):
        assert_is(result, attention, (5, 2), (8, 8), 1, rtol=1e-5)


def test_hybrids_count_pixels_of_the_image():
    model = timm.create_model("vit_tiny_r_s16_p8_224", img_size=64).eval()
    result = attention_distances(model, torch.randn(1, 3, 64, 64))["block 1"]
    tokens = model.patch_embed.num_patches
    assert result.uniform == uniform_distance(math.isqrt(tokens), 64 // math.isqrt(tokens))


def test_an_image_set_is_prepared_as_the_network_asks():
    from seelike import data

    model = timm.create_model("test_vit").eval()
    result = attention_distances(model, data.load("fashion-mnist/test").sample(3, seed=0), batch_size=2)
    assert {distances.images for distances in result.values()} == {3}


def test_the_batch_does_not_matter():
    model, images = tiny_vit(), tiny_images(7)
    one, all_at_once = (attention_distances(model, images, batch_size=size) for size in (1, 7))
    for block, result in all_at_once.items():
        for name, value in vars(result).items():
            torch.testing.assert_close(vars(one[block])[name], value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        mean_attention(model, images, 1, batch_size=1), mean_attention(model, images, 1), rtol=1e-5, atol=1e-7
    )


def test_a_cached_call_is_not_measured_again(tmp_path, monkeypatch):
    model, images = tiny_vit(), tiny_images()
    attention_distances(model, images)  # finds what is where
    passes = calls_of(model.patch_embed, monkeypatch)
    first = attention_distances(model, images, cache=tmp_path)
    pictures = [mean_attention(model, images, block, cache=tmp_path) for block in (1, 2)]
    assert len(passes) == 3
    again = attention_distances(model, images, cache=tmp_path)
    assert bool((mean_attention(model, images, 1, cache=tmp_path) == pictures[0]).all())
    assert bool((mean_attention(model, images, 2, cache=tmp_path) == pictures[1]).all())
    assert len(passes) == 3
    for block, result in first.items():
        assert bool((again[block].distance == result.distance).all())


def test_other_hooks_stay_and_are_not_called_twice():
    model, images = tiny_vit(qk_norm=True), tiny_images()
    calls = []
    model.blocks[0].attn.q_norm.register_forward_hook(lambda *_: calls.append("q_norm"))
    model.blocks[0].attn.register_forward_pre_hook(lambda *_: calls.append("attn"))
    before = hooks_of(model)
    attention_distances(model, images)
    calls.clear()  # what is where has been found
    attention_distances(model, images)
    assert calls == ["attn", "q_norm"]
    assert hooks_of(model) == before


def test_what_another_hook_puts_in_place_of_the_queries_is_read():
    model, images = tiny_vit(), tiny_images()
    model.blocks[0].attn.q_norm.register_forward_hook(lambda _, inputs, output: torch.zeros_like(output))
    result = attention_distances(model, images)["block 1"]
    assert result.distance.tolist() == pytest.approx([uniform_distance((3, 5), 8)] * 3, rel=1e-6)


def test_the_network_gives_what_it_gave():
    model, images = tiny_vit(), tiny_images()
    with torch.no_grad():
        before = model(images)
        attention_distances(model, images)
        assert bool((model(images) == before).all())
    assert all(block.attn.fused_attn for block in model.blocks)


# --- refusals ------------------------------------------------------------------------------------------------


class Masking(vision_transformer.Block):
    """A block that masks its attention: each token looks at itself and those before it."""

    def forward(self, x, **_):
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        return x + self.attn(self.norm1(x), attn_mask=mask)


class Leaving(vision_transformer.VisionTransformer):
    """A network that leaves out its second block."""

    def forward_features(self, x, **_):
        x = self.norm_pre(self.patch_drop(self._pos_embed(self.patch_embed(x))))
        return self.norm(self.blocks[2](self.blocks[0](x)))


def plain_attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_):
    """Attention by hand, which keeps its map."""
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    attention = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    attention = attention / attention.sum(dim=-1, keepdim=True)
    plain_attention.maps.append(attention.double().numpy())
    return attention @ v


FOREIGN = [
    "DINOv3, rotary",
    "EVA-02, rotary, SwiGLU",
    "BEiT, relative bias",
    "DeiT, distilled",
    "registers, no CLS",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_other_transformers_agree_with_their_maps(name, monkeypatch):
    """Rotary positions, relative bias, registers and distillation, with fused attention left on."""
    model, images = foreign.network(name), foreign.images(name)
    distances = attention_distances(model, images, batch_size=2)
    plain_attention.maps = []
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", plain_attention)
    with torch.no_grad():
        model(images)
    assert len(plain_attention.maps) == len(distances) == 2
    side = images.shape[-1] // model.patch_embed.grid_size[0]
    for attention, result in zip(plain_attention.maps, distances.values(), strict=True):
        prefix = attention.shape[-1] - math.prod(model.patch_embed.grid_size)
        assert_is(result, attention, model.patch_embed.grid_size, (side, side), prefix, rtol=1e-5)


def test_a_masked_attention_is_that_of_its_map(monkeypatch):
    model, images = tiny_vit(block_fn=Masking), tiny_images()
    distances = attention_distances(model, images)
    plain_attention.maps = []
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", plain_attention)
    with torch.no_grad():
        model(images)
    for attention, result in zip(plain_attention.maps, distances.values(), strict=True):
        assert_is(result, attention, (3, 5), (8, 8), 1, rtol=1e-5)


def test_a_network_that_leaves_out_a_block_has_the_others():
    torch.manual_seed(0)
    model = Leaving(img_size=(24, 40), patch_size=8, embed_dim=24, depth=3, num_heads=3).eval()
    assert list(attention_distances(model, tiny_images())) == ["block 1", "block 2"]


REFUSED = {
    "no attention": (lambda: MlpMixer(img_size=24, patch_size=8, embed_dim=16, num_blocks=1), "it has none"),
    "a CNN": (lambda: timm.create_model("resnet10t"), "it has none"),
    "heads that are mixed": (lambda: foreign.network("CaiT, talking heads"), "heads that are mixed"),
    "two at once": (lambda: tiny_vit(block_fn=vision_transformer.ParallelThingsBlock), "several attentions"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_attention_without_a_distance_is_refused(name):
    make, why = REFUSED[name]
    model = make().eval()
    images = torch.zeros(1, *input_size(model))
    for measure in (attention_distances, lambda model, images: mean_attention(model, images, 1)):
        with pytest.raises(ValueError, match=f"attention of {type(model).__name__} has no distance.*{why}"):
            measure(model, images)


def test_keys_at_fewer_places_are_left_out_and_told():
    """In the last stage of a PVT queries and keys are the same tokens."""
    model, images = foreign.network("PVT"), foreign.images("PVT")
    with pytest.warns(RuntimeWarning, match=r"6 of 8 attentions.*block 1: its queries and keys are different"):
        assert list(attention_distances(model, images)) == ["block 7", "block 8"]


def test_windows_are_left_out_and_told():
    """Swin's last stage has one window, of the whole grid."""
    model, images = foreign.network("Swin"), foreign.images("Swin")
    with pytest.warns(RuntimeWarning, match=r"2 of 4 attentions have no distance.*block 1.*windows"):
        distances = attention_distances(model, images)
    assert list(distances) == ["block 3", "block 4"]
    assert distances["block 3"].uniform == uniform_distance((7, 7), 8)


@pytest.mark.skipif(not hasattr(vision_transformer, "DiffAttention"), reason="this timm has none")
@pytest.mark.parametrize("fused", [True, False])
def test_differential_attention_is_refused(fused):
    model = tiny_vit(attn_layer="diff", num_heads=2)
    for block in model.blocks:
        block.attn.fused_attn = fused
    with pytest.raises(ValueError, match="has no distance"):
        attention_distances(model, tiny_images())


def test_training_mode_is_refused():
    model = tiny_vit().train()
    for measure in (attention_distances, lambda model, images: mean_attention(model, images, 1)):
        with pytest.raises(ValueError, match="training mode"):
            measure(model, tiny_images())


def test_hooks_are_gone_after_a_failed_pass():
    model = tiny_vit()

    def fail(*_):
        raise KeyError("stop here")

    handle = model.blocks[2].mlp.register_forward_hook(fail)
    before = hooks_of(model)
    with pytest.raises(ValueError, match="stop here"):
        attention_distances(model, tiny_images())
    assert hooks_of(model) == before
    handle.remove()
    assert attention_distances(model, tiny_images())["block 3"].images == 5


def test_overflowing_queries_name_the_block():
    model = tiny_vit()
    model.blocks[1].attn.qkv.weight.data.fill_(torch.inf)
    for measure in (attention_distances, lambda model, images: mean_attention(model, images, 2)):
        with pytest.raises(ValueError, match="Attention of block 2: There are NaN or infinite"):
            measure(model, tiny_images())


def test_unknown_block():
    with pytest.raises(ValueError, match="Unknown block 'block 4'"):
        mean_attention(tiny_vit(), tiny_images(), block=4)


class ByHand(nn.Module):
    """Attention that is written in one of several ways, each with two heads of 4 channels."""

    def __init__(self, way):
        super().__init__()
        self.way, self.qkv, self.map = way, nn.Linear(8, 24), None

    def forward(self, x):
        images, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(images, tokens, 3, 2, 4).permute(2, 0, 3, 1, 4)
        if self.way == "heads before images":
            q, k, v = (each.transpose(0, 1).reshape(-1, tokens, 4) for each in (q, k, v))
        elif self.way == "heads behind images":
            q, k, v = (each.reshape(-1, tokens, 4) for each in (q, k, v))
        attention = (q @ k.mT / 2).softmax(dim=-1)
        self.map = attention
        after = (v.mT @ attention.mT).mT if self.way == "values times its transpose" else attention @ v
        if self.way == "heads before images":
            after = after.reshape(2, images, tokens, 4).transpose(0, 1)
            self.map = attention.reshape(2, images, tokens, tokens).transpose(0, 1)
        self.map = self.map.reshape(images, 2, tokens, tokens)
        return after.reshape(images, 2, tokens, 4).transpose(1, 2).reshape(images, tokens, 8)


class AttendsByHand(nn.Module):
    def __init__(self, way):
        super().__init__()
        self.patches, self.attend = nn.Conv2d(3, 8, 4, 4), ByHand(way)
        self.pretrained_cfg = {"input_size": (3, 12, 16)}

    def forward(self, x):
        x = self.patches(x).flatten(2).mT
        return x + self.attend(x)


@pytest.mark.parametrize("way", ["", "heads before images", "heads behind images", "values times its transpose"])
def test_attention_that_is_written_in_other_ways(way):
    model, images = AttendsByHand(way).eval(), torch.randn(3, 3, 12, 16)
    (found,) = attention_distances(model, images).values()
    model(images)
    expected = AttentionDistance((3, 4), 4, num_prefix_tokens=0)
    expected.update(model.attend.map.detach())
    assert len(found.distance) == 2
    torch.testing.assert_close(found.distance, expected.compute().distance, rtol=1e-5, atol=1e-5)
