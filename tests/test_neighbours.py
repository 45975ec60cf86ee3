"""Shared nearest neighbours, held against float64, over minibatches, within memory, and on whole networks."""

import numpy as np
import pytest
import references_neighbours
import torch

from seelike import data
from seelike.cka import CentredGrams, MinibatchCKAAndNeighbours, compare_models, compare_pairs, gram
from seelike.models import STREAM, layers, load, preprocessing, read
from seelike.neighbours import nearest, number_of_neighbours, shared_neighbours


@pytest.fixture
def random():
    return torch.Generator().manual_seed(np.random.default_rng().integers(2**31).item())


@pytest.mark.parametrize("n", [4, 5, 17, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_two_layers_share_what_the_formula_says(n, dtype, random):
    x = torch.randn(n, 3, 4, generator=random, dtype=torch.float64).to(dtype)
    y = (x[:, 0] + 0.7 * torch.randn(n, 4, generator=random, dtype=torch.float64)).to(dtype)
    found = shared_neighbours(nearest(gram(x))[None], nearest(gram(y))[None])
    expected = references_neighbours.shared_neighbours(
        x.double().numpy(), y.double().numpy(), max(1, min(10, n // 4))
    )
    assert float(found) == pytest.approx(expected, abs=1e-9)


def test_layers_that_have_nothing_to_do_with_each_other_share_none_on_average(random):
    found = [
        shared_neighbours(*(nearest(gram(torch.randn(128, 20, generator=random)))[None] for _ in "xy"))
        for _ in range(30)
    ]
    assert abs(float(torch.stack(found).mean())) < 0.01


def test_turning_shifting_and_scaling_a_layer_changes_nothing(random):
    x = torch.randn(32, 6, generator=random, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=random, dtype=torch.float64))
    both = (nearest(gram(each))[None] for each in (x, 5 * x @ turn + 3))
    assert float(shared_neighbours(*both)) == 1.0


def test_many_images_are_counted_a_part_at_a_time(monkeypatch, random):
    x, y = (torch.stack([nearest(gram(torch.randn(50, 8, generator=random))) for _ in range(3)]) for _ in "xy")
    whole = shared_neighbours(x, y)
    monkeypatch.setattr("seelike.neighbours._CHUNK", 700)
    assert torch.equal(shared_neighbours(x, y), whole)


def test_minibatches_count_alike_merge_and_leave_dead_layers_out(random):
    parts = []
    for n in (12, 13):
        x = torch.randn(n, 5, generator=random, dtype=torch.float64)
        parts.append({"a": x, "b": x + torch.randn(n, 5, generator=random, dtype=torch.float64), "dead": 0 * x})
    accumulators = []
    for part in parts:
        grams = CentredGrams([*part], len(part["a"]), neighbours=True)
        for name, x in part.items():
            grams[name] = gram(x)
        accumulators.append(MinibatchCKAAndNeighbours())
        accumulators[-1].update_centred(grams)
    whole, other = accumulators
    whole.merge(other)
    again = MinibatchCKAAndNeighbours()
    again.load_state_dict(whole.state_dict())
    found = again.compute_neighbours()
    expected = [references_neighbours.shared_neighbours(part["a"], part["b"], 3) for part in parts]
    assert float(found[0, 1]) == pytest.approx(np.mean(expected), abs=1e-9)
    assert found[2].isnan().all()
    assert found[:, 2].isnan().all()


def test_whole_networks_share_what_their_activations_do_with_any_memory(tmp_path):
    models = {"ViT": load("test_vit:random"), "CNN": load("test_resnet:random")}
    images = data.load("fashion-mnist/test")
    amounts = {"number_of_images": 40, "batch_size": 20, "repeats": 1, "seed": 3, "neighbours": True}
    whole = compare_models(models, images, **amounts)
    plain = compare_models(models, images, **amounts | {"neighbours": False})
    np.testing.assert_allclose(whole.cka, plain.cka, atol=1e-7)
    in_parts = compare_models(models, images, **amounts, forward_batch=7, cache=tmp_path)
    np.testing.assert_allclose(in_parts.neighbours, whole.neighbours, atol=0.05)
    assert compare_models(models, images, **amounts, forward_batch=7, cache=tmp_path).neighbours is not None
    sample = images.sample(40, seed=3)
    chosen = {name: layers(model)[-2] for name, model in models.items()}
    expected = []
    for start in (0, 20):
        seen = []
        for name, model in models.items():
            pixels = torch.stack([preprocessing(model)(sample[i]) for i in range(start, start + 20)])
            seen.append(read(model, [chosen[name]], pixels)[chosen[name].name].numpy())
        expected.append(references_neighbours.shared_neighbours(*seen, number_of_neighbours(20)))
    found = whole.by_neighbours.between("ViT", "CNN")[0, -2, -2]
    assert found == pytest.approx(np.mean(expected), abs=0.01)


def test_what_was_not_measured_says_how_it_is():
    comparison = compare_models(
        {"ViT": load("test_vit:random")},
        data.load("fashion-mnist/test"),
        number_of_images=4,
        batch_size=4,
        repeats=1,
        seed=0,
    )
    with pytest.raises(ValueError, match=r"neighbours=True"):
        comparison.by_neighbours  # noqa: B018


def test_pairs_of_layers_share_what_the_whole_map_says():
    one, other = load("test_vit:random"), load("test_vit:random")
    images = data.load("fashion-mnist/test")
    amounts = {"number_of_images": 24, "batch_size": 12, "repeats": 2, "seed": 1, "neighbours": True}
    blocks = layers(one, kinds=["block"])
    whole = compare_models({"a": one, "b": other}, images, layers={"a": blocks, "b": blocks}, **amounts)
    pairs = compare_pairs(one, other, images, **amounts)
    expected = whole.by_neighbours.between("a", "b").diagonal(axis1=1, axis2=2)
    np.testing.assert_allclose(pairs.neighbours, expected, atol=0.02)
    assert compare_pairs(one, other, images, **amounts | {"neighbours": False}).neighbours is None


def test_the_stream_alone_has_its_own_rows_of_both_measures():
    vit = load("test_vit:random")
    amounts = {"number_of_images": 8, "batch_size": 8, "repeats": 1, "seed": 0, "neighbours": True}
    whole = compare_models({"ViT": vit, "same": vit}, data.load("fashion-mnist/test"), **amounts)
    stream = whole.only(STREAM)
    places = [place for place, layer in enumerate(whole.layers["ViT"]) if layer.kind in STREAM]
    assert 1 < len(places) < len(whole.layers["ViT"])
    assert [layer.kind in STREAM for layer in stream.layers["same"]] == [True] * len(places)
    for own, every in ((stream, whole), (stream.by_neighbours, whole.by_neighbours)):
        np.testing.assert_array_equal(
            own.between("ViT", "same"), every.between("ViT", "same")[:, places][:, :, places]
        )
    assert whole.only(["no such kind"]).layers == {}
