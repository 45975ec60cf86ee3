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

**Exact leave-one-out.** With Z = Xc V [n, r], the prediction for the images is t + Z (S + a)^-1 A, and the weight
of an image in its own prediction is h_i = 1/n + sum_j z_ij^2 / (s_j + a). The residual of image i under the
regression that has not seen it is (Y - prediction)_i / (1 - h_i), with no further regression. The strength chosen
is that of the least sum of squares over images and classes,

    E(a) = sum_i |residual_i|^2 / (1 - h_i)^2,

as in scikit-learn's RidgeClassifierCV. Residuals of every strength would be most of the work. But their sum of
squares over images, and for each image the part along its target, need no residual:

    sum_i |residual_i|^2 = |Yc|^2 - sum_jc A_jc^2 (s_j + 2 a) / (s_j + a)^2        residual_i . y_i

so only the small part across the targets is unknown image by image. With the least 1 / (1 - h_i)^2 on it, E(a) has
a lower bound that rules out most strengths.

Sources: Raghu et al. (2021), Appendix A; Dosovitskiy et al. (2021), Appendix D.4; Rifkin and Lippert (2007), Notes
on regularized least squares.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64, Real
from torch import Tensor

from seelike.streaming.accumulator import Accumulator

# Strengths for features of any usual scale: the eigenvalues that they are added to grow with the number of images.
STRENGTHS = tuple(10.0**power for power in range(-3, 7))
# What float32 may do to weights before a step of iterative refinement, which about squares it.
_ROUNDING_TO_REFINE = 3e-3
# Where it may do that much, bounds on the errors are of no use.
_HOPELESS = 0.3
# float32 also suffices only while no image has nearly all the weight in its own prediction: 1 - h_i cancels.
_LEAST_SLACK = 0.01


