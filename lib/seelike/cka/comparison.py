"""Compare whole networks: all layers with all layers, block with block, heads with layers."""

import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn
from tqdm.auto import tqdm

from seelike.cka.estimators import (
    CentredGrams,
    MinibatchCKA,
    MinibatchCKAAndNeighbours,
    PairedCKA,
    PairedCKAAndNeighbours,
    WithNeighbours,
)
from seelike.cka.passes import GramPasses, Reading
from seelike.data import ImageSet
from seelike.data.draws import draw
from seelike.errors import require_type, unknown_name
from seelike.models import Layer
from seelike.models import layers as all_layers
from seelike.models.layers import structure
from seelike.models.measurable import require_measurable
from seelike.streaming import Images, Saved, fingerprint
from seelike.streaming.images import names_of_images
from seelike.streaming.memory import number_of_bytes
from seelike.streaming.saved import can_be_kept
from seelike.uncertainty import standard_error

# Seconds between two savings of the state.
_SAVE_EVERY = 30.0
A = TypeVar("A", bound=MinibatchCKA)


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """CKA of all layers of several networks with each other, once for each draw of images.

    Attributes:
        layers: The layers that were read, by name of the network, in the order of the rows.
        cka: CKA of all layers of all networks with each other, `[repeats, all layers, all layers]`; networks
            in the order of `layers`. NaN in rows and columns of layers that were dead.
        neighbours: The nearest neighbours that they share (`seelike.neighbours`), likewise; None where it was not
            asked for.

    Example:
        >>> layers = {"a": [Layer("block 1", "block", 1, 0.0, "0"), Layer("block 2", "block", 2, 1.0, "1")],
        ...           "b": [Layer("block 1", "block", 1, 0.0, "0")]}
        >>> cka = np.array([[[1, 0.8, 0.4], [0.8, 1, 0.2], [0.4, 0.2, 1]],
        ...                 [[1, 0.6, 0.2], [0.6, 1, 0], [0.2, 0, 1]]])
        >>> comparison = ModelComparison(layers, cka)
        >>> comparison.between("a", "b").shape
        (2, 2, 1)
        >>> comparison.mean("a", "b").round(6)
        array([[0.3],
               [0.1]])
        >>> comparison.standard_error("a", "b").round(6)
        array([[0.1],
               [0.1]])
        >>> comparison.depth("a")
        array([0., 1.])
    """

    layers: dict[str, list[Layer]]
    cka: Float64[np.ndarray, "repeats all all"] = field(repr=False)
    neighbours: Float64[np.ndarray, "repeats all all"] | None = field(default=None, repr=False)

    @property
    def by_neighbours(self) -> "ModelComparison":
        """The same networks and images, with the neighbours that layers share in the place of their CKA.

        Raises:
            ValueError: They were not measured.
        """
        if self.neighbours is None:
            raise ValueError("The neighbours were not measured. Call compare_models(..., neighbours=True).")
        return replace(self, cka=self.neighbours, neighbours=None)

    def only(self, kinds: Collection[str]) -> "ModelComparison":
        """Keep the layers of some kinds, such as those of the residual stream, `seelike.models.STREAM`.

        Args:
            kinds: Kinds of layers. A network with fewer than two such layers is left out.
        """
        kept = {name: [each for each in chosen if each.kind in kinds] for name, chosen in self.layers.items()}
        kept = {name: chosen for name, chosen in kept.items() if len(chosen) > 1}
        every = [(name, layer) for name, chosen in self.layers.items() for layer in chosen]
        places = [place for place, (name, layer) in enumerate(every) if name in kept and layer.kind in kinds]
        some = [None if each is None else each[:, places][:, :, places] for each in (self.cka, self.neighbours)]
        return ModelComparison(kept, *some)  # type: ignore[arg-type]  # the first is never None

    def between(self, a: str, b: str) -> Float64[np.ndarray, "repeats a b"]:
        """CKA of each layer of network `a` with each layer of `b`, for each repeat.

        Raises:
            UnknownName: A network was not compared.
        """
        return self.cka[:, self._of(a), self._of(b)]

    def mean(self, a: str, b: str) -> Float64[np.ndarray, "a b"]:
        """Mean of `between` over the repeats. NaN where a layer was dead in any of them."""
        return self.between(a, b).mean(axis=0)

    def depth(self, model: str) -> Float64[np.ndarray, " layers"]:
        """Relative depth of each layer of a network, from 0 (first) to 1 (last).

        Raises:
            UnknownName: The network was not compared.
        """
        self._of(model)
        return np.array([layer.depth for layer in self.layers[model]], dtype=np.float64)

    def standard_error(self, a: str, b: str) -> Float64[np.ndarray, "a b"]:
        """Standard error of `mean`: the standard deviation over repeats (n - 1), divided by sqrt(repeats).

        It tells how much the draw of images matters. One repeat tells nothing about that, so it gives NaN.
        """
        return standard_error(self.between(a, b))

    def _of(self, model: str) -> slice:
        if model not in self.layers:
            raise unknown_name("model", model, self.layers)
        names = list(self.layers)
        start = sum(len(self.layers[name]) for name in names[: names.index(model)])
        return slice(start, start + len(self.layers[model]))


