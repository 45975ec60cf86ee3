"""Measure what vision networks represent, and reproduce Raghu et al. (2021), figure by figure."""

import sys
from typing import Any

from seelike.moved import MovedModules

__version__ = "0.1.0"

sys.meta_path.append(MovedModules())


def __getattr__(name: str) -> Any:
    # What notebooks begin with brings in torch, timm and seaborn: only those who ask for it wait for them.
    if name in ("start", "where_possible"):
        from seelike import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'seelike' has no attribute {name!r}")
