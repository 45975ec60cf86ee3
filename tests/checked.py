"""What checks shapes and types while the tests run: beartype, as it is.

The import hook of jaxtyping decorates nested functions too, each time the function around them runs. It hands over
empty functions of the same signature in their place, so one check does for all that are alike. To write it anew
each time was a fifth of the time of some tests.
"""

import inspect
from collections.abc import Callable
from typing import Any

from beartype import beartype

_checked: dict[tuple[Any, ...], Callable[..., Any]] = {}


def typechecker(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check what a function is given and gives back, by its annotations."""
    try:
        key = (function.__module__, function.__qualname__, function.__code__, inspect.signature(function))
        known = _checked.get(key)
    except TypeError:  # a default that has no hash
        return beartype(function)
    if known is None:
        known = _checked[key] = beartype(function)
    return known
