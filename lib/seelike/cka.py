"""Centred kernel alignment (CKA): how alike two layers arrange the same images.

Take n images. Layer X turns them into features [n, p], layer Y into features [n, q]; p and q may differ.
Their Gram matrices K = X X' and L = Y Y', both [n, n], hold the inner products of all pairs of images. The
Hilbert-Schmidt independence criterion HSIC(K, L) measures how much the two agree, and

    CKA(K, L) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))

is that agreement on a scale where 1 means the same up to rotation and isotropic scaling.

The plain estimator of HSIC is biased: two unrelated layers look alike where images are few and features many.
The estimator of Song et al. (2012) has no bias. With K~ and L~ for K and L with zeros on the diagonal, it is

    HSIC = 1 / (n (n - 3)) * [ tr(K~ L~) + 1'K~1 1'L~1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'K~ L~1 ].

It is an inner product in disguise. Let U zero the diagonal, subtract what rows and columns have in common,

    U(K)_ij = K~_ij - sum_k K~_ik / (n - 2) - sum_k K~_kj / (n - 2) + sum_kl K~_kl / ((n - 1)(n - 2))

for i != j, and zero the diagonal again ("U-centring", Szekely and Rizzo 2014). Then

    HSIC = <U(K), U(L)> / (n (n - 3)),

so all pairs of layers are one matrix product of flattened U-centred Grams. It also says what values can come
out: HSIC of a layer with itself is a squared norm, so never negative; HSIC of two layers may be negative, and
so may CKA: where two layers are unrelated, unbiased estimates lie on both sides of zero. |CKA| <= 1. Nothing
here is clamped.

Ten thousand images do not fit in one Gram matrix. Since each minibatch gives an unbiased HSIC, Nguyen et al.
(2020) average each of the three HSICs over minibatches first, and divide once at the end. (The average of the
CKAs of minibatches would be biased.) That is what Appendix A of Raghu et al. (2021) does.

Sources: Song et al. (2012), Feature selection via dependence maximization; Kornblith et al. (2019),
Similarity of neural network representations revisited; Nguyen et al. (2020), Do wide and deep networks learn
the same things?; Raghu et al. (2021), Section 3 and Appendix A.
"""

import math
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor, nn
from tqdm.auto import tqdm

from seelike.data import ImageSet
from seelike.errors import unknown_name
from seelike.models import Layer, preprocessing, read
from seelike.models import layers as all_layers

# Features that are centred and multiplied at a time. float32 adds up over a slice, float64 over slices: so a
# few huge features drown only their own slice (CKA errs by 2e-7 at most where one feature is 10,000 times the
# others). A slice also stays in cache.
_SLICE = 2048
# Below so many images the products cost no more than reading the features, and float64 comes free.
_FEW_IMAGES = 32
# What rounding leaves of a U-centred Gram whose exact value is zero, for each image, relative to the Gram.
_ROUNDING = 16 * torch.finfo(torch.float64).eps


class DeadLayerError(ValueError):
    """Layers that show every image the same (or all pairs of images equally alike): their CKA is 0 / 0.

    Attributes:
        names: The names of the layers.
    """

    def __init__(self, names: Sequence[Hashable]) -> None:
        """Make the error for the layers of these names."""
        self.names = tuple(names)
        super().__init__(
            f"Dead layers: {', '.join(map(repr, self.names))}. Their U-centred Gram is zero on every "
            "minibatch, because all images look the same there, so their CKA is 0 / 0. Leave these layers out, "
            'or ask for NaN in their rows and columns with compute(on_dead="nan").'
        )


