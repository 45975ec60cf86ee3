"""Reading gives what each layer had when it fired, and leaves the network as it was."""

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from seelike.errors import UnknownName
from seelike.models import Layer, layers, read


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=5).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # The last one of each branch starts at zero.
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return model


@pytest.fixture(scope="module")
def images():
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def out_of_place(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Layers of a ResNet of basic blocks, from its weights alone: nothing is overwritten here."""

    def norm(module, x):
        return functional.batch_norm(x, module.running_mean, module.running_var, module.weight, module.bias)

    def conv(module, x):
        return functional.conv2d(x, module.weight, None, module.stride, module.padding)

    x = functional.max_pool2d(torch.relu(norm(model.bn1, conv(model.conv1, images))), 3, 2, 1)
    found = {"embedding": x}
    blocks = [*model.layer1, *model.layer2, *model.layer3, *model.layer4]
    for number, block in enumerate(blocks, start=1):
        found[f"block {number}/conv 1"] = conv(block.conv1, x)
        found[f"block {number}/norm 1"] = torch.relu(norm(block.bn1, found[f"block {number}/conv 1"]))
        found[f"block {number}/conv 2"] = conv(block.conv2, found[f"block {number}/norm 1"])
        found[f"block {number}/branch"] = norm(block.bn2, found[f"block {number}/conv 2"])
        if block.downsample is not None:
            x = norm(block.downsample[1], conv(block.downsample[0], x))
            found[f"block {number}/shortcut"] = x
        x = torch.relu(x + found[f"block {number}/branch"])
        found[f"block {number}"] = x
    return found


def hooks(model: nn.Module) -> list:
    return [
        hook
        for module in model.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]


def test_in_place_operations_overwrite_nothing(resnet, images):
    with torch.no_grad():
        expected = out_of_place(resnet, images)
    everything = layers(resnet)
    copies = read(resnet, everything, images)
    sums = read(resnet, everything, images, lambda layer, activation: activation.double().sum().item())
    assert list(copies) == list(sums) == list(expected)
    for name, reference in expected.items():
        # Same convolutions in the same order: rounding of float32 at most.
        torch.testing.assert_close(copies[name], reference, rtol=1e-5, atol=1e-5)
        assert sums[name] == copies[name].double().sum().item()


def test_in_place_relu_after_a_module_of_an_unknown_network():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)).eval()
    images = torch.randn(2, 3, 8, 8)
    activations = read(model, layers(model), images)
    assert activations["0"].min() < 0
    assert torch.equal(activations["0"].relu(), activations["1"])


def test_results_are_in_the_order_asked_for(resnet, images):
    backwards = layers(resnet)[::-1]
    results = read(resnet, backwards, images, lambda layer, activation: (layer.name, activation.shape[1]))
    assert list(results) == [layer.name for layer in backwards]
    assert all(name == told for name, (told, _) in results.items())


def test_two_layers_may_read_one_module(images):
    model = nn.Sequential(nn.Conv2d(3, 4, 3)).eval()
    before = Layer("before", "", None, 0.0, "0", side="input")
    after = Layer("after", "", None, 0.0, "0")
    again = Layer("again", "", None, 0.0, "0")
    activations = read(model, [after, before, again], images)
    assert torch.equal(activations["before"], images)
    assert torch.equal(activations["after"], activations["again"])


def test_the_network_is_left_as_it_was(resnet, images):
    with torch.no_grad():
        scores = resnet(images)
    seen = []
    own = resnet.layer1.register_forward_hook(lambda *_: seen.append("own"))
    listed = layers(resnet)
    seen.clear()
    activations = read(resnet, listed, images)
    assert hooks(resnet) == list(resnet.layer1._forward_hooks.values())
    assert seen == ["own"]
    own.remove()
    assert not any(activation.requires_grad for activation in activations.values())
    with torch.no_grad():
        assert torch.equal(resnet(images), scores)


def test_hooks_are_gone_after_an_exception(resnet, images):
    def fail(layer, activation):
        raise ArithmeticError(layer.name)

    with pytest.raises(ArithmeticError, match="block 3"):
        read(resnet, layers(resnet, ["block 3"]), images, fail)
    # The second layer is not of this network: the first one's hook must go too.
    with pytest.raises(UnknownName, match=r"'layer9'.*'layer4'.*layers\(model\)"):
        read(resnet, [*layers(resnet, ["block 3"]), Layer("x", "", None, 0.0, "layer9")], images)
    assert hooks(resnet) == []


def test_a_layer_that_does_not_fire_is_named(resnet, images):
    twice = Layer("second call", "", None, 0.0, "conv1", call=1)
    with pytest.raises(RuntimeError, match=r"did not fire.*'second call'"):
        read(resnet, [*layers(resnet, ["block 1"]), twice], images)


def test_training_mode_is_refused(images):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout())
    with pytest.raises(ValueError, match=r"Sequential is in training mode.*model\.eval\(\)"):
        read(model, [], images)
    model.eval()[1].train()
    with pytest.raises(ValueError, match="Module '1' of Sequential is in training mode"):
        read(model, [], images)


def test_more_than_one_tensor_is_refused():
    model = nn.Sequential(nn.Flatten(2), nn.LSTM(4, 4)).eval()
    with pytest.raises(TypeError, match="Layer '1': the output of module '1' is of type tuple"):
        read(model, [Layer("1", "", None, 0.0, "1")], torch.zeros(2, 3, 2, 2))


def test_a_layer_given_twice_is_refused(resnet, images):
    layer = layers(resnet)[0]
    with pytest.raises(ValueError, match="'embedding' is given twice"):
        read(resnet, [layer, layer], images)


def test_images_take_the_dtype_of_the_network(images):
    model = timm.create_model("test_vit").eval().to(torch.bfloat16)
    activation = read(model, layers(model, ["block 1"]), torch.zeros(1, 3, 160, 160))["block 1"]
    assert activation.dtype == torch.bfloat16
