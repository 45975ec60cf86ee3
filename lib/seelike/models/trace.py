"""One forward pass of a network, followed: what fires, what depends on what, and where each number is.

The network runs once on two images of noise. Three things are written down.

- **Operations**, beneath PyTorch's functions (ATen): each makes a node, with the nodes that it depends on.
  Constants and parameters are no nodes, so that what has one depends on the image. `seelike.models.positions` says
  of each node where in the image its numbers are.
- **Modules**: what goes in and comes out of each, as often as it runs.
- **Additions**: both operands and the sum of each, with the module in whose own `forward` it is written.

From these `seelike.models.layers` finds blocks and residual connections, and `seelike.models.places` grids and
tokens.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from seelike.models import positions
from seelike.models.positions import Codes

IMAGES = 2
Side = Literal["output", "input", "left", "right", "sum"]


@dataclass(eq=False)
class Node:
    """What an operation made.

    Attributes:
        operation: Its name in ATen; "image" for the images.
        parents: The nodes that it depends on, each once.
        codes: Where in the image each of its numbers is (`seelike.models.positions`); None where that is not
            known.
        shape: Its shape.
        merges: Whether it merges numbers of several places.
        number: Its place in the order of operations.
    """

    operation: str
    parents: tuple["Node", ...]
    codes: Codes | None
    shape: torch.Size
    merges: bool
    number: int

    def ancestors(self) -> set["Node"]:
        """All nodes that it depends on."""
        found: set[Node] = set()
        left = list(self.parents)
        while left:
            node = left.pop()
            if node not in found:
                found.add(node)
                left += node.parents
        return found


@dataclass(frozen=True)
class Event:
    """A tensor at a place in the network that can be read again.

    Attributes:
        module: Path of the module.
        side: Its "output" or first "input"; or of an addition in its forward the "left" or "right" operand or the
            "sum".
        call: Which of the module's calls, or of its additions, in one forward pass, from 0.
        time: When it was there.
        node: What made it.
        kind: Class of the module.
    """

    module: str
    side: Side
    call: int
    time: int
    node: Node
    kind: str


@dataclass(frozen=True)
class Addition:
    """An addition of two tensors that depend on the image."""

    module: str
    call: int
    left: Event
    right: Event
    sum: Event
    inside: tuple[tuple[str, int], ...]  # the modules that run, from the outermost, and which of their calls


@dataclass(frozen=True)
class Attention:
    """A softmax of attention: of each query over the keys.

    Attributes:
        module: Path of the innermost module that runs it.
        call: Which of the module's softmaxes it is, from 0.
        inside: The modules that run.
        weights: Shape of the softmax, `[images, heads, queries, keys]`, or `[images * heads, queries, keys]`.
        queries: Where the queries are, along their axis.
        keys: Where the keys are.
        output: What it gives, one vector for each head and query.
        plain: Whether the values are summed with the softmax as it is.
    """

    module: str
    call: int
    inside: tuple[tuple[str, int], ...]
    weights: tuple[int, ...]
    queries: Codes | None
    keys: Codes | None
    output: Node
    plain: bool

    @property
    def images_apart(self) -> bool:
        """Whether images have an axis of their own."""
        return len(self.weights) > 3 and self.weights[0] == IMAGES

    @property
    def heads(self) -> int | None:
        """How many heads there are; None where the first axes are something else, as windows."""
        *before, _, _ = self.weights
        together = math.prod(before)
        one_axis = len(before) == 1 or before[0] == 1
        return together // IMAGES if (self.images_apart or one_axis) and together % IMAGES == 0 else None


@dataclass
class Trace:
    """What happened in one forward pass of images of this shape."""

    images: torch.Size
    events: list[Event] = field(default_factory=list)
    additions: list[Addition] = field(default_factory=list)
    attentions: list[Attention] = field(default_factory=list)
    calls: dict[tuple[str, int], tuple[int, int]] = field(
        default_factory=dict
    )  # begin and end of each module's call
    softmaxed: set[Node] = field(default_factory=set)
    tokens: list[str] = field(default_factory=list)  # names of parameters that tokens begin as
    output: Any = None

    def event(self, module: str, side: Side, call: int) -> Event | None:
        """The tensor at a place; None where none that depends on the image was there."""
        if side in ("output", "input"):
            key = (module, side, call)
            return next((each for each in self.events if (each.module, each.side, each.call) == key), None)
        for addition in self.additions:
            if (addition.module, addition.call) == (module, call):
                return {"left": addition.left, "right": addition.right, "sum": addition.sum}[side]
        return None

    def node(self, module: str, side: Side, call: int) -> Node | None:
        """What made the tensor at a place."""
        event = self.event(module, side, call)
        return event.node if event else None


class _Operations(TorchDispatchMode):
    """Makes a node of each operation."""

    def __init__(
        self,
        on_attention: Callable[[str, Any, Tensor], None],
        on_product: Callable[[Tensor, Tensor, Tensor], None],
    ) -> None:
        super().__init__()
        self._on_product = on_product
        self.nodes: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self.tokens: WeakIdKeyDictionary = WeakIdKeyDictionary()  # codes of tokens that begin as parameters
        self.count = 0
        self._on_attention = on_attention

    def node_of(self, tensor: Any) -> Node | None:
        return self.nodes.get(tensor) if isinstance(tensor, Tensor) else None

    def codes_of(self, tensor: Tensor) -> Codes | None:
        node = self.nodes.get(tensor)
        return node.codes if node is not None else self.tokens.get(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and make nodes of what it made."""
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        name = name.rstrip("_") if name != "_" else name
        given = list(_tensors([*args, *kwargs.values()]))
        parents = tuple(dict.fromkeys(node for tensor in given if (node := self.nodes.get(tensor)) is not None))
        known = parents or any(tensor in self.tokens for tensor in given)
        before = list(args)
        made = func(*args, **kwargs)
        if not known:
            return made
        outputs = list(_tensors([made]))
        if not outputs:
            return made
        self.count += 1
        if name == "copy":
            codes = [self.codes_of(args[1])]
            codes = [None if codes[0] is None else codes[0].expand(args[1].shape).expand(outputs[0].shape)]
        else:
            codes = positions.follow(name, before, kwargs, outputs, self.codes_of)
        if not parents:
            for output, each in zip(outputs, codes, strict=False):
                if each is not None and output.is_floating_point():
                    self.tokens[output] = each
            return made
        merges = _merges(name, before, self.codes_of)
        if name in ("select", "slice") and outputs[0].numel() == args[0].numel():
            name = "view"  # of all that there is
        for output, each in zip(outputs, codes, strict=False):
            if output.is_floating_point() or output.is_complex():
                each = None if each is None else positions.collapsed(each)
                node = Node(name, parents, each, output.shape, merges, self.count)
                self.nodes[output] = node
                if func._schema.is_mutable and output._is_view() and output._base is not None:
                    self._into_base(output, node)
        if name in SOFTMAXES or name.startswith("_scaled_dot_product"):
            self._on_attention(name, before, outputs[0])
        elif name == "bmm":
            self._on_product(before[0], before[1], outputs[0])
        return made

    def _into_base(self, view: Tensor, node: Node) -> None:
        """What is written into a part of a tensor is in the whole."""
        base = view._base
        assert base is not None
        old = self.nodes.get(base)
        parents = (node,) if old is None else (old, node)
        codes = None
        if base.is_contiguous() and node.codes is not None:
            codes = torch.full((1,), positions.NOWHERE).expand(base.shape) if old is None else old.codes
            if codes is not None:
                codes = codes.expand(base.shape).contiguous().clone()
                place = torch.as_strided(
                    codes, view.shape, view.stride(), view.storage_offset() - base.storage_offset()
                )
                place.copy_(node.codes.expand(view.shape))
                codes = positions.collapsed(codes)
        self.nodes[base] = Node("copy", parents, codes, base.shape, False, self.count)


