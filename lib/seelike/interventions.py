"""Interventions: change one thing inside a trained network while it runs, and train nothing.

A block of a Transformer is, with x for the stream of tokens, [t, d] of one image,

    x <- x + sum_h o_h(norm(x)) W_h             x <- x + mlp(norm(x))

where o_h, [t, width], is what head h sums of its values, and W_h are the rows of the projection that belong to it.
Heads stand side by side in what the projection gets, [t, heads * width]. Four things can be changed:

    without heads      o_h <- 0, or o_h <- mean of o_h over images, for each token by itself
    shuffled patches   x_i <- x_s(i) for the spatial tokens that enter the first block, s a permutation;
                       or the same of pieces of the image, before the network sees it
    without skip       x <- sum_h o_h(norm(x)) W_h, then x <- mlp(norm(x)), in one block
    replaced CLS       x_CLS <- another token, at one depth of the stream

The two shuffles differ by the position embedding, which is added in between. Let P move tokens as s does.
Attention without rotary or relative positions, norms and MLPs all have f(P x) = P f(x): what comes behind the
embedding does not know an order, and the CLS token gets the same from P x as from x. Of pieces of the image, P is
applied to the content alone, and each then stands at the place of another.

A mean keeps what is the same for all images, such as a bias that later layers count on, and takes away what
differs; zero takes away both. So only what a mean costs as well is a need of what differs between images.

Each is a context manager that hangs hooks on the network, and takes them off at its end, also after an error.
What runs inside (a forward pass, `seelike.models.read`, a measurement) sees the changed network.

Sources: Michel et al. (2019), Are sixteen heads really better than one?; Naseer et al. (2021), Intriguing
properties of Vision Transformers; Raghu et al. (2021), Section 6; Parodi et al. (2026), Zero-ablation overstates
register content dependence in DINO Vision Transformers.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from seelike.data import ImageSet
from seelike.errors import unknown_name
from seelike.models import Layer, places, read, residuals
from seelike.models.layers import structure
from seelike.models.measurable import input_size, require_measurable
from seelike.models.trace import Additions, Attention, Running
from seelike.streaming import accumulate
from seelike.streaming.moments import Moments


def mean_of_heads(
    model: nn.Module, images: ImageSet | Float[Tensor, "n channels height width"], *, batch_size: int = 64
) -> dict[int, Float64[Tensor, "tokens columns"]]:
    """Average what all heads sum of their values over images, for `without_heads`.

    Args:
        model: A network in evaluation mode.
        images: An image set, or prepared images, of the size that it will see afterwards.
        batch_size: Images in a forward pass.

    Returns:
        For each block by its number: the mean of each token, with the heads side by side.

    Raises:
        ValueError: The network has no heads that can be told apart; or as for `seelike.models.read`.

    Example:
        >>> from seelike.models import load
        >>> mean = mean_of_heads(load("tiny/vit_7x7"), torch.zeros(2, 1, 28, 28))
        >>> len(mean), mean[1].shape  # CLS and 49 patches, 4 heads of 16 columns
        (8, torch.Size([50, 64]))
    """
    require_measurable(model)
    layers = {block: layer for block, (layer, _) in _heads(model).items()}

    def moments(_: Layer, activation: Tensor) -> Moments:
        found = Moments()
        found.update(activation)
        return found

    def measure(batch: Tensor, first: int) -> dict[str, Moments]:
        return read(model, list(layers.values()), batch, moments)

    into = {layer.name: Moments() for layer in layers.values()}
    whole = accumulate(model, images, measure, into, batch_size=batch_size, what="means of heads")
    return {block: whole[layer.name].mean for block, layer in layers.items()}


@contextmanager
def without_heads(
    model: nn.Module,
    heads: Iterable[tuple[int, int]],
    mean: Mapping[int, Float[Tensor, "tokens columns"]] | None = None,
) -> Iterator[None]:
    """Take heads of attention out of a network: zero, or a mean, takes the place of what they sum of their values.

    Args:
        model: A network in evaluation mode.
        heads: Block and head of each: blocks count from 1, heads from 0, as in
            `seelike.attention.HeadDistances`. None at all changes nothing.
        mean: What takes the place, as `mean_of_heads` gives it; None for zero.

    Raises:
        ValueError: A block has no such head, or its heads do not go on side by side, as where they are mixed; or
            the network is in training mode. Inside: images of another size than those of the mean.

    Example:
        >>> from seelike.models import load
        >>> model, images = load("tiny/vit_7x7"), torch.ones(2, 1, 28, 28)
        >>> with without_heads(model, [(1, 0), (8, 3)]), torch.no_grad():
        ...     changed = model(images)
        >>> bool((changed != model(images)).any())
        True
    """
    require_measurable(model)
    chosen: dict[int, set[int]] = {}
    for block, head in heads:
        chosen.setdefault(block, set()).add(head)
    known = _heads(model) if chosen else {}
    with ExitStack() as hooks:
        for block, of_block in sorted(chosen.items()):
            if block not in known:
                raise ValueError(
                    f"Block {block} of {type(model).__name__} has no heads that can be told apart. Blocks that "
                    f"have: {', '.join(map(str, known))}."
                )
            layer, number = known[block]
            if not of_block <= set(range(number)):
                raise ValueError(
                    f"heads has {sorted(of_block)} of block {block}, whose heads are 0 to {number - 1}."
                )
            out = torch.tensor([head in of_block for head in range(number)])
            hooks.enter_context(_changing(model, layer, _without(out, None if mean is None else mean[block])))
        yield


def _without(out: Tensor, mean: Tensor | None) -> "Change":
    def change(x: Tensor) -> Tensor:
        columns = out.to(x.device).repeat_interleave(x.shape[-1] // len(out))
        if mean is None:
            return x.masked_fill(columns, 0)
        if x.shape[1:] != mean.shape:
            raise ValueError(
                f"The heads give {list(x.shape[1:])} for an image, where the mean is {list(mean.shape)}: it is of "
                "images of another size, or of another network."
            )
        return torch.where(columns, mean.to(x.device, x.dtype), x)

    return change


def shuffled_patches(
    images: Float[Tensor, "n channels height width"], rows: int, columns: int, order: Int64[Tensor, " pieces"]
) -> Float[Tensor, "n channels height width"]:
    """Cut images into pieces and put these together in another order, the same for all images.

    Args:
        images: Prepared images.
        rows: How many pieces are below each other.
        columns: How many are beside each other.
        order: Which piece comes to each place, counted row by row from 0.

    Raises:
        ValueError: The pieces would not be of one size, or the order is none of as many pieces.

    Example:
        >>> shuffled_patches(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 2, 2, torch.tensor([3, 1, 2, 0])).tolist()
        [[[[4.0, 2.0], [3.0, 1.0]]]]
    """
    n, channels, height, width = images.shape
    if rows < 1 or columns < 1 or height % rows or width % columns:
        raise ValueError(f"{rows} x {columns} pieces of {height} x {width} pixels are not of one size.")
    _require_order(order, rows * columns)
    pieces = images.reshape(n, channels, rows, height // rows, columns, width // columns)
    pieces = pieces.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)[:, order.to(images.device)]
    pieces = pieces.unflatten(1, (rows, columns)).permute(0, 3, 1, 4, 2, 5)
    return pieces.reshape(images.shape)


def _require_order(order: Tensor, number: int) -> None:
    if not torch.equal(order.sort().values.cpu(), torch.arange(number)):
        raise ValueError(f"order must have each of 0 to {number - 1} once; got {len(order)} numbers.")


@contextmanager
def shuffled_tokens(model: nn.Module, order: Int64[Tensor, " patches"]) -> Iterator[None]:
    """Shuffle the spatial tokens as they enter the first block, with the positions that they carry by then.

    CLS and registers stay. What asks for places inside (`seelike.models.places`, attention distances) follows each
    token to its new place in the order, and so still measures where in the image it is from.

    Args:
        model: A network in evaluation mode whose tokens lie on a grid, for images of the size that it is
            built for.
        order: Which patch comes to each place, counted row by row from 0.

    Raises:
        ValueError: What enters the first block is not tokens of one grid, or the order is none of as many; or the
            network is in training mode.

    Example:
        >>> from seelike.models import load
        >>> model, images = load("tiny/vit_7x7"), torch.rand(2, 1, 28, 28)
        >>> with shuffled_tokens(model, torch.randperm(49)), torch.no_grad():
        ...     shuffled = model(images)
        >>> torch.allclose(shuffled, model(images), atol=1e-5)  # without positions there is no order
        True
    """
    layer = _stream(model, 0)
    place = places(model, [layer], torch.empty(1, *input_size(model)))[layer.name]
    rows, columns = place.require_grid()
    if place.kind != "tokens" or place.channels != 2:
        raise ValueError(
            f"What enters the first block of {type(model).__name__} is {list(place.shape)} for an image; expected "
            "tokens [t, d]."
        )
    _require_order(order, rows * columns)
    tokens = torch.arange(place.num_tokens) if place.order is None else place.order
    spatial = tokens[len(place.prefix) :]
    whole = torch.arange(place.num_tokens)
    whole[spatial] = spatial[order.cpu()]

    def change(x: Tensor) -> Tensor:
        if x.shape[1] != len(whole):
            raise ValueError(
                f"There are {x.shape[1]} tokens, and the order is for {len(whole)}. Show images of the size that "
                "the network is built for."
            )
        return x[:, whole.to(x.device)]

    with _changing(model, layer, change):
        yield


@contextmanager
def without_skip(model: nn.Module, block: int) -> Iterator[None]:
    """Drop the skip connections of a block: of each of its additions only the branch goes on.

    The weights are those of the network that was trained with them. (`seelike.models.without_skips` is the block
    of a network that is trained without, as the paper's Figure 8 asks for.)

    Args:
        model: A network in evaluation mode, of any family: a ResNet's block has one addition.
        block: Number of the block, from 1.

    Raises:
        ValueError: The block has no skip connection, or its module runs several times; or the network is in
            training mode.

    Example:
        >>> from seelike.models import load
        >>> model, images = load("tiny/vit_7x7"), torch.ones(2, 1, 28, 28)
        >>> with without_skip(model, 8), torch.no_grad():
        ...     changed = model(images)
        >>> bool((changed != model(images)).any())
        True
    """
    require_measurable(model)
    every = residuals(model)
    skip_at = {each.addition[:2]: each.addition[2] for each in every if each.block == block}
    if not skip_at:
        having = ", ".join(str(number) for number in dict.fromkeys(each.block for each in every))
        raise ValueError(
            f"Block {block} of {type(model).__name__} has no skip connection. Blocks that have: {having}."
        )
    owners = list(dict.fromkeys(module for module, _ in skip_at))
    for owner in owners:
        _require_one_run(model, owner)
    running, seen = Running(), Counter[str]()

    def on_addition(left: Tensor, right: Tensor, add: Callable[[], Tensor]) -> Tensor:
        key = (running.innermost, seen[running.innermost])
        seen[running.innermost] += 1
        if key not in skip_at:
            return add()
        branch = right if skip_at[key] == "left" else left
        # Where it adds in place, others may hold what it adds to, and that is what has to change.
        branch = branch.clone() if branch is left else branch
        total = add()
        return total.copy_(branch) if total is left else branch.to(total.dtype)

    def begin(*_: Any) -> None:
        running.stack.clear()  # a pass before may have ended with an error

    def count_anew(owner: str, *_: Any) -> None:
        seen[owner] = 0

    # Additions count for the innermost module: so the children of owners must be known to run, too.
    modules = dict(model.named_modules())
    children = [
        f"{owner}.{name}".removeprefix(".") for owner in owners for name, _ in modules[owner].named_children()
    ]
    with ExitStack() as hooks:
        hooks.callback(model.register_forward_pre_hook(begin).remove)
        for owner in owners:
            hooks.callback(modules[owner].register_forward_pre_hook(partial(count_anew, owner)).remove)
        hooks.enter_context(running.through(model, dict.fromkeys([*owners, *children])))
        hooks.enter_context(Additions(on_addition))
        yield


@contextmanager
def replaced_cls(model: nn.Module, after: int, token: Float[Tensor, "#b d"]) -> Iterator[None]:
    """Put another token in the place of the CLS token, at one depth.

    Args:
        model: A network in evaluation mode with a CLS token.
        after: Number of the block behind which it is replaced; 0 for what enters the first block.
        token: One for all images, `[1, d]`, or one for each image of a batch, `[b, d]`, such as the CLS tokens of
            other images at this depth: `cls_tokens` gives them.

    Raises:
        UnknownName: There is no such block.
        ValueError: There is no CLS token at this depth, or the network is in training mode. Inside: the shape of
            the token is not that of the CLS tokens. With a token for each image nothing else may be shown, as
            `seelike.models.places` does.

    Example:
        >>> from seelike.models import load
        >>> model, images = load("tiny/vit_7x7"), torch.rand(2, 1, 28, 28)
        >>> (own,) = cls_tokens(model, images, [8])
        >>> with replaced_cls(model, 8, own.flip(0)), torch.no_grad():
        ...     swapped = model(images)
        >>> torch.allclose(swapped, model(images).flip(0), atol=1e-5)  # the head sees nothing else
        True
    """
    layer = _cls_layer(model, after)

    def change(x: Tensor) -> Tensor:
        if token.shape[1:] != x.shape[2:] or len(token) not in (1, len(x)):
            raise ValueError(
                f"token is of shape {list(token.shape)}; expected [1, {x.shape[2]}], or [{len(x)}, {x.shape[2]}] "
                f"for this batch of {len(x)} images."
            )
        first = torch.arange(x.shape[1], device=x.device)[:, None] == 0
        return torch.where(first, token[:, None].to(x.device, x.dtype), x)

    with _changing(model, layer, change):
        yield


def cls_tokens(
    model: nn.Module, images: Float[Tensor, "n channels height width"], depths: Sequence[int]
) -> list[Float[Tensor, "n d"]]:
    """Read the CLS tokens at some depths in one pass, as `replaced_cls` takes them.

    Args:
        model: A network in evaluation mode with a CLS token.
        images: Prepared images.
        depths: Numbers of the blocks behind which they are read; 0 for what enters the first block.

    Raises:
        UnknownName: There is no such block.
        ValueError: There is no CLS token at some depth, or the network is in training mode.

    Example:
        >>> from seelike.models import load
        >>> first, last = cls_tokens(load("tiny/vit_7x7"), torch.zeros(2, 1, 28, 28), [0, 8])
        >>> first.shape, last.shape
        (torch.Size([2, 64]), torch.Size([2, 64]))
    """
    layers = [_cls_layer(model, after) for after in depths]
    return list(read(model, layers, images, lambda _, x: x[:, 0].clone()).values())


def _cls_layer(model: nn.Module, after: int) -> Layer:
    layer = _stream(model, after)
    place = places(model, [layer], torch.empty(1, *input_size(model)))[layer.name]
    if not place.has_cls or place.kind != "tokens" or place.channels != 2 or place.order is not None:
        raise ValueError(
            f"{type(model).__name__} has no CLS token at {layer.name!r}: tokens without a place there are "
            f"{list(place.prefix)}. Expected tokens [t, d] of which the first is CLS."
        )
    return layer


def _stream(model: nn.Module, after: int) -> Layer:
    """What goes on from a block, or what enters the first, as a layer that can be changed."""
    require_measurable(model)
    name = f"block {after}" if after else "embedding"
    named = {layer.name: layer for layer in structure(model).layers}
    if name not in named:
        raise unknown_name("layer", name, [each for each in named if re.fullmatch(r"embedding|block \d+", each)])
    # What a module behind it gets is not all that goes on, unless it is the first block.
    if named[name].side != "output" and not (after == 0 and named[name].side == "input"):
        raise ValueError(
            f"What {name!r} of {type(model).__name__} hands on is the output of no module: no hook has it."
        )
    _require_one_run(model, named[name].module)
    return named[name]


def _heads(model: nn.Module) -> dict[int, tuple[Layer, int]]:
    """For each block: where all of its heads stand side by side, and how many they are."""
    seen = structure(model)
    of_blocks: dict[int, list[Attention]] = {}
    for name, attention in seen.attentions:
        if (number := re.fullmatch(r"block (\d+)", name)) is not None:
            of_blocks.setdefault(int(number[1]), []).append(attention)
    found = {}
    for block, attentions in of_blocks.items():
        layer, heads = seen.after_attention(attentions[0]), attentions[0].heads
        if len(attentions) == 1 and attentions[0].plain and layer is not None and heads is not None:
            _require_one_run(model, layer.module)
            found[block] = (Layer(f"block {block}/heads", "heads", block, 0.0, layer.module, layer.side), heads)
    if not found:
        why = "its heads are mixed, lie in windows, or do not go on side by side" if of_blocks else "it has none"
        raise ValueError(
            f"The attention heads of {type(model).__name__} cannot be taken out one by one: {why}. Expected "
            "blocks in which the outputs of all heads enter one projection side by side."
        )
    return found


Change = Callable[[Tensor], Tensor]


@contextmanager
def _changing(model: nn.Module, layer: Layer, change: Change) -> Iterator[None]:
    """Change what a module gets or gives, by a hook."""
    module = model.get_submodule(layer.module)

    def on_input(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (change(inputs[0]), *inputs[1:])

    def on_output(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return change(output)

    if layer.side == "input":
        hook = module.register_forward_pre_hook(on_input)
    else:
        hook = module.register_forward_hook(on_output)
    try:
        yield
    finally:
        hook.remove()


def _require_one_run(model: nn.Module, path: str) -> None:
    if structure(model).module(f"{path}/call 2") is not None:
        raise ValueError(
            f"Module {path!r} of {type(model).__name__} runs several times in one pass, for several blocks. What "
            "is changed in it would be changed in all of them."
        )
