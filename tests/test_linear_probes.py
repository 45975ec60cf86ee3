"""Images for probes, and accuracies by block."""

import numpy as np
import pytest
import scipy.stats

from seelike import data, evidence
from seelike.models import load
from seelike.probes import probe_layers
from seelike.sections.linear_probes import (
    HELD_OUT,
    accuracy_by_block,
    accuracy_on_many,
    share_drawn,
    spread_blocks,
    training_and_test_images,
    why_no_probes,
)


def test_training_and_test_images_are_apart_and_the_same_every_time():
    images = data.load("fashion-mnist/test")

    def draw(seed):
        return training_and_test_images(images, per_class=3, number_of_test_images=40, seed=seed)

    (training, test), (again, _), (other, _) = draw(1), draw(1), draw(2)
    assert np.bincount(training.labels).tolist() == [3] * 10
    assert len(test) == 40
    as_bytes = [{np.asarray(image).tobytes() for image in part} for part in (training, test, again, other)]
    assert not as_bytes[0] & as_bytes[1]
    assert as_bytes[0] == as_bytes[2] != as_bytes[3]


def test_of_few_images_all_others_are_tested():
    images = data.load("fashion-mnist/test").select(np.arange(400))
    training, test = training_and_test_images(images, per_class=2, number_of_test_images=1000, seed=0)
    assert sorted([*training.places, *test.places]) == list(range(400))


def test_a_test_image_has_to_be_left():
    images = data.load("fashion-mnist/test")
    two_of_each = training_and_test_images(images, per_class=2, number_of_test_images=1, seed=0)[0]
    assert why_no_probes(two_of_each, per_class=1) == ""
    assert "3 images of each class" in why_no_probes(two_of_each, per_class=2)
    with pytest.raises(ValueError, match="none is left to test on"):
        training_and_test_images(two_of_each, per_class=2, number_of_test_images=5, seed=0)


def test_too_few_images_of_a_class_are_an_error_that_names_it():
    images = data.load("fashion-mnist/test").select(np.arange(60))
    with pytest.raises(ValueError, match="class"):
        training_and_test_images(images, per_class=10, number_of_test_images=10, seed=0)


# Images of each class, then how many of each are for training, and how many of all others for testing.
UNEQUAL = [
    ([50] * 10, 10, 300),
    ([120, *[12] * 9], 10, 40),
    ([300, 20, 20], 4, 250),
    ([40, 21, *[30] * 8], 2, 1000),
]


def in_common(parts):
    """The share of each class's images that two draws have in common, mean over all pairs of draws."""
    labels = data.load("fashion-mnist/test").labels
    times = np.bincount(np.concatenate([part.places for part in parts]), minlength=len(labels))
    # An image that is in k draws is in k (k - 1) of their ordered pairs.
    shared = np.bincount(labels, weights=times * (times - 1)) / (len(parts) - 1)
    drawn = np.bincount(labels, weights=times)
    return shared / np.where(drawn > 0, drawn, np.nan)


@pytest.mark.parametrize(("of_classes", "per_class", "tests"), UNEQUAL)
def test_share_drawn_is_what_draws_have_in_common_where_it_is_most(of_classes, per_class, tests):
    images = of_each_class(*of_classes)
    draws = [
        training_and_test_images(images, per_class=per_class, number_of_test_images=tests, seed=seed)
        for seed in range(300)
    ]
    shares = np.nanmax([in_common(parts) for parts in zip(*draws, strict=True)])
    found = share_drawn(images, per_class=per_class, number_of_test_images=tests)
    assert found == pytest.approx(shares, abs=0.02)


@pytest.mark.parametrize(("of_classes", "per_class", "tests"), UNEQUAL)
@pytest.mark.parametrize("weight", [0.0, 1.0, 30.0])
def test_accuracies_that_vary_with_both_kinds_of_images_cover_the_truth(of_classes, per_class, tests, weight):
    images = of_each_class(*of_classes)
    generator = np.random.default_rng(len(of_classes))
    shared = share_drawn(images, per_class=per_class, number_of_test_images=tests)
    draws = [
        training_and_test_images(images, per_class=per_class, number_of_test_images=tests, seed=seed)
        for seed in range(300)
    ]
    missed = 0
    for repeat in range(2000):
        # What an image adds to the accuracy: where it is for testing, and where it is for training.
        as_test, as_training = generator.normal(size=(2, 10_000))
        three = [draws[(3 * repeat + one) % 300] for one in range(3)]
        accuracies = [
            as_test[test.places].mean() + weight * as_training[training.places].sum() / len(test)
            for training, test in three
        ]
        found = evidence.estimate(accuracies, overlap=shared)
        missed += abs(found.mean) > found.half_width()
    # Three standard errors above the rate.
    assert missed / 2000 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_accuracies_are_those_of_the_probes_of_each_draw():
    images = data.load("fashion-mnist/test")
    models = {"vit": load("tiny/vit_7x7"), "resnet": load("tiny/resnet")}
    kinds = ["first", "each"]
    found = accuracy_by_block(models, images, tokens=kinds, repeats=2, seed=5, number_of_test_images=40)
    for name, model in models.items():
        for repeat in range(2):
            training, test = training_and_test_images(
                images, per_class=10, number_of_test_images=40, seed=5 + repeat
            )
            probes = probe_layers(model, training, test, tokens=kinds, held_out=HELD_OUT)
            first = [float(probe.accuracy) for probe in probes if probe.tokens == "first"]
            each = [probe.average for probe in probes if probe.tokens == "each"]
            assert found[name]["first"][repeat].tolist() == first
            assert found[name]["each"][repeat].tolist() == each