@dataclass(frozen=True, eq=False)
class PairComparison:
    """CKA of fixed pairs of layers of two networks, once for each draw of images.

    Attributes:
        layers_a: The layers of the first network.
        layers_b: Those of the second, in the order of their partners.
        cka: CKA of each pair, `[repeats, pairs]`; NaN where one of the two was dead.
        neighbours: The nearest neighbours that they share (`seelike.neighbours`), likewise; None where it was not
            asked for.

    Example:
        >>> layers = [Layer("block 1", "block", 1, 0.0, "0"), Layer("block 2", "block", 2, 1.0, "1")]
        >>> comparison = PairComparison(layers, layers, np.array([[1, 0.8], [1, 0.6]]))
        >>> comparison.mean.round(6), comparison.standard_error.round(6)
        (array([1. , 0.7]), array([0. , 0.1]))
    """

    layers_a: list[Layer]
    layers_b: list[Layer]
    cka: Float64[np.ndarray, "repeats pairs"] = field(repr=False)
    neighbours: Float64[np.ndarray, "repeats pairs"] | None = field(default=None, repr=False)

    @property
    def mean(self) -> Float64[np.ndarray, " pairs"]:
        """Mean over the repeats."""
        return self.cka.mean(axis=0)

    @property
    def standard_error(self) -> Float64[np.ndarray, " pairs"]:
        """Standard error of the mean over the repeats; NaN for one repeat."""
        return standard_error(self.cka)


@dataclass(frozen=True, eq=False)
class HeadComparison:
    """How like the layers of a network any subset of the attention heads of another is (Figure 5).

    What a subset says is the concatenation of the outputs of its heads. Its Gram matrix is the sum of theirs, and
    HSIC is linear in both, so that

        HSIC(subset, L) = sum_h HSIC(h, L)        HSIC(subset, subset) = sum_gh HSIC(g, h)

    over the heads g and h of the subset: any subset comes from the HSICs of the heads.

    Attributes:
        heads: How many heads there are.
        layers: The layers that they are compared with.
        hsic: HSIC of all heads, then all layers, with one another, summed over minibatches,
            `[repeats, heads + layers, heads + layers]`.

    Example:
        >>> hsic = np.array([[[4.0, 0.0, 2.0], [0.0, 12.0, 2.0], [2.0, 2.0, 1.0]]])
        >>> comparison = HeadComparison(2, [Layer("block 1", "block", 1, 0.0, "0")], hsic)
        >>> comparison.between([[0], [0, 1]])
        array([[[1.],
                [1.]]])
        >>> comparison.between([[1]]).round(6)
        array([[[0.57735]]])
    """

    heads: int
    layers: list[Layer]
    hsic: Float64[np.ndarray, "repeats all all"] = field(repr=False)

    def between(self, subsets: Sequence[Sequence[int]]) -> Float64[np.ndarray, "repeats subsets layers"]:
        """CKA of each subset of heads with each layer, for each repeat. NaN where one of the two was dead.

        Args:
            subsets: Numbers of heads, from 0. From local to global is their order by mean attention distance.

        Raises:
            ValueError: A subset is empty, names a head twice, or one that there is not.
        """
        chosen = np.zeros((len(subsets), self.heads))
        for row, subset in zip(chosen, subsets, strict=True):
            if not subset or len(set(subset)) < len(subset) or not set(subset) <= set(range(self.heads)):
                raise ValueError(
                    f"The subset of heads is {list(subset)}; expected different numbers, 0 to {self.heads - 1}."
                )
            row[list(subset)] = 1
        of_subsets = np.einsum("sg,rgh,sh->rs", chosen, self.hsic[:, : self.heads, : self.heads], chosen)
        of_layers = self.hsic[:, self.heads :, self.heads :].diagonal(axis1=1, axis2=2)
        cross = chosen @ self.hsic[:, : self.heads, self.heads :]
        with np.errstate(invalid="ignore"):  # A dead layer divides 0 by 0.
            return cross / (np.sqrt(of_subsets)[:, :, None] * np.sqrt(of_layers)[:, None])

    def mean(self, subsets: Sequence[Sequence[int]]) -> Float64[np.ndarray, "subsets layers"]:
        """Mean of `between` over the repeats."""
        return self.between(subsets).mean(axis=0)

    def standard_error(self, subsets: Sequence[Sequence[int]]) -> Float64[np.ndarray, "subsets layers"]:
        """Standard error of `mean` over the repeats; NaN for one repeat."""
        return standard_error(self.between(subsets))


