"""The table of networks that can be measured: it comes from results, and all of them are there."""

import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import families  # noqa: E402

ROWS = json.loads((families.RESULTS / "families.json").read_text())["rows"]


def test_every_architecture_of_the_list_has_a_result():
    assert list(ROWS) == families.LIST.read_text().split()


def test_nothing_is_wrong_and_nothing_crashes():
    kinds = {row[what]["status"] for row in ROWS.values() for what in families.CHECKS}
    assert kinds == {"right", "refused"}
    assert sum(row["blocks"]["status"] == "right" for row in ROWS.values()) >= 60


def test_every_refusal_has_a_reason():
    refused = [
        row[what]["why"] for row in ROWS.values() for what in families.CHECKS if row[what]["status"] == "refused"
    ]
    assert all(len(why.split()) > 1 for why in refused)


def test_the_table_of_the_book_is_made_of_the_results():
    assert (families.RESULTS / "families.md").read_text() == families.table(ROWS)


def test_the_table_counts_and_gives_the_same_reason_once():
    row = {what: {"status": "right", "why": ""} for what in families.CHECKS}
    other = row | {what: {"status": "refused", "why": "it has none"} for what in ("probes", "skip ratios")}
    lines = families.table({"a_net": row, "another_net": other}).splitlines()
    assert "| Probes | 1 | 1 | 0 | 0 |" in lines
    assert lines[-1].endswith("| skip ratios, probes: it has none |")


@pytest.mark.parametrize(
    ("error", "status"),
    [(families.Wrong("off"), "wrong"), (families.Refused("none"), "refused"), (RuntimeError("shapes"), "crash")],
)
def test_a_status_is_what_came_of_the_check(error, status):
    def check(case):
        raise error

    assert families.status(check, None)["status"] == status


def test_a_wrong_number_is_seen(monkeypatch):
    torch.manual_seed(0)
    case = families.Case("test_vit", families.build("test_vit"), torch.randn(4, 3, 160, 160))
    assert families.status(families.check_skip, case)["status"] == "right"
    true = families.skip_ratios

    def a_little_off(model, images):
        found = true(model, images)
        found["block 2/mlp"].tokens.mean_ratio.mul_(1.01)
        return found

    monkeypatch.setattr(families, "skip_ratios", a_little_off)
    assert families.status(families.check_skip, case)["status"] == "wrong"
