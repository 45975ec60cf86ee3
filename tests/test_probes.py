"""Linear probes: the estimator as scikit-learn's, and the probes of networks as probes of what they read."""

import copy
import inspect
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references_probes import flattened_patches, held_out_strength, predict, ridge
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from test_ridge import problem, relative_error

from seelike.data import load
from seelike.data.image_set import in_memory
from seelike.errors import UnknownName
from seelike.models import layers, read
from seelike.models import load as load_model
from seelike.probes import ProbeAccuracy, RidgeProbe, few_shot, patch_side, probe_layers
from seelike.probes.strength import held_out_part
from seelike.streaming import Images

ALPHAS = tuple(10.0**power for power in range(-2, 5))


# The estimator


@pytest.mark.parametrize("estimator", [RidgeProbe(), RidgeProbe(alphas=[1.0], held_out=0.3)])
def test_scikit_learn_accepts_the_estimator(estimator):
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    assert len(results) > 40
    assert [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"] == []


WITHOUT = """
import sys, warnings
sys.modules["sklearn"] = None  # importing it fails
from seelike.probes import RidgeProbe
probe = RidgeProbe()
try:
    probe.predict([[1.0]])
except ValueError as error:
    print(error)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    probe.fit([[0.0], [1.0], [4.0], [5.0]], [[0], [0], [1], [1]])
print(caught[-1].message)
print(probe.predict([[1.0], [9.0]]).tolist())
"""


def test_the_library_works_without_scikit_learn():
    ran = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert "not fitted yet" in ran.stdout
    assert "column-vector" in ran.stdout
    assert ran.stdout.endswith("[0, 1]\n")


@pytest.mark.parametrize(("n", "d", "classes"), [(90, 20, 5), (40, 60, 3), (50, 8, 2)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("alpha", [0.1, 10.0])
def test_weights_and_predictions_are_scikit_learns(n, d, classes, dtype, alpha):
    x, labels = (tensor.numpy() for tensor in problem(n, d, classes, seed=d))
    x = x.astype(dtype)
    peer = RidgeClassifier(alpha=alpha).fit(x.astype(np.float64), labels)
    probe = RidgeProbe([alpha]).fit(x, labels)
    assert probe.alpha_ == pytest.approx(alpha)
    coef, intercept = (probe.coef_, probe.intercept_) if classes > 2 else (probe.coef_[1:], probe.intercept_[1:])
    assert relative_error(coef, peer.coef_) < 1e-5
    np.testing.assert_allclose(intercept, peer.intercept_, atol=1e-4)
    outputs = peer.decision_function(x.astype(np.float64))
    np.testing.assert_allclose(probe.decision_function(x), outputs, atol=1e-4)
    assert (probe.predict(x) == peer.predict(x.astype(np.float64))).all()
    assert probe.score(x, labels) == peer.score(x.astype(np.float64), labels)


def test_problems_are_solved_each_by_itself():
    x, labels = zip(*(problem(60, 9, 3, seed=seed, decay=seed) for seed in range(6)), strict=True)
    x = torch.stack(x).reshape(2, 3, 60, 9)
    probe = RidgeProbe(ALPHAS).fit(x, labels[0])
    assert probe.coef_.shape == (2, 3, 3, 9)
    scores = probe.score(x, labels[0])
    for i in range(2):
        for j in range(3):
            alone = RidgeProbe(ALPHAS).fit(x[i, j], labels[0])
            assert alone.alpha_ == probe.alpha_[i, j]
            assert relative_error(probe.coef_[i, j], alone.coef_.numpy()) < 1e-9
            assert alone.score(x[i, j], labels[0]) == scores[i, j]


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing_and_are_left_as_they_were(threads):
    x, labels = problem(300, 60, 3, seed=0)
    x = torch.stack([x + i * x.sin() for i in range(70)]).float()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        probe = RidgeProbe(ALPHAS).fit(x, labels)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    alone = RidgeProbe(ALPHAS).fit(x[-1], labels)
    assert relative_error(probe.coef_[-1], alone.coef_.numpy()) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_floating_dtype_is_taken(dtype):
    x, labels = problem(50, 6, 3, seed=1)
    x = x.to(dtype)
    probe = RidgeProbe(alphas=[2.0]).fit(x, labels)
    weights, intercept = ridge(x.double().numpy(), labels.numpy(), 3, 2.0)
    assert relative_error(probe.coef_.mT, weights) < 1e-5
    assert (probe.predict(x) == predict(x.double().numpy(), weights, intercept)).mean() > 0.97


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(30, 5), (20, 20), (12, 40)]))
def test_rotation_shift_and_order_change_no_prediction(seed, sizes):
    x, labels = problem(*sizes, 3, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(sizes[1], sizes[1], generator=generator, dtype=torch.float64))
    order = torch.randperm(len(x), generator=generator)
    expected = RidgeProbe(ALPHAS).fit(x, labels).decision_function(x)
    for change in (lambda x: x @ rotation, lambda x: x + 50.0):
        changed = RidgeProbe(ALPHAS).fit(change(x), labels).decision_function(change(x))
        np.testing.assert_allclose(changed, expected, atol=1e-6)
    shuffled = RidgeProbe(ALPHAS).fit(x[order], labels[order]).decision_function(x)
    np.testing.assert_allclose(shuffled, expected, atol=1e-6)


