"""Linear probe by ridge regression, as an estimator of scikit-learn."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from seelike.probes.labels import as_labels, require_same_kind
from seelike.probes.leave_one_out import leave_one_out_scores
from seelike.probes.ridge import factorise, ridge_path
from seelike.probes.strength import STRENGTHS, best_strength, check_strengths, held_out_part

# seelike does not need scikit-learn. Where it is, the probe is an estimator of it: with parameters by name, tags,
# and the errors that its users catch.
try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.exceptions import NotFittedError
except ImportError:
    BaseEstimator, ClassifierMixin = type("BaseEstimator", (), {}), type("ClassifierMixin", (), {})
    NotFittedError = ValueError

# Numbers of features that are worked on at a time: on the CPU so many that they stay in cache.
_CHUNK_ON_CPU, _CHUNK_ON_GPU = 2**20, 2**27


class RidgeProbe(ClassifierMixin, BaseEstimator):
    """Linear probe by ridge regression, for one problem or many at once: an estimator as in scikit-learn.

    Of the strengths it takes the one whose outputs point most nearly to the targets, in the mean over images that
    the regression has not seen; of equal ones (for two classes: of equal accuracies) that of the least squared
    error. `seelike.probes.strength` says why. scikit-learn's RidgeClassifierCV goes by squared error alone, which
    is far from the best strength where there are many classes with few images each.

    Args:
        alphas: Strengths to choose from, for each problem by itself.
        held_out: Which images the regression has not seen. None: each image under the regression of all the
            others, exactly. A share, such as 0.2: so much of each class is held out; in the end all images are
            fitted with the strength chosen.
        seed: Of drawing the images that are held out.

    Attributes:
        classes_: The classes, sorted.
        coef_: Weights `[..., classes, d]`.
        intercept_: `[..., classes]`.
        alpha_: The strength chosen for each problem, `[...]`.
        n_features_in_: d.

    Example:
        >>> features = torch.tensor([[0.0], [1.0], [4.0], [5.0]])
        >>> probe = RidgeProbe(alphas=[0.1, 1.0]).fit(features, ["cat", "cat", "dog", "dog"])
        >>> probe.predict(torch.tensor([[1.5], [4.5]])).tolist()
        ['cat', 'dog']
        >>> many = RidgeProbe().fit(torch.rand(12, 50, 30, 8), torch.arange(30) % 3)
        >>> many.coef_.shape, many.alpha_.shape
        (torch.Size([12, 50, 3, 8]), torch.Size([12, 50]))
    """

    classes_: np.ndarray
    coef_: Any
    intercept_: Any
    alpha_: Any
    n_features_in_: int

    def __init__(self, alphas: Any = STRENGTHS, held_out: Any = None, seed: Any = 0) -> None:
        """Keep the parameters; `fit` checks them."""
        self.alphas = alphas
        self.held_out = held_out
        self.seed = seed

    def fit(self, X: Any, y: Any) -> "RidgeProbe":
        """Fit each problem.

        Args:
            X: Features `[..., n, d]`, a tensor of any floating dtype or something that NumPy can read. The axes
                before are problems of their own, such as layers and tokens.
            y: Class of each image, `[n]`: whole numbers or strings.

        Returns:
            The estimator. Its attributes are tensors where `X` is one, else NumPy arrays.

        Raises:
            TypeError: `X` is sparse.
            ValueError: Shapes do not fit, there are fewer than two classes or NaN or infinite numbers, labels are
                no classes, or a parameter is out of range.
        """
        strengths = check_strengths(self.alphas)
        features = _as_features(X)
        classes, places = np.unique(as_labels(y, features.shape[-2]), return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"The labels have {len(classes)} class; a probe needs at least 2 classes.")
        labels = torch.from_numpy(places.reshape(-1))
        fit = partial(
            _fit,
            labels=labels.to(features.device),
            num_classes=len(classes),
            strengths=strengths,
            held_out=None if self.held_out is None else held_out_part(labels, self.held_out, self.seed, classes),
        )
        problems = features.shape[:-2]
        weights, intercept, strength = _over_problems(fit, features.reshape(-1, *features.shape[-2:]))
        convert = _to_kind_of(X, torch.promote_types(features.dtype, torch.float32))
        self.coef_ = convert(weights.mT.reshape(*problems, *weights.mT.shape[-2:]))
        self.intercept_ = convert(intercept.reshape(*problems, -1))
        self.alpha_ = convert(strength.reshape(problems)) if problems else float(strength)
        self.classes_ = classes
        self.n_features_in_ = features.shape[-1]
        return self

    def decision_function(self, X: Any) -> Any:
        """Give the outputs of the regression.

        Args:
            X: Features `[..., n, d]` of the same problems.

        Returns:
            `[..., n, classes]`; with two classes `[..., n]`, positive for the second, as in scikit-learn.

        Example:
            >>> probe = RidgeProbe([1.0]).fit([[0.0], [1.0], [4.0], [5.0]], [0, 0, 1, 1])
            >>> probe.decision_function([[2.5], [4.5]]).round(3)
            array([0.   , 0.889])
        """
        outputs = self._outputs(X)
        return _to_kind_of(X, outputs.dtype)(outputs[..., 1] if len(self.classes_) == 2 else outputs)

    def predict(self, X: Any) -> np.ndarray:
        """Predict classes.

        Args:
            X: Features `[..., n, d]` of the same problems.

        Returns:
            Classes as they were given to `fit`, a NumPy array `[..., n]`.
        """
        indices = self._outputs(X).argmax(dim=-1).cpu().numpy()
        return self.classes_[indices]

    def score(self, X: Any, y: Any) -> Any:
        """Compute the accuracy. A class that `fit` has not seen counts as wrong.

        Args:
            X: Features `[..., n, d]` of the same problems.
            y: Class of each image, `[n]`.

        Returns:
            The share of images that are classified rightly, for each problem.

        Raises:
            ValueError: Classes are numbers here and names there.

        Example:
            >>> RidgeProbe().fit([[0.0], [1.0], [4.0], [5.0]], [0, 0, 1, 1]).score([[0.5], [9.0]], [0, 7])
            0.5
        """
        predicted = self.predict(X)
        labels = as_labels(y, predicted.shape[-1])
        require_same_kind(labels, self.classes_, "y", "the probe was fitted to")
        accuracy = (predicted == labels).mean(axis=-1)
        return float(accuracy) if accuracy.ndim == 0 else accuracy

    def _outputs(self, X: Any) -> Float64[Tensor, "*problems n classes"]:
        if not hasattr(self, "coef_"):
            raise NotFittedError("This RidgeProbe is not fitted yet. Call fit(X, y) first.")
        features = _as_features(X)
        if features.shape[-1] != self.n_features_in_:
            raise ValueError(
                f"X has {features.shape[-1]} features, but RidgeProbe is expecting {self.n_features_in_} features "
                "as input, as it was fitted with."
            )
        coef, intercept = torch.as_tensor(self.coef_).double(), torch.as_tensor(self.intercept_).double()
        problems = coef.shape[:-2]
        if features.shape[:-2] != problems:
            raise ValueError(
                f"X has problems of shape {list(features.shape[:-2])}, but the probe was fitted for "
                f"{list(problems)}. Give features of the same layers and tokens."
            )
        return features.double() @ coef.to(features.device).mT + intercept.to(features.device)[..., None, :]


def _fit(
    features: Float[Tensor, "problems n d"],
    labels: Int64[Tensor, "n"],
    num_classes: int,
    strengths: Float64[Tensor, "strengths"],
    held_out: Bool[Tensor, "n"] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the strength of each problem; give weights, intercepts and strengths."""
    path, directions = factorise(features, labels, num_classes)
    if held_out is None:
        scores = leave_one_out_scores(path, directions, labels, strengths)
    else:
        of_the_others = ridge_path(features[:, ~held_out], labels[~held_out], num_classes)
        seen, own = features[:, held_out].to(path.mean.device), labels[held_out].to(path.mean.device)
        scores = of_the_others.scores(seen, own, strengths).mean(dim=0)
    strength = best_strength(scores, strengths)
    ridge = path.at(strength)
    return ridge.weights, ridge.intercept, strength