def compare_models(
    models: Mapping[str, nn.Module],
    images: ImageSet | Tensor,
    *,
    number_of_images: int,
    batch_size: int,
    repeats: int,
    seed: int,
    layers: Mapping[str, Sequence[Layer]] | None = None,
    device: str | torch.device = "cpu",
    memory: str | int = "8GB",
    forward_batch: int | None = None,
    cache: str | Path | None = None,
    neighbours: bool = False,
) -> ModelComparison:
    """Measure CKA of all layers of all networks with each other (Figures 1, 2 and B.1; Appendix A).

    Each repeat draws its own images and splits them into the fewest minibatches of at most `batch_size`,
    whose sizes differ by one at most. The networks run on each minibatch, their activations become Gram
    matrices, and all pairs of layers are one matrix product. A network under two names runs once.

    Memory: on a CPU, the whole process, with all that it holds already, stays within `memory`; on a GPU, the
    tensors there do. Where a minibatch does not fit into a network at once, its layers are read a group at a time
    (`seelike.cka.passes`), which takes longer and gives the same result, but for rounding: some 1e-8.

    Args:
        models: Networks in evaluation mode, by name. They are moved to `device`. Each gets the images as its
            own configuration asks for them.
        images: Where to draw from: an image set, or images `[n, channels, height, width]` that are prepared for
            all of the networks.
        number_of_images: Images in each repeat, drawn without replacement.
        batch_size: Most images in a minibatch. HSIC is unbiased for any size; smaller ones add noise.
        repeats: How many draws; repeat r is drawn with seed `seed + r`.
        seed: Seed of the first draw.
        layers: Which layers to read, by name of the network; all of its layers where a network is not in it.
        device: Where the networks run.
        memory: The most that it may take: "8GB" (8e9 bytes), "500MB", "2GiB", or bytes.
        forward_batch: Most images in a forward pass; None for what fits. The result does not depend on it. Out of
            memory, it is halved, with one warning.
        cache: Folder for the sums of the minibatches that are done, a file for each repeat. A call that was
            stopped goes on with the next minibatch, and a repeat that shows none of the images that changed is
            kept. It is passed by, with a warning, where others have hung something on a network, such as a hook.
        neighbours: Measure how many nearest neighbours layers share, too: another measure, to lay beside CKA.

    Returns:
        The comparison. A layer that was dead (showed all images of a repeat the same) has NaN in its rows and
        columns there, with a warning that names it, and the run goes on.

    Raises:
        UnknownName: `layers` is for a network that is not in `models`.
        ValueError: There are no networks, no repeats or no layers, too few images, minibatches of fewer than
            4 images, too little memory, a network in training mode, NaN or infinite activations; the error names
            the network and the layer.
        RuntimeError: A layer did not fire.

    Example:
        >>> from seelike import data
        >>> from seelike.models import layers, load
        >>> model = load("test_vit:random")
        >>> comparison = compare_models(
        ...     {"ViT": model},
        ...     data.load("fashion-mnist/test"),
        ...     number_of_images=8, batch_size=4, repeats=2, seed=0,
        ...     layers={"ViT": layers(model, kinds=["block"])},
        ... )
        >>> comparison.mean("ViT", "ViT").diagonal().round(6)
        array([1., 1., 1., 1., 1., 1.])
    """
    require_type("models", models, Mapping, "networks by name, such as {'ViT': model}")
    if not models:
        raise ValueError("models is empty; expected at least one network.")
    for name in layers or {}:
        if name not in models:
            raise unknown_name("model", name, models)
    for model in models.values():
        model.to(device)
    protocol = _Protocol(number_of_images, batch_size, repeats, seed, memory, forward_batch, cache, neighbours)
    return _compare(models, images, layers or {}, protocol)


