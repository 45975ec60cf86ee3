"""The state of a call that may be stopped, under a name that says all that it depends on."""

import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seelike.models import precision_of


def fingerprint(*parts: nn.Module | Tensor | np.ndarray | str) -> str:
    """Name networks, tensors and settings by their content: 16 hexadecimal digits.

    Args:
        parts: Networks count by the names and values of their weights, by how they print and by their precision,
            arrays by shape, dtype and values.

    Example:
        >>> fingerprint("a", torch.zeros(2)) == fingerprint("a", torch.zeros(2))
        True
        >>> fingerprint(torch.zeros(2)) == fingerprint(torch.zeros(1, 2))
        False
    """
    digest = hashlib.sha256()

    def add(text: str) -> None:
        digest.update(f"{len(text)}:{text}".encode())

    for part in parts:
        if isinstance(part, nn.Module):
            add(f"{part!r} {precision_of(part)}")
            tensors = part.state_dict()
        elif isinstance(part, str):
            add(part)
            continue
        else:
            tensors = {"": torch.as_tensor(np.ascontiguousarray(part)) if isinstance(part, np.ndarray) else part}
        for name, tensor in tensors.items():
            if isinstance(tensor, Tensor):
                add(f"{name} {list(tensor.shape)} {tensor.dtype}")
                content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
                digest.update(content.numpy().data)
    return digest.hexdigest()[:16]


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
