"""Ridge regression of classes in closed form, for any number of problems at once, at every strength.

n images have features X [n, d] and one of C classes. Their targets Y [n, C] are +1 for the own class and -1 for
the others. Ridge regression of strength a looks for the weights W [d, C] and the intercept b [C] that minimise

    |Y - X W - 1 b'|^2 + a |W|^2.

The intercept is not penalised, so it comes out by centring: with m and t the means of X and Y over images, and
Xc = X - 1 m', it is b = t - W'm, and W solves (Xc'Xc + a) W = Xc'Y. Two things make that cheap.

**No product with the targets.** Since Y = 2 E - 1 with E one-hot, X'Y is twice the sums of features over each
class, less the total. The total of centred features is zero. So sums are all that has to be kept of the images:
how many there are of each class, the class sums [C, d], and the scatter Xc'Xc [d, d].

**One factorisation for every strength.** With Xc'Xc = V S V' (V orthogonal, S diagonal),

    W(a) = V (S + a)^-1 A         A = V'Xc'Y  [r, C].

Where there are fewer images than features, the eigenvectors U of the smaller Xc Xc' = U S U' give V = Xc'U S^-1/2.

**Where one feature is far larger than another.** Eigenvalues of a product have the rounding of the largest one:
of a feature that is 1e7 times another, nothing of the smaller is left. So where the spread of features differs
by more than 1e5, their own scale is taken out before rounding can mix them: with K the scatter of features of
equal spread and c their spreads, Xc'Xc = diag(c) K diag(c), and K = Q L Q' gives a root R = L^1/2 Q' diag(c) of
it, whose singular values are the S^1/2. (Where there are fewer images than features, Xc itself is that root.)
That costs three times as much. Directions whose eigenvalues are rounding are left out; they get no weight.

Sources: Raghu et al. (2021), Appendix A; Dosovitskiy et al. (2021), Appendix D.4.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from seelike.probes.strength import agreement_and_error
from seelike.streaming.accumulator import Accumulator

# Spreads of features further apart than this are worked on with the features' own scale taken out.
_UNEVEN = 1e5


@dataclass(frozen=True)
class RidgePath:
    """The ridge regressions of every strength, from one eigendecomposition; any number of problems.

    Attributes:
        mean: Mean of the features over the images, `[*problems, d]`.
        basis: Directions V in feature space, `[*problems, d, r]`.
        eigenvalues: The scatter along them, `[*problems, r]`.
        moments: A = V'Xc'Y, `[*problems, r, classes]`.
        target_mean: Mean of the targets, `[classes]`.

    Example:
        >>> path = ridge_path(torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1]), 2)
        >>> ridge = path.at(torch.tensor(1.0))
        >>> ridge.weights
        tensor([[-0.4444,  0.4444]], dtype=torch.float64)
        >>> ridge.predict(torch.tensor([[1.0], [3.0]]))
        tensor([0, 1])
    """

    mean: Float[Tensor, "*problems d"]
    basis: Float[Tensor, "*problems d r"]
    eigenvalues: Float[Tensor, "*problems r"]
    moments: Float[Tensor, "*problems r classes"]
    target_mean: Float[Tensor, "classes"]

    def at(self, strength: Float[Tensor, "*problems"]) -> "Ridge":
        """Give the regression of one strength for each problem."""
        return Ridge(self.mean, self.basis @ self._along_basis(strength), self.target_mean)

    def scores(
        self,
        features: Float[Tensor, "*problems n d"],
        labels: Int64[Tensor, "n"],
        strengths: Float64[Tensor, "strengths"],
    ) -> Float64[Tensor, "n 2 strengths *problems"]:
        """Give each image's agreement and squared error at each strength, to choose the strength by.

        Example:
            >>> features, labels = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1])
            >>> path = ridge_path(features, labels, 2)
            >>> path.scores(features[:1], labels[:1], torch.tensor([1.0, 100.0]).double()).round(decimals=3)
            tensor([[[1.0000, 1.0000],
                     [0.0250, 1.3750]]], dtype=torch.float64)
        """
        projected = _centred(features, self.mean)
        projected = projected @ self.basis.to(projected.dtype)
        by_strength = []
        for strength in strengths:
            weights = self._along_basis(strength.expand(self.mean.shape[:-1])).to(projected.dtype)
            outputs = (projected @ weights).to(self.mean.dtype) + self.target_mean
            by_strength.append(agreement_and_error(outputs, labels))
        return torch.stack(by_strength, dim=1).movedim(-1, 0)

    def _along_basis(self, strength: Tensor) -> Tensor:
        return self.moments / (self.eigenvalues + strength.to(self.eigenvalues)[..., None])[..., None]


@dataclass(frozen=True)
class Ridge:
    """The ridge regression of one strength, for any number of problems: (x - mean)'weights + target_mean.

    Attributes:
        mean: Mean of the features, `[*problems, d]`.
        weights: W, `[*problems, d, classes]`.
        target_mean: Mean of the targets, `[classes]`.
    """

    mean: Float[Tensor, "*problems d"]
    weights: Float[Tensor, "*problems d classes"]
    target_mean: Float[Tensor, "classes"]

    @property
    def intercept(self) -> Float[Tensor, "*problems classes"]:
        """The intercept b, for features that are not centred."""
        return self.target_mean - (self.mean[..., None, :] @ self.weights)[..., 0, :]

    def outputs(self, features: Float[Tensor, "*problems n d"]) -> Float[Tensor, "*problems n classes"]:
        """Give the outputs for images. Products are float64 for float64 features, else float32."""
        centred = _centred(features, self.mean)
        # At great strengths outputs differ by less than float32 tells apart beside the mean.
        return (centred @ self.weights.to(centred.dtype)).to(self.mean.dtype) + self.target_mean

    def predict(self, features: Float[Tensor, "*problems n d"]) -> Int64[Tensor, "*problems n"]:
        """Give the class of the largest output for each image."""
        return self.outputs(features).argmax(dim=-1)


def in_float64(features: Float[Tensor, "..."]) -> Float64[Tensor, "..."]:
    """Convert features to float64, on the CPU where the device has none (Apple's GPUs)."""
    features = features.detach()
    return (features.cpu() if features.device.type == "mps" else features).double()


def _centred(features: Tensor, mean: Tensor) -> Tensor:
    # Centred in float64 before any product, so that float32 suffices for features whose mean is far from zero.
    return (features.to(mean.dtype) - mean[..., None, :]).to(torch.promote_types(features.dtype, torch.float32))


def ridge_path(
    features: Float[Tensor, "*problems n d"], labels: Int64[Tensor, "n"], num_classes: int
) -> RidgePath:
    """Factorise ridge regression of images that are all at hand, in float64.

    Args:
        features: Of any floating dtype.
        labels: Class of each image, from 0.
        num_classes: How many classes there are; some may have no image.

    Raises:
        ValueError: The images are of fewer than two classes, or features are NaN or infinite.
    """
    return factorise(features, labels, num_classes)[0]


def factorise(
    features: Float[Tensor, "*problems n d"], labels: Int64[Tensor, "n"], num_classes: int
) -> tuple[RidgePath, Float64[Tensor, "*problems n r"]]:
    """As `ridge_path`, with the directions U of the images, from which leave-one-out follows.

    Example:
        >>> features, labels = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1])
        >>> path, directions = factorise(features, labels, 2)
        >>> (directions * path.eigenvalues.sqrt() @ path.basis.mT + path.mean).round()[:, 0].tolist()
        [0.0, 1.0, 4.0, 5.0]
    """
    features = in_float64(features)
    n, d = features.shape[-2:]
    mean = features.mean(dim=-2)
    centred = features - mean[..., None, :]
    # Once more: of a mean far from zero, rounding leaves a part.
    rest = centred.mean(dim=-2)
    centred -= rest[..., None, :]
    labels = labels.to(features.device)
    sums = centred.new_zeros(*centred.shape[:-2], num_classes, d).index_add_(-2, labels, centred)
    counts = torch.bincount(labels, minlength=num_classes)
    if n > d:
        eigenvalues, basis = _of_scatter(centred.mT @ centred)
        directions = centred @ basis * _inverse_roots(eigenvalues)[..., None, :]
    else:
        eigenvalues, basis, directions = _of_few_images(centred)
    return _path(mean + rest, counts, sums, eigenvalues, basis), directions


def _of_scatter(scatter: Float64[Tensor, "*problems d d"]) -> tuple[Tensor, Tensor]:
    """Give eigenvalues and eigenvectors; those that are only rounding are 0."""
    eigenvalues, basis = torch.linalg.eigh(_finite(scatter))
    eigenvalues = _above_rounding(eigenvalues, 1)
    squares = scatter.diagonal(dim1=-2, dim2=-1)
    uneven = _uneven(squares)
    if bool(uneven.any()):
        spreads = squares[uneven].sqrt()
        inverse = torch.where(spreads > 0, 1 / spreads, 0)
        even, directions = torch.linalg.eigh(scatter[uneven] * inverse[..., None] * inverse[..., None, :])
        root = _above_rounding(even, 1).sqrt()[..., None] * directions.mT * spreads[..., None, :]
        singular, right = torch.linalg.svd(root)[1:]
        eigenvalues[uneven], basis[uneven] = _above_rounding(singular.square(), 2), right.mT
    return eigenvalues, basis * (eigenvalues > 0)[..., None, :]


def _of_few_images(centred: Float64[Tensor, "*problems n d"]) -> tuple[Tensor, Tensor, Tensor]:
    """Give eigenvalues of the scatter, its eigenvectors and the directions of the images, from the images."""
    eigenvalues, directions = torch.linalg.eigh(_finite(centred @ centred.mT))
    # Without the directions that are only rounding, such as the one that centring took out.
    eigenvalues = _above_rounding(eigenvalues, 1)
    basis = centred.mT @ (directions * _inverse_roots(eigenvalues)[..., None, :])
    uneven = _uneven(centred.square().sum(dim=-2))
    if bool(uneven.any()):
        left, singular, right = torch.linalg.svd(centred[uneven], full_matrices=False)
        eigenvalues[uneven] = _above_rounding(singular.square(), 2)
        directions[uneven], basis[uneven] = left, right.mT
    kept = (eigenvalues > 0)[..., None, :]
    return eigenvalues, basis * kept, directions * kept


def _uneven(squares: Float64[Tensor, "*problems d"]) -> Bool[Tensor, "*problems"]:
    """Say whether the spread of features differs so much that rounding of the largest would hide the smallest."""
    smallest = torch.where(squares > 0, squares, torch.inf).amin(dim=-1)
    return squares.amax(dim=-1) > _UNEVEN**2 * smallest


def _above_rounding(eigenvalues: Tensor, power: int) -> Tensor:
    """Set to 0 what is rounding beside the largest one; of the squares of singular values that is its square."""
    rounding = (eigenvalues.shape[-1] * torch.finfo(eigenvalues.dtype).eps) ** power
    return eigenvalues.where(eigenvalues > rounding * eigenvalues.amax(dim=-1, keepdim=True), 0)


def _inverse_roots(eigenvalues: Tensor) -> Tensor:
    return torch.where(eigenvalues > 0, eigenvalues, torch.inf).rsqrt()


def _path(mean: Tensor, counts: Tensor, centred_sums: Tensor, eigenvalues: Tensor, basis: Tensor) -> RidgePath:
    if int((counts > 0).sum()) < 2:
        raise ValueError("The images are all of 1 class; a probe needs images of at least 2 classes.")
    moments = basis.mT @ (2 * centred_sums.mT)
    return RidgePath(mean, basis, eigenvalues, moments, 2 * counts.to(basis.dtype) / counts.sum() - 1)


def _finite(products: Tensor) -> Tensor:
    if not bool(torch.isfinite(products).all()):
        raise ValueError(
            "The features contain NaN or infinite numbers (inf), or numbers whose squares overflow. Look for "
            "what overflows before, or scale them."
        )
    return products


class RidgeSums(Accumulator):
    """All that ridge regression needs of images that stream by: counts, class sums and scatter of each problem.

    As long as there are no more images than features, the features themselves are less, and are kept. After that
    only sums are: memory does not grow with the number of images. Sums are float64, about a shift (the mean of the
    first images), so that nothing cancels where the mean is far from zero.

    An update that fails changes nothing. Two accumulators that saw different images can be merged, and the state
    can be saved and loaded.

    Args:
        num_classes: How many classes there are.

    Example:
        >>> sums = RidgeSums(num_classes=2)
        >>> sums.update(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 0]))
        >>> sums.update(torch.tensor([[4.0], [5.0]]), torch.tensor([1, 1]))
        >>> sums.path().at(torch.tensor(1.0)).weights
        tensor([[-0.4444,  0.4444]], dtype=torch.float64)
    """

    _settings = ("num_classes",)
    # Features [*problems, b, d] and labels of batches, while there are few images, or sums.
    _names = ("features", "labels", "sums")

    def __init__(self, num_classes: int) -> None:
        """Start without images."""
        if num_classes < 2:
            raise ValueError(f"num_classes is {num_classes}; expected 2 or more.")
        self.num_classes = num_classes
        super().__init__()

    def update(self, features: Float[Tensor, "b *problems d"], labels: Int64[Tensor, "b"]) -> None:
        """Add images.

        Args:
            features: `[b, ..., d]`: the axes between are problems of their own, such as tokens.
            labels: Class of each image, from 0.

        Raises:
            ValueError: Shapes differ from those before, a label is no class, or features are NaN or infinite.

        Example:
            >>> sums = RidgeSums(num_classes=10)
            >>> sums.update(torch.rand(32, 49, 64), torch.arange(32) % 10)
            >>> sums.path().mean.shape
            torch.Size([49, 64])
        """
        if len(labels) == 0:
            return
        if int(labels.min()) < 0 or int(labels.max()) >= self.num_classes:
            raise ValueError(
                f"labels lie between {int(labels.min())} and {int(labels.max())}; expected 0 to "
                f"{self.num_classes - 1}, since num_classes is {self.num_classes}."
            )
        if not bool(torch.isfinite(features).all()):
            raise ValueError("The features contain NaN or infinite numbers (inf). Look for what overflows before.")
        # Copied: what a network hands on may be overwritten.
        rows = features.detach().movedim(0, -2).clone()
        self._add(len(labels), {"features": [rows], "labels": [labels.to(rows.device, copy=True)], "sums": {}})

    def _add(self, count: int, sums: Mapping[str, Any]) -> None:
        if count == 0:
            return
        if self.count:
            self._require_alike(sums)
        else:
            self._sums = {"features": [], "labels": [], "sums": {}}
        for features, labels in [*zip(sums["features"], sums["labels"], strict=True)]:
            self._add_rows(features, labels)
        if sums["sums"]:
            self._keep_only_sums()
            self._add_sums(sums["sums"])
        self.count += count

    @staticmethod
    def _copied(sums: dict[str, Any]) -> dict[str, Any]:
        return copy.deepcopy(sums)

    def _describe(self, sums: Mapping[str, Any]) -> str:
        if sums["sums"]:
            return f"features of shape {list(sums['sums']['shift'].shape)} for each image"
        *problems, _, d = sums["features"][0].shape
        return f"features of shape {[*problems, d]} for each image"

    def _add_rows(self, features: Tensor, labels: Tensor) -> None:
        if not self._sums["sums"] and sum(map(len, self._sums["labels"])) + len(labels) <= features.shape[-1]:
            self._sums["features"].append(features)
            self._sums["labels"].append(labels)
            return
        self._keep_only_sums()
        self._add_to_sums(features, labels)

    def _rows(self) -> tuple[Tensor, Tensor]:
        device = self._sums["features"][-1].device
        features, labels = ([part.to(device) for part in self._sums[name]] for name in ("features", "labels"))
        return torch.cat(features, dim=-2), torch.cat(labels)

    def _keep_only_sums(self) -> None:
        if self._sums["features"]:
            features, labels = self._rows()
            self._sums = {"features": [], "labels": [], "sums": {}}
            self._add_to_sums(features, labels)

    def _sums_on(self, device: torch.device) -> dict[str, Tensor]:
        # A loaded state is on the CPU, where the images need not be.
        self._sums["sums"] = {name: value.to(device) for name, value in self._sums["sums"].items()}
        return self._sums["sums"]

    def _add_to_sums(self, features: Tensor, labels: Tensor) -> None:
        wide = in_float64(features)
        if not self._sums["sums"]:
            self._sums["sums"] = self._no_sums(wide.mean(dim=-2))
        sums = self._sums_on(wide.device)
        shifted = wide - sums["shift"][..., None, :]
        labels = labels.to(shifted.device)
        # In place, since the scatter is large.
        sums["counts"] += torch.bincount(labels, minlength=self.num_classes)
        sums["class_sums"].index_add_(-2, labels, shifted)
        d = shifted.shape[-1]
        shifted = shifted.reshape(-1, len(labels), d)
        sums["scatter"].view(-1, d, d).baddbmm_(shifted.mT, shifted)

    def _no_sums(self, shift: Tensor) -> dict[str, Tensor]:
        *problems, d = shift.shape
        return {
            "counts": torch.zeros(self.num_classes, dtype=torch.int64, device=shift.device),
            "shift": shift,
            "class_sums": shift.new_zeros(*problems, self.num_classes, d),
            "scatter": shift.new_zeros(*problems, d, d),
        }

    def path(self) -> RidgePath:
        """Factorise the ridge regression of all images so far, for every strength.

        Raises:
            RuntimeError: There was no update.
            ValueError: The images are of fewer than two classes.
        """
        self._require_updates()
        if self._sums["features"]:
            return ridge_path(*self._rows(), self.num_classes)
        ours = self._sums["sums"]
        counts = ours["counts"]
        total = ours["class_sums"].sum(dim=-2)
        offset = total / self.count
        scatter = ours["scatter"] - total[..., :, None] * offset[..., None, :]
        sums = ours["class_sums"] - counts[:, None] * offset[..., None, :]
        return _path(ours["shift"] + offset, counts, sums, *_of_scatter(scatter))

    def _add_sums(self, theirs: Mapping[str, Tensor]) -> None:
        if not self._sums["sums"]:
            self._sums["sums"] = {name: value.clone() for name, value in theirs.items()}
            return
        ours = self._sums_on(theirs["shift"].device)
        # Their sums, taken about our shift: x - ours = (x - theirs) + apart.
        apart = theirs["shift"] - ours["shift"]
        total = theirs["class_sums"].sum(dim=-2)
        mixed = total[..., :, None] * apart[..., None, :]
        square = apart[..., :, None] * apart[..., None, :] * theirs["counts"].sum()
        ours["counts"] += theirs["counts"]
        ours["class_sums"] += theirs["class_sums"] + theirs["counts"][:, None] * apart[..., None, :]
        ours["scatter"] += theirs["scatter"] + mixed + mixed.mT + square
