"""Textures are what their formulas say, in any number."""

import numpy as np
import pytest

from seelike.data.textures import CLASSES, textures


@pytest.mark.parametrize("n", [0, 1, 7, 300])
def test_any_number(n):
    images, classes = textures(n, seed=3)
    assert images.shape == (n, 28, 28)
    assert images.dtype == np.uint8
    assert classes.shape == (n,)


def test_the_seed_decides():
    (first, _), (again, _), (other, _) = textures(20, 0), textures(20, 0), textures(20, 1)
    assert (first == again).all()
    assert (first != other).mean() > 0.9


def test_stripes_have_one_direction_and_chequers_two():
    images, classes = textures(2000, seed=0)
    spectra = np.abs(np.fft.fft2(images - images.mean(axis=(1, 2), keepdims=True))) ** 2
    # Of the strongest half-plane peak, the share of all power: the whole for stripes, half for chequers.
    strongest = 2 * np.sort(spectra.reshape(len(images), -1), axis=1)[:, -1] / spectra.sum(axis=(1, 2))
    by_class = {name: np.median(strongest[classes == number]) for number, name in enumerate(CLASSES)}
    assert by_class["stripes"] > 1.4 * by_class["chequers"]
    assert by_class["stripes"] == max(by_class.values())


def test_no_class_is_brighter_than_the_others():
    images, classes = textures(4000, seed=0)
    means = [images[classes == number].mean() for number in range(len(CLASSES))]
    assert np.ptp(means) < 12
