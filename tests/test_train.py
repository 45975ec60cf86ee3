"""The tiny networks learn, a stopped run goes on, and every committed checkpoint is what its record says."""

import json
import math
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file, save_file

from seelike import models, train
from seelike.models.tiny import TINY, build

CHECKPOINTS_OF_RESNET = ["resnet_after_0", "resnet_after_1", "resnet_after_3", "resnet"]
ONE_OF_EACH = ["vit_7x7", "vit_7x7_gap", "vit_7x7_without_skips_3", "resnet", "mixer"]
TRAINED = [name for name in TINY if (train.CHECKPOINTS / f"{name}.safetensors").exists()]


@pytest.fixture(scope="module")
def garments() -> train.Pixels:
    return train.pixels("fashion-mnist/test")


def few(garments: train.Pixels, count: int) -> train.Pixels:
    return train.Pixels(garments.images[:count], garments.labels[:count])


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_loss_falls_within_a_few_steps(name, garments, tmp_path, monkeypatch):
    monkeypatch.setitem(TINY, name, {**TINY[name], "epochs": 4})
    train.train([name], few(garments, 384), few(garments, 100), output=tmp_path, work=tmp_path / "work")
    curve = json.loads((tmp_path / f"{name}.json").read_text())["curve"]
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert not list((tmp_path / "work").iterdir()), "the state of a finished run is not kept"


def test_a_stopped_run_goes_on_to_the_same_weights(garments, tmp_path, monkeypatch):
    monkeypatch.setitem(TINY, "mixer", {**TINY["mixer"], "epochs": 2})
    images = few(garments, 256)
    train.train(["mixer"], images, images, output=tmp_path / "whole", work=tmp_path / "work")

    measure, calls = train.rightly_classified, []

    def stop_in_the_third_round(model, test):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(model, test)

    monkeypatch.setattr(train, "rightly_classified", stop_in_the_third_round)
    with pytest.raises(KeyboardInterrupt):
        train.train(["mixer"], images, images, output=tmp_path / "stopped", work=tmp_path / "work")
    assert not (tmp_path / "stopped" / "mixer.safetensors").exists()
    train.train(["mixer"], images, images, output=tmp_path / "stopped", work=tmp_path / "work")

    whole = load_file(tmp_path / "whole" / "mixer.safetensors")
    stopped = load_file(tmp_path / "stopped" / "mixer.safetensors")
    assert all(torch.equal(whole[key], stopped[key]) for key in whole)
    curves = [json.loads((tmp_path / run / "mixer.json").read_text())["curve"] for run in ("whole", "stopped")]
    assert curves[0] == curves[1]
    assert [point["epoch"] for point in curves[0]] == [0.5, 1.0, 1.5, 2.0]


def test_a_run_of_another_configuration_is_not_gone_on_with(garments, tmp_path, monkeypatch):
    images = few(garments, 128)
    monkeypatch.setitem(TINY, "mixer", {**TINY["mixer"], "epochs": 2})

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "_write", stop)
        with pytest.raises(KeyboardInterrupt):
            train.train(["mixer"], images, images, output=tmp_path, work=tmp_path / "work")
    monkeypatch.setitem(TINY, "mixer", {**TINY["mixer"], "epochs": 1, "seed": 7})
    with pytest.raises(ValueError, match="another configuration"):
        train.train(["mixer"], images, images, output=tmp_path, work=tmp_path / "work")
    assert not (tmp_path / "mixer.json").exists()


def family_of_small_vits(monkeypatch, images: int, steps: int) -> list[str]:
    """Five networks that differ in all that a family may differ in, with a short training."""
    names = [
        "vit_7x7_small",
        "vit_7x7_small_other_order_seed_1",
        "vit_7x7_small_10_percent",
        "vit_7x7_small_gap_seed_2",
        "vit_7x7_small_without_skips_4",
    ]
    for name in names:
        epochs = steps * train.BATCH_SIZE / images / TINY[name].get("share_of_images", 1.0)
        monkeypatch.setitem(TINY, name, {**TINY[name], "epochs": epochs})
    return names


def test_side_by_side_each_network_gets_the_weights_that_it_gets_alone(garments, tmp_path, monkeypatch):
    names = family_of_small_vits(monkeypatch, images=1000, steps=6)
    # Weights are written in float16. What is compared are the float32 ones.
    states: dict[str, dict[str, torch.Tensor]] = {}

    def keep(run, progress, name, index):
        states[name] = {key: value.clone() for key, value in run.stack.models[index].state_dict().items()}
        return 0.0

    monkeypatch.setattr(train, "_write", keep)
    images = few(garments, 1000), few(garments, 50)
    train.train(names, *images, output=tmp_path, work=tmp_path / "work")
    beside = dict(states)
    for name in names:
        train.train([name], *images, output=tmp_path, work=tmp_path / "work")
        initial = build(name).state_dict()
        for key, alone in states[name].items():
            torch.testing.assert_close(beside[name][key], alone, rtol=0, atol=1e-4)
            assert alone.shape == initial[key].shape
    trained = [states[name]["blocks.0.mlp.fc1.weight"] for name in names]
    assert all((one - other).abs().max() > 1e-3 for one, other in pairwise(trained))


