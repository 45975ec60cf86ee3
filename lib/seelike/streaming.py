"""Carry a measurement over an image set: batch by batch, with progress, and so that nothing is lost.

A measurement turns a batch of images into small accumulators; these are merged, and the batch is gone. A batch
that does not fit into memory is halved. With a folder to keep its state in, a call that was stopped goes on
where it was. What was measured so far is kept under a fingerprint of all that the result depends on: weights,
images, settings.
"""

import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm.auto import tqdm

from seelike.data import ImageSet
from seelike.models import precision_of, preprocessing
from seelike.models.layers import require_evaluation_mode

# Seconds between two savings of the state: the most that a kill can cost.
_SAVE_EVERY = 30.0


@runtime_checkable
class Accumulator(Protocol):
    """What `accumulate` needs of an accumulator."""

    def merge(self, other: Any) -> None:
        """Add what another accumulator saw."""

    def state_dict(self) -> dict[str, Any]:
        """Give the state as plain values and tensors."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state."""


A = TypeVar("A", bound=Accumulator)


class Images:
    """Images as a network takes them, whatever they come from.

    Args:
        images: An image set, which is prepared as the network's own configuration asks, or a tensor
            `[n, channels, height, width]` that is prepared already.
        model: The network. Images are given on its device and in its dtype.

    Raises:
        TypeError: `images` is neither.
        ValueError: There are no images, or a tensor has not four axes.

    Example:
        >>> model = nn.Conv2d(1, 1, 3)
        >>> images = Images(torch.zeros(5, 1, 28, 28), model)
        >>> len(images), images[3:5].shape
        (5, torch.Size([2, 1, 28, 28]))
    """

    def __init__(self, images: Any, model: nn.Module) -> None:
        """Remember where the images come from; none is opened yet."""
        if not isinstance(images, ImageSet | Tensor):
            raise TypeError(
                f"images is of type {type(images).__name__}; expected an ImageSet, as seelike.data.load gives it, "
                "or a tensor [n, channels, height, width] of prepared images."
            )
        if isinstance(images, Tensor) and (images.ndim != 4 or not images.is_floating_point()):
            raise ValueError(
                f"images is a tensor of shape {list(images.shape)} and dtype {images.dtype}; expected prepared "
                "images [n, channels, height, width] of a floating dtype."
            )
        if len(images) == 0:
            raise ValueError("images is empty; expected at least one image.")
        self.source = images
        self._prepare = None if isinstance(images, Tensor) else preprocessing(model)
        like = next(model.parameters(), torch.empty(0))
        self._device, self._dtype = like.device, like.dtype

    def __len__(self) -> int:
        """Count the images."""
        return len(self.source)

    def __getitem__(self, chosen: slice) -> Float[Tensor, "b channels height width"]:
        """Prepare the images of a slice."""
        if isinstance(self.source, Tensor):
            batch = self.source[chosen]
        else:
            assert self._prepare is not None
            indices = range(*chosen.indices(len(self)))
            batch = torch.stack([self._prepare(self.source[i]) for i in indices])
        return batch.to(self._device, self._dtype)

    def fingerprint(self) -> str:
        """Name the images by what they show and how they are prepared.

        Files count by path, size and time of change; pixels in memory by their content.

        Example:
            >>> model = nn.Conv2d(1, 1, 3)
            >>> one, other = (Images(torch.full((1, 1, 3, 3), value), model) for value in (0.0, 1.0))
            >>> one.fingerprint() == other.fingerprint()
            False
        """
        source = self.source
        if isinstance(source, Tensor):
            return fingerprint(source)
        if isinstance(source.stored, np.ndarray):
            return fingerprint(source.stored[source.places], repr(self._prepare))
        paths = [source.stored[place] for place in source.places]
        stats = [(os.fspath(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        return fingerprint(repr(stats), repr(self._prepare))


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


class HalvingBatch:
    """The size of a forward batch, halved each time that it does not fit into memory.

    Example:
        >>> batch = HalvingBatch(64)
        >>> with warnings.catch_warnings(action="ignore"), batch.or_half():
        ...     raise torch.cuda.OutOfMemoryError
        >>> batch.size
        32
    """

    def __init__(self, size: int) -> None:
        """Start with this size."""
        if size < 1:
            raise ValueError(f"The size of a forward batch is {size}; expected 1 or more.")
        self.size = size
        self._warned = False

    @contextmanager
    def or_half(self) -> Iterator[None]:
        """Run what is inside; when it is out of memory, halve the size and go on. A batch of 1 raises.

        Whoever uses it must see by what is done whether it has to be done again.
        """
        try:
            yield
        except (torch.cuda.OutOfMemoryError, RuntimeError) as error:
            if self.size == 1 or not _is_out_of_memory(error):
                raise
            self.size //= 2
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"Out of memory: going on with {self.size} images in a forward pass, or fewer. The result "
                    "does not depend on it.",
                    RuntimeWarning,
                    stacklevel=4,
                )
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _is_out_of_memory(error: Exception) -> bool:
    # The CPU's allocator has no exception of its own.
    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)


def accumulate(
    model: nn.Module,
    images: ImageSet | Tensor,
    measure: Callable[[Tensor, int], Mapping[str, A]],
    into: dict[str, A],
    *,
    batch_size: int,
    what: str,
    settings: str = "",
    cache: str | Path | None = None,
    gradients: bool = False,
    halve: bool = True,
) -> dict[str, A]:
    """Measure images batch by batch.

    Args:
        model: A network in evaluation mode.
        images: An image set, prepared as the network's configuration asks, or prepared images
            `[n, channels, height, width]`.
        measure: Called with a batch, on the device and in the dtype of the network, and with the index of its
            first image. It gives fresh accumulators that hold this batch alone, by the names of `into`.
        into: Empty accumulators, by name. The measured ones are merged into them.
        batch_size: Most images in a forward pass. Out of memory, it is halved, with one warning.
        what: What is measured, in a few words: for the progress bar and for the name of the file.
        settings: All that the result depends on beside weights and images, as text.
        cache: Folder to keep the state in, so that a call that was stopped goes on where it was.
        gradients: Whether `measure` needs gradients.
        halve: Whether fewer images at a time give the same result. If not, out of memory is an error here.

    Returns:
        `into`, with all images in it.

    Raises:
        ValueError: The network is in training mode, or there are no images.

    Example:
        >>> from seelike.moments import Moments
        >>> model = nn.Conv2d(1, 1, 3).eval()
        >>> def brightness(batch, first):
        ...     moments = Moments()
        ...     moments.update(batch.mean(dim=(1, 2, 3)))
        ...     return {"brightness": moments}
        >>> images = torch.linspace(0, 1, 10)[:, None, None, None].expand(10, 1, 3, 3)
        >>> result = accumulate(
        ...     model, images, brightness, {"brightness": Moments()}, batch_size=4, what="brightness"
        ... )
        >>> round(float(result["brightness"].mean), 6)
        0.5
    """
    require_evaluation_mode(model)
    prepared = Images(images, model)
    batch = HalvingBatch(batch_size)
    saved = None
    done = 0
    if cache is not None:
        saved = Saved(cache, what, fingerprint(model, prepared.fingerprint(), what, settings))
        if state := saved.load():
            done = state["done"]
            for name, accumulator in into.items():
                accumulator.load_state_dict(state["accumulators"][name])

    def save() -> None:
        if saved is not None:
            accumulators = {name: accumulator.state_dict() for name, accumulator in into.items()}
            saved.save({"done": done, "accumulators": accumulators})

    begun_with, whole, last_save = done, True, time.monotonic()
    with tqdm(total=len(prepared), initial=done, desc=what, unit="image") as progress:
        try:
            while done < len(prepared):
                start, end = done, min(done + batch.size, len(prepared))
                part = None
                with batch.or_half() if halve else nullcontext(), torch.set_grad_enabled(gradients):
                    part = measure(prepared[start:end], start)
                if part is None:
                    continue
                whole = False
                for name, accumulator in into.items():
                    accumulator.merge(part[name])
                done, whole = end, True
                progress.update(end - start)
                if time.monotonic() - last_save > _SAVE_EVERY:
                    save()
                    last_save = time.monotonic()
        finally:
            # Stopped amid a merge, the accumulators hold half a batch: then what was saved before is the state.
            if whole and done > begun_with:
                save()
    return into
