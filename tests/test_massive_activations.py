"""How uneven tokens are, against loops written from the definition. Tolerance 1e-9, in float64."""

import foreign
import numpy as np
import pytest
import torch
from references_massive_activations import unevenness as by_definition

from seelike import data
from seelike.cka import cka
from seelike.errors import UnknownName
from seelike.massive_activations import (
    massive_activations,
    unevenness,
    with_massive_activation,
    without_largest_channel,
)
from seelike.models import layers, load, preprocessing, read


@pytest.mark.parametrize("shape", [(3, 5, 4), (2, 7, 3)])
def test_unevenness(shape):
    tokens = torch.tensor(np.random.default_rng().normal(size=shape))
    tokens[0, 0] = 0
    expected = [by_definition(each.tolist()) for each in tokens]
    np.testing.assert_allclose(unevenness(tokens), expected, atol=1e-9)


@pytest.mark.parametrize("name", ["Swin", "ConvNeXt"])
def test_any_network_is_read_by_its_tokens(name):
    """Also where channels come last: prepared images stand for an image set."""
    model, pictures = foreign.network(name), foreign.images(name, 2)
    measured = massive_activations(model, [pictures])
    (last,) = read(model, layers(model, kinds=["block"])[-1:], pictures).values()
    tokens = (last if name == "Swin" else last.movedim(1, -1)).flatten(1, 2)
    expected = 10 ** np.mean([by_definition(each.tolist()) for each in tokens.double()], axis=0)
    assert measured.largest_number[0, -1] == pytest.approx(expected[0], rel=1e-4)
    assert measured.longest_token[0, -1] == pytest.approx(expected[1], rel=1e-4)


def test_nothing_but_zeros_has_no_ratio():
    assert unevenness(torch.zeros(1, 3, 4)).isnan().all()


def test_means_are_of_logarithms_over_images():
    model, images = load("tiny/vit_7x7"), data.load("fashion-mnist/test").sample(5, seed=0)
    measured = massive_activations(model, [images], batch_size=2)
    pixels = torch.stack([preprocessing(model)(image) for image in images])
    (last,) = read(model, layers(model, kinds=["block"])[-1:], pixels).values()
    expected = 10 ** np.mean([by_definition(each.tolist()) for each in last.double()], axis=0)
    assert measured.largest_number[0, -1] == pytest.approx(expected[0], rel=1e-4)
    assert measured.longest_token[0, -1] == pytest.approx(expected[1], rel=1e-4)


def test_the_largest_channel_is_gone_and_the_others_are_as_they_were():
    tokens = torch.randn(6, 3, 5)
    tokens[..., 2] *= 100
    found = without_largest_channel(tokens)
    assert (found[..., 2] == 0).all()
    assert torch.equal(found[..., [0, 1, 3, 4]], tokens[..., [0, 1, 3, 4]])


def test_one_number_of_each_image_is_planted():
    tokens = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    tokens[0, 0] = 0
    before = tokens.clone()
    found = with_massive_activation(tokens, 1000.0, torch.tensor([0.0, 0.5, 0.99]))
    assert torch.equal(tokens, before)
    sizes = sorted(abs(x) for x in tokens.flatten().tolist() if x != 0)
    expected = tokens.clone()
    for image, token in enumerate((0, 2, 3)):
        # torch takes the lower of two in the middle.
        expected[image, token, 0] = 1000 * sizes[(len(sizes) - 1) // 2]
    torch.testing.assert_close(found, expected)


def test_in_one_token_it_is_nothing_to_cka_and_where_it_wanders_it_is_everything():
    one, other = torch.randn(2, 60, 10, 4, generator=torch.Generator().manual_seed(0))
    fixed, wandering = torch.full((60,), 0.3), torch.arange(60) % 10 / 10 + 0.05
    assert abs(cka(*(with_massive_activation(each, 1000.0, fixed) for each in (one, other)))) < 0.1
    assert cka(*(with_massive_activation(each, 1000.0, wandering) for each in (one, other))) > 0.99


@pytest.mark.parametrize("places", [[0.0], [0.0, 1.0], [-0.1, 0.5]])
def test_places_are_shares_of_the_tokens(places):
    with pytest.raises(ValueError, match=r"0 or more and below 1, for each of 2 images; got \d"):
        with_massive_activation(torch.ones(2, 3, 4), 10.0, torch.tensor(places))


def test_a_network_without_known_blocks_is_told():
    with pytest.raises(UnknownName, match="'block'"):
        massive_activations(load("vgg11:random"), [])
