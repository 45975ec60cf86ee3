"""Read activations in one forward pass, each as soon as it is there.

What a module hands on may be overwritten before the pass is over: by the in-place ReLU after it, or by the
`x += shortcut` at the end of a ResNet block. So every activation is copied, or reduced to what is needed of
it, while its hook runs. Reducing there also keeps the memory small: a layer of ViT-L/16 takes 0.8 MB for each
image.

The output or input of a module is read by a hook. The operands of an addition that is written in a module's own
`forward`, which no module may hand on, are read as PyTorch's function is called.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seelike.errors import unknown_name
from seelike.models.layers import Layer, places, require_layers
from seelike.models.measurable import require_measurable
from seelike.models.precision import as_given
from seelike.models.trace import Additions, Running

Keep = Callable[[Layer, Any], None]


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
    results: dict[str, Any] = {}

    def keep(layer: Layer, activation: Any) -> None:
        if not isinstance(activation, Tensor):
            raise TypeError(
                f"Layer {layer.name!r}: the {layer.side} of module {layer.module!r} is of type "
                f"{type(activation).__name__}, where one tensor is expected. Read a module inside it."
            )
        results[layer.name] = activation.clone() if reduce is None else reduce(layer, activation)

    like = next(model.parameters(), images)
    with listening(model, layers, keep), torch.no_grad():
        model(images.to(like.device, like.dtype))
    silent = [layer.name for layer in layers if layer.name not in results]
    if silent:
        raise RuntimeError(
            f"These layers did not fire in the forward pass: {', '.join(map(repr, silent))}. Either the "
            "network does not use them, or it was compiled before: read it uncompiled."
        )
    return {layer.name: results[layer.name] for layer in layers}


def read_tokens(
    model: nn.Module,
    layers: Sequence[Layer],
    images: Float[Tensor, "n channels height width"],
    reduce: Callable[[Layer, Tensor], Any] | None = None,
) -> dict[str, Any]:
    """Read layers as tokens `[n, t, d]`: those without a place first, then row by row (`Place.tokens`).

    Args:
        model: A network in evaluation mode.
        layers: Layers of this network.
        images: Preprocessed images.
        reduce: As in `read`, called with tokens.

    Returns:
        As `read`.

    Raises:
        ValueError: It is not known which axis of a layer has the channels; or as `read`.

    Example:
        >>> import timm
        >>> from seelike.models import layers
        >>> model = timm.create_model("test_resnet").eval()
        >>> read_tokens(model, layers(model, ["block 4"]), torch.zeros(2, 3, 160, 160))["block 4"].shape
        torch.Size([2, 25, 96])
    """
    where = places(model, layers, images)

    def as_tokens(layer: Layer, activation: Tensor) -> Any:
        tokens = where[layer.name].tokens(activation)
        return tokens.clone() if reduce is None else reduce(layer, tokens)

    return read(model, layers, images, as_tokens)


@contextmanager
def listening(model: nn.Module, layers: Sequence[Layer], keep: Keep) -> Iterator[None]:
    """Listen to layers of a network during one forward pass.

    Args:
        model: The network.
        layers: Layers of this network.
        keep: Called with a layer and what is there, as soon as it is. Where the network computes in mixed
            precision, `keep` does not.

    Raises:
        UnknownName: A layer is not of this network.
        ValueError: Two layers have the same name.

    Example:
        >>> model = nn.Sequential(nn.ReLU())
        >>> relu = Layer("relu", "", None, 0.0, "0")
        >>> with listening(model, [relu], lambda layer, x: print(layer.name, x)):
        ...     _ = model(torch.tensor([-1.0, 2.0]))
        relu tensor([0., 2.])
    """
    require_layers(layers)
    modules = dict(model.named_modules(remove_duplicate=False))
    names = set()
    for layer in layers:
        if layer.module not in modules:
            hint = f"Layer {layer.name!r} must come from layers(model) of this very network."
            raise unknown_name("module", layer.module, modules, hint)
        if layer.name in names:
            raise ValueError(f"Layer {layer.name!r} is given twice. Results are kept by name: give it once.")
        names.add(layer.name)
    with ExitStack() as hooks:
        of_additions = [layer for layer in layers if layer.side in ("left", "right", "sum")]
        if of_additions:
            hooks.enter_context(_listening_to_additions(modules, of_additions, keep))
        for layer in layers:
            if layer.side in ("output", "input"):
                hooks.callback(_hook(modules[layer.module], layer, keep).remove)
        yield


def _hook(module: nn.Module, layer: Layer, keep: Keep) -> Any:
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


@contextmanager
def _listening_to_additions(modules: dict[str, nn.Module], layers: Sequence[Layer], keep: Keep) -> Iterator[None]:
    wanted: dict[tuple[str, int], list[Layer]] = {}
    for layer in layers:
        wanted.setdefault((layer.module, layer.call), []).append(layer)
    running, seen = Running(), Counter[str]()

    def on_addition(left: Tensor, right: Tensor, add: Callable[[], Tensor]) -> Tensor:
        key = (running.innermost, seen[running.innermost])
        seen[running.innermost] += 1
        asked = wanted.get(key, ())
        for layer in asked:
            if layer.side != "sum":
                with as_given():
                    keep(layer, left if layer.side == "left" else right)
        total = add()
        for layer in asked:
            if layer.side == "sum":
                with as_given():
                    keep(layer, total)
        return total

    # Additions count for the innermost module: so its children must be known to run, too.
    paths = dict.fromkeys(layer.module for layer in layers)
    inside = [f"{path}.{name}".removeprefix(".") for path in paths for name, _ in modules[path].named_children()]
    with running.through(modules[""], dict.fromkeys([*paths, *inside])), Additions(on_addition):
        yield
