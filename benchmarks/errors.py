"""What benchmarks/accuracy.py draws, and how errors are told: for the function `errors` of each benchmark."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

# Gives random numbers of a shape, in the dtype and on the device of this round.
Draw = Callable[..., torch.Tensor]


def formulas(name: str) -> ModuleType:
    """Import slow formulas of the tests, such as "references_attention"."""
    folder = str(Path(__file__).parents[1] / "tests")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def relative(measured: torch.Tensor | np.ndarray | float, expected: np.ndarray | float) -> float:
    """Largest difference over the largest expected number."""
    return absolute(measured, expected) / float(np.abs(expected).max())


def absolute(measured: torch.Tensor | np.ndarray | float, expected: np.ndarray | float) -> float:
    """Largest difference."""
    return float(np.abs(np.asarray(torch.as_tensor(measured).double().cpu()) - np.asarray(expected)).max())


def numpy(x: torch.Tensor) -> np.ndarray:
    """Give the very same numbers in float64."""
    return x.double().cpu().numpy()
