"""What a machine can do at best, and what a piece of work asks of it: operations, and bytes moved."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from side_by_side import synchronise
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

DTYPES = ("float32", "bfloat16", "float64")
# Full symmetric eigendecomposition (Golub and Van Loan, Matrix computations, section 8.3): 9 n^3.
OF_EIGENDECOMPOSITION = 9
# Products that add to what is there, under names that PyTorch's own counter does not know.
_IN_PLACE = {torch.ops.aten.addmm_: torch.ops.aten.addmm, torch.ops.aten.baddbmm_: torch.ops.aten.baddbmm}
# They make room or change shapes, and move nothing, though their schema does not say so.
_NO_TRAFFIC = {
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "_unsafe_view",
    "lift_fresh",
}
# Writing here lets Linux forget the largest memory of a process so far.
_FORGET = Path("/proc/self/clear_refs")


class Operations(TorchDispatchMode):
    """Count floating-point operations by the type of their results, such as "bfloat16"."""

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.by_type: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and add what it takes."""
        kwargs = kwargs or {}
        if (made := self._in_parts(func, args, kwargs)) is not NotImplemented:
            return made
        made = func(*args, **kwargs)
        if func.overloadpacket in flop_registry:
            first = next(leaf for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor))
            count = flop_registry[func.overloadpacket](*args, **kwargs, out_val=made)
            self.by_type[_name(first.dtype)] += count
        return made

    def _in_parts(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run what is made of other operations, as it comes from inside another mode, part by part."""
        if func.overloadpacket in flop_registry:
            return NotImplemented
        with self:
            return func.decompose(*args, **kwargs)


class Costs(Operations):
    """Count operations, as `Operations` does, and bytes moved.

    Beside matrix products and convolutions, eigendecompositions count, and the products that CPUs have of oneDNN.
    Bytes: each operation reads each of its tensors once and writes its result once; views move nothing. That is
    what memory would move without caches, operation by operation, and without fusing any of them.
    """

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and add what it takes."""
        if (made := self._in_parts(func, args, kwargs or {})) is not NotImplemented:
            return made
        made = super().__torch_dispatch__(func, types, args, kwargs)
        packet = func.overloadpacket
        if packet is torch.ops.aten.mkldnn_linear:
            self.by_type["float32"] += 2 * args[0].numel() * args[1].shape[0]
        elif packet in _IN_PLACE:
            self.by_type[_name(made.dtype)] += flop_registry[_IN_PLACE[packet]](
                *args, **(kwargs or {}), out_val=made
            )
        elif packet is torch.ops.aten._linalg_eigh:
            self.by_type[_name(args[0].dtype)] += OF_EIGENDECOMPOSITION * args[0].numel() * args[0].shape[-1]
        if not func.is_view and packet.__name__ not in _NO_TRAFFIC:
            self.bytes += sum(_bytes(leaf) for leaf in tree_leaves((args, made)) if isinstance(leaf, Tensor))
        return made


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _bytes(tensor: Tensor) -> int:
    size = tensor.numel() * tensor.element_size()
    # What was expanded is there once.
    return size if tensor.is_mkldnn else min(size, tensor.untyped_storage().nbytes())


def rates(device: str) -> dict[str, float]:
    """Measure operations a second of square matrix products by dtype, and bytes a second of a copy ("copy").

    The best of some rounds.
    """
    on_gpu = device.startswith("cuda")
    found = {}
    for name in DTYPES:
        side = {"float64": 4096}.get(name, 8192) if on_gpu else 768
        a, b = torch.randn(2, side, side, device=device).to(getattr(torch, name))
        ways: list[Callable[[], object]] = [lambda a=a, b=b: a @ b]
        if name == "float32" and not on_gpu and torch.backends.mkldnn.is_available():
            packed = a.to_mkldnn()
            ways.append(lambda packed=packed, b=b: functional.linear(packed, b))
        found[name] = 2 * side**3 / min(_seconds(way, device) for way in ways)
    source = torch.zeros(2**30 if on_gpu else 2**27, dtype=torch.uint8, device=device)
    goal = torch.zeros_like(source)
    found["copy"] = 2 * source.nbytes / _seconds(lambda: goal.copy_(source), device)
    return found


def _seconds(work: Callable[[], object], device: str, rounds: int = 5) -> float:
    work()
    taken = []
    for _ in range(rounds):
        synchronise(device)
        begin = time.perf_counter()
        work()
        synchronise(device)
        taken.append(time.perf_counter() - begin)
    return min(taken)


def shares(operations: dict[str, float], moved: float, seconds: float, rate: dict[str, float]) -> dict[str, float]:
    """Say which share of the time the products would take at the measured rate, and the bytes at that of a copy.

    Args:
        operations: By dtype. Of a dtype without a rate that of 16 bits is taken.
        moved: Bytes.
        seconds: That the work took.
        rate: As `rates` measures them.
    """
    products = sum(count / rate.get(name, rate["bfloat16"]) for name, count in operations.items())
    return {"products": products / seconds, "copies": moved / rate["copy"] / seconds}


def forget_peak(device: str) -> None:
    """Let `most_in_use` begin anew, where the system allows it."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    elif _FORGET.exists():
        _FORGET.write_text("5")
