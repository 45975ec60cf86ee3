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
from jaxtyping import Float, Float64
from torch import Tensor


class Moments:
    """Running mean and standard error over images, in float64.

    Two accumulators that saw different images can be merged, and the state can be saved and loaded.

    Example:
        >>> moments = Moments()
        >>> moments.update(torch.tensor([[1.0, 10.0], [3.0, 10.0]]))
        >>> moments.count, moments.mean, moments.standard_error
        (2, tensor([ 2., 10.], dtype=torch.float64), tensor([1., 0.], dtype=torch.float64))
    """

    def __init__(self) -> None:
        """Start without images."""
        self.reset()

    def reset(self) -> None:
        """Forget all images.

        Example:
            >>> moments = Moments()
            >>> moments.update(torch.ones(3))
            >>> moments.reset()
            >>> moments.count
            0
        """
        self.count = 0
        self._mean = torch.zeros(())
        self._squares = torch.zeros(())

    def update(self, values: Float[Tensor, "b *shape"]) -> None:
        """Add images, one row for each.

        Args:
            values: What was measured, `[b, ...]`, of the same shape for each image.

        Raises:
            ValueError: The shape for one image is not that of the images before.

        Example:
            >>> moments = Moments()
            >>> moments.update(torch.tensor([1.0, 2.0]))
            >>> moments.update(torch.tensor([6.0]))
            >>> float(moments.mean)
            3.0
        """
        if len(values) == 0:
            return
        values = values.detach().double()
        mean = values.mean(dim=0)
        self._add(len(values), mean, (values - mean).square().sum(dim=0))

    def _add(self, count: int, mean: Tensor, squares: Tensor) -> None:
        if self.count == 0:
            self.count, self._mean, self._squares = count, mean, squares
            return
        if mean.shape != self._mean.shape:
            raise ValueError(
                f"got values of shape {list(mean.shape)} for each image, but {list(self._mean.shape)} before. "
                "Measure all images in the same way, or reset() first."
            )
        total = self.count + count
        difference = mean.to(self._mean.device) - self._mean
        # Not in place: the tensors may be those of another accumulator, or of a state that was saved.
        self._mean = self._mean + difference * (count / total)
        between = difference.square() * (self.count * count / total)
        self._squares = self._squares + squares.to(self._squares.device) + between
        self.count = total

    @property
    def mean(self) -> Float64[Tensor, "*shape"]:
        """Mean over the images.

        Raises:
            RuntimeError: There were no images.
        """
        self._require_images()
        return self._mean

    @property
    def standard_error(self) -> Float64[Tensor, "*shape"]:
        """Standard error of the mean: sample standard deviation (n - 1) over sqrt(n). NaN for one image.

        Raises:
            RuntimeError: There were no images.
        """
        self._require_images()
        if self.count == 1:
            return torch.full_like(self._mean, torch.nan)
        return (self._squares / (self.count * (self.count - 1))).sqrt()

    def _require_images(self) -> None:
        if self.count == 0:
            raise RuntimeError("There is nothing to compute: call update() first.")

    def merge(self, other: "Moments") -> None:
        """Add the images that another accumulator saw. It stays as it is.

        Raises:
            ValueError: The shapes differ.

        Example:
            >>> first, second = Moments(), Moments()
            >>> first.update(torch.tensor([1.0, 2.0]))
            >>> second.update(torch.tensor([6.0]))
            >>> first.merge(second)
            >>> first.count, float(first.mean)
            (3, 3.0)
        """
        if other.count:
            self._add(other.count, other._mean, other._squares)

    def state_dict(self) -> dict[str, Any]:
        """Give the state as plain values and tensors, for `torch.save`.

        Example:
            >>> sorted(Moments().state_dict())
            ['count', 'mean', 'squares']
        """
        return {"count": self.count, "mean": self._mean, "squares": self._squares}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state, in place of what was here. Later updates go on from it.

        Raises:
            ValueError: It is not such a state.

        Example:
            >>> moments, later = Moments(), Moments()
            >>> moments.update(torch.tensor([1.0, 3.0]))
            >>> later.load_state_dict(moments.state_dict())
            >>> float(later.mean)
            2.0
        """
        check_state(state, self)
        self.count, self._mean, self._squares = state["count"], state["mean"], state["squares"]


def check_state(state: Mapping[str, Any], accumulator: Any) -> None:
    """Refuse a state that has not the keys of the accumulator's own `state_dict()`.

    Args:
        state: What is to be loaded.
        accumulator: What is to load it.

    Raises:
        ValueError: The keys differ.

    Example:
        >>> check_state({"count": 1}, Moments())
        Traceback (most recent call last):
            ...
        ValueError: This is not the state of a Moments: it has ['count']; expected ['count', 'mean', 'squares']. \
Give what state_dict() returned.
    """
    expected = sorted(accumulator.state_dict())
    if sorted(state) != expected:
        raise ValueError(
            f"This is not the state of a {type(accumulator).__name__}: it has {sorted(state)}; expected "
            f"{expected}. Give what state_dict() returned."
        )
