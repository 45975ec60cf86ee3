"""CKA of networks in bounded memory: the same whatever the budget, stopped and resumed; heads and pairs."""

import re
import resource
import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pytest
import references
import references_heads
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seelike import data
from seelike.cka import (
    CentredGrams,
    HeadComparison,
    MinibatchCKA,
    PairedCKA,
    cka,
    cka_between,
    compare_heads,
    compare_models,
    compare_pairs,
    gram,
    passes,
)
from seelike.cka.memory import LiveBytes, number_of_bytes, peak
from seelike.models import Layer, layers, preprocessing, read
from seelike.models.tiny import build

few_examples = settings(max_examples=20, deadline=None)
numbers = {"batch_size": 24, "number_of_images": 40, "repeats": 2}


def vit(seed, **options):
    torch.manual_seed(seed)
    options = {"img_size": 12, "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 4, **options}
    model = timm.models.vision_transformer.VisionTransformer(in_chans=1, num_classes=3, **options)
    model.pretrained_cfg = {"input_size": (1, 12, 12), "mean": (0.5,), "std": (0.5,), "interpolation": "bilinear"}
    return model.eval()


def resnet(seed):
    torch.manual_seed(seed)
    resnet = timm.models.resnet
    return resnet.ResNet(
        resnet.BasicBlock, (1, 1, 2, 2), in_chans=1, num_classes=3, channels=(8, 8, 12, 12)
    ).eval()


def mixer(seed):
    torch.manual_seed(seed)
    return timm.models.mlp_mixer.MlpMixer(3, 12, 1, 4, num_blocks=3, embed_dim=16).eval()


def plain(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 40, 3), nn.ReLU(inplace=True), nn.Conv2d(40, 9, 3), nn.Flatten())
    model.pretrained_cfg = {"input_size": (1, 12, 12)}
    return model.eval()


