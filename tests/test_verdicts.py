"""Claims of many notebooks judged together: the correction, controls, older records, and what staging writes."""

import json
from dataclasses import asdict, replace

import executed as notebooks
import judging
import nbformat
import pytest
import scoreboard
from nbformat.v4 import new_code_cell, new_notebook, new_output

from seelike import claims, verdicts

CLEAR, CLOSE, WIDE = [0.30, 0.31, 0.32], [0.060, 0.065, 0.071], [-0.1, 0.0, 0.1]
OLD_RULE = {"verdict": "holds", "why": "By an older rule."}


def shown(result):
    """What a notebook keeps of a result."""
    return new_output("display_data", json.loads(json.dumps(result._repr_mimebundle_())))


def notebook(*results, run=None, lists=True):
    """A notebook that has recorded some claims, each in a cell, and lists them."""
    cells = [new_code_cell("claims.record(...)", outputs=[shown(result)]) for result in results]
    if run is not None:
        cells.insert(0, new_code_cell("run", outputs=[new_output("display_data", {verdicts.RUN_MIME: run})]))
    if lists:
        listed = new_output("display_data", claims.listed(results))
        cells.append(new_code_cell("claims.on_this_page()", outputs=[listed]))
    return new_notebook(cells=cells)


# The family


def test_what_holds_alone_may_not_hold_among_many():
    close = claims.evaluate("resnet_stages", CLOSE)
    assert [one.says for one in verdicts.judge([close])] == ["holds in these networks, without control"]
    many = [close, *(claims.evaluate(name, WIDE) for name in list(claims.CLAIMS)[:4])]
    first, *others = verdicts.judge(many)
    assert first.verdict == "undecided"
    assert first.why == "By its own interval: holds. But not after the correction for 5 tests."
    assert (first.statistic, first.uncertainty) == (close.statistic, close.uncertainty)
    assert {one.verdict for one in others} == {"undecided"}


def test_what_was_not_tested_is_not_in_the_family():
    close = claims.evaluate("resnet_stages", CLOSE)
    no_claim = claims.Result(claims.CLAIMS["gap_trains_as_well"], "not testable", why="No GAP.")
    one_repeat = claims.evaluate("uniform_layers", [0.3])
    judged = verdicts.judge([no_claim, close, one_repeat, *[no_claim] * 20])
    assert judged[1].verdict == "holds"
    assert (judged[0], judged[2]) == (no_claim, one_repeat)


def test_a_claim_that_holds_before_training_is_not_learned():
    clear, other = claims.evaluate("uniform_layers", CLEAR), claims.evaluate("resnet_stages", CLEAR)
    held = "holds in these networks"

    def says(*controls):
        return [one.says for one in verdicts.judge([clear, other], controls=controls)]

    unclear = replace(other, values=tuple(WIDE))
    assert says(clear, unclear) == [f"{held}, not learned", f"{held}, perhaps not learned"]
    nothing = replace(other, values=(0.0, 0.001, -0.001))
    assert says(clear, nothing) == [f"{held}, not learned", held]
    no_claim = claims.Result(other.claim, "not testable", why="No CNN.")
    assert says(clear, no_claim) == [f"{held}, not learned", f"{held}, without control"]
    # Only of what holds can be said that it was not learned.
    reversed_ = claims.evaluate("uniform_layers", [-0.3, -0.31, -0.32])
    assert verdicts.judge([reversed_], controls=[clear])[0].says == "reversed in these networks"


def test_verdicts_of_another_rule_are_not_believed():
    wrong = replace(claims.evaluate("uniform_layers", [0.01, 0.02, 0.015]), **OLD_RULE, before_training="holds")
    (judged,) = verdicts.judge([wrong], controls=[wrong])
    assert (judged.verdict, judged.why, judged.before_training) == ("negligible", "", "")


# What was recorded


def test_a_record_has_the_texts_and_the_margin_of_today():
    result = claims.evaluate("uniform_layers", CLEAR)
    older = replace(result, claim=replace(result.claim, margin=0.0, margin_reason="", statement="An older one."))
    assert verdicts.read(notebook(older)) == [result]