def test_it_works_in_scikit_learns_tools():
    x, labels = (tensor.numpy() for tensor in problem(60, 5, 3, seed=0))
    names = np.array(["cat", "dog", "eel"])[labels]
    pipeline = make_pipeline(StandardScaler(), clone(RidgeProbe(alphas=[1.0])).set_params(alphas=ALPHAS))
    assert pipeline.fit(x, names).score(x, names) > 0.5
    assert set(pipeline.predict(x)) <= {"cat", "dog", "eel"}
    assert repr(RidgeProbe(alphas=[1.0])) == "RidgeProbe(alphas=[1.0])"


def test_wrong_arguments_are_refused():
    x, labels = problem(20, 5, 3, seed=0)
    probe = RidgeProbe().fit(x, labels)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        RidgeProbe().predict(x)
    with pytest.raises(ValueError, match=r"problems of shape \[2\], but the probe was fitted for \[\]"):
        probe.predict(torch.ones(2, 20, 5, dtype=torch.float64))
    with pytest.raises(ValueError, match="X has 4 features"):
        probe.predict(x[:, :4])
    with pytest.raises(ValueError, match="NaN"):
        RidgeProbe().fit(x.clone().fill_(torch.nan), labels)
    with pytest.raises(ValueError, match="labels have 1 class"):
        RidgeProbe().fit(x, labels * 0)
    with pytest.raises(ValueError, match="each of the 20 images"):
        RidgeProbe().fit(x, labels[:19])
    with pytest.raises(ValueError, match="alphas is"):
        RidgeProbe(alphas=[]).fit(x, labels)
    with pytest.raises(ValueError, match="held_out is 2"):
        RidgeProbe(held_out=2).fit(x, labels)
    with pytest.raises(ValueError, match="fitted to such as 0"):
        probe.score(x, ["owl"] * 20)
    assert probe.score(x, torch.full((20,), 9)) == 0.0


