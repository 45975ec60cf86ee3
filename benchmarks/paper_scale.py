"""Measure every figure of the paper at the paper's size against the bare passes, and how the cost grows.

    python benchmarks/paper_scale.py [--device cuda|cpu] [--scale full|small] [--only ROW ...] [--rounds 3]
                                     [--precisions float32 mixed] [--again]

Random-weight networks of the real architectures look at random images with the spectrum of photographs, made on
the device. Each row is one measurement of the library, timed in turn with the bare forward or backward passes that
it cannot do without, and with peers where there are any. `--scale full` is the paper's protocol, for a GPU of 141
GB; `--scale small` runs the same code with small networks and few images, to prove the script on a CPU: its
numbers say nothing about a GPU. Seconds are those of the clock on a GPU, and those of the processor, all threads
together, on a CPU, where other work may run beside.

A round is a unit of the row's work: one repeat of CKA, one image of receptive fields with all channels, elsewhere
the whole. Rows with more units than rounds say how many were timed. Results are written after every round to
benchmarks/results/paper_scale.json: what was stopped goes on, and a row that was measured with this code, these
versions and on this device is not measured again, unless `--again` is given. benchmarks/speed_page.py makes the
table and the pictures of it.

What is counted: operations of matrix products, convolutions and eigendecompositions, and bytes, each tensor of
each operation read or written once (`hardware.Costs`), on a part of a round, scaled to the round where the cost is
proportional to images. Their shares are of the time of the row, at the rates of a matrix product and of a copy
that were measured when the process began. Peak memory is of the measurement alone: on a GPU that of the tensors
there, on a CPU that of the process.
"""

import argparse
import hashlib
import json
import math
import os
import statistics
import subprocess
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

import side_by_side
import torch
from hardware import Costs, forget_peak, rates, shares
from registry import MEASUREMENTS
from scale import Growth, Row, Size, Works, natural_like, network
from side_by_side import ratio, surroundings

from seelike.models import PRECISIONS, places, with_precision
from seelike.models.measurable import input_size
from seelike.streaming.memory import most_in_use

NAME = "paper_scale"
SCALES = ("full", "small")
# Code whose change makes results old.
MEASURED = ("lib/seelike", "benchmarks")
NOT_MEASURED = {"speed_page.py", "expected.py", "run_all.py", "costs.py"}
ROOT = Path(__file__).parents[1]


ROWS: dict[str, Row] = {name: row for each in MEASUREMENTS for name, row in each.rows().items()}


# How the cost grows: from a middle size, one thing is changed at a time.
GROWING: dict[str, Growth] = {growth.title: growth for each in MEASUREMENTS if (growth := each.growth())}
_MIDDLE = {
    "full": Size(
        ("vit_base_patch16_224",),
        4096,
        256,
        minibatch=512,
        memory="100GB",
        layers=8,
        classes=100,
        test=96,
        side=224,
    ),
    "small": Size(
        ("vit_tiny_patch16_224",),
        96,
        16,
        minibatch=32,
        memory="4GB",
        layers=4,
        classes=4,
        test=16,
        side=112,
        depth=4,
    ),
}
AXES: dict[str, dict[str, list[int]]] = {
    "full": {
        "layers": [1, 2, 4, 8, 12],
        "tokens": [49, 100, 196, 400],
        "images": [1024, 2048, 4096, 8192],
        "batch": [128, 256, 512, 1024],
    },
    "small": {"layers": [1, 2, 4], "tokens": [16, 49, 100], "images": [48, 96, 192], "batch": [16, 32, 48]},
}


def grown(growth: Growth, middle: Size, axis: str, value: int) -> Size:
    """Change one thing of a size: layers, tokens, images, or the batch."""
    if axis == "tokens":
        return replace(middle, side=16 * math.isqrt(value))
    changed = {"images": "images", "layers": growth.layers, "batch": growth.batch}[axis]
    return replace(middle, **{changed: value})