@pytest.mark.parametrize("change", [{"id": "gone"}, {"statistic": "another one"}, {"over": "networks"}])
def test_a_record_of_another_claim_is_not_judged_and_says_what_to_run(change):
    result = claims.evaluate("uniform_layers", CLEAR)
    older = replace(result, claim=replace(result.claim, **change))
    (read,) = verdicts.read(notebook(older))
    assert (read.verdict, read.claim, read.statistic) == ("not testable", older.claim, older.statistic)
    assert "older version of this claim" in read.why
    assert "make results" in read.why
    assert verdicts.judge([read]) == [read]


@pytest.mark.parametrize(
    ("run", "stand_in"),
    [
        ({"profile": "pretrained", "models": ["vit", "tiny/vit_7x7"], "tiny_roles": ["cls_and_gap"]}, True),
        ({"profile": "pretrained", "models": ["tiny/vit_7x7"], "tiny_roles": []}, True),
        ({"profile": "pretrained", "models": ["vit", "tiny/vit_7x7"], "tiny_roles": []}, False),
        ({"profile": "tiny", "models": ["tiny/vit_7x7"], "tiny_roles": ["cls_and_gap"]}, False),
    ],
)
def test_what_tiny_networks_show_in_the_place_of_larger_ones_is_no_result_of_these(run, stand_in):
    result = claims.evaluate("gap_localizes_less", [0.3, 0.31, 0.32], figure_name="fig-gap")
    (read,) = verdicts.read(notebook(result, run=run))
    assert (read == result) == (not stand_in)
    if stand_in:
        assert (read.verdict, read.statistic, read.values) == ("not testable", None, ())
        assert "stand in" in read.why
        assert read.figure_name == "fig-gap"


# Folders


@pytest.fixture
def folder(tmp_path):
    """A folder of executed notebooks with a control."""
    folder = tmp_path / "build" / "executed"
    (folder / "untrained").mkdir(parents=True)
    first, second = (
        claims.evaluate("gap_localizes_less", [0.3, 0.31, 0.32]),
        claims.evaluate("resnet_stages", CLOSE),
    )
    nbformat.write(notebook(first), folder / "a.ipynb")
    nbformat.write(notebook(second), folder / "b.ipynb")
    nbformat.write(notebook(replace(second, values=tuple(CLEAR))), folder / "untrained" / "b.ipynb")
    (tmp_path / "notebooks").mkdir()
    return folder


def test_claims_are_gathered_in_the_order_of_the_paper_and_judged(folder, monkeypatch):
    monkeypatch.chdir(folder.parents[1] / "notebooks")
    found = verdicts.gather("build/executed")
    assert [one.claim.id for one in found] == ["resnet_stages", "gap_localizes_less"]
    held = "holds in these networks"
    assert [one.says for one in found] == [f"{held}, not learned", f"{held}, without control"]


def test_the_digest_follows_what_verdicts_follow_from_and_nothing_else(folder, monkeypatch):
    before = verdicts.digest(folder)
    wrong = replace(claims.evaluate("gap_localizes_less", [0.3, 0.31, 0.32]), **OLD_RULE)
    nbformat.write(notebook(wrong, lists=False), folder / "a.ipynb")
    assert verdicts.digest(folder) == before
    other = replace(claims.CLAIMS["resnet_stages"], margin=0.2)
    monkeypatch.setitem(verdicts.CLAIMS, "resnet_stages", other)
    assert verdicts.digest(folder) != before
    monkeypatch.undo()
    (folder / "untrained" / "b.ipynb").unlink()
    assert verdicts.digest(folder) != before


def test_before_training_all_seeds_are_one_network():
    result = claims.evaluate("uniform_layers", {"vit": CLEAR, "vit_seed_1": CLEAR, "vit_seed_2": CLEAR})
    for weights, trainings in ((None, 3), ("random", 1)):
        page = notebook(result)
        run = {"profile": "tiny", "models": ["vit"], "weights_given": weights}
        page.cells.insert(
            0, new_code_cell("start", outputs=[new_output("display_data", {verdicts.RUN_MIME: run})])
        )
        (read,) = verdicts.read(page)
        assert read.trainings == [trainings]


# Staging


