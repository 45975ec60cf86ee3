"""The places of a network that the paper reads, by names that all architectures share.

With x for the residual stream, the blocks of the networks that the paper compares are

    Transformer   x <- x + attention(norm(x))             x <- x + mlp(norm(x))
    Mixer         x <- x + token mixing(norm(x))          x <- x + mlp(norm(x))
    ResNetV2      x <- shortcut(x) + branch(x)            normalisation comes first in the branch
    ResNet        x <- relu(shortcut(x) + branch(x))

where `shortcut` is the identity, or a convolution where the resolution changes. Networks of other families are
read by the same words. Blocks and residual additions are found in one forward pass (`seelike.models.structure`),
whatever the network is called; blocks count from 1, as in the paper's prose, and go on counting through the
stages. A module that runs several times is listed as often as it runs.

All is read in evaluation mode, where dropouts and stochastic depths hand on what they get. So the attention branch
is what is added, after LayerScale.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from weakref import WeakKeyDictionary, ref

import torch
from timm.models.resnet import ResNet
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn

from seelike.errors import require_type, unknown_name
from seelike.models.measurable import input_size, norms_by_the_batch, require_unwrapped
from seelike.models.places import Place, place_of
from seelike.models.structure import IDENTITY, Added, Block, blocks, chain, pointwise_back, same
from seelike.models.trace import IMAGES, Attention, Event, Node, Side, Trace, trace

Family = Literal["vit", "resnet", "mixer", "cnn", "other"]


# Kinds of layers of the residual stream: what is handed on, without what a branch adds.
STREAM = ("embedding", "residual", "block")


@dataclass(frozen=True)
class Layer:
    """A place in a network, and how to read it.

    Attributes:
        name: "block 3/attention"; for networks without blocks the module's name.
        kind: "embedding" (what goes into the first block), "norm", "attention", "token mixing", "branch" (alone in
            its block, as in ResNets), "shortcut" (the projection beside it), "hidden" (a convolution in a branch,
            or the inside of token mixing), "mlp hidden", "mlp", "residual" (the stream within a block or between
            blocks) or "block" (the block's output). For networks without blocks the class of the module.
        block: Number of the block, from 1; None outside of blocks.
        depth: Place in firing order among all layers of the network, from 0 (first) to 1 (last).
        module: Path of the module that is hooked.
        side: What is read: the module's "output" or its first "input"; or of an addition in the module's own
            forward the "left" or "right" operand or the "sum".
        call: Which of the module's calls, or of its additions, in one forward pass is read, from 0.
        stage: Number of the stage, from 0: a new one begins where there are fewer places than ever before. 0 for
            all layers of a network of one resolution.
    """

    name: str
    kind: str
    block: int | None
    depth: float
    module: str
    side: Side = "output"
    call: int = 0
    stage: int = 0


@dataclass(frozen=True)
class Residual:
    """A residual addition: output = skip + branch, then the activation if there is one.

    Attributes:
        skip: The stream before it, or the shortcut.
        branch: What is added.
        output: The stream after it.
        activation: What follows the sum before it is the output, as ATen calls it: "relu".
        addition: Module and number of the addition, and which operand is the skip: what `operands` reads.
    """

    skip: Layer
    branch: Layer
    output: Layer
    activation: str | None
    addition: tuple[str, int, Literal["left", "right"]]

    @property
    def name(self) -> str:
        """The name of the branch."""
        return self.branch.name

    @property
    def kind(self) -> str:
        """The kind of the branch: "attention", "token mixing", "mlp" or "branch"."""
        return self.branch.kind

    @property
    def block(self) -> int | None:
        """The number of the block, from 1."""
        return self.branch.block

    @property
    def operands(self) -> tuple[Layer, Layer]:
        """Skip and branch as they meet in the addition, in one shape."""
        module, call, side = self.addition
        other: Side = "right" if side == "left" else "left"
        return (
            replace(self.branch, name=f"{self.name} (skip)", module=module, side=side, call=call),
            replace(self.branch, name=f"{self.name} (branch)", module=module, side=other, call=call),
        )


@dataclass(frozen=True, eq=False)
class Structure:
    """What one forward pass tells of a network.

    Attributes:
        layers: All layers, in firing order.
        residuals: All residual additions, in firing order.
        attentions: Each softmax of attention, with the name of its block.
        family: As `family` gives it.
    """

    layers: list[Layer]
    residuals: list[Residual]
    attentions: list[tuple[str, Attention]]
    family: Family
    _trace: Trace
    _places: dict[Layer, Place] = field(default_factory=dict, init=False)  # those that were asked for

    def module(self, name: str) -> Layer | None:
        """Name a layer by the path of its module, also one that is not listed; None where that gave no tensor."""
        path, _, call = name.partition("/call ")
        event = self._trace.event(path, "output", int(call) - 1 if call.isdecimal() else 0)
        if event is None or not path:
            return None
        before = [layer.depth for layer in self.layers if self._time(layer) <= event.time]
        return Layer(name, event.kind, None, max(before, default=0.0), path, call=event.call)

    def _time(self, layer: Layer) -> int:
        event = self._trace.event(layer.module, layer.side, layer.call)
        return event.time if event else 0

    def place(self, layer: Layer) -> Place:
        """Tell where the numbers of a layer are."""
        if layer not in self._places:
            self._places[layer] = self._place(layer)
        return self._places[layer]

    def _place(self, layer: Layer) -> Place:
        node = self._trace.node(layer.module, layer.side, layer.call)
        if (
            node is None
            and layer.side in ("output", "input")
            and (layer.module, layer.call) not in self._trace.calls
        ):
            raise RuntimeError(f"Layer {layer.name!r} did not fire: its module does not run that often.")
        if node is None:
            return Place(
                layer.name,
                (),
                "vector",
                None,
                why="it gives no single tensor. Read another layer.",
            )
        found = place_of(layer.name, node.codes, node.shape, self._trace.images, self._trace.tokens)
        for residual in self.residuals if found.grid is None else ():
            # What mixes all places is of the place that it is added to.
            at_addition = (residual.branch, residual.skip, *residual.operands)
            if (layer.module, layer.side, layer.call) in {(x.module, x.side, x.call) for x in at_addition}:
                module, call, _ = residual.addition
                total = self._trace.node(module, "sum", call)
                if total is not None and total.shape == node.shape:
                    return place_of(layer.name, total.codes, total.shape, self._trace.images, self._trace.tokens)
        return found

    def place_of_attention(self, name: str, attention: Attention) -> Place:
        """Tell where the tokens of an attention are, whose queries and keys must be the same."""
        shape = attention.weights
        if not attention.plain:
            why = "something else than a softmax of all keys goes to the values, as with heads that are mixed."
        elif attention.heads is None:
            why = "its first axes are not images and heads, as in windows."
        elif attention.queries is None or attention.keys is None:
            why = "where its queries and keys are in the image could not be followed."
        elif attention.queries.numel() != shape[-2] or attention.keys.numel() != shape[-1]:
            why = "its queries are some of the tokens, as in windows, or channels and no tokens."
        elif not torch.equal(attention.queries.flatten(), attention.keys.flatten()):
            why = "its queries and keys are different tokens."
        else:
            codes = attention.queries.reshape(1, -1, 1)
            images = self._trace.images
            return place_of(name, codes, (images[0], shape[-2], 2), images, self._trace.tokens)
        return Place(name, shape[1:], "tokens", None, why=why)

    def after_attention(self, attention: Attention) -> Layer | None:
        """Find where the outputs of all heads go side by side, head by head, into a module; None for nowhere."""
        heads, width = attention.heads, attention.output.shape[-1]
        if heads is None:
            return None
        for event in self._trace.events:
            if (
                event.side != "input"
                or event.node.shape[-1] != heads * width
                or event.node.number < attention.output.number
            ):
                continue
            back = list(chain(event.node, IDENTITY))
            if not any(node is attention.output for node in back):
                continue
            # The last view that has heads and width apart must have them in this order.
            apart = next((node for node in back if node.shape[-1] != heads * width), None)
            if apart is not None and tuple(apart.shape[-2:]) == (heads, width):
                return Layer("heads", "heads", None, 0.0, event.module, event.side, event.call)
        return None


# By network, then by what it is made of and the size of the images; of each network the latest few.
_MOST_KNOWN = 4
_KNOWN: WeakKeyDictionary[nn.Module, dict[Any, Structure]] = WeakKeyDictionary()


def structure(model: nn.Module, size: tuple[int, int] | None = None) -> Structure:
    """Run a network once, or take what is known of it, and find its layers.

    Args:
        model: Any network. In training mode, it runs in evaluation mode here.
        size: Height and width of the images; None for what the network takes.

    Raises:
        ValueError: The network does not run on such images.
    """
    require_unwrapped(model)
    channels, *own = input_size(model)
    shape = (channels, *(size or own))
    # A new module may get the id of one that is gone, but never its weak reference. No two hooks have one number.
    made_of = tuple(
        (
            path,
            ref(module),
            id(module.__dict__.get("forward")),
            *module._forward_hooks,
            "before",
            *module._forward_pre_hooks,
        )
        for path, module in model.named_modules()
    )
    known = _KNOWN.setdefault(model, {})
    found = known.pop((made_of, shape), None) or _structure(model, _traced(model, shape))
    known[made_of, shape] = found  # as the latest: the one that was not asked for longest goes
    if len(known) > _MOST_KNOWN:
        del known[next(iter(known))]
    return found


def family(model: nn.Module) -> Family:
    """Name the family of a network, which says what role it can take.

    Args:
        model: Any network.

    Returns:
        "vit": tokens on one grid that meet in attention; "mixer": such that are mixed without; "resnet":
        timm's ResNet and ResNetV2; "cnn": any other convolutional network. "other": what has several grids and
        attention, as Swin, or neither attention nor convolutions.

    Raises:
        ValueError: The network does not run on the images of its `pretrained_cfg`.

    Example:
        >>> import timm
        >>> family(timm.create_model("resnet10t")), family(timm.create_model("test_vit"))
        ('resnet', 'vit')
    """
    return structure(model).family


def layers(
    model: nn.Module, names: Sequence[str] | None = None, kinds: Sequence[str] | None = None
) -> list[Layer]:
    """List the layers of a network that the paper reads, in the order in which they fire (Sections 2 and 4).

    The network runs once, on two images of noise. Where it has no residual connections, every module that gives
    one tensor with a row for each image is listed, by the module's name; a further call is "name/call 2". A module
    that only hands on a tensor is not listed.

    Args:
        model: Any network.
        names: Only the layers of these names. Any other module is named by its path.
        kinds: Only the layers of these kinds. With `names`, only those that match both.

    Returns:
        The layers, in firing order also where `names` has another.

    Raises:
        UnknownName: The network has no layer of such a name or kind.
        ValueError: The network does not run on the images of its `pretrained_cfg`.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_vit")
        >>> [layer.name for layer in layers(model)][:8]  # doctest: +NORMALIZE_WHITESPACE
        ['embedding', 'block 1/attention norm', 'block 1/attention', 'block 1/after attention',
         'block 1/mlp norm', 'block 1/mlp hidden', 'block 1/mlp', 'block 1']
        >>> [layer.name for layer in layers(model, kinds=["attention"])][:2]
        ['block 1/attention', 'block 2/attention']
    """
    for what, given in {"names": names, "kinds": kinds}.items():
        if given is not None:
            require_type(what, given, (list, tuple, dict, set), "a list of names")
    seen = structure(model)
    everything = seen.layers
    listed = {layer.name for layer in everything}
    others = [layer for name in names or () if name not in listed and (layer := seen.module(name)) is not None]
    for name in names or ():
        if name not in listed and all(layer.name != name for layer in others):
            raise unknown_name("layer", name, [layer.name for layer in everything])
    everything = sorted([*everything, *others], key=lambda layer: layer.depth)
    for kind in kinds or ():
        if all(layer.kind != kind for layer in everything):
            raise unknown_name("kind of layer", kind, dict.fromkeys(layer.kind for layer in everything))
    return [
        layer
        for layer in everything
        if (names is None or layer.name in names) and (kinds is None or layer.kind in kinds)
    ]


def residuals(model: nn.Module) -> list[Residual]:
    """List every residual addition of a network: output = skip + branch, then the activation (Section 4).

    Args:
        model: Any network.

    Returns:
        In firing order: two for each Transformer or Mixer block, one for each ResNet block; none for a block
        without skip connections.

    Raises:
        ValueError: The network has no residual connections, or does not run on the images of its `pretrained_cfg`.

    Example:
        >>> import timm
        >>> first = residuals(timm.create_model("test_vit"))[0]
        >>> first.skip.name, first.branch.name, first.output.name
        ('embedding', 'block 1/attention', 'block 1/after attention')
    """
    found = structure(model).residuals
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no residual connections: nothing in its forward pass adds a branch to "
            "what the branch was computed from. layers(model) lists it by its modules."
        )
    return found


def places(model: nn.Module, layers: Sequence[Layer], images: Any) -> dict[str, Place]:
    """Tell where in the image the numbers of some layers are, for images of some size.

    Args:
        model: The network.
        layers: Layers of this network.
        images: Prepared images `[n, channels, height, width]`, of which only the size counts.

    Returns:
        The place of each layer, by its name.

    Raises:
        UnknownName: A layer is not of this network.
        RuntimeError: A layer did not fire.
        ValueError: Two layers have the same name, or the network does not run on such images.

    Example:
        >>> import timm
        >>> model = timm.create_model("resnet18").eval()
        >>> found = places(model, layers(model, kinds=["block"]), torch.zeros(1, 3, 96, 64))
        >>> found["block 8"].grid, found["block 8"].patch_size, found["block 8"].channels
        ((3, 2), (32.0, 32.0), 1)
    """
    require_layers(layers)
    found = structure(model, (images.shape[-2], images.shape[-1]))
    known = dict(model.named_modules(remove_duplicate=False))
    for layer in layers:
        if layer.module not in known:
            raise unknown_name(
                "module", layer.module, known, f"Layer {layer.name!r} must be of this very network."
            )
    where = {layer.name: found.place(layer) for layer in layers}
    if len(where) < len(layers):
        twice = next(layer.name for layer in layers if [each.name for each in layers].count(layer.name) > 1)
        raise ValueError(f"Layer {twice!r} is given twice. Results are kept by name: give it once.")
    return where


def require_layers(given: Any) -> None:
    """Refuse what are no layers, such as names.

    Raises:
        TypeError: It is no list of layers.

    Example:
        >>> require_layers(["block 1"])
        Traceback (most recent call last):
            ...
        TypeError: layers is of type list of str; expected layers, as seelike.models.layers gives them.
    """
    found = type(given).__name__
    others = [type(each).__name__ for each in given if not isinstance(each, Layer)] if found != "Tensor" else [""]
    if others:
        what = f"{found} of {others[0]}" if others[0] else found
        raise TypeError(f"layers is of type {what}; expected layers, as seelike.models.layers gives them.")


def _traced(model: nn.Module, shape: tuple[int, ...]) -> Trace:
    like = next(model.parameters(), torch.empty(0))
    noise = torch.randn(IMAGES, *shape, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    # What a norm does to numbers says nothing of where they are. `require_measurable` refuses to measure these.
    by_batch = {norm: (norm.running_mean, norm.running_var) for norm in norms_by_the_batch(model)}
    for norm in by_batch:
        norm.running_mean, norm.running_var = like.new_zeros(norm.num_features), like.new_ones(norm.num_features)
    try:
        noise = noise.to(like.device, like.dtype)
        seen = trace(model, noise)
        _require_images_apart(model, noise, seen.output)
        return seen
    except Exception as error:
        raise ValueError(
            f"Finding the layers of {type(model).__name__} by running it on images of shape {shape} failed: "
            f"{error} If it takes other images, say so: model.pretrained_cfg = "
            "{'input_size': (channels, height, width)}."
        ) from error
    finally:
        for module in training:
            module.training = True
        for norm, statistics in by_batch.items():
            norm.running_mean, norm.running_var = statistics


def _require_images_apart(model: nn.Module, images: Tensor, output: Any) -> None:
    """Refuse a network that gives an image something else beside other images: no batch would be as another."""
    if not isinstance(output, Tensor) or output.device.type == "meta":
        return
    with torch.inference_mode(False), torch.no_grad():
        again = model(torch.cat((images[:1], images[1:].flip(-1) + 1)))
    off = float((again[0] - output[0]).abs().max())
    if off > 1e-2 * float(output[0].abs().max()):
        raise ValueError(
            "what it gives for an image depends on the other images beside it, or on chance, so that no two "
            "passes agree. Does a norm take the statistics of the batch?"
        )


def _structure(model: nn.Module, seen: Trace) -> Structure:
    found = blocks(seen, model)
    named = _Names(model, seen, found)
    listed = named.layers if found else _fired(seen)
    last = max(len(listed) - 1, 1)
    listed = [replace(layer, depth=index / last) for index, layer in enumerate(listed)]
    attentions = [(_block_of(attention, found), attention) for attention in seen.attentions]
    made = Structure(listed, named.residuals, attentions, "other", seen)
    outputs = [made.place(layer) for layer in listed if layer.kind == "block"]
    made = replace(made, layers=_with_stages(made), family=_family(model, seen, found, outputs))
    at = {layer.name: layer for layer in made.layers}

    def listed_as(layer: Layer) -> Layer:
        return at.get(layer.name, layer)

    residuals = [
        replace(each, skip=listed_as(each.skip), branch=listed_as(each.branch), output=listed_as(each.output))
        for each in named.residuals
    ]
    return replace(made, residuals=residuals)


def _with_stages(seen: Structure) -> list[Layer]:
    """Blocks begin stages, or where there are none, any layer; what lies outside belongs to the one before."""
    by_block = {layer.block: layer for layer in seen.layers if layer.kind == "block"}
    stage, fewest, result = -1, math.inf, []
    for layer in seen.layers:
        grid = seen.place(by_block.get(layer.block, layer)).grid if layer.block or not by_block else None
        if grid is not None and 1 < math.prod(grid) < fewest:
            stage, fewest = stage + 1, math.prod(grid)
        result.append(replace(layer, stage=max(stage, 0)))
    return result


def _block_of(attention: Attention, found: Sequence[Block]) -> str:
    for number, block in enumerate(found, start=1):
        if (block.module, block.call) in attention.inside:
            return f"block {number}"
    return attention.module or "network"


def _family(model: nn.Module, seen: Trace, found: Sequence[Block], outputs: Sequence[Place]) -> Family:
    if isinstance(model, ResNet | ResNetV2):
        return "resnet"
    kinds = [added.kind for block in found for added in block.added]
    attention = "attention" in kinds or bool(seen.attentions)
    convolves = [
        any(node.operation == "convolution" and node.merges for node in added.inside)
        for block in found
        for added in block.added
    ]
    one_grid = len({place.grid for place in outputs if place.grid is not None}) == 1
    maps = all(place.kind == "map" for place in outputs)
    if attention:
        return "vit" if one_grid and not maps else "other"
    if one_grid and outputs and not maps and not any(convolves):
        return "mixer"
    if not found:
        return (
            "cnn"
            if any(isinstance(each, nn.Conv2d) and max(each.kernel_size) > 1 for each in model.modules())
            else "other"
        )
    return "cnn" if maps and any(convolves) else "other"


def _fired(seen: Trace) -> list[Layer]:
    """Every module that makes a tensor, in firing order."""
    found: list[Layer] = []
    known: set[Node] = set()
    for event in seen.events:
        of_images = len(event.node.shape) > 1 and event.node.shape[0] == IMAGES
        if event.side == "output" and event.module and of_images and event.node not in known:
            known.add(event.node)
            name = event.module if event.call == 0 else f"{event.module}/call {event.call + 1}"
            found.append(Layer(name, event.kind, None, 0.0, event.module, call=event.call))
    return found


class _Names:
    """Layers and residual additions of the blocks that were found, by the words of the head of this module."""

    def __init__(self, model: nn.Module, seen: Trace, found: Sequence[Block]) -> None:
        self._model, self._seen = model, seen
        self._outputs = [event for event in seen.events if event.side == "output"]
        self._timed: list[tuple[int, Layer]] = []
        self._of_node: list[tuple[Node, Layer]] = []  # the stream
        self.residuals: list[Residual] = []
        for number, block in enumerate(found, start=1):
            self._before(number, block)
            self._block(number, block)
        for number, block in enumerate(found, start=1):
            if not block.added:
                self._like_its_siblings(number, block, found)
        if found:
            self._after(max(block.end for block in found))
        self._timed.sort(key=lambda timed: timed[0])
        self.layers = [layer for _, layer in self._timed]

    def _list(self, name: str, kind: str, number: int | None, event: Event) -> Layer:
        layer = Layer(name, kind, number, 0.0, event.module, event.side, event.call)
        taken = {other.name for _, other in self._timed}
        if layer.name in taken:
            count = next(count for count in range(2, 10**6) if f"{name} {count}" not in taken)
            layer = replace(layer, name=f"{name} {count}")
        self._timed.append((event.time, layer))
        return layer

    def _before(self, number: int, block: Block) -> None:
        """What goes into a block, where it is not what another block gave."""
        given = block.input or (block.added[0].skip if block.added else None)
        if given is None or self._stream(given.node) is not None:
            return
        # Of several modules that hand on the same tensor the last.
        made = [
            each for each in self._outputs if each.time < block.begin and each.node is given.node and each.module
        ]
        event = made[-1] if made else given
        name, kind = ("embedding", "embedding") if not self._timed else (f"before block {number}", "residual")
        self._of_node.append((given.node, self._list(name, kind, None, event)))

    def _stream(self, node: Node) -> Layer | None:
        """The latest layer of the stream that is this, or a view of it."""
        return next((layer for known, layer in reversed(self._of_node) if same(known, node)), None)

    def _block(self, number: int, block: Block) -> None:
        if not block.added:
            if block.output is not None:
                self._of_node.append(
                    (block.output.node, self._list(f"block {number}", "block", number, block.output))
                )
            return
        inside = [each for each in self._outputs if block.begin <= each.time <= block.end]
        alone = len(block.added) == 1
        for added in block.added:
            last = added is block.added[-1]
            prefix = f"block {number}/"
            branch = self._list(prefix + added.kind, added.kind, number, self._made(added.branch, inside))
            skip = self._stream(added.skip.node)
            if not added.identity:
                skip = self._list(f"{prefix}shortcut", "shortcut", number, self._made(added.skip, inside))
            elif skip is None:
                skip = self._list(
                    f"{prefix}before {added.kind}", "residual", number, self._made(added.skip, inside)
                )
            if alone:
                self._convolutions_and_norms(number, block, added, inside)
            else:
                self._norm(number, block, added, inside)
                self._hidden(number, added, inside)
            total = added.addition.sum
            activation: str | None = None
            if (
                last
                and block.output is not None
                and (follows := self._follows(total.node, block.output.node)) is not None
            ):
                activation = follows or None
                output = self._list(f"block {number}", "block", number, block.output)
                self._of_node.append((block.output.node, output))
            elif last and block.output is None:
                after = self._activated(total)
                activation = after.node.operation if after else None
                output = self._list(f"block {number}", "block", number, after or total)
                self._of_node.append((after.node if after else total.node, output))
            else:
                output = self._list(f"{prefix}after {added.kind}", "residual", number, self._read_by(total))
            self._of_node.append((total.node, output))
            side: Literal["left", "right"] = "left" if added.skip is added.addition.left else "right"
            where = (added.addition.module, added.addition.call, side)
            self.residuals.append(Residual(skip, branch, output, activation, where))
        if block.output is not None and all(layer.name != f"block {number}" for _, layer in self._timed):
            # Something else follows the last sum.
            output = self._list(f"block {number}", "block", number, block.output)
            self._of_node.append((block.output.node, output))

    @staticmethod
    def _follows(total: Node, output: Node) -> str | None:
        """What follows a sum until the output: "" for nothing, one activation, or None for more than that."""
        if same(total, output):
            return ""
        before = [node for node in pointwise_back(output) if node.operation not in ("view", "permute", "clone")]
        if len(before) > 1 and before[1] is total and not before[0].operation.startswith(("native_", "cudnn_")):
            return before[0].operation
        return None

    def _activated(self, total: Event) -> Event | None:
        """The activation of a sum, where it alone goes on; None where the sum does, or no module makes it."""
        after = [each for each in self._outputs if total.node in each.node.parents]
        operands = [each.node for added in self._seen.additions for each in (added.left, added.right)]
        if not after or any(each.node is not after[0].node for each in after) or total.node in operands:
            return None
        return after[0] if self._follows(total.node, after[0].node) else None

    def _made(self, event: Event, inside: Sequence[Event]) -> Event:
        """The last module that hands on this very tensor before it is added; else the operand itself."""
        made = [each for each in inside if each.node is event.node and each.time < event.time]
        return made[-1] if made else event

    def _read_by(self, event: Event) -> Event:
        """The first module that takes this very tensor; else the sum itself."""
        for each in self._seen.events:
            if each.side == "input" and each.node is event.node and each.time > event.time:
                return each
        return event

    def _norm(self, number: int, block: Block, added: Added, inside: Sequence[Event]) -> None:
        for each in inside:
            beside = each.module.rpartition(".")[0] == block.module and "Norm" in each.kind
            of_branch = each.node in added.inside and not same(each.node, added.branch.node)
            if beside and of_branch and any(same(node, added.origin) for node in each.node.parents):
                self._list(f"block {number}/{added.kind} norm", "norm", number, each)

    def _hidden(self, number: int, added: Added, inside: Sequence[Event]) -> None:
        """What goes into the last product with weights of an MLP."""
        if added.kind == "attention":
            return
        nodes = {node for node in added.inside}
        weighted = [each for each in inside if each.node in nodes and self._has_weights(each)]
        if len(weighted) < 2:
            return
        last = weighted[-1]
        given = next(
            (
                each
                for each in self._seen.events
                if (each.module, each.side, each.call) == (last.module, "input", last.call)
            ),
            None,
        )
        if given is None:
            return
        node = given.node
        if "norm" in node.operation and len(node.parents) == 1:
            node = node.parents[0]
        made = [each for each in inside if each.node is node]
        event = made[0] if made else given
        if node in nodes:
            kind = "mlp hidden" if added.kind == "mlp" else "hidden"
            self._list(f"block {number}/{added.kind} hidden", kind, number, event)

    def _has_weights(self, event: Event) -> bool:
        weight = getattr(self._model.get_submodule(event.module), "weight", None)
        return isinstance(weight, Tensor) and weight.ndim > 1

    def _convolutions_and_norms(self, number: int, block: Block, added: Added, inside: Sequence[Event]) -> None:
        """Convolutions and norms beside each other in a block; a norm is read after the activation behind it."""
        ends = (added.branch.node, added.skip.node)
        beside = [
            each
            for each in inside
            if each.module.rpartition(".")[0] == block.module and not any(each.node is end for end in ends)
        ]
        counts = {"conv": 0, "norm": 0}
        for each in beside:
            word = (
                "conv"
                if self._has_weights(each) and "Conv" in each.kind
                else "norm"
                if "Norm" in each.kind
                else None
            )
            if word is None:
                continue
            event = each
            if word == "norm":
                after = [
                    x
                    for x in beside
                    if x.node.parents == (each.node,) and not self._has_weights(x) and not x.node.merges
                ]
                event = after[0] if after else each
            counts[word] += 1
            self._list(
                f"block {number}/{word} {counts[word]}", "hidden" if word == "conv" else "norm", number, event
            )

    def _like_its_siblings(self, number: int, block: Block, found: Sequence[Block]) -> None:
        """A block without residual connections is read where the blocks beside it are read."""
        parts = [name for name, _ in self._model.get_submodule(block.module).named_children()]
        for other, sibling in enumerate(found, start=1):
            if (
                not sibling.added
                or [name for name, _ in self._model.get_submodule(sibling.module).named_children()] != parts
            ):
                continue
            own = [layer for _, layer in self._timed if layer.block == other and layer.kind != "block"]
            for layer in own:
                if layer.side not in ("output", "input") or not layer.module.startswith(f"{sibling.module}."):
                    continue
                module = block.module + layer.module[len(sibling.module) :]
                event = self._seen.event(module, layer.side, layer.call)
                if event is not None:
                    self._list(re.sub(r"^block \d+", f"block {number}", layer.name), layer.kind, number, event)
            return

    def _after(self, end: int) -> None:
        for each in self._outputs:
            if each.time > end and "Norm" in each.kind:
                self._list("final norm", "norm", None, each)
