"""Running means and standard errors against NumPy."""

import numpy as np
import pytest
import torch

from seelike.streaming.moments import Moments


def moments_of(values):
    moments = Moments()
    moments.update(values)
    return moments


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(2,), (7, 3), (5, 2, 1, 4)])
def test_mean_and_standard_error_are_numpys(dtype, shape):
    values = torch.randn(shape).to(dtype)
    moments = moments_of(values)
    expected = values.double().numpy()
    np.testing.assert_allclose(moments.mean, expected.mean(axis=0), rtol=1e-12, atol=1e-12)
    standard_error = expected.std(axis=0, ddof=1) / np.sqrt(len(expected))
    np.testing.assert_allclose(moments.standard_error, standard_error, rtol=1e-12)


def test_a_mean_far_from_zero_does_not_cancel():
    spread = torch.randn(1000, dtype=torch.float64)
    shifted = Moments()
    for part in (spread + 1e7).split(100):
        shifted.update(part)
    expected = float(spread.std() / np.sqrt(1000))
    assert float(shifted.standard_error) == pytest.approx(expected, rel=1e-6)


def test_one_image_has_no_standard_error():
    assert bool(moments_of(torch.ones(1, 2)).standard_error.isnan().all())


def test_a_nan_is_not_passed_over():
    moments = moments_of(torch.tensor([[1.0, torch.nan], [2.0, 3.0]]))
    moments.update(torch.ones(1, 2))
    assert moments.mean.isnan().tolist() == moments.standard_error.isnan().tolist() == [False, True]


def test_infinite_values_have_no_standard_error():
    moments = moments_of(torch.tensor([1.0, torch.inf]))
    moments.update(torch.ones(1))
    assert bool(moments.standard_error.isnan())


def test_what_does_not_fit_is_refused():
    moments = moments_of(torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"values of shape \[4\] for each image, but .* \[2\] for each"):
        moments.update(torch.ones(3, 4))
    with pytest.raises(RuntimeError, match="nothing to compute"):
        _ = Moments().mean