def prepared(row: Row, size: Size, device: str, precision: str) -> Works:
    """Make networks and images, and what is timed."""
    models = [with_precision(network(name, device, size), precision) for name in size.networks]
    images = natural_like(size.images, size.side or input_size(models[0])[-1], device)
    for model in models:
        # What is where in a network is found once, and is no part of what is counted or timed.
        places(model, [], images)
    return row.prepare(size, models, images)


def count(works: Works, size: Size) -> dict[str, Any]:
    """Count operations and bytes of one unit, and of what it is held against. It also warms up."""
    part = min(works.part or size.images, size.images)
    counted = {}
    for name, work in (("ours", works.ours), ("against", works.against)):
        with Costs() as costs:
            work(part)
        share = size.images / part
        counted[name] = {
            "operations": {dtype: number * share for dtype, number in costs.by_type.items()},
            "bytes": costs.bytes * share,
        }
    return counted


def measure(
    row: Row, record: dict[str, Any], size: Size, device: str, rounds: int, save: Callable[[], None]
) -> None:
    """Time rounds until there are as many as are asked for, and save each."""
    works = prepared(row, size, device, record["precision"])
    record |= {"read": works.read, "against": works.against_name}
    if "costs" not in record:
        record["costs"] = count(works, size)
        save()
    else:
        part = min(works.part or size.images, size.images)
        for work in (works.ours, works.against) if part < size.images else (works.against,):
            work(part)
    seconds: dict[str, list[float]] = record["seconds"]
    peak = 0

    def ours() -> None:
        nonlocal peak
        forget_peak(device)
        works.ours(size.images)
        peak = most_in_use(torch.device(device))

    for done in range(len(seconds.get("against", [])), rounds):
        peers = works.peers if row.peer_rounds is None or done < row.peer_rounds else {}
        in_turn = {"against": lambda: works.against(size.images), "ours": ours}
        in_turn |= {name: lambda work=work: work(size.images) for name, (work, _) in peers.items()}
        taken = side_by_side.side_by_side(in_turn, 1, device, warm_up=False, clock=side_by_side.clock(device))
        for name, values in taken.items():
            factor = works.peers[name][1] if name in works.peers else 1
            seconds.setdefault(name, []).append(values[0] * factor)
        record["peak_gigabytes"] = max(record.get("peak_gigabytes", 0), peak / 1e9)
        record |= summary(record)
        save()
        print(line(record), flush=True)


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """Compute what follows from the seconds and the costs."""
    seconds = record["seconds"]
    ours = seconds["ours"]
    costs, unit = record["costs"]["ours"], statistics.median(ours)
    return {
        "ratio": ratio(ours, seconds["against"]),
        "peers": {
            name: ratio(ours[: len(values)], values)
            for name, values in seconds.items()
            if name not in ("ours", "against")
        },
        "seconds_of_all": unit * record["units"],
        "shares": shares(costs["operations"], costs["bytes"], unit, record["rates"]),
    }


def line(record: Mapping[str, Any]) -> str:
    """Say in one line how a row stands."""
    spread = record["ratio"]
    peers = "".join(f", {each['median']:.3g} times {name}" for name, each in record["peers"].items())
    median = statistics.median(record["seconds"]["ours"])
    return (
        f"{record['title']} [{record['scale']}, {record['precision']}]: {median:.3g} s, "
        f"{spread['median']:.3g} ({spread['lowest']:.3g} to {spread['highest']:.3g}) times {record['against']}"
        f"{peers}; {record['peak_gigabytes']:.3g} GB"
    )


