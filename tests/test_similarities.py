"""Procrustes and CCA against their definitions, in float64. Tolerance 1e-9: eigenvectors lose some digits."""

import numpy as np
import pytest
import references_similarities as references
import sklearn.cross_decomposition
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


def test_cca_is_that_of_scikit_learn(random):
    """Which finds the directions one after the other, by iteration: tolerance 1e-4."""
    x, y = (each[:, :3] for each in related(random, 60, 3, 3))
    found = sklearn.cross_decomposition.CCA(3, max_iter=10_000, tol=1e-12).fit(x, y)
    pairs = zip(*(each.T for each in found.transform(x, y)), strict=True)
    expected = sorted((np.corrcoef(a, b)[0, 1] for a, b in pairs), reverse=True)
    np.testing.assert_allclose(similarities.canonical_correlations(x, y, 3), expected, atol=1e-4)


def test_features_need_not_be_centred(random):
    x, y = related(random, 20, 6, 4)
    for measure in (similarities.procrustes, similarities.plain_cka, similarities.cca):
        found = measure(*(coordinates(torch.tensor(each)) for each in (x, y)))
        assert measure(x, y) == pytest.approx(found, abs=1e-9)


def test_cca_refuses_to_cut_features_along_their_axes(random):
    """Cut after three columns, raw features would give a number that depends on the order of the neurons."""
    x = random.normal(size=(40, 8)) @ random.normal(size=(8, 8))
    places = coordinates(torch.tensor(x))
    with pytest.raises(ValueError, match=r"features of 8 columns.*would take 3.*`coordinates`"):
        similarities.cca(x, places, 3)
    with pytest.raises(ValueError, match=r"from the largest variance down"):
        similarities.cca(places, places[:, ::-1], 3)
    assert similarities.cca(x, places, 8) == pytest.approx(1)
    assert similarities.cca(places, places, 3) == pytest.approx(1)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 1), (0.9, 1), (0.91, 2), (1.0, 2)])
def test_directions_that_keep_a_share(share, expected):
    places = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert similarities.directions_that_keep(places, share) == expected


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01])
def test_a_share_is_above_0_and_at_most_1(random, share):
    with pytest.raises(ValueError, match=f"above 0 and at most 1; got {share}"):
        similarities.directions_that_keep(random.normal(size=(5, 2)), share)


def test_principal_directions_are_those_of_the_covariance(random):
    features = torch.tensor(random.normal(size=(30, 2, 4)) * [[1, 2, 3, 4], [5, 6, 7, 8]])
    found = similarities.principal_directions(features, 3).numpy()
    expected = references.principal(features.flatten(1).numpy(), 3)
    centred = references.centred(features.flatten(1).numpy())
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(np.abs(centred @ found), np.abs(expected), atol=1e-9)
    few = similarities.principal_directions(features[:3], 10)
    assert few.shape == (8, 2)


def test_what_a_layers_own_first_directions_leave_is_below_zero_and_those_of_other_images_are_fair(random):
    """All directions vary alike here: without ten of two hundred a layer is nearly itself."""

    def without(features, directions):
        return features - features @ directions @ directions.T

    own, other = [], []
    for _ in range(10):
        x, elsewhere = (torch.tensor(references.centred(random.normal(size=(30, 200)))) for _ in range(2))
        own.append(cka(without(x, similarities.principal_directions(x, 10)), x))
        other.append(cka(without(x, similarities.principal_directions(elsewhere, 10)), x))
    assert np.mean(own) < 0
    assert np.mean(other) > 0.8


def test_what_cannot_be_compared_is_told(random):
    x, y = random.normal(size=(10, 3)), random.normal(size=(11, 3))
    for measure in (similarities.procrustes, similarities.cca, similarities.plain_cka, similarities.unbiased_cka):
        with pytest.raises(ValueError, match="10 images in the one layer and 11 in the other"):
            measure(x, y)
    with pytest.raises(ValueError, match="10 images for 9 directions"):
        similarities.cca(random.normal(size=(10, 9)), random.normal(size=(10, 9)), 9)
    with pytest.raises(ValueError, match="all images have the same features"):
        coordinates(torch.ones(5, 3))
