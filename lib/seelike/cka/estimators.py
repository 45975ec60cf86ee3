"""Estimate HSIC and CKA from features or Gram matrices; `seelike.cka` has the mathematics."""

import math
import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor
from torch.nn import functional as F

from seelike.neighbours import nearest, number_of_neighbours, shared_neighbours
from seelike.streaming.accumulator import Accumulator

# Features that are centred and multiplied at a time: a slice of some hundred images stays in cache. float32 adds
# up over a slice, float64 over slices, so a few huge features drown only their own slice: CKA errs by 2e-6 at most
# where one feature is 10,000 times the others.
SLICE = 4096
# Images whose rows of a Gram matrix are multiplied at a time, up to the diagonal: at best half the work. On a GPU
# a quarter of all, which leaves 5/8 of it: there small products cost more to begin than to do.
_BLOCK = 128
# For the same reason a GPU has many slices in one call: a minibatch of ViT-L/16 would take 450,000 calls.
_SLICES_ON_GPU = 16
# Numbers of all Grams together that are turned into float64 at a time, to multiply them: 16 MB.
_CHUNK = 2**21
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
    features = _flat(x)
    if features.dtype != torch.float64 and len(x) >= _FEW_IMAGES and float32_products_are_exact():
        # Half the time of float64 on one core, and far less on graphics cards. CKA errs by some 1e-9; float64 by
        # 1e-15.
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


def float32_products_are_exact() -> bool:
    """Tell whether matrix products of float32 are in float32, and not in TF32 or bfloat16.

    Example:
        >>> float32_products_are_exact()
        True
    """
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # Set by a newer interface that this one cannot read: so it was changed.
        return False


def _flat(x: Float[Tensor, "n ..."]) -> Float[Tensor, "n d"]:
    if x.ndim == 1:
        return x[:, None]
    # HSIC does not depend on the order of the features. That of memory saves a copy of transposed tokens and of
    # channels_last feature maps.
    axes = sorted(range(1, x.ndim), key=x.stride, reverse=True)
    return x.permute(0, *axes).flatten(1)


def slices_at_once(device: torch.device) -> int:
    """Tell how many slices of features are centred and multiplied in one call.

    Example:
        >>> slices_at_once(torch.device("cpu"))
        1
    """
    return 1 if device.type == "cpu" else _SLICES_ON_GPU


def _centred_products(features: Float[Tensor, "n d"], dtype: torch.dtype) -> Float64[Tensor, "n n"]:
    n, d = features.shape
    at_once = slices_at_once(features.device)
    block = _BLOCK if at_once == 1 else math.ceil(n / 4)
    products = torch.zeros(n, n, dtype=torch.float64, device=features.device)
    # Slices of one width, so that all products have one shape, for which oneDNN prepares only once.
    slices = max(1, math.ceil(d / SLICE))
    width = max(1, math.ceil(d / slices))
    average = torch.full((1, n), 1 / n, dtype=dtype, device=features.device)
    centred = torch.empty(n, width * min(slices, at_once), dtype=dtype, device=features.device)
    # Autocast would turn the products into float16 or bfloat16.
    with torch.autocast(features.device.type, enabled=False):
        for part in features.split(centred.shape[1], dim=1):
            part = part.to(dtype)
            if dtype == torch.float64:
                # Equal numbers less one of them are zero, less their average need not be: a constant gives zero.
                # In float32 it need not, since then float32 does not suffice.
                part = part - part[:1]
            torch.sub(part, average @ part, out=centred[:, : part.shape[1]])
            if part.shape[1] < centred.shape[1]:
                centred[:, part.shape[1] :] = 0
            for i in range(0, n, block):
                end = i + block
                products[i:end, :end].add_(_products_of_slices(centred[i:end], centred[:end], width))
    return products.tril_().add_(products.tril(-1).T)


