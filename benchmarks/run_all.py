"""Run every benchmark, one after the other, and gather their results in one table.

    python benchmarks/run_all.py [--device cuda] [--rounds 5]

Each runs in a process of its own and writes benchmarks/results/NAME.json; the tables are also written to
benchmarks/results/README.md, which the book shows, and beside it measurements.md, with the lists of what is
measured. With --table nothing is run: the tables are made of the results that are there.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import registry
from side_by_side import between_marks

HERE = Path(__file__).parent
RESULTS = HERE / "results"
BENCHMARKS = registry.benchmarks()
HEAD = """\
# Results

`make bench` writes this. Each `.json` beside it has one benchmark's numbers in full, with its command.

"""


def speed_table(results: dict[str, dict]) -> str:
    """Write the rows of all benchmarks as one Markdown table, and what they ran on as another."""
    lines = ["| Measurement | Work | Against | Ratio | Asked | Largest errors |", "|---|---|---|---|---|---|"]
    for result in results.values():
        for row in result["rows"]:
            spread, errors = row["ratio"], row.get("errors", [])
            both = " and ".join("NaN" if error is None else f"{error:.0e}" for error in errors)
            lines.append(
                f"| {row['measurement']}: {row['setting']} "
                f"| {row['work']}, {row['value']:.3g} {row['unit']} "
                f"| {row['against']}, {row['against_value']:.3g} {row['unit']} "
                f"| {spread['median']:.3g} ({spread['lowest']:.3g} to {spread['highest']:.3g}) | {row['asked']} "
                f"| {both} |"
            )
    lines += [
        "",
        "The ratio is the median over the rounds, with the lowest and the highest in brackets. Errors are those "
        "of the work and of what it is held against, where they were measured.",
        "",
    ]
    return "\n".join(lines + surroundings(results))


def accuracy_table(result: dict) -> str:
    """Write the largest errors by dtype as a Markdown table."""
    dtypes = list(dict.fromkeys(dtype for errors in result["largest_errors"].values() for dtype in errors))
    lines = ["| Quantity | " + " | ".join(dtypes) + " |", "|---" * (len(dtypes) + 1) + "|"]
    for quantity, errors in result["largest_errors"].items():
        cells = [f"{errors[dtype]:.0e}" if dtype in errors else "" for dtype in dtypes]
        lines.append(f"| {quantity[0].upper()}{quantity[1:]} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *surroundings({"accuracy": result})])


def surroundings(results: dict[str, dict]) -> list[str]:
    """Say what the benchmarks ran on, those of the same machine and versions together."""
    ran_on: dict[str, list[str]] = {}
    for name, result in results.items():
        versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
        threads = f"{result['threads']} thread{'s' * (result['threads'] > 1)}"
        where = f"{result['device']}, {threads}, {result['date']}; {versions}. {result.get('note', '')}".strip()
        ran_on.setdefault(where, []).append(name)
    return [f"{', '.join(f'`{name}`' for name in names)}: {where}  " for where, names in ran_on.items()]


def write_tables() -> str:
    """Make the tables of the results that are there, and the lists of what is measured; give the tables."""
    files = {name: RESULTS / f"{name}.json" for name in BENCHMARKS}
    speed = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    parts = [HEAD, "<!-- speed -->\n\n", speed_table(speed), "\n"]
    if (RESULTS / "accuracy.json").exists():
        accuracy = json.loads((RESULTS / "accuracy.json").read_text())
        parts += ["\n<!-- accuracy -->\n\n", accuracy_table(accuracy), "\n"]
    text = "".join(parts)
    (RESULTS / "README.md").write_text(text)
    lists = {"table": registry.table(), "reference": registry.reference()}
    (RESULTS / "measurements.md").write_text(between_marks(lists))
    return text


def main() -> None:
    """Run them all and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    parser.add_argument("--rounds", help="how often to time each (default: what each benchmark says)")
    parser.add_argument("--table", action="store_true", help="only make the tables anew")
    options = parser.parse_args()
    passed_on = [f"--{key}={value}" for key in ("device", "rounds") if (value := getattr(options, key))]
    for name in () if options.table else (*BENCHMARKS, "accuracy"):
        print(f"--- {name}", flush=True)
        subprocess.run([sys.executable, HERE / f"{name}.py", *passed_on], check=True)
    print(write_tables())


if __name__ == "__main__":
    main()
