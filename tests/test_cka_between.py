"""CKA of whole networks in bounded memory: the same numbers whatever the budget, the batch, the interruptions."""

import subprocess
import sys

import numpy as np
import pytest
import references
import timm
import torch
from calls import calls_of
from torch import nn

from seelike import data
from seelike.cka import cka_between, compare_heads, compare_models, compare_pairs
from seelike.cka.passes import GramPasses, Reading
from seelike.models import layers, preprocessing, read
from seelike.streaming.memory import in_use, number_of_bytes

IMAGES = torch.randn(48, 3, 32, 32, generator=torch.Generator().manual_seed(0))
PROTOCOL = {"batch_size": 12, "number_of_images": 24, "repeats": 2, "seed": 3}


def vit(seed=0, **options):
    torch.manual_seed(seed)
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3, **options}
    return timm.models.VisionTransformer(num_classes=5, **options).eval()


def resnet(seed=0):
    torch.manual_seed(seed)
    model = timm.create_model("resnet10t", num_classes=5).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm starts the last of each block at zero
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model


def mixer(seed=0):
    torch.manual_seed(seed)
    return timm.models.MlpMixer(img_size=32, patch_size=8, embed_dim=24, num_blocks=2, num_classes=5).eval()


def plain(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 4, 3)).eval()
    model.pretrained_cfg = {"input_size": (3, 32, 32)}
    return model


def reference(model_a, model_b, images, layers_a, layers_b, draws):
    """CKA [repeats, a, b] by the formula, from activations that are read all at once."""
    values = []
    for minibatches in draws:
        seen = [(read(model_a, layers_a, images[m]), read(model_b, layers_b, images[m])) for m in minibatches]
        values.append(
            [
                [
                    references.minibatch_cka(
                        [a[x.name].numpy() for a, _ in seen], [b[y.name].numpy() for _, b in seen]
                    )
                    for y in layers_b
                ]
                for x in layers_a
            ]
        )
    return np.array(values)


