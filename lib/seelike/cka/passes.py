"""Turn the layers of networks into Gram matrices of a large minibatch, in bounded memory.

A Gram matrix needs the features of all n images of a minibatch at once, and those of one layer of ViT-B/32 take
630 MB for 1,024 images. So the layers of a network are read in one of two ways:

- *At once.* All n images go through the network together. Each activation becomes a Gram matrix as it arises, and
  nothing is stored. This is fastest, and done where the budget allows it.
- *In passes.* The layers are cut into groups whose features of all n images fit into a buffer. For each group the
  images go through the network in small batches that fill the buffer, and each pass stops after its last layer.
  A layer that is larger than the buffer is spread over passes: the Gram matrix of all features is the sum of those
  of its parts.

A pass for a late layer need not start from the images. Where a network is a chain of blocks, each of which gets
what the last one gave and nothing else, the stream between two blocks is kept for all n images. Each block is
then a small network of its own, and what is passed over again is one block. Whether a network is such a chain is
seen by running it on two images.

The budget covers what the process holds already, the forward passes, the buffer, the stream, and the Gram
matrices, which go to a temporary file where they would take more than half of what is left.
"""

from collections.abc import Callable, Hashable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from seelike.cka.estimators import SLICE, CentredGrams, gram, naming, slices_at_once
from seelike.data import ImageSet
from seelike.models import Layer, read
from seelike.models import layers as all_layers
from seelike.models.measurable import require_measurable
from seelike.streaming import HalvingBatch, Images
from seelike.streaming.memory import LiveBytes, in_use, in_words, peak

# Most images in a forward pass that only fills a buffer. More are no faster.
_FORWARD_BATCH = 64
# What is left to the allocator and to the libraries of matrix products, in bytes.
_RESERVE = 64_000_000
# Operations take memory of their own while they run, and small blocks do not go back to the system at once.
_SMALL_BATCH_OVERHEAD = 1.5
_ALIGNMENT = 64


class _AllRead(Exception):
    """Ends a forward pass after the last layer that is read. No error."""


@dataclass(frozen=True)
class Reading:
    """Features that become one Gram matrix.

    Attributes:
        name: Name of the row.
        layer: The layer that is read.
        columns: Which of the numbers on the last axis, such as those of one head; None for all.
    """

    name: Hashable
    layer: Layer
    columns: slice | None = None

    def of(self, activation: Tensor, images: int) -> Tensor:
        """Take the features from the layer's activation.

        Raises:
            ValueError: The images are not its first axis.
        """
        if activation.ndim == 0 or len(activation) != images:
            raise ValueError(
                f"got an activation of shape {list(activation.shape)} for {images} images; "
                "expected [n, ...] with the images first. Read another layer."
            )
        return activation if self.columns is None else activation[..., self.columns]


def read_until_last(
    model: nn.Module, layers: Sequence[Layer], images: Tensor, take: Callable[[Layer, Tensor], None]
) -> None:
    """Read layers as `seelike.models.read` does, and stop the forward pass after the last of them.

    Args:
        model: A network in evaluation mode.
        layers: Its layers.
        images: What the network gets.
        take: Called with each layer and its activation, as soon as there is one.

    Raises:
        RuntimeError: A layer did not fire.

    Example:
        >>> model = nn.Sequential(nn.ReLU(), nn.Linear(3, 1)).eval()
        >>> relu = Layer("relu", "", None, 0.0, "0")
        >>> read_until_last(model, [relu], torch.zeros(2, 7), lambda layer, x: print(layer.name, list(x.shape)))
        relu [2, 7]
    """
    missing = {layer.name for layer in layers}

    def reduce(layer: Layer, activation: Tensor) -> None:
        take(layer, activation)
        missing.discard(layer.name)
        if not missing:
            raise _AllRead

    with suppress(_AllRead):
        read(model, layers, images, reduce)


