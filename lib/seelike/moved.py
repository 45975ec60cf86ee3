"""Modules of other names: scripts that import the old ones go on, with a warning that tells the new one."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "seelike.cka.memory": ("seelike.streaming.memory",),
    "seelike.few_shot_probes": ("seelike.sections.linear_probes",),
    "seelike.finetuning": ("seelike.sections.scale_and_transfer",),
    "seelike.local_global": ("seelike.sections.local_global",),
    "seelike.moments": ("seelike.streaming.moments",),
    "seelike.propagation": ("seelike.sections.skip_connections",),
    "seelike.representation_structure": ("seelike.sections.representation_structure",),
    "seelike.ridge": ("seelike.probes.ridge", "seelike.probes.strength"),
    "seelike.scale": ("seelike.sections.scale_and_transfer",),
    "seelike.spatial_information": ("seelike.sections.spatial_localization",),
    "seelike.textures": ("seelike.data.textures",),
}


class MovedModules(MetaPathFinder, Loader):
    """Finds a module by its old name.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(action="ignore"):
        ...     import seelike.moments
        ...     from seelike.ridge import STRENGTHS, RidgeSums
        >>> seelike.moments.__name__, RidgeSums.__module__
        ('seelike.streaming.moments', 'seelike.probes.ridge')
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Know the old names."""
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the new module in the place of the old one, or the names of several in the old one."""
        old = module.__name__
        warnings.warn(f"{old} is now {' and '.join(MOVED[old])}.", DeprecationWarning, stacklevel=2)
        first, *others = [import_module(name) for name in MOVED[old]]
        if not others:
            sys.modules[old] = first
        for new in (first, *others) if others else ():
            module.__dict__.update({name: found for name, found in vars(new).items() if name[0] != "_"})
