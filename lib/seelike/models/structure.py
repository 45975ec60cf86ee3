"""Blocks and residual connections of any network, found in a trace of one forward pass.

An addition of two tensors that both depend on the image is **residual** where one of them, the skip, is handed on
to it

- by identity: it, or a view of it, is what the other, the branch, was computed from; or
- by a projection (convolutions, products with weights, norms, pooling, but no activation) of what the branch was
  computed from, while the branch has an activation in between. Of two that have none, neither is a skip: so are
  the halves of a rotation of queries, and branches that can be merged into one convolution.

Position embeddings and attention biases do not depend on the image, or do not begin with the stream of the block.
The **stream** of a block is what goes into it, and every residual sum in it. A skip must be of that stream, up to
views, norms and activations, or be handed on as it is in the block's own `forward`.

A **block** is the outermost module that adds so in its own `forward`, unless modules inside it do so twice or
more, which then are the blocks. What adds to vectors after the last block of tokens or maps is the head, and no
block. What lies beside a block in the same list of modules, and is built of as much, is a block without residual
connections.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from seelike.models import positions
from seelike.models.trace import Addition, Event, Node, Trace

# What hands on numbers as they are.
IDENTITY = positions.VIEWS | {"copy"}
_NORMS = {
    "native_batch_norm",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    "miopen_batch_norm",
    "batch_norm",
    "native_layer_norm",
    "native_group_norm",
    "_fused_rms_norm",
    "rms_norm",
    "layer_norm",
    "group_norm",
}
_WEIGHTED = positions.CONVOLUTIONS | positions.PRODUCTS.keys()
_POOLING = positions.POOLS | positions.RESAMPLINGS | {"mean", "amax", "upsample_nearest2d", "upsample_bilinear2d"}
# With one argument that depends on the image, as with a scale of parameters.
_ARITHMETIC = {"mul", "div", "add", "sub", "neg", "rsub"}
_PROJECTION = IDENTITY | _NORMS | _WEIGHTED | _POOLING | _ARITHMETIC | {"constant_pad_nd"}
_LINEAR = _PROJECTION | positions.MOVES

Kind = Literal["attention", "token mixing", "mlp", "branch"]


@dataclass(eq=False)
class Added:
    """A residual addition.

    Attributes:
        addition: What was seen of it.
        skip: The operand that is the skip.
        branch: The other one.
        origin: What the branch was computed from.
        inside: The nodes between that and the branch, with the branch.
        identity: Whether the skip is handed on as it is.
        kind: "attention", "mlp" (each place by itself), "token mixing", or "branch", which is alone in its block.
    """

    addition: Addition
    skip: Event
    branch: Event
    origin: Node
    inside: set[Node]
    identity: bool
    kind: Kind = "branch"


@dataclass(eq=False)
class Block:
    """One run of a block: the module, which of its calls, when it ran, and what it adds."""

    module: str
    call: int
    begin: int
    end: int
    added: list[Added] = field(default_factory=list)
    input: Event | None = None
    output: Event | None = None


def blocks(trace: Trace, model: nn.Module) -> list[Block]:
    """Find the blocks of a network, in the order in which they run."""
    candidates = [added for addition in trace.additions if (added := _candidate(addition, model)) is not None]
    inputs = {(event.module, event.call): event for event in trace.events if event.side == "input"}
    outputs = {(event.module, event.call): event for event in trace.events if event.side == "output"}
    # What each module that adds itself has in its stream, with what is added inside it.
    owners: dict[tuple[str, int], list[Added]] = {}
    own_additions: dict[tuple[str, int], int] = {}
    for owner in dict.fromkeys(each.addition.inside[-1] for each in candidates if len(each.addition.inside) > 1):
        within = [each for each in candidates if owner in each.addition.inside]
        kept = _of_stream(within, owner, inputs.get(owner))
        own = [each for each in kept if each.addition.inside[-1] == owner]
        if own:
            owners[owner], own_additions[owner] = kept, len(own)
    found, taken = [], set()
    for added in candidates:
        around = [module for module in added.addition.inside[1:] if module in owners]
        module = next(
            (module for module in around if not _has_blocks(module, owners, own_additions, candidates)), None
        )
        if module is None and len(added.addition.inside) == 1:
            # Written in the network's own forward: each addition is a block by itself.
            found.append(
                Block(
                    added.addition.module, added.addition.call, added.skip.time, added.addition.sum.time, [added]
                )
            )
        elif module is not None and module not in taken:
            taken.add(module)
            begin, end = trace.calls[module]
            found.append(Block(*module, begin, end, owners[module], inputs.get(module), outputs.get(module)))
    found += _beside(found, trace, model, inputs, outputs)
    found.sort(key=lambda block: block.begin)
    while found and _is_of_vectors(found[-1]) and not all(map(_is_of_vectors, found)):
        found.pop()  # the head
    for block in found:
        for added in block.added:
            added.kind = _kind(added, block, trace)
    return found


def _has_blocks(
    module: tuple[str, int],
    owners: dict[tuple[str, int], list[Added]],
    own_additions: dict[tuple[str, int], int],
    candidates: Sequence[Added],
) -> bool:
    inner = {
        other
        for added in candidates
        if module in added.addition.inside
        for other in added.addition.inside[added.addition.inside.index(module) + 1 :]
    }
    return any(own_additions.get(other, 0) > 1 for other in inner if other in owners)


def chain(node: Node, through: Iterable[str]) -> Iterator[Node]:
    """Go back from a node as long as there is one way back, through some operations."""
    yield node
    while node.operation in through and len(node.parents) == 1:
        (node,) = node.parents
        yield node


def same(a: Node, b: Node) -> bool:
    """Say whether one is the other, or a view of it."""
    return a is b or a in chain(b, IDENTITY) or b in chain(a, IDENTITY)


def pointwise_back(node: Node) -> Iterator[Node]:
    """Go back from a node through views, norms and activations: what has one number for each number."""
    yield node
    while len(node.parents) == 1 and not node.merges and node.operation not in _WEIGHTED:
        (parent,) = node.parents
        if parent.shape.numel() != node.shape.numel():
            return
        node = parent
        yield node


def _candidate(addition: Addition, model: nn.Module) -> Added | None:
    both = (addition.left, addition.right)
    ancestors = {id(event): event.node.ancestors() for event in both}
    found: list[Added] = []
    for skip, branch in (both, both[::-1]):
        identity = True
        for node in chain(skip.node, _PROJECTION):
            if node in ancestors[id(branch)]:
                inside = _between(node, branch.node, ancestors[id(branch)])
                linear = all(each.operation in _LINEAR and not _multiplies(each) for each in inside)
                if (identity and not (linear and _can_be_merged(addition, model))) or not (identity or linear):
                    found.append(Added(addition, skip, branch, node, inside, identity))
                break
            identity = identity and node.operation in IDENTITY
    # Handed on as it is counts more than a projection.
    found.sort(key=lambda added: not added.identity)
    return found[0] if found else None


def _is_of_vectors(block: Block) -> bool:
    return block.output is not None and len(block.output.node.shape) == 2


def _multiplies(node: Node) -> bool:
    return node.operation in {"mul", "div", *positions.PRODUCTS} and len(node.parents) > 1


def _can_be_merged(addition: Addition, model: nn.Module) -> bool:
    """Whether the module is of those whose branches are merged into one convolution after training."""
    module = model.get_submodule(addition.module)
    return any(hasattr(module, name) for name in ("fuse", "reparameterize", "switch_to_deploy"))


def _between(origin: Node, branch: Node, ancestors: set[Node]) -> set[Node]:
    """The nodes on the ways from one node to another, without the first."""
    reached = {origin}
    for node in sorted({*ancestors, branch}, key=lambda node: node.number):
        if node.number > origin.number and any(parent in reached for parent in node.parents):
            reached.add(node)
    return reached - {origin}


def _of_stream(within: Sequence[Added], owner: tuple[str, int], given: Event | None) -> list[Added]:
    """Keep what is added to a module's stream, and what it adds itself to something that it hands on as it is."""
    stream = set() if given is None else {given.node}
    kept = []
    for added in within:
        own = added.addition.inside[-1] == owner and added.identity
        if own or any(any(same(node, each) for each in stream) for node in pointwise_back(added.origin)):
            kept.append(added)
            stream.add(added.addition.sum.node)
    return kept


