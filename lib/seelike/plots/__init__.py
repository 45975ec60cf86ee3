"""The figures of the book: a file for each kind, one style for all."""

from seelike.plots.cka import CKAMap, HasBlock, cka_map, cka_maps, map_between
from seelike.plots.claims import forest
from seelike.plots.depth import depth_lines
from seelike.plots.images import image_rows
from seelike.plots.interactive import live, states
from seelike.plots.panels import line_panels
from seelike.plots.skip import skip_ratio_maps
from seelike.plots.style import use_style
from seelike.plots.training import learning_curves

__all__ = [
    "CKAMap",
    "HasBlock",
    "cka_map",
    "cka_maps",
    "depth_lines",
    "forest",
    "image_rows",
    "learning_curves",
    "line_panels",
    "live",
    "map_between",
    "skip_ratio_maps",
    "states",
    "use_style",
]