def test_many_images_are_half_of_the_smallest_class_and_the_rest_is_for_testing():
    images, model = of_each_class(40, 21, *[30] * 8), load("tiny/vit_7x7")
    found = accuracy_on_many(model, images, tokens=["first", "each"], seed=3, number_of_blocks=4)
    training, test = training_and_test_images(images, per_class=10, number_of_test_images=1000, seed=3)
    assert len(test) == len(images) - 100
    blocks = [block for block, _ in spread_blocks(model, 4)]
    probes = probe_layers(
        model, training, test, tokens=["first", "each"], layers=[b.name for b in blocks], held_out=HELD_OUT
    )
    for kind, (depth, accuracy, half_width) in found.items():
        of_kind = [probe for probe in probes if probe.tokens == kind]
        assert depth.tolist() == [0, 2 / 7, 5 / 7, 1]
        assert accuracy.tolist() == [probe.average for probe in of_kind]
        errors = np.array([probe.average_standard_error for probe in of_kind])
        np.testing.assert_allclose(half_width, scipy.stats.t.ppf(0.975, len(test) - 1) * errors)


def test_blocks_are_spread_from_the_first_to_the_last():
    model = load("tiny/vit_7x7")
    assert [block.name for block, _ in spread_blocks(model, 99)] == [f"block {i}" for i in range(1, 9)]
    assert [depth for _, depth in spread_blocks(model, 2)] == [0, 1]


def test_without_classes_nothing_is_probed(tmp_path):
    for number in range(4):
        data.load("fashion-mnist/test")[number].save(tmp_path / f"{number}.png")
    images = data.load(tmp_path)
    assert "has none" in why_no_probes(images, per_class=10)
    with pytest.raises(ValueError, match=r"Probes need images with classes.*one folder for each class"):
        accuracy_by_block({"m": load("tiny/mixer")}, images, tokens=["mean"], repeats=1, seed=0)


def test_with_few_images_of_a_class_nothing_is_probed():
    images = data.load("fashion-mnist/test").select(np.arange(60))
    assert "11 images of each class" in why_no_probes(images, per_class=10)
    with pytest.raises(
        ValueError, match=r"has fewer of 10 of its 10 classes: .* and 5 others\. Give more of these\.$"
    ):
        accuracy_by_block({"m": load("tiny/mixer")}, images, tokens=["mean"], repeats=1, seed=0)


def of_each_class(*numbers):
    """So many garments of the first class, of the second, and on."""
    images = data.load("fashion-mnist/test")
    return images.select(
        np.concatenate([np.flatnonzero(images.labels == label)[:number] for label, number in enumerate(numbers)])
    )


def test_classes_of_unequal_size_are_probed_if_each_has_enough():
    images = of_each_class(3, 9, 40, 3, 3, 3, 3, 3, 3, 3)
    assert why_no_probes(images, per_class=2) == ""
    training, test = training_and_test_images(images, per_class=2, number_of_test_images=500, seed=0)
    assert np.bincount(training.labels).tolist() == [2] * 10
    assert np.bincount(test.labels).tolist() == [1, 7, 38, *[1] * 7]


def test_a_class_of_one_image_is_named():
    images = of_each_class(3, 1, 3, 3, 3, 3, 3, 3, 3, 3)
    assert "fewer of 1 of its 10 classes: 1 of Trouser" in why_no_probes(images, per_class=2)
    with pytest.raises(ValueError, match=r"1 classes of fashion-mnist/test have fewer .*Trouser \(1\).*at most 1"):
        training_and_test_images(images, per_class=2, number_of_test_images=5, seed=0)


def test_classes_without_any_image_are_left_out_and_that_is_said():
    images = of_each_class(0, 3, 3)
    assert why_no_probes(images, per_class=2) == ""
    with pytest.warns(
        UserWarning, match="8 of the 10 classes of fashion-mnist/test have no image here, such as T-sh"
    ):
        training, test = training_and_test_images(images, per_class=2, number_of_test_images=5, seed=0)
    assert np.bincount(training.labels).tolist() == [0, 2, 2]
    assert sorted(test.labels) == [1, 2]
    assert "two classes or more; fashion-mnist/test has 1" in why_no_probes(of_each_class(0, 30), per_class=2)