LABELS = {
    "whole numbers": [4, 4, 7, 7],
    "strings": ["cat", "cat", "owl", "owl"],
    "tensor": torch.tensor([4, 4, 7, 7]),
    "bytes": torch.tensor([4, 4, 7, 7], dtype=torch.uint8),
    "short": np.array([4, 4, 7, 7], dtype=np.int16),
    "unsigned": np.array([4, 4, 7, 2**63], dtype=np.uint64).clip(max=7),
    "booleans": [False, False, True, True],
    "tensor of booleans": torch.tensor([False, False, True, True]),
    "strings of NumPy": np.array(["cat", "cat", "owl", "owl"]),
    "objects": np.array(["cat", "cat", "owl", "owl"], dtype=object),
    "objects of numbers": np.array([4, 4, 7, 7], dtype=object),
    "series": pd.Series(["cat", "cat", "owl", "owl"]),
    "categories": pd.Categorical(["cat", "cat", "owl", "owl"]),
    "whole floats": np.array([4.0, 4.0, 7.0, 7.0], dtype=np.float32),
    "tensor of whole floats": torch.tensor([4.0, 4.0, 7.0, 7.0], dtype=torch.bfloat16),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_may_be_whole_numbers_or_strings_of_any_type(labels):
    probe = RidgeProbe().fit([[0.0], [1.0], [4.0], [5.0]], labels)
    assert probe.predict([[0.0], [9.0]]).tolist() == [labels[0], labels[3]]
    assert probe.score([[0.0], [1.0], [9.0], [5.0]], labels) == 1.0
    model = vit()
    images = torch.zeros(4, 3, 32, 32)
    images[2:] = torch.randn(3, 32, 32)
    assert float(probe_layers(model, (images, labels), (images, labels), held_out=0.5)[-1].accuracy) == 1.0


NO_LABELS = {
    "fractions": ([0.5, 1.5, 1.9, 0.5], "fractions, such as 0.5"),
    "tensor of fractions": (torch.tensor([0.0, 1.5, 1.0, 0.0]), "fractions, such as 1.5"),
    "not a number": ([0.0, 1.0, np.nan, 0.0], "NaN"),
    "numbers and strings": ([0, "cat", 1, "owl"], "all of one kind"),
    "complex": (np.array([0j, 1j, 0j, 1j]), "Unknown label type"),
    "nothing": (None, "is None"),
    "none of one": (["cat", None, "owl", "cat"], "all of one kind"),
    "too few": ([0, 1], r"the 4 images, \(4,\)"),
    "one-hot": (np.eye(4, dtype=int), r"the 4 images, \(4,\)"),
    "a word": ("cats", r"the 4 images, \(4,\)"),
}


@pytest.mark.parametrize(("labels", "error"), NO_LABELS.values(), ids=NO_LABELS)
def test_what_is_no_class_is_refused(labels, error):
    with pytest.raises(ValueError, match=error):
        RidgeProbe().fit([[0.0], [1.0], [4.0], [5.0]], labels)
    images = torch.randn(4, 3, 32, 32)
    with pytest.raises(ValueError, match=error):
        probe_layers(vit(), (images, labels), (images, [0, 1, 0, 1]))


# Few-shot sampling


def test_few_shot_takes_the_same_number_of_each_class():
    images = load("fashion-mnist/test")
    few = few_shot(images, 10, seed=0)
    assert np.bincount(few.labels).tolist() == [10] * 10
    assert len(set(few.places)) == 100
    assert (few.labels == images.labels[few.places]).all()
    assert (few.places == few_shot(images, 10, seed=0).places).all()
    assert set(few.places) < set(few_shot(images, 20, seed=0).places)
    assert set(few.places) != set(few_shot(images, 10, seed=1).places)
    assert len(set(few.labels[:10])) > 3  # not class by class


def test_few_shot_refuses_what_it_cannot_draw():
    images = load("fashion-mnist/test").sample(30, seed=0)
    with pytest.raises(ValueError, match=r"classes of fashion-mnist/test have fewer than 10 images: .*\("):
        few_shot(images, 10, seed=0)
    with pytest.raises(ValueError, match="per_class is 0"):
        few_shot(images, 0, seed=0)
    without = copy.copy(images)
    object.__setattr__(without, "labels", None)
    with pytest.raises(ValueError, match="has no classes"):
        few_shot(without, 1, seed=0)


# Layers


def images_of(model, n, seed):
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = (1, 28, 28) if "tiny" in model else (3, 32, 32)
    labels = torch.arange(n) % 3
    images = torch.randn(n, channels, height, width, generator=generator)
    return images + labels[:, None, None, None] * 0.3, labels


def vit(**options):
    torch.manual_seed(0)
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, **options}
    return timm.models.VisionTransformer(num_classes=3, **options).eval()


def probe_one(name, model, train, test, tokens, held_out):
    """What `probe_layers` should find, from stored features and the reference."""
    (x, y), (x_held, y_held), (x_test, y_test) = train, held_out, test
    layer = layers(model, [name])
    read_tokens = [tokens(read(model, layer, images)[name].double().numpy()) for images in (x, x_held, x_test)]
    alpha = held_out_strength(read_tokens[0], y.numpy(), read_tokens[1], y_held.numpy(), 3, ALPHAS)
    weights, intercept = ridge(read_tokens[0], y.numpy(), 3, alpha)
    return alpha, (predict(read_tokens[2], weights, intercept) == y_test.numpy()).mean()