def cka_between(
    model_a: nn.Module,
    model_b: nn.Module,
    images: ImageSet | Tensor,
    layers_a: Sequence[Layer] | None = None,
    layers_b: Sequence[Layer] | None = None,
    batch_size: int = 1024,
    repeats: int = 20,
    memory: str | int = "8GB",
    forward_batch: int | None = None,
    number_of_images: int | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
) -> ModelComparison:
    """Measure CKA of all layers of two networks by the paper's protocol, in bounded memory (Appendix A).

    The two networks stay where they are. One network with itself runs once. All else is as in `compare_models`.

    Args:
        model_a: A network in evaluation mode.
        model_b: Another, on the same device, or the same one.
        images: Where to draw from: an image set, or images `[n, channels, height, width]` that are prepared for
            both networks.
        layers_a: Which layers of `model_a` to read; None for all.
        layers_b: Which layers of `model_b` to read; None for all.
        batch_size: This and all that follow: the protocol, as in `compare_models`. Where `number_of_images` is
            None, each repeat has 10 minibatches.

    Returns:
        The comparison of networks "a" and "b": `mean("a", "b")` and `standard_error("a", "b")` over repeats.

    Raises:
        ValueError: As in `compare_models`, or the networks are on different devices.
        RuntimeError: A layer did not fire.

    Example:
        >>> from seelike import data
        >>> from seelike.models import layers, load
        >>> model = load("test_vit:random")
        >>> blocks = layers(model, kinds=["block"])
        >>> comparison = cka_between(
        ...     model, model, data.load("fashion-mnist/test"), blocks[:2], blocks, batch_size=8, repeats=2
        ... )
        >>> comparison.mean("a", "b").shape
        (2, 6)
    """
    chosen = {name: each for name, each in {"a": layers_a, "b": layers_b}.items() if each is not None}
    protocol = _Protocol(number_of_images, batch_size, repeats, seed, memory, forward_batch, cache)
    return _compare({"a": model_a, "b": model_b}, images, chosen, protocol)


def compare_pairs(
    model_a: nn.Module,
    model_b: nn.Module,
    images: ImageSet | Tensor,
    layers_a: Sequence[Layer] | None = None,
    layers_b: Sequence[Layer] | None = None,
    batch_size: int = 1024,
    repeats: int = 20,
    memory: str | int = "8GB",
    forward_batch: int | None = None,
    number_of_images: int | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
    neighbours: bool = False,
) -> PairComparison:
    """Measure CKA of each layer of one network with its partner in another (Figures 12 and G.1).

    Only the HSICs of the pairs are computed, not those of all layers with all.

    Args:
        model_a: A network in evaluation mode.
        model_b: Another, on the same device.
        images: As in `cka_between`.
        layers_a: Layers of `model_a`; None for the outputs of its blocks.
        layers_b: As many of `model_b`, in the order of their partners; None for the outputs of its blocks.
        batch_size: This and all that follow: as in `cka_between`.
        neighbours: As in `compare_models`.

    Returns:
        CKA of each pair, with mean and standard error over repeats. Pairs with a dead layer are NaN, with a
        warning.

    Raises:
        ValueError: The numbers of layers differ; or as in `cka_between`.
        RuntimeError: A layer did not fire.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> model = load("test_vit:random")
        >>> comparison = compare_pairs(model, model, data.load("fashion-mnist/test"), batch_size=8, repeats=2)
        >>> comparison.mean.round(6)
        array([1., 1., 1., 1., 1., 1.])
    """
    models = {"a": model_a, "b": model_b}
    layers = {name: list(each) for name, each in {"a": layers_a, "b": layers_b}.items() if each is not None}
    for name, model in models.items():
        layers.setdefault(name, all_layers(model, kinds=["block"]))
    if len(layers["a"]) != len(layers["b"]):
        raise ValueError(
            f"got {len(layers['a'])} layers of model_a and {len(layers['b'])} of model_b; expected as many, since "
            "they make pairs. Networks of different depth need layers_a and layers_b."
        )
    protocol = _Protocol(number_of_images, batch_size, repeats, seed, memory, forward_batch, cache, neighbours)
    names = {name: [(name, layer.name) for layer in layers[name]] for name in models}
    readings = [
        (model, [Reading(row, layer) for row, layer in zip(names[name], layers[name], strict=True)])
        for name, model in models.items()
    ]

    def update(similarity: PairedCKA, grams: CentredGrams) -> None:
        similarity.update_centred(grams.of(names["a"]), grams.of(names["b"]))

    what, kind = (
        ("CKA and neighbours of pairs", PairedCKAAndNeighbours) if neighbours else ("CKA of pairs", PairedCKA)
    )
    sums = protocol.run(what, readings, images, kind, update)
    _warn_of_dead(sums)
    return PairComparison(layers["a"], layers["b"], *_values(sums))


