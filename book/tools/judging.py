"""Judge the claims of executed notebooks together, and write the verdicts into what the notebooks show.

A notebook judges its claims while it runs, each alone and by the rule of that day. In the book they are judged
together, by today's: the card of each claim, and the list at the end of its page, are written anew.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence

import nbformat
from nbformat import NotebookNode

from seelike import verdicts
from seelike.claims import CLAIM_MIME, Result, listed

_LISTS = re.compile(r"\bon_this_page\(\)")


def judge(notebooks: Sequence[NotebookNode], controls: Iterable[NotebookNode] = ()) -> None:
    """Judge all claims of notebooks of one profile.

    Args:
        notebooks: Executed notebooks; their outputs are changed in place.
        controls: The same with random weights, as far as there are any; changed in place, too. Each of their
            claims is judged alone.
    """
    controls = list(controls)
    before_training = [verdicts.read(notebook) for notebook in controls]
    for notebook, found in zip(controls, before_training, strict=True):
        _write(notebook, iter(verdicts.alone(found)))
    recorded = [result for notebook in notebooks for result in verdicts.read(notebook)]
    judged = iter(verdicts.judge(recorded, [result for found in before_training for result in found]))
    for notebook in notebooks:
        _write(notebook, judged)


def _write(notebook: NotebookNode, judged: Iterator[Result]) -> None:
    """Write the next results, one for each claim, into a notebook's cards and lists."""
    so_far: dict[str, Result] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if CLAIM_MIME in data:
                result = next(judged)
                so_far[result.claim.id] = result
                output.data = _as_read(result._repr_mimebundle_())
            elif "text/markdown" in data and _LISTS.search(cell.source):
                output.data = _as_read(listed(list(so_far.values())))


def _as_read(bundle: dict[str, object]) -> NotebookNode:
    """Give a bundle as nbformat reads it: with lists in the place of tuples."""
    return nbformat.from_dict(json.loads(json.dumps(bundle)))
