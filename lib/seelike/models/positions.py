"""Where in the image each number of an activation is, followed through the operations of a forward pass.

Each number of an activation gets a code, and a code is one of

    y, x       it is of the place with this centre, in pixels of the image as the network gets it
    a token    it is of a token that begins as a parameter: CLS, a register, the distillation token
    NOWHERE    it is of no single place: a constant, or what was averaged over the whole image
    MIXED      it is of all places at once, and which ones cannot be told, as inside token mixing

The pixels of the image begin with their own centres. What only moves numbers (a view, a permutation, a window cut
out, a patch merged) is done to the codes just as to the numbers. A convolution or pooling with stride s, padding p
and kernel k puts its output o at the input's place o s - p + (k - 1) / 2. A product keeps the places of the rows
that it multiplies by a matrix of weights; of two activations it keeps those of the left one's rows, which for
attention are the queries. What adds or multiplies number by number keeps the place that its arguments agree on.

So an order of tokens, a grid that is not square, channels in the last axis, windows or a CLS token are not assumed
from a shape: they are what comes out. An operation that is not known here gives MIXED, and no place is guessed.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

NOWHERE, MIXED = -1, -2
# Tokens that begin as parameters have the codes from here down, in the order in which they are met.
FIRST_TOKEN = -10
# Centres are kept in 1 / 1024 pixels, y times the base plus x; padding has centres outside of the image.
_UNIT, _OUTSIDE, _BASE = 1024, 2**25, 2**27

Codes = Int64[Tensor, "..."]

# Operations that change no number, but at most where it is kept.
VIEWS = {
    "view",
    "_unsafe_view",
    "_reshape_alias",
    "reshape",
    "permute",
    "transpose",
    "t",
    "expand",
    "squeeze",
    "unsqueeze",
    "clone",
    "detach",
    "alias",
    "contiguous",
    "_to_copy",
    "lift_fresh",
}
# Operations that only move numbers: they are done to the codes as they are.
MOVES = VIEWS | {
    "slice",
    "select",
    "split",
    "split_with_sizes",
    "unbind",
    "chunk",
    "cat",
    "stack",
    "roll",
    "flip",
    "index",
    "index_select",
    "gather",
    "unfold",
    "constant_pad_nd",
    "repeat",
    "pixel_shuffle",
    "pixel_unshuffle",
    "channel_shuffle",
    "native_channel_shuffle",
    "as_strided",
    "narrow",
    "rot90",
    "reflection_pad2d",
    "replication_pad2d",
    "im2col",
    "repeat_interleave",
    "diagonal",
    "tril",
    "triu",
}
CONVOLUTIONS = {"convolution", "_convolution", "convolution_overrideable"}
# Products, and which of their arguments are multiplied.
PRODUCTS = {"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "linear": (0, 1), "matmul": (0, 1)}
REDUCTIONS = {
    "mean",
    "sum",
    "amax",
    "amin",
    "max",
    "min",
    "var",
    "std",
    "logsumexp",
    "linalg_vector_norm",
    "norm",
}
POOLS = {"max_pool2d_with_indices", "max_pool2d", "avg_pool2d", "mkldnn_max_pool2d"}
RESAMPLINGS = {"_adaptive_avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "mkldnn_adaptive_avg_pool2d"}


def of_pixels(height: int, width: int) -> Int64[Tensor, "1 1 height width"]:
    """Give the codes of the pixels of images `[n, channels, height, width]`: each its own centre."""
    rows = torch.arange(height, dtype=torch.float64, device="cpu") + 0.5
    columns = torch.arange(width, dtype=torch.float64, device="cpu") + 0.5
    return encode(rows[:, None], columns)[None, None]


def encode(y: Tensor, x: Tensor) -> Codes:
    """Make the codes of places by their centres, in pixels."""
    rows, columns = ((each * _UNIT).round().long() + _OUTSIDE for each in (y, x))
    return rows * _BASE + columns


def decode(codes: Codes) -> tuple[Tensor, Tensor]:
    """Give the centres, in pixels, of codes that are places."""
    return (codes // _BASE - _OUTSIDE).double() / _UNIT, (codes % _BASE - _OUTSIDE).double() / _UNIT


def collapsed(codes: Codes) -> Codes:
    """Keep one of each axis along which all codes are the same."""
    for axis in range(codes.ndim):
        if codes.shape[axis] > 1:
            first = codes.narrow(axis, 0, 1)
            if codes.stride(axis) == 0 or bool((codes == first).all()):
                codes = first
    return codes


def follow(
    name: str, args: Sequence[Any], options: dict[str, Any], outputs: Sequence[Tensor], codes_of: Any
) -> list[Codes | None]:
    """Give the codes of what an operation made.

    Args:
        name: The operation, as ATen calls it, without overload or underscore at the end.
        args: What it got.
        options: What it got by name.
        outputs: The tensors that it made.
        codes_of: Gives the codes of a tensor, with an axis of 1 where all are the same; None where it has none.

    Returns:
        The codes of each output, None where it has none.
    """
    if (
        name == "constant_pad_nd"
        and (padded := _padded(codes_of(args[0]), args[0].shape, args[1], outputs[0])) is not None
    ):
        return [padded]
    if name in MOVES:
        moved = _moved(name, args, options, codes_of)
        if moved is None:
            return [_nothing(output, MIXED) for output in outputs]
        return [collapsed(each) for each in moved]
    output = outputs[0]
    if name in PRODUCTS:
        left, right = (args[place] for place in PRODUCTS[name])
        if name == "linear":
            return [_product(codes_of(left), left.shape, None, right.shape, output)]
        return [_product(codes_of(left), left.shape, codes_of(right), right.shape, output)]
    if name.startswith("_scaled_dot_product"):
        queries = codes_of(args[0])
        return [None if queries is None else collapsed(queries[..., :1])]
    if name in CONVOLUTIONS:
        return [_convolved(codes_of(args[0]), args[0].shape, args[1].shape, args[3:8], output)]
    if name in POOLS:
        kernel = _pair(args[1])
        stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
        padding = _pair(args[3]) if len(args) > 3 else (0, 0)
        return [_pooled(codes_of(args[0]), args[0].shape, kernel, stride, padding, output)] * len(outputs)
    if name in RESAMPLINGS or name.startswith(("upsample_", "_upsample_")):
        return [_resampled(codes_of(args[0]), args[0].shape, output)] * len(outputs)
    if name in REDUCTIONS:
        return [_reduced(codes_of(args[0]), args[0].shape, output)] * len(outputs)
    return [_number_by_number(args, output, codes_of), *([None] * (len(outputs) - 1))]


def _nothing(output: Tensor, code: int) -> Codes:
    return torch.full((1,) * output.ndim, code, dtype=torch.int64, device="cpu")


def _moved(name: str, args: Sequence[Any], options: dict[str, Any], codes_of: Any) -> list[Codes] | None:
    def as_codes(given: Any) -> Any:
        if isinstance(given, list | tuple):
            return (
                type(given)(map(as_codes, given)) if type(given) in (list, tuple) else list(map(as_codes, given))
            )
        if not isinstance(given, Tensor):
            return given
        codes = codes_of(given)
        if codes is not None:
            return codes.expand(given.shape)
        if given.is_floating_point() or given.is_complex():
            return torch.full((1,), NOWHERE, dtype=torch.int64, device="cpu").expand(given.shape)
        return given.cpu() if given.device.type != "meta" else None

    operation = getattr(torch.ops.aten, name)
    given, named = as_codes(list(args)), {key: value for key, value in options.items() if key == "dim"}
    if name == "constant_pad_nd":
        given = [*given[:2], NOWHERE]
    if name == "as_strided" and tuple(given[1]) == tuple(given[0].shape):
        return [given[0]]
    if name in ("clone", "_to_copy", "contiguous", "lift_fresh", "detach", "alias"):
        return [given[0]]
    if name in ("view", "_unsafe_view", "_reshape_alias", "reshape"):
        return [given[0].reshape(given[1])]
    if name == "im2col" and any(given[3]):  # Padding would look like a place.
        return None
    if name in ("reflection_pad2d", "replication_pad2d", "pixel_shuffle", "pixel_unshuffle", "im2col"):
        given[0] = given[0].double()  # exact for integers of this size
        return [operation(*given).long()]
    # torch does not have every operation for whole numbers, as codes are. Where it has not, places are not known.
    try:
        made = operation(*given, **named)
    except (RuntimeError, TypeError, IndexError, NotImplementedError):
        return None
    return list(made) if isinstance(made, list | tuple) else [made]


def _product(
    left: Codes | None, left_shape: Sequence[int], right: Codes | None, right_shape: Sequence[int], output: Tensor
) -> Codes | None:
    """Rows times columns: the place of a row, else of a column, that is of one place; else what is merged."""
    if left is not None and left.shape[-1] == 1 and bool((left != MIXED).any()) and bool((left != NOWHERE).any()):
        return left
    if right is not None and right.ndim > 1 and right.shape[-2] == 1 and bool((right != MIXED).any()):
        return right if right.ndim == output.ndim else None
    if left is None:
        return None if right is None else _nothing(output, MIXED)
    return collapsed(_merged(left, -1))


def _merged(codes: Codes, axis: int) -> Codes:
    """Where several places are merged into one number: in their middle, if each number merges others; else MIXED.

    What merges all places alike (the tokens of token mixing) is of no one of them.
    """
    if codes.shape[axis] == 1:
        return codes
    middle = _middle(codes, axis)
    several = collapsed(middle)
    return middle if several.numel() > 1 else torch.full_like(middle, MIXED)


def _middle(codes: Codes, axis: int | tuple[int, ...]) -> Codes:
    y, x = decode(codes.clamp(min=0))
    placed = (codes >= 0).double()
    count = placed.sum(dim=axis, keepdim=True)
    y, x = ((each * placed).sum(dim=axis, keepdim=True) / count.clamp(min=1) for each in (y, x))
    # What is of no place counts for none; of tokens alone, it is the token where they are one.
    others = codes.amax(dim=axis, keepdim=True)
    return torch.where(count > 0, encode(y, x), others)


def _reduced(codes: Codes | None, shape: Sequence[int], output: Tensor) -> Codes | None:
    if codes is None:
        return None
    gone = [axis for axis in range(len(shape)) if axis >= output.ndim or output.shape[axis] != shape[axis]]
    if output.ndim < len(shape):  # Not kept: which axes are gone follows from the sizes that are left.
        gone = _missing_axes(shape, output.shape)
    varying = tuple(axis for axis in gone if codes.shape[axis] > 1)
    if varying:
        middle = _middle(codes, varying)
        codes = middle if collapsed(middle).numel() > 1 else torch.full_like(middle, NOWHERE)
    if output.ndim < len(shape):
        codes = codes.reshape([size for axis, size in enumerate(codes.shape) if axis not in gone])
    return collapsed(codes)


def _missing_axes(shape: Sequence[int], left: Sequence[int]) -> list[int]:
    gone, place = [], 0
    for axis, size in enumerate(shape):
        remaining = len(shape) - axis
        if place < len(left) and left[place] == size and remaining >= len(left) - place:
            place += 1
        else:
            gone.append(axis)
    return gone


def _pair(given: Any) -> tuple[int, int]:
    values = list(given) if isinstance(given, list | tuple) else [given]
    return (values[0], values[-1])


def _axes_of_map(codes: Codes, shape: Sequence[int]) -> tuple[Tensor, Tensor] | None:
    """The y of each row and the x of each column of a map; None where its places are no grid."""
    if codes.ndim != 4 or codes.shape[0] != 1 or bool((codes < 0).any()):
        return None
    if codes.shape[1] != 1:
        codes = _middle(codes, 1)
    y, x = decode(codes.expand(1, 1, *shape[2:])[0, 0])
    if bool((y != y[:, :1]).any()) or bool((x != x[:1]).any()):
        return None
    return y[:, 0], x[0]


def _at(places: Tensor, index: Tensor) -> Tensor:
    """Read places at indices that may lie between or beyond them."""
    if len(places) == 1:
        return places.expand(len(index)).clone()
    below = index.floor().clamp(0, len(places) - 2).long()
    return places[below] + (index - below) * (places[below + 1] - places[below])


def _of_map(codes: Codes | None, shape: Sequence[int], output: Tensor, index: Any) -> Codes | None:
    if codes is None:
        return None
    axes = _axes_of_map(codes, shape)
    if axes is None:
        same = codes.ndim == output.ndim and output.shape[2:] == torch.Size(shape[2:]) and codes.shape[1] == 1
        if same:
            return codes
        flat = collapsed(codes)
        return flat if flat.numel() == 1 else _nothing(output, MIXED)
    placed = []
    for axis, places in enumerate(axes):
        outputs = torch.arange(output.shape[2 + axis], dtype=torch.float64, device="cpu")
        placed.append(_at(places, index(axis, outputs)))
    return encode(placed[0][:, None], placed[1])[None, None]


def _padded(codes: Codes | None, shape: Sequence[int], by: Sequence[int], output: Tensor) -> Codes | None:
    """What is put around a map lies around the image; None for other paddings, whose places are none."""
    if codes is None or len(by) > 4 or codes.ndim != 4 or _axes_of_map(codes, shape) is None:
        return None
    before = [by[2] if len(by) > 2 else 0, by[0]]
    return _of_map(codes, shape, output, lambda axis, o: o - before[axis])


def _convolved(
    codes: Codes | None, shape: Sequence[int], kernel: Sequence[int], how: Sequence[Any], output: Tensor
) -> Codes | None:
    stride, padding, dilation, transposed, _ = how
    if codes is None:
        return None
    if output.ndim != 4:
        # Along one axis: what moves nothing keeps the places; a mixture of tokens, as channels, is one.
        if codes.shape[1] == 1 and output.shape[2:] == torch.Size(shape[2:]):
            return codes
        return collapsed(_merged(codes, 1)) if codes.shape[1] > 1 and kernel[-1] == 1 else _nothing(output, MIXED)

    def index(axis: int, o: Tensor) -> Tensor:
        reach = dilation[axis % len(dilation)] * (kernel[2 + axis] - 1) / 2
        s, p = stride[axis % len(stride)], padding[axis % len(padding)]
        return (o + p - reach) / s if transposed else o * s - p + reach

    if codes.shape[1] > 1 and _axes_of_map(codes, shape) is None:
        return collapsed(_merged(codes, 1))
    return _of_map(codes, shape, output, index)


def _pooled(
    codes: Codes | None, shape: Sequence[int], kernel: Any, stride: Any, padding: Any, output: Tensor
) -> Codes | None:
    if codes is not None and output.shape[2:].numel() == 1 < torch.Size(shape[2:]).numel():
        return _nothing(output, NOWHERE)
    return _of_map(codes, shape, output, lambda axis, o: o * stride[axis] - padding[axis] + (kernel[axis] - 1) / 2)


def _resampled(codes: Codes | None, shape: Sequence[int], output: Tensor) -> Codes | None:
    if codes is None or output.ndim != 4:
        return None if codes is None else _nothing(output, MIXED)
    if output.shape[2:].numel() == 1 < torch.Size(shape[2:]).numel():
        return _nothing(output, NOWHERE)
    return _of_map(
        codes, shape, output, lambda axis, o: (o + 0.5) * (shape[2 + axis] / output.shape[2 + axis]) - 0.5
    )


def _number_by_number(args: Sequence[Any], output: Tensor, codes_of: Any) -> Codes | None:
    """What has the shape of its arguments keeps the place that they agree on."""
    found: Codes | None = None
    flat = [each for arg in args for each in (arg if isinstance(arg, list | tuple) else [arg])]
    for tensor in flat:
        codes = codes_of(tensor) if isinstance(tensor, Tensor) else None
        if codes is None:
            continue
        if codes.ndim > output.ndim or not _broadcasts(tensor.shape, output.shape):
            # Row by row, as a recurrent layer: the rows keep their places.
            if tensor.ndim == output.ndim and tensor.shape[:-1] == output.shape[:-1] and codes.shape[-1] == 1:
                pass
            else:
                codes = _nothing(output, MIXED)
        codes = codes.reshape((1,) * (output.ndim - codes.ndim) + tuple(codes.shape))
        found = codes if found is None else _agreed(found, codes)
    return None if found is None else collapsed(found)


def _broadcasts(shape: Sequence[int], to: Sequence[int]) -> bool:
    return all(a in (1, b) for a, b in zip(reversed(shape), reversed(to), strict=False))


def _agreed(a: Codes, b: Codes) -> Codes:
    """The place of two numbers that become one. A place counts more than a token, and a token more than nothing.

    Of two places the one counts that is told more finely: a map that was enlarged, or what was asked for by fewer
    queries, is added to a stream and not the other way round. Of equally fine ones it is the first.
    """
    if a.numel() == 1 and b.numel() == 1 and int(a) == int(b):
        return a
    if len(b[b >= 0].unique()) > len(a[a >= 0].unique()):
        a, b = b, a
    a, b = torch.broadcast_tensors(a, b)
    rank_a, rank_b = (
        torch.where(each >= 0, 3, torch.where(each <= FIRST_TOKEN, 2, (each == MIXED).long())) for each in (a, b)
    )
    return torch.where(rank_b > rank_a, b, a)