def _beside(
    found: Sequence[Block],
    trace: Trace,
    model: nn.Module,
    inputs: dict[tuple[str, int], Event],
    outputs: dict[tuple[str, int], Event],
) -> list[Block]:
    """Modules beside blocks in the same list, and built of as much, that add nothing."""
    patterns = {_pattern(block.module) for block in found if re.search(r"\d", block.module)}
    classes = {type(model.get_submodule(block.module)) for block in found}
    taken = {(block.module, block.call) for block in found}
    paths = [block.module for block in found]
    missing = []
    for (path, call), (begin, end) in trace.calls.items():
        if (path, call) in taken or _pattern(path) not in patterns or (path, call) not in outputs:
            continue
        if any(other.startswith(f"{path}.") or path.startswith(f"{other}.") for other in paths):
            continue
        module = model.get_submodule(path)
        weights = [each for each in module.modules() if getattr(getattr(each, "weight", None), "ndim", 0) > 1]
        if type(module) in classes or len(weights) > 1:
            missing.append(Block(path, call, begin, end, [], inputs.get((path, call)), outputs[path, call]))
    return missing


def _pattern(path: str) -> str:
    return re.sub(r"\d+", "*", path)


def _kind(added: Added, block: Block, trace: Trace) -> Kind:
    if any(node.operation.startswith("_scaled_dot_product") or node in trace.softmaxed for node in added.inside):
        return "attention"
    if len(block.added) == 1:
        return "branch"
    return "token mixing" if any(node.merges for node in added.inside) else "mlp"
