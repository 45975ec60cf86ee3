"""The state of a call that may be stopped, under a name that says all that it depends on.

Of a network these are its weights and buffers, the plain attributes of its modules (`fused_attn`, the shift of a
window), the code of its classes, and the precision in which it computes. What others have hung on it, such as a
hook that leaves out a block, may do anything: then nothing is kept, and nothing that was kept is used.
"""

import hashlib
import os
import sys
import types
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as of_all_modules
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from seelike.models import precision_of
from seelike.models.precision import is_own

# What each module has, and what says how images are prepared for a network.
_NO_SETTINGS = {*vars(nn.Module()), "pretrained_cfg", "default_cfg", "forward"} - {"training"}
_PLAIN = (bool, int, float, complex, str, bytes, range, slice, type(None), type(...), torch.dtype, torch.device)
_HOOKS = {
    "_forward_pre_hooks": "a hook before",
    "_forward_hooks": "a hook after",
    "_backward_pre_hooks": "a hook before the gradient of",
    "_backward_hooks": "a hook after the gradient of",
}


def fingerprint(*parts: Any) -> str:
    """Name networks, tensors and settings by their content: 16 hexadecimal digits.

    Args:
        parts: Networks count by the names and values of their weights and buffers, by what else their modules
            remember and how they are coded, and by their precision; arrays by shape, dtype and values; functions
            by their code; other objects by their attributes.

    Example:
        >>> fingerprint("a", torch.zeros(2)) == fingerprint("a", torch.zeros(2))
        True
        >>> fingerprint(torch.zeros(2)) == fingerprint(torch.zeros(1, 2))
        False
    """
    print_ = _Fingerprint()
    for part in parts:
        print_.add(part)
    return print_.digest.hexdigest()[:16]