def draws_of(number, batch_size, repeats, seed, total=48):
    orders = []
    for each in range(seed, seed + repeats):
        order = np.random.default_rng(each // 8).permutation(total).tolist()
        start = [0, 4, 2, 6, 1, 5, 3, 7][each % 8] * total // 8
        orders.append(np.array((order[start:] + order[:start])[:number]))
    return [np.array_split(order, -(-number // batch_size)) for order in orders]


# --- against the formula -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make_a", "make_b"), [(vit, resnet), (mixer, vit), (plain, resnet)], ids=["vit-resnet", "mixer-vit", "other"]
)
def test_it_is_the_formula_of_the_papers_protocol(make_a, make_b):
    a, b = make_a(0), make_b(1)
    chosen_a, chosen_b = layers(a)[::3], layers(b)[::4]
    result = cka_between(a, b, IMAGES, chosen_a, chosen_b, **PROTOCOL)
    expected = reference(a, b, IMAGES, chosen_a, chosen_b, draws_of(24, 12, 2, 3))
    np.testing.assert_allclose(result.between("a", "b"), expected, atol=1e-6)
    np.testing.assert_allclose(result.mean("a", "b"), expected.mean(axis=0), atol=1e-6)
    error = expected.std(axis=0, ddof=1) / np.sqrt(2)
    np.testing.assert_allclose(result.standard_error("a", "b"), error, atol=1e-6)


def test_an_image_set_is_drawn_and_prepared_for_each_network():
    images = data.load("fashion-mnist/test").sample(30, seed=0)
    a, b = vit(in_chans=1), vit(1, in_chans=1, img_size=16)
    a.pretrained_cfg, b.pretrained_cfg = {"input_size": (1, 32, 32)}, {"input_size": (1, 16, 16)}
    tensors = [torch.stack([preprocessing(model)(image) for image in images]) for model in (a, b)]
    chosen = [layers(model, ["block 2"]) for model in (a, b)]
    (minibatches,) = draws_of(20, 10, 1, 0, total=30)
    xs, ys = (
        [read(model, each, tensor[m])["block 2"].numpy() for m in minibatches]
        for model, each, tensor in zip((a, b), chosen, tensors, strict=True)
    )
    result = cka_between(a, b, images, *chosen, batch_size=10, number_of_images=20, repeats=1)
    assert result.mean("a", "b").item() == pytest.approx(references.minibatch_cka(xs, ys), abs=1e-6)


# --- the budget ----------------------------------------------------------------------------------------------


@pytest.fixture
def free(monkeypatch):
    """As if the process took nothing so far, so that small budgets mean something."""
    monkeypatch.setattr("seelike.cka.passes.in_use", lambda device: 0)
    monkeypatch.setattr("seelike.cka.passes._RESERVE", 0)


def least_memory(model):
    with pytest.raises(ValueError, match="memory is") as error:
        cka_between(model, model, IMAGES, memory=20_000_000, **PROTOCOL)
    return least_of(error.value)


def least_of(error):
    return number_of_bytes(str(error).split("takes ")[1].split(" or more")[0])


@pytest.mark.parametrize("make", [vit, resnet, mixer, plain])
def test_the_result_does_not_depend_on_the_budget_or_the_forward_batch(make, free):
    model = make()
    whole = cka_between(model, model, IMAGES, memory="64GB", **PROTOCOL).between("a", "b")
    least = least_memory(model)
    passes = []
    counted = model.register_forward_pre_hook(lambda module, inputs: passes.append(len(inputs[0])))
    for options in ({"memory": least}, {"memory": 2 * least}, {"forward_batch": 5, "memory": "64GB"}):
        passes.clear()
        result = cka_between(model, model, IMAGES, **options, **PROTOCOL).between("a", "b")
        # Convolutions of another number of images round otherwise: the activations differ, not their CKA.
        np.testing.assert_allclose(result, whole, atol=1e-5, err_msg=str(options))
        assert max(passes) <= 12
    # Asked for five images at a time, twelve take three passes.
    assert passes[-1] == 2
    counted.remove()


def test_too_little_memory_says_how_much_would_do_and_that_does(free):
    model = vit()
    least = least_memory(model)
    cka_between(model, model, IMAGES, memory=least, **PROTOCOL)
    with pytest.raises(ValueError, match="or a smaller batch_size"):
        cka_between(model, model, IMAGES, memory=int(0.9 * least), **PROTOCOL)


def test_the_process_stays_within_its_budget():
    # In a process of its own: what it took at most can only grow.
    code = """
import timm, torch
from seelike.cka import cka_between
from seelike.streaming.memory import in_use, most_in_use
torch.set_num_threads(1)
model = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8).eval()
images = torch.randn(256, 3, 64, 64)
cpu = torch.device("cpu")
budget = in_use(cpu) + 350_000_000
cka_between(model, model, images, batch_size=256, number_of_images=256, repeats=1, memory=budget)
print(budget, most_in_use(cpu))
"""
    # All features of the minibatch would take 1.6 GB.
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    budget, peak = map(int, run.stdout.split())
    assert peak <= budget


def test_memory_is_given_in_words_or_bytes():
    assert number_of_bytes("2GB") == number_of_bytes(2_000_000_000)
    assert in_use(torch.device("cpu")) > 50_000_000
    with pytest.raises(ValueError, match="'eight'"):
        cka_between(plain(), plain(), IMAGES, memory="eight", **PROTOCOL)


# --- passes --------------------------------------------------------------------------------------------------


def test_a_pass_stops_after_its_last_layer():
    model, later = vit(), []
    model.blocks[2].register_forward_hook(lambda *_: later.append("ran"))
    chosen = layers(model, ["block 1"])
    later.clear()  # Finding them runs the whole network.
    cka_between(model, model, IMAGES, chosen, chosen, **PROTOCOL)
    assert later == []


def test_one_network_with_itself_shares_its_grams():
    model, other = vit(), vit()
    chosen = layers(model, ["block 1", "block 2"])
    runs = []
    model.register_forward_pre_hook(lambda module, inputs: runs.append(len(inputs[0])))
    same = cka_between(model, model, IMAGES, chosen, chosen[:1], **PROTOCOL)
    # Twice to plan, then once for each minibatch.
    assert runs.count(12) == 4
    two = cka_between(model, other, IMAGES, chosen, chosen[:1], **PROTOCOL)
    np.testing.assert_allclose(same.mean("a", "b"), two.mean("a", "b"), atol=1e-9)


def test_out_of_memory_halves_the_pass_and_says_so_once():
    model = vit()
    expected = cka_between(model, model, IMAGES, **PROTOCOL).between("a", "b")

    def five_fit(module, inputs):
        if len(inputs[0]) > 5:
            raise torch.cuda.OutOfMemoryError("full")

    handle = model.blocks[1].register_forward_pre_hook(five_fit)
    with pytest.warns(RuntimeWarning, match="Out of memory") as warned:
        result = cka_between(model, model, IMAGES, **PROTOCOL).between("a", "b")
    handle.remove()
    assert len([each for each in warned if "Out of memory" in str(each.message)]) == 1
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_hooks_of_others_stay_and_ours_go_also_after_an_error():
    model, mine = vit(), []
    handle = model.blocks[0].register_forward_hook(lambda *_: mine.append("fired"))
    cka_between(model, model, IMAGES, **PROTOCOL)
    assert mine
    with torch.no_grad():
        model.blocks[1].mlp.fc2.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN or infinite"):
        cka_between(model, model, IMAGES, **PROTOCOL)
    handle.remove()
    hooked = [name for name, module in model.named_modules() if module._forward_hooks or module._forward_pre_hooks]
    assert hooked == []


@pytest.mark.parametrize("forward_batch", [None, 5])
def test_activations_that_are_overwritten_in_place_are_read_before(forward_batch):
    model = plain()
    convolution, relu = layers(model)[:2]
    result = cka_between(model, model, IMAGES, [convolution], [relu], forward_batch=forward_batch, **PROTOCOL)
    expected = reference(model, model, IMAGES, [convolution], [relu], draws_of(24, 12, 2, 3))
    np.testing.assert_allclose(result.between("a", "b"), expected, atol=1e-6)
    assert expected.max() < 0.99


def test_grams_can_go_to_a_file(free):
    model = vit()
    images = torch.randn(300, 3, 32, 32)
    readings = [Reading(layer.name, layer) for layer in layers(model)]

    def passes(memory):
        return GramPasses([(model, readings)], images, n=300, memory=memory)

    with pytest.raises(ValueError, match="or more") as error:
        passes(20_000_000)
    whole, small = passes(10**11), passes(least_of(error.value))
    assert small._on_disk
    assert not whole._on_disk
    expected = whole.read(np.arange(300)).hsic()
    torch.testing.assert_close(small.read(np.arange(300)).hsic(), expected, rtol=1e-6, atol=1e-9)


# --- stopped and resumed -------------------------------------------------------------------------------------


def test_a_stopped_call_goes_on_with_the_next_minibatch(tmp_path, monkeypatch):
    model = vit()
    expected = cka_between(model, model, IMAGES, **PROTOCOL).between("a", "b")

    seen = calls_of(model, monkeypatch, stop_at=5)  # of which two are to plan
    with pytest.raises(KeyboardInterrupt):
        cka_between(model, model, IMAGES, cache=tmp_path, **PROTOCOL)
    result = cka_between(model, model, IMAGES, cache=tmp_path, **PROTOCOL).between("a", "b")
    assert seen == [2, 3, 12, 12, 12, 2, 3, 12, 12]  # two before, one stopped, two after
    np.testing.assert_array_equal(result, expected)
    again = cka_between(model, model, IMAGES, cache=tmp_path, **PROTOCOL).between("a", "b")
    assert len(seen) == 9
    np.testing.assert_array_equal(again, expected)


def test_a_repeat_that_is_there_is_not_measured_again_whatever_the_others(tmp_path, monkeypatch):
    model = vit()
    expected = cka_between(model, model, IMAGES, **PROTOCOL | {"seed": 4}).between("a", "b")
    seen = calls_of(model, monkeypatch)
    cka_between(model, model, IMAGES, cache=tmp_path, **PROTOCOL)
    # The second draw of seed 3 is the first of seed 4.
    result = cka_between(model, model, IMAGES, cache=tmp_path, **PROTOCOL | {"seed": 4}).between("a", "b")
    assert seen.count(12) == 4 + 2
    np.testing.assert_array_equal(result, expected)
    # One that shows the same images in other minibatches is another.
    cka_between(model, model, IMAGES, cache=tmp_path, **PROTOCOL | {"batch_size": 24})
    assert seen.count(24) == 2


def test_a_changed_image_keeps_the_repeats_that_do_not_show_it(tmp_path, monkeypatch):
    model, images = vit(), IMAGES.clone()
    first, second = (set(np.concatenate(draw)) for draw in draws_of(24, 12, 2, 3))
    seen = calls_of(model, monkeypatch)
    cka_between(model, model, images, cache=tmp_path, **PROTOCOL)
    changed = images.clone()
    changed[min(first - second)] += 1
    result = cka_between(model, model, changed, cache=tmp_path, **PROTOCOL).between("a", "b")
    assert seen.count(12) == 4 + 2
    np.testing.assert_array_equal(result, cka_between(model, model, changed, **PROTOCOL).between("a", "b"))
    neither = set(range(48)) - first - second
    changed[sorted(neither)] += 1
    assert neither
    seen.clear()
    cka_between(model, model, changed, cache=tmp_path, **PROTOCOL)
    assert seen == []


# --- pairs and heads -----------------------------------------------------------------------------------------


def test_pairs_are_the_diagonal_of_all_with_all():
    a, b = vit(0), vit(1)
    blocks = layers(a, kinds=["block"])
    full = cka_between(a, b, IMAGES, blocks, blocks, **PROTOCOL).between("a", "b")
    pairs = compare_pairs(a, b, IMAGES, **PROTOCOL)
    np.testing.assert_allclose(pairs.cka, full.diagonal(axis1=1, axis2=2), atol=1e-9)
    np.testing.assert_allclose(pairs.mean, full.mean(axis=0).diagonal(), atol=1e-9)
    assert [layer.name for layer in pairs.layers_b] == ["block 1", "block 2", "block 3"]


def test_pairs_need_partners():
    with pytest.raises(ValueError, match="got 3 layers of model_a and 2 of model_b"):
        compare_pairs(vit(), vit(depth=2), IMAGES, **PROTOCOL)


def test_subsets_of_heads_are_concatenated_heads():
    model, other = vit(), resnet()
    chosen = layers(other)[1:3]
    result = compare_heads(model, other, IMAGES, chosen, block=2, **PROTOCOL)
    seen = []
    handle = model.blocks[1].attn.proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    subsets = [[2], [0, 1], [0, 1, 2]]
    expected = np.empty((2, len(subsets), len(chosen)))
    for repeat, minibatches in enumerate(draws_of(24, 12, 2, 3)):
        heads, features = [], []
        for minibatch in minibatches:
            seen.clear()
            with torch.no_grad():
                model(IMAGES[minibatch])
            heads.append(seen[0].unflatten(2, (3, 8)))
            features.append(read(other, chosen, IMAGES[minibatch]))
        for i, subset in enumerate(subsets):
            for j, layer in enumerate(chosen):
                expected[repeat, i, j] = references.minibatch_cka(
                    [each[:, :, subset].numpy() for each in heads], [each[layer.name].numpy() for each in features]
                )
    handle.remove()
    np.testing.assert_allclose(result.between(subsets), expected, atol=1e-6)
    np.testing.assert_allclose(result.mean(subsets), expected.mean(axis=0), atol=1e-6)


def test_heads_are_the_same_in_passes():
    model, other = vit(), resnet()
    subsets = [[0], [1, 2]]
    expected = compare_heads(model, other, IMAGES, **PROTOCOL).between(subsets)
    found = compare_heads(model, other, IMAGES, forward_batch=5, **PROTOCOL).between(subsets)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("subset", [[], [0, 0], [3]])
def test_subsets_that_make_no_sense_are_refused(subset):
    result = compare_heads(vit(), plain(), IMAGES, **PROTOCOL)
    with pytest.raises(ValueError, match="expected different numbers, 0 to 2"):
        result.between([subset])


def test_networks_without_heads_are_refused():
    with pytest.raises(ValueError, match="has 0 blocks with attention heads"):
        compare_heads(resnet(), vit(), IMAGES, **PROTOCOL)
    with pytest.raises(ValueError, match="block is 4"):
        compare_heads(vit(), vit(), IMAGES, block=4, **PROTOCOL)


# --- errors --------------------------------------------------------------------------------------------------


def test_what_cannot_be_measured_is_refused():
    model = vit()
    cases = [
        ({"batch_size": 3}, "at least 4 images"),
        ({"number_of_images": 100}, "100, but there are 48"),
        ({"repeats": 0}, "repeats is 0"),
        ({"forward_batch": 0}, "forward_batch is 0"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            cka_between(model, model, IMAGES, **PROTOCOL | options)
    with pytest.raises(ValueError, match="training mode"):
        cka_between(vit(), vit().train(), IMAGES, **PROTOCOL)
    with pytest.raises(ValueError, match="list of layers of model 'b' is empty"):
        cka_between(model, model, IMAGES, layers_b=[], **PROTOCOL)


def test_a_layer_that_never_fires_is_an_error():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return self.used(x)

    model = Unused().eval()
    model.pretrained_cfg = {"input_size": (3, 32, 32)}
    used = layers(model)[0]
    silent = type(used)(**{**vars(used), "name": "unused", "module": "unused"})
    with pytest.raises(RuntimeError, match="'unused'"):
        cka_between(model, model, IMAGES, [used, silent], [used], **PROTOCOL)


def test_compare_models_takes_a_budget_and_a_cache_too(tmp_path):
    models = {"vit": vit(), "mixer": mixer()}
    options = {"number_of_images": 24, "batch_size": 12, "repeats": 2, "seed": 3}
    expected = compare_models(models, IMAGES, **options).cka
    for _ in range(2):
        result = compare_models(models, IMAGES, **options, forward_batch=5, cache=tmp_path).cka
        np.testing.assert_allclose(result, expected, atol=1e-6)
    assert len(list(tmp_path.iterdir())) == 2  # one for each repeat
