"""Time pieces of work side by side, and write what came out.

The pieces are timed in turn, round by round, in one process. So their ratio holds where the speed of a shared
machine drifts, and its spread over the rounds says how far to trust it.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
PEERS = ("scikit-learn", "pytorch-cka", "torch-cka")


def arguments(description: str | None, rounds: int = 5) -> argparse.ArgumentParser:
    """Give the command line that all benchmarks share: --device and --rounds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how often to time each ({rounds})")
    return parser


def side_by_side(
    works: Mapping[str, Callable[[], object]],
    rounds: int,
    device: str = "cpu",
    warm_up: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time each piece of work once a round, in turn, to the end of what it started on the device.

    Args:
        works: The pieces, by name.
        rounds: How many rounds.
        device: Where they run; a GPU is waited for.
        warm_up: Whether each runs once before, untimed.
        clock: Gives seconds; `time.process_time` does not count what other processes do meanwhile.

    Returns:
        Seconds, one for each round, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    if warm_up:
        for work in works.values():
            work()
    for _ in range(rounds):
        for name, work in works.items():
            synchronise(device)
            begin = clock()
            work()
            synchronise(device)
            seconds[name].append(clock() - begin)
    return seconds


def clock(device: str) -> Callable[[], float]:
    """Choose what measures time: on a CPU the processor's seconds, whatever else the machine does."""
    return time.perf_counter if device.startswith("cuda") else time.process_time


def si(number: float) -> str:
    """Write a large number with three digits and a letter: G for 10^9, T for 10^12, P for 10^15, E for 10^18."""
    for power, letter in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M")):
        if abs(number) >= 10**power:
            return f"{number / 10**power:.3g} {letter}"
    return f"{number:.3g}"


def synchronise(device: str) -> None:
    """Wait for what was started on a GPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> dict[str, float]:
    """Divide round by round, and give the lowest, the median and the highest ratio."""
    ratios = [n / d for n, d in zip(numerators, denominators, strict=True)]
    return {"lowest": min(ratios), "median": statistics.median(ratios), "highest": max(ratios)}


def row(
    measurement: str,
    setting: str,
    ours: tuple[str, Sequence[float]],
    against: tuple[str, Sequence[float]],
    asked: str = "",
    unit: str = "s",
    **numbers: Any,
) -> dict[str, Any]:
    """Make a row of the table: what was measured, against what, and the ratio of the two.

    Args:
        measurement: What is measured, such as "attention distance".
        setting: Networks and sizes.
        ours: Name, and seconds (or another unit) of each round.
        against: The same for the peer or the hardware limit.
        asked: The ratio that is asked for, such as "<= 1.15".
        unit: Of both: seconds, or gigabytes of memory.
        numbers: Whatever else there is to tell, such as the largest error.
    """
    return {
        "measurement": measurement,
        "setting": setting,
        "work": ours[0],
        "value": statistics.median(ours[1]),
        "against": against[0],
        "against_value": statistics.median(against[1]),
        "unit": unit,
        "ratio": ratio(ours[1], against[1]),
        "asked": asked,
        **numbers,
    }


def report(name: str, rows: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    """Print the rows and write them to benchmarks/results/NAME.json, with the machine and the versions."""
    result = {"rows": [dict(each) for each in rows], **surroundings(name, options)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    for each in rows:
        print(line(each))


def surroundings(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Say how, when, where and with which versions the benchmark of this name ran."""
    cuda = options.device.startswith("cuda")
    given = {
        key: " ".join(map(str, value)) if isinstance(value, list) else value
        for key, value in vars(options).items()
        if value is not None
    }
    arguments = [f"--{key.replace('_', '-')} {value}" for key, value in given.items()]
    return {
        "command": " ".join([f"python benchmarks/{name}.py", *arguments]),
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name() if cuda else f"{_processor()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def line(each: Mapping[str, Any]) -> str:
    """Print a row as one line of text."""
    spread = each["ratio"]
    asked = f", asked {each['asked']}" if each["asked"] else ""
    return (
        f"{each['measurement']} ({each['setting']}): {each['work']} {each['value']:.3g} {each['unit']}, "
        f"{each['against']} {each['against_value']:.3g} {each['unit']}, ratio {spread['median']:.3g} "
        f"({spread['lowest']:.3g} to {spread['highest']:.3g}){asked}"
    )


def between_marks(parts: Mapping[str, str]) -> str:
    """Write parts of pages, each between two comments with its name, by which the book includes it."""
    return "".join(f"<!-- {name} -->\n\n{part}\n\n<!-- end of {name} -->\n\n" for name, part in parts.items())


def _processor() -> str:
    names = [text for text in _cpu_lines() if text.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()


def _cpu_lines() -> list[str]:
    cpu = Path("/proc/cpuinfo")
    return cpu.read_text().splitlines() if cpu.exists() else []


def _versions() -> dict[str, str]:
    found = {}
    for package in ("seelike", "torch", "timm", "numpy", *PEERS):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a peer that this benchmark does not need
            continue
    return found
