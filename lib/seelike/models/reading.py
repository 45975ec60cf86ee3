"""Read activations in one forward pass, each inside the hook that sees it.

What a module hands on may be overwritten before the pass is over: by the in-place ReLU after it, or by the
`x += shortcut` at the end of a ResNet block. So every activation is copied, or reduced to what is needed of
it, while its hook runs. Reducing there also keeps the memory small: a layer of ViT-L/16 takes 0.8 MB for each
image.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import count
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from seelike.errors import unknown_name
from seelike.models.layers import Layer
from seelike.models.measurable import require_measurable
from seelike.models.precision import as_given


def read(
    model: nn.Module,
    layers: Sequence[Layer],
    images: Float[Tensor, "n ..."],
    reduce: Callable[[Layer, Tensor], Any] | None = None,
) -> dict[str, Any]:
    """Read layers of a network in one forward pass without gradients.

    Args:
        model: A network in evaluation mode.
        layers: Layers of this network, from `seelike.models.layers`.
        images: Preprocessed images `[n, channels, height, width]`, or what else the module takes. They are moved
            to the device and the dtype of the network's parameters.
        reduce: Called with a layer and its activation `[n, ...]` as soon as there is one; its result is kept.
            The activation may be overwritten afterwards, so `reduce` must not keep it or a view of it. None
            keeps a copy.

    Returns:
        What `reduce` gave, by the name of the layer, in the order of `layers`.

    Raises:
        ValueError: The network is in training mode, or two layers have the same name.
        UnknownName: A layer is not of this network.
        TypeError: A module gives something else than one tensor.
        RuntimeError: A layer did not fire.

    Example:
        >>> import timm
        >>> from seelike.models import layers
        >>> model = timm.create_model("test_vit").eval()
        >>> images = torch.zeros(2, 3, 160, 160)
        >>> read(model, layers(model, ["block 1"]), images)["block 1"].shape
        torch.Size([2, 101, 64])
        >>> read(model, layers(model, ["block 1"]), images, lambda layer, activation: activation.ndim)
        {'block 1': 3}
    """
    require_measurable(model)
    modules = dict(model.named_modules(remove_duplicate=False))
    results: dict[str, Any] = {}

    def keep(layer: Layer, activation: Any) -> None:
        if not isinstance(activation, Tensor):
            raise TypeError(
                f"Layer {layer.name!r}: the {layer.side} of module {layer.module!r} is of type "
                f"{type(activation).__name__}, where one tensor is expected. Read a module inside it."
            )
        results[layer.name] = activation.clone() if reduce is None else reduce(layer, activation)

    with ExitStack() as hooks:
        names = set()
        for layer in layers:
            if layer.module not in modules:
                hint = f"Layer {layer.name!r} must come from layers(model) of this very network."
                raise unknown_name("module", layer.module, modules, hint)
            if layer.name in names:
                raise ValueError(f"Layer {layer.name!r} is given twice. Results are kept by name: give it once.")
            names.add(layer.name)
            hooks.callback(hook(modules[layer.module], layer, keep).remove)
        like = next(model.parameters(), images)
        with torch.no_grad():
            model(images.to(like.device, like.dtype))

    silent = [layer.name for layer in layers if layer.name not in results]
    if silent:
        raise RuntimeError(
            f"These layers did not fire in the forward pass: {', '.join(map(repr, silent))}. Either the "
            "network does not use them, or it was compiled before: read it uncompiled."
        )
    return {layer.name: results[layer.name] for layer in layers}


def hook(module: nn.Module, layer: Layer, keep: Callable[[Layer, Any], None]) -> RemovableHandle:
    """Hook a layer for one forward pass.

    Args:
        module: The layer's module.
        layer: The layer.
        keep: Called with the layer and what it gives, as soon as there is one. Where the network computes in mixed
            precision, `keep` does not.

    Returns:
        The handle that removes the hook.

    Example:
        >>> module = nn.ReLU()
        >>> handle = hook(module, Layer("relu", "", None, 0.0, ""), lambda layer, x: print(layer.name, x))
        >>> _ = module(torch.tensor([-1.0, 2.0]))
        relu tensor([0., 2.])
        >>> handle.remove()
    """
    calls = count()

    def on_input(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        if next(calls) == layer.call:
            with as_given():
                keep(layer, inputs[0] if inputs else None)

    def on_output(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if next(calls) == layer.call:
            with as_given():
                keep(layer, output)

    if layer.side == "input":
        return module.register_forward_pre_hook(on_input)
    return module.register_forward_hook(on_output)
