"""The classes of images, as users give them: whole numbers or strings, of whatever type."""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

try:
    from sklearn.exceptions import DataConversionWarning
except ImportError:
    DataConversionWarning = UserWarning


def as_labels(given: Any, n: int, what: str = "y") -> Shaped[np.ndarray, "n"]:
    """Read the class of each of n images.

    Args:
        given: Whole numbers of any type, booleans, or strings: an array, a tensor or a sequence.
        n: How many there should be.
        what: What errors call them.

    Raises:
        ValueError: They are not one for each image, not of one kind, or fractions.

    Example:
        >>> as_labels(["cat", "dog"], 2)
        array(['cat', 'dog'], dtype='<U3')
        >>> as_labels([0.5, 1.0], 2)
        Traceback (most recent call last):
            ...
        ValueError: Unknown label type: y has fractions, such as 0.5. Classes are whole numbers or strings.
    """
    if given is None:
        raise ValueError(f"A probe requires {what} to be passed, but the target {what} is None.")
    if isinstance(given, Tensor):
        given = given.detach().cpu()
        labels = (given.double() if given.is_floating_point() else given).numpy()
    else:
        # NumPy would make strings of numbers that stand beside strings.
        labels = np.asarray(given, dtype=None if hasattr(given, "dtype") else object)
    if labels.ndim == 2 and labels.shape[1] == 1:
        warnings.warn(
            f"A column-vector y was passed when a 1d array was expected: {what} is of shape {labels.shape}. It is "
            f"taken as {what}[:, 0].",
            DataConversionWarning,
            stacklevel=3,
        )
        labels = labels[:, 0]
    if labels.shape != (n,) or not n:
        raise ValueError(
            f"{what} is of shape {labels.shape}; expected the class of each of the {n} images, ({n},)."
        )
    if labels.dtype.kind in "OT" and len({isinstance(label, str) for label in labels}) == 1:
        labels = np.array(labels.tolist())
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise ValueError(f"Input {what} contains NaN or infinity (inf).")
        if (fractions := labels[labels != np.floor(labels)]).size:
            raise ValueError(
                f"Unknown label type: {what} has fractions, such as {fractions[0]}. Classes are whole numbers or "
                "strings."
            )
    elif labels.dtype.kind not in "biuU":
        raise ValueError(
            f"Unknown label type: {what} is of dtype {labels.dtype}, such as {labels.tolist()[0]!r}. Classes are "
            "whole numbers or strings, all of one kind."
        )
    return labels


def require_same_kind(labels: np.ndarray, classes: np.ndarray, what: str, known: str) -> None:
    """Refuse names where numbers are known, and the reverse: for NumPy the string '1' is the number 1."""
    if (labels.dtype.kind == "U") != (classes.dtype.kind == "U"):
        raise ValueError(
            f"{what} has classes such as {labels.tolist()[0]!r}, but {known} such as {classes.tolist()[0]!r}. "
            "Numbers cannot be matched with names: give the names of both, such as "
            "[images.class_names[i] for i in labels]."
        )
