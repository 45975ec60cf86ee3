"""Places, CLS and patches, and replaced tokens against their formulas."""

import math

import numpy as np
import pytest
import torch

from seelike.models import layers, load, read
from seelike.sections.token_geometry import (
    REPLACEMENTS,
    cls_and_patches,
    commonest,
    moved_by_replacement,
    place_read,
    replacement,
    share_between_places,
    where_largest,
    with_tokens,
)


def tokens(n=6, t=7, d=5, seed=0, dtype=torch.float64):
    return torch.randn(n, t, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def ridge_by_definition(x, grid):
    """Fit by an explicit inverse to the first half of the images, R squared on the others."""
    n, _, d = x.shape
    rows, columns = grid
    axis = lambda side: np.linspace(-1, 1, side) if side > 1 else np.zeros(1)  # noqa: E731
    place = np.array([[r, c] for r in axis(rows) for c in axis(columns)])
    half = n // 2
    a, b = x[:half].reshape(-1, d), x[half:].reshape(-1, d)
    wanted, there = np.tile(place, (half, 1)), np.tile(place, (n - half, 1))
    centred = a - a.mean(axis=0)
    covariance = centred.T @ centred
    ridge = 1e-3 * np.trace(covariance) / d
    weights = np.linalg.inv(covariance + ridge * np.eye(d)) @ centred.T @ wanted
    error = ((b - a.mean(axis=0)) @ weights - there) ** 2
    return 1 - error.sum() / (there**2).sum()


@pytest.mark.parametrize("grid", [(2, 4), (1, 8), (8, 1)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_places_are_read_by_ridge_regression(grid, dtype, tolerance):
    x = tokens(7, 8)
    x[:, :, 0] += torch.arange(8.0)
    found = place_read(x.to(dtype), grid)
    assert found == pytest.approx(ridge_by_definition(x.numpy(), grid), abs=tolerance)


def test_tokens_that_are_all_the_same_know_no_place():
    assert place_read(torch.ones(4, 4, 3), (2, 2)) == pytest.approx(0, abs=1e-12)


def test_places_need_images_and_a_token_each():
    for x, grid in ((tokens(3, 4), (2, 2)), (tokens(4, 5), (2, 2)), (tokens(4, 1), (1, 1))):
        with pytest.raises(ValueError, match="expected four images or more"):
            place_read(x, grid)


def test_the_share_between_places_is_one_of_variance():
    x = tokens()
    x[:, :, 1] += 3 * torch.arange(6.0)[:, None]
    mean = x.mean(dim=(0, 1))
    within = sum(float((x[i, p] - x[i].mean(dim=0)).square().sum()) for i in range(6) for p in range(7))
    total = sum(float((x[i, p] - mean).square().sum()) for i in range(6) for p in range(7))
    assert share_between_places(x) == pytest.approx(within / total, abs=1e-12)
    assert math.isnan(share_between_places(torch.ones(2, 2, 2)))


@pytest.mark.parametrize("prefix", [1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_cls_and_patches_by_loops(prefix, dtype, tolerance):
    x = tokens(4, 8, seed=prefix)
    cosine = lambda a, b: float(a @ b / (a.norm() * b.norm()))  # noqa: E731
    patches = range(prefix, 8)
    expected = np.zeros(3)
    for image in x:
        expected[0] += np.mean([cosine(image[0], image[p]) for p in patches]) / 4
        expected[1] += np.mean([cosine(image[p], image[q]) for p in patches for q in patches if p != q]) / 4
        expected[2] += float(image[0].norm()) / np.mean([float(image[p].norm()) for p in patches]) / 4
    assert np.allclose(cls_and_patches(x.to(dtype), prefix), expected, rtol=0, atol=tolerance)


def test_without_cls_there_is_nothing_to_compare():
    for prefix in (0, 6):
        with pytest.raises(ValueError, match="expected CLS and two patches or more"):
            cls_and_patches(tokens(), prefix)


def test_the_largest_number_is_found_by_its_size():
    x = tokens(5, 4, 3)
    x[torch.arange(5), torch.tensor([0, 3, 3, 1, 3]), 2] = -50.0
    token, channel = where_largest(x)
    assert token.tolist() == [0, 3, 3, 1, 3]
    assert channel.tolist() == [2] * 5
    assert (commonest(token), commonest(channel)) == (0.6, 1.0)
    with pytest.raises(ValueError, match="Give one or more"):
        commonest(np.array([], dtype=int))


def test_what_is_put_in_their_place():
    x = tokens(3, 2, 2)
    assert not replacement(x, "zeros").any()
    assert torch.allclose(replacement(x, "mean over images"), (x[0] + x[1] + x[2])[None] / 3)
    assert (replacement(x, "another image") == torch.stack([x[2], x[0], x[1]])).all()
    with pytest.raises(ValueError, match="no replacement 'nothing'"):
        replacement(x, "nothing")


@pytest.fixture(scope="module")
def vit():
    model = load("tiny/vit_7x7:random").double()
    images = torch.randn(20, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return model, layers(model, kinds=["block"]), images


def test_tokens_are_replaced_after_the_blocks_that_are_named(vit):
    model, blocks, images = vit
    zeros = {"block 3": torch.zeros(20, 1, 64)}
    found = with_tokens(model, blocks, images, zeros, lambda _, x: x.clone())
    # By hand: block by block.
    with torch.no_grad():
        x = read(model, layers(model, ["embedding"]), images)["embedding"]
        for number, block in enumerate(model.blocks, start=1):
            x = block(x)
            if number == 3:
                x[:, 0] = 0
            assert torch.allclose(found[f"block {number}"], x, rtol=0, atol=1e-10)
    # Nothing stays behind.
    assert not torch.equal(read(model, blocks, images)["block 3"][:, 0], torch.zeros(20, 64))


def test_tokens_of_another_shape_are_refused(vit):
    model, blocks, images = vit
    with pytest.raises(ValueError, match=r"block 1 gives \[20, 50, 64\], where \[20, 1, 63\]"):
        with_tokens(model, blocks, images, {"block 1": torch.zeros(20, 1, 63)}, lambda _, x: x)


def test_patches_move_as_their_cosines_say(vit):
    model, blocks, images = vit
    found = moved_by_replacement(model, blocks, images, 1)
    before = read(model, blocks, images)
    for row, how in zip(found, REPLACEMENTS, strict=True):
        instead = {name: replacement(x[:, :1], how) for name, x in before.items()}
        after = with_tokens(model, blocks, images, instead, lambda _, x: x.clone())
        for value, name in zip(row, before, strict=True):
            a, b = before[name][:, 1:], after[name][:, 1:]
            expected = ((a * b).sum(dim=2) / (a.norm(dim=2) * b.norm(dim=2))).mean()
            assert value == pytest.approx(float(expected), abs=1e-10)
    with pytest.raises(ValueError, match="no CLS token and no registers"):
        moved_by_replacement(model, blocks, images, 0)
