"""The style that all figures share.

Figures are made without pyplot, so each is shown once, by the cell that ends with it.
"""

import seaborn
from IPython import get_ipython

# Lines differ by dashes as well as by colour.
DASHES = ("-", "--", "-.", ":")


def use_style() -> None:
    """Set the style of all figures, and PNG as the form in which a notebook keeps them.

    Letters are large for the size of the figure: they can be read where a page is as narrow as a phone.

    Example:
        >>> use_style()
        >>> import matplotlib
        >>> matplotlib.rcParams["figure.dpi"]
        160.0
    """
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
        },
    )
    if get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("png")