KINDS = {
    "cls": lambda x: x[:, 0],
    "first": lambda x: x[:, 0],
    "mean": lambda x: x.mean(axis=1),
    "mean of spatial": lambda x: x[:, 1:].mean(axis=1),
    "mean but first": lambda x: x[:, 1:].mean(axis=1),
}


# With 60 images sums are kept (24 features), with 20 the features.
@pytest.mark.parametrize("n", [60, 20])
def test_probes_are_those_of_stored_features(n):
    model = vit()
    train, held_out, test = (images_of("vit", size, seed) for seed, size in enumerate((n, 30, 40)))
    rows = probe_layers(
        model, train, test, tokens=[*KINDS, "each"], alphas=ALPHAS, held_out=held_out, batch_size=16
    )
    assert [row.layer.name for row in rows] == ["block 1"] * 6 + ["block 2"] * 6
    for row in rows:
        kinds = [KINDS[row.tokens]] if row.tokens != "each" else [lambda x, i=i: x[:, i] for i in range(17)]
        expected = [probe_one(row.layer.name, model, train, test, kind, held_out) for kind in kinds]
        assert row.alpha.flatten().tolist() == [alpha for alpha, _ in expected]
        np.testing.assert_allclose(row.accuracy.flatten(), [accuracy for _, accuracy in expected], atol=1e-9)
        p = row.accuracy
        torch.testing.assert_close(row.standard_error, (p * (1 - p) / 39).sqrt())
        if row.tokens == "each":
            assert row.average == pytest.approx(float(row.accuracy[1:].mean()))
            assert row.map.shape == (4, 4)
            assert float(row.map[0, 1]) == float(row.accuracy[2])
        else:
            assert (row.average, row.average_standard_error) == (float(p), float(row.standard_error))


def test_a_share_held_out_is_trained_on_in_the_end():
    model = vit()
    (x, y), test = images_of("vit", 45, 0), images_of("vit", 30, 1)
    left = held_out_part(y, 0.2, seed=5)
    row = probe_layers(model, (x, y), test, layers=["block 2"], alphas=ALPHAS, held_out=0.2, seed=5)[0]
    alpha, _ = probe_one("block 2", model, (x[~left], y[~left]), test, KINDS["cls"], (x[left], y[left]))
    assert float(row.alpha) == alpha
    tokens = read(model, layers(model, ["block 2"]), torch.cat([x, test[0]]))["block 2"][:, 0].double().numpy()
    weights, intercept = ridge(tokens[:45], y.numpy(), 3, alpha)
    accuracy = (predict(tokens[45:], weights, intercept) == test[1].numpy()).mean()
    assert float(row.accuracy) == pytest.approx(accuracy)


def same(rows, others):
    return all(
        (one.layer, one.tokens, one.alpha.tolist()) == (other.layer, other.tokens, other.alpha.tolist())
        and torch.allclose(one.accuracy, other.accuracy, rtol=0, atol=1e-12)
        and torch.allclose(one.standard_error, other.standard_error, rtol=0, atol=1e-12)
        for one, other in zip(rows, others, strict=True)
    )


def test_batches_memory_and_stops_change_nothing(tmp_path, monkeypatch):
    model = vit()
    train, test = images_of("vit", 60, 0), images_of("vit", 40, 1)
    arguments = (model, train, test)
    options = {"tokens": ["each", "mean"], "alphas": ALPHAS}
    rows = probe_layers(*arguments, **options)
    assert same(rows, probe_layers(*arguments, **options, batch_size=7))
    assert same(rows, probe_layers(*arguments, **options, memory=1))  # one layer at a time
    calls = 0
    forward = type(model).forward

    def stops(self, x):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return forward(self, x)

    monkeypatch.setattr(type(model), "forward", stops)
    with pytest.raises(KeyboardInterrupt):
        probe_layers(*arguments, **options, batch_size=16, cache=tmp_path)
    assert same(rows, probe_layers(*arguments, **options, batch_size=16, cache=tmp_path))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    calls = 10
    other = (test[0], test[1].roll(1))
    assert not same(rows, probe_layers(model, train, other, **options, batch_size=16, cache=tmp_path))


@pytest.mark.parametrize(
    ("shape", "last", "side"),
    [((256, 56, 56), (2048, 7, 7), 2), ((64, 56, 56), (512, 7, 7), 2), ((16, 8, 8), (256, 2, 2), 4),
     ((3, 9, 6), (100, 3, 2), 3), ((512, 7, 7), (512, 7, 7), 1), ((64, 5, 7), (512, 2, 2), 1)],
)  # fmt: skip
def test_patches_come_near_the_width_of_the_last_stage(shape, last, side):
    assert patch_side(shape, last) == side


