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

Networks keep their fused attention, which never has a map: queries, keys and what is added to their scores
(relative positions, masks) are read as PyTorch multiplies them, after rotations and norms. Where a network
computes the softmax itself, its map is read. Which tokens are queries and keys, and where in the image they are,
is followed through the network (`seelike.models.positions`): a distance is given only where queries and keys are
the same tokens of one grid.

Sources: Dosovitskiy et al. (2021), An image is worth 16x16 words, Figure 7; Raghu et al. (2021), Section 4.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from seelike.data import ImageSet
from seelike.errors import unknown_name
from seelike.models import Place
from seelike.models.layers import structure
from seelike.models.measurable import require_measurable
from seelike.models.precision import as_given
from seelike.models.trace import SOFTMAXES, Attention, Running
from seelike.streaming import Images, accumulate
from seelike.streaming.moments import ImageMoments, Moments

# Scores at a time: 2 MB of float32 stay in the cache of a CPU core, and 64 MB keep a GPU busy.
_TILE_ON_CPU = 2**19
_TILE_ELSEWHERE = 2**24
# Rounding to bfloat16 moves the sum of a row of attention by 0.4 % at most.
_ROW_SUM_TOLERANCE = 0.01
Size = int | float | tuple[int, int] | tuple[float, float]
# What is averaged over images.
_RENORMALIZED, _UNRENORMALIZED, _PREFIX_MASS = range(3)


def uniform_distance(grid: int | tuple[int, int], patch_size: Size) -> float:
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
    dy, dx = np.arange(1 - rows, rows), np.arange(1 - columns, columns)
    distance = np.hypot(height * dy[:, None], width * dx[None, :])
    # By offset, since each occurs in many pairs.
    return float((_pairs_by_offset(rows, columns) * distance).sum() / (rows * columns) ** 2)


def _pairs_by_offset(rows: int, columns: int) -> Int64[np.ndarray, "down right"]:
    """How many pairs of patches have each offset: (rows - dy) (columns - dx) of them, and those mirrored."""
    dy, dx = np.arange(1 - rows, rows), np.arange(1 - columns, columns)
    return np.outer(rows - np.abs(dy), columns - np.abs(dx))


def _pair(name: str, given: Any) -> tuple[Any, Any]:
    first, second = given if isinstance(given, tuple) else (given, given)
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


@dataclass(frozen=True)
class Scores:
    """What a softmax takes, by queries, keys and a bias: no score is there before it is asked for.

    Attributes:
        q: Queries, the prefix tokens first.
        k: Keys of the same tokens.
        scale: A score is scale times the inner product of a query and a key, and the bias.
        bias: What is added, if anything is; -inf for keys that are masked.

    Example:
        >>> everything = slice(None)
        >>> Scores(torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4), scale=0.5).of(*[everything] * 4)
        tensor([[[[2., 2.],
                  [2., 2.]]]])
    """

    q: Float[Tensor, "b heads t d"]
    k: Float[Tensor, "b heads t d"]
    scale: float
    bias: Float[Tensor, "#b #heads t t"] | None = None

    def of(
        self, images: slice, heads: slice, queries: slice, keys: slice
    ) -> Float[Tensor, "b heads queries keys"]:
        """Compute the scores of some images, heads and queries with some keys."""
        dtype = _wide(self.q)
        query = self.q[images, heads, queries].to(dtype) * self.scale
        scores = query @ self.k[images, heads, keys].to(dtype).mT
        if self.bias is not None:
            of_images = images if len(self.bias) > 1 else slice(None)
            scores += self.bias[of_images, heads if self.bias.shape[1] > 1 else slice(None), queries, keys].to(
                dtype
            )
        return scores

    def in_order(self, order: Int64[Tensor, " t"]) -> "Scores":
        """Give the same of the tokens in another order."""
        bias = None if self.bias is None else self.bias[:, :, order][..., order]
        return Scores(self.q[:, :, order], self.k[:, :, order], self.scale, bias)


def _exponentials(
    scores: Float[Tensor, "b heads queries keys"],
) -> tuple[Float[Tensor, "b heads queries keys"], Float[Tensor, "b heads queries"]]:
    """exp(s - m) and m, the largest score of each query."""
    largest = scores.amax(dim=-1, keepdim=True)
    return scores.sub_(largest).exp_(), largest.squeeze(-1)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _double(x: Tensor) -> Float64[Tensor, "..."]:
    # Apple's GPUs have no float64.
    return x.cpu().double() if x.device.type == "mps" else x.double()


