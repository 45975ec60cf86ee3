"""Explorers: figures that answer to a click, in the page of the book, without a kernel.

An explorer is data and a small script that draws it. A notebook shows a still of it, an ordinary picture. Beside
the picture lies what the script needs, as a further MIME type: the book takes that, puts it into a file of its
own, and the page loads it when the reader comes near. No explorer asks another host for anything.
"""

from seelike.plots.explorers.bundle import EXPLORER_MIME, SCRIPTS, Explorer
from seelike.plots.explorers.cka import cka_explorer

__all__ = ["EXPLORER_MIME", "SCRIPTS", "Explorer", "cka_explorer"]