def _tensors(given: Any) -> Iterator[Tensor]:
    for each in given:
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, list | tuple):
            yield from _tensors(each)


SOFTMAXES = {"_softmax", "_safe_softmax"}
# What leaves attention as it is on its way to the values.
_KEEPS = positions.VIEWS - {"permute", "transpose", "t"} | {"native_dropout"}


def _merges(name: str, args: Sequence[Any], codes_of: Callable[[Tensor], Codes | None]) -> bool:
    """Whether an operation makes numbers of several places into one."""
    if name in positions.MOVES or name == "copy":
        return False
    if name in positions.CONVOLUTIONS:
        return any(size > 1 for size in args[1].shape[2:]) or _varies(codes_of(args[0]), 1)
    if name in positions.PRODUCTS:
        left, right = (codes_of(args[place]) for place in positions.PRODUCTS[name])
        return _varies(left, -1) or (right is not None and right.ndim > 1 and _varies(right, -2))
    if name.startswith("_scaled_dot_product"):
        return True
    if name in positions.POOLS | positions.RESAMPLINGS or name.startswith(
        ("upsample_", "lstm", "mkldnn_rnn", "_fft")
    ):
        return True
    if name in positions.REDUCTIONS and isinstance(args[0], Tensor):
        axes = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else range(args[0].ndim)
        return any(_varies(codes_of(args[0]), axis) for axis in axes)
    return False


