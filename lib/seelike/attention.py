"""Attention distance: how far, in pixels, each attention head looks (Figures 3, 4, C.5 and C.6).

A head gives query token q the attention a_qk to key token k: a softmax over all keys, so sum_k a_qk = 1. Spatial
tokens lie on a grid of patches, and d_qk is the distance in pixels between the centres of the patches of q and k.
CLS and registers, the prefix tokens, have no place on the grid: they are left out as queries and as keys. For each
image and each spatial query, with sums over k in the spatial keys S or in the prefix P,

    renormalised    sum_S a_qk d_qk / sum_S a_qk      of what stays on the grid, how far it reaches
    unrenormalised  sum_S a_qk d_qk                   attention to the prefix counts as distance 0
    prefix mass     sum_P a_qk

and each is averaged over the queries, then over images, with its standard error over images. Attention that is the
same everywhere gives the mean distance of all pairs of patches: the line to compare heads with.

No attention map is stored. From queries, keys and the scale of the softmax, s_qk = scale <q, k>, and

    sum_S a_qk d_qk / sum_S a_qk = sum_S exp(s_qk - m_q) d_qk / sum_S exp(s_qk - m_q),   m_q = max_S s_qk,

where the spatial keys are enough. The prefix comes back by its odds: with L for the logarithm of a sum of
exponentials, prefix mass = sigmoid(L_P(s) - L_S(s)). Nothing over- or underflows, even where a head looks at
almost nothing but the prefix. Scores are made a tile at a time: a few images, a few heads, or a few queries of
one head, never more than 2^19 numbers on a CPU and 2^24 elsewhere (or one row of scores, if that is more).

Networks keep their fused attention, which never has a map. Queries and keys are what `q_norm` and `k_norm` of
timm's attention hand on (views of the output of `qkv` where there is no such norm).

Sources: Dosovitskiy et al. (2021), An image is worth 16x16 words, Figure 7; Raghu et al. (2021), Section 4.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from timm.models import vision_transformer
from torch import Tensor, nn

from seelike.data import ImageSet
from seelike.errors import unknown_name
from seelike.models import Layer, read
from seelike.streaming import Images, accumulate
from seelike.streaming.moments import ImageMoments, Moments

# Scores at a time: 2 MB of float32 stay in the cache of a CPU core, and 64 MB keep a GPU busy.
_TILE_ON_CPU = 2**19
_TILE_ELSEWHERE = 2**24
# Rounding to bfloat16 moves the sum of a row of attention by 0.4 % at most.
_ROW_SUM_TOLERANCE = 0.01
# What is averaged over images.
_RENORMALIZED, _UNRENORMALIZED, _PREFIX_MASS = range(3)


def uniform_distance(grid: int | tuple[int, int], patch_size: int | tuple[int, int]) -> float:
    """Attention distance of a head that looks at all patches alike: the reference line of Figure 3.

    It is the mean distance over all pairs of patches, those of a patch with itself among them.

    Args:
        grid: Rows and columns of patches; one number for a square.
        patch_size: Height and width of a patch in pixels; one number for a square.

    Returns:
        Pixels.

    Raises:
        ValueError: A number is below 1.

    Example:
        >>> round(uniform_distance(14, 16), 2)
        116.49
        >>> uniform_distance((1, 2), 16)
        8.0
    """
    (rows, columns), (height, width) = _pair("grid", grid), _pair("patch_size", patch_size)
    # By offset, since each occurs in many pairs: (rows - dy) (columns - dx) of them, and those mirrored.
    dy, dx = np.arange(1 - rows, rows), np.arange(1 - columns, columns)
    pairs = np.outer(rows - np.abs(dy), columns - np.abs(dx))
    distance = np.hypot(height * dy[:, None], width * dx[None, :])
    return float((pairs * distance).sum() / (rows * columns) ** 2)


def _pair(name: str, given: int | tuple[int, int]) -> tuple[int, int]:
    first, second = (given, given) if isinstance(given, int) else given
    if first < 1 or second < 1:
        raise ValueError(f"{name} is {given}; expected numbers of 1 or more.")
    return first, second


def _offsets(
    grid: tuple[int, int], queries: slice, device: torch.device
) -> tuple[Int64[Tensor, "queries keys"], Int64[Tensor, "queries keys"]]:
    """Rows down and columns right from some query patches to all key patches."""
    patches = torch.arange(grid[0] * grid[1], device=device)
    row, column = patches // grid[1], patches % grid[1]
    return row - row[queries, None], column - column[queries, None]


def _tiles(
    images: int, heads: int, tokens: int, device: torch.device
) -> Iterator[tuple[slice, list[tuple[slice, slice]]]]:
    """Cut `[images, heads, queries]` so that the scores of a piece with all keys are one tile at most.

    Gives the queries of some pieces with the images and heads of each.
    """
    tile = _TILE_ON_CPU if device.type == "cpu" else _TILE_ELSEWHERE
    some_queries = max(1, min(tokens, tile // tokens))
    some_heads = max(1, min(heads, tile // tokens**2))
    some_images = max(1, tile // (heads * tokens**2))
    pieces = [
        (slice(image, image + some_images), slice(head, head + some_heads))
        for image in range(0, images, some_images)
        for head in range(0, heads, some_heads)
    ]
    for query in range(0, tokens, some_queries):
        yield slice(query, query + some_queries), pieces


def _exponentials(
    q: Float[Tensor, "b heads queries d"], k: Float[Tensor, "b heads keys d"]
) -> tuple[Float[Tensor, "b heads queries keys"], Float[Tensor, "b heads queries"]]:
    """exp(s - m) and m, the largest score of each query."""
    scores = q @ k.mT
    largest = scores.amax(dim=-1, keepdim=True)
    return scores.sub_(largest).exp_(), largest.squeeze(-1)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _double(x: Tensor) -> Float64[Tensor, "..."]:
    # Apple's GPUs have no float64.
    return x.cpu().double() if x.device.type == "mps" else x.double()


@dataclass(frozen=True, eq=False)
class HeadDistances:
    """Attention distance of each head of one block, on average over images, with standard errors.

    Attributes:
        distance: Mean attention distance in pixels; renormalised over the spatial keys if that was asked for.
        distance_error: Its standard error.
        unrenormalized: The same with attention to the prefix tokens counted as distance 0.
        unrenormalized_error: Its standard error.
        prefix_mass: Mean share of a spatial query's attention that goes to the prefix tokens.
        prefix_mass_error: Its standard error.
        uniform: Distance of attention that is the same everywhere on the grid, in pixels.
        images: How many images there were.

    Standard errors are over images, NaN for a single one.
    """

    distance: Float64[Tensor, " heads"]
    distance_error: Float64[Tensor, " heads"]
    unrenormalized: Float64[Tensor, " heads"]
    unrenormalized_error: Float64[Tensor, " heads"]
    prefix_mass: Float64[Tensor, " heads"]
    prefix_mass_error: Float64[Tensor, " heads"]
    uniform: float
    images: int


class AttentionDistance(ImageMoments):
    """Attention distance of the heads of one block (Figures 3, 4, C.5 and C.6).

    Two accumulators that saw different images can be merged, and the state can be saved and loaded. An update
    that fails changes nothing.

    Args:
        grid: Rows and columns of patches; one number for a square.
        patch_size: Height and width of a patch in pixels; one number for a square.
        num_prefix_tokens: How many of the first tokens are CLS or registers.
        renormalize: Whether `distance` is renormalised over the spatial keys. The unrenormalised value is in
            the result in any case.

    Raises:
        ValueError: A number is too small.

    Example:
        Two patches of 16 pixels side by side, and a CLS token that gets half of their attention:

        >>> heads = AttentionDistance(grid=(1, 2), patch_size=16, num_prefix_tokens=1)
        >>> attention = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.25, 0.25]])
        >>> heads.update(attention[None, None])  # one image, one head
        >>> result = heads.compute()
        >>> result.distance, result.unrenormalized
        (tensor([4.], dtype=torch.float64), tensor([2.], dtype=torch.float64))
        >>> result.prefix_mass
        tensor([0.5000], dtype=torch.float64)
        >>> result.uniform
        8.0
    """

    _settings = ("grid", "patch_size", "num_prefix_tokens", "renormalize")

    def __init__(
        self,
        grid: int | tuple[int, int],
        patch_size: int | tuple[int, int],
        num_prefix_tokens: int,
        renormalize: bool = True,
    ) -> None:
        """Start without images."""
        self.grid = _pair("grid", grid)
        self.patch_size = _pair("patch_size", patch_size)
        if num_prefix_tokens < 0:
            raise ValueError(f"num_prefix_tokens is {num_prefix_tokens}; expected 0 or more.")
        self.num_prefix_tokens = num_prefix_tokens
        self.renormalize = renormalize
        super().__init__()

    def update(self, attn: Float[Tensor, "b heads t t"]) -> None:
        """Add images by their attention maps.

        Args:
            attn: Attention after the softmax, of any floating dtype: rows are queries, columns keys, the prefix
                tokens first and then the patches row by row.

        Raises:
            ValueError: The tokens are not those of the grid and the prefix, the number of heads is not that of
                before, rows do not sum to 1, or renormalisation is asked for and some query looks at the prefix
                alone.

        Example:
            >>> heads = AttentionDistance((1, 2), 16, num_prefix_tokens=0)
            >>> heads.update(torch.eye(2)[None, None])
            >>> heads.compute().distance
            tensor([0.], dtype=torch.float64)
        """
        self._check_tokens("attn", attn)
        values = _measure_maps(attn.detach(), self.grid, self.patch_size, self.num_prefix_tokens)
        if self.renormalize and bool(values[:, _RENORMALIZED].isnan().any()):
            raise ValueError(
                "Some query gives all of its attention to the prefix tokens, so that there is nothing to "
                "renormalise. Give queries and keys to update_qk, or use renormalize=False."
            )
        self._add_values(values)

    def update_qk(self, q: Float[Tensor, "b heads t d"], k: Float[Tensor, "b heads t d"], scale: float) -> None:
        """Add images by their queries and keys, without an attention map.

        Args:
            q: Queries of all tokens, of any floating dtype: the prefix tokens first, then the patches row by
                row. A view of something larger is not copied.
            k: Keys of the same tokens.
            scale: What the softmax takes is scale times the inner product; mostly 1 / sqrt(d).

        Raises:
            ValueError: The shapes differ from each other, the tokens are not those of the grid and the prefix,
                the number of heads is not that of before, or there are NaN or infinite scores.

        Example:
            >>> heads = AttentionDistance((1, 2), 16, num_prefix_tokens=0)
            >>> q = k = torch.zeros(3, 1, 2, 4)  # all scores are the same
            >>> heads.update_qk(q, k, scale=0.5)
            >>> heads.compute().distance
            tensor([8.], dtype=torch.float64)
        """
        if q.shape != k.shape:
            raise ValueError(
                f"got queries of shape {list(q.shape)} and keys of shape {list(k.shape)}; expected two of the "
                "same shape [b, heads, t, d]."
            )
        self._check_tokens("q", q)
        values = _measure_queries_and_keys(
            q.detach(), k.detach(), scale, self.grid, self.patch_size, self.num_prefix_tokens
        )
        _require_finite(values)
        self._add_values(values)

    def _check_tokens(self, name: str, given: Tensor) -> None:
        rows, columns = self.grid
        expected = self.num_prefix_tokens + rows * columns
        if given.ndim != 4 or given.shape[2] != expected or (name == "attn" and given.shape[3] != expected):
            last = expected if name == "attn" else "d"
            raise ValueError(
                f"{name} is of shape {list(given.shape)}; expected [b, heads, {expected}, {last}], for "
                f"{self.num_prefix_tokens} prefix tokens and a grid of {rows} x {columns} patches."
            )

    def _describe(self, sums: Mapping[str, Any]) -> str:
        return f"{sums['mean'].shape[1]} heads"

    def compute(self) -> HeadDistances:
        """Compute means and standard errors from all images so far.

        Raises:
            RuntimeError: There were no images.

        Example:
            >>> heads = AttentionDistance((1, 2), 16, num_prefix_tokens=0)
            >>> heads.update(torch.stack([torch.eye(2), 1 - torch.eye(2)])[:, None])
            >>> result = heads.compute()
            >>> result.distance, result.distance_error
            (tensor([8.], dtype=torch.float64), tensor([8.], dtype=torch.float64))
        """
        mean, error = self.mean, self.standard_error
        distance = _RENORMALIZED if self.renormalize else _UNRENORMALIZED
        return HeadDistances(
            distance=mean[distance],
            distance_error=error[distance],
            unrenormalized=mean[_UNRENORMALIZED],
            unrenormalized_error=error[_UNRENORMALIZED],
            prefix_mass=mean[_PREFIX_MASS],
            prefix_mass_error=error[_PREFIX_MASS],
            uniform=uniform_distance(self.grid, self.patch_size),
            images=self.images,
        )


def _require_finite(values: Tensor) -> None:
    if not bool(values.isfinite().all()):
        raise ValueError(
            "There are NaN or infinite scores. Do queries or keys overflow their dtype? Run the network in "
            "float32 or bfloat16."
        )


# Of some images, heads and queries, with their distances to all keys: the three values of each query.
_OfTile = Callable[[slice, slice, slice, Tensor], tuple[Tensor, Tensor, Tensor]]


def _average_queries(
    like: Tensor, grid: tuple[int, int], patch_size: tuple[int, int], of_tile: _OfTile
) -> Float64[Tensor, "b 3 heads"]:
    """Average what is measured tile by tile over the queries of each image and head of `like`."""
    images, heads, tokens = *like.shape[:2], grid[0] * grid[1]
    values = _double(like.new_zeros(images, 3, heads))
    for queries, pieces in _tiles(images, heads, tokens, like.device):
        down, right = _offsets(grid, queries, like.device)
        dtype = _wide(like)
        distances = torch.hypot((down * patch_size[0]).to(dtype), (right * patch_size[1]).to(dtype))
        for of_images, of_heads in pieces:
            for i, value in enumerate(of_tile(of_images, of_heads, queries, distances)):
                values[of_images, i, of_heads] += value.sum(dim=-1) / tokens
    return values


def _measure_maps(
    attn: Float[Tensor, "b heads t t"], grid: tuple[int, int], patch_size: tuple[int, int], prefix: int
) -> Float64[Tensor, "b 3 heads"]:
    def of_tile(images: slice, heads: slice, queries: slice, distances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = attn[images, heads, prefix:][:, :, queries].to(_wide(attn))
        on_prefix = _double(rows[..., :prefix].sum(dim=-1))
        on_grid = _double(rows[..., prefix:].sum(dim=-1))
        off = (on_grid + on_prefix - 1).abs()
        if not bool((off <= _ROW_SUM_TOLERANCE).all()):
            raise ValueError(
                f"attn has rows that do not sum to 1: some are off by {float(off.max()):.3g}. Give attention "
                "after the softmax and before dropout, with the keys along the last axis."
            )
        unrenormalized = _double((rows[..., prefix:] * distances).sum(dim=-1))
        return unrenormalized / on_grid, unrenormalized, on_prefix

    return _average_queries(attn, grid, patch_size, of_tile)


def _measure_queries_and_keys(
    q: Float[Tensor, "b heads t d"],
    k: Float[Tensor, "b heads t d"],
    scale: float,
    grid: tuple[int, int],
    patch_size: tuple[int, int],
    prefix: int,
) -> Float64[Tensor, "b 3 heads"]:
    def of_tile(images: slice, heads: slice, queries: slice, distances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query = q[images, heads, prefix:][:, :, queries].to(_wide(q)) * scale
        key = k[images, heads].to(_wide(q))
        weights, largest = _exponentials(query, key[:, :, prefix:])
        total = _double(weights.sum(dim=-1))
        renormalized = _double(weights.mul_(distances).sum(dim=-1)) / total
        # Few numbers, so float64 costs nothing. Without a prefix this is -inf, and the mass 0.
        on_prefix = _double(query @ key[:, :, :prefix].mT).logsumexp(dim=-1)
        log_odds = on_prefix - (_double(largest) + total.log())
        return renormalized, renormalized * torch.sigmoid(-log_odds), torch.sigmoid(log_odds)

    return _average_queries(q, grid, patch_size, of_tile)


def attention_distances(
    model: nn.Module,
    images: ImageSet | Float[Tensor, "n channels height width"],
    *,
    batch_size: int = 64,
    cache: str | Path | None = None,
) -> dict[str, HeadDistances]:
    """Measure the attention distance of all heads of a ViT (Figures 3, 4, C.5 and C.6).

    The network runs as it is, with fused attention if that is on. Queries and keys are read as they pass.

    Args:
        model: A VisionTransformer of timm with standard attention, in evaluation mode. Images are taken to its
            device and its dtype.
        images: An image set, prepared as the network's configuration asks, or prepared images.
        batch_size: Most images in a forward pass. The result does not depend on it.
        cache: Folder to keep the state in, so that a call that was stopped goes on where it was.

    Returns:
        The distances of each block, by its name: "block 1", "block 2", and so on. Pixels are those of the images
        as the network gets them.

    Raises:
        TypeError: `images` is neither an image set nor a tensor.
        ValueError: The network is in training mode, is no VisionTransformer of timm, or has another attention in
            some block, whose map is not a softmax of queries and keys alone: rotary positions, relative position
            bias, masks, talking heads, differential attention.
        RuntimeError: Some attention did not fire, as in a compiled network.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_vit").eval()
        >>> distances = attention_distances(model, torch.zeros(2, 3, 160, 160))
        >>> list(distances)[:2], distances["block 1"].distance.shape
        (['block 1', 'block 2'], torch.Size([2]))
        >>> round(distances["block 1"].uniform, 2)
        82.99
    """
    attentions = _attentions(model)
    geometry = _geometry(model, images)

    def empty() -> dict[str, AttentionDistance]:
        return {block: AttentionDistance(*geometry) for block in attentions}

    def measure(batch: Tensor, first: int) -> dict[str, AttentionDistance]:
        distances = empty()
        _read_queries_and_keys(model, attentions, batch, lambda block, *qk: distances[block].update_qk(*qk))
        return distances

    whole = accumulate(
        model, images, measure, empty(), batch_size=batch_size, what="attention distances", cache=cache
    )
    return {block: distance.compute() for block, distance in whole.items()}


def mean_attention(
    model: nn.Module,
    images: ImageSet | Float[Tensor, "n channels height width"],
    block: int,
    *,
    batch_size: int = 64,
    cache: str | Path | None = None,
) -> Float64[Tensor, "heads down right"]:
    """Average the attention of each head of a block by the offset from query to key.

    It is the picture behind an attention distance: the sum of this attention times the length of its offset is the
    (renormalised) distance. A head that looks at the patch on its left is one point to the left of the middle.

    Args:
        model: A VisionTransformer of timm with standard attention, in evaluation mode.
        images: An image set, prepared as the network's configuration asks, or prepared images.
        block: Number of the block, from 1.
        batch_size: Most images in a forward pass. The result does not depend on it.
        cache: Folder to keep the state in, so that a call that was stopped goes on where it was.

    Returns:
        `[heads, 2 rows - 1, 2 columns - 1]`: attention of each head, renormalised over the spatial keys and
        averaged over spatial queries and images.
        It sums to 1. `[:, rows - 1, columns - 1]` is the attention to the own patch, and indices grow with the
        row and the column of the key. Offsets to beyond the image count as 0.

    Raises:
        UnknownName: There is no such block.
        TypeError, ValueError, RuntimeError: As for `attention_distances`.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_vit").eval()
        >>> attention = mean_attention(model, torch.zeros(2, 3, 160, 160), block=1)
        >>> attention.shape, attention.sum(dim=(1, 2))
        (torch.Size([2, 19, 19]), tensor([1.0000, 1.0000], dtype=torch.float64))
    """
    attentions = _attentions(model)
    name = f"block {block}"
    if name not in attentions:
        raise unknown_name("block", name, attentions)
    grid, _, prefix = _geometry(model, images)

    def measure(batch: Tensor, first: int) -> dict[str, Moments]:
        moments = Moments()

        def by_offset(_: str, q: Tensor, k: Tensor, scale: float) -> None:
            values = _by_offset(q[:, :, prefix:], k[:, :, prefix:], scale, grid)
            _require_finite(values)
            moments.update(values.cpu())

        _read_queries_and_keys(model, {name: attentions[name]}, batch, by_offset)
        return {name: moments}

    whole = accumulate(
        model,
        images,
        measure,
        {name: Moments()},
        batch_size=batch_size,
        what="mean attention",
        settings=name,
        cache=cache,
    )
    return whole[name].mean


def _by_offset(
    q: Float[Tensor, "b heads tokens d"], k: Float[Tensor, "b heads tokens d"], scale: float, grid: tuple[int, int]
) -> Float64[Tensor, "b heads down right"]:
    images, heads, tokens, _ = q.shape
    rows, columns = 2 * grid[0] - 1, 2 * grid[1] - 1
    result = _double(q.new_zeros(images, heads, rows * columns))
    for queries, pieces in _tiles(images, heads, tokens, q.device):
        down, right = _offsets(grid, queries, result.device)
        offset = ((down + grid[0] - 1) * columns + right + grid[1] - 1).flatten()
        for piece in pieces:
            query = q[piece][:, :, queries].to(_wide(q)) * scale
            weights, _ = _exponentials(query, k[piece].to(_wide(q)))
            attention = weights.div_(weights.sum(dim=-1, keepdim=True))
            result[piece].index_add_(2, offset, _double(attention).flatten(2) / tokens)
    return result.unflatten(2, (rows, columns))


def _attentions(model: nn.Module) -> dict[str, str]:
    """Find the attention of each block: paths of modules by the names of the blocks."""
    if not isinstance(model, vision_transformer.VisionTransformer):
        raise ValueError(
            f"The attention of {type(model).__name__} cannot be read; expected a VisionTransformer of timm, not "
            "wrapped or compiled. For other networks give queries and keys to AttentionDistance.update_qk."
        )
    found: dict[str, str] = {}
    for number, (path, block) in enumerate(model.blocks.named_children(), start=1):
        attention = getattr(block, "attn", None)
        # The exact class: a subclass may do something else with queries and keys.
        if type(attention) is not vision_transformer.Attention:
            kind = type(block if attention is None else attention)
            raise ValueError(
                f"The attention of block {number} cannot be read: it is a {kind.__module__}.{kind.__name__}, "
                "where timm's standard Attention is expected, a softmax of queries and keys alone. Give what it "
                "softmaxes to AttentionDistance: queries and keys to update_qk, or attention maps to update."
            )
        found[f"block {number}"] = f"blocks.{path}.attn"
    return found


def _geometry(model: Any, images: Any) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Grid and patch size, for the size that the images have once they are prepared, and the prefix tokens."""
    height, width = Images(images, model)[:1].shape[2:]
    # Hybrids cut patches from feature maps: what counts is how much of the image a token stands for.
    grid = model.patch_embed.dynamic_feat_size((height, width))
    return tuple(grid), tuple(model.patch_embed.feat_ratio(as_scalar=False)), model.num_prefix_tokens


