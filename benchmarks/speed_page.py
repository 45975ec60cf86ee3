"""Make the tables and pictures of the page 'Speed' from what benchmarks/paper_scale.py has measured.

    python benchmarks/speed_page.py

Nothing is measured here. It writes benchmarks/results/paper_scale.md, and two pictures beside it.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import side_by_side
from expected import expected
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
from paper_scale import GROWING, NAME, ROWS
from side_by_side import between_marks, si

from seelike.plots import use_style
from seelike.plots.style import DASHES

Records = Mapping[str, Mapping[str, Any]]
# Where a row is measured: title, scale and kind of device.
PLACES = {
    "gpu": ("GPU, the paper's size", "full", "cuda"),
    "cpu": ("CPU, small networks", "small", "cpu"),
}
_MARKS = {"float32": ("o", "C0"), "mixed": ("^", "C1")}
_AXES = {
    "layers": "layers that are read",
    "tokens": "tokens",
    "images": "images",
    "batch": "images in a minibatch",
}


def find(records: Records, name: str, place: str) -> dict[str, Mapping[str, Any]]:
    """Give the records of a row by precision: those that have been timed."""
    _, scale, kind = PLACES[place]
    found = {precision: records.get(f"{name}, {precision}, {scale}, {kind}") for precision in _MARKS}
    return {
        precision: each for precision, each in found.items() if each is not None and each["seconds"].get("ours")
    }


def share_of_limit(name: str, record: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Say how much of what it may take a row takes: lowest, median, highest; None where nothing is asked here."""
    limit = ROWS[name].limit
    if limit.ratio is not None:
        return tuple(record["ratio"][key] / limit.ratio for key in ("lowest", "median", "highest"))
    if limit.seconds is not None and record["scale"] == "full":
        share = [seconds * record["units"] / limit.seconds for seconds in record["seconds"]["ours"]]
        return min(share), statistics.median(share), max(share)
    return None


def asked(name: str) -> str:
    """Write what a row may take at most."""
    limit = ROWS[name].limit
    parts = [f"{limit.ratio:g} x"] if limit.ratio is not None else []
    parts += [f"{limit.seconds:g} s"] if limit.seconds is not None else []
    parts += [f"{limit.gigabytes:g} GB"] if limit.gigabytes is not None else []
    return ", ".join(parts)


def time_table(records: Records, place: str) -> str:
    """Write the time of each row against what it may take, in each precision: of the rows that were measured."""
    lines = ["| Measurement | Of | At most | float32 | mixed | Seconds |", "|---|---|---|---|---|---|"]
    for name, row in ROWS.items():
        measured = find(records, name, place)
        if not asked(name) or not measured:
            continue
        ratios = [_spread(measured[each]["ratio"]) if each in measured else "" for each in _MARKS]
        seconds = [f"{record['seconds_of_all']:.3g}" for record in measured.values()]
        timed = max(len(record["seconds"]["ours"]) for record in measured.values())
        lines.append(
            f"| {row.title} | {_size(name, place, timed)} | {asked(name)} | {' | '.join(ratios)} "
            f"| {', '.join(seconds)} |"
        )
    return _table(lines)


def expected_table() -> str:
    """Write how many operations the rows take at the paper's size, as `expected` works them out."""
    lines = ["| Measurement | Bare passes | The measurement adds | Of it in float64 | Both over the bare passes |"]
    lines += ["|---|---|---|---|---|"]
    for row in ROWS.values():
        if (counts := expected(row)) is not None:
            bare, added = (sum(count.values()) for count in counts)
            lines.append(
                f"| {row.title} | {si(bare)} | {si(added)} | {si(counts[1].get('float64', 0))} "
                f"| {1 + added / bare:.3g} |"
            )
    return "\n".join(lines)


