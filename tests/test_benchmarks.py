"""The tables of benchmarks, and that every measurement has its benchmark. Nothing is timed here."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import run_all  # noqa: E402
import side_by_side  # noqa: E402


def test_every_benchmark_is_run():
    tools = {
        "run_all",
        "accuracy",
        "architectures",
        "costs",
        "side_by_side",
        "hardware",
        "cka_peers",
        "few_shot_baseline",
        "families",
    }
    tools |= {"paper_scale", "expected", "speed_page"}  # tests/test_paper_scale.py
    assert {path.stem for path in BENCHMARKS.glob("*.py")} - tools == set(run_all.BENCHMARKS)


def test_works_are_timed_in_turn():
    seen = []
    works = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    seconds = side_by_side.side_by_side(works, rounds=2)
    assert seen == ["a", "b"] * 3  # a warm-up, two rounds
    assert [len(each) for each in seconds.values()] == [2, 2]


def test_ratios_are_of_rounds():
    assert side_by_side.ratio([1, 4, 9], [1, 2, 3]) == {"lowest": 1, "median": 2, "highest": 3}


def test_a_report_holds_the_command_and_the_versions(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(side_by_side, "RESULTS", tmp_path)
    options = side_by_side.arguments("what for").parse_args(["--device", "cpu", "--rounds", "2"])
    row = side_by_side.row("speed", "two layers", ("ours", [1.0, 3.0]), ("theirs", [2.0, 2.0]), asked="<= 2")
    side_by_side.report("test", [row], options)
    assert "ratio 1 (0.5 to 1.5), asked <= 2" in capsys.readouterr().out
    written = json.loads((tmp_path / "test.json").read_text())
    assert written["command"] == "python benchmarks/test.py --device cpu --rounds 2"
    assert written["rows"] == [row]
    assert {"torch", "timm", "seelike"} <= set(written["versions"])


@pytest.mark.parametrize("name", [*run_all.BENCHMARKS, "accuracy"])
def test_the_committed_results_are_there(name):
    result = json.loads((BENCHMARKS / "results" / f"{name}.json").read_text())
    assert result.get("rows") or result["largest_errors"]
    assert result["device"]


def test_the_committed_tables_are_those_of_the_results(tmp_path, monkeypatch):
    for file in (BENCHMARKS / "results").glob("*.json"):
        (tmp_path / file.name).write_text(file.read_text())
    monkeypatch.setattr(run_all, "RESULTS", tmp_path)
    written = (BENCHMARKS / "results" / "README.md").read_text()
    assert run_all.write_tables() == written, "run benchmarks/run_all.py --table"
