"""Write what each page has cost, as measured when its result was made: time, memory, images, networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import executed
from executed import Page
from nbformat import NotebookNode


@dataclass(frozen=True)
class Cost:
    """A page, what its notebook says of itself, and what of its run."""

    page: Page
    about: Mapping[str, Any]
    run: Mapping[str, Any]

    @classmethod
    def of(cls, page: Page, notebook: NotebookNode) -> "Cost":
        """Read it off an executed notebook, before stage.py takes out what is no part of a page."""
        return cls(page, notebook.metadata.seelike, executed.parameters(notebook))


def tables(measured: Sequence[Cost], titles: Mapping[str, str]) -> str:
    """Write a table for each profile of which there are pages of results, in MyST Markdown.

    Args:
        measured: The pages that are results, controls left out.
        titles: The title of each page, by the name of its notebook.

    Returns:
        The tables, each with a heading and the device, or a sentence that says that there are none. What a result
        does not tell is left empty.

    Example:
        >>> tables([], {})
        'No profile but `tiny` has been run for this book yet.\\n'
    """
    profiles = dict.fromkeys(each.page.profile for each in measured)
    found = [_table(name, [each for each in measured if each.page.profile == name], titles) for name in profiles]
    return "\n".join(found) or "No profile but `tiny` has been run for this book yet.\n"


def _table(profile: str, measured: Sequence[Cost], titles: Mapping[str, str]) -> str:
    rows, seconds, largest = [], 0.0, 0
    for each in measured:
        page, about, run = each.page, each.about, each.run
        memory = about.get("peak_memory_mb") or 0
        seconds, largest = seconds + about["seconds"], max(largest, memory)
        networks = len(run.get("models") or [])
        images = f"{run['number_of_images']:,} x {run['repeats']}" if networks else ""
        rows.append(
            f"| [{titles[page.name]}](../{page.place}.ipynb) | {about['seconds'] / 60:.1f} | {_gigabytes(memory)} "
            f"| {images} | {networks or ''} |"
        )
    rows.append(f"| **together** | **{seconds / 60:.0f}** | **{_gigabytes(largest)}** | | |")
    head = "| page | minutes | memory, GB | images x repeats | networks |\n|---|---|---|---|---|"
    # Sphinx refuses a heading two levels below the one before it.
    return f"## Measured at `{profile}`\n\n{_machine(measured)}\n\n{head}\n" + "\n".join(rows) + "\n"


def _machine(measured: Sequence[Cost]) -> str:
    """Say what the pages ran on, as far as all of them tell."""
    devices = dict.fromkeys(each.run.get("gpu") or each.run["device"] for each in measured)
    threads = {each.about.get("threads") for each in measured}
    number = threads.pop() if len(threads) == 1 else None
    of_each = f", each page with {number} thread{'s' if number > 1 else ''}" if number else ""
    return f"On {', '.join(devices)}{of_each}."


def _gigabytes(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f}" if megabytes else ""