def test_resnets_are_probed_on_flattened_patches():
    torch.manual_seed(0)
    model = timm.models.ResNet(timm.models.resnet.BasicBlock, [1, 1, 1, 1], channels=(8, 16, 24, 32)).eval()
    train, held_out, test = (images_of("resnet", size, seed) for seed, size in enumerate((60, 30, 30)))
    train, held_out, test = ((functional_resize(x), y) for x, y in (train, held_out, test))
    rows = probe_layers(model, train, test, tokens=["mean", "each"], alphas=ALPHAS, held_out=held_out)
    first = read(model, layers(model, ["block 1"]), train[0][:2])["block 1"]
    assert first.shape == (2, 8, 16, 16)
    for row, place in ((rows[0], None), (rows[1], 3)):

        def tokens(maps, place=place):
            flat = np.array([flattened_patches(each, 2, (2, 2)) for each in maps])
            return flat.mean(axis=1) if place is None else flat[:, place]

        alpha, accuracy = probe_one("block 1", model, train, test, tokens, held_out)
        found = (row.alpha, row.accuracy) if place is None else (row.alpha[place], row.accuracy[place])
        assert (float(found[0]), float(found[1])) == (alpha, pytest.approx(accuracy))
    assert all(row.num_prefix_tokens == 0 and row.grid == (2, 2) for row in rows)


def functional_resize(x):
    return torch.nn.functional.interpolate(x, size=64)


def test_image_sets_of_the_tiny_networks_are_probed():
    images = load("fashion-mnist/test")
    train = few_shot(images.select(np.arange(5000)), 10, seed=0)
    test = images.select(np.arange(5000, 5100))
    for name, tokens, least in (("vit_7x7", "cls", 0.6), ("vit_7x7_gap", "mean", 0.6), ("mixer", "mean", 0.6)):
        row: ProbeAccuracy = probe_layers(load_model(f"tiny/{name}"), train, test, tokens=tokens)[-1]
        assert float(row.accuracy) > least
        assert row.layer.kind == "block"


# Classes


def a_set(*names, per_class=4, seed=0, all_names=None):
    """An image set of grey images, whose brightness tells the class by its name."""
    rng = np.random.default_rng(seed)
    all_names = list(all_names or names)
    shades = {"cat": 20, "dog": 90, "eel": 160, "owl": 230}
    levels = np.concatenate([shades[name] + rng.integers(-9, 9, (per_class, 28, 28)) for name in names])
    labels = np.repeat([all_names.index(name) for name in names], per_class)
    return in_memory("animals", levels.astype(np.uint8), labels.astype(np.int64), all_names)


def accuracy_of(train, test, held_out=0.5):
    model = load_model("tiny/vit_7x7")
    row = probe_layers(model, train, test, tokens="mean", layers=["block 1"], held_out=held_out)[0]
    return float(row.accuracy)


def prepared(images):
    return Images(images, load_model("tiny/vit_7x7"))[:]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (a_set("cat", "dog", "owl"), a_set("cat", "owl", seed=1)),
        (a_set("cat", "dog", "owl"), a_set("owl", "cat", seed=1)),
        (a_set("cat", "owl"), a_set("owl", "cat", seed=1, all_names=["dog", "owl", "cat"])),
        (a_set("dog", "owl", all_names=["cat", "dog", "owl"]), a_set("dog", "owl", seed=1)),
    ],
)
def test_classes_of_image_sets_are_matched_by_name(train, test):
    assert accuracy_of(train, test) == 1.0
    assert accuracy_of(train, test, held_out=test) == 1.0
    assert accuracy_of(train, test, held_out=a_set("owl", seed=2)) == 1.0


def test_names_beside_a_tensor_are_those_of_image_sets():
    train, test = a_set("cat", "dog", "owl"), a_set("owl", "cat", seed=1)
    names = [test.class_names[label] for label in test.labels]
    assert accuracy_of(train, (prepared(test), names)) == 1.0
    assert accuracy_of((prepared(test), names), test) == 1.0
    assert accuracy_of((test, names), test) == 1.0