@pytest.fixture
def images():
    return torch.randn(60, 1, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def empty_process(monkeypatch):
    """Budgets count from zero, so that they are small whatever else runs in this process."""
    monkeypatch.setattr(passes, "in_use", lambda device: 0)


def least(run):
    """The least memory that would do, as the error says."""
    with pytest.raises(ValueError, match=r"memory is 1MB.* takes \d+MB or more") as caught:
        run(memory="1MB")
    return int(re.search(r"takes (\d+)MB", str(caught.value))[1])


# --- budgets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [vit, resnet, mixer, plain])
def test_the_answer_does_not_depend_on_memory_or_forward_batch(make, images, empty_process, monkeypatch):
    # With small slices, the smallest budget cuts layers in pieces.
    monkeypatch.setattr(passes, "SLICE", 64)
    model = make(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # The last one of each branch starts at zero.
            nn.init.uniform_(module.weight, 0.5, 1.5)
    run = partial(cka_between, model, model, images, batch_size=12, number_of_images=23, repeats=1)
    expected = run(memory="8GB").cka
    smallest = least(run)
    for memory in (f"{smallest}MB", f"{smallest + 1}MB"):
        np.testing.assert_allclose(run(memory=memory).cka, expected, rtol=0, atol=1e-6)
    for forward_batch in (1, 7, 100):
        np.testing.assert_allclose(run(forward_batch=forward_batch).cka, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("memory", ["8GB", "least"])
def test_all_pairs_are_those_of_the_formula(memory, images, empty_process):
    models = vit(0), plain(1)
    run = partial(cka_between, *models, images, **numbers)
    comparison = run(memory=f"{least(run)}MB" if memory == "least" else memory)
    for repeat in range(2):
        order = np.random.default_rng(repeat).permutation(60)[:40]
        a, b = (
            [read(model, layers(model), images[torch.from_numpy(each)]) for each in (order[:20], order[20:])]
            for model in models
        )
        expected = [[references.minibatch_cka([x[i] for x in a], [y[j] for y in b]) for j in b[0]] for i in a[0]]
        np.testing.assert_allclose(comparison.between("a", "b")[repeat], expected, rtol=0, atol=1e-6)


def plan(model, images, memory=10**9, forward_batch=None):
    readings = [passes.Reading(layer.name, layer) for layer in layers(model)]
    return passes.GramPasses([(model, readings)], images, n=40, memory=memory, forward_batch=forward_batch)


def test_small_budgets_take_passes_over_blocks_and_split_layers(images, empty_process, monkeypatch):
    monkeypatch.setattr(passes, "SLICE", 100)
    model = vit(0)
    assert plan(model, images)._networks[0].segments == []
    passed = plan(model, images, forward_batch=25)
    (network,) = passed._networks
    paths = [segment.path for segment in network.segments]
    assert paths == ["", "blocks.0", "blocks.1", "blocks.2", "norm"]
    pieces = [piece for segment in network.segments for group in segment.groups for piece in group]
    assert {piece.reading.name for piece in pieces} == {layer.name for layer in layers(model)}
    for name, size in network.sizes.items():
        assert sum(piece.stop - piece.start for piece in pieces if piece.reading.name == name) == size.width
    # Cut more finely than any budget would: as small as the pieces may be.
    network.segments = passed._segments(network, paths[1:], 40 * 100 * 4 + 64)
    assert max(len(segment.groups) for segment in network.segments) > 20
    expected = plan(model, images).read(np.arange(40)).hsic()
    found = passed.read(np.arange(40)).hsic()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_a_network_that_is_no_chain_starts_from_the_images(images, empty_process):
    class TwoStreams(timm.models.vision_transformer.VisionTransformer):
        def forward_features(self, x, **options):
            x = self.norm_pre(self._pos_embed(self.patch_embed(x)))
            y = self.blocks[0](x)
            return self.norm(self.blocks[2](self.blocks[1](y) + x))

    torch.manual_seed(0)
    model = TwoStreams(img_size=12, patch_size=4, embed_dim=24, depth=3, num_heads=4, in_chans=1).eval()
    links, stream = plan(model, images)._networks[0].chain()
    # Block 3 gets another stream than block 2 gave.
    assert links == ["blocks.0", "blocks.1"]
    assert stream is not None
    run = partial(cka_between, model, model, images, **numbers)
    np.testing.assert_allclose(run(forward_batch=7).cka, run().cka, rtol=0, atol=1e-6)


def test_a_pass_stops_after_its_last_layer(images):
    model, seen = vit(0), []
    for number, block in enumerate(model.blocks):
        block.register_forward_hook(lambda *_, number=number: seen.append(number))
    chosen = layers(model, ["block 2"])
    compare_pairs(model, model, images, chosen, chosen, **numbers)
    assert set(seen) == {0, 1}


def test_a_network_with_itself_runs_once(images):
    model, seen = vit(0), []
    model.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    comparison = cka_between(model, model, images, layers(model)[:5], layers(model)[3:9], **numbers)
    assert seen[-4:] == [20, 20, 20, 20]
    # The run that sees what memory it takes, and the minibatches.
    assert len(seen) == 1 + 4
    assert comparison.mean("a", "b")[3:, :2] == pytest.approx(comparison.mean("a", "a")[3:, 3:], abs=1e-12)
    np.testing.assert_allclose(comparison.mean("a", "b")[[3, 4], [0, 1]], 1, atol=1e-12)


def test_a_budget_that_is_too_small_says_what_would_do(images):
    run = partial(cka_between, vit(0), vit(1), images, **numbers)
    with pytest.raises(ValueError, match=r"memory is 100MB, of which .* are in use") as caught:
        run(memory="100MB")
    enough = re.search(r"takes (\S+B) or more", str(caught.value))[1]
    run(memory=enough)


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_packed_grams_keep_hsic(on_disk, dtype):
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(33, 4, generator=generator)
    xs = {name: scale * (shared + torch.randn(33, 4, generator=generator)) for name, scale in
          {"a": 1e-20, "b": 1.0, "c": 1e18}.items()}  # fmt: skip
    grams = CentredGrams(tuple(xs), 33, dtype, on_disk=on_disk)
    for name, x in xs.items():
        grams[name] = gram(x.double())
    hsic = grams.hsic()
    expected = np.array(
        [
            [references.unbiased_hsic(references.centred_gram(x), references.centred_gram(y)) for y in xs.values()]
            for x in xs.values()
        ]
    )
    scale = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    assert np.abs((hsic.numpy() - expected) / scale).max() < (1e-8 if dtype == torch.float32 else 1e-12)
    torch.testing.assert_close(
        grams.of(["c", "a"]).hsic(grams.of(["b"])), hsic[[2, 0]][:, [1]], rtol=1e-12, atol=0
    )
    torch.testing.assert_close(
        grams.of(["c", "a"]).hsic_of_pairs(grams.of(["b", "a"])), hsic[[2, 0], [1, 0]], rtol=1e-12, atol=0
    )


def test_rounding_grams_to_float32_costs_little():
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        shared = torch.randn(200, 3, generator=generator)
        x, y = (torch.cat([shared, torch.randn(200, 50, generator=generator)], dim=1) for _ in range(2))
        grams = CentredGrams(["x", "y"], 200, torch.float32)
        grams["x"], grams["y"] = gram(x), gram(y)
        similarity = MinibatchCKA()
        similarity.update_centred(grams)
        assert float(similarity.compute()[0, 1]) == pytest.approx(cka(x, y), abs=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_networks_of_any_dtype(dtype, images):
    model = plain(0).to(dtype)
    comparison = cka_between(model, model, images, forward_batch=20, **numbers)
    order = torch.from_numpy(np.random.default_rng(0).permutation(60)[:40])
    parts = [read(model, layers(model), images[chosen]) for chosen in order.split(20)]
    first, last = ([part[name].double() for part in parts] for name in ("0", "3"))
    assert comparison.between("a", "b")[0, 0, -1] == pytest.approx(references.minibatch_cka(first, last), abs=1e-6)


# --- memory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["", "many", "8XB", "-1GB", "GB"])
def test_memory_that_is_none(wrong):
    with pytest.raises(ValueError, match="expected bytes, or text such as '8GB'"):
        number_of_bytes(wrong)


@pytest.mark.parametrize("make", [vit, resnet, mixer])
def test_the_peak_of_large_batches_is_told_from_small_ones(make):
    model = make(0)

    def trace(n):
        batch = torch.zeros(n, 1, 12, 12)
        with torch.no_grad(), LiveBytes([batch, *model.parameters(), *model.buffers()]) as live:
            model(batch)
        return live.trace

    assert peak(trace(2), trace(3), 17) == pytest.approx(max(trace(17)), rel=0.01)


def test_a_network_of_changing_ways_is_given_more():
    assert peak([10], [10, 30], 6) >= 60


@pytest.mark.skipif(sys.platform != "linux", reason="what is resident is told by Linux")
def test_peak_memory_of_a_process_stays_within_the_budget():
    # ViT-Tiny, 144 images of 64 pixels: all its features take 1 GB, the budget leaves 170 MB.
    code = """
        import resource, timm, torch
        from seelike.cka import cka_between
        from seelike.cka.memory import in_use
        from seelike.models import layers
        model = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8).eval()
        images = torch.randn(144, 3, 64, 64)
        memory = in_use(torch.device("cpu")) + 170_000_000
        cka_between(model, model, images, batch_size=144, number_of_images=144, repeats=1, memory=memory)
        print(memory, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    memory, used = map(int, ran.stdout.split())
    assert used < memory
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 0


class Stops(Exception):
    """Stands for whatever ends a call."""


@pytest.mark.parametrize("forward_batch", [None, 8])
def test_out_of_memory_halves_the_batch_and_says_so_once(forward_batch, images):
    model = vit(0)
    run = partial(cka_between, model, model, images, **numbers)
    expected = run().cka

    def fail(module, inputs):
        if len(inputs[0]) > 3:
            raise torch.cuda.OutOfMemoryError("full")

    model.blocks[1].register_forward_pre_hook(fail)
    with pytest.warns(RuntimeWarning, match="Out of memory") as warned:
        found = run(forward_batch=forward_batch).cka
    assert len(warned) == 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


# --- what may go wrong ---------------------------------------------------------------------------------------


def hooks(model):
    return [
        hook
        for module in model.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]


@pytest.mark.parametrize("forward_batch", [None, 3])
def test_hooks_are_gone_after_an_exception_and_others_stay(forward_batch, images):
    model, calls = vit(0), []

    def stop(*_):
        calls.append(1)
        if len(calls) == 5:
            raise Stops

    model.blocks[1].register_forward_hook(stop)
    before = hooks(model)
    with pytest.raises(Stops):
        cka_between(model, vit(1), images, forward_batch=forward_batch, **numbers)
    assert hooks(model) == before
    cka_between(model, vit(1), images, forward_batch=forward_batch, **numbers)
    assert hooks(model) == before


def test_training_mode_is_an_error(images):
    model = vit(0)
    model.blocks[2].train()
    for compare in (cka_between, compare_pairs, compare_heads):
        with pytest.raises(ValueError, match=r"'blocks.2'.*training mode.*Call model.eval"):
            compare(vit(1), model, images, **numbers)


@pytest.mark.parametrize("forward_batch", [None, 3])
def test_a_layer_that_does_not_fire_is_an_error(forward_batch, images):
    model = plain(0)
    model.register_module("unused", nn.ReLU().eval())
    model.forward = lambda x: model[:4](x)
    chosen = [*layers(plain(0)), Layer("unused", "ReLU", None, 1.0, "unused")]
    with pytest.raises(RuntimeError, match="did not fire in the forward pass: 'unused'"):
        cka_between(model, plain(1), images, chosen, forward_batch=forward_batch, **numbers)


@pytest.mark.parametrize("forward_batch", [None, 3])
def test_errors_name_network_and_layer(forward_batch, images):
    broken = plain(0)
    with torch.no_grad():
        broken[2].bias[0] = torch.nan
    with pytest.raises(ValueError, match=r"Layer \('b', '2'\): the activations contain NaN"):
        cka_between(plain(1), broken, images, forward_batch=forward_batch, **numbers)


def test_a_layer_without_images_first(images):
    class Turned(nn.Module):
        def forward(self, x):
            return x.flatten(1).T

    model = nn.Sequential(nn.Conv2d(1, 1, 3), Turned()).eval()
    with pytest.raises(ValueError, match=r"Layer \('a', 'turned'\): got an activation of shape .* for 2 images"):
        cka_between(model, plain(0), images, [Layer("turned", "", None, 0.0, "1")], **numbers)


@pytest.mark.parametrize("forward_batch", [None, 3])
def test_dead_layers_are_nan_with_one_warning(forward_batch, images):
    dead = plain(0)
    nn.init.zeros_(dead[2].weight)
    with pytest.warns(RuntimeWarning, match=r"Dead layers: \('b', '2'\), \('b', '3'\)") as warned:
        comparison = cka_between(plain(1), dead, images, forward_batch=forward_batch, **numbers)
    assert len(warned) == 1
    assert np.isnan(comparison.between("a", "b")).all(axis=(0, 1)).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number_of_images": None}, "number_of_images is 240, but there are 60"),
        ({"number_of_images": 61}, "number_of_images is 61, but there are 60"),
        ({"repeats": 0}, "repeats is 0"),
        ({"batch_size": 3}, "at least 4 images"),
        ({"forward_batch": 0}, "forward_batch is 0"),
        ({"memory": "lots"}, "memory is 'lots'"),
        ({"layers_b": []}, "list of layers of model 'b' is empty"),
    ],
)
def test_impossible_requests(change, message, images):
    with pytest.raises(ValueError, match=message):
        cka_between(plain(0), plain(1), images, **numbers | change)


@pytest.mark.parametrize("wrong", [torch.zeros(60, 12, 12), torch.zeros(60, 1, 12, 12, dtype=torch.uint8)])
def test_images_that_are_none(wrong):
    with pytest.raises(ValueError, match="expected prepared images"):
        cka_between(plain(0), plain(1), wrong, **numbers)


def test_ten_minibatches_unless_told():
    images = torch.randn(45, 1, 12, 12)
    seen = []
    model = plain(0)
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    cka_between(model, model, images, layers(plain(0))[:1], batch_size=4, repeats=1)
    assert seen[-10:] == [4] * 10


def test_an_image_set_is_prepared_as_each_network_asks(empty_process):
    images = data.load("fashion-mnist/test").sample(30, seed=0)
    model = build("tiny/vit_7x7").eval()
    prepared = torch.stack([preprocessing(model)(image) for image in images])
    amounts = {"batch_size": 10, "number_of_images": 20, "repeats": 1}
    chosen = layers(model, kinds=["block"])
    expected = cka_between(model, model, prepared, chosen, chosen, **amounts).cka
    for forward_batch in (None, 3):
        found = cka_between(model, model, images, chosen, chosen, forward_batch=forward_batch, **amounts).cka
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


# --- stopped and resumed -------------------------------------------------------------------------------------


class Counts:
    """A hook that counts the minibatches, and stops amid one of them."""

    def __init__(self, stop_at=None):
        self.sizes, self.stop_at = [], stop_at

    def __call__(self, module, inputs, output):
        self.sizes.append(len(output))
        if self.stop_at == len(self.sizes):
            raise KeyboardInterrupt


PLACES = [Layer(name, "", None, 0.0, name) for name in ("0", "1", "2")]


def counted(model, images, *, stop_at=None, **options):
    counts = Counts(stop_at)
    handle = model[0].register_forward_hook(counts)
    try:
        chosen = {"layers_a": PLACES, "layers_b": PLACES}
        found = cka_between(model, plain(1), images, **{**numbers, **chosen, **options})
    finally:
        handle.remove()
    return found.cka, len(counts.sizes)


def test_a_stopped_call_goes_on_with_the_next_minibatch(images, tmp_path):
    model = plain(0)
    expected, runs = counted(model, images)
    assert runs == 1 + 4
    with pytest.raises(KeyboardInterrupt):
        counted(model, images, cache=tmp_path, stop_at=1 + 3)
    found, runs = counted(model, images, cache=tmp_path)
    assert runs == 1 + 2
    np.testing.assert_array_equal(found, expected)
    again, runs = counted(model, images, cache=tmp_path)
    assert runs == 0
    np.testing.assert_array_equal(again, expected)


def test_another_request_begins_anew(images, tmp_path):
    model = plain(0)
    counted(model, images, cache=tmp_path)
    for change in ({"seed": 1}, {"batch_size": 20}, {"repeats": 1}, {"layers_a": PLACES[:2]}):
        assert counted(model, images, cache=tmp_path, **change)[1] > 2
    assert counted(model, images + 1, cache=tmp_path)[1] > 2
    assert counted(plain(3), images, cache=tmp_path)[1] > 2
    # What it costs is no part of the request.
    assert counted(model, images, cache=tmp_path, memory="6GB")[1] == 0


def test_compare_models_resumes_too(images, tmp_path):
    models = {"x": plain(0), "y": vit(0)}
    amounts = {"number_of_images": 20, "batch_size": 10, "repeats": 2, "seed": 0}
    first = compare_models(models, images, cache=tmp_path, **amounts)
    np.testing.assert_array_equal(compare_models(models, images, cache=tmp_path, **amounts).cka, first.cka)
    assert len(list(tmp_path.iterdir())) == 1


# --- heads and pairs -----------------------------------------------------------------------------------------


def heads_of(model, images):
    place = Layer("heads", "", None, 0.0, "blocks.0.attn.proj", side="input")
    return read(model, [place], images)["heads"].double().numpy()


def test_subsets_of_heads_are_those_of_the_formula(images, empty_process):
    model, other = vit(0), plain(1)
    chosen = layers(other)
    run = partial(compare_heads, model, other, images, chosen, **numbers | {"repeats": 1})
    comparison = run()
    assert comparison.heads == 4
    order = torch.from_numpy(np.random.default_rng(0).permutation(60)[:40]).split(20)
    batches = [heads_of(model, images[each]) for each in order]
    others = [read(other, chosen, images[each]) for each in order]
    subsets = [[2], [0, 3], [3, 2, 1], [0, 1, 2, 3]]
    for found in (comparison, run(memory=f"{least(run)}MB"), run(forward_batch=7)):
        values = found.mean(subsets)
        assert values.shape == (4, len(chosen))
        for subset, row in zip(subsets, values, strict=True):
            for layer, value in zip(chosen, row, strict=True):
                expected = references_heads.cka_of_subset(
                    batches, [(head, 6) for head in subset], [each[layer.name].numpy() for each in others]
                )
                assert value == pytest.approx(expected, abs=1e-6)
    assert np.isnan(comparison.standard_error(subsets)).all()


def test_heads_of_a_network_with_its_own_layers(images):
    model = vit(0)
    own = compare_heads(model, model, images, layers(model)[:3], **numbers)
    twin = compare_heads(model, vit(0), images, layers(model)[:3], **numbers)
    np.testing.assert_allclose(own.mean([[0, 1]]), twin.mean([[0, 1]]), atol=1e-12)
    assert np.isfinite(own.standard_error([[0], [1]])).all()


@pytest.mark.parametrize("subset", [[], [4], [-1], [0, 0]])
def test_subsets_that_are_none(subset):
    with pytest.raises(ValueError, match=r"subset of heads is .* expected different numbers, 0 to 3"):
        HeadComparison(4, [], np.eye(4)[None]).between([subset])


def test_heads_that_are_none(images):
    with pytest.raises(ValueError, match="block is 4; VisionTransformer has 3 blocks"):
        compare_heads(vit(0), plain(1), images, block=4, **numbers)
    with pytest.raises(ValueError, match="block is 1; Sequential has 0 blocks"):
        compare_heads(plain(0), plain(1), images, **numbers)
    with pytest.raises(ValueError, match="Block 1 of MlpMixer has no attention"):
        compare_heads(mixer(0), plain(1), images, **numbers)


def test_pairs_are_the_diagonal_of_all_pairs(images, empty_process):
    a, b = vit(0), vit(1)
    run = partial(compare_pairs, a, b, images, **numbers)
    blocks = layers(a, kinds=["block"])
    comparison = run()
    assert [layer.name for layer in comparison.layers_a] == ["block 1", "block 2", "block 3"]
    whole = cka_between(a, b, images, blocks, blocks, **numbers)
    for found in (comparison, run(memory=f"{least(run)}MB")):
        diagonal = whole.between("a", "b").diagonal(axis1=1, axis2=2)
        np.testing.assert_allclose(found.cka, diagonal, rtol=0, atol=1e-6)
    np.testing.assert_allclose(comparison.mean, comparison.cka.mean(axis=0))
    np.testing.assert_allclose(comparison.standard_error, comparison.cka.std(axis=0, ddof=1) / np.sqrt(2))
    np.testing.assert_allclose(compare_pairs(a, a, images, **numbers).cka, 1, atol=1e-12)


def test_pairs_of_unequal_number(images):
    with pytest.raises(ValueError, match="got 3 layers of model_a and 2 of model_b"):
        compare_pairs(vit(0), vit(1, depth=2), images, **numbers)


def paired_batches():
    generator = torch.Generator().manual_seed(0)
    return [{name: torch.randn(n, 5, generator=generator) for name in ("a", "b", "c", "d")} for n in (8, 9, 12)]


def add(similarity, batch, rows="ab"):
    names = {"a": "c", "b": "d"}
    similarity.update({name: batch[name] for name in rows}, {names[name]: batch[names[name]] for name in rows})


def test_paired_cka_is_that_of_the_formula_merges_and_goes_on(tmp_path):
    whole, first, later = PairedCKA(), PairedCKA(), PairedCKA()
    batches = paired_batches()
    for batch in batches:
        add(whole, batch)
    expected = [
        references.minibatch_cka([x[a] for x in batches], [x[b] for x in batches]) for a, b in ("ac", "bd")
    ]
    np.testing.assert_allclose(whole.compute(), expected, rtol=0, atol=1e-7)
    add(first, batches[0])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    later.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    other = PairedCKA()
    for batch in batches[1:]:
        add(later, batch)
        add(other, batch, "ba")
    assert torch.equal(later.compute(), whole.compute())
    first.merge(other)
    torch.testing.assert_close(first.compute(), whole.compute(), atol=1e-12, rtol=0)


def test_pairs_that_are_none():
    batch = paired_batches()[0]
    with pytest.raises(ValueError, match="got 1 rows and 0 columns"):
        PairedCKA().update({"a": batch["a"]})
    with pytest.raises(ValueError, match="got 2 rows and 1 columns"):
        PairedCKA().update({"a": batch["a"], "b": batch["b"]}, {"c": batch["c"]})
    one, other = PairedCKA(), PairedCKA()
    add(one, batch)
    other.update({"a": batch["a"], "b": batch["b"]}, {"d": batch["d"], "c": batch["c"]})
    with pytest.raises(ValueError, match="pairs differ"):
        one.merge(other)


# --- properties ----------------------------------------------------------------------------------------------


@few_examples
@given(n=st.integers(4, 30), seed=st.integers(0, 10**6), split=st.integers(1, 9))
def test_hsic_of_heads_adds_up(n, seed, split):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, 10, generator=generator).double(), torch.randn(n, 4, generator=generator).double()
    grams = CentredGrams(["left", "right", "all", "y"], n)
    for name, each in {"left": x[:, :split], "right": x[:, split:], "all": x, "y": y}.items():
        grams[name] = gram(each)
    comparison = HeadComparison(
        2, [Layer("y", "", None, 0.0, "")], grams.of(["left", "right", "y"]).hsic()[None].numpy()
    )
    assert comparison.mean([[0, 1]]).item() == pytest.approx(cka(x, y), abs=1e-9)


@few_examples
@given(n=st.integers(4, 30), seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_packed_cka_is_symmetric_bounded_and_invariant(n, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, 6, generator=generator).double(), torch.randn(n, 3, generator=generator).double()
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator).double()).Q
    order = torch.randperm(n, generator=generator)

    def packed(xs):
        grams = CentredGrams(tuple(xs), n, torch.float32)
        for name, each in xs.items():
            grams[name] = gram(each)
        similarity = MinibatchCKA()
        similarity.update_centred(grams)
        return similarity.compute()

    matrix = packed({"x": x, "y": y, "turned": scale * x @ rotation})
    assert torch.equal(matrix, matrix.T)
    assert matrix.abs().max() <= 1 + 1e-12
    assert float(matrix[0, 1]) == pytest.approx(float(matrix[2, 1]), abs=1e-5)
    assert float(matrix[0, 2]) == pytest.approx(1, abs=1e-5)
    other_order = packed({"x": x[order], "y": y[order]})
    assert float(other_order[0, 1]) == pytest.approx(float(matrix[0, 1]), abs=1e-5)
