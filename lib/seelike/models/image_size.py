"""Networks for images of another size than they were built for."""

from collections.abc import Callable
from contextlib import ExitStack
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from seelike.models.measurable import input_size

Size = tuple[int, int]


def resized(model: nn.Module, size: Size, rebuild: Callable[..., nn.Module] | None = None) -> nn.Module:
    """Make a network read images of another size, with the weights that it has.

    Learned positions are resampled as timm does it: by the network's `set_input_size`, else by building it anew.
    The windows of Swin keep their share of the image. A convolutional network stays as it is; only its
    preprocessing changes.

    Args:
        model: A network of timm's classes, which may be changed.
        size: Height and width in pixels.
        rebuild: Builds the network anew, with its weights, when called with `img_size`.

    Returns:
        The network, in evaluation mode. `input_size` and `preprocessing` go by the new size.

    Raises:
        ValueError: Its weights or its architecture are for one size only, or it would not see all pixels.

    Example:
        >>> import timm
        >>> model = resized(timm.create_model("test_vit"), (32, 48))
        >>> input_size(model), model(torch.zeros(1, 3, 32, 48)).shape
        ((3, 32, 48), torch.Size([1, 1000]))
    """
    channels, *own = input_size(model)
    if size == tuple(own):
        return model
    try:
        if hasattr(model, "set_input_size"):
            model.set_input_size(img_size=size)  # type: ignore[operator]
        elif rebuild is not None:
            model = _rebuilt(model, size, rebuild)
        configuration = {**(getattr(model, "pretrained_cfg", None) or {}), "input_size": (channels, *size)}
        model.pretrained_cfg = model.default_cfg = configuration  # type: ignore[assignment]
        _try(model.eval(), torch.zeros(1, channels, *size))
    except Exception as error:  # of any kind, from the assertions and shapes of timm's classes
        reason = shorten(str(error) or type(error).__name__, 200).rstrip(".")
        raise ValueError(
            f"{type(model).__name__} with these weights reads images of {own[0]} x {own[1]} pixels (height x "
            f"width), and cannot read {size[0]} x {size[1]}: {reason}. Give another size, or none."
        ) from error
    return model


def _rebuilt(model: nn.Module, size: Size, rebuild: Callable[..., nn.Module]) -> nn.Module:
    try:
        built = rebuild(img_size=size)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        return model  # its class does not ask for the size
    _, *own = input_size(model)
    if own[0] != own[1] or own[0] * own[1] == size[0] * size[1]:
        # timm goes by the number of positions, and takes them to be of a square.
        raise ValueError("timm resamples its positions only from a square to another number of patches")
    before = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if name in before and before[name].shape == parameter.shape:
                parameter.copy_(before[name])
    return built


def _try(model: nn.Module, images: Tensor) -> None:
    """Run once, and see that no patch embedding leaves out the last pixels."""
    if input_size(model) != images.shape[1:]:
        raise ValueError("its class has no way to change the size")

    def refuse_a_rest(module: nn.Module, inputs: tuple[Tensor], output: Any) -> None:
        assert isinstance(module, nn.Conv2d)
        for axis, (kernel, stride) in enumerate(zip(module.kernel_size, module.stride, strict=True), start=2):
            read, given = output.shape[axis] * stride, inputs[0].shape[axis]
            if kernel == stride and read < given:
                multiple = stride * round(images.shape[axis] / given)
                raise ValueError(f"its {'height' if axis == 2 else 'width'} has to be a multiple of {multiple}")

    with ExitStack() as hooks, torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                hooks.callback(module.register_forward_hook(refuse_a_rest).remove)
        model(images)
