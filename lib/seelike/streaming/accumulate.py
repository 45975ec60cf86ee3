"""Carry a measurement over an image set: batch by batch, with progress, and so that nothing is lost.

A measurement turns a batch of images into small accumulators; these are merged, and the batch is gone. A batch
that does not fit into memory is halved. With a folder to keep its state in, a call that was stopped goes on
where it was. What was measured so far is kept under a fingerprint of all that the result depends on: weights,
images, settings.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from seelike.data import ImageSet
from seelike.models.measurable import require_measurable
from seelike.streaming.accumulator import Accumulator
from seelike.streaming.images import Images
from seelike.streaming.saved import Saved, fingerprint

# Seconds between two savings of the state: the most that a kill can cost.
_SAVE_EVERY = 30.0


A = TypeVar("A", bound=Accumulator)


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
        >>> from seelike.streaming.moments import Moments
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
    require_measurable(model)
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
