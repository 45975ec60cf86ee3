"""Gram matrices as pictures, against what they are of."""

import numpy as np
import pytest
import torch

from seelike import plots
from seelike.cka import cka, gram, u_center


def layers(n=12):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    return {"first": x, "last": x @ torch.randn(5, 3, generator=generator, dtype=torch.float64)}


def drawn(features):
    figure = plots.gram_maps({name: u_center(gram(x)).numpy() for name, x in features.items()})
    return figure, [axes.images[0].get_array() for axes in figure.axes]


def test_cka_is_the_mean_product_of_the_two_pictures():
    features = layers()
    _, (one, two) = drawn(features)
    product = np.ma.filled(one, np.nan) * np.ma.filled(two, np.nan)
    assert np.nanmean(product) == pytest.approx(cka(*features.values()), rel=1e-9)
    # An image with itself has no part in it.
    assert np.isnan(np.diag(product)).all()


def test_images_stand_in_the_order_of_the_last_layers_main_direction():
    features = layers()
    _, (one, two) = drawn(features)
    _, vectors = np.linalg.eigh(u_center(gram(features["last"])).numpy())
    order = np.argsort(vectors[:, -1])
    for picture, x in zip((one, two), features.values(), strict=True):
        whole = u_center(gram(x)).numpy()[order][:, order]
        known = ~np.eye(len(order), dtype=bool)
        ratio = np.ma.filled(picture, np.nan)[known] / whole[known]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


def test_a_layer_that_shows_all_images_the_same_is_drawn_as_nothing():
    _, (one, _) = drawn({"dead": torch.ones(6, 2, dtype=torch.float64), "last": layers(6)["last"]})
    assert np.ma.filled(one, 0.0)[~np.eye(6, dtype=bool)] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("grams", [{}, {"a": np.eye(3), "b": np.eye(4)}])
def test_what_is_not_of_the_same_images_is_refused(grams):
    with pytest.raises(ValueError, match="one matrix or more, of the same images; got shapes"):
        plots.gram_maps(grams)
