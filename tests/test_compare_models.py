"""compare_models against layers that are read and compared one pair at a time, on real images."""

import numpy as np
import pytest
import references
import torch
from torch import nn

from seelike import data
from seelike.cka import ModelComparison, compare_models
from seelike.errors import UnknownName
from seelike.models import layers, preprocessing, read
from seelike.models.tiny import build

images = data.load("fashion-mnist/test")
amounts = {"number_of_images": 12, "batch_size": 6, "repeats": 2, "seed": 5}


def network(seed, *, extra=()):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=4), nn.ReLU(inplace=True), nn.Conv2d(4, 3, 3), *extra, nn.Flatten()
    )
    model.pretrained_cfg = {"input_size": (1, 28, 28), "mean": (0.5,), "std": (0.5,), "interpolation": "bilinear"}
    return model.eval()


def reference(models, chosen, a, b, repeat):
    """Read each layer of a and b on each minibatch by itself, then the formula."""
    drawn = images.sample(amounts["number_of_images"], amounts["seed"] + repeat)
    parts = {}
    for name in (a, b):
        prepared = torch.stack([preprocessing(models[name])(image) for image in drawn])
        parts[name] = [read(models[name], chosen[name], batch) for batch in prepared.split(amounts["batch_size"])]
    return np.array(
        [
            [
                references.minibatch_cka(
                    [part[x.name].numpy() for part in parts[a]], [part[y.name].numpy() for part in parts[b]]
                )
                for y in chosen[b]
            ]
            for x in chosen[a]
        ]
    )


def test_all_pairs_are_those_of_the_formula():
    models = {"net": network(0), "vit": build("tiny/vit_7x7").eval()}
    chosen = {"net": layers(models["net"]), "vit": layers(models["vit"], ["block 2", "embedding"])}
    comparison = compare_models(models, images, layers={"vit": chosen["vit"]}, **amounts)
    assert comparison.layers == chosen
    for a in models:
        for b in models:
            values = comparison.between(a, b)
            assert values.dtype == np.float64
            for repeat in range(2):
                expected = reference(models, chosen, a, b, repeat)
                np.testing.assert_allclose(values[repeat], expected, rtol=0, atol=1e-6)
            np.testing.assert_array_equal(values, comparison.between(b, a).transpose(0, 2, 1))
    assert comparison.between("net", "vit").shape == (2, len(chosen["net"]), 2)
    # Other repeats see other images.
    assert not np.allclose(*comparison.between("net", "vit"))


def test_one_network_under_two_names_is_compared_with_itself():
    model = network(0)
    comparison = compare_models({"a": model, "b": model}, images, **amounts)
    assert len(comparison.layers["a"]) == len(comparison.layers["b"]) == comparison.between("a", "b").shape[1]
    np.testing.assert_allclose(comparison.between("a", "b"), comparison.between("a", "a"), atol=1e-12)
    np.testing.assert_allclose(comparison.mean("a", "b").diagonal(), 1, atol=1e-12)


def test_a_seed_gives_the_same_numbers_and_the_next_seed_the_next_repeat():
    models = {"net": network(0)}
    first = compare_models(models, images, **amounts).between("net", "net")
    np.testing.assert_array_equal(first, compare_models(models, images, **amounts).between("net", "net"))
    later = compare_models(models, images, **amounts | {"seed": 6, "repeats": 1}).between("net", "net")
    np.testing.assert_array_equal(first[1], later[0])


def test_minibatches_share_the_images_evenly():
    seen = []
    model = network(0)
    chosen = {"net": layers(model)[:1]}
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    uneven = {"number_of_images": 13, "batch_size": 5, "repeats": 1, "seed": 0}
    compare_models({"net": model}, images, layers=chosen, **uneven)
    # 5, 5, 3 would leave a minibatch without an unbiased HSIC. Before are passes that plan.
    assert seen[-3:] == [5, 4, 4]


def test_each_network_gets_the_images_its_own_way():
    large = network(0)
    large.pretrained_cfg = large.pretrained_cfg | {"input_size": (1, 40, 40), "mean": (0.1,)}
    comparison = compare_models({"small": network(0), "large": large}, images, **amounts)
    assert comparison.between("small", "large")[0, 0, 0] < 1 - 1e-6


def test_dead_layers_are_reported_once_and_cost_no_other_layer():
    dead = nn.Conv2d(3, 3, 1)
    nn.init.zeros_(dead.weight)
    models = {"alive": network(0), "dying": network(1, extra=[dead])}
    with pytest.warns(RuntimeWarning, match=r"Dead layers: \('dying', '3'\), \('dying', '4'\)") as warned:
        comparison = compare_models(models, images, **amounts)
    assert len(warned) == 1
    assert np.isfinite(comparison.between("alive", "alive")).all()
    names = [layer.name for layer in comparison.layers["dying"]]
    for name, column in zip(names, comparison.between("alive", "dying").transpose(2, 0, 1), strict=True):
        assert np.isnan(column).all() == (name in ("3", "4"))


def test_nothing_stays_hooked():
    model = network(0)
    compare_models({"net": model}, images, **amounts)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_errors_name_network_and_layer():
    broken = network(0)
    with torch.no_grad():
        broken[2].bias[0] = torch.inf
    with pytest.raises(ValueError, match=r"Layer \('net', '2'\): the activations contain NaN or infinite"):
        compare_models({"net": broken}, images, **amounts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": {}}, "models is empty"),
        ({"repeats": 0}, "repeats is 0"),
        ({"batch_size": 3}, "minibatches of at most 3; .* at least 4"),
        ({"number_of_images": 3}, r"There are 3 images .* at least 4"),
        ({"number_of_images": 7, "batch_size": 6}, "7 images in minibatches of at most 6 leave 3"),
        ({"number_of_images": 10_001}, "10,?001"),
        ({"layers": {"net": []}}, "list of layers of model 'net' is empty"),
    ],
)
def test_impossible_requests(change, message):
    request = {"models": {"net": network(0)}, "images": images, **amounts} | change
    with pytest.raises(ValueError, match=message):
        compare_models(**request)


def test_unknown_names_name_the_near_ones():
    model = network(0)
    with pytest.raises(UnknownName, match=r"Unknown model 'nett'. Did you mean 'net'"):
        compare_models({"net": model}, images, layers={"nett": layers(model)}, **amounts)
    comparison = compare_models({"net": model}, images, **amounts)
    with pytest.raises(UnknownName, match="Did you mean 'net'"):
        comparison.between("net", "nett")


def test_mean_and_standard_error_over_repeats():
    chosen = {"a": layers(network(0))[:2], "b": layers(network(0))[:1]}
    values = np.random.default_rng(0).uniform(size=(4, 3, 3))
    comparison = ModelComparison(chosen, values)
    ab = values[:, :2, 2:]
    np.testing.assert_array_equal(comparison.between("a", "b"), ab)
    np.testing.assert_allclose(comparison.mean("a", "b"), ab.sum(axis=0) / 4)
    variance = ((ab - ab.mean(axis=0)) ** 2).sum(axis=0) / 3
    np.testing.assert_allclose(comparison.standard_error("a", "b"), np.sqrt(variance / 4))


def test_one_repeat_has_no_standard_error():
    comparison = ModelComparison({"a": layers(network(0))[:1]}, np.ones((1, 1, 1)))
    assert np.isnan(comparison.standard_error("a", "a")).all()
