"""The style that all figures share, and what each network looks like in all of them.

Figures are made without pyplot, so each is shown once, by the cell that ends with it. Their ground is transparent:
they stand on the page as it is, by day and by night. So nothing in them is black or white, but on a map's colours.
"""

import functools
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import seaborn
from IPython import get_ipython

from seelike.profiles import NAMES, PAGES, profile_of

# Lines differ by dashes as well as by colour.
DASHES = ("-", "--", "-.", ":")
# Inches. No figure is wider: where a phone leaves it 358 pixels, nine points are nine pixels.
WIDTH = 4.8

# Letters, axes and means: read on white (4.7 : 1) and on the book's dark ground (3.9 : 1).
INK = "#737373"
# What is too small to count, and other areas behind the data.
BAND = (0.5, 0.5, 0.5, 0.2)
# A control, or what data are compared with.
GREY = "#8c8c8c"

# The palette "colorblind" of seaborn, without its pale pink and its yellow, which hardly show on white.
COLOURS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#949494", "#56b4e9")
# Cold colours are transformers, warm ones convolutional networks, by how their names begin: the first that fits.
_OF_FAMILIES = {
    ("vit", "deit"): (("#0173b2", "#cc78bc", "#56b4e9"), 0),
    ("mixer",): (("#029e73", "#949494"), 1),
    ("",): (("#d55e00", "#de8f05", "#ca9161"), 2),
}
# How the names of lines end that are no network's: what networks are held against.
_REFERENCES = ("by chance", "equal pace")
# The size of the images that a network was given.
_SIZE = re.compile(r":\d+px$")


class Look(NamedTuple):
    """The colour and the dashes of a line."""

    colour: str
    dashes: str


def use_style() -> None:
    """Set the style of all figures, and PNG as the form in which a notebook keeps them.

    Letters are large for the size of the figure: they can be read where a page is as narrow as a phone.

    Example:
        >>> use_style()
        >>> import matplotlib
        >>> matplotlib.rcParams["figure.dpi"]
        160.0
    """
    inked = ["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"]
    inked += [f"boxplot.{part}.color" for part in ("boxprops", "capprops", "whiskerprops", "flierprops")]
    grounds = ["figure.facecolor", "axes.facecolor", "savefig.facecolor"]
    seaborn.set_theme(
        context="notebook",
        style="ticks",
        palette="colorblind",
        rc={
            "figure.dpi": 160,
            "savefig.dpi": 160,
            "axes.titlesize": 10,
            "axes.labelsize": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            **dict.fromkeys(inked, INK),
            **dict.fromkeys(grounds, "none"),
        },
    )
    if get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("png")


def looks(labels: Iterable[str]) -> dict[str, Look]:
    """Give each line of a figure its colour and dashes: those of the network that its label names, on every page.

    Several lines of one network have its colour and other dashes. Where all lines name the same network first, as
    in "A in B" and "A in C", they look like what they name last. Lines that name no network of `profiles.toml`
    look by their place in the figure; what networks are held against, such as "by chance", is grey.

    Args:
        labels: What the lines are called in the legend.

    Example:
        >>> looks(["resnet50.a1_in1k", "tiny/vit_7x7, CLS", "tiny/vit_7x7, spatial"])["tiny/vit_7x7, spatial"]
        Look(colour='#0173b2', dashes='--')
        >>> looks(["tiny/vit_7x7"])["tiny/vit_7x7"]
        Look(colour='#0173b2', dashes='-')
    """
    named = {label: _names().findall(label) for label in labels}
    one_first = len({names[0] for names in named.values() if names}) == 1
    found: dict[str, Look] = {}
    for place, (label, names) in enumerate(named.items()):
        own = Look(COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)])
        if label.endswith(_REFERENCES):
            own = Look(GREY, DASHES[1])
        elif names:
            own = _networks()[names[-1 if one_first else 0]]
        found[label] = next((look for look in _from(own) if look not in found.values()), own)
    return found


def _from(own: Look) -> Iterator[Look]:
    """All looks in the order in which they are taken where one is another line's: dashes first, then colours."""
    first = DASHES.index(own.dashes)
    turned = DASHES[first:] + DASHES[:first]
    return itertools.starmap(Look, itertools.product((own.colour, *COLOURS), turned))


@functools.cache
def _networks() -> dict[str, Look]:
    """The look of each network of the profiles, by its name without folder and size of images."""
    found: dict[str, Look] = {}
    for profile in NAMES:
        every = (name for page in PAGES for name in profile_of(profile, page).networks)
        names = dict.fromkeys(_SIZE.sub("", name.removeprefix("tiny/")) for name in every)
        for starts, (colours, first) in _OF_FAMILIES.items():
            of_family = [name for name in names if _family(name) == starts]
            for number, name in enumerate(of_family):
                # Known from a smaller profile, a network keeps its look.
                found.setdefault(
                    name, Look(colours[number % len(colours)], DASHES[(first + number) % len(DASHES)])
                )
    return found


def _family(name: str) -> tuple[str, ...]:
    return next(starts for starts in _OF_FAMILIES if name.startswith(starts))


@functools.cache
def _names() -> re.Pattern[str]:
    longest_first = sorted(_networks(), key=len, reverse=True)
    return re.compile(rf"(?<![\w.])(?:{'|'.join(map(re.escape, longest_first))})(?![\w.])")


def in_lines(name: str, letters: int) -> str:
    """Break a long name after its separators.

    Args:
        name: What is written.
        letters: How many fit into a line.

    Example:
        >>> in_lines("vit_small_patch16_224.augreg_in21k", 20)
        'vit_small_patch16_\\n224.augreg_in21k'
    """
    lines = []
    for given in name.split("\n"):
        lines.append("")
        for part in re.findall(r"[^_./ ]*[_./ ]?", given):
            if lines[-1] and len(lines[-1]) + len(part.rstrip()) > letters:
                lines.append("")
            lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)