@dataclass(frozen=True)
class _Size:
    """What a reading takes for one image."""

    width: int
    dtype: torch.dtype
    copied: bool  # to be flattened

    @property
    def bytes(self) -> int:
        return self.width * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class _Piece:
    """Features of a reading, from `start` to `stop`; `last` where they are the last of it."""

    reading: Reading
    start: int
    stop: int
    last: bool


@dataclass(frozen=True)
class _Segment:
    """A module that is passed over by itself, and the groups of pieces that are read of it in each pass.

    The whole network (path "") starts from the images, a block from the stream. The last pass also reads
    `stream`, where there is one: what the next segment starts from.
    """

    path: str
    groups: list[list[_Piece]]
    stream: Layer | None


class _Network:
    """A network, what is read of it, and how much memory that takes."""

    def __init__(self, model: nn.Module, readings: Sequence[Reading], images: ImageSet | Tensor) -> None:
        require_measurable(model)
        self.model = model
        self.by_layer: dict[str, list[Reading]] = {}
        for reading in readings:
            self.by_layer.setdefault(reading.layer.name, []).append(reading)
        self.layers = list(dict.fromkeys(reading.layer for reading in readings))
        self.sizes: dict[Hashable, _Size] = {}
        self.segments: list[_Segment] = []
        self.batch = HalvingBatch(1)
        self._some = Images(images, model, np.arange(3))[:]
        # Of one image, layouts are ambiguous, and networks may take other ways.
        self._two, self._three = self._trace(2), self._trace(3)

    def _trace(self, n: int) -> list[int]:
        def note(layer: Layer, activation: Tensor) -> None:
            for reading in self.by_layer[layer.name]:
                with naming(reading.name):
                    features = reading.of(activation, n)
                self.sizes[reading.name] = _Size(
                    features.numel() // n, features.dtype, copied=not features.is_contiguous()
                )

        with LiveBytes([self._some, *self.model.parameters(), *self.model.buffers()]) as live:
            read_until_last(self.model, self.layers, self._some[:n], note)
        return live.trace

    def bytes_of_pass(self, n: int) -> int:
        """Tell what a forward pass of n images takes, with the images and the largest copy of features."""
        copied = max((size.bytes for size in self.sizes.values() if size.copied), default=0)
        return peak(self._two, self._three, n) + n * (copied + self._some[0].nbytes)

    def bytes_of_small_pass(self, n: int) -> int:
        """Tell it for a batch whose blocks the allocator keeps for itself, with images prepared ahead."""
        return int(_SMALL_BATCH_OVERHEAD * self.bytes_of_pass(n)) + 2 * n * self._some[0].nbytes

    def chain(self) -> tuple[list[str], Tensor | None]:
        """Find the modules that each take what the last one gave, and nothing else, to the end.

        Returns:
            Their paths, and some rows of the stream between them. All have the stream in one shape: in a ResNet,
            where blocks change it, those after the last change.
        """
        listed = all_layers(self.model)
        blocks = [layer for layer in listed if layer.kind == "block"]
        if blocks and listed[-1].kind == "norm":
            blocks.append(listed[-1])
        # A module that runs again is no link by itself, and what is added in the network's own forward is none.
        whole = [layer.side == "output" and layer.call == 0 for layer in blocks]
        modules = {layer.module for layer in blocks}
        if not blocks or not all(whole) or len(modules) < len(blocks):
            return [], None
        first = replace(blocks[0], name=_STREAM, side="input")
        seen = read(self.model, [first, *blocks], self._some[:2])
        inputs = [seen[_STREAM]]
        for block in blocks:
            try:
                with torch.no_grad():
                    # A copy, since a block may write into what it gets.
                    given: object = self.model.get_submodule(block.module)(inputs[-1].clone())
            except Exception:  # It wants more than the stream, such as rotations: of whatever kind the error is.
                break
            if not (isinstance(given, Tensor) and torch.equal(given, seen[block.name])):
                break
            inputs.append(given)
        # Whatever comes after a module that is no link of the chain is read from the images.
        links = [block.module for block in blocks[: len(inputs) - 1]]
        while any(given.shape != inputs[0].shape for given in inputs[: len(links)]):
            links, inputs = links[1:], inputs[1:]
        return links, inputs[0] if links else None