@dataclass(frozen=True)
class RidgePath:
    """The ridge regressions of every strength, from one eigendecomposition; any number of problems.

    Attributes:
        mean: Mean of the features over the images, `[*problems, d]`.
        basis: Directions V in feature space, `[*problems, d, r]`.
        eigenvalues: The scatter along them, `[*problems, r]`.
        moments: A = V'Xc'Y, `[*problems, r, classes]`.
        target_mean: Mean of the targets, `[classes]`.
        count: Number of images n.

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
    count: int

    def at(self, strength: Float[Tensor, "*problems"]) -> "Ridge":
        """Give the regression of one strength for each problem."""
        return Ridge(self.mean, self.basis @ self._along_basis(strength), self.target_mean)

    def hits(
        self,
        features: Float[Tensor, "*problems n d"],
        labels: Int64[Tensor, "n"],
        strengths: Float[Tensor, "strengths"],
    ) -> Bool[Tensor, "n strengths *problems"]:
        """Say which images are classified rightly at each strength.

        Example:
            >>> features, labels = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1])
            >>> ridge_path(features, labels, 2).hits(features[:1], labels[:1], torch.tensor([1.0, 100.0]))
            tensor([[True, True]])
        """
        projected = _centred(features, self.mean)
        projected = projected @ self.basis.to(projected.dtype)
        by_strength = []
        for strength in strengths:
            weights = self._along_basis(strength.expand(self.mean.shape[:-1])).to(projected.dtype)
            outputs = (projected @ weights).to(self.mean.dtype) + self.target_mean
            by_strength.append(outputs.argmax(dim=-1) == labels)
        return torch.stack(by_strength).movedim(-1, 0)

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
    return _factors(in_float64(features), labels, num_classes).path


class _Factors(NamedTuple):
    path: RidgePath
    centred: Float[Tensor, "*problems n d"]
    projected: Float[Tensor, "*problems n r"]  # Z = Xc V


def _factors(features: Tensor, labels: Tensor, num_classes: int) -> _Factors:
    n, d = features.shape[-2:]
    mean = features.mean(dim=-2, dtype=torch.float64).to(features.dtype)
    centred = features - mean[..., None, :]
    # Once more: of a mean far from zero, rounding leaves a part.
    rest = centred.mean(dim=-2)
    centred -= rest[..., None, :]
    labels = labels.to(features.device)
    sums = centred.new_zeros(*centred.shape[:-2], num_classes, d).index_add_(-2, labels, centred)
    counts = torch.bincount(labels, minlength=num_classes)
    if n > d:
        path = _factorise(mean + rest, counts, sums, centred.mT @ centred)
        return _Factors(path, centred, centred @ path.basis)
    eigenvalues, vectors = torch.linalg.eigh(_finite(centred @ centred.mT))
    eigenvalues = eigenvalues.clamp(min=0)
    # Without the directions that are only rounding, such as the one that centring took out.
    inverse_roots = torch.where(_above_rounding(eigenvalues, n), eigenvalues, torch.inf).rsqrt()
    basis = centred.mT @ (vectors * inverse_roots[..., None, :])
    path = _path(mean + rest, counts, sums, eigenvalues, basis)
    return _Factors(path, centred, vectors * eigenvalues.sqrt()[..., None, :])


def _factorise(mean: Tensor, counts: Tensor, centred_sums: Tensor, scatter: Tensor) -> RidgePath:
    eigenvalues, basis = torch.linalg.eigh(_finite(scatter))
    return _path(mean, counts, centred_sums, eigenvalues.clamp(min=0), basis)


def _path(mean: Tensor, counts: Tensor, centred_sums: Tensor, eigenvalues: Tensor, basis: Tensor) -> RidgePath:
    if int((counts > 0).sum()) < 2:
        raise ValueError("The images are all of 1 class; a probe needs images of at least 2 classes.")
    count = int(counts.sum())
    moments = basis.mT @ (2 * centred_sums.mT)
    moments = moments * _above_rounding(eigenvalues, count)[..., None]
    target_mean = 2 * counts.to(basis.dtype) / count - 1
    return RidgePath(mean, basis, eigenvalues, moments, target_mean, count)


def _above_rounding(eigenvalues: Tensor, count: int) -> Tensor:
    size = max(count, eigenvalues.shape[-1])
    # Rounding of float64: in float32, `_least_error` watches over small eigenvalues.
    return eigenvalues > size * torch.finfo(torch.float64).eps * eigenvalues.amax(dim=-1, keepdim=True)


def _finite(products: Tensor) -> Tensor:
    if not bool(torch.isfinite(products).all()):
        raise ValueError(
            "The features contain NaN or infinite numbers (inf), or numbers whose squares overflow. Look for "
            "what overflows before, or scale them."
        )
    return products


class RidgeFit(NamedTuple):
    """Weights and intercept of each problem, and the strength that they were fitted with."""

    weights: Float64[Tensor, "*problems d classes"]
    intercept: Float64[Tensor, "*problems classes"]
    strength: Float64[Tensor, "*problems"]


def fit_leave_one_out(
    features: Float[Tensor, "problems n d"],
    labels: Int64[Tensor, "n"],
    num_classes: int,
    strengths: Float64[Tensor, "strengths"],
) -> RidgeFit:
    """Fit ridge regression with the strength of the least squared leave-one-out error, problem by problem.

    Features of 16 or 32 bits are worked on in float32, with one step of iterative refinement of the weights. Where
    rounding could decide about the strength, or reach 1e-5 of the weights, that problem is done again in float64.

    Args:
        features: Of any floating dtype.
        labels: Class of each image, from 0.
        num_classes: How many classes there are.
        strengths: To choose from. Of equal errors the first is taken.

    Raises:
        ValueError: As `ridge_path`.

    Example:
        >>> features = torch.tensor([[[0.0], [1.0], [4.0], [5.0]]])
        >>> strengths = torch.tensor([0.1, 100.0], dtype=torch.float64)
        >>> fit_leave_one_out(features, torch.tensor([0, 0, 1, 1]), 2, strengths).strength
        tensor([0.1000], dtype=torch.float64)
    """
    n, d = features.shape[-2:]
    strengths = strengths.to(in_float64(features[:0]).device)

    def in_wide(some: Tensor) -> RidgeFit:
        return _solve_leave_one_out(_factors(in_float64(some), labels, num_classes), labels, strengths)[0]

    if features.dtype == torch.float64 or n <= d or features.device.type == "mps":
        return in_wide(features)
    factors = _factors(features.float(), labels, num_classes)
    if bool((_rounding(factors.path, strengths) > _HOPELESS).any(dim=1).all()):
        return in_wide(features)
    fit, doubtful = _solve_leave_one_out(factors, labels, strengths)
    if bool(doubtful.any()):
        again = doubtful.nonzero()[:, 0]
        for ours, theirs in zip(fit, in_wide(features[again]), strict=True):
            ours[again] = theirs
    return fit


def fit_held_out(
    features: Float[Tensor, "problems n d"],
    labels: Int64[Tensor, "n"],
    num_classes: int,
    strengths: Float64[Tensor, "strengths"],
    held_out: Bool[Tensor, "n"],
) -> RidgeFit:
    """Choose the strength by accuracy on images that are held out, then fit all images with it.

    Args:
        features: Of any floating dtype. Sums and eigendecomposition are float64.
        labels: Class of each image, from 0.
        num_classes: How many classes there are.
        strengths: To choose from. Of equal accuracies the strongest is taken.
        held_out: Which images to hold out, as `held_out_part` draws them.

    Raises:
        ValueError: As `ridge_path`.

    Example:
        >>> features = torch.tensor([[[0.0], [1.0], [4.0], [5.0]]])
        >>> strengths = torch.tensor([0.1, 100.0], dtype=torch.float64)
        >>> held_out = torch.tensor([True, False, True, False])
        >>> fit_held_out(features, torch.tensor([0, 0, 1, 1]), 2, strengths, held_out).strength
        tensor([100.], dtype=torch.float64)
    """
    path = ridge_path(features[:, ~held_out], labels[~held_out], num_classes)
    hits = path.hits(features[:, held_out].to(path.mean.device), labels[held_out], strengths)
    strength = strongest_of_best(hits.sum(dim=0), strengths.to(hits.device))
    ridge = ridge_path(features, labels, num_classes).at(strength)
    return RidgeFit(ridge.weights, ridge.intercept, strength)


def _solve_leave_one_out(
    factors: _Factors, labels: Tensor, strengths: Tensor
) -> tuple[RidgeFit, Bool[Tensor, "problems"]]:
    path, centred, projected = factors
    labels = labels.to(centred.device)
    chosen, doubtful = _least_error(path, projected, labels, strengths)
    strength = strengths[chosen]
    inverse = 1 / (path.eigenvalues + strength.to(centred.dtype)[:, None])
    weights = path.basis @ (inverse[..., None] * path.moments)
    if centred.dtype == torch.float32:
        residuals = torch.baddbmm(_targets(path)[labels], centred, weights, alpha=-1)
        gradient = centred.mT @ residuals - strength.to(centred.dtype)[:, None, None] * weights
        weights = weights + path.basis @ (inverse[..., None] * (path.basis.mT @ gradient))
    ridge = Ridge(path.mean.double(), weights.double(), path.target_mean.double())
    return RidgeFit(ridge.weights, ridge.intercept, strength), doubtful


def _rounding(path: RidgePath, strengths: Tensor) -> Float64[Tensor, "problems strengths"]:
    """What rounding may do to weights at each strength; to errors it does less (its square was measured)."""
    eigenvalues = path.eigenvalues.double()
    condition = 1 + eigenvalues.amax(dim=1)[:, None] / (eigenvalues.amin(dim=1)[:, None] + strengths)
    return torch.finfo(path.eigenvalues.dtype).eps * condition + 1e-5


def _targets(path: RidgePath) -> Float[Tensor, "classes classes"]:
    """The centred targets of an image of each class."""
    own = torch.eye(len(path.target_mean), dtype=path.target_mean.dtype, device=path.target_mean.device)
    return 2 * own - 1 - path.target_mean


def _least_error(
    path: RidgePath,
    z: Float[Tensor, "problems n r"],
    labels: Int64[Tensor, "n"],
    strengths: Float64[Tensor, "strengths"],
) -> tuple[Int64[Tensor, "problems"], Bool[Tensor, "problems"]]:
    """Choose the strength of the least leave-one-out error, and say for which problems rounding could decide."""
    problems, n, _ = z.shape
    eigenvalues = path.eigenvalues.double()
    inverse = 1 / (eigenvalues[..., None] + strengths)
    narrow = inverse.to(z.dtype)
    slack = (1 - 1 / n - z.square() @ narrow).clamp(min=torch.finfo(z.dtype).tiny)
    factors = 1 / slack.square()
    rounding = _rounding(path, strengths)
    along, across = _parts_of_training_error(path, z, labels, strengths, inverse)
    along = (along * factors).sum(dim=1, dtype=torch.float64)
    bound = (along + across * factors.amin(dim=1)) * (1 - rounding)
    guess = along + across * factors.mean(dim=1)
    targets = _targets(path)[labels]
    errors = torch.full_like(guess, torch.inf)
    pending = torch.ones_like(guess, dtype=torch.bool)
    while bool((pending := pending & (bound <= errors.amin(dim=1, keepdim=True))).any()):
        active = pending.any(dim=1).nonzero()[:, 0]
        tried = torch.where(pending, guess, torch.inf).argmin(dim=1)[active]
        weights = narrow[active, :, tried][..., None] * path.moments[active]
        residuals = torch.baddbmm(targets, z if len(active) == problems else z[active], weights, alpha=-1)
        left_out = residuals.square().sum(dim=-1) * factors[active, :, tried]
        errors[active, tried] = left_out.sum(dim=-1, dtype=torch.float64)
        pending[active, tried] = False
    best = errors.argmin(dim=1, keepdim=True)
    least, its_rounding = errors.gather(1, best), rounding.gather(1, best)
    rivals = (errors * (1 - rounding) < least * (1 + its_rounding)).sum(dim=1) > 1
    inaccurate = (its_rounding > _ROUNDING_TO_REFINE)[:, 0] | (slack.amin(dim=(1, 2)) < _LEAST_SLACK)
    return best[:, 0], rivals | inaccurate


def _parts_of_training_error(
    path: RidgePath, z: Tensor, labels: Tensor, strengths: Tensor, inverse: Tensor
) -> tuple[Float[Tensor, "problems n strengths"], Float64[Tensor, "problems strengths"]]:
    """Split |residual_i|^2 of every strength into the part along the target, and the sum of the rest."""
    targets = _targets(path)
    squares = targets.square().sum(dim=1)[labels]
    explained = path.moments.double().square().sum(dim=-1)[..., None] * (inverse + strengths * inverse.square())
    total = squares.sum(dtype=torch.float64) - explained.sum(dim=1)
    # Target times prediction, y_i' A'(S + a)^-1 z_i, needs A y_i for the classes only.
    agreement = (z * (targets @ path.moments.mT)[:, labels]) @ inverse.to(z.dtype)
    along = (squares[:, None] - agreement).square() / squares[:, None]
    return along, (total - along.sum(dim=1, dtype=torch.float64)).clamp(min=0)


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
        return _factorise(ours["shift"] + offset, counts, sums, scatter)

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


def strongest_of_best(
    scores: Real[Tensor, "strengths *problems"], strengths: Float64[Tensor, "strengths"]
) -> Float64[Tensor, "*problems"]:
    """Give the strength of the highest score for each problem; of equal ones the strongest.

    Example:
        >>> strongest_of_best(torch.tensor([0.5, 0.7, 0.7]), torch.tensor([1.0, 10.0, 100.0]).double())
        tensor(100., dtype=torch.float64)
    """
    descending = strengths.argsort(descending=True)
    return strengths[descending][scores[descending].argmax(dim=0)]


def check_strengths(strengths: Any) -> Float64[Tensor, "strengths"]:
    """Refuse strengths that are not positive numbers.

    Example:
        >>> check_strengths([1, 0])
        Traceback (most recent call last):
            ...
        ValueError: alphas is [1, 0]; expected one or more positive, finite strengths.
    """
    values = [strengths] if isinstance(strengths, int | float) else list(strengths)
    if not values or not all(0 < value < math.inf for value in values):
        raise ValueError(f"alphas is {strengths!r}; expected one or more positive, finite strengths.")
    return torch.tensor(values, dtype=torch.float64)


def held_out_part(labels: Int64[Tensor, "n"], share: float, seed: int) -> Bool[Tensor, "n"]:
    """Draw the images to hold out: the same share of each class, at least one, and never all.

    Args:
        labels: Class of each image.
        share: Between 0 and 1.
        seed: Of the drawing.

    Raises:
        ValueError: The share is not between 0 and 1, or a class has only one image.

    Example:
        >>> held_out_part(torch.tensor([0, 0, 1, 1, 1, 1]), 0.5, seed=0).sum()
        tensor(3)
    """
    if not 0 < share < 1:
        raise ValueError(f"held_out is {share}; expected a share of the images of each class, between 0 and 1.")
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        places = (labels == label).nonzero()[:, 0].cpu()
        if len(places) == 1:
            raise ValueError(
                f"Class {int(label)} has one image; holding one out leaves none to learn from. Give at least two "
                "of each class, or choose the strength in another way."
            )
        number = min(max(round(share * len(places)), 1), len(places) - 1)
        held_out[places[torch.randperm(len(places), generator=generator)[:number]]] = True
    return held_out
