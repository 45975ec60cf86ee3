"""Carry a measurement over an image set: batch by batch, with progress, and so that nothing is lost.

A measurement turns a batch of images into small accumulators; these are merged, and the batch is gone. A batch
that does not fit into memory is halved. With a folder to keep its state in, a call that was stopped goes on
where it was. What was measured so far is kept under a fingerprint of all that the result depends on: weights,
images, settings.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from seelike.data import ImageSet
from seelike.models.measurable import require_measurable
from seelike.streaming.accumulator import Accumulator
from seelike.streaming.images import Images
from seelike.streaming.saved import Saved, can_be_kept, fingerprint

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

    def parts(self, number: int) -> Iterator[tuple[slice, AbstractContextManager[None]]]:
        """Cut a number of images into batches of this size.

        Yields:
            The images of each batch, and what to do it in, `or_half`: where a batch is out of memory, the next one
            begins at the same image, and is half as large. What was not done tells that to the caller.

        Example:
            >>> batch = HalvingBatch(4)
            >>> for part, or_half in batch.parts(5):
            ...     with warnings.catch_warnings(action="ignore"), or_half:
            ...         if part.stop - part.start > 2:
            ...             raise torch.cuda.OutOfMemoryError
            ...         print(part)
            slice(0, 2, None)
            slice(2, 4, None)
            slice(4, 5, None)
        """
        start = 0
        while start < number:
            size, stop = self.size, min(start + self.size, number)
            yield slice(start, stop), self.or_half()
            if self.size == size:
                start = stop

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
    batch_size: int | Sequence[slice],
    what: str,
    settings: str = "",
    cache: str | Path | None = None,
    gradients: bool = False,
) -> dict[str, A]:
    """Measure images batch by batch.

    Args:
        model: A network in evaluation mode.
        images: An image set, prepared as the network's configuration asks, or prepared images
            `[n, channels, height, width]`.
        measure: Called with a batch, a copy on the device and in the dtype of the network, and with the index of
            its first image. It gives fresh accumulators that hold this batch alone, by the names of `into`.
        into: Empty accumulators, by name. The measured ones are merged into them.
        batch_size: Most images in a forward pass; out of memory, it is halved, with one warning. Or the very
            batches, one after the other, where others would give another result: then out of memory is an error.
        what: What is measured, in a few words: for the progress bar and for the name of the file.
        settings: All that the result depends on beside weights and images, as text.
        cache: Folder to keep the state in, so that a call that was stopped goes on where it was. It is passed by,
            with a warning, where others have hung something on the network, such as a hook.
        gradients: Whether `measure` needs gradients.

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
    saved = None
    done = 0
    if cache is not None and can_be_kept([model]):
        saved = Saved(cache, what, fingerprint(model, prepared.fingerprint(), what, settings))
        if state := saved.load():
            done = state["done"]
            for name, accumulator in into.items():
                accumulator.load_state_dict(state["accumulators"][name])

    def save() -> None:
        if saved is not None:
            accumulators = {name: accumulator.state_dict() for name, accumulator in into.items()}
            saved.save({"done": done, "accumulators": accumulators})

    if isinstance(batch_size, int):
        forward = HalvingBatch(batch_size)
        batches = [slice(start, start + batch_size) for start in range(done, len(prepared), batch_size)]
    else:
        forward = None
        batches = [part for part in batch_size if part.start >= done]
    begun_with, whole, last_save = done, True, time.monotonic()
    with (
        tqdm(total=len(prepared), initial=done, desc=what, unit="image") as progress,
        closing(prepared.batches(batches)) as read,
    ):
        try:
            for batch in read:
                parts = forward.parts(len(batch)) if forward else [(slice(0, len(batch)), nullcontext())]
                first = done
                for part, or_half in parts:
                    found = None
                    with or_half, torch.set_grad_enabled(gradients):
                        found = measure(prepared.for_network(batch[part], copy=forward is not None), done)
                    if found is None:
                        continue
                    whole = False
                    for name, accumulator in into.items():
                        accumulator.merge(found[name])
                    done, whole = first + part.stop, True
                    progress.update(part.stop - part.start)
                    if time.monotonic() - last_save > _SAVE_EVERY:
                        save()
                        last_save = time.monotonic()
        finally:
            # Stopped amid a merge, the accumulators hold half a batch: then what was saved before is the state.
            if whole and done > begun_with:
                save()
    return into
