"""Which part of the image a token is about: CKA of tokens with patches of pixels (Figures 9, 10, D.1 to D.3).

Take n images. One token of one layer gives features [n, d], the raw pixels of one patch of the image features
[n, p]. Their CKA, with the unbiased HSIC of `seelike.cka`, averaged over minibatches before the ratio, says
how much of what tells the images apart in the patch tells them apart in the token. For each token, CKA with
all patches is a heat map over the image. A token that has stayed at its place is most like its own patch.

The tokens of a ResNet are the locations of its feature map, each with all its channels; the image is cut into
as many patches as the map has locations.

The pixels are those that the network sees: resized and normalised. CKA does not change with a shift of any
pixel, nor with one scale for all. Normalising each colour by its own standard deviation does weigh the colours
against each other: by some percent for the usual ones.

**One matrix product.** HSIC is an inner product of U-centred Gram matrices, so all tokens against all patches
are one matrix product of [t, n (n - 1) / 2] with [h w, n (n - 1) / 2]: the Grams are symmetric with a zero
diagonal, so the part below it is all that is needed. U-centring comes along with the Gram. With K~ for K
without its diagonal, r for its row sums and T for their total,

    U(K)_ij = K_ij - x_i - x_j,    x_i = r_i / (n - 2) - T / (2 (n - 1) (n - 2)),    r = X (X'1) - diag(K),

so one product gives it, and since the rows of U(K) sum to zero,

    ||K~||^2 = ||U(K)||^2 + 2 (n - 2) sum_i x_i^2 + 2 (sum_i x_i)^2

tells how much of the Gram U-centring has taken away, and so how much of U(K) is rounding.

**The other form.** With features centred over the images, and k, l for the squared norms of their rows,

    n (n - 3) HSIC = ||X'Y||_F^2 - n / (n - 2) k'l + sum k sum l / ((n - 1) (n - 2)),

which needs no Grams. It takes d p multiplications where Grams take n / 2, so it pays for tokens and patches of
very few numbers: with d = 64 and 2 x 2 grey pixels, in float64, it took 0.53 of the time at 512 images (0.46
to 0.61 in five rounds on one core) and 0.25 at 1024 (0.18 to 0.31). But where few images differ at all, as in
the black corners of Fashion-MNIST, k'l cancels against the rest, and such patches need Grams all the same. So
Grams serve for all.

**Dead patches and tokens.** The corners of Fashion-MNIST are black in nearly all images. Where a patch is the
same in all images of every minibatch, U(K) is zero and CKA is 0 / 0. It is so, too, where one image alone
differs from the rest, or a few that differ in different pixels: U-centring takes away what images have by
themselves, and no two of them share anything. Such patches and tokens are called dead. They are NaN and are
listed. What rounding would leave there, a CKA of anything between -1 and 1, never shows.

**Standard errors.** The minibatches are put into 20 groups in turn. Leaving out one group at a time gives as
many maps, and from these comes an error by the jackknife (`seelike.jackknife`): that of a value of CKA, and that
of whatever is computed from a map, like the share of tokens that are near their own patch.

Source: Raghu et al. (2021), Section 7 and Appendix D.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from seelike.cka import float32_products_are_exact, minibatches
from seelike.data import ImageSet
from seelike.jackknife import jackknife
from seelike.models import Layer, Place, places, read
from seelike.models.layers import require_layers
from seelike.models.measurable import require_measurable
from seelike.streaming import Accumulator, HalvingBatch, Images, accumulate
from seelike.streaming.memory import LiveBytes, in_use, in_words, number_of_bytes, peak

# Groups of minibatches for the jackknife: as many as the paper has repeats.
_GROUPS = 20
# Pairs of images that float32 adds up at a time; float64 adds up the sums.
_SLICE = 2048
# Numbers in the Grams that are made at a time. On the CPU they stay in cache.
_NUMBERS_AT_A_TIME = {"cpu": 2**19, "other": 2**26}
# Tokens that meet the patches' Grams at a time: each time, all of these are read.
_TOKENS_AT_A_TIME = 64
_PATCHES_AT_A_TIME = 256
# Most that the patches' Grams may take, where they are made for one layer alone.
_BYTES_OF_GRAMS = 2**30
# What is left to the allocator and to the libraries of matrix products, in bytes.
_RESERVE = 64_000_000
# What rounding leaves of a U-centred Gram whose exact value is zero, for each image, relative to the Gram.
_ROUNDING = 16 * torch.finfo(torch.float64).eps


class PatchGrams:
    """The U-centred Grams of all patches of a minibatch of images: computed once, used for many layers.

    Args:
        images: The images as the network sees them, `[n, c, height, width]`, n >= 4.
        grid: Into how many rows and columns of patches to cut them.

    Raises:
        ValueError: The sides do not divide by the grid, there are fewer than 4 images, or NaN or infinite
            numbers.

    Example:
        >>> images = torch.arange(5 * 16.0).sin().reshape(5, 1, 4, 4)
        >>> patches = PatchGrams(images, grid=(2, 2))
        >>> one, other = TokenPatchCKA((2, 2)), TokenPatchCKA((2, 2))
        >>> one.update(patches, images.reshape(5, 4, 4))
        >>> other.update(patches, images.reshape(5, 1, 16))
        >>> other.compute().shape
        torch.Size([1, 2, 2])
    """

    def __init__(self, images: Float[Tensor, "n c height width"], grid: tuple[int, int]) -> None:
        """Compute the Grams."""
        self.grid = grid
        self.n = len(images)
        _check_enough_images(self.n)
        self._units, self._hsic = _all_unit_grams(patches(images, grid), "images")


def patches(
    images: Float[Tensor, "n c height width"], grid: tuple[int, int]
) -> Float[Tensor, "n patches numbers"]:
    """Cut images into a grid of patches, row by row, each with all its pixels and colours.

    Raises:
        ValueError: The sides do not divide by the grid.

    Example:
        >>> patches(torch.arange(16.0).reshape(1, 1, 4, 4), (2, 2))[0, 1]
        tensor([2., 3., 6., 7.])
    """
    (n, c, height, width), (h, w) = images.shape, grid
    if h < 1 or w < 1 or height % h or width % w:
        raise ValueError(
            f"Images of {height} x {width} pixels cannot be cut into {h} x {w} equal patches. Resize the images "
            f"to sides that are multiples of {h} and {w}, or choose a layer with another grid."
        )
    cut = images.reshape(n, c, h, height // h, w, width // w)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, h * w, -1)


class TokenPatchCKA(Accumulator):
    """CKA of every token with every patch of the image, over minibatches (Figures 9 and 10).

    Each update is one minibatch, and each minibatch counts the same: keep their sizes nearly equal. Two
    accumulators that saw different minibatches can be merged, and the state can be saved and loaded. An update
    that fails changes nothing.

    Args:
        grid: Rows and columns of patches.

    Example:
        >>> images = torch.arange(12 * 16.0).square().sin().reshape(12, 1, 4, 4)
        >>> similarity = TokenPatchCKA((2, 2))
        >>> for batch in images.split(6):
        ...     similarity.update(batch, 2 * patches(batch, (2, 2)) + 1)  # each token is its own patch
        >>> maps = similarity.compute()
        >>> maps.shape, maps.reshape(4, 4).diagonal()
        (torch.Size([4, 2, 2]), tensor([1.0000, 1.0000, 1.0000, 1.0000], dtype=torch.float64))
    """

    _settings = ("grid",)
    # HSICs by group of minibatches: of tokens with patches, of tokens and of patches with themselves.
    _names = ("cross", "tokens", "patches")

    def __init__(self, grid: tuple[int, int]) -> None:
        """Start without minibatches."""
        self.grid = grid
        super().__init__()

    @property
    def minibatches(self) -> int:
        """How many minibatches there were."""
        return self.count

    def update(
        self, images: Float[Tensor, "n c height width"] | PatchGrams, tokens: Float[Tensor, "m t d"]
    ) -> None:
        """Add a minibatch.

        Args:
            images: The images as the network sees them, n >= 4; or what `PatchGrams` made of them, where
                several layers share them.
            tokens: What a layer makes of the same images, of any floating dtype. Any tokens can be compared with
                the patches; leave out CLS and registers where each token is to be compared with its own patch.

        Raises:
            ValueError: The numbers of images differ or are below 4, the sides do not divide by the grid, the
                number of tokens is not that of the updates before, or there are NaN, infinite or huge numbers.

        Example:
            >>> similarity = TokenPatchCKA((2, 1))
            >>> similarity.update(torch.arange(40.0).cos().reshape(10, 1, 2, 2), torch.rand(10, 3, 8))
            >>> similarity.compute().shape
            torch.Size([3, 2, 1])
        """
        n = images.n if isinstance(images, PatchGrams) else len(images)
        if len(tokens) != n:
            raise ValueError(
                f"got {n} images and tokens of {len(tokens)}; expected the same images, in the same order."
            )
        if isinstance(images, PatchGrams) and images.grid != self.grid:
            raise ValueError(f"got the Grams of {images.grid} patches; expected {self.grid}.")
        sums = _hsics(tokens, images, self.grid)
        self._add(1, {name: value[None] for name, value in sums.items()})

    def _joined(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        return {name: _in_turn(self._sums[name], value, self.count) for name, value in sums.items()}

    def _describe(self, sums: Mapping[str, Any]) -> str:
        return f"{sums['tokens'].shape[1]} tokens"

    def compute(self) -> Float64[Tensor, "t h w"]:
        """Compute CKA of each token with each patch from all minibatches so far.

        Returns:
            The heat map of each token, on the CPU. NaN in all of a token's map where the token is dead, and at a
            patch that is dead: see `dead_tokens` and `dead_patches`.

        Raises:
            RuntimeError: There was no update.

        Example:
            >>> images = torch.arange(24.0).square().cos().reshape(6, 1, 2, 2)
            >>> images[:, :, 0, 0] = 0  # black in all images
            >>> similarity = TokenPatchCKA((2, 2))
            >>> similarity.update(images, images.flatten(1)[:, None])
            >>> similarity.compute().isnan()
            tensor([[[ True, False],
                     [False, False]]])
        """
        self._require_updates()
        return self._cka({name: value.sum(dim=0) for name, value in self._sums.items()})

    def replicates(self) -> Float64[Tensor, "groups t h w"]:
        """Compute the map again and again, each time without one group of minibatches (for `jackknife`).

        Returns:
            One map for each group, at most 20; none where there is a single minibatch.

        Raises:
            RuntimeError: There was no update.

        Example:
            >>> similarity = TokenPatchCKA((1, 1))
            >>> for _ in range(3):
            ...     similarity.update(torch.rand(6, 1, 2, 2), torch.rand(6, 5, 8))
            >>> similarity.replicates().shape
            torch.Size([3, 5, 1, 1])
        """
        self._require_updates()
        whole = {name: value.sum(dim=0) for name, value in self._sums.items()}
        groups = len(self._sums["cross"]) if self.minibatches > 1 else 0
        maps = whole["cross"].new_empty(groups, len(whole["cross"]), *self.grid)
        for group in range(groups):  # One at a time, since maps of many tokens are large.
            maps[group] = self._cka({name: whole[name] - value[group] for name, value in self._sums.items()})
        return maps

    def standard_error(self) -> Float64[Tensor, "t h w"]:
        """Compute the standard error of `compute()`, over minibatches. NaN where there is only one.

        Raises:
            RuntimeError: There was no update.

        Example:
            >>> similarity = TokenPatchCKA((1, 1))
            >>> for _ in range(2):
            ...     similarity.update(torch.ones(6, 1, 2, 2) * torch.rand(6, 1, 1, 1), torch.rand(6, 5, 8))
            >>> bool((similarity.standard_error() > 0).all())
            True
        """
        return jackknife(self.replicates())

    def _cka(self, sums: Mapping[str, Tensor]) -> Float64[Tensor, "t h w"]:
        # By one root and then the other: their product could overflow. What is dead divides 0 by 0. In place:
        # nobody else has these sums.
        return (
            sums["cross"].div_(sums["tokens"].sqrt()[:, None]).div_(sums["patches"].sqrt()).unflatten(1, self.grid)
        )

    def dead_tokens(self) -> tuple[int, ...]:
        """List the dead tokens, as the head of this module defines them.

        Raises:
            RuntimeError: There was no update.

        Example:
            >>> similarity = TokenPatchCKA((1, 1))
            >>> tokens = torch.rand(6, 3, 8)
            >>> tokens[:, 1] = 0.5
            >>> similarity.update(torch.rand(6, 1, 2, 2), tokens)
            >>> similarity.dead_tokens()
            (1,)
        """
        self._require_updates()
        return tuple((self._sums["tokens"].sum(dim=0) == 0).nonzero().flatten().tolist())

    def dead_patches(self) -> tuple[tuple[int, int], ...]:
        """List the dead patches, as the head of this module defines them.

        Returns:
            Row and column of each: the black corners of Fashion-MNIST, say.

        Raises:
            RuntimeError: There was no update.

        Example:
            >>> images = torch.rand(6, 1, 4, 4)
            >>> images[:, :, 2:, :2] = -0.5
            >>> similarity = TokenPatchCKA((2, 2))
            >>> similarity.update(images, torch.rand(6, 3, 8))
            >>> similarity.dead_patches()
            ((1, 0),)
        """
        self._require_updates()
        dead = (self._sums["patches"].sum(dim=0) == 0).nonzero().flatten().tolist()
        return tuple(divmod(place, self.grid[1]) for place in dead)


def _in_turn(
    own: Float64[Tensor, "groups *shape"], others: Float64[Tensor, "more *shape"], minibatches: int
) -> Float64[Tensor, "all_groups *shape"]:
    """Add the groups of other minibatches to those of the first ones, and go on in turn where these ended."""
    whole = own.new_zeros(min(len(own) + len(others), _GROUPS), *own.shape[1:])
    whole[: len(own)] = own
    for group, value in enumerate(others, start=minibatches):
        whole[group % _GROUPS] += value
    return whole


def _hsics(
    tokens: Float[Tensor, "n t d"], images: Float[Tensor, "n c height width"] | PatchGrams, grid: tuple[int, int]
) -> dict[str, Tensor]:
    """Compute the HSICs of a minibatch: of tokens with patches, of tokens and of patches with themselves."""
    n, t, _ = tokens.shape
    _check_enough_images(n)
    cross = torch.zeros(t, grid[0] * grid[1], dtype=torch.float64)
    of_tokens, of_patches = torch.zeros(t, dtype=torch.float64), torch.zeros(cross.shape[1], dtype=torch.float64)
    if isinstance(images, PatchGrams):
        blocks = iter([(images._units, images._hsic)])
    else:
        # Not more at a time than fit: then the tokens' Grams are made again for each block.
        pixels, at_a_time = patches(images, grid), max(_TOKENS_AT_A_TIME, _BYTES_OF_GRAMS // (2 * n * n))
        blocks = (_all_unit_grams(block, "images") for block in pixels.split(at_a_time, dim=1))
    column = 0
    for patch_units, patch_hsic in blocks:
        columns = slice(column, column + len(patch_hsic))
        of_patches[columns] = patch_hsic
        row = 0
        for units, hsic in _unit_grams(tokens, "tokens"):
            rows = slice(row, row + len(hsic))
            of_tokens[rows] = hsic
            cross[rows, columns] = _products(units, patch_units.to(units.device))
            row = rows.stop
        column = columns.stop
    cross.mul_(of_tokens.sqrt()[:, None]).mul_(of_patches.sqrt())
    return {"cross": cross, "tokens": of_tokens, "patches": of_patches}


def _all_unit_grams(features: Float[Tensor, "n t d"], what: str) -> tuple[Tensor, Tensor]:
    """Make the U-centred Grams of all patches, scaled to norm 1, and their HSICs."""
    whole: Tensor | None = None
    hsics: list[Tensor] = []
    for units, hsic in _unit_grams(features, what):
        if whole is None:
            whole = units.new_empty(features.shape[1], *units.shape[1:])
        start = sum(map(len, hsics))
        whole[start : start + len(units)] = units
        hsics.append(hsic)
    assert whole is not None
    return whole, torch.cat(hsics)


def _check_enough_images(n: int) -> None:
    if n < 4:
        raise ValueError(
            f"got {n} images; unbiased HSIC divides by n (n - 3) and needs at least 4 in a minibatch."
        )


def _unit_grams(features: Float[Tensor, "n t d"], what: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Make the U-centred Grams of some tokens or patches at a time, scaled to norm 1, and their HSICs."""
    features = features.detach()
    if features.device.type == "mps":  # Apple's GPUs have no float64.
        features = features.cpu()
    n, device = len(features), features.device
    # float32 halves the time and the memory. Where it does not suffice, the few Grams are made again.
    narrow = features.dtype != torch.float64 and float32_products_are_exact()
    below = torch.tril_indices(n, n, offset=-1, device=device)
    below = below[0] * n + below[1]
    numbers = _NUMBERS_AT_A_TIME["cpu" if device.type == "cpu" else "other"]
    for group in features.transpose(0, 1).split(_TOKENS_AT_A_TIME):
        made = [_unit_gram_of(part, below, narrow) for part in group.split(max(1, numbers // n**2))]
        units, hsic = (torch.cat(each) for each in zip(*made, strict=True))
        if not bool(torch.isfinite(hsic).all()):
            raise ValueError(
                f"{what} contain NaN, infinite, huge or tiny numbers (beyond 1e70 or below 1e-70). CKA does not "
                "change with their scale."
            )
        yield units, hsic


def _unit_gram_of(features: Tensor, below: Tensor, narrow: bool) -> tuple[Tensor, Tensor]:
    if not narrow:
        return _unit_gram(features, below, torch.float64)[:2]
    units, hsic, sure = _unit_gram(features, below, torch.float32)
    if not bool(sure.all()):
        again, hsic[~sure], _ = _unit_gram(features[~sure], below, torch.float64)
        units[~sure] = again.float()
    return units, hsic


def _unit_gram(
    features: Float[Tensor, "t n d"], below: Int64[Tensor, " pairs"], dtype: torch.dtype
) -> tuple[Float[Tensor, "t slices slice"], Float64[Tensor, " t"], Bool[Tensor, " t"]]:
    """Compute what is below the diagonal of U(K), scaled to norm 1; HSIC; and whether the dtype suffices."""
    t, n, _ = features.shape
    x = features.to(dtype)
    # The first image first: what is the same in all images becomes exactly zero, and a large mean goes unrounded.
    x = x - x[:, :1]
    x = x - x.mean(dim=1, keepdim=True)
    scale = x.abs().amax(dim=(1, 2))
    x = x / torch.where(scale == 0, 1, scale)[:, None, None]
    # Autocast would turn the products into float16 or bfloat16.
    with torch.autocast(x.device.type, enabled=False):
        rows = (x @ x.sum(dim=1)[:, :, None]).squeeze(2) - x.square().sum(dim=2)
        shift = rows / (n - 2) - rows.sum(dim=1, keepdim=True) / (2 * (n - 1) * (n - 2))
        gram = x.new_empty(t, n, n)
        block = math.ceil(n / 4)
        for i in range(0, n, block):  # Blocks of the lower triangle: 5/8 of the work.
            shifts = shift[:, i:, None] + shift[:, None, i : i + block]
            gram[:, i:, i : i + block] = torch.baddbmm(shifts, x[:, i:], x[:, i : i + block].mT, beta=-1)
    pairs = gram.flatten(1).index_select(1, below)

    norm = torch.linalg.vector_norm(pairs, dim=1, dtype=torch.float64) * math.sqrt(2)
    shift = shift.double()
    gram_norm = (norm.square() + 2 * (n - 2) * shift.square().sum(dim=1) + 2 * shift.sum(dim=1).square()).sqrt()
    # Where the exact result is zero, rounding leaves noise, whose CKA would look like a value.
    alive = ~(norm <= n * _ROUNDING * gram_norm)
    width = min(_SLICE, len(below))
    units = x.new_zeros(t, math.ceil(len(below) / width) * width)
    units[:, : len(below)] = pairs * torch.where(alive, 1 / norm, 0).to(dtype)[:, None]
    hsic = torch.where(alive, (norm * scale.double().square()).square() / (n * (n - 3)), 0)
    hsic = torch.where(alive & (hsic == 0), torch.nan, hsic)
    return units.unflatten(1, (-1, width)), hsic, (scale == 0) | (norm > 0.1 * gram_norm)


def _products(a: Float[Tensor, "t slices slice"], b: Float[Tensor, "p slices slice"]) -> Float64[Tensor, "t p"]:
    """Multiply all tokens with all patches. Each slice is added up in the dtype of the Grams, all in float64."""
    # A single slice is of few images, where a few pairs can carry it all: float64 costs little, and loses nothing.
    dtype = torch.promote_types(a.dtype, b.dtype) if a.shape[1] > 1 else torch.float64
    a = a.to(dtype).transpose(0, 1)
    products = []
    with torch.autocast(a.device.type, enabled=False):
        for some in b.split(_PATCHES_AT_A_TIME):
            by_slice = a @ some.to(dtype).permute(1, 2, 0)
            # Twice: the Grams are symmetric.
            products.append(2 * by_slice.sum(dim=0, dtype=torch.float64))
    return torch.cat(products, dim=1)


@dataclass(frozen=True, eq=False)
class TokenPatchMaps:
    """How alike each token of a layer and each patch of the image are.

    Attributes:
        cka: The heat map of each token over the patches. NaN where token or patch is dead.
        replicates: The same without each group of minibatches in turn; none for a single minibatch.
        minibatches: How many minibatches there were.
        dead_tokens: Tokens without a map, because all images look the same there.
        dead_patches: Row and column of such patches.

    Example:
        >>> own_place = torch.eye(9).double().reshape(9, 3, 3)
        >>> maps = TokenPatchMaps(own_place, replicates=own_place.repeat(2, 1, 1, 1), minibatches=2)
        >>> maps.estimate(within_one_cell)
        (tensor(1., dtype=torch.float64), tensor(0., dtype=torch.float64))
    """

    cka: Float64[Tensor, "t h w"]
    replicates: Float64[Tensor, "groups t h w"] = field(repr=False)
    minibatches: int
    dead_tokens: tuple[int, ...] = ()
    dead_patches: tuple[tuple[int, int], ...] = ()

    @property
    def standard_error(self) -> Float64[Tensor, "t h w"]:
        """Standard error of `cka` over minibatches. NaN where there is only one."""
        return jackknife(self.replicates)

    def estimate(
        self, statistic: Callable[[Tensor], Tensor]
    ) -> tuple[Float64[Tensor, "*s"], Float64[Tensor, "*s"]]:
        """Compute a statistic of the maps, and its standard error over minibatches.

        Args:
            statistic: Takes maps `[..., t, h, w]` and gives one result for each, like `within_one_cell`.

        Returns:
            The statistic and its standard error, NaN where there is a single minibatch.
        """
        return statistic(self.cka).double(), jackknife(statistic(self.replicates))


def token_patch_cka(
    model: nn.Module,
    layers: Sequence[Layer],
    images: ImageSet | Tensor,
    *,
    minibatch: int = 1024,
    batch_size: int = 64,
    memory: str | int = "8GB",
    cache: str | Path | None = None,
) -> dict[str, TokenPatchMaps]:
    """Measure CKA of every spatial token of some layers with every patch of the image (Figures 9, 10, D.1 to D.3).

    The images are split, in their order, into the fewest minibatches of at most `minibatch`, whose sizes differ by
    one at most. CLS and registers are left out. A feature map's locations are its tokens, and the image is cut
    into as many patches. Layers of one grid share the patches and their Grams.

    Memory: beside forward passes and prepared images it takes

    - the tokens of a minibatch, as wide as the network computes: 0.6 GB for a layer of ViT-B/16 and 1024 images;
    - `minibatch` x `minibatch` x 2 bytes for each patch of each grid: 0.4 GB;
    - tokens x patches x 8 bytes, for each layer once more often than there are minibatches (of which 20 count at
      most), and as much again for one layer: 7 MB for a layer of ViT-B/16, 4 GB for a single minibatch and a map
      of 112 x 112.

    Where that is more than `memory`, layers are read some at a time, which takes more forward passes, and Grams
    are made 1 GB at a time, which takes longer. The result is the same but for rounding.

    Args:
        model: A network in evaluation mode.
        layers: Layers of this network, from `seelike.models.layers`.
        images: An image set, prepared as the network's configuration asks, or prepared images
            `[n, channels, height, width]`. Their sides must be multiples of the layers' grids.
        minibatch: Most images for one HSIC. HSIC is unbiased for any number; fewer add noise, and few minibatches
            tell little about the standard error.
        batch_size: Most images in a forward pass. The result does not depend on it.
        memory: The most that it may take: "8GB" (8e9 bytes), "500MB", "2GiB", or bytes. On a CPU it counts the
            whole process, with all that it holds already, on a GPU the tensors there.
        cache: Folder to keep the state in, so that a call that was stopped goes on where it was.

    Returns:
        The maps by name of layer, in the order of `layers`. A warning tells of dead patches and tokens.

    Raises:
        ValueError: There are no layers, too few images or too little memory, the network is in training mode, a
            layer has no tokens, the sides do not divide by its grid, or there are NaN or infinite activations.
        torch.cuda.OutOfMemoryError: The tokens of a minibatch do not fit. Give fewer layers at a time, or a
            smaller `minibatch`, which adds noise to the result.

    Example:
        >>> from seelike import data
        >>> from seelike.models import layers, load
        >>> model = load("test_vit:random")
        >>> last = layers(model, ["block 6"])
        >>> images = data.load("fashion-mnist/test").sample(16, seed=0)
        >>> with warnings.catch_warnings(action="ignore"):  # corners are black in all images
        ...     maps = token_patch_cka(model, last, images, minibatch=8)
        >>> maps["block 6"].cka.shape
        torch.Size([100, 10, 10])
        >>> share, error = maps["block 6"].estimate(within_one_cell)
    """
    require_measurable(model)
    require_layers(layers)
    if not layers:
        raise ValueError("layers is empty; expected at least one layer, from seelike.models.layers.")
    budget = number_of_bytes(memory)
    parts = minibatches(len(images), minibatch)
    few = Images(images, model)[:3]
    where = places(model, layers, few)
    _check_grids(where, few[:1])
    grids = {name: place.require_grid() for name, place in where.items()}
    plan = _Plan.of(model, layers, grids, few, parts, HalvingBatch(batch_size), budget, cache is not None)
    into = {name: TokenPatchCKA(grid) for name, grid in grids.items()}

    def measure(batch: Tensor, first: int) -> dict[str, TokenPatchCKA]:
        return _measure(model, plan, where, batch)

    accumulate(
        model,
        images,
        measure,
        into,
        # Other minibatches would be another estimate.
        batch_size=parts,
        what="CKA of tokens with patches",
        settings=f"minibatches of {minibatch}, {list(layers)}",
        cache=cache,
    )
    results = {}
    for name in grids:
        similarity = into.pop(name)  # gone before the next layer's maps are made
        results[name] = TokenPatchMaps(
            similarity.compute(),
            similarity.replicates(),
            similarity.minibatches,
            similarity.dead_tokens(),
            similarity.dead_patches(),
        )
    dead = {
        name: f"{len(maps.dead_tokens)} tokens and {len(maps.dead_patches)} patches of {name!r}"
        for name, maps in results.items()
        if maps.dead_tokens or maps.dead_patches
    }
    if dead:
        warnings.warn(
            f"Dead, because all images look the same there: {', '.join(dead.values())}. Their CKA is NaN. The "
            "results list them as dead_tokens and dead_patches.",
            RuntimeWarning,
            stacklevel=2,
        )
    return results


@dataclass(frozen=True)
class _Plan:
    """How to stay within the memory: which layers are read together, and whether they share the patches' Grams."""

    groups: list[list[Layer]]
    share: bool
    forward: HalvingBatch

    @classmethod
    def of(
        cls,
        model: nn.Module,
        layers: Sequence[Layer],
        grids: Mapping[str, tuple[int, int]],
        few: Float[Tensor, "few c height width"],
        parts: Sequence[slice],
        forward: HalvingBatch,
        memory: int,
        cached: bool,
    ) -> "_Plan":
        """Count what it takes, from the shapes of `few` images."""
        n, device = parts[0].stop, few.device
        tokens: dict[str, int] = {}

        def trace(number: int) -> list[int]:
            with LiveBytes([few, *model.parameters(), *model.buffers()]) as live:
                sizes = read(model, layers, few[:number], lambda _, activation: activation.nbytes // number)
            tokens.update({name: n * size for name, size in sizes.items()})
            return live.trace

        two, three = trace(2), trace(3)
        maps = {name: 8 * math.prod(grid) ** 2 for name, grid in grids.items()}
        # Groups of minibatches, and the last minibatch; its sum with these. A state that is saved is a copy.
        copies = min(len(parts), _GROUPS)
        of_maps = (copies * (2 if cached else 1) + 1) * sum(maps.values())
        of_maps += (copies + 2 if copies > 1 else 1) * max(maps.values())
        # This minibatch and the next, its patches, and the images in another dtype or on another device.
        of_images = 4 * n * few[0].nbytes
        one_gram = (2 if float32_products_are_exact() and few.dtype != torch.float64 else 4) * n * n
        numbers = _NUMBERS_AT_A_TIME["cpu" if device.type == "cpu" else "other"]
        of_work = 2 * _TOKENS_AT_A_TIME * one_gram + 64 * max(n * n, min(numbers, _TOKENS_AT_A_TIME * n * n))
        of_work += 4 * math.ceil(n * n / 2 / _SLICE) * _TOKENS_AT_A_TIME * _PATCHES_AT_A_TIME
        used = in_use(device)
        available = memory - used - of_maps - of_images - of_work - _RESERVE
        largest_layer = max(tokens, key=lambda name: tokens[name])
        room = available - tokens[largest_layer]
        # What the Grams take in any case, and what they take together.
        most = max(math.prod(grid) for grid in grids.values())
        of_grams = min(one_gram * most, max(_BYTES_OF_GRAMS, _TOKENS_AT_A_TIME * one_gram))
        of_all_grams = one_gram * sum(math.prod(grid) for grid in set(grids.values()))
        share = of_all_grams <= max(of_grams, min(available / 2, room - _of_pass(two, three, 1)))
        of_grams = of_all_grams if share else of_grams
        available, room = available - of_grams, room - of_grams
        while forward.size > 1 and _of_pass(two, three, forward.size) > min(available / 4, room):
            forward.size //= 2
        available -= _of_pass(two, three, forward.size)
        if available < tokens[largest_layer]:
            # A little more, since what is in use changes.
            least = 1.02 * (memory - available + tokens[largest_layer])
            raise ValueError(
                f"memory is {in_words(memory)}, of which {in_words(used)} are in use. With minibatches of {n} "
                f"images these layers take {in_words(least)} or more: {in_words(of_maps)} for maps of {most} "
                f"tokens, {in_words(of_grams)} for patches, {in_words(tokens[largest_layer])} for the tokens of "
                f"{largest_layer!r}. Give that, fewer layers, layers of coarser grids, or a smaller minibatch."
            )
        groups: list[list[Layer]] = []
        left = 0
        for layer in layers:
            if tokens[layer.name] > left:
                groups.append([])
                left = available
            groups[-1].append(layer)
            left -= tokens[layer.name]
        return cls(groups, share, forward)


def _of_pass(two: list[int], three: list[int], images: int) -> int:
    # Operations take memory of their own while they run, and small blocks do not go back to the system at once.
    return int(1.5 * peak(two, three, images))


def _measure(
    model: nn.Module, plan: _Plan, where: Mapping[str, Place], images: Tensor
) -> dict[str, TokenPatchCKA]:
    grams: dict[tuple[int, int], PatchGrams] = {}
    found = {}
    for group in plan.groups:
        tokens = _read_tokens(model, group, where, images, plan.forward)
        for layer in group:
            grid, name = where[layer.name].require_grid(), layer.name
            if plan.share and grid not in grams:
                grams[grid] = PatchGrams(images, grid)
            found[name] = TokenPatchCKA(grid)
            try:
                # The tokens of a layer are gone as soon as they are compared.
                found[name].update(grams.get(grid, images), tokens.pop(name))
            except ValueError as error:
                raise ValueError(f"Layer {name!r}: {error}") from error
    return found


def _read_tokens(
    model: nn.Module, layers: Sequence[Layer], where: Mapping[str, Place], images: Tensor, forward: HalvingBatch
) -> dict[str, Tensor]:
    tokens: dict[str, Tensor] = {}

    def keep(layer: Layer, activation: Tensor) -> None:
        place = where[layer.name]
        some = place.tokens(activation)[:, len(place.prefix) :]
        if layer.name not in tokens:
            tokens[layer.name] = some.new_empty(len(images), *some.shape[1:])
        tokens[layer.name][part] = some

    for part, or_half in forward.parts(len(images)):
        with or_half:
            # A copy, since the network may write into what it gets.
            read(model, layers, images[part].clone(), keep)
    return tokens


def _check_grids(where: Mapping[str, Place], image: Tensor) -> None:
    """Find whether the image can be cut into the grid of each layer: before the long pass."""
    for name, place in where.items():
        grid = place.require_grid()
        try:
            patches(image, grid)
        except ValueError as error:
            raise ValueError(f"Layer {name!r}: {error}") from error


def best_patch_distance(cka: Float[Tensor, "*maps t h w"]) -> Float64[Tensor, "*maps t"]:
    """Compute how far the patch that each token is most like is from the token's own place.

    Args:
        cka: Maps of all spatial tokens, t = h w, row by row. Dead patches (NaN) are never the best.

    Returns:
        The distance in cells: the larger of the offsets in rows and in columns, so that all eight neighbours are
        one cell away. NaN for a dead token.

    Raises:
        ValueError: There are not as many tokens as patches.

    Example:
        >>> cka = torch.tensor([[[0.9, 0.2, 0.1]], [[0.3, 0.1, 0.2]], [[0.8, 0.2, 0.1]]])  # a grid of 1 x 3
        >>> best_patch_distance(cka)
        tensor([0., 1., 2.], dtype=torch.float64)
    """
    rows, columns = _places(cka)
    best = cka.nan_to_num(nan=-torch.inf).flatten(-2).argmax(dim=-1)
    down = (best // cka.shape[-1] - rows).abs()
    across = (best % cka.shape[-1] - columns).abs()
    dead = cka.isnan().flatten(-2).all(dim=-1)
    return torch.where(dead, torch.nan, torch.maximum(down, across).double())


def within_one_cell(cka: Float[Tensor, "*maps t h w"], interior_only: bool = True) -> Float64[Tensor, "*maps"]:
    """Compute the share of tokens whose best patch is their own or one of its neighbours (Figures 9 and 10).

    A token that takes any patch for its best is within one cell with a chance of 9 / (h w). So compare shares of
    equal grids, or their excess over that.

    Args:
        cka: Maps of all spatial tokens, t = h w, row by row.
        interior_only: Only tokens that are not at the edge of the image, as in the paper, where tokens at the edge
            are like the whole edge.

    Returns:
        The share, for each map. Dead tokens do not count; NaN where no token is left.

    Raises:
        ValueError: There are not as many tokens as patches, or no interior.

    Example:
        >>> cka = torch.eye(9).reshape(9, 3, 3)
        >>> within_one_cell(cka), within_one_cell(cka.flip(0), interior_only=False)
        (tensor(1., dtype=torch.float64), tensor(0.1111, dtype=torch.float64))
    """
    rows, columns = _places(cka)
    h, w = cka.shape[-2:]
    distance = best_patch_distance(cka)
    if interior_only:
        if h < 3 or w < 3:
            raise ValueError(f"A grid of {h} x {w} has no interior. Use interior_only=False.")
        distance = distance[..., (rows > 0) & (rows < h - 1) & (columns > 0) & (columns < w - 1)]
    near = torch.where(distance.isnan(), torch.nan, (distance <= 1).double())
    return near.nanmean(dim=-1)


def mean_map(cka: Float[Tensor, "*maps t h w"]) -> Float64[Tensor, "*maps rows columns"]:
    """Average the maps of all tokens, each shifted so that the token's own place is in the middle.

    Args:
        cka: Maps of all spatial tokens, t = h w, row by row.

    Returns:
        Mean CKA by offset of the patch from the token, `[2 h - 1, 2 w - 1]`; offset 0 is at [h - 1, w - 1]. An
        offset's mean is over the tokens that have a patch there; NaN where all are dead.

    Raises:
        ValueError: There are not as many tokens as patches.

    Example:
        >>> mean_map(torch.tensor([[[0.9, 0.3]], [[0.1, 0.7]]]))
        tensor([[0.1000, 0.8000, 0.3000]], dtype=torch.float64)
    """
    rows, columns = _places(cka)
    h, w = cka.shape[-2:]
    values, counts = cka.new_zeros(2, *cka.shape[:-3], 2 * h - 1, 2 * w - 1, dtype=torch.float64)
    for token, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        place = (..., slice(h - 1 - row, 2 * h - 1 - row), slice(w - 1 - column, 2 * w - 1 - column))
        own = cka[..., token, :, :]
        values[place] += own.nan_to_num()
        counts[place] += ~own.isnan()
    return values / counts


def _places(cka: Tensor) -> tuple[Int64[Tensor, " t"], Int64[Tensor, " t"]]:
    t, h, w = cka.shape[-3:]
    if t != h * w:
        raise ValueError(
            f"got maps of {t} tokens over {h} x {w} patches; expected one token for each patch, row by row. Leave "
            "out CLS and registers."
        )
    place = torch.arange(t, device=cka.device)
    return place // w, place % w
