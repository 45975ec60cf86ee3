"""What all running measurements have in common: they start anew, merge, and can be saved and loaded."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor


class Accumulator:
    """A running measurement of images that stream by: it keeps sums, not images.

    Accumulators that saw different images can be merged, in any order, and the state can be saved and loaded. An
    update that fails changes nothing.

    A subclass names its settings and its sums. Its `update` measures some images apart and hands their sums to
    `_add`, and its results come from `count` and `_sums`. Sums are not changed in place, since another accumulator
    or a state may have them too.

    Attributes:
        count: How many images there were; minibatches, where each of these counts the same.

    Example:
        >>> import torch
        >>> class MeanPower(Accumulator):
        ...     _settings = ("power",)
        ...     _names = ("powers",)
        ...
        ...     def __init__(self, power):
        ...         self.power = power
        ...         super().__init__()
        ...
        ...     def update(self, values):
        ...         self._add(len(values), {"powers": (values**self.power).sum(dim=0)})
        ...
        ...     def compute(self):
        ...         self._require_updates()
        ...         return self._sums["powers"] / self.count
        >>> first, second = MeanPower(2), MeanPower(2)
        >>> first.update(torch.tensor([1.0, 2.0]))
        >>> second.update(torch.tensor([4.0]))
        >>> first.merge(second)
        >>> first.count, float(first.compute())
        (3, 7.0)
        >>> first.state_dict()
        {'accumulator': 'MeanPower', 'power': 2, 'count': 3, 'powers': tensor(21.)}
        >>> second.load_state_dict(first.state_dict())
        >>> second.reset()
        >>> second.count
        0
        >>> MeanPower(3).merge(first)
        Traceback (most recent call last):
            ...
        ValueError: power is 2, but 3 here. Only what was measured in the same way can be merged or loaded.
    """

    # Attributes that must agree for a merge, and with a state that is loaded.
    _settings: ClassVar[tuple[str, ...]] = ()
    # What is in `_sums` once there were images: tensors that add up, and other values that all images share.
    _names: ClassVar[tuple[str, ...]] = ()

    count: int
    _sums: dict[str, Any]

    def __init__(self) -> None:
        """Start without images."""
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self.count = 0
        self._sums = {}

    def merge(self, other: "Accumulator") -> None:
        """Add what another accumulator saw, as if its updates had been made here. It stays as it is.

        Raises:
            ValueError: It is of another kind or has other settings, or its images do not fit those here.
        """
        self._require_same(other._identity())
        self._add(other.count, other._sums)

    def state_dict(self) -> dict[str, Any]:
        """Give the state as plain values and tensors, for `torch.save`. Later updates do not change it."""
        return {**self._identity(), "count": self.count, **self._copied(self._sums)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state, in place of what was here. Later updates go on from it, and leave it as it is.

        Raises:
            ValueError: It is not the state of such an accumulator, or of one with other settings.
        """
        expected = [*self._identity(), "count", *(self._names if state.get("count") else ())]
        if set(state) != set(expected):
            raise ValueError(
                f"This is not the state of a {type(self).__name__}: it has {list(state)}; expected {expected}. "
                "Give what state_dict() returned."
            )
        self._require_same(state)
        self.count = state["count"]
        self._sums = self._copied({name: value for name, value in state.items() if name in self._names})

    @staticmethod
    def _copied(sums: dict[str, Any]) -> dict[str, Any]:
        """Copy sums from or for a state. What changes them in place has to copy all of them."""
        return dict(sums)

    def _identity(self) -> dict[str, Any]:
        return {"accumulator": type(self).__name__, **{name: getattr(self, name) for name in self._settings}}

    def _require_same(self, given: Mapping[str, Any]) -> None:
        for name, own in self._identity().items():
            if given[name] != own:
                raise ValueError(
                    f"{name} is {given[name]!r}, but {own!r} here. Only what was measured in the same way can be "
                    "merged or loaded."
                )

    def _add(self, count: int, sums: Mapping[str, Any]) -> None:
        """Add the sums over some other images, if they fit."""
        if count == 0:
            return
        if self.count:
            self._require_alike(sums)
            sums = self._joined(sums)
        self._sums = dict(sums)
        self.count += count

    def _joined(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        """Join the sums here with others."""
        return {name: own + sums[name] if isinstance(own, Tensor) else own for name, own in self._sums.items()}

    def _require_alike(self, sums: Mapping[str, Any]) -> None:
        given, known = self._describe(sums), self._describe(self._sums)
        if given != known:
            raise ValueError(
                f"got {given}, but {known} before. Measure all images in the same way, with one "
                f"{type(self).__name__} for each layer, or reset() first."
            )

    def _describe(self, sums: Mapping[str, Any]) -> str:
        """Say what all images must have in common, for an error that compares it."""
        return str({name: list(x.shape) if isinstance(x, Tensor) else x for name, x in sums.items()})

    def _require_updates(self) -> None:
        if self.count == 0:
            raise RuntimeError("There is nothing to compute: call update() first.")
