"""Errors that say what was given, what was expected and what to do."""

import difflib
from collections.abc import Iterable
from typing import Any


class UnknownName(ValueError):
    """A name (of a model, layer, parameter, ...) that seelike does not know."""


def unknown_name(kind: str, given: str, known: Iterable[str], hint: str = "") -> UnknownName:
    """Make the error for a name that is not known, with the nearest known names.

    Args:
        kind: What the name names, in the singular: "layer", "model".
        given: The name as the user gave it.
        known: All names that would have been right.
        hint: What else to do, as a whole sentence.

    Returns:
        The exception, for the caller to raise.

    Example:
        >>> raise unknown_name("layer", "blok 1", ["block 1", "block 2", "embedding"])
        Traceback (most recent call last):
            ...
        seelike.errors.UnknownName: Unknown layer 'blok 1'. Did you mean 'block 1', 'block 2'?
    """
    known = list(known)
    near = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    if near:
        advice = "Did you mean " + ", ".join(repr(name) for name in near) + "?"
    elif len(known) <= 12:
        advice = "Known: " + (", ".join(repr(name) for name in known) or "none") + "."
    else:
        advice = f"None of the {len(known)} known names is near, for example {known[0]!r}."
    return UnknownName(f"Unknown {kind} {given!r}. {advice}" + (f" {hint}" if hint else ""))


def require_type(what: str, given: Any, kind: type | tuple[type, ...], expected: str) -> None:
    """Refuse an argument that is something else, such as one that was swapped with another.

    Args:
        what: Name of the argument.
        given: What was given.
        kind: What it must be.
        expected: What it must be, in words.

    Raises:
        TypeError: It is none of these.

    Example:
        >>> require_type("model", "vit", dict, "a network")
        Traceback (most recent call last):
            ...
        TypeError: model is of type str; expected a network. Are the arguments in another order?
    """
    if not isinstance(given, kind):
        raise TypeError(
            f"{what} is of type {type(given).__name__}; expected {expected}. Are the arguments in another order?"
        )