def _read_queries_and_keys(
    model: nn.Module,
    attentions: Mapping[str, str],
    batch: Float[Tensor, "b channels height width"],
    use: Callable[[str, Tensor, Tensor, float], None],
) -> None:
    """Run the network, and call `use` with block, queries, keys and scale as soon as there are any."""
    queries: dict[str, Tensor] = {}
    # The norms hand on exactly what the softmax takes, also with hooks on them, and nothing is normalised twice.
    blocks = {
        Layer(f"{block}/{kind}", kind, None, 0.0, f"{path}.{norm}"): block
        for block, path in attentions.items()
        for kind, norm in (("queries", "q_norm"), ("keys", "k_norm"))
    }

    def reduce(layer: Layer, activation: Tensor) -> None:
        block = blocks[layer]
        if layer.kind == "queries":
            # Only until the keys follow: nothing happens in between that could overwrite them.
            queries[block] = activation
            return
        attention: Any = model.get_submodule(attentions[block])
        # Fused attention has a scale of its own and never sees the module's.
        scale = activation.shape[-1] ** -0.5 if attention.fused_attn else attention.scale
        try:
            use(block, queries.pop(block), activation, scale)
        except ValueError as error:
            raise ValueError(f"Attention of {block}: {error}") from error

    with ExitStack() as hooks:
        for path in attentions.values():
            attention = model.get_submodule(path)
            hooks.callback(attention.register_forward_pre_hook(_refuse_masks, with_kwargs=True).remove)
        read(model, list(blocks), batch, reduce)


def _refuse_masks(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
    given = [*inputs[1:], *(value for name, value in named.items() if name != "x")]
    if any(isinstance(value, Tensor) or value for value in given):
        raise ValueError(
            "The network masks its attention, so that its map is not a softmax of queries and keys alone. Give "
            "the attention maps to AttentionDistance.update."
        )
