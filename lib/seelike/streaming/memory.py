"""What a measurement of networks takes of memory: what is there already, and what a forward pass adds."""

import re
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_STATUS = Path("/proc/self/status")


def number_of_bytes(memory: str | int) -> int:
    """Read an amount of memory.

    Args:
        memory: Bytes, or text: "8GB" (8e9 bytes), "500MB", "2GiB" (2 x 2^30 bytes).

    Raises:
        ValueError: It is neither.

    Example:
        >>> number_of_bytes("1.5GB"), number_of_bytes("2 GiB"), number_of_bytes(1000)
        (1500000000, 2147483648, 1000)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", str(memory).lower())
    if not found or found[2] not in _UNITS:
        raise ValueError(f"memory is {memory!r}; expected bytes, or text such as '8GB', '500MB' or '2GiB'.")
    return int(float(found[1]) * _UNITS[found[2]])


def in_words(size: float | int) -> str:
    """Write an amount of memory.

    Example:
        >>> in_words(2_345_678_901)
        '2.35GB'
    """
    return f"{size / 1e9:.3g}GB" if size >= 1e9 else f"{size / 1e6:.0f}MB"


def in_use(device: torch.device) -> int:
    """Tell how many bytes are in use now: of the GPU by tensors, else of the machine by the whole process."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _of_status("VmRSS") if _STATUS.exists() else most_in_use(device)  # the most is an upper bound


def most_in_use(device: torch.device) -> int:
    """Tell how many bytes were in use at most so far: of the GPU by tensors, else by the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():
        # What getrusage gives counts the parent in, on Linux: the memory that it had when it began this process.
        return _of_status("VmHWM")
    import resource  # Not there on Windows.
    import sys

    # Apple counts bytes, others kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _of_status(entry: str) -> int:
    found = re.search(rf"{entry}:\s*(\d+) kB", _STATUS.read_text())
    assert found is not None
    return int(found[1]) * 1024


class LiveBytes(TorchDispatchMode):
    """Follow how many bytes the tensors take that are made inside: after each operation, in `trace`.

    What an operation takes only while it runs is not seen.

    Args:
        known: Tensors that are there before, such as weights and inputs: they and their views do not count.

    Example:
        >>> x = torch.zeros(1000)
        >>> with LiveBytes([x]) as live:
        ...     y = x[:10] + 1
        ...     z = (x + 1).sum()
        >>> live.trace  # the view, its sum, the temporary of 4,000 bytes, its sum
        [0, 40, 4040, 4044]
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        """Start with nothing."""
        super().__init__()
        self.trace: list[int] = []
        self._now = 0
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and see what it made."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                place = storage.data_ptr()
                if place not in self._known:
                    self._known.add(place)
                    self._now += storage.nbytes()
                    weakref.finalize(storage, self._free, place, storage.nbytes())
        self.trace.append(self._now)
        return made

    def _free(self, place: int, size: int) -> None:
        self._known.discard(place)
        self._now -= size


def peak(two: list[int], three: list[int], images: int) -> int:
    """Tell the most bytes that a forward pass takes, from the traces of passes of two and three images.

    Args:
        two: Bytes after each operation of a pass of two images.
        three: Those of a pass of three images.
        images: Images in the pass that is asked about.

    Example:
        >>> peak([10, 120], [15, 125], images=100)  # one grows by 5 an image from 0, the other from 110
        610
    """
    if len(two) != len(three):  # The network does not do the same for all batches.
        return max(three) * images // 3 + max(three)
    return max((a + (b - a) * (images - 2) for a, b in zip(two, three, strict=True)), default=0)
