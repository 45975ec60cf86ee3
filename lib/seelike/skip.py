"""How much of a token passes a block by its skip connection, and how much the block adds (Figure 7, E.1, E.2).

A residual addition makes z + f(z): the skip z is what came before, the branch f(z) what attention, an MLP or the
convolutions of a block add, after LayerScale where there is one. Where a ResNet changes its resolution, z is the
output of the shortcut's convolution. For every token and image,

    ratio                ||z|| / ||f(z)||                        Figure 7 and E.1
    cosine with branch   <z, f(z)> / (||z|| ||f(z)||)            Figure E.2
    cosine with output   <z, z + f(z)> / (||z|| ||z + f(z)||)    Figure E.2; the output before a ResNet's last ReLU

and each is averaged over n images, with its standard error, the standard deviation (n - 1) over sqrt(n). A few
images with tiny branches can carry the mean of ratios, so the ratio of means stands beside it,

    R = mean ||z|| / mean ||f(z)||,

with the standard error of the delta method: R behaves like the mean of (||z|| - R ||f(z)||) / mean ||f(z)||, so

    error^2 = [Var ||z|| - 2 R Cov(||z||, ||f(z)||) + R^2 Var ||f(z)||] / (n (mean ||f(z)||)^2).

The covariance comes from Var(||z|| + ||f(z)||) = Var ||z|| + Var ||f(z)|| + 2 Cov, so variances are all that
is kept.

The line "spatial tokens" of Figure 7 is the mean over all tokens but CLS and registers. Tokens of one image
are not independent, so each image gives one such mean first, and the standard error is again over images.

Where a branch is exactly zero in some image, the ratio there is infinite and the angle has no meaning. That
image is left out of that token's mean of the ratio and of the cosine with the branch; a skip of zero (behind a
ReLU, say) has the ratio 0, and no cosine. How many images were left out is told beside every result, and a
token without any image is NaN. The ratio of means leaves none out.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from seelike.data import ImageSet
from seelike.models import Layer, Residual, places, read, residuals
from seelike.models.measurable import require_measurable
from seelike.models.places import Place
from seelike.streaming import Images, accumulate
from seelike.streaming.moments import ImageMoments

# Numbers that are multiplied and summed at a time, so that the products stay in cache: a quarter of the time.
_NUMBERS_IN_CACHE = 2**17
# Sums of squares in this range have not lost anything to overflow or underflow of float32.
_SMALLEST, _LARGEST = 1e-20, 1e30
# With this share of the squares of skip and branch left in the output's, float32 gives its cosine to 1e-6.
_LEFT_OF_OUTPUT = 0.05
# What is averaged over images. The sum of the two norms is there for their covariance.
_RATIO, _SKIP_NORM, _BRANCH_NORM, _SUM_OF_NORMS, _WITH_BRANCH, _WITH_OUTPUT = range(6)


@dataclass(frozen=True, eq=False)
class SkipEstimates:
    """What skip and branch have to do with each other, on average over images, with standard errors.

    Attributes:
        mean_ratio: Mean of ||z|| / ||f(z)||.
        mean_ratio_error: Its standard error.
        ratio_of_means: Mean of ||z|| over mean of ||f(z)||.
        ratio_of_means_error: Its standard error.
        cosine_with_branch: Mean cosine of z with f(z).
        cosine_with_branch_error: Its standard error.
        cosine_with_output: Mean cosine of z with z + f(z).
        cosine_with_output_error: Its standard error.

    Standard errors are over images, NaN for a single one.
    """

    mean_ratio: Float64[Tensor, "*tokens"]
    mean_ratio_error: Float64[Tensor, "*tokens"]
    ratio_of_means: Float64[Tensor, "*tokens"]
    ratio_of_means_error: Float64[Tensor, "*tokens"]
    cosine_with_branch: Float64[Tensor, "*tokens"]
    cosine_with_branch_error: Float64[Tensor, "*tokens"]
    cosine_with_output: Float64[Tensor, "*tokens"]
    cosine_with_output_error: Float64[Tensor, "*tokens"]

    def __getitem__(self, token: int | slice) -> "SkipEstimates":
        """Give one token, or several.

        Example:
            >>> ratios = SkipRatio()
            >>> ratios.update(torch.full((3, 2, 4), 6.0), torch.full((3, 2, 4), 2.0))
            >>> ratios.compute().tokens[0].mean_ratio
            tensor(3., dtype=torch.float64)
        """
        return SkipEstimates(**{name: values[token] for name, values in vars(self).items()})


@dataclass(frozen=True, eq=False)
class SkipStatistics:
    """The result of `SkipRatio`.

    Attributes:
        tokens: Each token by itself, `[t]`; CLS and registers first, as the network has them.
        spatial: The mean over the spatial tokens (all but CLS and registers), `[]`.
        images: How many images there were.
        num_prefix_tokens: How many tokens are CLS or registers.
        left_out: How many images each token's mean leaves out, `[t]`, under "mean_ratio" (the branch is zero),
            "cosine_with_branch" (skip or branch is zero) and "cosine_with_output" (skip or output is zero).
        has_cls: Whether the first token, if it is not spatial, is CLS and not a register.
    """

    tokens: SkipEstimates
    spatial: SkipEstimates
    images: int
    num_prefix_tokens: int
    left_out: dict[str, Int64[Tensor, " tokens"]]
    has_cls: bool = True

    @property
    def cls(self) -> SkipEstimates:
        """The CLS token, `[]`: the first of all tokens.

        Raises:
            ValueError: There is none, as in CNNs, Mixers and ViTs trained with GAP alone.
        """
        if self.num_prefix_tokens == 0 or not self.has_cls:
            others = "spatial tokens" if self.num_prefix_tokens == 0 else "registers and spatial tokens"
            raise ValueError(f"There is no CLS token here, only {others}. Use `spatial` or `tokens`.")
        return self.tokens[0]


class SkipRatio(ImageMoments):
    """Norm ratio and angles of skip and branch at one residual addition (Figures 7, E.1 and E.2).

    Two accumulators that saw different images can be merged, and the state can be saved and loaded. An update
    that fails changes nothing.

    Args:
        num_prefix_tokens: How many of the first tokens are CLS or registers. The mean over spatial tokens leaves
            them out.

    Example:
        >>> ratios = SkipRatio(num_prefix_tokens=1)
        >>> skip = torch.tensor([[[3.0, 4.0], [1.0, 0.0]], [[0.0, 5.0], [2.0, 0.0]]])  # 2 images, 2 tokens
        >>> branch = torch.tensor([[[3.0, 4.0], [0.0, 1.0]], [[0.0, 5.0], [0.0, 1.0]]])
        >>> ratios.update(skip, branch)
        >>> result = ratios.compute()
        >>> result.tokens.mean_ratio, result.tokens.mean_ratio_error
        (tensor([1.0000, 1.5000], dtype=torch.float64), tensor([0.0000, 0.5000], dtype=torch.float64))
        >>> float(result.cls.cosine_with_branch), float(result.spatial.cosine_with_branch)
        (1.0, 0.0)
    """

    _settings = ("num_prefix_tokens",)

    def __init__(self, num_prefix_tokens: int = 0) -> None:
        """Start without images."""
        if num_prefix_tokens < 0:
            raise ValueError(f"num_prefix_tokens is {num_prefix_tokens}; expected 0 or more.")
        self.num_prefix_tokens = num_prefix_tokens
        super().__init__()

    def update(self, skip: Float[Tensor, "..."], branch: Float[Tensor, "..."]) -> None:
        """Add images. Feature maps become tokens with `seelike.models.Place.tokens`.

        Args:
            skip: z of each token, `[b, t, d]`, of any floating dtype.
            branch: f(z) of the same tokens, `[b, t, d]`.

        Raises:
            ValueError: The shapes differ from each other or from those before, there are no spatial tokens, or
                there are NaN, infinite or huge numbers (beyond 1e150).

        Example:
            >>> ratios = SkipRatio()
            >>> ratios.update(torch.ones(3, 2, 4), torch.ones(3, 2, 4))
            >>> ratios.images
            3
        """
        if skip.shape != branch.shape or skip.ndim != 3:
            raise ValueError(
                f"got a skip of shape {list(skip.shape)} and a branch of shape {list(branch.shape)}; expected "
                "two of the same shape [b, t, d]. Where a block changes the resolution, the skip is what its "
                "shortcut gives."
            )
        if len(skip) == 0:
            return
        if skip.shape[1] <= self.num_prefix_tokens:
            raise ValueError(
                f"got {skip.shape[1]} tokens, of which {self.num_prefix_tokens} are CLS or registers; expected "
                "spatial tokens after them."
            )
        if skip.device.type == "mps":  # Apple's GPUs have no float64.
            skip, branch = skip.cpu(), branch.cpu()
        values = _values(skip.detach(), branch.detach())
        spatial = values[:, :, self.num_prefix_tokens :].nanmean(dim=2, keepdim=True)
        # Each [quantity, token], and a last token for the mean over the spatial ones.
        values = torch.cat((values, spatial), dim=2)
        self._add_values(values, there=~values.isnan())

    def _describe(self, sums: Mapping[str, Any]) -> str:
        return f"{sums['mean'].shape[1] - 1} tokens"

    def compute(self) -> SkipStatistics:
        """Compute means and standard errors from all images so far.

        Raises:
            RuntimeError: There were no images.

        Example:
            >>> ratios = SkipRatio()
            >>> ratios.update(torch.full((3, 2, 4), 6.0), torch.full((3, 2, 4), -2.0))
            >>> result = ratios.compute()
            >>> result.tokens.ratio_of_means
            tensor([3., 3.], dtype=torch.float64)
            >>> result.spatial.cosine_with_branch, result.spatial.cosine_with_output
            (tensor(-1., dtype=torch.float64), tensor(1., dtype=torch.float64))
        """
        mean, variance, error = self.mean, self.variance, self.standard_error
        ratio = mean[_SKIP_NORM] / mean[_BRANCH_NORM]
        a, b, both = variance[_SKIP_NORM], variance[_BRANCH_NORM], variance[_SUM_OF_NORMS]
        # Var a - 2 R Cov + R^2 Var b with 2 Cov = both - a - b. Rounding can take it below zero.
        of_difference = ((1 + ratio) * a + ratio * (1 + ratio) * b - ratio * both).clamp(min=0)
        estimates = SkipEstimates(
            mean_ratio=mean[_RATIO],
            mean_ratio_error=error[_RATIO],
            ratio_of_means=ratio,
            ratio_of_means_error=(of_difference / self.images).sqrt() / mean[_BRANCH_NORM],
            cosine_with_branch=mean[_WITH_BRANCH],
            cosine_with_branch_error=error[_WITH_BRANCH],
            cosine_with_output=mean[_WITH_OUTPUT],
            cosine_with_output_error=error[_WITH_OUTPUT],
        )
        left_out = self.images - self._sums["counts"][:, :-1]
        return SkipStatistics(
            tokens=estimates[:-1],
            spatial=estimates[-1],
            images=self.images,
            num_prefix_tokens=self.num_prefix_tokens,
            left_out={
                "mean_ratio": left_out[_RATIO],
                "cosine_with_branch": left_out[_WITH_BRANCH],
                "cosine_with_output": left_out[_WITH_OUTPUT],
            },
        )


def _values(skip: Float[Tensor, "b t d"], branch: Float[Tensor, "b t d"]) -> Float64[Tensor, "b 6 t"]:
    """Measure each token of each image; NaN where a zero vector leaves nothing to measure."""
    at_a_time = max(1, _NUMBERS_IN_CACHE // max(1, skip[0].numel())) if skip.device.type == "cpu" else len(skip)
    parts = zip(skip.split(at_a_time), branch.split(at_a_time), strict=True)
    zz, ff, oo, zf, zo = torch.cat([_products(z, f) for z, f in parts], dim=1)
    skip_norm, branch_norm, output_norm = zz.sqrt(), ff.sqrt(), oo.sqrt()
    quotients = (
        (skip_norm, branch_norm),
        (zf, skip_norm * branch_norm),
        (zo, skip_norm * output_norm),
    )
    ratio, with_branch, with_output = (
        torch.where(divisor > 0, dividend / divisor, torch.nan) for dividend, divisor in quotients
    )
    return torch.stack((ratio, skip_norm, branch_norm, skip_norm + branch_norm, with_branch, with_output), dim=1)


def _products(z: Float[Tensor, "b t d"], f: Float[Tensor, "b t d"]) -> Float64[Tensor, "5 b t"]:
    """Compute the inner products <z, z>, <f, f>, <o, o>, <z, f> and <z, o>, where o = z + f."""
    if torch.float64 not in (z.dtype, f.dtype):
        z32, f32 = z.float(), f.float()
        zz, ff, zf = torch.stack([(x * y).sum(dim=2) for x, y in ((z32, z32), (f32, f32), (z32, f32))]).double()
        oo = zz + 2 * zf + ff
        in_range = (torch.minimum(zz, ff) > _SMALLEST) & (torch.maximum(zz, ff) < _LARGEST)
        # Where f is nearly -z, the rounding of the other products is all that would be left of the output's.
        if bool((in_range & (oo > _LEFT_OF_OUTPUT * (zz + ff))).all()):
            return torch.stack((zz, ff, oo, zf, zz + zf))
    z, f = z.double(), f.double()
    o = z + f
    products = torch.stack([(x * y).sum(dim=2) for x, y in ((z, z), (f, f), (o, o), (z, f), (z, o))])
    if not bool(torch.isfinite(products).all()):
        raise ValueError(
            "skip or branch contains NaN, infinite or huge numbers (beyond 1e150). Look for what overflows before."
        )
    return products


def skip_ratios(
    model: nn.Module, images: ImageSet | Tensor, *, batch_size: int = 64, cache: str | Path | None = None
) -> dict[str, SkipStatistics]:
    """Measure skip against branch at every residual addition of a network (Figures 7, E.1 and E.2).

    Both are the operands of the very addition, read as the network adds them, and nothing of them is kept.

    Args:
        model: A network with residual connections in evaluation mode.
        images: An image set, prepared as the network's configuration asks, or prepared images
            `[n, channels, height, width]`.
        batch_size: Images in a forward pass. The result does not depend on it.
        cache: Folder to keep the state in, so that a call that was stopped goes on where it was.

    Returns:
        The statistics by name of the residual addition ("block 3/attention", "block 3/mlp"; of a ResNet
        "block 3/branch"), in firing order. `seelike.models.residuals` gives their kinds and blocks. Where a
        branch or skip was exactly zero, a warning names the residual additions.

    Raises:
        ValueError: The network has no residual connections or is in training mode, its tokens are not known,
            activations are NaN or infinite, or there are no images.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> ratios = skip_ratios(load("test_vit:random"), data.load("fashion-mnist/test").sample(8, seed=0))
        >>> list(ratios)[:3]
        ['block 1/attention', 'block 1/mlp', 'block 2/attention']
        >>> ratios["block 1/mlp"].tokens.mean_ratio.shape  # CLS and 10 x 10 patches
        torch.Size([101])
        >>> lines = [float(ratio.cls.mean_ratio) for ratio in ratios.values()]
    """
    require_measurable(model)
    places = _places(model, residuals(model), Images(images, model)[:1])

    def empty() -> dict[str, SkipRatio]:
        return {residual.name: SkipRatio(len(place.prefix)) for residual, place in places.items()}

    def measure(batch: Tensor, first: int) -> dict[str, SkipRatio]:
        ratios = empty()
        _measure(model, places, batch, ratios)
        return ratios

    into = accumulate(model, images, measure, empty(), batch_size=batch_size, what="skip ratios", cache=cache)
    has_cls = {residual.name: place.has_cls for residual, place in places.items()}
    results = {name: replace(ratios.compute(), has_cls=has_cls[name]) for name, ratios in into.items()}
    zeros = [name for name, result in results.items() if any(map(torch.any, result.left_out.values()))]
    if zeros:
        warnings.warn(
            f"Skip or branch is exactly zero for some tokens of some images at {', '.join(map(repr, zeros))}. "
            "Those images are left out of the tokens' mean ratios and cosines; `left_out` counts them.",
            RuntimeWarning,
            stacklevel=2,
        )
    return results


def _places(model: nn.Module, additions: Sequence[Residual], image: Tensor) -> dict[Residual, Place]:
    """Where the tokens of each addition are. What cannot be told apart into tokens is left out, with a warning."""
    found = places(model, [residual.operands[0] for residual in additions], image)
    known = {residual: found[residual.operands[0].name] for residual in additions}
    left_out = {
        residual.name: place
        for residual, place in known.items()
        if place.channels is None or place.kind == "vector" or place.num_tokens == len(place.prefix)
    }
    if left_out:
        name, place = next(iter(left_out.items()))
        told = f"at {name!r}, skip and branch are {list(place.shape)} for one image, and {place.why}"
        if len(left_out) == len(additions):
            raise ValueError(f"The tokens of {type(model).__name__} are not known: {told}")
        warnings.warn(
            f"{len(left_out)} of {len(additions)} residual additions are left out: {told}",
            RuntimeWarning,
            stacklevel=4,
        )
    return {residual: place for residual, place in known.items() if residual.name not in left_out}


def _measure(
    model: nn.Module, places: Mapping[Residual, Place], batch: Tensor, ratios: Mapping[str, SkipRatio]
) -> None:
    part_of = {layer.name: residual for residual in places for layer in residual.operands}
    held: dict[str, Tensor] = {}

    def reduce(layer: Layer, activation: Tensor) -> None:
        residual = part_of[layer.name]
        held[layer.name] = activation
        skip, branch = residual.operands
        if skip.name in held and branch.name in held:
            place = places[residual]
            both = (place.tokens(held.pop(each.name)) for each in (skip, branch))
            try:
                ratios[residual.name].update(*both)
            except ValueError as error:
                raise ValueError(f"Residual addition {residual.name!r}: {error}") from error

    read(model, [layer for residual in places for layer in residual.operands], batch, reduce)
