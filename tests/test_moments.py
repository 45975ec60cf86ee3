"""Running means and standard errors against NumPy, merged in every way."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 2**31))
def test_any_split_merges_to_the_whole(sizes, seed):
    values = torch.randn(sum(sizes) + 1, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    whole, parts = moments_of(values), Moments()
    for part in values.split([*sizes, 1]):
        parts.merge(moments_of(part))
    assert parts.count == whole.count
    torch.testing.assert_close(parts.mean, whole.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.standard_error, whole.standard_error, rtol=1e-9, atol=1e-12, equal_nan=True)


def test_a_mean_far_from_zero_does_not_cancel():
    spread = torch.randn(1000, dtype=torch.float64)
    shifted = Moments()
    for part in (spread + 1e7).split(100):
        shifted.update(part)
    expected = float(spread.std() / np.sqrt(1000))
    assert float(shifted.standard_error) == pytest.approx(expected, rel=1e-6)


def test_merging_leaves_the_other_as_it_was():
    one, other = moments_of(torch.tensor([1.0, 2.0])), moments_of(torch.tensor([5.0]))
    empty = Moments()
    empty.merge(one)
    empty.merge(other)
    one.merge(Moments())
    assert (one.count, float(one.mean), other.count, float(other.mean)) == (2, 1.5, 1, 5.0)


def test_one_image_has_no_standard_error():
    assert bool(moments_of(torch.ones(1, 2)).standard_error.isnan().all())


def test_a_state_goes_on_as_if_never_stopped(tmp_path):
    values = torch.randn(9, 2)
    whole, before, after = moments_of(values), moments_of(values[:4]), Moments()
    torch.save(before.state_dict(), tmp_path / "state.pt")
    after.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    after.update(values[4:])
    torch.testing.assert_close(after.mean, whole.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(after.standard_error, whole.standard_error, rtol=1e-12, atol=1e-12)


def test_what_does_not_fit_is_refused():
    moments = moments_of(torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"shape \[4\].*\[2\] before"):
        moments.update(torch.ones(3, 4))
    with pytest.raises(ValueError, match="not the state of a Moments"):
        moments.load_state_dict({"count": 3})
    with pytest.raises(RuntimeError, match="nothing to compute"):
        _ = Moments().mean
    assert moments.count == 3