def test_card_list_and_scoreboard_say_the_same():
    first = replace(claims.evaluate("uniform_layers", CLEAR), **OLD_RULE)
    second = replace(claims.evaluate("lower_and_higher_layers_alike", [0.01, 0.02, 0.015]), **OLD_RULE)
    close = replace(claims.evaluate("resnet_stages", [0.06, 0.07, 0.08]), **OLD_RULE)
    page, other, control = notebook(first, second), notebook(close), notebook(first)
    judging.judge([page, other], [control])
    rows = scoreboard.rows("04", page, "tiny", untrained=control) + scoreboard.rows("05", other, "tiny")
    said = [row.says for row in rows]
    assert said == ["holds in these networks, not learned", "negligible in these networks", "undecided"]
    assert rows[0].before_training.verdict == "holds"
    cards = [output.data for cell in page.cells[:-1] for output in cell.outputs]
    (listed,) = page.cells[-1].outputs
    for form in ("text/plain", "text/html", "text/markdown"):
        for card, row in zip(cards, rows, strict=False):
            assert f"{claims.SIGNS[row.verdict]} {row.says}" in card[form]
            assert "older rule" not in card[form]
            assert f"{claims.SIGNS[row.verdict]} {row.says}" in listed.data[form]
    assert listed.data == claims.listed([claims.Result.from_record(record) for record in notebooks.claims(page)])


def test_a_list_has_what_was_recorded_above_it_and_other_outputs_stay():
    page = notebook(claims.evaluate("uniform_layers", CLEAR))
    later = new_code_cell("more", outputs=[shown(claims.evaluate("resnet_stages", CLEAR))])
    markdown = new_output("display_data", {"text/markdown": "- **Text**", "text/plain": "Text"})
    page.cells += [later, new_code_cell("table", outputs=[markdown])]
    judging.judge([page])
    assert claims.CLAIMS["resnet_stages"].statement not in page.cells[1].outputs[0].data["text/plain"]
    assert page.cells[3].outputs == [markdown]
    assert nbformat.reads(nbformat.writes(page), as_version=4) == page


def test_the_data_files_have_every_training():
    page = notebook(claims.evaluate("uniform_layers", {7: CLEAR, 8: [0.33, 0.34, 0.35]}))
    judging.judge([page])
    (row,) = scoreboard.rows("04", page, "tiny")
    assert row.spread_over == "2 trainings x 3 repeats"
    (from_json,) = json.loads(scoreboard.as_json([row]))
    assert from_json["groups"] == [{"7": CLEAR, "8": [0.33, 0.34, 0.35]}]
    assert asdict(row)["margin"] == claims.CLAIMS["uniform_layers"].margin
    assert "trainings" in scoreboard.as_csv([row]).splitlines()[0]


def test_draws_of_older_records_shared_images_by_chance():
    result = claims.evaluate("uniform_layers", [0.30, 0.32, 0.31])
    record = json.loads(json.dumps(result._repr_mimebundle_()[claims.CLAIM_MIME]))
    run = {"models": ["resnet50"], "number_of_images": 200, "images_in_all": 1000}

    def read(record, run):
        outputs = [{"data": {verdicts.RUN_MIME: run}}, {"data": {claims.CLAIM_MIME: record}}]
        (found,) = verdicts.read({"cells": [{"outputs": outputs}]})
        return found.overlap

    assert read(record, run) == 0
    del record["overlap"]
    assert read(record, run) == 0.2
    # Parts of the test images share none; nor does a page without networks draw any.
    on_parts = record | {"claim": record["claim"] | {"over": "parts of the test images"}}
    assert read(on_parts, run) == read(record, run | {"models": []}) == 0


def test_the_correction_counts_what_is_decided_after_the_second_measure():
    clear = [claims.evaluate("uniform_layers", [0.30, 0.31, 0.32]) for _ in range(2)]
    close = claims.evaluate("resnet_stages", [0.060, 0.065, 0.071])
    # By CKA alone all three are decided, so that the third is read at 5 %.
    assert [each.verdict for each in verdicts.judge([*clear, close])] == ["holds"] * 3
    doubtful = [claims.evaluate("uniform_layers", [0.30, 0.31, 0.32], by_neighbours=[[-0.1, 0.0, 0.2]])] * 2
    assert [each.verdict for each in verdicts.judge([*doubtful, close])] == ["undecided"] * 3