def _to_kind_of(X: Any, dtype: torch.dtype) -> Callable[[Tensor], Any]:
    return lambda tensor: tensor.to(dtype) if isinstance(X, Tensor) else tensor.to(dtype).numpy()


def _as_features(X: Any) -> Float[Tensor, "*problems n d"]:
    if hasattr(X, "toarray"):
        raise TypeError("X is a sparse matrix; a probe takes dense features only. Convert it with X.toarray().")
    if isinstance(X, Tensor):
        features = X.detach()
    else:
        array = np.asarray(X)
        if np.iscomplexobj(array):
            raise ValueError(f"Complex data not supported: X is of dtype {array.dtype}.")
        if array.dtype not in (np.float16, np.float32):
            array = array.astype(np.float64)
        features = torch.tensor(array)
    if features.is_complex():
        raise ValueError(f"Complex data not supported: X is of dtype {features.dtype}.")
    if not features.is_floating_point():
        features = features.double()
    if features.ndim < 2:
        raise ValueError(
            f"Expected 2D array, got {features.ndim}D array instead: X must be features [..., n, d]. Reshape your "
            "data: X.reshape(-1, 1) if each image has a single feature, X.reshape(1, -1) if it is a single image."
        )
    n, d = features.shape[-2:]
    if n == 0:
        raise ValueError(f"Found array with 0 sample(s) (shape={tuple(features.shape)}); expected at least one.")
    if d == 0:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={tuple(features.shape)}) while a minimum of 1 is required."
        )
    if not bool(torch.isfinite(features).all()):
        raise ValueError("Input X contains NaN or infinity (inf). Look for what overflows before.")
    return features


def _over_problems(
    fit: Callable[[Tensor], tuple[Tensor, ...]], features: Float[Tensor, "problems n d"]
) -> list[Tensor]:
    """Fit chunks of problems: on the CPU side by side, since one eigendecomposition hardly gains from a core."""
    on_cpu = features.device.type == "cpu"
    largest = _CHUNK_ON_CPU if on_cpu else _CHUNK_ON_GPU
    chunks = features.split(max(1, largest // (features.shape[1] * features.shape[2])))
    threads = torch.get_num_threads()
    if on_cpu and threads > 1 and len(chunks) > 1:
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                fits = list(pool.map(fit, chunks))
        finally:
            # Each worker limits itself; what it also sets is the number for threads that come later.
            torch.set_num_threads(threads)
    else:
        fits = [fit(chunk) for chunk in chunks]
    return [torch.cat(parts) for parts in zip(*fits, strict=True)]