def gram(x: Shaped[Tensor, "..."]) -> Float64[Tensor, "n n"]:
    """Compute the Gram matrix of features from which their mean over the images is subtracted.

    HSIC does not depend on that mean, but in floating point it would swamp the rest: at 1,000 times the
    spread it costs 5e-2 to 4e-1 of CKA in float32.

    Args:
        x: Features `[n, ...]` of n images, of any floating dtype; the axes after the first are flattened.

    Returns:
        Inner products of the centred features of all pairs of images, `[n, n]`.

    Raises:
        TypeError: `x` is not a tensor of a floating dtype.
        ValueError: `x` has no axis of images, no image, NaN or infinite numbers, or numbers so large or small
            that float64 cannot hold their products.

    Example:
        >>> gram(torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 6.0]]))
        tensor([[ 5.,  3., -8.],
                [ 3.,  5., -8.],
                [-8., -8., 16.]], dtype=torch.float64)
    """
    _check_features(x)
    x = x.detach()
    if x.device.type == "mps":  # Apple's GPUs have no float64.
        x = x.cpu()
    features = x.flatten(1) if x.ndim > 1 else x[:, None]
    if features.dtype != torch.float64 and len(x) >= _FEW_IMAGES and _float32_products_are_exact():
        # Half the time of float64 on one core (16 against 30 ms for [256, 50 * 256], 27 against 59 ms for
        # [128, 64 * 28 * 28]), and far less on graphics cards. CKA errs by some 1e-9; float64 by 1e-15.
        k = _centred_products(features, torch.float32)
        if _float32_suffices(k):
            return k
    k = _centred_products(features, torch.float64)
    # HSIC squares these once more. Beyond this range it would overflow, or a layer would seem dead.
    if not 1e-140 < float(k.abs().max()) < 1e140:
        if not bool(torch.isfinite(features).all()):
            raise ValueError("the activations contain NaN or infinite numbers. Look for what overflows before.")
        if bool((features != features[:1]).any()):
            raise ValueError("the activations are out of range (1e-70 to 1e70). Scale them: CKA stays the same.")
    return k


def _check_features(x: Any) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"got an object of type {type(x).__name__}; expected a tensor [n, ...].")
    if not x.is_floating_point():
        raise TypeError(f"got a tensor of dtype {x.dtype}; expected a floating dtype. Convert it with .float().")
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"got a tensor of shape {list(x.shape)}; expected [n, ...] with n images first.")


def _float32_products_are_exact() -> bool:
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # Set by a newer interface that this one cannot read: so it was changed.
        return False


def _centred_products(features: Float[Tensor, "n d"], dtype: torch.dtype) -> Float64[Tensor, "n n"]:
    n = len(features)
    products = torch.zeros(n, n, dtype=torch.float64, device=features.device)
    block = math.ceil(n / 4)
    # Autocast would turn the products into float16 or bfloat16.
    with torch.autocast(features.device.type, enabled=False):
        for part in features.split(_SLICE, dim=1):
            part = part.to(dtype)
            if dtype == torch.float64:
                # float64 cannot average equal numbers exactly, but subtracts them so: a constant gives zero.
                part = part - part[:1]
            # The mean in float64 of equal float32 numbers is exact: here, too, a constant gives zero.
            part = part - part.mean(dim=0, dtype=torch.float64).to(dtype)
            # The matrix is symmetric: compute the lower triangle in blocks, 5/8 of the work.
            for i in range(0, n, block):
                products[i:, i : i + block] += part[i:] @ part[i : i + block].T
    return products.tril() + products.tril(-1).T


def _float32_suffices(k: Float64[Tensor, "n n"]) -> bool:
    # Rounding in float32 is relative to the Gram, and what counts is the U-centred Gram. Where that is far
    # smaller (one image far from the others, images all equally far apart), or products leave the range of
    # float32, the answer is no.
    off_diagonal = k - k.diag().diag()
    spread = torch.linalg.vector_norm(_u_center(k)) > 0.1 * torch.linalg.vector_norm(off_diagonal)
    largest = k.abs().max()
    return bool(spread & (largest > 1e-20) & (largest < 1e30))


def _u_center(k: Float64[Tensor, "n n"]) -> Float64[Tensor, "n n"]:
    n = len(k)
    off_diagonal = k - k.diag().diag()
    rows = off_diagonal.sum(dim=1, keepdim=True) / (n - 2)
    columns = off_diagonal.sum(dim=0, keepdim=True) / (n - 2)
    centred = off_diagonal - rows - columns + rows.sum() / (n - 1)
    centred.fill_diagonal_(0)
    # Where the exact result is zero, rounding leaves noise, whose CKA would look like a value.
    rounding = n * _ROUNDING * torch.linalg.vector_norm(off_diagonal)
    return centred * (torch.linalg.vector_norm(centred) > rounding)