def compare_heads(
    vit: nn.Module,
    other: nn.Module,
    images: ImageSet | Tensor,
    layers: Sequence[Layer] | None = None,
    block: int = 1,
    batch_size: int = 1024,
    repeats: int = 20,
    memory: str | int = "8GB",
    forward_batch: int | None = None,
    number_of_images: int | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
) -> HeadComparison:
    """Measure CKA of subsets of the attention heads of a block with the layers of another network (Figure 5).

    A head is what it sums of its values, before the projection that mixes the heads. Which subsets to look at is
    chosen afterwards: `HeadComparison.between`.

    Args:
        vit: A Vision Transformer in evaluation mode.
        other: Another network, on the same device.
        images: As in `cka_between`.
        layers: Layers of `other`, in the paper low layers of a ResNet; None for all.
        block: Number of the block whose heads are compared, from 1.
        batch_size: This and all that follow: as in `cka_between`.

    Returns:
        The comparison, for any subset. A dead layer gives NaN, with a warning.

    Raises:
        ValueError: `vit` has no such block, or its attention is none that can be split by head; or as in
            `cka_between`.
        RuntimeError: A layer did not fire.

    Example:
        >>> from seelike import data
        >>> from seelike.models import layers, load
        >>> vit, resnet = load("test_vit:random"), load("test_resnet:random")
        >>> comparison = compare_heads(
        ...     vit, resnet, data.load("fashion-mnist/test"), layers(resnet)[:3], batch_size=8, repeats=2
        ... )
        >>> comparison.mean([[0], [0, 1]]).shape
        (2, 3)
    """
    heads, layer = _heads(vit, block)
    chosen = list(layers) if layers is not None else all_layers(other)
    names = [*(("vit", f"head {head}") for head in range(len(heads))), *(("other", each.name) for each in chosen)]
    of_heads = [Reading(name, layer, columns) for name, columns in zip(names, heads, strict=False)]
    of_layers = [Reading(name, each) for name, each in zip(names[len(heads) :], chosen, strict=True)]
    readings = [(vit, of_heads), (other, of_layers)] if vit is not other else [(vit, of_heads + of_layers)]
    protocol = _Protocol(number_of_images, batch_size, repeats, seed, memory, forward_batch, cache)
    sums = protocol.run("CKA of heads", readings, images, MinibatchCKA, MinibatchCKA.update_centred)
    _warn_of_dead(sums)
    hsic = np.stack([similarity.state_dict()["cross"].numpy() for similarity in sums])
    return HeadComparison(len(heads), chosen, hsic)