def test_resnets_are_trained_side_by_side_too(garments, tmp_path, monkeypatch):
    names = ["resnet_seed_1", "resnet_seed_2"]
    for name in names:
        monkeypatch.setitem(TINY, name, {**TINY[name], "epochs": 2})
    images = few(garments, 128), few(garments, 50)
    train.train(names, *images, output=tmp_path / "beside", work=tmp_path / "work")
    for name in names:
        train.train([name], *images, output=tmp_path / "alone", work=tmp_path / "work")
        beside, alone = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("beside", "alone"))
        for key, value in alone.items():
            # Adam takes a whole step along a gradient that is zero but for rounding, so that a few weights differ.
            assert (beside[key].float() - value.float()).norm() < 0.01 * value.float().norm() + 1e-3


def test_a_family_differs_in_what_it_may_and_no_more(garments):
    small = train.family("vit_7x7_small")
    assert {"vit_7x7_small_seed_4", "vit_7x7_small_3_percent_seed_2", "vit_7x7_small_gap"} <= set(small)
    assert not {"vit_7x7", "vit_7x7_small_on_digits", "vit_7x7_small_after_1"} & set(small)
    # It is trained for fewer steps, on a share of the data.
    assert "vit_7x7_10_percent" not in train.family("vit_7x7")
    with pytest.raises(ValueError, match="cannot be trained side by side with 'vit_7x7_small'"):
        train.train(["vit_7x7_small", "vit_7x7"], garments, garments)
    with pytest.raises(ValueError, match="a checkpoint on the way of 'resnet'"):
        train.train(["resnet_after_1"], garments, garments)


def test_checkpoints_on_the_way_are_those_of_a_shorter_look_at_the_same_training(garments, tmp_path, monkeypatch):
    images = few(garments, 256), few(garments, 50)
    monkeypatch.setitem(TINY, "resnet", {**TINY["resnet"], "epochs": 3})
    train.train(["resnet"], *images, output=tmp_path, work=tmp_path / "work")
    records = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in CHECKPOINTS_OF_RESNET}
    assert [record["curve"][-1:] for record in records.values()] == [
        [],
        [point for point in records["resnet"]["curve"] if point["epoch"] == 1],
        records["resnet"]["curve"][-1:],
        records["resnet"]["curve"][-1:],
    ]
    torch.manual_seed(TINY["resnet"]["seed"])
    before = build("resnet").state_dict()
    assert all(
        torch.equal(value, before[key].half())
        for key, value in load_file(tmp_path / "resnet_after_0.safetensors").items()
    )


def test_a_share_sees_all_of_its_images_and_each_as_often(garments):
    labels = garments.labels[:1000]
    feed = train._Feed(train.share_of_each_class(labels, 0.3), order=5)
    count = len(feed.chosen)
    drawn = feed.images(0, 10 * count // train.BATCH_SIZE).flatten()
    assert set(drawn.tolist()) == set(feed.chosen.tolist())
    seen = drawn.bincount(minlength=1000)[feed.chosen]
    assert seen.max() - seen.min() <= 1
    again = torch.cat([feed.images(0, 3), feed.images(3, 7)])
    assert torch.equal(again, feed.images(0, 7)), "however a run is cut into rounds"
    other = train._Feed(feed.chosen, order=6)
    assert not torch.equal(other.images(0, 1), feed.images(0, 1))
    assert not torch.equal(other.chance(0, 1), feed.chance(0, 1))


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
    train.train(["mixer"], few(garments, 1000), few(garments, 100), output=tmp_path, work=tmp_path / "work")
    assert json.loads((tmp_path / "mixer.json").read_text())["training_images"] == pytest.approx(100, abs=10)


def test_finetuning_begins_with_all_weights_but_the_classifier(garments, tmp_path, monkeypatch):
    name, source = "vit_7x7_small_on_digits", "vit_7x7_small"
    digits = train.pixels("digits/test")
    with pytest.raises(FileNotFoundError, match=f"Train '{source}' first"):
        train.train([name], digits, digits, output=tmp_path, work=tmp_path / "work")
    trained = {key: torch.randn_like(value).half() for key, value in build(source).state_dict().items()}
    save_file(trained, tmp_path / f"{source}.safetensors")
    monkeypatch.setitem(TINY, name, {**TINY[name], "epochs": 0})
    train.train([name], digits, digits, output=tmp_path, work=tmp_path / "work")
    finetuned = load_file(tmp_path / f"{name}.safetensors")
    assert {key for key in trained if not torch.equal(trained[key], finetuned[key])} == {
        "head.weight",
        "head.bias",
    }


def test_bfloat16_trains_and_is_not_resumed_in_float32(garments, tmp_path, monkeypatch):
    monkeypatch.setitem(TINY, "mixer", {**TINY["mixer"], "epochs": 2})

    def run(precision):
        images = few(garments, 256)
        train.train(["mixer"], images, images, output=tmp_path, work=tmp_path / "work", precision=precision)

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
    chance = torch.rand(64, train.CHANCES, generator=torch.Generator().manual_seed(1))
    augmented = train.augment(images, chance)
    assert augmented.shape == images.shape
    assert not torch.equal(augmented, images)
    for before, after in zip(images, augmented, strict=True):
        allowed = torch.cat([before.unique(), torch.zeros(1)])
        assert torch.isin(after.unique(), allowed).all()
    unmirrored = train.augment(images, chance, mirrored=False)
    assert not torch.equal(unmirrored, augmented)
    again = train.augment(images, chance)
    assert torch.equal(augmented, again), "the same numbers augment the same way"


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
    assert record["accuracy"] > 0.6 or "checkpoint_of" in TINY[name]


def test_checkpoints_are_small():
    assert sum(file.stat().st_size for file in train.CHECKPOINTS.iterdir()) < 40e6
