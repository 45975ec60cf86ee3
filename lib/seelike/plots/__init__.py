"""The figures of the book: a file for each kind, one style for all."""

from seelike.plots.attention import all_heads, head_map, sorted_heads, subsets_of_heads
from seelike.plots.cka import CKAMap, cka_map, cka_maps, map_between
from seelike.plots.claims import forest
from seelike.plots.depth import boxes, depth_lines, depth_panels, over_depth
from seelike.plots.gram import gram_maps
from seelike.plots.images import image_rows
from seelike.plots.interactive import live, states, states_of_two
from seelike.plots.localization import accuracy_maps, places, same_place, same_place_alt, token_maps
from seelike.plots.panels import line_panels
from seelike.plots.receptive_field import field_maps
from seelike.plots.skip import skip_ratio_maps
from seelike.plots.style import use_style
from seelike.plots.training import learning_curves

__all__ = [
    "CKAMap",
    "accuracy_maps",
    "all_heads",
    "boxes",
    "cka_map",
    "cka_maps",
    "depth_lines",
    "depth_panels",
    "field_maps",
    "forest",
    "gram_maps",
    "head_map",
    "image_rows",
    "learning_curves",
    "line_panels",
    "live",
    "map_between",
    "over_depth",
    "places",
    "same_place",
    "same_place_alt",
    "skip_ratio_maps",
    "sorted_heads",
    "states",
    "states_of_two",
    "subsets_of_heads",
    "token_maps",
    "use_style",
]