def u_center(k: Float[Tensor, "n n"]) -> Float64[Tensor, "n n"]:
    """U-centre a Gram matrix: zero its diagonal, then remove what its rows and its columns have in common.

    The result has zero row sums, column sums and diagonal. U-centring it again changes nothing. Where the
    exact result is zero (all images look the same, or all pairs of images equally alike), all that would be
    left is rounding, and zero is what you get.

    Args:
        k: Gram matrix of n >= 4 images; as `gram` gives it, or any other.

    Returns:
        U(k), as the head of this module defines it.

    Raises:
        ValueError: There are fewer than 4 images.

    Example:
        >>> u_center(gram(torch.tensor([0.0, 0.0, 3.0, 3.0])))
        tensor([[ 0.0000,  3.0000, -1.5000, -1.5000],
                [ 3.0000,  0.0000, -1.5000, -1.5000],
                [-1.5000, -1.5000,  0.0000,  3.0000],
                [-1.5000, -1.5000,  3.0000,  0.0000]], dtype=torch.float64)
    """
    _check_enough_images(len(k))
    return _u_center(k.double())


def _check_enough_images(n: int) -> None:
    if n < 4:
        raise ValueError(f"got {n} images; unbiased HSIC divides by n (n - 3) and needs at least 4.")


def hsic(x: Shaped[Tensor, "..."], y: Shaped[Tensor, "..."]) -> float:
    """Estimate HSIC of two layers without bias, from one batch of images (Song et al. 2012).

    Args:
        x: Features `[n, ...]` of n >= 4 images.
        y: Features `[n, ...]` of the same images in the same order.

    Returns:
        <U(K), U(L)> / (n (n - 3)). It can be negative where the layers are unrelated.

    Raises:
        TypeError: An argument is not a tensor of a floating dtype.
        ValueError: n < 4, unequal n, NaN or infinite numbers.

    Example:
        >>> x = torch.tensor([0.0, 0.0, 3.0, 3.0])
        >>> hsic(x, x)
        13.5
    """
    flat = _u_centred_grams({"x": x, "y": y}, gram, _common_n({"x": x, "y": y}))
    return float(flat[0] @ flat[1]) / _pairs(len(x))


def cka(x: Shaped[Tensor, "..."], y: Shaped[Tensor, "..."]) -> float:
    """Estimate CKA of two layers from one batch of images, with unbiased HSIC.

    Args:
        x: Features `[n, ...]` of n >= 4 images.
        y: Features `[n, ...]` of the same images in the same order.

    Returns:
        HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)), between -1 and 1. It does not change when features are
        rotated, shifted, or all scaled by one factor.

    Raises:
        DeadLayerError: A layer shows every image the same.
        TypeError: An argument is not a tensor of a floating dtype.
        ValueError: n < 4, unequal n, NaN or infinite numbers.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 1.0], [4.0, 2.0], [2.0, 5.0]])
        >>> rotated = x @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
        >>> round(cka(x, 10 * rotated + 7), 6)
        1.0
        >>> round(cka(x, x[:, :1]), 6)
        0.7479
    """
    one_batch = MinibatchCKA()
    one_batch.update({"x": x, "y": y})
    return float(one_batch.compute()[0, 1])


def _pairs(n: int) -> int:
    return n * (n - 3)


@contextmanager
def _naming(name: Hashable) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"Layer {name!r}: {error}") from error


def _common_n(xs: Mapping[Hashable, Any]) -> int:
    first_name: Hashable = None
    n = 0
    for name, x in xs.items():
        with _naming(name):
            _check_features(x)
            if n == 0:
                first_name, n = name, len(x)
                _check_enough_images(n)
            if len(x) != n:
                raise ValueError(
                    f"got {len(x)} images, but layer {first_name!r} has {n}. All layers of an update must "
                    "have seen the same images, in the same order."
                )
    return n


