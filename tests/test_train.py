"""The tiny networks learn, a stopped run goes on, and every committed checkpoint is what its record says."""

import json
import math
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file, save_file

from seelike import models, train
from seelike.models.tiny import TINY, build

ONE_OF_EACH = ["vit_7x7", "vit_7x7_gap", "vit_7x7_without_skips_3", "resnet", "mixer"]
TRAINED = [name for name in TINY if (train.CHECKPOINTS / f"{name}.safetensors").exists()]


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

    measure, calls = train.rightly_classified, []

    def stop_in_the_second_epoch(model, test):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(model, test)

    monkeypatch.setattr(train, "rightly_classified", stop_in_the_second_epoch)
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


def test_every_share_has_as_much_of_each_class_and_holds_the_smaller_ones(garments):
    shares = [train.share_of_each_class(garments.labels, share) for share in (0.03, 0.1, 0.3, 1.0)]
    for share, chosen in zip((0.03, 0.1, 0.3, 1.0), shares, strict=True):
        assert len(chosen.unique()) == len(chosen) == share * 10_000
        assert garments.labels[chosen].bincount().tolist() == [share * 1000] * 10
    for smaller, larger in pairwise(shares):
        assert torch.isin(smaller, larger).all()
        assert not torch.equal(smaller, larger[: len(smaller)]), "not merely the first ones"


def test_a_share_is_what_the_network_is_trained_on(garments, tmp_path, monkeypatch):
    monkeypatch.setitem(TINY, "mixer", {**TINY["mixer"], "epochs": 1, "share_of_images": 0.1})
    train.train("mixer", few(garments, 1000), few(garments, 100), output=tmp_path, work=tmp_path / "work")
    assert json.loads((tmp_path / "mixer.json").read_text())["training_images"] == pytest.approx(100, abs=10)


def test_finetuning_begins_with_all_weights_but_the_classifier(garments, tmp_path, monkeypatch):
    name, source = "vit_7x7_small_on_digits", "vit_7x7_small"
    digits = train.pixels("digits/test")
    with pytest.raises(FileNotFoundError, match=f"Train '{source}' first"):
        train.train(name, digits, digits, output=tmp_path, work=tmp_path / "work")
    trained = {key: torch.randn_like(value).half() for key, value in build(source).state_dict().items()}
    save_file(trained, tmp_path / f"{source}.safetensors")
    monkeypatch.setitem(TINY, name, {**TINY[name], "epochs": 0})
    train.train(name, digits, digits, output=tmp_path, work=tmp_path / "work")
    finetuned = load_file(tmp_path / f"{name}.safetensors")
    assert {key for key in trained if not torch.equal(trained[key], finetuned[key])} == {
        "head.weight",
        "head.bias",
    }


def test_bfloat16_trains_and_is_not_resumed_in_float32(garments, tmp_path, monkeypatch):
    monkeypatch.setitem(TINY, "mixer", {**TINY["mixer"], "epochs": 2})

    def run(precision):
        images = few(garments, 256)
        train.train("mixer", images, images, output=tmp_path, work=tmp_path / "work", precision=precision)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "_write", stop)
        with pytest.raises(KeyboardInterrupt):
            run("bfloat16")
    with pytest.raises(ValueError, match="float32"):
        run("float32")
    run("bfloat16")
    record = json.loads((tmp_path / "mixer.json").read_text())
    assert record["precision"] == "bfloat16"
    assert record["curve"][1]["loss"] < record["curve"][0]["loss"]


def test_removed_skips_are_removed_there_and_only_there():
    intact, cut = build("vit_7x7").eval(), build("vit_7x7_without_skips_4").eval()
    cut.load_state_dict(intact.state_dict())
    images = torch.randn(4, 1, 28, 28)
    known = models.layers(cut)
    activations = models.read(cut, known, images, lambda _, x: x)
    for residual in models.residuals(intact):
        skip, branch, output = (
            activations[each.name] for each in (residual.skip, residual.branch, residual.output)
        )
        if residual.block == 4:
            assert torch.equal(output, branch)
        else:
            torch.testing.assert_close(output, skip + branch)
    assert {residual.block for residual in models.residuals(cut)} == set(range(1, 9)) - {4}


def test_augmentation_moves_mirrors_and_erases_but_makes_no_new_values(garments):
    images = train.normalise(few(garments, 64).images)
    augmented = train.augment(images, torch.Generator().manual_seed(1))
    assert augmented.shape == images.shape
    assert not torch.equal(augmented, images)
    for before, after in zip(images, augmented, strict=True):
        allowed = torch.cat([before.unique(), torch.zeros(1)])
        assert torch.isin(after.unique(), allowed).all()
    unmirrored = train.augment(images, torch.Generator().manual_seed(1), mirrored=False)
    assert not torch.equal(unmirrored, augmented)
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


@pytest.mark.parametrize("name", TRAINED)
def test_committed_checkpoint_has_the_accuracy_it_claims(name):
    record = json.loads((train.CHECKPOINTS / f"{name}.json").read_text())
    assert record["configuration"] == TINY[name], "the table changed after the training"

    test = train.pixels(f"{TINY[name].get('images', 'fashion-mnist')}/test")
    sample = few(test, 1000)
    measured = float(train.rightly_classified(models.load(f"tiny/{name}"), sample).float().mean())
    # Four standard errors of the difference between these images and all, and two images that round otherwise.
    spread = record["accuracy"] * (1 - record["accuracy"]) * (1 / len(sample.labels) - 1 / len(test.labels))
    assert measured == pytest.approx(record["accuracy"], abs=4 * math.sqrt(spread) + 2 / len(test.labels))
    # Chance is 0.1. On few images, and on textures that no garment is like, less is learnt.
    assert record["accuracy"] > 0.6


def test_checkpoints_are_small():
    assert sum(file.stat().st_size for file in train.CHECKPOINTS.iterdir()) < 25e6
