"""Forward passes in 16 bits, where these are faster, and measurements in 32 bits or 64 all the same.

In *mixed* precision the matrix products and convolutions of a network are computed in 16 bits, sums and norms in
32 (PyTorch's autocast). Weights stay in 32 bits. What a hook reads is reduced outside of that: a Gram matrix of
16-bit activations is a product of 32 bits or more.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from types import MethodType
from typing import Any
from weakref import WeakSet

import torch
from torch import nn

from seelike.errors import unknown_name

PRECISIONS = ("float32", "mixed")
_DEVICES = ("cpu", "cuda", "mps")
_OWN: WeakSet[Callable[..., Any]] = WeakSet()


def with_precision(model: nn.Module, precision: str) -> nn.Module:
    """Let a network compute its forward passes in some precision from now on.

    Args:
        model: A network with float32 weights.
        precision: "float32", as it is; or "mixed", with products in 16 bits.

    Returns:
        The same network. `precision_of` tells how it computes.

    Raises:
        UnknownName: There is no such precision.

    Example:
        >>> from seelike.models import load
        >>> model = with_precision(load("tiny/vit_7x7"), "mixed")
        >>> model.blocks[0].mlp.fc1(torch.zeros(1, 64)).dtype, model(torch.zeros(1, 1, 28, 28)).dtype
        (torch.float32, torch.bfloat16)
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if precision == precision_of(model):
        return model
    if precision == "float32":
        del model.forward  # the class's own is behind it
        return model
    forward = model.forward

    @wraps(forward)
    def in_sixteen_bits(*inputs: Any, **options: Any) -> Any:
        device = next(model.parameters()).device
        with torch.autocast(device.type, dtype=_sixteen_bits(device)):
            return forward(*inputs, **options)

    in_sixteen_bits.precision = precision  # type: ignore[attr-defined]
    _OWN.add(in_sixteen_bits)
    model.forward = in_sixteen_bits  # type: ignore[method-assign]
    return model


def precision_of(model: nn.Module) -> str:
    """Tell how a network computes its forward passes, as `with_precision` set it.

    Example:
        >>> precision_of(nn.Linear(1, 1))
        'float32'
    """
    return getattr(model.forward, "precision", "float32")


def is_own(forward: Any) -> bool:
    """Tell whether a network's `forward` is what `with_precision` made of that of its class, and of no other.

    Example:
        >>> model = with_precision(nn.Linear(1, 1), "mixed")
        >>> is_own(model.forward), is_own(lambda x: x)
        (True, False)
    """
    if not any(forward is own for own in _OWN):
        return False
    inside = forward.__wrapped__
    return isinstance(inside, MethodType) and inside.__func__ is getattr(type(inside.__self__), "forward", None)


@contextmanager
def as_given() -> Iterator[None]:
    """Compute what is inside in the precision of the numbers that are there, whatever the network around it does.

    Example:
        >>> with torch.autocast("cpu"), as_given():
        ...     (torch.eye(2) @ torch.eye(2)).dtype
        torch.float32
    """
    with ExitStack() as off:
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                off.enter_context(torch.autocast(device, enabled=False))
        yield


def _sixteen_bits(device: torch.device) -> torch.dtype:
    # A GPU of before 2020, such as Colab's T4, has no units for bfloat16, and takes longer than for 32 bits.
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16
