"""CKA against float64 references written from the formulas, and against every failure seen in other tools."""

import math

import numpy as np
import pytest
import references
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seelike.cka import DeadLayerError, MinibatchCKA, cka, estimators, gram, hsic, u_center
from seelike.models import layers, read

few_examples = settings(max_examples=25, deadline=None)


def related_features(n, p, q, seed=0, dtype=torch.float32):
    """Two layers that share part of what they say about the images, as real layers do."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shared = normal(n, 3)
    x = shared @ normal(3, p) + normal(n, p)
    y = (shared @ normal(3, q)).relu() + normal(n, q)
    return x.to(dtype), y.to(dtype)


def reference(x, y):
    # The reference sees the very numbers that the library sees: rounding the input is not an error of CKA.
    return references.cka(x.double().numpy(), y.double().numpy())


@pytest.fixture(params=[1, 3], ids=["one slice at a time", "as on a GPU"])
def slices(request, monkeypatch):
    monkeypatch.setattr(estimators, "slices_at_once", lambda device: request.param)


# --- against the reference -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("slices")
@pytest.mark.parametrize("n", [4, 5, 31, 32, 64])
@pytest.mark.parametrize(("p", "q"), [(1, 7), (50, 3), (5000, 300)])
def test_hsic_and_cka_are_those_of_the_formula(n, p, q):
    x, y = related_features(n, p, q, seed=n)
    expected = references.unbiased_hsic(references.centred_gram(x), references.centred_gram(y))
    scale = math.sqrt(hsic(x, x) * hsic(y, y))
    assert hsic(x, y) == pytest.approx(expected, abs=1e-7 * scale)
    assert cka(x, y) == pytest.approx(reference(x, y), abs=1e-7)


@pytest.mark.usefixtures("slices")
@pytest.mark.parametrize(
    ("dtype", "mean", "tolerance"),
    [
        (torch.float64, 0, 1e-12),
        (torch.float64, 1000, 1e-12),
        (torch.float32, 0, 1e-6),
        (torch.float32, 1000, 1e-6),
        (torch.bfloat16, 0, 1e-6),
        (torch.float16, 0, 1e-6),
        (torch.float16, 1000, 1e-6),
    ],
)
@pytest.mark.parametrize(("n", "p", "q"), [(4, 100, 30), (64, 20_000, 300), (256, 3200, 640)])
def test_error_by_dtype(n, p, q, dtype, mean, tolerance):
    x, y = related_features(n, p, q, dtype=torch.float64)
    x, y = (x + mean * x.std()).to(dtype), (y + mean * y.std()).to(dtype)
    assert cka(x, y) == pytest.approx(reference(x, y), abs=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 1e-2), (torch.float16, 1e-3)])
def test_error_of_rounding_activations_to_16_bits(dtype, tolerance):
    x, y = related_features(64, 2000, 300)
    assert cka(x.to(dtype), y.to(dtype)) == pytest.approx(reference(x, y), abs=tolerance)


def test_a_mean_that_differs_by_feature_costs_nothing():
    x, y = related_features(64, 5000, 300)
    x = x + 1000 * torch.randn(5000, generator=torch.Generator().manual_seed(1))
    assert cka(x, y) == pytest.approx(reference(x, y), abs=1e-6)


@pytest.mark.usefixtures("slices")
def test_one_huge_feature_or_image_does_not_drown_the_others():
    x, y = related_features(64, 20_000, 300)
    x[:, 0] *= 1e4
    assert cka(x, y) == pytest.approx(reference(x, y), abs=2e-6)
    y[5] *= 1e4
    assert cka(x, y) == pytest.approx(reference(x, y), abs=1e-6)


@pytest.mark.usefixtures("slices")
@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
def test_quiet_and_loud_layers_are_as_exact(scale):
    x, y = related_features(64, 200, 30)
    quiet = (x.double() * scale).float()
    assert cka(quiet, y) == pytest.approx(reference(x, y), abs=1e-6)
    assert cka(quiet, quiet) == pytest.approx(1, abs=1e-12)


def test_global_precision_settings_do_not_reach_the_products():
    x, y = related_features(64, 2000, 300)
    expected = cka(x, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cka(x, y) == expected
    torch.set_float32_matmul_precision("medium")
    try:
        assert cka(x, y) == pytest.approx(expected, abs=1e-7)
    finally:
        torch.set_float32_matmul_precision("highest")


def test_features_of_any_layout_are_flattened_per_image():
    x = torch.randn(6, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    flat = gram(x.reshape(6, -1))
    torch.testing.assert_close(gram(x), flat)
    # As tokens of a ViT that were transposed, and channels_last feature maps of a ResNet.
    torch.testing.assert_close(gram(x.permute(0, 2, 3, 1)), flat)
    torch.testing.assert_close(gram(x.to(memory_format=torch.channels_last)), flat)
    torch.testing.assert_close(gram(x[::2]), gram(x[::2].clone()))
    torch.testing.assert_close(gram(x[:, 0, 0, 0]), gram(x[:, 0, 0, :1]))


def test_gradients_do_not_pile_up():
    x = torch.randn(5, 3, requires_grad=True)
    assert not gram(x).requires_grad


def test_features_are_left_as_they_are():
    x, y = related_features(64, 30, 20)
    copies = x.clone(), y.clone()
    cka(x, y)
    assert torch.equal(x, copies[0])
    assert torch.equal(y, copies[1])


# --- properties ----------------------------------------------------------------------------------------------

sizes = {"n": st.integers(4, 40), "p": st.integers(1, 20), "seed": st.integers(0, 10**6)}


@few_examples
@given(**sizes)
def test_cka_ignores_rotation_shift_and_scale(n, p, seed):
    x, y = related_features(n, p, 5, seed, torch.float64)
    orthogonal = torch.linalg.qr(torch.randn(p, p, dtype=torch.float64)).Q
    assert cka(3 * x @ orthogonal + 17, y) == pytest.approx(cka(x, y), abs=1e-9)


@few_examples
@given(**sizes)
def test_cka_ignores_the_order_of_images(n, p, seed):
    x, y = related_features(n, p, 5, seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assert cka(x[order], y[order]) == pytest.approx(cka(x, y), abs=1e-6)


@few_examples
@given(**sizes)
def test_cka_is_symmetric_bounded_and_one_with_itself(n, p, seed):
    x, y = related_features(n, p, 5, seed)
    similarity = MinibatchCKA()
    similarity.update({"x": x, "y": y, "again": x.clone()})
    matrix = similarity.compute()
    assert torch.equal(matrix, matrix.T)
    torch.testing.assert_close(matrix.diag(), torch.ones(3, dtype=torch.float64), atol=1e-12, rtol=0)
    assert matrix.abs().max() <= 1 + 1e-12
    assert matrix[0, 2] == pytest.approx(1, abs=1e-12)


@few_examples
@given(n=st.integers(4, 40), seed=st.integers(0, 10**6))
def test_u_centred_grams_have_zero_sums_and_are_fixed_points(n, seed):
    x, _ = related_features(n, 10, 1, seed)
    centred = u_center(gram(x))
    size = centred.abs().max()
    assert centred.diag().abs().max() == 0
    assert centred.sum(dim=0).abs().max() <= 1e-12 * size
    assert (u_center(centred) - centred).abs().max() <= 1e-12 * size
    assert hsic(x, x) >= 0


def test_unbiased_cka_of_unrelated_layers_averages_to_zero_and_is_not_clamped():
    generator = torch.Generator().manual_seed(0)
    values = [
        cka(torch.randn(8, 100, generator=generator), torch.randn(8, 100, generator=generator)) for _ in range(200)
    ]
    # The biased estimator gives about 0.9 here.
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(200)
    assert min(values) < 0


# --- minibatches ---------------------------------------------------------------------------------------------


def three_batches(sizes=(8, 8, 8)):
    return [related_features(n, 30, 6, seed=i) for i, n in enumerate(sizes)]


@pytest.mark.parametrize("sizes", [(8, 8, 8), (8, 4, 7), (40, 36)])
def test_hsics_are_averaged_before_they_are_divided(sizes):
    batches = three_batches(sizes)
    # A louder batch tells the average of HSICs from the average of CKAs.
    batches[0] = (3 * batches[0][0], batches[0][1])
    similarity = MinibatchCKA()
    for x, y in batches:
        similarity.update({"x": x}, {"y": y})
    xs, ys = zip(*[(x.numpy(), y.numpy()) for x, y in batches], strict=True)
    expected = references.minibatch_cka(xs, ys)
    assert similarity.compute().item() == pytest.approx(expected, abs=1e-7)
    average_of_ckas = np.mean([references.cka(x, y) for x, y in zip(xs, ys, strict=True)])
    assert abs(average_of_ckas - expected) > 1e-3


def test_rows_against_themselves_are_rows_against_equal_columns():
    one, two = MinibatchCKA(), MinibatchCKA()
    for x, y in three_batches():
        one.update({"x": x, "y": y})
        two.update({"x": x, "y": y}, {"x": x, "y": y})
    assert one.names == two.names == (("x", "y"), ("x", "y"))
    torch.testing.assert_close(one.compute(), two.compute(), atol=1e-12, rtol=0)


def test_grams_in_place_of_features():
    features, grams, centred = MinibatchCKA(), MinibatchCKA(), MinibatchCKA()
    for x, y in three_batches():
        features.update({"x": x}, {"y": y})
        grams.update_grams({"x": gram(x)}, {"y": gram(y)})
        centred.update_grams({"x": u_center(gram(x))}, {"y": u_center(gram(y))})
    assert torch.equal(features.compute(), grams.compute())
    torch.testing.assert_close(features.compute(), centred.compute(), atol=1e-12, rtol=0)


def test_rows_and_columns_keep_the_order_of_the_first_mapping():
    x, y = related_features(10, 6, 6)
    similarity = MinibatchCKA()
    similarity.update({"late": x, "early": y}, {"b": y, "a": x})
    similarity.update({"early": 2 * y, "late": 2 * x}, {"a": 2 * x, "b": 2 * y})
    assert similarity.names == (("late", "early"), ("b", "a"))
    expected = [[cka(x, y), 1], [1, cka(x, y)]]
    np.testing.assert_allclose(similarity.compute(), expected, atol=1e-12)


@pytest.mark.parametrize("symmetric", [True, False])
def test_parts_that_have_the_layers_in_another_order_merge_by_name(symmetric):
    whole, merged = MinibatchCKA(), MinibatchCKA()
    for place, (x, y) in enumerate(three_batches()):
        xs, ys = {"x": x, "y": y}, None if symmetric else {"z": y * y, "w": x * x}
        whole.update(xs, ys)
        part = MinibatchCKA()
        part.update(dict(reversed(xs.items())) if place != 1 else xs, ys)
        merged.merge(part)
    assert merged.names[0] == ("y", "x")
    torch.testing.assert_close(merged.compute()[[1, 0]][:, [1, 0] if symmetric else [0, 1]], whole.compute())


# --- dead layers ---------------------------------------------------------------------------------------------


def one_hot(n):
    # All pairs of different images are equally alike: nothing to compare, although the layer is not constant.
    return torch.eye(n)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n", [4, 7, 100])
def test_dead_layers_are_named_whatever_their_value(n, dtype):
    x, _ = related_features(n, 6, 1, dtype=dtype)
    constants = torch.randn(50, generator=torch.Generator().manual_seed(0)).mul(1000).to(dtype)
    xs = {
        "alive": x,
        "dead": constants.expand(n, 50),
        "zero": torch.zeros(n, 2, dtype=dtype),
        "one hot": one_hot(n),
    }
    similarity = MinibatchCKA()
    similarity.update(xs)
    assert similarity.dead() == ("dead", "zero", "one hot")
    with pytest.raises(DeadLayerError, match=r"'dead', 'zero', 'one hot'.*Leave these layers out") as caught:
        similarity.compute()
    assert caught.value.names == ("dead", "zero", "one hot")
    matrix = similarity.compute(on_dead="nan")
    assert matrix[0, 0] == pytest.approx(1, abs=1e-12)
    assert matrix.isnan().sum() == 15


def test_dead_columns_are_named_too():
    x, y = related_features(8, 3, 3)
    similarity = MinibatchCKA()
    similarity.update({"x": x}, {"dead": torch.ones(8, 2), "y": y})
    assert similarity.dead() == ("dead",)
    assert similarity.compute(on_dead="nan").isnan().tolist() == [[True, False]]


def test_a_layer_that_is_constant_on_one_minibatch_only_is_alive():
    batches = three_batches()
    similarity = MinibatchCKA()
    similarity.update({"x": batches[0][0], "sometimes": torch.ones(8, 3)})
    similarity.update({"x": batches[1][0], "sometimes": batches[1][1]})
    assert torch.isfinite(similarity.compute()).all()


def test_cka_of_a_dead_layer_is_an_error():
    x, _ = related_features(8, 3, 3)
    with pytest.raises(DeadLayerError, match="Dead layers: 'y'"):
        cka(x, torch.ones(8, 3))
    assert hsic(x, torch.ones(8, 3)) == 0


# --- errors --------------------------------------------------------------------------------------------------

good, _ = related_features(8, 3, 3)


def with_one(value):
    bad = good.clone()
    bad[2, 1] = value
    return bad


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (good[:3], ValueError, "Layer 'bad': got 3 images"),
        (good[:7], ValueError, "Layer 'bad': got 7 images, but layer 'good' has 8"),
        (with_one(math.nan), ValueError, "Layer 'bad': the activations contain NaN or infinite"),
        (with_one(math.inf), ValueError, "Layer 'bad': the activations contain NaN or infinite"),
        (with_one(-math.inf).double(), ValueError, "Layer 'bad': the activations contain NaN or infinite"),
        (torch.full((8, 3), math.inf), ValueError, "Layer 'bad': the activations contain NaN or infinite"),
        (good.double() * 1e200, ValueError, "Layer 'bad': the activations are out of range"),
        (good.double() * 1e-200, ValueError, "Layer 'bad': the activations are out of range"),
        (torch.tensor(1.0), ValueError, r"Layer 'bad': got a tensor of shape \[\]"),
        (torch.ones(0, 3), ValueError, r"Layer 'bad': got a tensor of shape \[0, 3\]"),
        (torch.ones(8, 3, dtype=torch.int64), TypeError, "Layer 'bad': got a tensor of dtype torch.int64"),
        ([[1.0, 2.0]], TypeError, "Layer 'bad': got an object of type list"),
        (None, TypeError, "Layer 'bad': got an object of type NoneType"),
    ],
)
def test_errors_name_the_layer_and_leave_the_sums_alone(bad, error, message):
    similarity = MinibatchCKA()
    similarity.update({"good": good, "bad": good[:, :2]})
    before = similarity.compute()
    with pytest.raises(error, match=message):
        similarity.update({"good": good, "bad": bad})
    assert torch.equal(similarity.compute(), before)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_than_four_images(n):
    with pytest.raises(ValueError, match=f"Layer 'x': got {n} images; .* at least 4"):
        cka(good[:n], good[:n])
    with pytest.raises(ValueError, match="Layer 'a': got"):
        MinibatchCKA().update({"a": good[:n]})
    with pytest.raises(ValueError, match="at least 4"):
        u_center(torch.ones(n, n))


def test_unequal_images_in_rows_and_columns():
    with pytest.raises(ValueError, match="Layer 'a' of xs has 8 images, but layer 'b' of ys has 7"):
        MinibatchCKA().update({"a": good}, {"b": good[:7]})


def test_no_layers():
    with pytest.raises(ValueError, match="xs is empty"):
        MinibatchCKA().update({})
    with pytest.raises(ValueError, match="ys is empty"):
        MinibatchCKA().update({"a": good}, {})
    with pytest.raises(RuntimeError, match="call update"):
        MinibatchCKA().compute()


def test_layers_that_change_between_updates():
    similarity = MinibatchCKA()
    similarity.update({"a": good, "b": good})
    with pytest.raises(ValueError, match=r"layers of xs differ .* missing \['b'\], new \['c'\]"):
        similarity.update({"a": good, "c": good})
    with pytest.raises(ValueError, match="Earlier updates came without ys, this one with"):
        similarity.update({"a": good, "b": good}, {"c": good})
    other = MinibatchCKA()
    other.update({"a": good})
    with pytest.raises(ValueError, match=r"missing \['b'\], new none"):
        similarity.merge(other)


def test_grams_that_are_none():
    with pytest.raises(ValueError, match=r"Layer 'a': got a tensor of shape \[8, 3\]; expected a Gram"):
        MinibatchCKA().update_grams({"a": good})
    with pytest.raises(ValueError, match="Layer 'a': the Gram matrix contains NaN"):
        MinibatchCKA().update_grams({"a": torch.full((5, 5), math.nan)})


# --- in-place layers -----------------------------------------------------------------------------------------


def test_layers_before_in_place_operations_are_read_right():
    torch.manual_seed(0)
    in_place = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), nn.Conv2d(6, 5, 3), nn.ReLU(inplace=True)
    ).eval()
    in_place.pretrained_cfg = {"input_size": (3, 8, 8)}
    images = torch.randn(12, 3, 8, 8)
    names = ["0", "1", "2", "3"]
    similarity = MinibatchCKA()
    similarity.update_grams(
        read(in_place, layers(in_place, names), images, reduce=lambda layer, activation: gram(activation))
    )
    with torch.no_grad():
        first = in_place[0](images)
        second = in_place[2](first.relu())
    expected = MinibatchCKA()
    expected.update({"0": first, "1": first.relu(), "2": second, "3": second.relu()})
    assert similarity.names == expected.names
    torch.testing.assert_close(similarity.compute(), expected.compute(), atol=1e-12, rtol=0)
    # A tool that keeps references finds layer 0 equal to layer 1.
    assert similarity.compute()[0, 1] < 0.999