def test_numbers_cannot_be_matched_with_names():
    train, test = a_set("cat", "dog", "owl"), a_set("owl", "cat", seed=1)
    with pytest.raises(ValueError, match="test has classes such as 0, but train such as 'cat'"):
        accuracy_of(train, (prepared(test), test.labels))
    with pytest.raises(ValueError, match="test has classes such as '1', but train such as 0"):
        accuracy_of((prepared(test), test.labels), (prepared(test), ["1"] * 8))


def test_a_class_that_only_the_test_images_have_is_refused_by_its_name():
    with pytest.raises(ValueError, match=r"test has images of classes \['eel', 'owl'\], of which train has none"):
        accuracy_of(a_set("cat", "dog"), a_set("cat", "owl", "eel"))
    with pytest.raises(ValueError, match=r"held out has images of classes \['owl'\]"):
        accuracy_of(a_set("cat", "dog"), a_set("cat"), held_out=a_set("owl"))


def test_classes_of_one_name_are_told_apart_by_number_or_refused():
    twice = a_set("cat", "owl")
    twice = replace(twice, class_names=["crane", "crane"])
    assert accuracy_of(twice, replace(a_set("cat", "owl", seed=1), class_names=["crane", "crane"])) == 1.0
    with pytest.raises(ValueError, match="train has several classes of the name 'crane'"):
        accuracy_of(twice, a_set("cat"))


def test_a_class_of_one_image_is_named():
    train = a_set("cat", "dog").select(np.array([0, 1, 4]))
    with pytest.raises(ValueError, match="Class 1 has one image"):
        accuracy_of(train, train)
    with pytest.raises(ValueError, match="Class dog has one image"):
        accuracy_of((prepared(train), ["cat", "cat", "dog"]), (prepared(train), ["cat", "cat", "dog"]))


@pytest.mark.parametrize("held_out", [np.float32(0.5), np.float64(0.5)])
def test_a_share_may_be_a_number_of_numpy(held_out):
    train, test = images_of("vit", 12, 0), images_of("vit", 6, 1)
    one, other = (probe_layers(vit(), train, test, held_out=share) for share in (held_out, 0.5))
    assert same(one, other)


@pytest.mark.parametrize("held_out", [1, 0, 1.0, -0.5])
def test_what_is_neither_images_nor_a_share_is_refused(held_out):
    train, test = images_of("vit", 12, 0), images_of("vit", 6, 1)
    with pytest.raises(ValueError, match=r"held_out is .* between 0 and 1"):
        probe_layers(vit(), train, test, held_out=held_out)


@pytest.mark.parametrize("given", [torch.zeros(4, 3, 32, 32), (torch.zeros(4, 3, 32, 32),), "folder", (1, 2)])
def test_images_without_labels_are_refused_in_words(given):
    unchecked = inspect.unwrap(probe_layers)  # without the check of types that the tests add
    with pytest.raises(ValueError, match=r"train is of type .*; expected an image set with classes, or \(images"):
        unchecked(vit(), given, images_of("vit", 6, 1))


def test_networks_and_images_that_do_not_fit_are_refused():
    model = vit()
    train, test = images_of("vit", 12, 0), images_of("vit", 6, 1)
    with pytest.raises(UnknownName, match="choice of tokens 'clss'"):
        probe_layers(model, train, test, tokens="clss")
    with pytest.raises(ValueError, match="training mode"):
        probe_layers(vit().train(), train, test)
    with pytest.raises(ValueError, match="no CLS token"):
        probe_layers(vit(class_token=False, global_pool="avg"), train, test)
    with pytest.raises(ValueError, match=r"test has images of classes \[3\]"):
        probe_layers(model, train, (test[0], test[1] + 1))
    with pytest.raises(ValueError, match="at least 2 classes"):
        probe_layers(model, (train[0], train[1] * 0), test)
    with pytest.raises(ValueError, match=r"labels of train is of shape \(5,\); .* each of the 12 images"):
        probe_layers(model, (train[0], train[1][:5]), test)
    with pytest.raises(ValueError, match="map only for each token"):
        probe_layers(model, train, test, tokens="mean")[0].map  # noqa: B018
    hooks = [len(module._forward_hooks) for module in model.modules()]
    assert sum(hooks) == 0