def measure_growth(what: str, record: dict[str, Any], device: str, rounds: int, save: Callable[[], None]) -> None:
    """Time the points of one measurement that are not there yet, each with its bare passes."""
    scale = record["scale"]
    growth = GROWING[what]
    row = Row(what, growth.prepare, _MIDDLE[scale], _MIDDLE[scale])
    for axis, values in AXES[scale].items():
        for value in values:
            points = record["points"].setdefault(axis, {})
            if len(points.get(str(value), {}).get("ours", [])) >= rounds:
                continue
            size = grown(growth, _MIDDLE[scale], axis, value)
            works = prepared(row, size, device, record["precision"])
            in_turn = {
                "ours": lambda works=works, n=size.images: works.ours(n),
                "against": lambda works=works, n=size.images: works.against(n),
            }
            points[str(value)] = side_by_side.side_by_side(
                in_turn, rounds, device, clock=side_by_side.clock(device)
            )
            save()
            medians = [statistics.median(each) for each in points[str(value)].values()]
            print(f"{what}, {value} {axis}: {medians[0]:.3g} s, bare passes {medians[1]:.3g} s", flush=True)


def code() -> str:
    """Name the code by its content, which is the same with and without git: 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for folder in MEASURED:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name not in NOT_MEASURED:
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def commit() -> str:
    """Name the commit that is checked out; empty where there is no git."""
    found = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def begun(records: dict[str, Any], key: str, now: Mapping[str, Any], again: bool) -> dict[str, Any]:
    """Give the record of a row to go on with: the one that is there, if it is of the same code and machine."""
    same = ("code", "versions", "device", "threads")
    known = records.get(key)
    if known is None or again or any(known[name] != now[name] for name in same):
        records[key] = dict(now)
    return records[key]


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = side_by_side.arguments(__doc__, rounds=3)
    parser.add_argument("--scale", choices=SCALES, help="full on a GPU, small on a CPU, if not given")
    names = [*ROWS, "growth"]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="ROW", help=", ".join(names))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    options = parser.parse_args(given)
    options.scale = options.scale or ("full" if options.device.startswith("cuda") else "small")
    return options


def main(given: Sequence[str] | None = None) -> None:
    """Measure the rows that are asked for and not there yet."""
    options = parse(given)
    file = side_by_side.RESULTS / f"{NAME}.json"
    file.parent.mkdir(exist_ok=True)
    records: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def save() -> None:
        half_written = file.with_suffix(".part")
        half_written.write_text(json.dumps(dict(sorted(records.items())), indent=2) + "\n")
        half_written.replace(file)

    measured, of_code = rates(options.device), code()
    kind = options.device.partition(":")[0]
    # Networks with random weights may have branches and heads that are dead; all that counts here is time.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="seelike")
    for precision in options.precisions:
        for name in options.only:
            asked = argparse.Namespace(
                device=options.device, scale=options.scale, only=name, precisions=precision, rounds=options.rounds
            )
            now = {
                "scale": options.scale,
                "precision": precision,
                "code": of_code,
                "commit": commit(),
                "rates": measured,
                **surroundings(NAME, asked),
            }
            if name == "growth":
                for what in GROWING:
                    key = f"growth of {what}, {precision}, {options.scale}, {kind}"
                    record = begun(records, key, now | {"title": what, "points": {}}, options.again)
                    measure_growth(what, record, options.device, options.rounds, save)
                continue
            row = ROWS[name]
            if precision not in row.precisions:
                continue
            size: Size = getattr(row, options.scale)
            now |= {
                "row": name,
                "title": row.title,
                "networks": list(size.networks),
                "images": size.images,
                "units": size.units,
                "limit": vars(row.limit),
                "seconds": {},
            }
            key = f"{name}, {precision}, {options.scale}, {kind}"
            record = begun(records, key, now, options.again)
            if len(record["seconds"].get("against", [])) >= options.rounds:
                print(f"{row.title}, {precision}: measured already")
                continue
            try:
                measure(row, record, size, options.device, options.rounds, save)
            except ModuleNotFoundError as error:
                print(f"{row.title}: not measured, since {error.name} is not installed")
                del records[key]
            except torch.cuda.OutOfMemoryError as error:
                # The other rows go on, and the next run tries this one again.
                print(f"{row.title}, {precision}: out of memory ({error})")
                record["failed"] = f"out of memory: {error}"
                save()
            if kind == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
