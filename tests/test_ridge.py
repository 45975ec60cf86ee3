"""Ridge regression of classes against plain least squares, and its streamed sums against the whole."""

import numpy as np
import pytest
import torch
from references_probes import leave_one_out_error, ridge

from seelike.probes.ridge import (
    RidgeSums,
    fit_held_out,
    fit_leave_one_out,
    held_out_part,
    ridge_path,
    strongest_of_best,
)

STRENGTHS = torch.tensor([0.01, 0.1, 1.0, 10.0, 100.0, 1000.0], dtype=torch.float64)
# Largest error of the weights, relative to the largest weight, against float64 from the very same numbers.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 1e-5, torch.float16: 1e-5}


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


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("n", "d", "classes"), [(60, 7, 3), (20, 31, 4), (25, 25, 2), (3, 1, 2), (40, 39, 40)])
def test_weights_are_those_of_least_squares(dtype, n, d, classes):
    x, labels = problem(n, d, classes, seed=n)
    x = x.to(dtype)
    fit = fit_leave_one_out(x[None], labels, classes, torch.tensor([5.0], dtype=torch.float64))
    weights, intercept = ridge(x.double().numpy(), labels.numpy(), classes, 5.0)
    assert relative_error(fit.weights[0], weights) < TOLERANCES[dtype]
    assert np.abs(fit.intercept[0].numpy() - intercept).max() < 10 * TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("n", "d", "decay"), [(45, 6, 0.0), (45, 6, 3.0), (18, 25, 1.0), (30, 29, 1.0)])
def test_leave_one_out_chooses_as_one_regression_for_each_image(dtype, n, d, decay):
    problems = [problem(n, d, 3, seed=seed, decay=decay) for seed in range(4)]
    labels = problems[0][1]
    x = torch.stack([features for features, _ in problems]).to(dtype)
    fit = fit_leave_one_out(x, labels, 3, STRENGTHS)
    for i, features in enumerate(x.double().numpy()):
        errors = [leave_one_out_error(features, labels.numpy(), 3, float(a)) for a in STRENGTHS]
        assert float(fit.strength[i]) == float(STRENGTHS[int(np.argmin(errors))])


def test_float32_gives_way_to_float64_where_it_does_not_suffice():
    # Spread over ten orders of magnitude: the scatter has twenty.
    x, labels = problem(80, 12, 3, seed=0, decay=4.0)
    strengths = torch.logspace(-8, 0, 9, dtype=torch.float64)
    x = x.float()
    fit = fit_leave_one_out(x[None], labels, 3, strengths)
    alpha = float(fit.strength)
    errors = [leave_one_out_error(x.double().numpy(), labels.numpy(), 3, float(a)) for a in strengths]
    assert alpha == float(strengths[int(np.argmin(errors))])
    assert relative_error(fit.weights[0], ridge(x.double().numpy(), labels.numpy(), 3, alpha)[0]) < 1e-5


def test_a_mean_far_from_zero_changes_no_weight():
    x, labels = problem(60, 9, 3, seed=1)
    near = fit_leave_one_out(x[None], labels, 3, STRENGTHS)
    far = fit_leave_one_out((x + 1e6)[None], labels, 3, STRENGTHS)
    assert relative_error(far.weights, near.weights.numpy()) < 1e-8


def test_held_out_chooses_by_accuracy_and_fits_all():
    x, labels = problem(80, 10, 4, seed=2)
    held_out = held_out_part(labels, 0.25, seed=0)
    fit = fit_held_out(x[None], labels, 4, STRENGTHS, held_out)
    hits = []
    for a in STRENGTHS:
        weights, intercept = ridge(x[~held_out].numpy(), labels[~held_out].numpy(), 4, float(a))
        predicted = (x[held_out].numpy() @ weights + intercept).argmax(axis=1)
        hits.append((predicted == labels[held_out].numpy()).sum())
    best = max(float(a) for a, h in zip(STRENGTHS, hits, strict=True) if h == max(hits))
    assert float(fit.strength) == best
    assert relative_error(fit.weights[0], ridge(x.numpy(), labels.numpy(), 4, best)[0]) < 1e-9


def test_every_class_is_held_out_in_the_same_share():
    labels = torch.tensor([0] * 10 + [1] * 20 + [2] * 2)
    held_out = held_out_part(labels, 0.2, seed=3)
    assert torch.bincount(labels[held_out]).tolist() == [2, 4, 1]
    assert bool((held_out == held_out_part(labels, 0.2, seed=3)).all())
    with pytest.raises(ValueError, match="Class 7 has one image"):
        held_out_part(torch.tensor([0, 0, 7]), 0.5, seed=0)
    with pytest.raises(ValueError, match=r"held_out is 1\.0"):
        held_out_part(labels, 1.0, seed=0)


def test_of_equal_scores_the_strongest_is_taken():
    scores = torch.tensor([[0.5, 0.5], [0.7, 0.5], [0.7, 0.2]])
    assert strongest_of_best(scores, torch.tensor([1.0, 30.0, 200.0]).double()).tolist() == [200.0, 30.0]


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


def test_dead_features_give_no_weight():
    labels = torch.arange(30) % 3
    dead = torch.full((1, 30, 4), 0.1)
    fit = fit_leave_one_out(dead, labels, 3, STRENGTHS)
    assert float(fit.weights.abs().max()) < 1e-6
    np.testing.assert_allclose(fit.intercept[0], -1 / 3, atol=1e-7)
