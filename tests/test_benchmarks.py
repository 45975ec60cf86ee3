"""The tables of benchmarks, and that every measurement stands in all of its places. Nothing is timed here."""

import ast
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import architectures  # noqa: E402
import costs  # noqa: E402
import expected  # noqa: E402
import registry  # noqa: E402
import run_all  # noqa: E402
import scale  # noqa: E402
import side_by_side  # noqa: E402

each_measurement = pytest.mark.parametrize("measurement", registry.MEASUREMENTS, ids=lambda each: each.name)


def test_every_module_of_the_library_is_a_measurement_or_something_else():
    # tests/test_project.py says that every module has its page.
    pages = {path.stem.removeprefix("reference_") for path in (ROOT / "book").glob("reference_*.md")}
    measured = {each.name for each in registry.MEASUREMENTS}
    other = set(re.findall(r"\(reference_(\w+)\.md\)", (ROOT / "book/reference.md").read_text()))
    missing = sorted(pages - measured - other)
    assert not missing, f"{missing}: an entry in benchmarks/registry.py, or a line in book/reference.md"
    assert not measured & other, "benchmarks/registry.py has these, so that book/reference.md lists them by itself"
    assert other <= pages


@each_measurement
def test_every_measurement_stands_in_all_its_places(measurement):
    assert measurement.missing() == [], f"{measurement.name} is missing there"


def test_the_missing_place_is_named(tmp_path):
    new = registry.Measurement("new", "", (registry.Quantity("", ("new",), "Figure 1", "new numbers"),))
    places = ["tests/test_new.py", "benchmarks/new.py", "book/reference_new.md", "lib/seelike/new.py"]
    assert new.missing(tmp_path) == places
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("def main():\n    report()\n")
    found = new.missing(tmp_path)
    assert [place.rpartition(": ")[2] for place in found[:3]] == ["errors", "STATISTICS", "ROWS"]
    assert found[3].startswith("tests/references_new.py")
    later = replace(new, quantities=(registry.Quantity("", ("new",)),))
    assert not {"STATISTICS", "ROWS"} & {place.rpartition(": ")[2] for place in later.missing(tmp_path)}


@each_measurement
def test_every_call_of_the_table_is_there_and_every_statistic_of_it_is_measured(measurement):
    library = __import__(f"seelike.{measurement.name}", fromlist=["*"])
    for quantity in measurement.quantities:
        assert all(callable(getattr(library, call)) for call in quantity.calls)
    named = {quantity.statistic for quantity in measurement.quantities} - {""}
    assert set(measurement.statistics()) == named
    growth = measurement.growth()
    assert growth is None or growth.title in named


@each_measurement
def test_every_row_that_is_held_against_bare_passes_counts_operations(measurement):
    for name, row in measurement.rows().items():
        networks = [scale.ARCHITECTURES.get(each, each) for each in row.full.networks]
        assert all(map(timm.is_model, networks)), name
        # The same work on smaller networks: tests/test_paper_scale.py counts it on those of the paper.
        smaller = replace(row, full=replace(row.full, networks=row.small.networks))
        assert (expected.expected(smaller) is None) == (row.limit.ratio is None), name


def test_benchmarks_are_those_that_report():
    called = {path.stem: registry.called(ast.parse(path.read_text())) for path in BENCHMARKS.glob("*.py")}
    assert {name for name, calls in called.items() if "report" in calls} == set(run_all.BENCHMARKS)


def test_a_benchmark_of_no_measurement_is_found_and_a_tool_is_not(tmp_path):
    (tmp_path / "reader.py").write_text("report('reader', [], None)")
    (tmp_path / "families.py").write_text("print('a table of its own')")
    assert registry.benchmarks(tmp_path)[-1] == "reader"
    assert "families" not in registry.benchmarks(tmp_path)


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_the_costs_of_a_page_are_of_what_its_notebook_measures(notebook):
    counted = {work.measurement for work in costs.PAGES.get(notebook.stem, [])} - {"forward passes"}
    counted |= costs.OF_TINY_NETWORKS.get(notebook.stem, set())
    assert counted == registry.measured_by(notebook), f"PAGES of benchmarks/costs.py, {notebook.stem}"


def test_costs_know_each_page_and_each_statistic():
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.py")}
    assert set(costs.PAGES) | set(costs.OF_TINY_NETWORKS) <= notebooks
    assert {work.measurement for works in costs.PAGES.values() for work in works} <= set(architectures.STATISTICS)


def test_what_was_not_measured_again_stays():
    names = ("seconds", "statistics", "operations")
    before = {name: {"a": 1, "b": 2} for name in names} | {"not_here": {"c": "why"}, "peak_gigabytes": 3}
    now = {name: {"b": 5, "c": 6} for name in names} | {"not_here": {}, "peak_gigabytes": 2}
    both = architectures.merged(before, now)
    assert both == {name: {"a": 1, "b": 5, "c": 6} for name in names} | {"not_here": {}, "peak_gigabytes": 3}
    assert architectures.merged({}, now) == now


def test_every_architecture_has_every_statistic_or_a_reason():
    rows = json.loads((BENCHMARKS / "results" / "architectures.json").read_text())["rows"]
    assert set(rows) == set(scale.ARCHITECTURES)
    for both in rows.values():
        for row in both.values():
            assert set(row["statistics"]) | set(row["not_here"]) == set(architectures.STATISTICS)


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


def test_errors_stand_beside_the_times():
    row = side_by_side.row("CKA", "two layers", ("ours", [1.0]), ("theirs", [2.0]), errors=(1e-9, None))
    result = {"rows": [row], "versions": {}, "threads": 1, "device": "a", "date": "b"}
    assert "0.5 (0.5 to 0.5) |  | 1e-09 and NaN |" in run_all.speed_table({"cka": result})


@pytest.mark.parametrize("name", [*run_all.BENCHMARKS, "accuracy"])
def test_the_committed_results_are_there(name):
    result = json.loads((BENCHMARKS / "results" / f"{name}.json").read_text())
    assert result.get("rows") or result["largest_errors"]
    assert result["device"]
    assert f"benchmarks/{name}.py" in result["command"]


def test_the_committed_tables_are_those_of_the_results_and_of_the_registry(tmp_path, monkeypatch):
    for file in (BENCHMARKS / "results").glob("*.json"):
        (tmp_path / file.name).write_text(file.read_text())
    monkeypatch.setattr(run_all, "RESULTS", tmp_path)
    run_all.write_tables()
    for name in ("README.md", "measurements.md"):
        written = (BENCHMARKS / "results" / name).read_text()
        assert (tmp_path / name).read_text() == written, "run benchmarks/run_all.py --table"


def test_the_committed_costs_are_those_of_the_results(tmp_path, monkeypatch):
    there = BENCHMARKS / "results"
    (tmp_path / "architectures.json").write_text((there / "architectures.json").read_text())
    monkeypatch.setattr(costs, "RESULTS", tmp_path)
    costs.main()
    assert (tmp_path / "costs.md").read_text() == (there / "costs.md").read_text(), "run benchmarks/costs.py"