def _products_of_slices(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], width: int
) -> Float[Tensor, "n m"] | Float64[Tensor, "n m"]:
    """Multiply the rows of a with the rows of b, slice by slice; the sum over slices is float64."""
    if a.shape[1] == width:
        return _product(a, b)
    one, other = (rows.unflatten(1, (-1, width)).transpose(0, 1) for rows in (a, b))
    return (one @ other.mT).sum(dim=0, dtype=torch.float64)


def _product(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Multiply the rows of a with the rows of b."""
    if a.dtype == torch.float32 and a.device.type == "cpu" and torch.backends.mkldnn.is_available():
        # Through oneDNN, which uses all that the processor has. MKL, the default, does not on AMD's: 98 against
        # 190 GFLOP/s on one core with AVX-512.
        return F.linear(a.to_mkldnn(), b).to_dense()
    return a @ b.T


def _float32_suffices(k: Float64[Tensor, "n n"]) -> bool:
    # Rounding in float32 is relative to the Gram, and what counts is the U-centred Gram. Where that is far
    # smaller (one image far from the others, images all equally far apart), or products leave the range of
    # float32, the answer is no. The squared norms of both, without making the U-centred Gram:
    n = len(k)
    diagonal = k.diag()
    rows = k.sum(dim=1) - diagonal
    off_diagonal = k.flatten() @ k.flatten() - diagonal @ diagonal
    centred = off_diagonal - 2 / (n - 2) * (rows @ rows) + rows.sum() ** 2 / ((n - 1) * (n - 2))
    largest = diagonal.max()
    return bool((centred > 0.01 * off_diagonal) & (largest > 1e-20) & (largest < 1e30))


def _u_center(k: Float64[Tensor, "n n"]) -> Float64[Tensor, "n n"]:
    n = len(k)
    centred = k.clone()
    centred.fill_diagonal_(0)
    # Where the exact result is zero, rounding leaves noise, whose CKA would look like a value.
    rounding = n * _ROUNDING * torch.linalg.vector_norm(centred)
    rows = centred.sum(dim=1, keepdim=True) / (n - 2)
    centred.sub_(rows).sub_(rows.T - rows.sum() / (n - 1)).fill_diagonal_(0)
    return centred.mul_(torch.linalg.vector_norm(centred) > rounding)


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
    both = _u_centred_grams({"x": x, "y": y}, gram, _common_n({"x": x, "y": y}))
    return float(both.hsic()[0, 1])


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


@contextmanager
def naming(name: Hashable) -> Iterator[None]:
    """Say in errors about features which layer they are of.

    Example:
        >>> with naming("block 1"):
        ...     gram(torch.tensor(0.0))
        Traceback (most recent call last):
            ...
        ValueError: Layer 'block 1': got a tensor of shape []; expected [n, ...] with n images first.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"Layer {name!r}: {error}") from error


def _common_n(xs: Mapping[Hashable, Any]) -> int:
    first_name: Hashable = None
    n = 0
    for name, x in xs.items():
        with naming(name):
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


