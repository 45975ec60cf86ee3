"""Phases of a CKA map against a search through all ways to cut it."""

import itertools

import numpy as np
import pytest

from seelike.sections.phases import phases, smooth_band


def random_map(n, seed):
    x = np.random.default_rng(seed).random((n, n))
    return np.where(np.eye(n, dtype=bool), 1.0, (x + x.T) / 2)


def excess(cka, phase):
    """The sum of the head of the module, by loops."""
    pairs = [(i, j) for i in range(len(cka)) for j in range(i + 1, len(cka))]
    mean = sum(cka[i, j] for i, j in pairs) / len(pairs)
    return sum(cka[i, j] - mean for i, j in pairs if phase[i] == phase[j])


def best_of_all(cka, number):
    n = len(cka)
    ways = itertools.combinations(range(1, n), number - 1)
    return max(excess(cka, np.searchsorted(cuts, range(n), side="right")) for cuts in ways)


@pytest.mark.parametrize("number", [1, 2, 3, 7])
@pytest.mark.parametrize("seed", range(4))
def test_no_way_to_cut_is_better(number, seed):
    cka = random_map(7, seed)
    found = phases(cka, number)
    assert sorted(set(found)) == list(range(number))
    assert (np.diff(found) >= 0).all()
    assert excess(cka, found) == pytest.approx(best_of_all(cka, number), abs=1e-12)


def test_planted_phases_are_found():
    planted = np.repeat([0, 1, 2], [2, 5, 3])
    cka = np.where(planted[:, None] == planted, 0.8, 0.3) + 0.01 * random_map(10, 0)
    assert phases(cka, 3).tolist() == planted.tolist()


def test_a_number_of_phases_that_cannot_be():
    for number in (0, 4):
        with pytest.raises(ValueError, match=f"3 layers make from 1 to 3 phases; got a number of {number}"):
            phases(np.eye(3), number)


def test_the_band_has_the_mean_at_every_distance():
    cka = random_map(6, 1)
    band = smooth_band(cka)
    for i, j in itertools.product(range(6), repeat=2):
        same = [cka[a, b] for a in range(6) for b in range(6) if abs(a - b) == abs(i - j)]
        assert band[i, j] == pytest.approx(sum(same) / len(same), abs=1e-12)
    assert np.allclose(smooth_band(band), band, rtol=0, atol=1e-12)
