"""Modules that had other names: scripts that import the old ones go on, with a warning that tells the new one."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "seelike.cka.memory": "seelike.streaming.memory",
    "seelike.few_shot_probes": "seelike.sections.linear_probes",
    "seelike.finetuning": "seelike.sections.scale_and_transfer",
    "seelike.local_global": "seelike.sections.local_global",
    "seelike.moments": "seelike.streaming.moments",
    "seelike.propagation": "seelike.sections.skip_connections",
    "seelike.representation_structure": "seelike.sections.representation_structure",
    "seelike.ridge": "seelike.probes.ridge",
    "seelike.scale": "seelike.sections.scale_and_transfer",
    "seelike.spatial_information": "seelike.sections.spatial_localization",
    "seelike.textures": "seelike.data.textures",
}


class MovedModules(MetaPathFinder, Loader):
    """Finds a module by its old name.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(action="ignore"):
        ...     import seelike.ridge
        >>> seelike.ridge.__name__
        'seelike.probes.ridge'
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Know the old names."""
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the new module in the place of the old one."""
        old = module.__name__
        warnings.warn(f"{old} is now {MOVED[old]}.", DeprecationWarning, stacklevel=2)
        sys.modules[old] = import_module(MOVED[old])