class CentredGrams:
    """The U-centred Gram matrices of one minibatch, packed: from them come the HSICs of all pairs of layers.

    A U-centred Gram is symmetric with a zero diagonal, so the numbers above the diagonal say it all:

        HSIC = 2 <upper(U(K)), upper(U(L))> / (n (n - 3)).

    In float32 that is a quarter of the memory of the matrix in float64, 2.1 MB for 1,024 images. Rounding to
    float32 costs CKA some 1e-9, since the products are summed in float64. Each Gram is scaled by a power of two,
    which is exact, so that float32 can hold it.

    Args:
        names: Names of the layers.
        n: Images of the minibatch.
        dtype: Of the numbers that are kept.
        device: Where they are kept.
        on_disk: Keep them in a temporary file, not in memory.
        neighbours: Find the nearest neighbours of each image, too, for `shared_neighbours`.

    Example:
        >>> x = torch.arange(10.0).reshape(5, 2).cos()
        >>> grams = CentredGrams(["a", "b"], n=5)
        >>> grams["a"] = gram(x)
        >>> grams["b"] = gram(x.exp())
        >>> hsics = grams.hsic()
        >>> round(float(hsics[0, 1] / (hsics[0, 0] * hsics[1, 1]).sqrt()), 6) == round(cka(x, x.exp()), 6)
        True
    """

    def __init__(
        self,
        names: Sequence[Hashable],
        n: int,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
        on_disk: bool = False,
        neighbours: bool = False,
    ) -> None:
        """Make room for the Grams of the layers."""
        _check_enough_images(n)
        self.names = tuple(names)
        self.n = n
        self._place = {name: place for place, name in enumerate(self.names)}
        self._rows = list(range(len(self.names)))
        self._scale = torch.zeros(len(self.names), dtype=torch.float64, device=device)
        above = torch.ones(n, n, dtype=torch.bool, device=device).triu_(1)
        self._above = above.flatten().nonzero().squeeze(1)
        # It is closed, and gone, with the last of the Grams.
        self._file = tempfile.TemporaryFile() if on_disk else None  # noqa: SIM115
        rows = 1 if on_disk else len(self.names)
        self._packed = torch.empty(rows, len(self._above), dtype=dtype, device=device)
        found = (len(self.names), n, number_of_neighbours(n))
        self._nearest = torch.zeros(found, dtype=torch.int64, device=device) if neighbours else None

    @property
    def device(self) -> torch.device:
        """Where they are kept."""
        return self._packed.device

    def __setitem__(self, name: Hashable, k: Float[Tensor, "n n"]) -> None:
        """U-centre a Gram matrix and pack it.

        Raises:
            KeyError: There is no layer of this name.
        """
        row = self._place[name]
        if self._nearest is not None:
            self._nearest[row] = nearest(k)
        upper = u_center(k).flatten()[self._above]
        scale = math.ldexp(1, math.frexp(float(upper.abs().max()))[1])
        self._scale[row] = scale
        if self._file is None:
            self._packed[row] = upper.div_(scale)
            return
        self._packed[0] = upper.div_(scale)
        content = self._packed[0].cpu().numpy()
        self._file.seek(row * content.nbytes)
        self._file.write(content.data)

    def of(self, names: Sequence[Hashable]) -> "CentredGrams":
        """Give the Grams of some of the layers; they are shared, not copied.

        Raises:
            KeyError: There is no layer of such a name.
        """
        part = object.__new__(CentredGrams)
        part.__dict__.update(self.__dict__)
        part.names = tuple(names)
        part._rows = [self._place[name] for name in names]
        return part

    def hsic(self, other: "CentredGrams | None" = None) -> Float64[Tensor, "rows columns"]:
        """Estimate HSIC of each layer with each layer of `other`, or of these with one another."""
        if other is None:
            hsics = self._scaled(sum(x @ x.T for x in self._chunks())) * self._scale[self._rows]
            # Blocked products need not be symmetric to the last bit.
            return (hsics + hsics.T) / 2
        chunks = zip(self._chunks(), other._chunks(), strict=True)
        return self._scaled(sum(x @ y.T for x, y in chunks)) * other._scale[other._rows]

    def hsic_of_pairs(self, other: "CentredGrams | None" = None) -> Float64[Tensor, " rows"]:
        """Estimate HSIC of each layer with the one in the same place of `other`, or with itself."""
        other = other or self
        chunks = zip(self._chunks(), other._chunks(), strict=True)
        products = sum((x * y).sum(dim=1, keepdim=True) for x, y in chunks)
        return self._scaled(products).squeeze(1) * other._scale[other._rows]

    def shared_neighbours(self, other: "CentredGrams | None" = None) -> Float64[Tensor, "rows columns"]:
        """Measure how many neighbours each layer shares with each of `other`, or of these with one another."""
        other = other or self
        assert self._nearest is not None
        assert other._nearest is not None
        return shared_neighbours(self._nearest[self._rows], other._nearest[other._rows])

    def _scaled(self, products: Any) -> Float64[Tensor, "rows columns"]:
        return products * (2 / (self.n * (self.n - 3))) * self._scale[self._rows, None]

    def _chunks(self) -> Iterator[Float64[Tensor, "rows columns"]]:
        # By the rows of all layers, so that two parts of the same Grams have the same chunks.
        width = max(1, _CHUNK // len(self._scale))
        for start in range(0, len(self._above), width):
            stop = min(start + width, len(self._above))
            if self._file is None:
                yield self._packed[self._rows, start:stop].double()
            else:
                yield torch.stack([self._from_file(row, start, stop) for row in self._rows])

    def _from_file(self, row: int, start: int, stop: int) -> Float64[Tensor, " columns"]:
        assert self._file is not None
        size = self._packed.element_size()
        self._file.seek((row * len(self._above) + start) * size)
        content = bytearray(self._file.read((stop - start) * size))
        return torch.frombuffer(content, dtype=self._packed.dtype).to(self._packed.device, torch.float64)


def _u_centred_grams(xs: Mapping[Any, Any], to_gram: Callable[[Tensor], Tensor], n: int) -> CentredGrams:
    # One Gram at a time goes straight into its place, so that features and Grams do not pile up.
    grams: CentredGrams | None = None
    for name, x in xs.items():
        with naming(name):
            k = to_gram(x)
            if grams is None:
                grams = CentredGrams(tuple(xs), n, device=k.device)
            grams[name] = k.to(grams.device)
    assert grams is not None
    return grams


class MinibatchCKA(Accumulator):
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

    # Columns that are None: the rows against themselves.
    _names = ("row_names", "column_names", "cross", "rows", "columns")

    @property
    def names(self) -> tuple[tuple[Hashable, ...], tuple[Hashable, ...]]:
        """The names of the rows and of the columns of `compute()`; empty before the first update."""
        rows, columns = self._sums.get("row_names", ()), self._sums.get("column_names")
        return rows, rows if columns is None else columns

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
        if self.count:
            self._require_alike({"row_names": rows, "column_names": columns})
            # By name: an update whose mapping has another order still reaches its own rows.
            xs = {name: xs[name] for name in self.names[0]}
            ys = None if ys is None else {name: ys[name] for name in self.names[1]}
        n = _common_n(xs)
        if ys is not None:
            _check_same_n(n, rows[0], ys)
        x = _u_centred_grams(xs, to_gram, n)
        self.update_centred(x, None if ys is None else _u_centred_grams(ys, to_gram, n))

    def update_centred(self, xs: CentredGrams, ys: CentredGrams | None = None) -> None:
        """Add a minibatch of Grams that are U-centred and packed already.

        Args:
            xs: The Grams of the rows. Their names have the order of the first update.
            ys: Those of the columns; None compares `xs` with itself.

        Raises:
            ValueError: The names are not those of the first update, in its order.

        Example:
            >>> grams = CentredGrams(["a"], n=5)
            >>> grams["a"] = gram(torch.arange(5.0))
            >>> similarity = MinibatchCKA()
            >>> similarity.update_centred(grams)
            >>> similarity.compute()
            tensor([[1.]], dtype=torch.float64)
        """
        names = {"row_names": xs.names, "column_names": None if ys is None else ys.names}
        if self.count:
            self._require_alike(names)
            if any(self._sums[key] != value for key, value in names.items()):
                raise ValueError("The order of the layers is not that of the first update. Give xs.of(names).")
        self._add(1, names | {key: value.cpu() for key, value in self._hsics(xs, ys).items()})

    @staticmethod
    def _hsics(xs: CentredGrams, ys: CentredGrams | None) -> dict[str, Tensor]:
        if ys is None:
            cross = xs.hsic()
            return {"cross": cross, "rows": cross.diag(), "columns": cross.diag()}
        return {"cross": xs.hsic(ys), "rows": xs.hsic_of_pairs(), "columns": ys.hsic_of_pairs()}

    def _joined(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        names = (sums["row_names"], sums["column_names"] or sums["row_names"])
        rows, columns = (list(map(given.index, own)) for given, own in zip(names, self.names, strict=True))
        return super()._joined(self._in_order(sums, rows, columns))

    @staticmethod
    def _in_order(sums: Mapping[str, Any], rows: list[int], columns: list[int]) -> dict[str, Any]:
        return {
            "cross": sums["cross"][rows][:, columns],
            "rows": sums["rows"][rows],
            "columns": sums["columns"][columns],
        }

    def _require_alike(self, sums: Mapping[str, Any]) -> None:
        ours, theirs = self._sums["column_names"], sums["column_names"]
        if (ours is None) != (theirs is None):
            before, now = ("without", "with") if ours is None else ("with", "without")
            raise ValueError(f"Earlier updates came {before} ys, this one {now}. Use one MinibatchCKA for each.")
        both = (("xs", sums["row_names"], self._sums["row_names"]), ("ys", theirs or (), ours or ()))
        for which, given, known in both:
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
            >>> similarity.compute(on_dead="nan").round(decimals=6)
            tensor([[nan, nan],
                    [nan, 1.]], dtype=torch.float64)
        """
        self._check_computable(on_dead)
        # Roots before the product, which could overflow. A dead layer divides 0 by 0.
        rows, columns = self._sums["rows"].sqrt(), self._sums["columns"].sqrt()
        return self._sums["cross"] / (rows[:, None] * columns)

    def _check_computable(self, on_dead: str) -> None:
        self._require_updates()
        if on_dead == "raise" and (dead := self.dead()):
            raise DeadLayerError(dead)

    def dead(self) -> tuple[Hashable, ...]:
        """List the layers that showed every image the same in all updates so far.

        Example:
            >>> similarity = MinibatchCKA()
            >>> similarity.update({"dead": torch.full((5, 3), 0.1), "alive": torch.arange(5.0)})
            >>> similarity.dead()
            ('dead',)
        """
        rows, columns = self.names
        sums = [*zip(rows, self._sums["rows"], strict=True), *zip(columns, self._sums["columns"], strict=True)]
        return tuple(dict.fromkeys(name for name, value in sums if value == 0))


class WithNeighbours(MinibatchCKA):
    """What accumulators that measure CKA and shared neighbours have in common."""

    _names = (*MinibatchCKA._names, "shared")  # type: ignore[assignment]  # one more than its base

    def compute_neighbours(self) -> Float64[Tensor, "..."]:
        """Average the nearest neighbours that layers share, from all updates so far (`seelike.neighbours`).

        Returns:
            Numbers in the places of those of `compute()`; NaN for dead layers.

        Raises:
            RuntimeError: There was no update.
        """
        self._require_updates()
        alive = torch.isfinite(self.compute(on_dead="nan"))
        return torch.where(alive, self._sums["shared"] / self.count, torch.nan)


class MinibatchCKAAndNeighbours(WithNeighbours):
    """CKA of all pairs of layers over minibatches, and how many nearest neighbours they share on average.

    It takes Grams by `update_centred`, with the neighbours in them.

    Example:
        >>> grams = CentredGrams(["a", "b"], n=5, neighbours=True)
        >>> grams["a"] = gram(torch.tensor([0.0, 1.0, 5.0, 6.0, 9.0]))
        >>> grams["b"] = gram(torch.tensor([0.0, 1.0, 3.7, 6.0, 7.0]))
        >>> similarity = MinibatchCKAAndNeighbours()
        >>> similarity.update_centred(grams)
        >>> similarity.compute_neighbours().round(decimals=6)
        tensor([[1.0000, 0.7333],
                [0.7333, 1.0000]], dtype=torch.float64)
    """

    @staticmethod
    def _hsics(xs: CentredGrams, ys: CentredGrams | None) -> dict[str, Tensor]:
        return {**MinibatchCKA._hsics(xs, ys), "shared": xs.shared_neighbours(ys)}

    @staticmethod
    def _in_order(sums: Mapping[str, Any], rows: list[int], columns: list[int]) -> dict[str, Any]:
        return {**MinibatchCKA._in_order(sums, rows, columns), "shared": sums["shared"][rows][:, columns]}


def _check_same_n(n: int, name: Hashable, ys: Mapping[Hashable, Any]) -> None:
    other_name, other = next(iter(ys)), _common_n(ys)
    if other != n:
        raise ValueError(
            f"Layer {name!r} of xs has {n} images, but layer {other_name!r} of ys has {other}. All layers of "
            "an update must have seen the same images, in the same order."
        )


class PairedCKA(MinibatchCKA):
    """CKA of fixed pairs of layers over minibatches: the first row with the first column, and so on.

    Like `MinibatchCKA`, with a number for each pair in place of a matrix: three sums of HSICs a pair. Figures 12
    and G.1 compare each block of one network with the same block of another in this way.

    Example:
        >>> images = torch.arange(24.0).reshape(8, 3).sin()
        >>> similarity = PairedCKA()
        >>> for batch in images.split(4):
        ...     similarity.update({"1": batch, "2": batch**2}, {"1": 2 * batch, "2": batch**2 + 5})
        >>> similarity.compute().round(decimals=6)
        tensor([1., 1.], dtype=torch.float64)
    """

    @staticmethod
    def _hsics(xs: CentredGrams, ys: CentredGrams | None) -> dict[str, Tensor]:
        if ys is None or len(xs.names) != len(ys.names):
            columns = 0 if ys is None else len(ys.names)
            raise ValueError(f"got {len(xs.names)} rows and {columns} columns; expected as many: they make pairs.")
        cross = xs.hsic_of_pairs(ys)
        return {"cross": cross, "rows": xs.hsic_of_pairs(), "columns": ys.hsic_of_pairs()}

    @staticmethod
    def _in_order(sums: Mapping[str, Any], rows: list[int], columns: list[int]) -> dict[str, Any]:
        if rows != columns:
            raise ValueError("The pairs differ from those of the other accumulator. Merge what compared the same.")
        return {key: sums[key][rows] for key in ("cross", "rows", "columns")}

    def compute(self, on_dead: Literal["raise", "nan"] = "raise") -> Float64[Tensor, " pairs"]:
        """Compute CKA of each pair from all updates so far.

        Args:
            on_dead: As in `MinibatchCKA.compute`.

        Returns:
            One number for each pair, on the CPU.

        Raises:
            DeadLayerError: There are dead layers, and `on_dead` is "raise".
            RuntimeError: There was no update.
        """
        self._check_computable(on_dead)
        return self._sums["cross"] / (self._sums["rows"].sqrt() * self._sums["columns"].sqrt())


class PairedCKAAndNeighbours(WithNeighbours, PairedCKA):
    """CKA of fixed pairs of layers over minibatches, and how many nearest neighbours they share on average.

    Example:
        >>> grams = CentredGrams(["a", "b"], n=5, neighbours=True)
        >>> grams["a"] = gram(torch.tensor([0.0, 1.0, 5.0, 6.0, 9.0]))
        >>> grams["b"] = gram(torch.tensor([0.0, 1.0, 3.7, 6.0, 7.0]))
        >>> similarity = PairedCKAAndNeighbours()
        >>> similarity.update_centred(grams.of(["a"]), grams.of(["b"]))
        >>> similarity.compute_neighbours().round(decimals=6)
        tensor([0.7333], dtype=torch.float64)
    """

    @staticmethod
    def _hsics(xs: CentredGrams, ys: CentredGrams | None) -> dict[str, Tensor]:
        return {**PairedCKA._hsics(xs, ys), "shared": xs.shared_neighbours(ys).diagonal().clone()}

    @staticmethod
    def _in_order(sums: Mapping[str, Any], rows: list[int], columns: list[int]) -> dict[str, Any]:
        return {**PairedCKA._in_order(sums, rows, columns), "shared": sums["shared"][rows]}