def _heads(vit: nn.Module, block: int) -> tuple[list[slice], Layer]:
    """The columns of each head in what goes on from the attention of a block, side by side."""
    seen = structure(vit)
    attentions = [attention for name, attention in seen.attentions if name == f"block {block}"]
    if not attentions:
        number = len({name for name, _ in seen.attentions})
        raise ValueError(f"block is {block}; {type(vit).__name__} has {number} blocks with attention heads.")
    layer = seen.after_attention(attentions[0])
    heads, width = attentions[0].heads, attentions[0].output.shape[-1]
    if layer is None or heads is None:
        raise ValueError(
            f"The heads of block {block} of {type(vit).__name__} do not go on side by side into one module, where "
            "they could be told apart."
        )
    slices = [slice(head * width, (head + 1) * width) for head in range(heads)]
    return slices, replace(layer, name=f"block {block}/heads", kind="heads", block=block)


def _compare(
    models: Mapping[str, nn.Module],
    images: ImageSet | Tensor,
    layers: Mapping[str, Sequence[Layer]],
    protocol: "_Protocol",
) -> ModelComparison:
    read_from = {
        name: list(layers[name]) if name in layers else all_layers(model) for name, model in models.items()
    }
    for name, chosen in read_from.items():
        if not chosen:
            raise ValueError(f"The list of layers of model {name!r} is empty; expected at least one layer.")
    # A network that has two names is read once, and so is a layer that both ask for.
    rows: dict[tuple[int, Layer], Reading] = {}
    by_model: dict[int, tuple[nn.Module, list[Reading]]] = {}
    for name, model in models.items():
        for layer in read_from[name]:
            if (id(model), layer) not in rows:
                rows[id(model), layer] = Reading((name, layer.name), layer)
                by_model.setdefault(id(model), (model, []))[1].append(rows[id(model), layer])
    what, kind = f"CKA of {len(rows)} layers", MinibatchCKA
    if protocol.neighbours:
        what, kind = f"CKA and neighbours of {len(rows)} layers", MinibatchCKAAndNeighbours
    sums = protocol.run(what, list(by_model.values()), images, kind, kind.update_centred)
    _warn_of_dead(sums)
    place = {name: number for number, name in enumerate(sums[0].names[0])}
    order = [place[rows[id(model), layer].name] for name, model in models.items() for layer in read_from[name]]
    return ModelComparison(read_from, *(each[:, order][:, :, order] for each in _values(sums)))


def _values(sums: Sequence[MinibatchCKA]) -> list[Float64[np.ndarray, "repeats ..."]]:
    """CKA, and where it was measured the neighbours that layers share."""
    found = [similarity.compute(on_dead="nan") for similarity in sums]
    shared = [each.compute_neighbours() for each in sums if isinstance(each, WithNeighbours)]
    return [np.stack([each.numpy() for each in values]) for values in (found, shared) if values]


def _warn_of_dead(sums: Sequence[MinibatchCKA]) -> None:
    if dead := dict.fromkeys(name for similarity in sums for name in similarity.dead()):
        warnings.warn(
            f"Dead layers: {', '.join(map(repr, dead))}. All images of a repeat look the same there, so their "
            "CKA is NaN. Leave them out with layers=...",
            RuntimeWarning,
            stacklevel=4,
        )


