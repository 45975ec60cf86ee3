"""Section 7 by shared neighbours: maps of tokens and of patches against their definition, by loops."""

import numpy as np
import pytest
import torch

from seelike import data
from seelike.models import layers, load
from seelike.sections.place_contrasts import contrast
from seelike.sections.place_neighbours import place_maps_by_neighbours
from seelike.streaming import Images


def neighbours(features, k):
    """The k nearest others of each row, by distances in float64."""
    distance = np.linalg.norm(features[:, None] - features[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    return [set(np.argsort(row)[:k]) for row in distance]


def shared(x, y, k):
    n = len(x)
    mean = np.mean([len(a & b) / k for a, b in zip(neighbours(x, k), neighbours(y, k), strict=True)])
    return (mean - k / (n - 1)) / (1 - k / (n - 1))


@pytest.mark.parametrize(
    ("name", "block"), [("tiny/vit_7x7:random", "block 3"), ("tiny/resnet:random", "block 8")]
)
def test_maps_are_shares_of_neighbours(name, block):
    model = load(name)
    images = data.load("textures/test").sample(40, seed=1)
    (layer,) = layers(model, [block])
    of_tokens, of_patches = place_maps_by_neighbours(model, layer, images, minibatch=20)
    prepared = Images(images, model)[:]
    seen = {}
    module = dict(model.named_modules())[layer.module]
    handle = module.register_forward_hook(lambda _module, _inputs, output: seen.update(x=output.detach()))
    with torch.no_grad():
        model(prepared)
    handle.remove()
    x = seen["x"].double()
    tokens = x[:, -49:] if x.ndim == 3 else x.flatten(2).transpose(1, 2)
    cut = prepared.double().reshape(40, -1, 7, 4, 7, 4).permute(0, 2, 4, 1, 3, 5).reshape(40, 49, -1)
    tokens, cut = tokens.numpy(), cut.numpy()
    parts = (slice(0, 20), slice(20, 40))
    for t, p in ((0, 0), (3, 17), (24, 25), (48, 0), (30, 30)):
        expected = np.mean([shared(tokens[part, t], cut[part, p], 5) for part in parts])
        assert of_tokens[t].flatten()[p].item() == pytest.approx(expected, abs=1e-9)
        expected = np.mean([shared(cut[part, t], cut[part, p], 5) for part in parts])
        assert of_patches[t].flatten()[p].item() == pytest.approx(expected, abs=1e-9)


@pytest.fixture
def copying():
    """A network whose tokens are the patches, pixel for pixel."""
    copy = torch.nn.Conv2d(1, 16, 4, stride=4, bias=False)
    with torch.no_grad():
        copy.weight.copy_(torch.eye(16).reshape(16, 1, 4, 4))
    model = torch.nn.Sequential(copy, torch.nn.Identity()).eval()
    model.pretrained_cfg = {"input_size": (1, 28, 28)}
    return model


def test_tokens_that_are_their_patches_have_all_that_the_images_allow(copying):
    images = data.load("fashion-mnist/test").sample(128, seed=0)
    of_tokens, of_patches = place_maps_by_neighbours(copying, layers(copying)[0], images, minibatch=64)
    assert contrast(of_tokens) / contrast(of_patches) == pytest.approx(1, abs=0.02)


def test_black_corners_share_no_more_than_chance(copying):
    """Ties are broken by lot: images that two patches show black are in no order."""
    images = torch.zeros(60, 1, 28, 28)
    generator = torch.Generator().manual_seed(0)
    for corner in (slice(0, 4), slice(24, 28)):
        bright = torch.randperm(60, generator=generator)[:6]
        images[bright, 0, corner, corner] = torch.rand(6, 4, 4, generator=generator)
    _, of_patches = place_maps_by_neighbours(copying, layers(copying)[0], images, minibatch=60)
    assert abs(of_patches[0, 6, 6].item()) < 0.1
    # Every other patch is black in all images.
    assert of_patches.isfinite().sum() == 4
