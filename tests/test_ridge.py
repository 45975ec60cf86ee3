"""Ridge regression of classes against plain least squares, and its streamed sums against the whole."""

import numpy as np
import pytest
import torch
from references_probes import (
    agreement,
    held_out_strength,
    leave_one_out_outputs,
    leave_one_out_strength,
    ridge,
    squared_error,
)
from sklearn.linear_model import RidgeClassifierCV

from seelike.probes import RidgeProbe
from seelike.probes.leave_one_out import leave_one_out_scores
from seelike.probes.ridge import RidgeSums, factorise, ridge_path
from seelike.probes.strength import STRENGTHS as DEFAULT
from seelike.probes.strength import best_strength, check_strengths, held_out_part

STRENGTHS = torch.tensor([0.01, 0.1, 1.0, 10.0, 100.0, 1000.0], dtype=torch.float64)
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def problem(n, d, classes, seed, decay=0.5, offset=3.0):
    """Features with unequal spread along unknown directions, whose classes overlap."""
    generator = torch.Generator().manual_seed(seed)
    spread = 10 * torch.arange(1, d + 1, dtype=torch.float64) ** -decay
    labels = torch.cat([torch.arange(classes), torch.randint(classes, (n - classes,), generator=generator)])
    centres = 0.7 * torch.randn(classes, d, generator=generator, dtype=torch.float64) * spread
    features = torch.randn(n, d, generator=generator, dtype=torch.float64) * spread + centres[labels]
    rotation, _ = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))
    return features @ rotation + offset, labels


def relative_error(found, expected):
    return np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()


def weights_at(x, labels, classes, strength):
    path = ridge_path(x, labels, classes)
    return path.at(torch.full(path.mean.shape[:-1], strength, dtype=torch.float64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "classes"), [(60, 7, 3), (20, 31, 4), (25, 25, 2), (3, 1, 2), (40, 39, 40)])
def test_weights_are_those_of_least_squares(dtype, n, d, classes):
    x, labels = problem(n, d, classes, seed=n)
    x = x.to(dtype)
    found = weights_at(x[None], labels, classes, 5.0)
    weights, intercept = ridge(x.double().numpy(), labels.numpy(), classes, 5.0)
    assert relative_error(found.weights[0], weights) < 1e-9
    assert np.abs(found.intercept[0].numpy() - intercept).max() < 1e-8


SHAPES = [(45, 6, 0.0), (45, 6, 3.0), (18, 25, 1.0), (30, 29, 1.0), (20, 20, 0.5), (4, 60, 0.0), (40, 1, 0.0)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "decay"), SHAPES)
def test_leave_one_out_is_one_regression_for_each_image(dtype, n, d, decay):
    problems = [problem(n, d, 3, seed=seed, decay=decay) for seed in range(2)]
    labels = problems[0][1]
    x = torch.stack([features for features, _ in problems]).to(dtype)
    found = leave_one_out_scores(*factorise(x, labels, 3), labels, STRENGTHS)
    for i, features in enumerate(x.double().numpy()):
        for j, strength in enumerate(STRENGTHS.tolist()):
            outputs = leave_one_out_outputs(features, labels.numpy(), 3, strength)
            expected = agreement(outputs, labels.numpy()), squared_error(outputs, labels.numpy())
            assert found[:, j, i].tolist() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_leave_one_out_in_parts_is_that_of_the_whole(monkeypatch):
    x, labels = problem(50, 8, 3, seed=3)
    whole = leave_one_out_scores(*factorise(x[None], labels, 3), labels, STRENGTHS)
    monkeypatch.setattr("seelike.probes.leave_one_out._OUTPUTS_ON_CPU", 21)
    torch.testing.assert_close(leave_one_out_scores(*factorise(x[None], labels, 3), labels, STRENGTHS), whole)


def test_leave_one_out_stays_exact_where_a_regression_passes_through_every_image():
    # Residuals and slacks are both some 1e-13 of the targets.
    x, labels = problem(15, 40, 3, seed=0)
    strengths = torch.tensor([1e-10], dtype=torch.float64)
    found = leave_one_out_scores(*factorise(x[None], labels, 3), labels, strengths)
    # As the strength goes to 0, it is least squares of the smallest weights.
    outputs = []
    for i in range(15):
        others = np.arange(15) != i
        rest, y = x[others].numpy(), np.where(labels[others, None] == np.arange(3), 1.0, -1.0)
        weights = np.linalg.pinv(rest - rest.mean(axis=0)) @ (y - y.mean(axis=0))
        outputs.append((x[i].numpy() - rest.mean(axis=0)) @ weights + y.mean(axis=0))
    expected = agreement(np.array(outputs), labels.numpy()), squared_error(np.array(outputs), labels.numpy())
    assert found[:, 0, 0].tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize(("n", "d", "decay"), [(45, 6, 2.0), (18, 25, 1.0)])
