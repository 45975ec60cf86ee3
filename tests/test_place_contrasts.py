"""Section 7: the contrast of tokens, and of the patches themselves, against their formulas."""

import numpy as np
import pytest
import torch

from seelike import data
from seelike.localization import token_patch_cka
from seelike.models import layers, load
from seelike.sections.place_contrasts import contrast, maps_of_patches
from seelike.streaming import Images


def by_definition(cka):
    """Near minus far of each interior token, by loops."""
    tokens, rows, columns = cka.shape
    differences = []
    for token in range(tokens):
        row, column = divmod(token, columns)
        if not (0 < row < rows - 1 and 0 < column < columns - 1):
            continue
        near, far = [], []
        for i in range(rows):
            for j in range(columns):
                if not np.isnan(cka[token, i, j]):
                    (near if max(abs(i - row), abs(j - column)) <= 1 else far).append(cka[token, i, j])
        if near and far:
            differences.append(sum(near) / len(near) - sum(far) / len(far))
    return sum(differences) / len(differences)


@pytest.mark.parametrize("grid", [(3, 4), (4, 4), (7, 7), (5, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_near_minus_far(grid, dtype):
    rows, columns = grid
    cka = torch.tensor(np.random.default_rng(rows).random((rows * columns, rows, columns)), dtype=dtype)
    assert contrast(cka) == pytest.approx(by_definition(cka.double().numpy()), abs=1e-12)


def test_dead_patches_and_tokens_do_not_count():
    cka = np.random.default_rng(0).random((30, 5, 6))
    cka[:, 0, 0] = cka[:, 2, 3] = cka[:, 4, 5] = np.nan
    cka[8] = np.nan
    assert contrast(torch.tensor(cka)) == pytest.approx(by_definition(cka), abs=1e-12)
    assert np.isnan(contrast(torch.full((16, 4, 4), torch.nan)))


def test_the_brightness_of_a_map_does_not_matter():
    cka = torch.rand(49, 7, 7, dtype=torch.float64)
    each = torch.rand(49, 1, 1, dtype=torch.float64)
    assert contrast(cka + each) == pytest.approx(contrast(cka), abs=1e-12)


@pytest.mark.parametrize(("tokens", "grid"), [(9, (3, 3)), (8, (2, 4)), (16, (4, 5))])
def test_grids_without_near_and_far_are_refused(tokens, grid):
    with pytest.raises(ValueError, match="not all are neighbours"):
        contrast(torch.rand(tokens, *grid))


def unbiased_hsic(x, y):
    """The paper's estimator for two sets of features of one minibatch (Song et al. 2012), in its terms."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ m @ one)
    return (np.trace(k @ m) + middle) / (n * (n - 3))


def test_patches_are_compared_by_the_paper_s_estimator():
    model = load("tiny/resnet:random")
    images = data.load("textures/test").sample(20, seed=0)
    maps = maps_of_patches(model, layers(model)[-1], images, minibatch=10)
    pixels = Images(images, model)[:].double().numpy()
    cut = pixels.reshape(20, -1, 7, 4, 7, 4).transpose(2, 4, 0, 1, 3, 5).reshape(49, 20, -1)

    def mean_hsic(i, j):
        return np.mean([unbiased_hsic(cut[i, part], cut[j, part]) for part in (slice(0, 10), slice(10, 20))])

    for i, j in ((0, 0), (3, 17), (24, 25), (48, 0)):
        expected = mean_hsic(i, j) / np.sqrt(mean_hsic(i, i) * mean_hsic(j, j))
        assert float(maps[i].flatten()[j]) == pytest.approx(expected, abs=1e-4)


def test_tokens_that_are_their_patches_have_all_that_the_images_allow():
    """A convolution that copies each patch: what the maps of its tokens are, those of the patches are."""
    copy = torch.nn.Conv2d(1, 16, 4, stride=4, bias=False)
    with torch.no_grad():
        copy.weight.copy_(torch.eye(16).reshape(16, 1, 4, 4))
    model = torch.nn.Sequential(copy, torch.nn.Identity()).eval()
    model.pretrained_cfg = {"input_size": (1, 28, 28)}
    images = data.load("fashion-mnist/test").sample(64, seed=0)
    layer = layers(model)[0]
    tokens = token_patch_cka(model, [layer], images, minibatch=32)[layer.name].cka
    pixels = maps_of_patches(model, layer, images, minibatch=32)
    assert contrast(tokens) / contrast(pixels) == pytest.approx(1, abs=1e-4)
