"""What is measured, and what is refused: networks compiled, wrapped, in training mode, with batch statistics."""

import copy
import warnings

import numpy as np
import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from seelike import cka
from seelike.attention import attention_distances
from seelike.localization import token_patch_cka
from seelike.models import family, layers, preprocessing, read, residuals
from seelike.models.measurable import input_size, require_measurable, require_unwrapped
from seelike.probes import probe_layers
from seelike.receptive_field import effective_receptive_field
from seelike.skip import skip_ratios

SIDE = 32


def vit():
    torch.manual_seed(2)
    return timm.create_model("test_vit", img_size=SIDE).eval()


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


def compiled_inside(model):
    model.blocks[0] = torch.compile(model.blocks[0], backend="eager")
    return model


def compiled_forward(model):
    model.forward = torch.compile(model.forward, backend="eager")
    return model


def traced(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(model, torch.zeros(1, 3, SIDE, SIDE))


def distributed(model):
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        return nn.parallel.DistributedDataParallel(model)
    finally:
        torch.distributed.destroy_process_group()


HIDDEN = {
    "torch.compile": (lambda model: torch.compile(model, backend="eager"), "is compiled.*_orig_mod"),
    "compile()": (compiled_in_place, "is compiled.*load it again"),
    "one block": (compiled_inside, "Module 'blocks.0' of VisionTransformer is compiled"),
    "forward": (compiled_forward, "is compiled"),
    "traced": (traced, r"compiled by torch\.jit.*that was scripted or traced"),
    "DataParallel": (nn.DataParallel, "wrapped in DataParallel.*`module`"),
    "inside": (lambda model: nn.Sequential(nn.DataParallel(model)), "Module '0' of Sequential is wrapped"),
    "averaged": (torch.optim.swa_utils.AveragedModel, "wrapped in AveragedModel"),
}
if torch.distributed.is_available():
    HIDDEN["DistributedDataParallel"] = (distributed, "wrapped in DistributedDataParallel")


@pytest.mark.parametrize("name", HIDDEN)
def test_compiled_and_wrapped_networks_are_refused_in_words(name):
    hide, said = HIDDEN[name]
    with pytest.raises(ValueError, match=said):
        require_unwrapped(hide(vit()))


def test_a_whole_network_on_many_devices_is_refused():
    class FullyShardedDataParallel(nn.Module):
        __module__ = "torch.distributed.fsdp.fully_sharded_data_parallel"

    with pytest.raises(ValueError, match=r"wrapped in FullyShardedDataParallel.*whole, on one device"):
        require_unwrapped(FullyShardedDataParallel())


def test_a_class_of_ones_own_may_have_any_name():
    class DataParallel(nn.Sequential):
        pass

    inside = vit()
    model, images = DataParallel(inside).eval(), torch.randn(2, 3, SIDE, SIDE)
    model.pretrained_cfg = inside.pretrained_cfg
    require_unwrapped(model)
    found = read(model, layers(model, ["block 2"]), images)
    assert torch.equal(found["block 2"], read(inside, layers(inside, ["block 2"]), images)["block 2"])


def one_comparison(model, images):
    draw = {"number_of_images": 8, "batch_size": 8, "repeats": 1, "seed": 0}
    return cka.compare_models({"m": model}, images, layers={"m": LAYERS}, **draw)


LAYERS = layers(vit(), ["block 1", "block 2"])
LABELS = np.arange(8) % 2
MEASUREMENTS = {
    "family": lambda model, _: family(model),
    "layers": lambda model, _: layers(model),
    "residuals": lambda model, _: residuals(model),
    "read": lambda model, images: read(model, LAYERS, images),
    "compare_models": one_comparison,
    "attention_distances": lambda model, images: attention_distances(model, images),
    "receptive fields": lambda model, images: effective_receptive_field(model, LAYERS, images),
    "skip_ratios": lambda model, images: skip_ratios(model, images),
    "token_patch_cka": lambda model, images: token_patch_cka(model, LAYERS, images, minibatch=4),
    "probe_layers": lambda model, images: probe_layers(model, (images, LABELS), (images, LABELS)),
}


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_every_measurement_refuses_a_compiled_network(name):
    images = torch.randn(8, 3, SIDE, SIDE)
    with pytest.raises(ValueError, match="is compiled"):
        MEASUREMENTS[name](torch.compile(vit(), backend="eager"), images)


def test_preprocessing_is_not_guessed_for_a_wrapped_network():
    preprocessing(vit().train())
    for hide in (nn.DataParallel, lambda model: torch.compile(model, backend="eager")):
        with pytest.raises(ValueError, match="hides its layers"):
            preprocessing(hide(vit()))


def test_what_torch_compile_was_given_is_still_measured():
    model, images = vit(), torch.randn(4, 3, SIDE, SIDE)
    before = read(model, LAYERS, images)
    torch.compile(model, backend="eager")(images)
    after = read(model, LAYERS, images)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_forward_that_is_kept_from_the_compiler_is_not_compiled():
    model = vit()
    images = torch.randn(2, 3, SIDE, SIDE)
    expected = read(model, LAYERS, images)
    model.forward = torch.compiler.disable(model.forward)
    require_measurable(model)
    found = read(model, LAYERS, images)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_graph_of_modules_is_read_as_the_network_that_was_traced():
    torch.manual_seed(4)
    model, images = timm.create_model("test_resnet").eval(), torch.randn(2, 3, 64, 64)
    graph = torch.fx.symbolic_trace(model).eval()
    paths = {layer.module for layer in layers(model, kinds=["hidden"])}
    chosen = layers(graph, sorted(paths))
    assert {layer.module for layer in chosen} == paths
    found = read(graph, chosen, images)
    given = {}
    for path in paths:
        model.get_submodule(path).register_forward_hook(lambda *a, path=path: given.update({path: a[2].clone()}))
    model(images)
    for layer in chosen:
        assert torch.equal(found[layer.name], given[layer.module])
    # The graph's blocks are no modules, and yet end with their activations, as those of the network.
    of_graph, of_network = (read(each, layers(each, kinds=["block"]), images) for each in (graph, model))
    assert list(of_graph) == list(of_network)
    for name, output in of_network.items():
        assert float(output.min()) == 0
        assert torch.equal(of_graph[name], output)
    assert [each.activation for each in residuals(graph)] == [each.activation for each in residuals(model)]


BATCH_NORMS = {
    "BatchNorm1d": nn.BatchNorm1d,
    "BatchNorm2d": nn.BatchNorm2d,
    "SyncBatchNorm": nn.SyncBatchNorm,
    "of timm, with activation": BatchNormAct2d,
}


@pytest.mark.parametrize("name", BATCH_NORMS)
def test_norms_by_the_statistics_of_the_batch_are_refused(name):
    norm = BATCH_NORMS[name](4).eval()
    require_measurable(norm)
    norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    with pytest.raises(ValueError, match="Module '0' of Sequential normalises by the statistics of the batch"):
        require_measurable(nn.Sequential(norm).eval())


def test_a_norm_by_the_batch_hides_no_layers_and_is_measured_by_nothing():
    model = timm.create_model("test_resnet").eval()
    expected = [layer.name for layer in layers(model)]
    model = timm.create_model("test_resnet").eval()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    found = layers(model)
    assert [layer.name for layer in found] == expected
    assert all(norm.running_mean is None and norm.running_var is None for norm in norms)
    with pytest.raises(ValueError, match="normalises by the statistics of the batch"):
        read(model, found, torch.randn(2, 3, 64, 64))


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.BatchNorm2d(4), nn.LayerNorm(5)])
def test_norms_that_are_measured_do_not_mix_images(norm):
    model, images = norm.eval(), torch.randn(6, 4, 5, 5)
    require_measurable(model)
    alone = torch.cat([model(image[None]) for image in images])
    # float32 sums in another order
    torch.testing.assert_close(model(images), alone, rtol=1e-5, atol=1e-6)


def test_a_part_in_training_mode_is_named():
    model = vit()
    copy.deepcopy(model).train()
    require_measurable(model)
    model.blocks[1].mlp.train()
    with pytest.raises(ValueError, match=r"Module 'blocks\.1\.mlp' of VisionTransformer is in training mode"):
        require_measurable(model)


def test_input_size_is_what_the_network_was_built_for():
    model = timm.create_model("test_vit", img_size=(32, 48), in_chans=1)
    assert model.pretrained_cfg["input_size"] == (3, 160, 160)
    assert input_size(model) == (1, 32, 48)
    assert input_size(nn.Linear(1, 1)) == (3, 224, 224)
    dynamic = timm.create_model("test_vit", dynamic_img_size=True)
    assert input_size(dynamic) == (3, 160, 160)