def test_the_strength_chosen_agrees_best_with_images_left_out(dtype, classes, n, d, decay):
    problems = [problem(n, d, classes, seed=seed, decay=decay) for seed in range(3)]
    labels = problems[0][1]
    x = torch.stack([features for features, _ in problems]).to(dtype)
    probe = RidgeProbe(STRENGTHS).fit(x, labels)
    expected = [leave_one_out_strength(f, labels.numpy(), classes, STRENGTHS.tolist()) for f in x.double().numpy()]
    assert probe.alpha_.tolist() == pytest.approx(expected)


def test_held_out_images_choose_and_all_are_fitted():
    x, labels = problem(80, 10, 4, seed=2)
    left = held_out_part(labels, 0.25, seed=0)
    probe = RidgeProbe(STRENGTHS, held_out=0.25).fit(x, labels)
    parts = [part.numpy() for part in (x[~left], labels[~left], x[left], labels[left])]
    assert probe.alpha_ == held_out_strength(*parts, 4, STRENGTHS.tolist())
    assert relative_error(probe.coef_.mT, ridge(x.numpy(), labels.numpy(), 4, probe.alpha_)[0]) < 1e-9


def few_of_many_classes(decay, seed, per_class=10, classes=100, d=384):
    """Ten images of each of 100 classes to train on, 2000 to test on; directions have a spread of j^-decay."""
    generator = torch.Generator().manual_seed(seed)
    spread = 10 * torch.arange(1, d + 1) ** -decay
    rotation, _ = torch.linalg.qr(torch.randn(d, d, generator=generator))
    centres = 0.3 * spread * torch.randn(classes, d, generator=generator)
    parts = []
    for n in (per_class * classes, 2000):
        labels = torch.arange(n) % classes
        noise = torch.randn(n, d, generator=generator) * spread
        parts.append(((noise + centres[labels]) @ rotation + 5, labels))
    return parts


@pytest.mark.parametrize("decay", [0.75, 1.5])
@pytest.mark.parametrize("held_out", [None, 0.5])
def test_the_strength_chosen_loses_little_to_the_best(decay, held_out):
    (x, labels), (x_test, labels_test) = few_of_many_classes(decay, seed=int(10 * decay))
    best = max(RidgeProbe([alpha]).fit(x, labels).score(x_test, labels_test) for alpha in DEFAULT)
    found = RidgeProbe(held_out=held_out).fit(x, labels).score(x_test, labels_test)
    assert found > best - 0.015


def test_of_equal_agreements_the_least_error_is_taken():
    scores = torch.tensor([[[0.5, 0.5], [0.7, 0.5], [0.7, 0.2]], [[0.1, 0.3], [0.4, 0.2], [0.3, 0.1]]]).double()
    assert best_strength(scores, torch.tensor([1.0, 30.0, 200.0]).double()).tolist() == [200.0, 30.0]


def test_a_mean_far_from_zero_changes_no_weight():
    x, labels = problem(60, 9, 3, seed=1)
    near, far = (weights_at(features, labels, 3, 2.0).weights for features in (x, x + 1e6))
    assert relative_error(far, near.numpy()) < 1e-8


def uneven(n, d, classes, seed, factor):
    """A problem in which every third feature is so many times as large."""
    x, labels = problem(n, d, classes, seed, decay=0.0)
    scale = torch.ones(d, dtype=torch.float64)
    scale[::3] = factor
    return x * scale, labels


@pytest.mark.parametrize("factor", [1e7, 1e9])
@pytest.mark.parametrize(("n", "d"), [(60, 7), (200, 2), (12, 30), (20, 20)])
def test_features_far_larger_than_others_hide_nothing(n, d, factor):
    x, labels = uneven(n, d, 3, 0, factor)
    even, _ = problem(n, d, 3, 1, decay=0.0)
    together = torch.stack([even, x])
    weights, _ = ridge(x.numpy(), labels.numpy(), 3, 5.0)
    reached = torch.from_numpy(np.abs(x.numpy()).mean(axis=0)[:, None])
    sums = RidgeSums(3)
    for part, own in zip(together.split(7, dim=1), labels.split(7), strict=True):
        sums.update(part.movedim(1, 0), own)
    for path in (ridge_path(together, labels, 3), sums.path()):
        found = path.at(torch.full((2,), 5.0, dtype=torch.float64))
        # By what each feature does to the outputs.
        assert relative_error(found.weights[1] * reached, weights * reached.numpy()) < 1e-5
        assert relative_error(found.weights[0], ridge(even.numpy(), labels.numpy(), 3, 5.0)[0]) < 1e-9
        small = np.flatnonzero(reached[:, 0] < factor / 100)
        assert relative_error(found.weights[1][small], weights[small]) < 1e-5


def test_a_feature_beside_one_far_larger_is_used_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    tells = rng.normal(size=200)
    x, y = np.c_[tells, 1e7 * rng.normal(size=200)], (tells > 0).astype(int)
    probe, peer = RidgeProbe().fit(x, y), RidgeClassifierCV(alphas=DEFAULT).fit(x, y)
    assert probe.alpha_ == peer.alpha_
    assert relative_error(probe.coef_[1], peer.coef_.reshape(-1)) < 1e-6
    assert probe.score(x, y) == peer.score(x, y) > 0.95