def _varies(codes: Codes | None, axis: int) -> bool:
    return codes is not None and codes.shape[axis] > 1


ADDITIONS = {
    Tensor.add,
    Tensor.add_,
    Tensor.__add__,
    Tensor.__radd__,
    Tensor.__iadd__,
    torch.add,
    Tensor.addcmul,
    Tensor.addcmul_,
    torch.addcmul,
}


def operands(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Tensor, Tensor] | None:
    """Give the two tensors that a call of PyTorch adds, as it adds them; None where it adds something else.

    That is one that is no tensor, one of another shape, or vectors, which hold no image beside another.

    Example:
        >>> operands(torch.add, (torch.ones(1, 2), torch.ones(1, 2)), {"alpha": 3})
        (tensor([[1., 1.]]), tensor([[3., 3.]]))
    """
    if func in (Tensor.addcmul, Tensor.addcmul_, torch.addcmul):
        left, first, second = args[:3]
        right = kwargs.get("value", 1) * (first * second)
    else:
        left = args[0] if args else kwargs.get("input")
        right = args[1] if len(args) > 1 else kwargs.get("other")
        alpha = args[2] if len(args) > 2 else kwargs.get("alpha", 1)
        if isinstance(right, Tensor) and alpha != 1:
            right = alpha * right
    if not (isinstance(left, Tensor) and isinstance(right, Tensor)) or left.shape != right.shape:
        return None
    return (left, right) if left.ndim > 1 else None


class Running:
    """Which modules run, from the outermost, and which of their calls."""

    def __init__(self) -> None:
        """Start outside of all modules."""
        self.stack: list[tuple[str, int]] = []
        self._calls: Counter[str] = Counter()

    def enter(self, path: str) -> int:
        """Note that a module begins, and tell which of its calls this is."""
        call = self._calls[path]
        self._calls[path] += 1
        self.stack.append((path, call))
        return call

    def leave(self) -> tuple[str, int]:
        """Note that the innermost module ends, and tell which it was."""
        return self.stack.pop()

    @contextmanager
    def through(self, model: nn.Module, paths: Iterable[str] | None = None) -> Iterator[None]:
        """Follow the modules of a network, or only some of them, by hooks."""
        modules = dict(model.named_modules(remove_duplicate=paths is None))
        with ExitStack() as hooks:
            for path in modules if paths is None else paths:
                hooks.callback(modules[path].register_forward_pre_hook(partial(self._on_enter, path)).remove)
                hooks.callback(modules[path].register_forward_hook(self._on_leave).remove)
            yield

    def _on_enter(self, path: str, _: nn.Module, inputs: Any) -> None:
        self.enter(path)

    def _on_leave(self, _: nn.Module, inputs: Any, output: Any) -> None:
        self.leave()

    @property
    def innermost(self) -> str:
        """Path of the module whose own forward runs."""
        return self.stack[-1][0] if self.stack else ""


class Additions(TorchFunctionMode):
    """Hands on each addition as the network writes it, with what does it."""

    def __init__(self, on_addition: Callable[[Tensor, Tensor, Callable[[], Tensor]], Tensor]) -> None:
        """Call `on_addition` with both operands and what adds them."""
        super().__init__()
        self._on_addition = on_addition

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See a call of one of PyTorch's functions."""
        kwargs = kwargs or {}
        if func in ADDITIONS and (both := operands(func, args, kwargs)) is not None:
            return self._on_addition(*both, partial(func, *args, **kwargs))
        return func(*args, **kwargs)