# Of a block: its scores, or its map.
_Use = Callable[[str, "Scores | Tensor"], None]


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
        patch_size: Size,
        num_prefix_tokens: int,
        renormalize: bool = True,
    ) -> None:
        """Start without images."""
        self.grid = _pair("grid", grid)
        height, width = _pair("patch_size", patch_size)
        self.patch_size = (float(height), float(width))
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

    def update_qk(
        self,
        q: Float[Tensor, "b heads t d"],
        k: Float[Tensor, "b heads t d"],
        scale: float,
        bias: Float[Tensor, "#b #heads t t"] | None = None,
    ) -> None:
        """Add images by their queries and keys, without an attention map.

        Args:
            q: Queries of all tokens, of any floating dtype: the prefix tokens first, then the patches row by
                row. A view of something larger is not copied.
            k: Keys of the same tokens.
            scale: What the softmax takes is scale times the inner product; mostly 1 / sqrt(d).
            bias: What is added to that, such as relative positions; -inf for keys that are masked.

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
        scores = Scores(q.detach(), k.detach(), scale, None if bias is None else bias.detach())
        values = _measure_scores(scores, self.grid, self.patch_size, self.num_prefix_tokens)
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
    like: Tensor, grid: tuple[int, int], patch_size: tuple[float, float], of_tile: _OfTile
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
    attn: Float[Tensor, "b heads t t"], grid: tuple[int, int], patch_size: tuple[float, float], prefix: int
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


def _measure_scores(
    scores: Scores, grid: tuple[int, int], patch_size: tuple[float, float], prefix: int
) -> Float64[Tensor, "b 3 heads"]:
    def of_tile(images: slice, heads: slice, queries: slice, distances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        spatial = slice(prefix + queries.start, prefix + queries.stop)
        weights, largest = _exponentials(scores.of(images, heads, spatial, slice(prefix, None)))
        total = _double(weights.sum(dim=-1))
        renormalized = _double(weights.mul_(distances).sum(dim=-1)) / total
        # Few numbers, so float64 costs nothing. Without a prefix this is -inf, and the mass 0.
        on_prefix = _double(scores.of(images, heads, spatial, slice(0, prefix))).logsumexp(dim=-1)
        log_odds = on_prefix - (_double(largest) + total.log())
        return renormalized, renormalized * torch.sigmoid(-log_odds), torch.sigmoid(log_odds)

    return _average_queries(scores.q, grid, patch_size, of_tile)


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
    require_measurable(model)
    attentions = find_attentions(model, Images(images, model)[:1])

    def empty() -> dict[str, AttentionDistance]:
        return {
            block: AttentionDistance(place.require_grid(), place.patch_size, len(place.prefix))
            for block, (_, place) in attentions.items()
        }

    def measure(batch: Tensor, first: int) -> dict[str, AttentionDistance]:
        distances = empty()

        def use(block: str, seen: Scores | Tensor) -> None:
            if isinstance(seen, Tensor):
                distances[block].update(seen)
            else:
                distances[block].update_qk(seen.q, seen.k, seen.scale, seen.bias)

        read_attention(model, attentions, batch, use)
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
    """Average the attention of each head of a block over the pairs of patches with the same offset.

    It is the picture behind an attention distance. A head that looks at the patch on its left is one point to the
    left of the middle. A head that looks everywhere alike has the same value at every offset: one by the number of
    patches.

    Args:
        model: A VisionTransformer of timm with standard attention, in evaluation mode.
        images: An image set, prepared as the network's configuration asks, or prepared images.
        block: Number of the block, from 1.
        batch_size: Most images in a forward pass. The result does not depend on it.
        cache: Folder to keep the state in, so that a call that was stopped goes on where it was.

    Returns:
        `[heads, 2 rows - 1, 2 columns - 1]`: attention of each head, renormalised over the spatial keys and
        averaged over the pairs of spatial query and key with this offset, and over images.
        `[:, rows - 1, columns - 1]` is the attention to the own patch, and indices grow with the row and the
        column of the key. Far offsets are of few pairs, those to the corners of one pair each.

    Raises:
        UnknownName: There is no such block.
        TypeError, ValueError, RuntimeError: As for `attention_distances`.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_vit").eval()
        >>> attention = mean_attention(model, torch.zeros(2, 3, 160, 160), block=1)
        >>> attention.shape, attention.mean(dim=(1, 2))
        (torch.Size([2, 19, 19]), tensor([0.0100, 0.0100], dtype=torch.float64))
    """
    require_measurable(model)
    attentions = find_attentions(model, Images(images, model)[:1])
    name = f"block {block}"
    if name not in attentions:
        raise unknown_name("block", name, attentions)

    def measure(batch: Tensor, first: int) -> dict[str, Moments]:
        moments = Moments()

        def by_offset(_: str, seen: Scores | Tensor) -> None:
            values = _by_offset(seen, attentions[name][1])
            _require_finite(values)
            moments.update(values.cpu())

        read_attention(model, {name: attentions[name]}, batch, by_offset)
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
    rows, columns = attentions[name][1].require_grid()
    # Near offsets occur in more pairs: summed over them, a head that looks everywhere alike would look local.
    return whole[name].mean * (rows * columns) / torch.from_numpy(_pairs_by_offset(rows, columns))


def _by_offset(seen: "Scores | Tensor", place: Place) -> Float64[Tensor, "b heads down right"]:
    like = seen if isinstance(seen, Tensor) else seen.q
    (images, heads), grid, prefix = like.shape[:2], place.require_grid(), len(place.prefix)
    rows, columns, tokens = 2 * grid[0] - 1, 2 * grid[1] - 1, grid[0] * grid[1]
    result = _double(like.new_zeros(images, heads, rows * columns))
    for queries, pieces in _tiles(images, heads, tokens, like.device):
        down, right = _offsets(grid, queries, result.device)
        offset = ((down + grid[0] - 1) * columns + right + grid[1] - 1).flatten()
        spatial = slice(prefix + queries.start, prefix + queries.stop)
        for piece in pieces:
            if isinstance(seen, Tensor):
                weights = seen[piece][:, :, spatial, prefix:].to(_wide(seen))
            else:
                weights, _ = _exponentials(seen.of(*piece, spatial, slice(prefix, None)))
            attention = weights / weights.sum(dim=-1, keepdim=True)
            result[piece].index_add_(2, offset, _double(attention).flatten(2) / tokens)
    return result.unflatten(2, (rows, columns))


def find_attentions(model: nn.Module, image: Tensor) -> dict[str, tuple[Attention, Place]]:
    """Find the attention of each block and where its tokens are; what cannot be measured is named in a warning.

    Args:
        model: A network in evaluation mode.
        image: Prepared images, one or more: their size decides where tokens are.

    Returns:
        By the name of the block, in firing order: which call of which module it is, and the place of its tokens.

    Raises:
        ValueError: No block has attention of all tokens of one grid to all of them.

    Example:
        >>> import timm
        >>> found = find_attentions(timm.create_model("test_vit").eval(), torch.zeros(1, 3, 160, 160))
        >>> attention, place = found["block 1"]
        >>> attention.module, place.grid, place.prefix
        ('blocks.0.attn', (10, 10), ('cls',))
    """
    found: dict[str, tuple[Attention, Place]] = {}
    refused: dict[str, str] = {}
    seen = structure(model, (image.shape[2], image.shape[3]))
    inside_blocks = {f"block {layer.block}" for layer in seen.layers}
    for block, attention in seen.attentions:
        if block not in inside_blocks and any(name in inside_blocks for name, _ in seen.attentions):
            continue  # in the head, or between blocks
        place = seen.place_of_attention(block, attention)
        if place.grid is None:
            refused.setdefault(block, place.why)
        elif block in found:
            refused[block] = "it has several attentions."
        else:
            found[block] = (attention, place)
    unseen = {f"block {each.block}" for each in seen.residuals if each.kind == "attention"} - {*found, *refused}
    refused |= {block: "nothing in it is a softmax that goes to the values as it is." for block in unseen}
    for block in refused:
        found.pop(block, None)
    if not found:
        told = "; ".join(f"{block}: {why}" for block, why in list(refused.items())[:1]) or "it has none."
        raise ValueError(
            f"The attention of {type(model).__name__} has no distance: {told} Expected attention of all tokens "
            "of one grid to all of them. For others give queries and keys, or maps, to AttentionDistance."
        )
    if refused:
        block, why = next(iter(refused.items()))
        warnings.warn(
            f"{len(refused)} of {len(refused) + len(found)} attentions have no distance and are left out. "
            f"{block}: {why}",
            RuntimeWarning,
            stacklevel=3,
        )
    return found


class _AttentionReader(TorchDispatchMode):
    """Hands on what each attention multiplies, or its map where the network computes that."""

    def __init__(self, wanted: Mapping[tuple[str, int], str], running: Running, use: _Use) -> None:
        super().__init__()
        self._wanted, self._running, self._use = wanted, running, use
        self._seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        fused = name.startswith("_scaled_dot_product")
        if not fused and not (name in SOFTMAXES and args[0].ndim > 2 and args[1] in (-1, args[0].ndim - 1)):
            return made
        module = self._running.innermost
        block = self._wanted.get((module, self._seen[module]))
        self._seen[module] += 1
        if block is not None:
            with as_given():
                self._use(block, _scores_of(func, args, kwargs) if fused else _with_heads(made))
        return made


def _with_heads(x: Tensor) -> Tensor:
    """Give `[images, heads, ...]` where heads are several axes, or share one with the one image that there is."""
    return x[None] if x.ndim == 3 else x.flatten(1, -3)


def _scores_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Scores:
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | dict(kwargs)
    q, k = given["query"], given["key"]
    bias = given.get("attn_mask", given.get("attn_bias"))
    if bias is not None:
        bias = bias.reshape((1,) * (4 - bias.ndim) + bias.shape)
        if bias.dtype == torch.bool:
            bias = torch.where(bias, 0.0, -torch.inf)
        bias = bias.expand(*bias.shape[:2], q.shape[2], k.shape[2])
    if given.get("is_causal"):
        bias = torch.full((1, 1, q.shape[2], k.shape[2]), -torch.inf, device=q.device, dtype=q.dtype).triu(1)
    scale = given.get("scale")
    q, k = _with_heads(q), _with_heads(k)
    return Scores(q, k, q.shape[-1] ** -0.5 if scale is None else scale, bias)


def read_attention(
    model: nn.Module, attentions: Mapping[str, tuple[Attention, Place]], batch: Tensor, use: _Use
) -> None:
    """Run the network, and hand on the scores of each attention, or its map where the network computes that.

    Args:
        model: A network in evaluation mode.
        attentions: What to read, as `find_attentions` gives it.
        batch: Prepared images.
        use: Called with the name of a block and its scores or its map: tokens without a place come first, and then
            the patches row by row. Where images and heads share an axis, it is called once for each image.

    Raises:
        ValueError: `use` raised it; the message names the block.
        RuntimeError: Some attention did not fire, as in a compiled network.

    Example:
        >>> import timm
        >>> model, image = timm.create_model("test_vit").eval(), torch.zeros(1, 3, 160, 160)
        >>> first = {"block 1": find_attentions(model, image)["block 1"]}
        >>> read_attention(model, first, image, lambda block, seen: print(block, seen.q.shape))
        block 1 torch.Size([1, 2, 101, 32])
    """
    wanted = {(attention.module, attention.call): block for block, (attention, _) in attentions.items()}
    missing = set(attentions)

    def use_in_order(block: str, seen: Scores | Tensor) -> None:
        missing.discard(block)
        order = attentions[block][1].order
        if order is not None:
            order = order.to((seen if isinstance(seen, Tensor) else seen.q).device)
            seen = seen[:, :, order][..., order] if isinstance(seen, Tensor) else seen.in_order(order)
        try:
            use(block, seen)
        except ValueError as error:
            raise ValueError(f"Attention of {block}: {error}") from error

    like = next(model.parameters(), batch)
    # Where images and heads share an axis, which of them comes first is not known: one image at a time.
    apart = all(attention.images_apart for attention, _ in attentions.values())
    for images in [batch] if apart else batch.split(1):
        running = Running()
        with running.through(model), torch.no_grad(), _AttentionReader(wanted, running, use_in_order):
            model(images.to(like.device, like.dtype))
    if missing:
        raise RuntimeError(
            f"These attentions did not fire: {', '.join(sorted(missing))}. Was the network compiled?"
        )