def test_leave_one_out_of_a_feature_beside_one_far_larger():
    for n, d in ((40, 4), (15, 21)):
        x, labels = uneven(n, d, 3, 2, 1e7)
        found = leave_one_out_scores(*factorise(x, labels, 3), labels, STRENGTHS)
        for j, strength in enumerate(STRENGTHS.tolist()):
            outputs = leave_one_out_outputs(x.numpy(), labels.numpy(), 3, strength)
            expected = agreement(outputs, labels.numpy()), squared_error(outputs, labels.numpy())
            assert found[:, j].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_every_class_is_held_out_in_the_same_share():
    labels = torch.tensor([0] * 10 + [1] * 20 + [2] * 2)
    held_out = held_out_part(labels, 0.2, seed=3)
    assert torch.bincount(labels[held_out]).tolist() == [2, 4, 1]
    assert bool((held_out == held_out_part(labels, 0.2, seed=3)).all())
    with pytest.raises(ValueError, match="Class 7 has one image"):
        held_out_part(torch.tensor([0, 0, 7]), 0.5, seed=0)
    with pytest.raises(ValueError, match="Class owl has one image"):
        held_out_part(torch.tensor([0, 0, 1]), 0.5, seed=0, names=["cat", "owl"])


@pytest.mark.parametrize("share", [1, 0, -0.1, 1.0, np.float32(1.5), "0.5", None, np.nan, True, [0.5]])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(ValueError, match=r"held_out is .* between 0 and 1"):
        held_out_part(torch.tensor([0, 0, 1, 1]), share, seed=0)


@pytest.mark.parametrize("share", [0.5, np.float32(0.5), np.float64(0.5), np.float16(0.5)])
def test_a_share_may_be_a_number_of_any_kind(share):
    assert int(held_out_part(torch.tensor([0, 0, 1, 1]), share, seed=0).sum()) == 2


@pytest.mark.parametrize("given", [2, 2.0, np.float32(2), [2], np.array([2]), torch.tensor([2.0]), (2,)])
def test_strengths_may_be_one_or_several_numbers_of_any_kind(given):
    assert check_strengths(given).tolist() == [2.0]


@pytest.mark.parametrize("given", [[], [0.0], [-1.0], [np.inf], [np.nan], "strong", None, [1.0, None]])
def test_what_is_no_strength_is_refused(given):
    with pytest.raises(ValueError, match=r"alphas is .*; expected one or more positive, finite strengths"):
        check_strengths(given)


def sums_of(x, labels, classes=4):
    sums = RidgeSums(classes)
    sums.update(x, labels)
    return sums


def weights_of(sums, strength=2.0):
    path = sums.path()
    return path.at(torch.full(path.mean.shape[:-1], strength, dtype=torch.float64)).weights


# With 6 features sums are kept, with 90 the features themselves.
@pytest.mark.parametrize("d", [6, 25, 90])
def test_streamed_weights_are_those_of_least_squares(d):
    x, labels = problem(50, d, 4, seed=d, offset=100.0)
    sums = RidgeSums(4)
    for part, own in zip(x.split(12), labels.split(12), strict=True):
        sums.update(part[:, None].expand(-1, 3, -1), own)
    for weights in weights_of(sums):
        assert relative_error(weights, ridge(x.numpy(), labels.numpy(), 4, 2.0)[0]) < 1e-7


def test_memory_does_not_grow_with_the_images():
    sums = RidgeSums(3)
    sizes = []
    for seed in range(4):
        x, labels = problem(50, 8, 3, seed=seed)
        sums.update(x, labels)
        state = sums.state_dict()
        sizes.append(sum(v.numel() for v in [*state["features"], *state["labels"], *state["sums"].values()]))
    assert len(set(sizes)) == 1


def test_what_does_not_fit_is_refused():
    x, labels = problem(20, 5, 2, seed=8)
    sums = sums_of(x, labels, 2)
    with pytest.raises(ValueError, match=r"shape \[6\].*\[5\] for each image before"):
        sums.update(torch.ones(3, 6), torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match="0 to 1, since num_classes is 2"):
        sums.update(torch.ones(3, 5), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="NaN"):
        sums.update(torch.full((1, 5), torch.nan), torch.tensor([0]))
    with pytest.raises(RuntimeError, match="nothing to compute"):
        RidgeSums(2).path()
    with pytest.raises(ValueError, match="num_classes is 1"):
        RidgeSums(1)
    with pytest.raises(ValueError, match="at least 2 classes"):
        ridge_path(x, torch.zeros(20, dtype=torch.int64), 2)
    with pytest.raises(ValueError, match="NaN or infinite"):
        ridge_path(x.clone().fill_(torch.inf), labels, 2)


@pytest.mark.parametrize("d", [4, 40])
def test_dead_features_give_no_weight(d):
    labels = torch.arange(30) % 3
    probe = RidgeProbe(STRENGTHS).fit(torch.full((1, 30, d), 0.1), labels)
    assert float(probe.coef_.abs().max()) < 1e-6
    np.testing.assert_allclose(probe.intercept_[0], -1 / 3, atol=1e-7)
    assert float(probe.alpha_) in STRENGTHS.float()
