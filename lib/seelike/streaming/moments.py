"""Mean and standard error of what is measured once for each image, without keeping the images' values.

For values x_1 ... x_n, the mean m and the sum of squared deviations S are all that is kept:

    m = sum_i x_i / n        S = sum_i (x_i - m)^2        standard error = sqrt(S / (n (n - 1)))

The sum of squares and the sum would do on paper, but their difference cancels where the mean is large. Two sets
of images merge exactly (Chan, Golub and LeVeque 1983): with d = m_b - m_a and n = n_a + n_b,

    m = m_a + d n_b / n      S = S_a + S_b + d^2 n_a n_b / n.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from seelike.streaming.accumulator import Accumulator


class ImageMoments(Accumulator):
    """Running mean and variance over images of what a subclass measures at each, in float64, on the CPU.

    Some values may be missing for some images, so each has a count of its own.
    """

    _names = ("counts", "mean", "squares")

    def _add_values(
        self, values: Float[Tensor, "b *shape"], there: Bool[Tensor, "b *shape"] | None = None
    ) -> None:
        """Add images, one row for each; without those values that are not there."""
        values = values.detach().double()
        if there is None:
            there = torch.ones_like(values, dtype=torch.bool)
        counts = there.sum(dim=0)
        # What no image has gets the mean 0, of weight 0.
        mean = torch.where(there, values, 0).sum(dim=0) / counts.clamp(min=1)
        squares = torch.where(there, values - mean, 0).square().sum(dim=0)
        self._add(len(values), {"counts": counts.cpu(), "mean": mean.cpu(), "squares": squares.cpu()})

    def _joined(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        own = self._sums
        counts = own["counts"] + sums["counts"]
        share = sums["counts"].double() / counts.clamp(min=1)
        difference = sums["mean"] - own["mean"]
        between = difference.square() * (own["counts"] * share)
        return {
            "counts": counts,
            "mean": own["mean"] + difference * share,
            "squares": own["squares"] + sums["squares"] + between,
        }

    @property
    def images(self) -> int:
        """How many images there were."""
        return self.count

    @property
    def mean(self) -> Float64[Tensor, "*shape"]:
        """Mean over the images; NaN where none has a value.

        Raises:
            RuntimeError: There were no images.
        """
        self._require_updates()
        return torch.where(self._sums["counts"] > 0, self._sums["mean"], torch.nan)

    @property
    def variance(self) -> Float64[Tensor, "*shape"]:
        """Variance over the images (n - 1). NaN for one image.

        Raises:
            RuntimeError: There were no images.
        """
        self._require_updates()
        return self._sums["squares"] / (self._sums["counts"] - 1).clamp(min=0)

    @property
    def standard_error(self) -> Float64[Tensor, "*shape"]:
        """Standard error of the mean: sample standard deviation (n - 1) over sqrt(n). NaN for one image.

        Raises:
            RuntimeError: There were no images.
        """
        return (self.variance / self._sums["counts"]).sqrt()


class Moments(ImageMoments):
    """Running mean and standard error over images, in float64.

    Two accumulators that saw different images can be merged, and the state can be saved and loaded.

    Example:
        >>> moments = Moments()
        >>> moments.update(torch.tensor([[1.0, 10.0], [3.0, 10.0]]))
        >>> moments.count, moments.mean, moments.standard_error
        (2, tensor([ 2., 10.], dtype=torch.float64), tensor([1., 0.], dtype=torch.float64))
    """

    def update(self, values: Float[Tensor, "b *shape"]) -> None:
        """Add images, one row for each.

        Args:
            values: What was measured, `[b, ...]`, of the same shape for each image.

        Raises:
            ValueError: The shape for one image is not that of the images before.
        """
        self._add_values(values)

    def _describe(self, sums: Mapping[str, Any]) -> str:
        return f"values of shape {list(sums['mean'].shape)} for each image"
