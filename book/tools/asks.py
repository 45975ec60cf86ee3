"""What a job on a cluster asks for: the time and memory that its page has cost elsewhere, with room.

At `pretrained` both were measured when the results were made. Of `colab` and `paper` benchmarks/costs.py has
estimated the minutes, and benchmarks/architectures.py measured the memory.
"""

import functools
import json
import math
import re
from pathlib import Path

RESULTS = Path("results")
BENCHMARKS = Path("benchmarks/results")
# A start on a busy node, and weights that come from afar.
START_MINUTES = 15
# Another machine, other networks than the profile's.
ROOM = 4
# Where nothing was measured.
USUAL = {"tiny": (30, 2000), "pretrained": (120, 8000), "colab": (60, 16000), "paper": (240, 16000)}
CORES = {"tiny": 1, "pretrained": 2}
_ROW = re.compile(r"^\| (\w+) \| (\d+) min \|", re.MULTILINE)


@functools.cache
def asks(profile: str, page: str) -> tuple[int, int]:
    """Give minutes and megabytes for a page at a profile.

    Example:
        >>> asks("tiny", "03_background")
        (30, 2000)
    """
    minutes, megabytes = USUAL.get(profile, USUAL["paper"])
    if profile in ("colab", "paper"):
        if estimated := _estimated_minutes(profile).get(page):
            minutes = START_MINUTES + ROOM * estimated
        return minutes, max(megabytes, _largest_memory())
    try:
        about = json.loads((RESULTS / profile / f"{page}.ipynb").read_text())["metadata"]["seelike"]
    except (OSError, ValueError, KeyError):
        return minutes, megabytes  # a damaged result is named where it is read
    minutes = START_MINUTES + math.ceil(ROOM * about["seconds"] / 60)
    held = about.get("peak_memory_mb")
    return minutes, _up(1.5 * held, 500) if held else megabytes


def cores(profile: str) -> int:
    """Give the cores of a job: those of a GPU prepare its images."""
    return CORES.get(profile, 8)


@functools.cache
def _estimated_minutes(profile: str) -> dict[str, int]:
    text = (BENCHMARKS / "costs.md").read_text()
    begin = text.find(f"`{profile}` on a GPU")
    table = text[begin:].split("\n\n")[1] if begin >= 0 else ""
    return {page: int(minutes) for page, minutes in _ROW.findall(table)}


@functools.cache
def _largest_memory() -> int:
    """Twice what the largest architecture took, and as much as CUDA's own libraries take."""
    rows = json.loads((BENCHMARKS / "architectures.json").read_text())["rows"]
    largest = max(each["peak_gigabytes"] for both in rows.values() for each in both.values())
    return _up(1000 * (2 * largest + 4), 1000)


def _up(number: float, step: int) -> int:
    return step * math.ceil(number / step)
