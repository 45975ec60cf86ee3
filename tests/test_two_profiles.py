"""One notebook at several profiles in one book: its pages, the scoreboard, and names that Sphinx takes."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import executed as notebooks
import nbformat
import pytest
import render
import results
import scoreboard
import sphinx_extension
import stage
import yaml
from nbformat.v4 import new_markdown_cell
from test_build_tools import ROOT, claim_cell, executed, figure_cell
from test_results import ran

NAME = "04_representation_structure"
TITLES = {NAME: "Section 4: Structure"}


def at(profile, *cells):
    """An executed notebook at a profile."""
    notebook = ran(profile) if profile != "tiny" else executed()
    notebook.cells = [new_markdown_cell("# Section 4: Structure\n\nText."), *notebook.cells[1:], *cells]
    return notebook


@pytest.fixture
def staged(tmp_path, monkeypatch):
    """Stage notebooks, given by their places; give the text of each file."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")

    def staged(places):
        for place, notebook in places.items():
            path = tmp_path / place
            path.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, path)
        content = stage.stage([tmp_path / place for place in places])
        return {
            path.as_posix(): text.decode() for path, text in content.items() if path.suffix not in (".png", ".jpg")
        }

    return staged


def text_of(page):
    """All Markdown of a page."""
    cells = nbformat.reads(page, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


# Pages

TINY, COLAB = f"executed/tiny/{NAME}.ipynb", f"results/colab/{NAME}.ipynb"


def test_the_larger_networks_have_the_notebooks_place_and_the_tiny_ones_a_page_below(staged):
    text = staged({TINY: at("tiny", claim_cell()), COLAB: at("colab", claim_cell())})
    first, second = text_of(text[f"notebooks/{NAME}.ipynb"]), text_of(text[f"tiny/{NAME}.ipynb"])
    assert "profile `colab`" in first
    assert "profile `tiny`" in second
    assert first.startswith("# Section 4: Structure\n")
    assert second.startswith("# Section 4: Structure (tiny networks)\n")
    assert f"[tiny networks](../tiny/{NAME}.ipynb): small ones of this repository" in first
    assert f"[networks of one GPU](../notebooks/{NAME}.ipynb): public ones, on photographs" in second
    contents = yaml.safe_load(text["_toc.yml"])
    (chapter,) = [one for one in contents["parts"][0]["chapters"] if one["file"] == f"notebooks/{NAME}"]
    assert chapter["sections"] == [{"file": f"tiny/{NAME}"}]


def test_a_notebook_of_one_profile_has_one_page_and_no_line_about_others(staged):
    text = staged({TINY: at("tiny")})
    assert "seelike-other-run" not in text[f"notebooks/{NAME}.ipynb"]
    assert yaml.safe_load(text["_toc.yml"]) == yaml.safe_load((ROOT / "_toc.yml").read_text())


def test_no_name_is_there_twice_and_links_lead_to_pages_of_the_same_profile_if_there_are_any(staged):
    links = new_markdown_cell(
        "[3](03_background.ipynb), [4](04_representation_structure.ipynb#a) {numref}`fig-within`"
    )
    cells = [figure_cell(), links]
    text = staged({TINY: at("tiny", *cells), COLAB: at("colab", *cells)})
    first, second = (
        nbformat.reads(text[f"{place}/{NAME}.ipynb"], as_version=4) for place in ("notebooks", "tiny")
    )
    assert notebooks.figures(first) == {"fig-within"}
    assert notebooks.figures(second) == {"tiny-fig-within"}
    assert (
        "[3](../notebooks/03_background.ipynb), [4](04_representation_structure.ipynb#a) {numref}`tiny-fig-within`"
        in text_of(text[f"tiny/{NAME}.ipynb"])
    )


def test_a_page_that_is_older_than_its_code_says_so_and_what_changed(staged):
    old = at("colab")
    old.metadata["seelike"]["code"]["seelike.skip"] = "another"
    text = staged({TINY: at("tiny"), COLAB: old})
    assert "older than the code. It ran before changes in `seelike.skip`" in text[f"notebooks/{NAME}.ipynb"]
    assert "older than the code" not in text[f"tiny/{NAME}.ipynb"]


@pytest.mark.parametrize(
    ("place", "expected"), [(COLAB, "It cannot be read"), (f"results/paper/{NAME}.ipynb", "ran at")]
)
def test_a_result_that_is_damaged_or_of_something_else_stops_the_book(staged, tmp_path, place, expected):
    if place == COLAB:
        staged({TINY: at("tiny"), COLAB: at("colab")})
        (tmp_path / COLAB).write_text("{")
        with pytest.raises(ValueError, match=rf"colab/{NAME}\.ipynb: .*{expected}"):
            stage.stage([tmp_path / TINY, tmp_path / COLAB])
    else:
        with pytest.raises(ValueError, match=rf"paper/{NAME}\.ipynb: .*{expected}"):
            staged({TINY: at("tiny"), place: at("colab")})


def test_the_last_run_names_code_images_and_weights():
    notebook = at("colab")
    notebook.metadata["seelike"] |= {"commit": "0f" * 20 + "+", "peak_memory_mb": 1840}
    notebooks.parameters(notebook).update(
        models=["vit", "tiny/resnet"],
        images="hub:photos/test",
        images_sha256="ab" * 32,
        number_of_images=1024,
        repeats=3,
        versions={"torch": "2.4.0"},
        weights={"vit": {"file": "a", "sha256": "cd" * 32, "repository": "timm/vit", "revision": "12" * 20}},
    )
    end = stage.last_run(notebook)
    for part in (
        "83 seconds; at most 1.8 GB of memory; profile `colab`",
        "1,024 images of `hub:photos/test`",
        "`abababababab`",
        "`vit` (at `121212121212`, sha256 `cdcdcdcdcdcd`)",
    ):
        assert part in end
    assert "those of this repository for tiny networks" in end
    assert "code of commit `0f0f0f0f0f0f` with changes" in end
    notebook.metadata["seelike"]["peak_memory_mb"] = None
    assert "of memory" not in stage.last_run(notebook)


def test_downloads_are_the_runs_themselves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in ((TINY, "tiny"), (COLAB, "colab")):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    html = render.RENDERED / "_build" / "html"
    for folder in ("notebooks", "tiny"):
        (html / "_sources" / folder).mkdir(parents=True)
    (html / "index.html").write_text('<meta http-equiv="Refresh" content="0; url=first.html" />')
    (html / "first.html").write_text("")
    monkeypatch.setattr(
        render.subprocess, "run", lambda *arguments, **options: type("Done", (), {"returncode": 0})
    )
    monkeypatch.setattr("sys.argv", ["render.py", TINY, COLAB])
    assert render.main() == 0
    sources = render.HTML / "_sources"
    assert (sources / "notebooks" / f"{NAME}.ipynb").read_text() == "colab"
    assert (sources / "tiny" / f"{NAME}.ipynb").read_text() == "tiny"


def test_colab_opens_the_notebook_of_the_repository():
    colab = "https://colab.research.google.com/github/seelike/seelike/blob/main"
    buttons = [
        {"url": f"{colab}/tiny/A_methods.ipynb"},
        {"url": "../_sources/tiny/A_methods.ipynb"},
        {"text": "?"},
    ]
    context = {"header_buttons": [{"type": "group", "buttons": buttons}, {"url": "x"}]}
    sphinx_extension.launch_the_notebook(None, "tiny/A_methods", "page.html", context, None)
    assert buttons[0]["url"] == f"{colab}/notebooks/A_methods.ipynb"
    assert buttons[1]["url"] == "../_sources/tiny/A_methods.ipynb"


def test_figures_of_the_second_page_have_numbers_of_their_own():
    class Environment:
        toc_fignumbers = {  # noqa: RUF012
            page: {"figure": {"a": (1,), "b": (2,)}} for page in ("notebooks/04_b", "tiny/04_b", "book/intro")
        }

    sphinx_extension.number_by_section(None, Environment)
    numbers = {page: list(kinds["figure"].values()) for page, kinds in Environment.toc_fignumbers.items()}
    assert numbers["notebooks/04_b"] == [("4", "1"), ("4", "2")]
    assert numbers["tiny/04_b"] == [("4", "1 (tiny)"), ("4", "2 (tiny)")]
    assert numbers["book/intro"] == [(1,), (2,)]


# Costs


def test_the_page_of_costs_has_what_each_result_took(staged):
    first, second = at("colab"), at("colab")
    first.metadata["seelike"] |= {"peak_memory_mb": 1840, "threads": 2}
    second.metadata["seelike"] |= {"notebook": "A_methods", "peak_memory_mb": None, "threads": 2}
    for notebook in (first, second):
        networks = {"models": ["vit", "resnet"], "images": "photos", "number_of_images": 1024, "repeats": 3}
        notebooks.parameters(notebook).update(networks)
    text = staged({TINY: at("tiny"), COLAB: first, "results/colab/A_methods.ipynb": second})
    assert "```{include} costs_measured.txt\n```" in text["book/costs.md"]
    head, *rows = text["book/costs_measured.txt"].strip().split("\n|")
    assert head == "## Measured at `colab`\n\nOn cpu, each page with 2 threads.\n"
    assert rows[2:] == [
        f" [Section 4: Structure](../notebooks/{NAME}.ipynb) | 1.4 | 1.8 | 1,024 x 3 | 2 |",
        " [Section 4: Structure](../notebooks/A_methods.ipynb) | 1.4 |  | 1,024 x 3 | 2 |",
        " **together** | **3** | **1.8** | | |",
    ]


def test_the_page_of_costs_tells_what_its_results_tell(staged):
    assert "No profile but `tiny`" in staged({TINY: at("tiny")})["book/costs_measured.txt"]
    text = staged({TINY: at("tiny"), COLAB: at("colab")})["book/costs_measured.txt"]
    assert "\n\nOn cpu.\n\n" in text
    assert "| 1.4 |  |  |  |" in text


# Scoreboard


@pytest.fixture
def scores():
    """A claim at two profiles, at one of them with a control, and one claim at each alone."""
    untrained = executed(claim_cell(statistic=0.01, uncertainty=0.02, verdict="undecided"))
    large = executed(claim_cell(statistic=0.5), claim_cell(name="large", verdict="does not hold", statistic=-0.5))
    tiny = executed(claim_cell(), claim_cell(name="small", verdict="not testable", statistic=None))
    return [
        *scoreboard.rows(NAME, large, "colab", untrained=untrained),
        *scoreboard.rows(NAME, tiny, "tiny", page=f"tiny/{NAME}"),
    ]


def test_every_profile_has_a_column_and_every_claim_a_row(scores):
    table = scoreboard.table(scores, TITLES, {"fig-within", "tiny-fig-within"})
    head, *rows = [row.split("\n  - ") for row in table.split("\n* - ")[1:]]
    assert head == ["The paper says", "Colab", "Tiny", "Margin", "See"]
    assert len(rows) == 3
    both, large, small = ([" ".join(cell.split()) for cell in row] for row in rows)
    assert both[1:3] == [
        "**0.500 ± 0.050** **✓ holds in these networks** *Varied*: 1 training x 2 repeats "
        "*Before training*: 0.010 ± 0.020, ? undecided *Half, twice the margin*: holds, holds",
        "**0.250 ± 0.050** **✓ holds in these networks** *Varied*: 1 training x 2 repeats "
        "*Before training*: not measured *Half, twice the margin*: holds, holds",
    ]
    assert both[4] == "{numref}`fig-within` {numref}`tiny-fig-within`"
    large_said = "**-0.500 ± 0.050** **✗ does not hold in these networks** *Varied*: 1 training x 2 repeats"
    control = "*Before training*: not measured"
    assert large[1:3] == [f"{large_said} {control} *Half, twice the margin*: reversed, reversed", "not there"]
    assert small[1:3] == ["not there", "not measured **○ not testable**"]


def test_without_a_figure_a_row_leads_to_its_pages(scores):
    table = scoreboard.table(scores, TITLES, set())
    assert f"[Section 4: Structure](../notebooks/{NAME}.ipynb)" in table
    assert f"[Section 4: Structure (tiny)](../tiny/{NAME}.ipynb)" in table


def test_the_front_page_begins_with_the_larger_networks(scores):
    outcome = scoreboard.outcome(scores, TITLES)
    assert outcome.startswith(
        "Of 2 claims at the `colab` profile: **1 holds** (measured before training: 1, and 0 of these hold "
        "there, too), **1 does not hold**. "
        "Of 2 claims at the `tiny` profile: **1 holds**, **1 is not testable**."
    )
    large, tiny = outcome.split("<details>")
    assert large.count(f'href="../notebooks/{NAME}.html"') == tiny.count(f'href="../tiny/{NAME}.html"') == 2
    assert "The same at the <code>tiny</code> profile" in tiny


def test_the_margin_of_a_claim_has_a_column_and_its_reason_is_folded(scores):
    (row,) = [replace(score, margin=0.05, margin_reason="So *much* is chance.") for score in scores[:1]]
    table = scoreboard.table([row], TITLES, set())
    assert "\n  - 0.05\n" in table
    folded = table[table.index("<details>") : table.index("</details>")]
    assert r"*The margin*: 0.05. So \*much\* is chance." in folded


def test_the_data_have_a_row_for_each_claim_and_profile(scores):
    from_json = json.loads(scoreboard.as_json(scores))
    from_csv = list(csv.DictReader(io.StringIO(scoreboard.as_csv(scores))))
    for found in (from_json, from_csv):
        assert [(row["claim"], row["profile"]) for row in found] == [
            ("uniform_layers", "colab"),
            ("large", "colab"),
            ("uniform_layers", "tiny"),
            ("small", "tiny"),
        ]
        assert found[2]["page"] == f"tiny/{NAME}"
    assert from_json[0]["before_training"] == {"statistic": 0.01, "uncertainty": 0.02, "verdict": "undecided"}
    assert from_json[2]["before_training"] is None
    assert from_csv[0]["before_training_statistic"] == "0.01"
    assert from_csv[0]["before_training_verdict"] == "undecided"
    assert from_csv[2]["before_training_verdict"] == ""


def test_runs_with_random_weights_are_controls_and_no_pages(staged):
    control = at("colab", claim_cell(statistic=0.01))
    control.metadata["papermill"]["parameters"]["weights"] = "random"
    of_tiny = at("tiny", claim_cell(statistic=0.02))
    text = staged(
        {
            TINY: at("tiny", claim_cell()),
            COLAB: at("colab", claim_cell()),
            f"results/colab/untrained/{NAME}.ipynb": control,
            f"executed/tiny/untrained/{NAME}.ipynb": of_tiny,
        }
    )
    found = {row["profile"]: row["before_training"] for row in json.loads(text["_static/scoreboard.json"])}
    assert {profile: one["statistic"] for profile, one in found.items()} == pytest.approx(
        {"colab": 0.01, "tiny": 0.02}
    )
    assert [path for path in text if Path(path).stem == NAME] == [f"notebooks/{NAME}.ipynb", f"tiny/{NAME}.ipynb"]


def test_claims_of_all_pages_of_a_profile_are_judged_together_and_apart_from_others(staged):
    other = "results/colab/A_methods.ipynb"
    second = at("colab", claim_cell(name="resnet_stages", statistic=0.05, uncertainty=0.2))
    second.metadata["seelike"]["notebook"] = "A_methods"
    # Its p-value is near 0.04.
    near = claim_cell(statistic=0.11, uncertainty=0.05)
    text = staged({TINY: at("tiny", near), COLAB: at("colab", near), other: second})
    of_tiny, of_colab = (
        {row["claim"]: row for row in json.loads(text["_static/scoreboard.json"]) if row["profile"] == profile}
        for profile in ("tiny", "colab")
    )
    assert of_tiny["uniform_layers"]["verdict"] == "holds"
    assert of_colab["uniform_layers"]["verdict"] == "undecided"
    assert "after the correction for 2 tests" in of_colab["uniform_layers"]["why"]
    assert "✓ holds" in text[f"tiny/{NAME}.ipynb"]
    assert "? undecided. By its own interval" in text[f"notebooks/{NAME}.ipynb"]
