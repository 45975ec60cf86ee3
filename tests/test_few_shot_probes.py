"""Images for probes, and accuracies by block."""

import numpy as np
import pytest

from seelike import data
from seelike.few_shot_probes import accuracy_by_block, training_and_test_images
from seelike.models import load
from seelike.probes import probe_layers


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


def test_of_few_images_all_of_their_half_are_tested():
    images = data.load("fashion-mnist/test").select(np.arange(400))
    training, test = training_and_test_images(images, per_class=2, number_of_test_images=1000, seed=0)
    assert (len(training), len(test)) == (20, 200)


def test_too_few_images_of_a_class_are_an_error_that_names_it():
    images = data.load("fashion-mnist/test").select(np.arange(60))
    with pytest.raises(ValueError, match="class"):
        training_and_test_images(images, per_class=10, number_of_test_images=10, seed=0)


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
            probes = probe_layers(model, training, test, tokens=kinds)
            first = [float(probe.accuracy) for probe in probes if probe.tokens == "first"]
            each = [probe.average for probe in probes if probe.tokens == "each"]
            assert found[name]["first"][repeat].tolist() == first
            assert found[name]["each"][repeat].tolist() == each


def test_without_classes_nothing_is_probed(tmp_path):
    for number in range(4):
        data.load("fashion-mnist/test")[number].save(tmp_path / f"{number}.png")
    images = data.load(tmp_path)
    assert accuracy_by_block({"m": load("tiny/mixer")}, images, tokens=["mean"], repeats=1, seed=0) == {}