class _Fingerprint:
    """Writes what things are, without the addresses where they lie, into a digest."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._known: dict[int, int] = {}  # objects that may refer to each other in a circle
        self._alive: list[Any] = []

    def add(self, part: Any) -> None:
        if isinstance(part, Tensor):
            self._text(f"{list(part.shape)} {part.dtype}")
            self.digest.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        elif isinstance(part, _PLAIN):
            self._text(f"{type(part).__name__} {part!r}")
        elif isinstance(part, np.ndarray | np.generic):
            self._text(f"{part.shape} {part.dtype}")
            if part.dtype == object:
                self.add(part.tolist())
            else:
                self.digest.update(part.tobytes())
        elif isinstance(part, Mapping):
            self._all(part, chain.from_iterable(part.items()))
        elif isinstance(part, set | frozenset):
            self._all(part, sorted(part, key=repr))
        elif isinstance(part, list | tuple):
            self._all(part, part)
        elif isinstance(part, types.CodeType):
            self._all(part, (part.co_code, part.co_consts, part.co_names))
        elif id(part) in self._known:
            self._text(f"again {self._known[id(part)]}")
        else:
            self._known[id(part)] = len(self._known)
            self._alive.append(part)
            self._object(part)

    def _text(self, text: str) -> None:
        self.digest.update(f"{len(text)}:{text}".encode())

    def _all(self, whole: Any, parts: Iterable[Any]) -> None:
        parts = list(parts)
        self._text(f"{type(whole).__name__} of {len(parts)}")
        for part in parts:
            self.add(part)

    def _object(self, part: Any) -> None:
        kind = part if isinstance(part, type) else type(part)
        self._text(f"{kind.__module__}.{kind.__qualname__}")
        if isinstance(part, nn.Module):
            self._network(part)
        elif isinstance(part, types.FunctionType):
            self._function(part)
        elif isinstance(part, types.MethodType):
            self._all(part, (part.__func__, part.__self__))
        elif isinstance(part, partial):
            self._all(part, (part.func, part.args, part.keywords))
        elif isinstance(part, types.BuiltinFunctionType | np.ufunc):
            self._text(part.__name__)
        elif isinstance(part, type):
            self._class(part)
        elif kind.__module__.partition(".")[0] not in sys.stdlib_module_names:
            self.add(object.__getstate__(part))
        elif " at 0x" not in repr(part):
            # What is inside objects of the standard library changes by itself, such as in loggers and locks.
            self._text(repr(part))

    def _network(self, network: nn.Module) -> None:
        self._all(network, (precision_of(network), _precisions()))
        self.add(dict(network.named_parameters(remove_duplicate=False)))
        self.add(dict(network.named_buffers(remove_duplicate=False)))
        for path, module in network.named_modules(remove_duplicate=False):
            settings = {name: value for name, value in sorted(vars(module).items()) if name not in _NO_SETTINGS}
            self._all(module, (path, type(module), settings))

    def _class(self, kind: type) -> None:
        for each in kind.__mro__:
            if each not in (nn.Module, object):
                functions = {
                    name: _codes(x) for name, x in vars(each).items() if isinstance(x, types.FunctionType)
                }
                plain = {name: x for name, x in vars(each).items() if isinstance(x, _PLAIN) and name[:2] != "__"}
                self._all(each, (functions, plain))

    def _function(self, function: types.FunctionType) -> None:
        name = f"{function.__module__}.{function.__qualname__}"
        defaults = (function.__defaults__, function.__kwdefaults__)
        self._all(function, (name, _codes(function), defaults, _enclosed(function)))


def _enclosed(function: types.FunctionType) -> list[Any]:
    """Give what a function has from the functions around it."""
    found = []
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # empty
            found.append(cell.cell_contents)
    return found


def _codes(function: Any) -> list[Any]:
    """Give the code of a function and of those that it wraps, with the plain values that they enclose."""
    codes: list[Any] = []
    while isinstance(function, types.FunctionType):
        codes += [function.__code__, [x for x in _enclosed(function) if isinstance(x, _PLAIN)]]
        function = getattr(function, "__wrapped__", None)
    return codes


def _precisions() -> list[str]:
    """Tell what is set for all networks and changes their numbers."""
    try:
        of_products = torch.get_float32_matmul_precision()
    except RuntimeError:  # set by a newer interface that this one cannot read
        of_products = "other"
    automatic = [
        f"{device} {torch.get_autocast_dtype(device)}"
        for device in ("cpu", "cuda")
        if torch.is_autocast_enabled(device)
    ]
    return [of_products, *automatic]


def hung_on(network: nn.Module) -> list[str]:
    """Tell what others have hung on a network, so that what it computes cannot be told from what it is.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> hung_on(network)
        []
        >>> handle = network[1].register_forward_hook(lambda module, inputs, output: 0 * output)
        >>> network[0].forward = lambda x: x
        >>> hung_on(network)
        ["another `forward` of '0'", "a hook after '1'"]
    """
    found = []
    for path, module in network.named_modules():
        where = repr(path) if path else f"the {type(module).__name__}"
        for hooks, what in _HOOKS.items():
            if getattr(module, hooks, None):
                found.append(f"{what} {where}")
        for name, value in vars(module).items():
            if callable(value) and callable(getattr(type(module), name, None)) and not is_own(value):
                found.append(f"another `{name}` of {where}")
    for hooks, what in _HOOKS.items():
        if getattr(of_all_modules, f"_global{hooks}"):
            found.append(f"{what} every module")
    modes = [*_get_current_function_mode_stack(), *_get_current_dispatch_mode_stack()]
    return found + [f"the mode {type(each).__name__}" for each in modes if not isinstance(each, DeviceContext)]


def can_be_kept(networks: Iterable[nn.Module]) -> bool:
    """Tell whether what is measured of networks may go into a cache, and warn if not."""
    found = [each for network in networks for each in hung_on(network)]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        warnings.warn(
            f"The cache is passed by, since what the network computes cannot be told from what it is: it has "
            f"{', '.join(found[:3])}{more}. Remove what others have hung on it to use the cache.",
            RuntimeWarning,
            stacklevel=3,
        )
    return not found


class Saved:
    """A small file of plain values and tensors that survives kills: the state of a call that may be stopped.

    Args:
        folder: Where to keep it. It is made if it is not there.
        name: What is measured; with the key it becomes the name of the file.
        key: Fingerprint of all that the result depends on.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     saved = Saved(folder, "attention distance", "0123456789abcdef")
        ...     saved.load(), saved.save({"done": 3}), saved.load()
        (None, None, {'done': 3})
    """

    def __init__(self, folder: str | Path, name: str, key: str) -> None:
        """Make the folder."""
        Path(folder).expanduser().mkdir(parents=True, exist_ok=True)
        self.file = Path(folder).expanduser() / f"{name.replace(' ', '-')}-{key}.pt"

    def load(self) -> dict[str, Any] | None:
        """Give what was saved last; None if there is nothing, or nothing that can be read (with a warning)."""
        if not self.file.exists():
            return None
        try:
            return torch.load(self.file, weights_only=True, map_location="cpu")
        except Exception as error:
            warnings.warn(
                f"{self.file} cannot be read ({error}), so the measurement begins anew. Has something else "
                "written there?",
                RuntimeWarning,
                stacklevel=2,
            )
            return None

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state in place of the last one, all of it or nothing."""
        # A name of its own for each process: two may measure the same thing at the same time.
        half_written = self.file.with_suffix(f".{os.getpid()}.part")
        try:
            torch.save(dict(state), half_written)
            half_written.replace(self.file)
        finally:
            half_written.unlink(missing_ok=True)