def cost_table(records: Records, place: str) -> str:
    """Write what each row asks of the machine: operations, bytes, their shares of the time, and memory."""
    lines = [
        "| Measurement | Precision | Operations | Of them bare passes | Bytes | Share of product rate "
        "| Share of copy rate | Peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in ROWS.items():
        for precision, record in find(records, name, place).items():
            ours, bare = (sum(record["costs"][key]["operations"].values()) for key in ("ours", "against"))
            lines.append(
                f"| {row.title} | {precision} | {si(ours)} | {bare / ours:.0%} "
                f"| {si(record['costs']['ours']['bytes'])} | {record['shares']['products']:.1%} "
                f"| {record['shares']['copies']:.1%} | {record['peak_gigabytes']:.3g} GB |"
            )
    return _table(lines)


def peer_table(records: Records, place: str) -> str:
    """Write each row that has a peer beside it."""
    lines = ["| Measurement | Precision | seelike | Peer | Ratio |", "|---|---|---|---|---|"]
    for name, row in ROWS.items():
        for precision, record in find(records, name, place).items():
            seconds = record["seconds"]
            peers = dict(record["peers"])
            if not record["against"].startswith("bare"):
                peers = {record["against"]: record["ratio"]}
            for peer, spread in peers.items():
                theirs = seconds[peer] if peer in seconds else seconds["against"]
                lines.append(
                    f"| {row.title} | {precision} | {statistics.median(seconds['ours']):.3g} s "
                    f"| {peer}, {statistics.median(theirs):.3g} s | {_spread(spread)} |"
                )
    return _table(lines)


def precision_table(records: Records, place: str) -> str:
    """Write what 16 bits save: time in mixed precision over time in float32."""
    lines = ["| Measurement | Mixed over float32 | Bare passes, mixed over float32 |", "|---|---|---|"]
    for name, row in ROWS.items():
        measured = find(records, name, place)
        if len(measured) < 2:
            continue
        ours, bare = (
            statistics.median(measured["mixed"]["seconds"][key])
            / statistics.median(measured["float32"]["seconds"][key])
            for key in ("ours", "against")
        )
        lines.append(f"| {row.title} | {ours:.3g} | {bare:.3g} |")
    return _table(lines)


def surroundings(records: Records) -> str:
    """Say on what all of this ran: a line for each machine, code, date and set of versions."""
    ran: dict[str, str] = {}
    for record in records.values():
        versions = ", ".join(f"{package} {version}" for package, version in record["versions"].items())
        threads = f"{record['threads']} thread{'s' * (record['threads'] > 1)}"
        where = f"{record['device']}, {threads}, {record['date']}, code {record['code']}; {versions}"
        rates = ", ".join(f"{name} {si(rate)}" for name, rate in record["rates"].items())
        ran.setdefault(
            where, f"- {where}. Measured operations a second by dtype, and bytes a second of a copy: {rates}."
        )
    return "\n".join(ran.values())


def limits_figure(records: Records) -> Figure:
    """Draw how much of what it may take each row takes, for each place where anything was measured."""
    names = [name for name in ROWS if asked(name)]
    places = [place for place in PLACES if any(find(records, name, place) for name in names)]
    figure = Figure(figsize=(5, 0.6 + len(places) * (0.6 + 0.26 * len(names))), layout="constrained")
    for axes, place in zip(figure.subplots(len(places), 1, squeeze=False).flat, places, strict=True):
        axes.axvspan(1, 100, color="0.92", zorder=0)
        axes.axvline(1, color="0.3", linewidth=1)
        for y, name in enumerate(names):
            measured = find(records, name, place)
            shares = {precision: share_of_limit(name, record) for precision, record in measured.items()}
            for shift, (precision, (marker, colour)) in zip((-0.15, 0.15), _MARKS.items(), strict=True):
                if share := shares.get(precision):
                    low, middle, high = share
                    axes.errorbar(
                        middle, y + shift, xerr=[[middle - low], [high - middle]], color=colour, marker=marker,
                        markersize=4, capsize=2,
                    )  # fmt: skip
            if not any(shares.values()):
                why = "no limit at this size" if measured else "not measured"
                axes.text(0.22, y, why, va="center", fontsize=8, color="0.35")
        axes.set_xscale("log")
        axes.set_xlim(0.2, 5)
        axes.set_xticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
        axes.minorticks_off()
        axes.set_title(PLACES[place][0])
        axes.set_xlabel("time, as a share of its limit")
        axes.grid(axis="y", color="0.9")
        axes.set_yticks(range(len(names)), [ROWS[name].title for name in names], fontsize=8)
        axes.set_ylim(len(names) - 0.5, -0.5)
    handles = [Line2D([], [], linestyle="", marker=m, color=c, label=each) for each, (m, c) in _MARKS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def growth_figure(records: Records) -> Figure:
    """Draw how the time of each measurement grows with one thing at a time, beside its bare passes."""
    place = "gpu" if any(_growth(records, what, "gpu") for what in GROWING) else "cpu"
    figure = Figure(figsize=(5.2, 6), layout="constrained")
    figure.suptitle(PLACES[place][0], fontsize=10)
    for axes, (axis, label) in zip(figure.subplots(2, 2).flat, _AXES.items(), strict=True):
        for number, what in enumerate(GROWING):
            points = _growth(records, what, place).get(axis, {})
            x = [int(value) for value in points]
            for key, style, width in (("ours", "o" + DASHES[number % len(DASHES)], 1.6), ("against", ":", 0.8)):
                y = [statistics.median(point[key]) for point in points.values()]
                axes.plot(x, y, style, color=f"C{number}", linewidth=width, markersize=4,
                          label=what if key == "ours" else "_")  # fmt: skip
        ticks = sorted({int(value) for what in GROWING for value in _growth(records, what, place).get(axis, {})})
        if ticks:
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
        axes.set_xlabel(label)
        axes.set_ylabel("seconds")
    axes.plot([], [], ":", color="0.3", linewidth=0.8, label="bare passes of the same colour")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _growth(records: Records, what: str, place: str) -> Mapping[str, Any]:
    _, scale, kind = PLACES[place]
    return records.get(f"growth of {what}, float32, {scale}, {kind}", {}).get("points", {})


def _size(name: str, place: str, timed: int) -> str:
    """Say of what a row is, and where it has many parts, how many of them were timed."""
    size = getattr(ROWS[name], PLACES[place][1])
    times = f", {f'{timed} of ' * (0 < timed < size.units)}{size.units} times" if size.units > 1 else ""
    return f"{', '.join(size.networks)}; {size.images:,} image{'s' * (size.images > 1)}{times}"


def _spread(spread: Mapping[str, float]) -> str:
    lowest, median, highest = (f"{spread[key]:.3g}" for key in ("lowest", "median", "highest"))
    return median if lowest == highest else f"{median} ({lowest}\N{EN DASH}{highest})"


def _table(lines: Sequence[str]) -> str:
    """Put a table together, unless it has a head alone: what was not measured is left out."""
    return "\n".join(lines) if len(lines) > 2 else ""


def _with_heading(what: str, place: str, table: str) -> str:
    """Write a table below what it is: nothing, where there is no table."""
    return f"**{what}: {PLACES[place][0]}**\n\n{table}" if table else ""


def write_page() -> str:
    """Write the tables and the pictures of the results that are there; give the tables."""
    file = side_by_side.RESULTS / f"{NAME}.json"
    records = json.loads(file.read_text()) if file.exists() else {}
    parts = {
        "operations at the paper's size": expected_table(),
        "surroundings": surroundings(records),
    }
    tables = {"time": time_table, "costs": cost_table, "peers": peer_table, "precision": precision_table}
    for what, table in tables.items():
        both = [_with_heading(what.capitalize(), place, table(records, place)) for place in PLACES]
        parts[what] = "\n\n".join(filter(None, both))
    text = between_marks(parts)
    (side_by_side.RESULTS / f"{NAME}.md").write_text(text)
    use_style()
    for name, figure in (("limits", limits_figure(records)), ("growth", growth_figure(records))):
        figure.savefig(side_by_side.RESULTS / f"{NAME}_{name}.png", metadata={"Software": None})
    return text


def main() -> None:
    """Write them."""
    print(write_page())


if __name__ == "__main__":
    main()