@dataclass(frozen=True)
class _Protocol:
    """The draws of images and their minibatches, and what it may take to show them."""

    number_of_images: int | None
    batch_size: int
    repeats: int
    seed: int
    memory: str | int
    forward_batch: int | None
    cache: str | Path | None
    neighbours: bool = False

    def run(
        self,
        what: str,
        readings: Sequence[tuple[nn.Module, Sequence[Reading]]],
        images: ImageSet | Tensor,
        empty: Callable[[], A],
        update: Callable[[A, CentredGrams], None],
    ) -> list[A]:
        """Measure all repeats; give the accumulator of each."""
        memory = number_of_bytes(self.memory)
        number = 10 * self.batch_size if self.number_of_images is None else self.number_of_images
        parts = minibatches(number, self.batch_size)
        if self.repeats < 1:
            raise ValueError(f"repeats is {self.repeats}; expected at least 1.")
        if self.forward_batch is not None and self.forward_batch < 1:
            raise ValueError(f"forward_batch is {self.forward_batch}; expected 1 or more, or None.")
        for model, _ in readings:
            require_measurable(model)
            Images(images, model)  # an error if they are none
        devices = {str(parameter.device) for model, _ in readings for parameter in model.parameters()}
        if len(devices) > 1:
            raise ValueError(f"The networks are on {' and '.join(sorted(devices))}; move them to one device.")
        draws = [_draw(images, number, self.seed + repeat) for repeat in range(self.repeats)]
        repeats = [_Repeat(draw, empty()) for draw in draws]
        if self.cache is not None and can_be_kept(model for model, _ in readings):
            names = names_of_images(images)
            rest = fingerprint(
                what, [(model, repr(each), Images(images, model).preparation) for model, each in readings]
            )
            for repeat in repeats:
                # A repeat depends on the images that it shows alone: one with none of those that changed stays.
                shown = fingerprint(rest, [[names[i] for i in repeat.drawn[part]] for part in parts])
                repeat.load(Saved(self.cache, what, shown))
        done = sum(repeat.done for repeat in repeats)
        if done < len(parts) * self.repeats:
            layers = sum(len(each) for _, each in readings)
            total = len(parts) * self.repeats * layers
            with tqdm(total=total, initial=done * layers, desc=what, unit="layer") as progress:
                passes = GramPasses(
                    readings,
                    images,
                    n=parts[0].stop,
                    memory=memory,
                    forward_batch=self.forward_batch,
                    neighbours=self.neighbours,
                )
                for repeat in repeats:
                    repeat.go_on(parts, lambda drawn: passes.read(drawn, progress.update), empty, update)
        return [repeat.sums for repeat in repeats]


@dataclass
class _Repeat(Generic[A]):
    """One draw of images, and the sums of its minibatches that are done."""

    drawn: np.ndarray
    sums: A
    done: int = 0
    saved: Saved | None = None

    def load(self, saved: Saved) -> None:
        self.saved = saved
        if state := saved.load():
            self.sums.load_state_dict(state["sums"])
            self.done = state["done"]

    def save(self) -> None:
        if self.saved is not None:
            self.saved.save({"done": self.done, "sums": self.sums.state_dict()})

    def go_on(
        self,
        parts: Sequence[slice],
        read: Callable[[np.ndarray], CentredGrams],
        empty: Callable[[], A],
        update: Callable[[A, CentredGrams], None],
    ) -> None:
        begun_with, last_save = self.done, time.monotonic()
        try:
            for part in parts[self.done :]:
                found = empty()
                update(found, read(self.drawn[part]))
                # Nothing is changed amid a minibatch: a call that is stopped there begins it anew.
                whole = empty()
                whole.merge(self.sums)
                whole.merge(found)
                self.sums, self.done = whole, self.done + 1
                if time.monotonic() - last_save > _SAVE_EVERY:
                    self.save()
                    last_save = time.monotonic()
        finally:
            if self.done > begun_with:
                self.save()


def _draw(images: ImageSet | Tensor, number: int, seed: int) -> np.ndarray:
    """Draw images without replacement: the same ones as `ImageSet.sample`."""
    if not 1 <= number <= len(images):
        raise ValueError(
            f"number_of_images is {number}, but there are {len(images)} to draw from without replacement. Without "
            "number_of_images, 10 minibatches of batch_size are drawn."
        )
    return draw(len(images), number, seed)


def minibatches(number_of_images: int, batch_size: int) -> list[slice]:
    """Split images into the fewest minibatches of at most `batch_size`, whose sizes differ by one at most.

    Raises:
        ValueError: A minibatch would have fewer than the 4 images that unbiased HSIC needs.

    Example:
        >>> minibatches(13, 5)
        [slice(0, 5, None), slice(5, 9, None), slice(9, 13, None)]
    """
    if batch_size < 4 or number_of_images < 4:
        raise ValueError(
            f"There are {number_of_images} images for minibatches of at most {batch_size}; unbiased HSIC needs at "
            "least 4 images in a minibatch."
        )
    ends = [len(part) for part in np.array_split(np.arange(number_of_images), -(-number_of_images // batch_size))]
    if ends[-1] < 4:
        raise ValueError(
            f"{number_of_images} images in minibatches of at most {batch_size} leave {ends[-1]} images in some; "
            "unbiased HSIC needs at least 4. Choose another number of images, or another size of minibatches."
        )
    stops = np.cumsum(ends).tolist()
    return [slice(stop - size, stop) for stop, size in zip(stops, ends, strict=True)]
