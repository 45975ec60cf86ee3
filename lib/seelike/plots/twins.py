"""What several trainings of a network have in common: Figures 3, 4, 8, 10 and 11, each a point or a thin line.

Trainings are told apart by nothing but chance, so they look alike, and stand behind their mean. A grey band is the
smallest effect of interest of a claim.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from seelike.plots.cka import CKAMap, cka_maps
from seelike.plots.style import BAND, COLOURS, GREY, INK, WIDTH, looks

# A number for each draw of images, by the name of the training.
Trainings = Mapping[str, Float[np.ndarray, " draws"]]

# Dark means above zero and light below in no print; purple and orange are told apart with every kind of vision.
_OF_DIFFERENCES = matplotlib.colormaps["PuOr_r"].with_extremes(bad=GREY)
_MARKERS = ("o", "s", "^", "D")
_THIN: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.45, "zorder": 2}
_LEAST_LIMIT = 0.1


def side_by_side(
    groups: Mapping[str, Sequence[Trainings]],
    *,
    names: Sequence[str],
    y_label: str,
    bands: Mapping[str, tuple[float, float]],
    controls: Collection[str] = (),
    reference: tuple[float, str] | None = None,
) -> Figure:
    """Draw twins beside each other: a thin line joins those of one name, large marks are means (Figures 3 and 4).

    Args:
        groups: For each place along the axis the trainings of every kind, of the same names in each kind.
        names: What the kinds are called in the legend.
        y_label: What the values are, with their unit.
        bands: For some of the groups what is too small to count, from low to high, as a grey band.
        controls: Those of the names that are drawn grey, such as networks before training.
        reference: A value to which all are compared, as a dashed line, and what it is called.

    Returns:
        The figure.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> much = {"seed 0": np.array([0.5]), "seed 1": np.array([0.7])}
        >>> little = {"seed 0": np.array([0.8]), "seed 1": np.array([0.8])}
        >>> both = {"nearest": [much, little]}
        >>> bands = {"nearest": (0.5, 0.7)}
        >>> figure = side_by_side(both, names=["much", "little"], y_label="distance", bands=bands)
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['much', 'little', 'too small to count']
    """
    if not groups or not all(kind for kinds in groups.values() for kind in kinds):
        raise ValueError("There is nothing to draw. Give one training or more of each kind.")
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    apart = 0.5 / max(1, len(names) - 1)
    entries: dict[str, Artist] = {}
    coloured = [name for name in names if name not in controls]
    for place, (group, kinds) in enumerate(groups.items()):
        at = place + apart * (np.arange(len(kinds)) - (len(kinds) - 1) / 2)
        values = np.array([[np.mean(values) for values in kind.values()] for kind in kinds])
        axes.plot(at, values, color=GREY, **_THIN)
        for name, x, row in zip(names, at, values, strict=True):
            look: dict[str, Any] = {
                "marker": _MARKERS[names.index(name) % len(_MARKERS)],
                "color": GREY if name in controls else COLOURS[coloured.index(name)],
                "linestyle": "none",
            }
            axes.plot([x] * len(row), row, markersize=4.5, alpha=0.5, zorder=3, **look)
            (mean,) = axes.plot(x, row.mean(), markersize=9, markeredgecolor=INK, zorder=4, **look)
            entries.setdefault(name, mean)
        if group in bands:
            across = [place - 0.42, place + 0.42]
            band = axes.fill_between(across, *bands[group], color=BAND, linewidth=0, zorder=0)
            entries["too small to count"] = band
    if reference is not None:
        entries[reference[1]] = axes.axhline(reference[0], color=INK, linestyle="--", linewidth=1, zorder=1)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set(xlim=(-0.5, len(groups) - 0.5), ylabel=y_label)
    # Room above, so that the largest mark is whole.
    low, high = axes.get_ylim()
    axes.set_ylim(min(0.0, low), high + 0.04 * (high - min(0.0, low)))
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=2)
    return figure


def differences(
    rows: Mapping[str, Trainings], *, x_label: str, margin: float, controls: Collection[str] = ()
) -> Figure:
    """Draw a difference of each training as a point, and their mean; the grey band is within the margin of zero.

    Args:
        rows: For each label the trainings, from top to bottom.
        x_label: What the values are.
        margin: The smallest effect of interest.
        controls: Those of the labels that are drawn grey, such as networks before training.

    Returns:
        The figure.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> rows = {"block 4": {"seed 0": np.array([0.2, 0.3]), "seed 1": np.array([0.1, 0.1])}}
        >>> figure = differences(rows, x_label="difference", margin=0.1)
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['block 4']
    """
    if not rows or not all(rows.values()):
        raise ValueError("There is nothing to draw. Give one row or more, each with one training or more.")
    figure = Figure(figsize=(WIDTH, 1.35 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    band = axes.axvspan(-margin, margin, color=BAND, linewidth=0, zorder=0)
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    points: list[Line2D] = []
    for place, (label, trainings) in enumerate(rows.items()):
        values = [float(np.mean(draws)) for draws in trainings.values()]
        colour = GREY if label in controls else COLOURS[0]
        drawn = axes.plot(values, [place] * len(values), "o", markersize=5, color=colour, alpha=0.5, zorder=3)
        points = points or drawn
        (mean,) = axes.plot(np.mean(values), place, "|", markersize=18, markeredgewidth=2.5, color=INK, zorder=4)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=x_label)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    entries = {"a network": points[0], "mean": mean, "too small to count": band}
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=3)
    return figure


def lines(
    panels: Mapping[str, Mapping[str, Mapping[str, Float[np.ndarray, "draws layers"]]]], *, y_label: str
) -> Figure:
    """Draw values over relative depth: thin lines are trainings, thick ones their means (Figure 11).

    Args:
        panels: For each title, and each name in the legend, the trainings.
        y_label: What the values are.

    Returns:
        The figure, a panel below the other.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> vit = {"seed 0": np.array([[0.2, 0.6]]), "seed 1": np.array([[0.3, 0.5]])}
        >>> figure = lines({"digits": {"ViT": vit}}, y_label="accuracy")
        >>> [len(line.get_xdata()) for line in figure.axes[0].lines]
        [2, 2, 2]
    """
    if not panels or not all(trainings for groups in panels.values() for trainings in [groups, *groups.values()]):
        raise ValueError("There is nothing to draw. Give one panel or more, each with a line or more.")
    names = list(dict.fromkeys(name for groups in panels.values() for name in groups))
    each, beside = (3.0 if len(panels) == 1 else 2.3), (1 if max(map(len, names)) > 28 else 2)
    figure = Figure(figsize=(WIDTH, each * len(panels) + 0.22 * -(-len(names) // beside)), layout="constrained")
    entries, drawn = {}, looks(names)
    all_axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (title, groups) in zip(all_axes, panels.items(), strict=True):
        for name, trainings in groups.items():
            colour, dashes = drawn[name]
            means = [draws.mean(axis=0) for draws in trainings.values()]
            depth = np.linspace(0, 1, len(means[0]))
            for mean in means if len(means) > 1 else ():
                axes.plot(depth, mean, "-", color=colour, **_THIN)
            (entries[name],) = axes.plot(
                depth, np.mean(means, axis=0), dashes, color=colour, linewidth=2.2, zorder=3
            )
        axes.set(ylabel=y_label, xlim=(0, 1))
        axes.set_title(title, parse_math=False)  # a folder's name may have dollar signs
    all_axes[-1].set_xlabel("relative depth (0: first layer, 1: last)")
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=beside)
    return figure


def difference_maps(maps: Sequence[CKAMap], *, label: str) -> Figure:
    """Draw maps of differences of CKA, white at zero, three beside each other (Figure 8).

    Args:
        maps: What to draw; values from -1 to 1.
        label: What the colour is.

    Returns:
        The figure. All maps have one scale, as far above zero as below.

    Raises:
        ValueError: There is nothing to draw.

    Example:
        >>> from seelike.models import Layer
        >>> layers = [Layer("", "", number, 0.0, "") for number in (None, 1, 1, 2)]
        >>> figure = difference_maps([CKAMap(-0.3 * np.eye(4), layers, layers)], label="cut minus intact")
        >>> figure.axes[0].images[0].get_clim()
        (-0.3, 0.3)
    """
    figure = cka_maps(maps, columns=3, label=label)
    limit = max([_LEAST_LIMIT, *(float(np.nanmax(np.abs(each.matrix), initial=0)) for each in maps)])
    for axes in figure.axes[: len(maps)]:
        axes.images[0].set_cmap(_OF_DIFFERENCES)
        axes.images[0].set_clim(-limit, limit)
    return figure
