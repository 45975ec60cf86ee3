"""Procrustes and CCA against their definitions, in float64. Tolerance 1e-9: eigenvectors lose some digits."""

import numpy as np
import pytest
import references_similarities as references
import torch

from seelike import similarities
from seelike.cka import cka
from seelike.similarities import coordinates


@pytest.fixture
def random():
    return np.random.default_rng()


def related(random, n, p, q):
    """Features of two layers that have something in common."""
    shared = random.normal(size=(n, 3))
    return (shared @ random.normal(size=(3, width)) + random.normal(size=(n, width)) + 5 for width in (p, q))


@pytest.mark.parametrize(("n", "p", "q"), [(30, 7, 7), (31, 5, 12), (40, 60, 33), (12, 100, 3)])
def test_procrustes(random, n, p, q):
    x, y = related(random, n, p, q)
    found = similarities.procrustes(*(coordinates(torch.tensor(each)) for each in (x, y)))
    assert found == pytest.approx(references.procrustes(x, y), abs=1e-9)


@pytest.mark.parametrize(("n", "p", "q", "directions"), [(30, 7, 7, 4), (31, 5, 12, 9), (40, 60, 33, 10)])
def test_cca(random, n, p, q, directions):
    x, y = related(random, n, p, q)
    found = similarities.cca(*(coordinates(torch.tensor(each)) for each in (x, y)), directions)
    assert found == pytest.approx(references.cca(x, y, directions), abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_coordinates_keep_the_gram_matrix(random, dtype):
    features = torch.tensor(random.normal(size=(20, 4, 9)) + 3).to(dtype)
    exact = features.double().flatten(1)
    exact = exact - exact.mean(dim=0)
    found = coordinates(features)
    np.testing.assert_allclose(found @ found.T, exact @ exact.T, atol=1e-4 if dtype != torch.float64 else 1e-9)
    assert np.allclose(found.mean(axis=0), 0, atol=1e-6)
    assert (np.diff((found**2).sum(axis=0)) <= 1e-9).all()


def test_a_rotation_changes_nothing(random):
    x = random.normal(size=(25, 6))
    rotation, _ = np.linalg.qr(random.normal(size=(6, 6)))
    one, other = (coordinates(torch.tensor(each)) for each in (x, 2 * x @ rotation + 1))
    for measure in (similarities.unbiased_cka, similarities.procrustes, lambda a, b: similarities.cca(a, b, 4)):
        assert measure(one, other) == pytest.approx(1, abs=1e-9)


def test_cka_of_coordinates_is_that_of_features(random):
    x, y = (torch.tensor(each) for each in related(random, 20, 30, 8))
    assert similarities.unbiased_cka(coordinates(x), coordinates(y)) == pytest.approx(cka(x, y), abs=1e-9)


def test_maps_have_the_layers_in_order(random):
    layers = {name: random.normal(size=(20, 4)) for name in ("first", "second", "third")}
    found = similarities.similarity_map(layers, {"second": layers["second"]}, similarities.procrustes)
    assert found.shape == (3, 1)
    assert found[1, 0] == pytest.approx(1)
    assert found[0, 0] == similarities.procrustes(layers["first"], layers["second"])


def test_shuffled_images_have_nothing_in_common(random):
    x = coordinates(torch.tensor(random.normal(size=(200, 5))))
    assert similarities.unbiased_cka(x, x) == pytest.approx(1)
    assert abs(similarities.of_shuffled(x, x, similarities.unbiased_cka, seed=0)) < 0.1


def test_one_image_far_away_moves_plain_cka_and_two_move_the_unbiased_one(random):
    """One image in a direction of its own has the same Gram entry with all others, and centring takes it out."""
    x, y = (coordinates(torch.tensor(random.normal(size=(50, 10)))) for _ in range(2))
    before = similarities.unbiased_cka(x, y)
    one = [similarities.move_away(each, 100.0) for each in (x, y)]
    assert similarities.plain_cka(*one) > 0.99
    assert similarities.unbiased_cka(*one) == pytest.approx(before, abs=1e-6)
    two = [similarities.move_away(each, 100.0, number=2) for each in (x, y)]
    assert similarities.unbiased_cka(*two) > 0.99
    distance = np.linalg.norm(one[0][0] - one[0][4]) / np.sqrt((x**2).sum(axis=1).mean())
    assert distance == pytest.approx(100, rel=0.01)


def test_plain_cka_is_the_cosine_of_centred_gram_matrices(random):
    x, y = related(random, 20, 30, 8)
    center = np.eye(20) - 1 / 20
    k, m = (center @ each @ each.T @ center for each in (x, y))
    expected = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())
    found = similarities.plain_cka(*(coordinates(torch.tensor(each)) for each in (x, y)))
    assert found == pytest.approx(expected, abs=1e-9)


def test_what_cannot_be_compared_is_told(random):
    x, y = random.normal(size=(10, 3)), random.normal(size=(11, 3))
    for measure in (similarities.procrustes, similarities.cca, similarities.plain_cka, similarities.unbiased_cka):
        with pytest.raises(ValueError, match="10 images in the one layer and 11 in the other"):
            measure(x, y)
    with pytest.raises(ValueError, match="10 images for 9 directions"):
        similarities.cca(random.normal(size=(10, 9)), random.normal(size=(10, 9)), 9)
    with pytest.raises(ValueError, match="all images have the same features"):
        coordinates(torch.ones(5, 3))