def trace(model: nn.Module, images: Tensor) -> Trace:
    """Run a network once, and write down what happens."""
    result, running = Trace(images.shape), Running()
    clock = iter(range(10**9))
    additions: Counter[str] = Counter()
    softmaxes: Counter[str] = Counter()

    def on_attention(name: str, args: Any, output: Tensor) -> None:
        module = running.innermost
        call = softmaxes[module]
        softmaxes[module] += 1
        node = operations.nodes[output]
        inside = tuple(running.stack)
        if name not in SOFTMAXES:
            q, _, v = args[:3]
            keys = operations.codes_of(v)
            keys = None if keys is None else keys[..., :1]
            queries = operations.codes_of(q)
            queries = None if queries is None else queries[..., :1]
            weights = (*q.shape[:-1], v.shape[-2])
            result.attentions.append(Attention(module, call, inside, weights, queries, keys, node, True))
        elif args[1] in (-1, args[0].ndim - 1) and args[0].ndim > 2:
            softmaxed[node] = (module, call, inside)

    def on_product(left: Tensor, right: Tensor, output: Tensor) -> None:
        """A softmax times values, or values times its transpose: attention by hand."""
        if (found := softmax_behind(left, _KEEPS)) is not None:
            keys = operations.codes_of(right)
        elif (found := softmax_behind(right, _KEEPS | positions.VIEWS)) is not None and found[1]:
            keys = operations.codes_of(left)
            keys = None if keys is None else keys.mT
            codes = operations.codes_of(right)
            if codes is None or codes.shape[-2] > 1:
                return
        else:
            return
        node, plain = found
        module, call, inside = softmaxed.pop(node)
        keys = None if keys is None else keys[..., :1]
        queries = None if node.codes is None else node.codes[..., :1]
        result.softmaxed.add(node)
        made = operations.nodes[output]
        result.attentions.append(Attention(module, call, inside, tuple(node.shape), queries, keys, made, plain))

    def softmax_behind(tensor: Tensor, keeps: set[str]) -> tuple[Node, bool] | None:
        """The softmax that a tensor comes from, and whether nothing but a dropout or a view comes between."""
        node = operations.nodes.get(tensor) if softmaxed else None
        plain = True
        while node is not None and node not in softmaxed:
            if len(node.parents) != 1 or node.number < min(each.number for each in softmaxed):
                return None
            plain = plain and node.operation in keeps
            (node,) = node.parents
        return None if node is None else (node, plain)

    softmaxed: dict[Node, tuple[str, int, tuple[tuple[str, int], ...]]] = {}
    operations = _Operations(on_attention, on_product)

    def event(module: str, side: Side, call: int, tensor: Any, kind: str) -> Event | None:
        node = operations.node_of(tensor)
        return None if node is None else Event(module, side, call, next(clock), node, kind)

    def on_addition(left: Tensor, right: Tensor, add: Callable[[], Tensor]) -> Tensor:
        module = running.innermost
        call = additions[module]
        additions[module] += 1
        one, other = event(module, "left", call, left, ""), event(module, "right", call, right, "")
        total = add()
        both = event(module, "sum", call, total, "")
        if one is not None and other is not None and both is not None:
            result.additions.append(Addition(module, call, one, other, both, tuple(running.stack)))
        return total

    def on_enter(path: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        call = running.enter(path)
        given = event(path, "input", call, inputs[0] if inputs else None, type(module).__name__)
        result.calls[path, call] = (next(clock), 0)
        if given is not None:
            result.events.append(given)

    def on_leave(path: str, module: nn.Module, _: Any, output: Any) -> None:
        path, call = running.leave()
        given = event(path, "output", call, output, type(module).__name__)
        begin, _ = result.calls[path, call]
        result.calls[path, call] = (begin, next(clock))
        if given is not None:
            result.events.append(given)

    names: list[str] = []
    for name, parameter in model.named_parameters():
        if "token" in name.rpartition(".")[2] and parameter.ndim > 1:
            codes = torch.full((1,) * parameter.ndim, positions.FIRST_TOKEN - len(names), device="cpu")
            operations.tokens[parameter] = codes
            names.append(name)
    with ExitStack() as hooks:
        for path, module in model.named_modules():
            hooks.callback(module.register_forward_pre_hook(partial(on_enter, path)).remove)
            hooks.callback(module.register_forward_hook(partial(on_leave, path)).remove)
        operations.nodes[images] = Node(
            "image", (), positions.of_pixels(*images.shape[2:]), images.shape, False, 0
        )
        with torch.inference_mode(False), torch.no_grad(), operations, Additions(on_addition):
            result.output = model(images)
    result.softmaxed |= softmaxed.keys()
    result.tokens = names
    return result
