"""Questions of measure: readouts, chance and order against their definitions."""

import itertools

import numpy as np
import pytest

from seelike.sections.measures import (
    agreement_of_readouts,
    beyond_chance,
    calibrated_highest,
    share_in_order,
    shuffled_maps,
)
from seelike.similarities import plain_cka, procrustes

RANDOM = np.random.default_rng(0)


def test_over_all_targets_readouts_agree_as_plain_cka_says():
    x, y = RANDOM.normal(size=(2, 20, 6)) + 3
    y[:, :3] += x[:, :3]
    # A basis of all targets, turned at random: as good as the identity.
    targets = np.linalg.qr(RANDOM.normal(size=(20, 20)))[0]
    assert agreement_of_readouts(x, y, targets) == pytest.approx(plain_cka(x, y), abs=1e-12)


def test_the_agreement_of_some_targets_by_loops():
    x, y, targets = RANDOM.normal(size=(3, 8, 4))
    x, y = (each - each.mean(axis=0) for each in (x, y))
    both = [[each @ (each.T @ target) for target in targets.T] for each in (x, y)]
    dot = sum(a @ b for a, b in zip(*both, strict=True))
    lengths = [sum(a @ a for a in each) ** 0.5 for each in both]
    assert agreement_of_readouts(x + 5, y, targets) == pytest.approx(dot / np.prod(lengths), abs=1e-12)


def test_one_order_for_all_layers_of_a_network():
    rows = {name: RANDOM.normal(size=(9, 3)) for name in "ab"}
    columns = {name: RANDOM.normal(size=(9, 4)) for name in "cde"}
    found = shuffled_maps(rows, columns, procrustes, seed=3, times=2)
    random = np.random.default_rng(3)
    for each in found:
        order = random.permutation(9)
        for (i, x), (j, y) in itertools.product(enumerate(rows.values()), enumerate(columns.values())):
            assert each[i, j] == procrustes(x, y[order])


def test_the_scale_begins_at_chance():
    assert np.allclose(beyond_chance(np.array([0.2, 0.6, 1.0, 0.0]), np.full(4, 0.2)), [0, 0.5, 1, -0.25])
    assert np.isnan(beyond_chance(np.array(1.0), np.array(1.0)))


def test_a_search_is_held_against_searches_among_shuffled_images():
    shuffled = np.zeros((19, 2, 2))
    shuffled[:, 1, 0] = np.arange(19) / 100
    # Twenty searches with the one found: the nineteenth from below is the largest by chance.
    assert calibrated_highest(np.array([[0.1, 0.59], [0.0, 0.2]]), shuffled) == pytest.approx(
        (0.59, 0.18, 0.41 / 0.82)
    )
    # One that is no better than chance has nothing left.
    assert calibrated_highest(np.array([[0.05, 0.1], [0.0, 0.0]]), shuffled)[2] == 0
    with pytest.raises(ValueError, match="19 orders or more; got 3"):
        calibrated_highest(np.ones((1, 1)), np.ones((3, 1, 1)))


def test_layers_in_order_and_out_of_it():
    places = np.arange(6)
    assert share_in_order(1 - np.abs(places[:, None] - places) / 10) == 1
    # The more apart the more alike.
    assert share_in_order(np.abs(places[:, None] - places) / 10) == 0
    cka = RANDOM.random((5, 5))
    cka = (cka + cka.T) / 2
    triples = list(itertools.combinations(range(5), 3))
    expected = sum(cka[i, k] <= cka[i, j] and cka[i, k] <= cka[j, k] for i, j, k in triples) / len(triples)
    assert share_in_order(cka) == pytest.approx(expected)
    with pytest.raises(ValueError, match="Three layers"):
        share_in_order(np.eye(2))
