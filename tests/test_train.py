"""The tiny networks learn, a stopped run goes on, and every committed checkpoint is what its record says."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from seelike import models, train
from seelike.models.tiny import TINY

ONE_OF_EACH = ["vit_7x7", "vit_7x7_gap", "resnet", "mixer"]


@pytest.fixture(scope="module")
def garments() -> train.Pixels:
    return train.pixels("fashion-mnist/test")


def few(garments: train.Pixels, count: int) -> train.Pixels:
    return train.Pixels(garments.images[:count], garments.labels[:count])


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_loss_falls_within_a_few_steps(name, garments, tmp_path, monkeypatch):
    monkeypatch.setitem(TINY, name, {**TINY[name], "epochs": 3})
    train.train(name, few(garments, 384), few(garments, 100), output=tmp_path, work=tmp_path / "work")
    curve = json.loads((tmp_path / f"{name}.json").read_text())["curve"]
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert not list((tmp_path / "work").iterdir()), "the state of a finished run is not kept"


def test_a_stopped_run_goes_on_to_the_same_weights(garments, tmp_path, monkeypatch):
    monkeypatch.setitem(TINY, "mixer", {**TINY["mixer"], "epochs": 2})
    images = few(garments, 256)
    train.train("mixer", images, images, output=tmp_path / "whole", work=tmp_path / "work")

    measure, calls = train.accuracy, []

    def stop_in_the_second_epoch(model, test):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(model, test)

    monkeypatch.setattr(train, "accuracy", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        train.train("mixer", images, images, output=tmp_path / "stopped", work=tmp_path / "work")
    assert not (tmp_path / "stopped" / "mixer.safetensors").exists()
    train.train("mixer", images, images, output=tmp_path / "stopped", work=tmp_path / "work")

    whole = load_file(tmp_path / "whole" / "mixer.safetensors")
    stopped = load_file(tmp_path / "stopped" / "mixer.safetensors")
    assert all(torch.equal(whole[key], stopped[key]) for key in whole)
    assert len(json.loads((tmp_path / "stopped" / "mixer.json").read_text())["curve"]) == 2


def test_a_run_of_another_configuration_is_not_gone_on_with(garments, tmp_path, monkeypatch):
    images = few(garments, 128)
    monkeypatch.setitem(TINY, "mixer", {**TINY["mixer"], "epochs": 2})

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "_write", stop)
        with pytest.raises(KeyboardInterrupt):
            train.train("mixer", images, images, output=tmp_path, work=tmp_path / "work")
    monkeypatch.setitem(TINY, "mixer", {**TINY["mixer"], "epochs": 1, "seed": 7})
    with pytest.raises(ValueError, match="another configuration"):
        train.train("mixer", images, images, output=tmp_path, work=tmp_path / "work")
    assert not (tmp_path / "mixer.json").exists()


def test_augmentation_moves_mirrors_and_erases_but_makes_no_new_values(garments):
    images = train.normalise(few(garments, 64).images)
    augmented = train.augment(images, torch.Generator().manual_seed(1))
    assert augmented.shape == images.shape
    assert not torch.equal(augmented, images)
    for before, after in zip(images, augmented, strict=True):
        allowed = torch.cat([before.unique(), torch.zeros(1)])
        assert torch.isin(after.unique(), allowed).all()
    again = train.augment(images, torch.Generator().manual_seed(1))
    assert torch.equal(augmented, again), "the same seed augments the same way"


def test_learning_rate_warms_up_and_ends_at_zero():
    rates = [train.learning_rate(step, 200) for step in range(1, 201)]
    assert max(rates) == pytest.approx(train.PEAK_LEARNING_RATE)
    assert rates.index(max(rates)) + 1 == 20
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_unknown_network_names_the_near_ones(capsys):
    with pytest.raises(SystemExit):
        train.main(["vit_7x8"])
    assert "vit_7x7" in capsys.readouterr().err


@pytest.mark.parametrize("name", TINY)
def test_committed_checkpoint_has_the_accuracy_it_claims(name, garments):
    weights = train.CHECKPOINTS / f"{name}.safetensors"
    record = json.loads((train.CHECKPOINTS / f"{name}.json").read_text())
    assert weights.stat().st_size < 1.5e6
    assert record["configuration"] == TINY[name], "the table changed after the training"

    sample = few(garments, 2000)
    measured = train.accuracy(models.load(f"tiny/{name}"), sample)
    # Four standard errors of the difference between 2,000 of the images and all 10,000 of them.
    error = math.sqrt(record["accuracy"] * (1 - record["accuracy"]) * (1 / 2000 - 1 / 10000))
    assert measured == pytest.approx(record["accuracy"], abs=4 * error)
    assert record["accuracy"] > 0.8