_STREAM = "stream between blocks"


def _groups(
    pieces_of: Sequence[Reading], sizes: dict[Hashable, _Size], n: int, capacity: int
) -> list[list[_Piece]]:
    """Cut readings into groups whose features of n images fit into a buffer of `capacity` bytes."""
    groups: list[list[_Piece]] = []
    room = 0
    for reading in pieces_of:
        size, start = sizes[reading.name], 0
        while start < size.width:
            fit = min((room - _ALIGNMENT) // (n * size.dtype.itemsize), size.width - start)
            if fit < min(SLICE, size.width - start):
                groups.append([])
                room = capacity
                continue
            groups[-1].append(_Piece(reading, start, start + fit, last=start + fit == size.width))
            room -= fit * n * size.dtype.itemsize + _ALIGNMENT
            start += fit
    return groups


class GramPasses:
    """Reads the layers of networks on a minibatch at a time, within a memory budget.

    Args:
        models: Networks in evaluation mode, on one device, and what is read of each. All names are different.
        images: An image set, or prepared images `[n, channels, height, width]`.
        n: Most images in a minibatch.
        memory: Most bytes that the process (or on a GPU, all its tensors) may take.
        forward_batch: Most images in a forward pass; None for what fits.
        neighbours: Find the nearest neighbours of each image, too.

    Raises:
        ValueError: A network is in training mode, a layer does not have the images first, or the memory is too
            little; the error says how much would do.
        RuntimeError: A layer did not fire.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).eval()
        >>> readings = [Reading(name, Layer(name, "", None, 0.0, name)) for name in ("0", "1")]
        >>> images = torch.linspace(0, 1, 10 * 25).sin().reshape(10, 1, 5, 5)
        >>> passes = GramPasses([(model, readings)], images, n=5, memory=10**12)
        >>> grams = passes.read(np.array([0, 2, 4, 6, 8]))
        >>> grams.names, grams.hsic().shape
        (('0', '1'), torch.Size([2, 2]))
    """

    def __init__(
        self,
        models: Sequence[tuple[nn.Module, Sequence[Reading]]],
        images: ImageSet | Tensor,
        *,
        n: int,
        memory: int,
        forward_batch: int | None = None,
        neighbours: bool = False,
    ) -> None:
        """Run each network on a few images, and plan the passes."""
        self._images, self._n, self._forward_batch, self._neighbours = images, n, forward_batch, neighbours
        self._names = [reading.name for _, readings in models for reading in readings]
        self._networks = [_Network(model, readings, images) for model, readings in models]
        device = next(models[0][0].parameters(), torch.empty(0)).device
        # Apple's GPUs have no float64.
        self._device = device if device.type == "cuda" else torch.device("cpu")
        self._grams: CentredGrams | None = None
        self._buffer = torch.empty(0, dtype=torch.uint8, device=device)
        self._plan(memory, in_use(device))

    def _plan(self, memory: int, used: int) -> None:
        n = self._n
        pairs = n * (n - 1) // 2
        one_gram, all_grams = 4 * pairs, 4 * pairs * len(self._names)
        # A few matrices in float64, slices of features (and where there are several, the products of each), the
        # places above the diagonal, chunks of the last product.
        slices = slices_at_once(self._device)
        of_slices = slices * (3 * 4 * n * SLICE + (4 * n * n // 4 if slices > 1 else 0))
        work = 7 * 8 * n * n + of_slices + 8 * pairs + 32_000_000
        available = memory - used - work - _RESERVE
        needed = one_gram + max(map(self._least, self._networks))
        if available < needed:
            least = 1.02 * (memory + needed - available)  # a little more, since what is in use changes
            raise ValueError(
                f"memory is {in_words(memory)}, of which {in_words(used)} are in use. To compare "
                f"{len(self._names)} layers on minibatches of {n} images takes {in_words(least)} or more. Give "
                "that, or a smaller batch_size."
            )
        self._on_disk = available - all_grams < max(available / 2, needed)
        self._available = available - (one_gram if self._on_disk else all_grams)
        at_once = self._forward_batch is None or self._forward_batch >= n
        for network in self._networks:
            if at_once and network.bytes_of_pass(n) <= self._available:
                network.batch.size = n
            else:
                self._plan_passes(network, _FORWARD_BATCH)

    def _least(self, network: _Network) -> int:
        """Bytes for a forward pass of one image (or as many as was asked for) and a slice of the buffer."""
        batch = min(self._forward_batch or 1, self._n)
        return network.bytes_of_small_pass(batch) + self._slice(network)

    def _slice(self, network: _Network) -> int:
        return self._n * SLICE * max(size.dtype.itemsize for size in network.sizes.values()) + _ALIGNMENT

    def _plan_passes(self, network: _Network, batch: int) -> None:
        batch = min(self._forward_batch or batch, self._n)
        if self._forward_batch is None:
            limit = min(self._available // 8, self._available - self._slice(network))
            while batch > 1 and network.bytes_of_small_pass(batch) > limit:
                batch //= 2
        capacity = self._available - network.bytes_of_small_pass(batch)
        links, stream = network.chain()
        kept = self._n * stream[0].nbytes if stream is not None else 0
        # It leaves less to the buffer, so that there are more passes, but each is over one link.
        if links and capacity - kept < max(self._slice(network), capacity / len(links)):
            links, kept = [], 0
        network.batch.size = batch
        network.segments = self._segments(network, links, capacity - kept)

    def _segments(self, network: _Network, links: list[str], capacity: int) -> list[_Segment]:
        readings: dict[str, list[Reading]] = {path: [] for path in ("", *links)}
        for layer in network.layers:
            inside = (path for path in links if f"{layer.module}.".startswith(f"{path}."))
            readings[next(inside, "")] += network.by_layer[layer.name]
        # Nothing is read after the last link with readings: there the chain ends.
        while links and not readings[links[-1]]:
            links = links[:-1]
        segments = []
        for path, following in zip(("", *links), (*links, None), strict=True):
            groups = _groups(readings[path], network.sizes, self._n, capacity)
            if following is None:
                stream = None
            elif path == "":
                stream = Layer(_STREAM, "", None, 0.0, following, side="input")
            else:
                stream = Layer(_STREAM, "", None, 0.0, path)
            # A pass for the stream alone, where nothing is read.
            segments.append(_Segment(path, groups or [[]] if stream else groups, stream))
        return segments

    def read(self, chosen: np.ndarray, done: Callable[[], object] = lambda: None) -> CentredGrams:
        """Read all layers on a minibatch.

        Args:
            chosen: Indices of its images; at most `n`.
            done: Called after each layer.

        Returns:
            The U-centred Gram matrices. The next call may write into them.

        Raises:
            ValueError: There are fewer than 4 images, or NaN or infinite activations; the error names the layer.
        """
        if self._grams is None or self._grams.n != len(chosen):
            self._grams = None  # before there are others
            self._grams = CentredGrams(
                self._names, len(chosen), torch.float32, self._device, self._on_disk, self._neighbours
            )
        for network in self._networks:
            images = Images(self._images, network.model, chosen)
            if network.segments or not self._read_at_once(network, images, self._grams, done):
                self._read_in_passes(network, images, self._grams, done)
        return self._grams

    def _read_at_once(
        self, network: _Network, images: Images, grams: CentredGrams, done: Callable[[], object]
    ) -> bool:
        """Read all layers in one forward pass; tell whether memory sufficed, and if not, plan to use less."""
        ready: set[Hashable] = set()

        def take(layer: Layer, activation: Tensor) -> None:
            for reading in network.by_layer[layer.name]:
                with naming(reading.name):
                    grams[reading.name] = gram(reading.of(activation, len(images)))
                ready.add(reading.name)
                done()

        with network.batch.or_half():
            read_until_last(network.model, network.layers, images[:], take)
        if len(ready) == len(network.sizes):
            return True
        self._plan_passes(network, min(network.batch.size, _FORWARD_BATCH))
        return False

    def _read_in_passes(
        self, network: _Network, images: Images, grams: CentredGrams, done: Callable[[], object]
    ) -> None:
        stream: Tensor | None = None
        parts: dict[Hashable, Tensor] = {}
        for segment in network.segments:
            for group in segment.groups:
                features = self._places(group, network.sizes, len(images))
                last = segment.stream if group is segment.groups[-1] else None
                stream = self._pass(network, segment, features, images, stream, last)
                for piece, place in features.items():
                    with naming(piece.reading.name):
                        k = gram(place)
                    if piece.start > 0:
                        k += parts.pop(piece.reading.name)
                    if piece.last:
                        grams[piece.reading.name] = k
                        done()
                    else:
                        parts[piece.reading.name] = k

    def _places(
        self, group: list[_Piece], sizes: dict[Hashable, _Size], n: int
    ) -> dict[_Piece, Float[Tensor, "n width"]]:
        """Give each piece its place in the buffer."""
        places, position = {}, 0
        spans = []
        for piece in group:
            dtype = sizes[piece.reading.name].dtype
            size = n * (piece.stop - piece.start) * dtype.itemsize
            spans.append((piece, dtype, position, position + size))
            position += -(-size // _ALIGNMENT) * _ALIGNMENT
        if position > len(self._buffer):
            device = self._buffer.device
            self._buffer = torch.empty(0)  # before there is a larger one
            self._buffer = torch.empty(position, dtype=torch.uint8, device=device)
        for piece, dtype, start, stop in spans:
            places[piece] = self._buffer[start:stop].view(dtype).view(n, piece.stop - piece.start)
        return places

    def _pass(
        self,
        network: _Network,
        segment: _Segment,
        features: dict[_Piece, Tensor],
        images: Images,
        stream: Tensor | None,
        stream_to: Layer | None,
    ) -> Tensor | None:
        """Fill the buffer, a forward batch at a time, and give the stream as it is afterwards."""
        by_layer: dict[str, list[_Piece]] = {}
        for piece in features:
            by_layer.setdefault(piece.reading.layer.name, []).append(piece)
        layers = [layer for layer in network.layers if layer.name in by_layer]
        if stream_to is not None:
            layers.append(stream_to)
        inside = [replace(each, module=each.module[len(segment.path) :].removeprefix(".")) for each in layers]
        module = network.model.get_submodule(segment.path)
        from_stream = segment.path != "" and stream is not None
        start = stop = 0

        def take(layer: Layer, activation: Tensor) -> None:
            nonlocal stream
            if layer.name == _STREAM:
                if stream is None:
                    stream = activation.new_empty(len(images), *activation.shape[1:])
                stream[start:stop] = activation
                return
            for piece in by_layer[layer.name]:
                with naming(piece.reading.name):
                    flat = piece.reading.of(activation, stop - start).reshape(stop - start, -1)
                features[piece][start:stop] = flat[:, piece.start : piece.stop]

        size = network.batch.size
        batches = [slice(first, first + size) for first in range(0, len(images), size)]
        with closing(images.batches([] if from_stream else batches)) as prepared:
            for batch in batches:
                given = stream[batch] if stream is not None and from_stream else next(prepared)
                for part, or_half in network.batch.parts(len(given)):
                    start, stop = batch.start + part.start, batch.start + part.stop
                    with or_half:
                        # A copy, since what runs may write into what it gets.
                        rows = given[part].clone() if from_stream else images.for_network(given[part], copy=True)
                        read_until_last(module, inside, rows, take)
        return stream
