"""Write what each page has cost, as measured when its result was made: time, memory, images, networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import executed
from executed import Page
from nbformat import NotebookNode


@dataclass(frozen=True)
class Cost:
    """What a result tells of its run.

    Attributes:
        page: The page that it is.
        about: What run_notebook.py noted: seconds, and perhaps memory and threads.
        run: What seelike.start noted: device, images and networks.
    """

    page: Page
    about: Mapping[str, Any]
    run: Mapping[str, Any]


def of(page: Page, notebook: NotebookNode) -> Cost:
    """Read it, before stage.py takes out of the notebook what is no part of a page."""
    return Cost(page, dict(notebook.metadata.seelike), dict(executed.parameters(notebook)))


def tables(costs: Sequence[Cost], titles: Mapping[str, str]) -> str:
    """Write a table for each profile of which there are pages of results, in MyST Markdown.

    Args:
        costs: Those of the pages that are results, controls left out.
        titles: The title of each page, by the name of its notebook.

    Returns:
        The tables, each with a heading and the device, or a sentence that says that there are none. What a result
        does not tell is left empty.

    Example:
        >>> tables([], {})
        'No profile but `tiny` has been run for this book yet.\\n'
    """
    profiles = dict.fromkeys(cost.page.profile for cost in costs)
    found = [
        _table(profile, [cost for cost in costs if cost.page.profile == profile], titles) for profile in profiles
    ]
    return "\n".join(found) or "No profile but `tiny` has been run for this book yet.\n"


def _table(profile: str, costs: Sequence[Cost], titles: Mapping[str, str]) -> str:
    rows, seconds, largest = [], 0.0, 0
    for cost in costs:
        memory = cost.about.get("peak_memory_mb") or 0
        seconds, largest = seconds + cost.about["seconds"], max(largest, memory)
        networks = len(cost.run.get("models") or [])
        images = f"{cost.run['number_of_images']:,} x {cost.run['repeats']}" if networks else ""
        rows.append(
            f"| [{titles[cost.page.name]}](../{cost.page.place}.ipynb) | {cost.about['seconds'] / 60:.1f} "
            f"| {_gigabytes(memory)} | {images} | {networks or ''} |"
        )
    rows.append(f"| **together** | **{seconds / 60:.0f}** | **{_gigabytes(largest)}** | | |")
    head = "| page | minutes | memory, GB | images x repeats | networks |\n|---|---|---|---|---|"
    # Sphinx refuses a heading two levels below the one before it.
    return f"## Measured at `{profile}`\n\n{_machine(costs)}\n\n{head}\n" + "\n".join(rows) + "\n"


def _machine(costs: Sequence[Cost]) -> str:
    """Say what the pages ran on, as far as all of them tell."""
    devices = dict.fromkeys(cost.run.get("gpu") or cost.run["device"] for cost in costs)
    threads = {cost.about.get("threads") for cost in costs}
    number = threads.pop() if len(threads) == 1 else None
    each = f", each page with {number} thread{'s' if number > 1 else ''}" if number else ""
    return f"On {', '.join(devices)}{each}."


def _gigabytes(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f}" if megabytes else ""