def _check_gram(k: Float[Tensor, "..."]) -> Float64[Tensor, "n n"]:
    if k.ndim != 2 or k.shape[0] != k.shape[1]:
        raise ValueError(f"got a tensor of shape {list(k.shape)}; expected a Gram matrix [n, n].")
    if not bool(torch.isfinite(k).all()):
        raise ValueError("the Gram matrix contains NaN or infinite numbers.")
    return k.detach().double()


def _u_centred_grams(
    xs: Mapping[Hashable, Tensor], to_gram: Callable[[Tensor], Tensor], n: int
) -> Float64[Tensor, "layers pairs"]:
    # One Gram at a time goes straight into its row, so that features and Grams do not pile up.
    flat: Tensor | None = None
    for i, (name, x) in enumerate(xs.items()):
        with _naming(name):
            centred = u_center(to_gram(x))
        if flat is None:
            flat = centred.new_empty(len(xs), n * n)
        flat[i] = centred.flatten()
    assert flat is not None
    return flat


class MinibatchCKA:
    """CKA of all pairs of layers over minibatches: average the HSICs, divide once (Nguyen et al. 2020).

    Every minibatch counts the same, whatever its size, as in the paper, whose minibatches are equal. Each is
    an unbiased estimate, so unequal sizes bring no bias, only more noise from the small ones: keep sizes
    nearly equal.

    An update that fails changes nothing. What is kept are three sums of HSICs, so two accumulators that saw
    different images can be merged, and the state can be saved and loaded.

    Example:
        >>> images = torch.arange(24.0).reshape(8, 3).sin()
        >>> similarity = MinibatchCKA()
        >>> for batch in images.split(4):
        ...     similarity.update({"pixels": batch, "doubled": 2 * batch, "squared": batch**2})
        >>> similarity.names[0]
        ('pixels', 'doubled', 'squared')
        >>> similarity.compute().shape
        torch.Size([3, 3])
        >>> round(float(similarity.compute()[0, 1]), 6)
        1.0
    """

    def __init__(self) -> None:
        """Start without layers: the first update names them."""
        self.reset()

    def reset(self) -> None:
        """Forget all updates, and the names of the layers.

        Example:
            >>> similarity = MinibatchCKA()
            >>> similarity.update({"a": torch.eye(5)[:, :2]})
            >>> similarity.reset()
            >>> similarity.names
            ((), ())
        """
        self._rows: tuple[Hashable, ...] = ()
        self._columns: tuple[Hashable, ...] | None = None  # None: the rows against themselves
        self._hsic: dict[str, Tensor] = {}

    @property
    def names(self) -> tuple[tuple[Hashable, ...], tuple[Hashable, ...]]:
        """The names of the rows and of the columns of `compute()`; empty before the first update."""
        return self._rows, self._rows if self._columns is None else self._columns

    def update(self, xs: Mapping[Any, Any], ys: Mapping[Any, Any] | None = None) -> None:
        """Add a minibatch of features.

        Args:
            xs: Features `[n, ...]` by name of layer, n >= 4. The order of the first update is that of the
                rows.
            ys: Features of the same images, for the columns; None compares `xs` with itself, symmetrically,
                computing each Gram once.

        Raises:
            TypeError: A layer is not a tensor of a floating dtype.
            ValueError: There are no layers, or their names are not those of the first update; or a layer has
                fewer than 4 images, another number of images than the others, NaN or infinite numbers. The
                error names the layer.

        Example:
            >>> similarity = MinibatchCKA()
            >>> x = torch.arange(10.0).reshape(5, 2).cos()
            >>> similarity.update({"a": x, "b": x.exp()}, {"c": x.abs()})
            >>> similarity.compute().shape
            torch.Size([2, 1])
        """
        self._update(xs, ys, gram)

    def update_grams(self, xs: Mapping[Any, Any], ys: Mapping[Any, Any] | None = None) -> None:
        """Add a minibatch of Gram matrices, for features that were reduced to them where they arose.

        Args:
            xs: Gram matrices `[n, n]` by name of layer, as from `gram`; U-centred or not. Give float64:
                float32 Grams are only as good as the rounding in them.
            ys: As in `update`.

        Raises:
            TypeError: A layer is not a tensor of a floating dtype.
            ValueError: As in `update`, or a matrix is not square.

        Example:
            >>> similarity = MinibatchCKA()
            >>> x = torch.arange(10.0).reshape(5, 2).cos()
            >>> similarity.update_grams({"a": gram(x), "b": gram(x.exp())})
            >>> bool(similarity.compute()[0, 1] == cka(x, x.exp()))
            True
        """
        self._update(xs, ys, _check_gram)

    def _update(
        self, xs: Mapping[Any, Any], ys: Mapping[Any, Any] | None, to_gram: Callable[[Tensor], Tensor]
    ) -> None:
        rows, columns = tuple(xs), None if ys is None else tuple(ys)
        if not rows or columns == ():
            raise ValueError(f"{'xs' if not rows else 'ys'} is empty; expected at least one layer.")
        if self._rows:
            self._check_names(rows, columns)
            # By name: an update whose mapping has another order still reaches its own rows.
            xs = {name: xs[name] for name in self._rows}
            ys = None if ys is None else {name: ys[name] for name in self.names[1]}
        n = _common_n(xs)
        x = _u_centred_grams(xs, to_gram, n)
        if ys is None:
            products = x @ x.T
            # Blocked products need not be symmetric to the last bit.
            cross = (products + products.T) / 2
            sums = {"cross": cross, "rows": cross.diag(), "columns": cross.diag()}
        else:
            _check_same_n(n, rows[0], ys)
            y = _u_centred_grams(ys, to_gram, n).to(x.device)
            sums = {"cross": x @ y.T, "rows": x.square().sum(dim=1), "columns": y.square().sum(dim=1)}
        if not self._rows:
            self._rows, self._columns = rows, columns
        self._add({key: value.cpu() / _pairs(n) for key, value in sums.items()})

    def _add(self, sums: Mapping[str, Tensor]) -> None:
        self._hsic = {key: value + self._hsic.get(key, 0) for key, value in sums.items()}

    def _check_names(self, rows: tuple[Hashable, ...], columns: tuple[Hashable, ...] | None) -> None:
        if (columns is None) != (self._columns is None):
            before, now = ("without", "with") if self._columns is None else ("with", "without")
            raise ValueError(f"Earlier updates came {before} ys, this one {now}. Use one MinibatchCKA for each.")
        for which, given, known in (("xs", rows, self._rows), ("ys", columns or (), self._columns or ())):
            missing = [name for name in known if name not in given]
            extra = [name for name in given if name not in known]
            if missing or extra:
                raise ValueError(
                    f"The layers of {which} differ from those of earlier updates: "
                    f"missing {missing or 'none'}, new {extra or 'none'}. Give the same layers, or reset() first."
                )

    def compute(self, on_dead: Literal["raise", "nan"] = "raise") -> Float64[Tensor, "rows columns"]:
        """Compute CKA from all updates so far.

        Args:
            on_dead: What to do about layers that show every image the same, in every minibatch, whose CKA is
                0 / 0: raise an error that names them, or put NaN in their rows and columns.

        Returns:
            CKA of each row with each column, on the CPU. Values lie between -1 and 1 for one minibatch;
            averages over minibatches keep to that, too. A layer with itself gives 1.

        Raises:
            DeadLayerError: There are dead layers, and `on_dead` is "raise".
            RuntimeError: There was no update.

        Example:
            >>> similarity = MinibatchCKA()
            >>> similarity.update({"dead": torch.ones(5, 3), "alive": torch.arange(5.0)})
            >>> similarity.compute(on_dead="nan")
            tensor([[   nan,    nan],
                    [   nan, 1.0000]], dtype=torch.float64)
        """
        if not self._rows:
            raise RuntimeError("There is nothing to compute: call update() first.")
        if on_dead == "raise" and (dead := self.dead()):
            raise DeadLayerError(dead)
        # Roots before the product, which could overflow. A dead layer divides 0 by 0.
        rows, columns = self._hsic["rows"].sqrt(), self._hsic["columns"].sqrt()
        return self._hsic["cross"] / (rows[:, None] * columns)

    def dead(self) -> tuple[Hashable, ...]:
        """List the layers that showed every image the same in all updates so far.

        Example:
            >>> similarity = MinibatchCKA()
            >>> similarity.update({"dead": torch.full((5, 3), 0.1), "alive": torch.arange(5.0)})
            >>> similarity.dead()
            ('dead',)
        """
        rows, columns = self.names
        sums = [*zip(rows, self._hsic["rows"], strict=True), *zip(columns, self._hsic["columns"], strict=True)]
        return tuple(dict.fromkeys(name for name, value in sums if value == 0))

    def merge(self, other: "MinibatchCKA") -> None:
        """Add what another accumulator saw, as if its updates had been made here.

        Args:
            other: It saw the same layers, on other images. It stays as it is.

        Raises:
            ValueError: The layers differ.

        Example:
            >>> whole, first, second = MinibatchCKA(), MinibatchCKA(), MinibatchCKA()
            >>> a, b = torch.arange(20.0).sin().reshape(2, 5, 2)
            >>> for part, batch in ((first, a), (second, b)):
            ...     whole.update({"x": batch, "y": batch**2})
            ...     part.update({"x": batch, "y": batch**2})
            >>> first.merge(second)
            >>> bool((first.compute() == whole.compute()).all())
            True
        """
        if not other._rows:
            return
        if not self._rows:
            self._rows, self._columns = other._rows, other._columns
        self._check_names(other._rows, other._columns)
        rows = [other._rows.index(name) for name in self._rows]
        columns = [other.names[1].index(name) for name in self.names[1]]
        theirs = other._hsic
        self._add(
            {
                "cross": theirs["cross"][rows][:, columns],
                "rows": theirs["rows"][rows],
                "columns": theirs["columns"][columns],
            }
        )

    def state_dict(self) -> dict[str, Any]:
        """Give the state as plain values and tensors, for `torch.save`.

        Returns:
            The names of rows and columns (None: the rows against themselves), and the sums of HSICs over
            minibatches.

        Example:
            >>> similarity = MinibatchCKA()
            >>> similarity.update({"a": torch.arange(5.0)})
            >>> list(similarity.state_dict())
            ['row_names', 'column_names', 'cross', 'rows', 'columns']
        """
        return {"row_names": self._rows, "column_names": self._columns, **self._hsic}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state, in place of what was here. Later updates go on from it.

        Args:
            state: What `state_dict()` gave.

        Raises:
            ValueError: It is not such a state.

        Example:
            >>> similarity, later = MinibatchCKA(), MinibatchCKA()
            >>> similarity.update({"a": torch.arange(5.0)})
            >>> later.load_state_dict(similarity.state_dict())
            >>> later.compute()
            tensor([[1.0000]], dtype=torch.float64)
        """
        fields = {"row_names", "column_names"}
        sums = {key: value for key, value in state.items() if key not in fields}
        expected = {"cross", "rows", "columns"} if state.get("row_names") else set()
        if not fields <= set(state) or set(sums) != expected:
            raise ValueError(
                f"This is not the state of a MinibatchCKA: it has {sorted(state)}; expected "
                f"{sorted(fields | expected)}. Give what state_dict() returned."
            )
        self._rows = tuple(state["row_names"])
        self._columns = None if state["column_names"] is None else tuple(state["column_names"])
        self._hsic = sums


def _check_same_n(n: int, name: Hashable, ys: Mapping[Hashable, Any]) -> None:
    other_name, other = next(iter(ys)), _common_n(ys)
    if other != n:
        raise ValueError(
            f"Layer {name!r} of xs has {n} images, but layer {other_name!r} of ys has {other}. All layers of "
            "an update must have seen the same images, in the same order."
        )


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """CKA of all layers of several networks with each other, once for each draw of images.

    Attributes:
        layers: The layers that were read, by name of the network, in the order of the rows.
        cka: CKA of all layers of all networks with each other, `[repeats, all layers, all layers]`; networks
            in the order of `layers`. NaN in rows and columns of layers that were dead.

    Example:
        >>> layers = {"a": [Layer("block 1", "block", 1, 0.0, "0"), Layer("block 2", "block", 2, 1.0, "1")],
        ...           "b": [Layer("block 1", "block", 1, 0.0, "0")]}
        >>> cka = np.array([[[1, 0.8, 0.4], [0.8, 1, 0.2], [0.4, 0.2, 1]],
        ...                 [[1, 0.6, 0.2], [0.6, 1, 0], [0.2, 0, 1]]])
        >>> comparison = ModelComparison(layers, cka)
        >>> comparison.between("a", "b").shape
        (2, 2, 1)
        >>> comparison.mean("a", "b").round(6)
        array([[0.3],
               [0.1]])
        >>> comparison.standard_error("a", "b").round(6)
        array([[0.1],
               [0.1]])
        >>> comparison.depth("a")
        array([0., 1.])
    """

    layers: dict[str, list[Layer]]
    cka: Float64[np.ndarray, "repeats all all"] = field(repr=False)

    def between(self, a: str, b: str) -> Float64[np.ndarray, "repeats a b"]:
        """CKA of each layer of network `a` with each layer of `b`, for each repeat.

        Raises:
            UnknownName: A network was not compared.
        """
        return self.cka[:, self._of(a), self._of(b)]

    def mean(self, a: str, b: str) -> Float64[np.ndarray, "a b"]:
        """Mean of `between` over the repeats. NaN where a layer was dead in any of them."""
        return self.between(a, b).mean(axis=0)

    def depth(self, model: str) -> Float64[np.ndarray, " layers"]:
        """Relative depth of each layer of a network, from 0 (first) to 1 (last).

        Raises:
            UnknownName: The network was not compared.
        """
        self._of(model)
        return np.array([layer.depth for layer in self.layers[model]], dtype=np.float64)

    def standard_error(self, a: str, b: str) -> Float64[np.ndarray, "a b"]:
        """Standard error of `mean`: the standard deviation over repeats (n - 1), divided by sqrt(repeats).

        It tells how much the draw of images matters. One repeat tells nothing about that, so it gives NaN.
        """
        values = self.between(a, b)
        if len(values) == 1:
            return np.full(values.shape[1:], np.nan)
        return values.std(axis=0, ddof=1) / math.sqrt(len(values))

    def _of(self, model: str) -> slice:
        if model not in self.layers:
            raise unknown_name("model", model, self.layers)
        names = list(self.layers)
        start = sum(len(self.layers[name]) for name in names[: names.index(model)])
        return slice(start, start + len(self.layers[model]))


def compare_models(
    models: Mapping[str, nn.Module],
    images: ImageSet,
    *,
    number_of_images: int,
    batch_size: int,
    repeats: int,
    seed: int,
    layers: Mapping[str, Sequence[Layer]] | None = None,
    device: str | torch.device = "cpu",
) -> ModelComparison:
    """Measure CKA of all layers of all networks with each other (Figures 1, 2 and B.1; Appendix A).

    Each repeat draws its own images and splits them into the fewest minibatches of at most `batch_size`,
    whose sizes differ by one at most. Every network runs once on each minibatch. Its activations become Gram
    matrices as they arise, and are gone before the next layer; then all pairs of layers are one matrix
    product.

    Memory: twice (layers of all networks) x batch_size^2 x 8 bytes for the Grams, and one activation at a
    time. Time: the Grams are most of it, and cost features x batch_size for each image.

    Args:
        models: Networks in evaluation mode, by name. They are moved to `device`. Each gets the images as its
            own configuration asks for them.
        images: Where to draw from.
        number_of_images: Images in each repeat, drawn without replacement.
        batch_size: Most images in a minibatch. HSIC is unbiased for any size; smaller ones add noise.
        repeats: How many draws; repeat r is drawn with seed `seed + r`.
        seed: Seed of the first draw.
        layers: Which layers to read, by name of the network; all of its layers where a network is not in it.
        device: Where the networks run.

    Returns:
        The comparison. A layer that was dead (showed all images of a repeat the same) has NaN in its rows and
        columns there, with a warning that names it, and the run goes on.

    Raises:
        UnknownName: `layers` is for a network that is not in `models`.
        ValueError: There are no networks, no repeats or no layers, too few images, minibatches of fewer than
            4 images, NaN or infinite activations; the error names the network and the layer.

    Example:
        >>> from seelike import data
        >>> from seelike.models import layers, load
        >>> model = load("test_vit:random")
        >>> comparison = compare_models(
        ...     {"ViT": model},
        ...     data.load("fashion-mnist/test"),
        ...     number_of_images=8, batch_size=4, repeats=2, seed=0,
        ...     layers={"ViT": layers(model, kinds=["block"])},
        ... )
        >>> comparison.mean("ViT", "ViT").diagonal().round(6)
        array([1., 1., 1., 1., 1., 1.])
    """
    if not models:
        raise ValueError("models is empty; expected at least one network.")
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; expected at least 1.")
    for name in layers or {}:
        if name not in models:
            raise unknown_name("model", name, models)
    read_from = {
        name: list(layers[name]) if layers and name in layers else all_layers(model)
        for name, model in models.items()
    }
    for name, chosen in read_from.items():
        if not chosen:
            raise ValueError(f"The list of layers of model {name!r} is empty; expected at least one layer.")
    minibatches = _minibatches(number_of_images, batch_size)
    prepare = {name: preprocessing(model) for name, model in models.items()}
    for model in models.values():
        model.to(device)

    results: list[np.ndarray] = []
    dead: dict[Hashable, None] = {}
    description = f"CKA of {sum(map(len, read_from.values()))} layers"
    with tqdm(total=repeats * len(minibatches), desc=description, unit="minibatch") as progress:
        for repeat in range(repeats):
            drawn = images.sample(number_of_images, seed + repeat)
            similarity = MinibatchCKA()
            for minibatch in minibatches:
                # Opened once for all networks: each prepares them its own way.
                pictures = [drawn[i] for i in minibatch]
                grams: dict[tuple[str, str], Tensor] = {}
                for name, model in models.items():
                    batch = torch.stack([prepare[name](picture) for picture in pictures])
                    grams |= _read_grams(name, model, read_from[name], batch)
                similarity.update_grams(grams)
                progress.update()
            dead |= dict.fromkeys(similarity.dead())
            results.append(similarity.compute(on_dead="nan").numpy())
    if dead:
        warnings.warn(
            f"Dead layers: {', '.join(map(repr, dead))}. All images of a repeat look the same there, so their "
            "CKA is NaN. Leave them out with layers=...",
            RuntimeWarning,
            stacklevel=2,
        )
    return ModelComparison(layers=read_from, cka=np.stack(results))


def _minibatches(number_of_images: int, batch_size: int) -> list[list[int]]:
    if batch_size < 4 or number_of_images < 4:
        raise ValueError(
            f"number_of_images is {number_of_images} and batch_size {batch_size}; "
            "unbiased HSIC needs at least 4 images in a minibatch."
        )
    parts = np.array_split(np.arange(number_of_images), math.ceil(number_of_images / batch_size))
    if len(parts[-1]) < 4:
        raise ValueError(
            f"{number_of_images} images in minibatches of at most {batch_size} leave {len(parts[-1])} images in "
            "some; unbiased HSIC needs at least 4. Choose a number_of_images that batch_size divides."
        )
    return [part.tolist() for part in parts]


def _read_grams(
    name: str, model: nn.Module, layers: Sequence[Layer], batch: Float[Tensor, "n channels height width"]
) -> dict[tuple[str, str], Float64[Tensor, "n n"]]:
    def reduce(layer: Layer, activation: Tensor) -> Tensor:
        with _naming((name, layer.name)):
            if activation.ndim == 0 or len(activation) != len(batch):
                raise ValueError(
                    f"got an activation of shape {list(activation.shape)} for {len(batch)} images; "
                    "expected [n, ...] with the images first. Read another layer."
                )
            return gram(activation)

    return {(name, layer): k for layer, k in read(model, layers, batch, reduce).items()}
