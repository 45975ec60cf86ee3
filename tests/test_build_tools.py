"""The steps between an executed notebook and a page: checks, citations, scoreboard, staging."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import citations
import executed as notebooks
import folding
import lock
import nbformat
import numpy as np
import pytest
import render
import run_notebook
import scoreboard
import sphinx_extension
import stage
from docutils import nodes
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from seelike.claims import CLAIMS, SIGNS
from seelike.data.photographs import sources

ROOT = Path(__file__).parents[1]
KEYS = {"https://arxiv.org/abs/1905.00414": "kornblith2019", "https://doi.org/10.1/x_(2)": "odd"}
# Two values that are this far from their mean have a 95 % interval of one to both sides.
STUDENT = 12.7062
KORNBLITH = "https://arxiv.org/abs/1905.00414"


def claim(
    verdict="holds", statistic=0.25, uncertainty=0.05, figure_name="fig-within", name="uniform_layers", **others
):
    """What `seelike.claims.record` leaves in a notebook, with awkward characters in its texts."""
    texts = {
        "id": name,
        "figure": "Figure 1",
        "statement": "ViTs are *more* uniform | than ResNets.",
        "statistic": CLAIMS[name].statistic if name in CLAIMS else "mean CKA, ViT minus ResNet",
        "paper": "As heat maps.",
    }
    apart = (uncertainty or 0) / STUDENT
    return {
        "claim": texts,
        "verdict": verdict,
        "values": [statistic - apart, statistic + apart] if statistic is not None else [],
        "statistic": statistic,
        "uncertainty": uncertainty,
        "why": "",
        "figure_name": figure_name,
        **others,
    }


def executed(*cells):
    """A notebook as papermill leaves it after a run without failure."""
    run = {"profile": "tiny", "device": "cpu", "gpu": None, "versions": {"torch": "2.4.0"}}
    start = new_code_cell(
        "run", outputs=[new_output("display_data", {notebooks.RUN_MIME: run, "text/plain": "run"})]
    )
    notebook = new_notebook(cells=[new_markdown_cell("# Section 4: Structure\n\nText."), start, *cells])
    notebook.metadata["papermill"] = {
        "exception": None,
        "duration": 83.2,
        "end_time": "2026-03-01T10:00:00+00:00",
    }
    return notebook


def with_output(output):
    return executed(new_code_cell("cell", outputs=[output]))


def claim_cell(**changes):
    bundle = {notebooks.CLAIM_MIME: claim(**changes), "text/html": "<p>card</p>"}
    return new_code_cell("record", outputs=[new_output("display_data", bundle)])


def figure_cell(name="fig-within"):
    return new_code_cell(
        "figure",
        metadata={"mystnb": {"figure": {"name": name, "caption": "A map."}, "image": {"alt": "A map."}}},
        outputs=[new_output("display_data", {"image/png": "iVBORw0KGgo="})],
    )


# What may be published


def test_a_good_notebook_has_no_problem():
    assert notebooks.problems(executed(claim_cell(), figure_cell())) == []


def test_a_notebook_that_was_not_run_is_refused():
    assert notebooks.problems(new_notebook()) == ["It was not run by papermill."]


@pytest.mark.parametrize(
    "papermill", [{"exception": True, "duration": 3.0}, {"exception": None, "duration": None}]
)
def test_a_notebook_that_did_not_end_is_refused(papermill):
    notebook = executed()
    notebook.metadata["papermill"] = papermill
    assert notebooks.problems(notebook) == ["Papermill did not run it to its end."]


def test_an_error_output_is_refused():
    error = new_output("error", ename="ValueError", evalue="no", traceback=[])
    assert notebooks.problems(with_output(error)) == ["Cell 3 failed: ValueError: no"]


def test_a_printed_traceback_is_refused():
    text = new_output("stream", name="stderr", text="Traceback (most recent call last):\n")
    assert notebooks.problems(with_output(text)) == ["Cell 3 printed a traceback."]


def test_a_warning_may_be_published():
    assert notebooks.problems(with_output(new_output("stream", name="stderr", text="A warning."))) == []


# Citations


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"By [Kornblith et al. (2019)]({KORNBLITH}).", "By {cite:t}`kornblith2019`."),
        (f"By [Kornblith\net al. (2019)]({KORNBLITH}).", "By {cite:t}`kornblith2019`."),
        (f"A cosine ([Kornblith et al., 2019]({KORNBLITH})).", "A cosine {cite:p}`kornblith2019`."),
        (f"(see [Kornblith et al., 2019]({KORNBLITH}))", "(see {cite:p}`kornblith2019`)"),
        (f"([Kornblith et al. (2019)]({KORNBLITH}))", "({cite:t}`kornblith2019`)"),
        (f"[their paper]({KORNBLITH})", f"[their paper]({KORNBLITH})"),
        ("[Section 3](03_background.ipynb)", "[Section 3](03_background.ipynb)"),
        (f"`[A (2019)]({KORNBLITH})`", f"`[A (2019)]({KORNBLITH})`"),
        (f"```\n[A (2019)]({KORNBLITH})\n```", f"```\n[A (2019)]({KORNBLITH})\n```"),
    ],
)
def test_links_become_citations(text, expected):
    assert citations.cite(text, KEYS) == expected


def test_a_paper_without_an_entry_is_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"Nobody \(2020\) .*references\.bib"):
        citations.cite("[Nobody (2020)](https://example.org/paper)", KEYS)


def test_every_entry_of_the_bibliography_has_an_address():
    keys = citations.keys_by_url(ROOT / "book" / "references.bib")
    assert keys[KORNBLITH] == "kornblith2019"
    assert keys["https://doi.org/10.1007/11564089_7"] == "gretton2005"
    entries = (ROOT / "book" / "references.bib").read_text().count("\n@")
    assert len(set(keys.values())) == entries


def test_every_paper_cited_in_a_notebook_has_an_entry():
    keys = citations.keys_by_url(ROOT / "book" / "references.bib")
    notebooks = [nbformat.read(path, as_version=4) for path in (ROOT / "notebooks").glob("*.ipynb")]
    pages = [cell.source for one in notebooks for cell in one.cells if cell.cell_type == "markdown"]
    # A paper without an entry would raise.
    assert any("{cite:t}" in citations.cite(page, keys) for page in pages)


# Scoreboard


def test_claims_are_read_in_the_order_of_the_notebook():
    notebook = executed(claim_cell(), figure_cell(), claim_cell(verdict="does not hold", statistic=-0.25))
    rows = scoreboard.rows("04_structure", notebook, "tiny")
    assert [row.verdict for row in rows] == ["holds", "does not hold"]
    assert {row.notebook for row in rows} == {"04_structure"}


def test_the_summary_counts_verdicts():
    verdicts = [*["holds"] * 2, "negligible", *["reversed"] * 2, "does not hold", "undecided", "not testable"]
    rows = scoreboard.rows("04", executed(*(claim_cell(verdict=verdict) for verdict in verdicts)), "tiny")
    expected = (
        "Of 8 claims at the `tiny` profile: **2 hold**, **1 is negligible**, **2 are reversed**, "
        "**1 does not hold**, **1 is undecided**, **1 is not testable**."
    )
    assert scoreboard.summary(rows) == expected
    learned, *others = rows
    untrained = scoreboard.Control(0.3, 0.02, "holds")
    rows = [replace(learned, not_learned=True, before_training=untrained), *others]
    counted = "2 hold** (measured before training: 1, and 1 of these hold there, too)"
    assert scoreboard.summary(rows) == expected.replace("2 hold**", counted)


def test_the_rule_is_explained_with_a_picture_that_takes_the_colours_of_the_page():
    page = scoreboard.page(scoreboard.rows("04", executed(claim_cell()), "tiny"), {"04": "Section 4"}, set())
    drawing = page[page.index("<svg") : page.index("</svg>")]
    # An empty line would end the HTML.
    assert "\n\n" not in drawing
    assert "currentColor" in drawing
    assert not re.search(r"#[0-9a-f]{3}", drawing)
    for verdict, sign in SIGNS.items():
        assert f"{sign} {verdict}" in drawing or verdict == "not testable"
        assert f"**{verdict}**" in page.replace("\n", " ") or verdict == "not testable"


def test_what_another_measure_says_stands_beside_the_number():
    shared = [{"": [-0.30, -0.31, -0.32]}]
    (row,) = scoreboard.rows("04", executed(claim_cell(by_neighbours=shared)), "tiny")
    assert row.by_neighbours == scoreboard.Control(
        pytest.approx(-0.31), pytest.approx(0.0248, rel=0.01), "reversed"
    )
    assert "*By shared neighbours*: -0.310 ± 0.025" in scoreboard.table([row], {"04": "Section 4"}, set())
    assert "by_neighbours_statistic" in scoreboard.as_csv([row]).splitlines()[0]


def test_the_table_links_to_the_figure_or_else_to_the_page():
    rows = scoreboard.rows("04_structure", executed(claim_cell()), "tiny")
    titles = {"04_structure": "Section 4"}
    assert "{numref}`fig-within`" in scoreboard.table(rows, titles, {"fig-within"})
    assert "[Section 4](../notebooks/04_structure.ipynb)" in scoreboard.table(rows, titles, set())


def test_texts_of_claims_are_not_read_as_markdown():
    rows = scoreboard.rows("04", executed(claim_cell()), "tiny")
    assert r"\*more\* uniform \| than" in scoreboard.table(rows, {"04": "Section 4"}, set())


def test_the_picture_has_a_tile_for_each_claim_in_the_line_of_its_page():
    verdicts = ["holds", "not testable"]
    rows = scoreboard.rows("04", executed(*(claim_cell(verdict=verdict) for verdict in verdicts)), "tiny")
    rows += scoreboard.rows("05", executed(claim_cell(verdict="does not hold")), "tiny")
    picture = scoreboard.picture(rows, {"04": "Section 4: A < B", "05": "Section 5"})
    lines = picture.splitlines()[1:-1]
    assert [line.count("<a ") for line in lines] == [2, 1]
    assert 'class="holds"' in lines[0]
    assert 'class="not-testable"' in lines[0]
    assert 'class="does-not-hold" href="../notebooks/05.html"' in lines[1]
    assert "A &lt; B" in lines[0]


@pytest.mark.parametrize(
    ("statistic", "uncertainty", "expected"),
    [(0.25, 0.05, "0.250 ± 0.050"), (0.25, None, "0.250"), (None, None, "not measured")],
)
def test_a_number_comes_with_its_uncertainty_where_known(statistic, uncertainty, expected):
    notebook = executed(claim_cell(statistic=statistic, uncertainty=uncertainty))
    assert scoreboard.number(scoreboard.rows("04", notebook, "tiny")[0]) == expected


def test_the_data_files_hold_every_value():
    rows = scoreboard.rows("04", executed(claim_cell()), "tiny")
    (from_json,) = json.loads(scoreboard.as_json(rows))
    (from_csv,) = csv.DictReader(io.StringIO(scoreboard.as_csv(rows)))
    assert from_json["values"] == [float(value) for value in from_csv["values"].split()]
    assert np.mean(from_json["values"]) == pytest.approx(0.25)
    assert from_json["statement"] == from_csv["statement"] == "ViTs are *more* uniform | than ResNets."


# Staging


def test_a_page_ends_with_its_last_run():
    page = stage.prepare(executed(claim_cell()), KEYS)
    end = page.cells[-1].source
    for part in ("2026-03-01", "83 seconds", "`tiny`", "on cpu", "torch 2.4.0"):
        assert part in end


def test_a_page_keeps_only_what_sphinx_knows():
    page = stage.prepare(executed(claim_cell()), KEYS)
    kinds = {kind for cell in page.cells for output in cell.get("outputs", []) for kind in output.get("data", {})}
    assert kinds == {"text/plain", "text/html"}


def set_up_cells(*between):
    """The cells with which each notebook begins, as papermill leaves them."""
    return [
        new_code_cell("install", metadata={"tags": ["remove-cell"]}),
        new_markdown_cell("These can be changed."),
        new_code_cell("seed = 0", metadata={"tags": ["parameters"]}),
        new_code_cell("seed = 1", metadata={"tags": ["injected-parameters"]}),
        *between,
        new_markdown_cell("One line loads them."),
    ]


def with_set_up(*between):
    notebook = executed(new_markdown_cell("## Measure"), claim_cell())
    notebook.cells[1:1] = set_up_cells(*between)
    return notebook


def test_the_set_up_is_behind_one_line_and_what_ran_stays_in_sight():
    page = stage.prepare(with_set_up(), KEYS)
    folded, ran = page.cells[2:4]
    assert folded.source.startswith('<details class="seelike-set-up"><summary>Set-up and parameters</summary>')
    parts = ["These can be changed.", "```python\nseed = 0\n```", "One line loads them.", "```python\nrun\n```"]
    assert folded.source.split("\n\n")[1:] == [*parts, "</details>"]
    assert ran.outputs[0].data["text/plain"] == "run"
    assert ran.metadata.tags == ["remove-input"]
    assert page.cells[4].source == "## Measure"


@pytest.mark.parametrize(
    "between",
    [
        new_markdown_cell("## A heading"),
        new_code_cell("more", outputs=[new_output("stream", name="stdout", text="seen")]),
    ],
)
def test_a_set_up_with_more_in_it_is_left_in_place(between):
    page = stage.prepare(with_set_up(between), KEYS)
    assert not any("<details" in cell.source for cell in page.cells)
    assert {cell.source for cell in page.cells} >= {"seed = 0", "These can be changed.", between.source}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], ["hide-input"]),
        (["remove-output"], ["remove-output", "hide-input"]),
        (["show-code"], ["show-code"]),
        (["remove-cell"], ["remove-cell"]),
        (["remove-input"], ["remove-input"]),
        (["hide-cell"], ["hide-cell"]),
    ],
)
def test_code_is_folded_where_there_is_some_and_the_notebook_asks_for_nothing_else(tags, expected):
    notebook = new_notebook(
        cells=[new_code_cell("1 + 1", metadata={"tags": tags}), new_code_cell(" "), new_markdown_cell("text")]
    )
    folding.fold_code(notebook)
    assert [folding.tags(cell) for cell in notebook.cells] == [expected, [], []]


def shows(source, **metadata):
    return new_code_cell(source, metadata=metadata, outputs=[new_output("stream", name="stdout", text="seen")])


def test_code_that_shows_nothing_is_behind_the_line_of_the_next_that_does():
    cells = [
        new_markdown_cell("First."),
        new_code_cell("a = 1"),
        new_markdown_cell("Then."),
        new_code_cell("b = 2"),
        shows("a + b", mystnb={"figure": {"name": "fig-sum"}}),
        shows("b"),
    ]
    page = new_notebook(cells=cells)
    folding.join_code(page)
    assert [cell.source for cell in page.cells] == ["First.", "Then.", "a = 1\n\nb = 2\n\na + b", "b"]
    assert page.cells[2].metadata.mystnb.figure.name == "fig-sum"


@pytest.mark.parametrize(
    "between",
    [
        new_markdown_cell("## A heading"),
        shows("c", tags=["show-code"]),
        new_code_cell("c", metadata={"tags": ["exercise"]}),
    ],
)
def test_code_stays_in_its_section_and_in_its_order(between):
    page = new_notebook(cells=[new_code_cell("a = 1"), between, shows("a")])
    folding.join_code(page)
    assert [cell.source for cell in page.cells] == ["a = 1", between.source, "a"]


@pytest.mark.parametrize(
    ("profile", "folded"), [("pretrained", "tiny"), ("colab", "tiny"), ("tiny", "pretrained")]
)
def test_what_is_said_of_networks_that_have_another_page_is_behind_a_line(profile, folded):
    of = {kind: f"**The {kind} networks** do.\n\nAnd more.\n\n- A list." for kind in ("pretrained", "tiny")}
    text = "\n\n".join(["## End", "**The paper found** it.", *of.values(), "**Why.** Because.", "## More"])
    page = new_notebook(cells=[new_markdown_cell(text)])
    folding.fold_other_networks(page, profile)
    line = f'<details class="seelike-other-networks"><summary>The {folded} networks</summary>'
    assert page.cells[0].source == text.replace(of[folded], f"{line}\n\n{of[folded]}\n\n</details>")


def test_progress_bars_are_left_out_and_other_widgets_kept():
    notebook = executed(
        *(
            new_code_cell(name, outputs=[new_output("display_data", {notebooks.VIEW: {"model_id": name}})])
            for name in "ab"
        )
    )
    states = {
        "a": {"model_name": "HBoxModel", "state": {"children": ["IPY_MODEL_bar"]}},
        "b": {"model_name": "VBoxModel", "state": {"children": ["IPY_MODEL_slider"]}},
        "bar": {"model_name": "FloatProgressModel", "state": {"layout": "IPY_MODEL_wide"}},
        "wide": {"model_name": "LayoutModel", "state": {}},
        "slider": {"model_name": "IntSliderModel", "state": {}},
    }
    notebook.metadata["widgets"] = {notebooks.WIDGETS: {"state": states}}
    page = stage.prepare(notebook, KEYS)
    shown = {cell.source: len(cell.outputs) for cell in page.cells if cell.cell_type == "code"}
    # What is left of the first shows nothing: its code is behind the line of the second.
    assert shown == {"run": 1, "a\n\nb": 1}
    assert set(page.metadata["widgets"][notebooks.WIDGETS]["state"]) == {"b", "slider"}


def test_scripts_that_name_another_host_are_left_out_and_data_kept():
    def script(filename="", **attributes):
        return SimpleNamespace(filename=filename, attributes=attributes)

    kept = [
        script("_static/doctools.js"),
        script(body="let a = 1"),
        script(body="iVBOtHeBeRw0KGgo", type="application/vnd.jupyter.widget-state+json"),
    ]
    context = {"script_files": [*kept, script("_static/sphinx-thebe.js"), script(body="initThebeSBT()")]}
    sphinx_extension.drop_thebe(None, "page", "page.html", context, None)
    assert context["script_files"] == kept


def described(*parts):
    """The head of a page of these parts, as the extension writes it."""
    app = SimpleNamespace(
        config=SimpleNamespace(html_title="The book", html_baseurl="https://book.example/"),
        env=SimpleNamespace(titles={"page": nodes.title("", 'A "b" & c')}),
    )
    document = SimpleNamespace(findall=nodes.section("", nodes.title("", "Title"), *parts).findall)
    context = {"metatags": "<meta />", "pageurl": "https://book.example/page.html"}
    sphinx_extension.describe(app, "page", "page.html", context, document)
    return context["metatags"]


def test_a_page_says_what_it_is_about_and_has_a_card():
    other_run = nodes.container("", nodes.paragraph("", "The same page with tiny networks."))
    head = described(other_run, nodes.paragraph("", "Question. What is <near>? " + "Word " * 40))
    about = "What is &lt;near&gt;? Word Word"
    for start in (
        '<meta name="description" content="' + about,
        '<meta property="og:description" content="' + about,
        '<meta name="twitter:card" content="summary_large_image" />',
        '<meta property="og:title" content="A &quot;b&quot; &amp; c" />',
        '<meta property="og:url" content="https://book.example/page.html" />',
        f'<meta property="og:image" content="https://book.example/{sphinx_extension.CARD}" />',
    ):
        assert start in head
    assert head.startswith("<meta />")


def test_the_card_is_the_front_picture_beside_the_title(tmp_path):
    (tmp_path / "_static").mkdir()
    app = SimpleNamespace(
        srcdir=ROOT / "book",
        outdir=tmp_path,
        builder=SimpleNamespace(format="html"),
        config=SimpleNamespace(html_title="Do Vision Transformers See Like CNNs?"),
    )
    sphinx_extension.draw_card(app, None)
    drawn = Image.open(tmp_path / sphinx_extension.CARD).convert("RGB")
    assert drawn.size == (1200, 630)
    assert (tmp_path / sphinx_extension.CARD).stat().st_size < 300_000
    # All of the title is on the left, all of the picture on the right, and nothing leaves the sheet.
    ink = np.array(drawn.convert("L")) < 200
    assert ink[:, :600].any()
    assert ink[:, 600:].any()
    assert not any(edge.any() for edge in (ink[:20], ink[-20:], ink[:, :20], ink[:, -20:], ink[:, 555:605]))


def test_a_page_without_a_paragraph_is_described_by_the_title_of_the_book():
    assert '<meta name="description" content="The book" />' in described()


def test_the_address_of_the_book_says_what_its_first_page_says(tmp_path):
    (tmp_path / "index.html").write_text('<meta http-equiv="Refresh" content="0; url=book/intro.html" />\n')
    (tmp_path / "book").mkdir()
    said = ['<meta name="description" content="A" />', '<meta property="og:title" content="B" />']
    (tmp_path / "book" / "intro.html").write_text('<meta charset="utf-8" />' + "".join(said))
    render.introduce(tmp_path / "index.html")
    refresh, *rest = (tmp_path / "index.html").read_text().splitlines()
    assert "Refresh" in refresh
    assert rest == said


def test_a_page_leaves_out_scripts_without_a_use_and_keeps_the_others():
    needless = (
        '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>',
        '<script src="../searchindex.js"></script>',
    )
    needed = '<script src="../_static/doctools.js"></script>'
    assert sphinx_extension.lighter(needless[0] + needed + needless[1]) == needed
    # So it is on a page that is in no folder.
    assert sphinx_extension.lighter('<script src="searchindex.js"></script>') == ""


def test_pictures_come_when_a_reader_is_near_and_take_their_room_before(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    tag = '<img alt="A" src="a.png" />'
    expected = '<img loading="lazy" width="30" height="20" alt="A" src="a.png" />'
    assert sphinx_extension.lazy(tag, tmp_path / "a.png") == expected
    narrow = '<img style="width: 5em" src="a.png" />'
    assert sphinx_extension.lazy(narrow, tmp_path / "a.png") == narrow.replace("<img", '<img loading="lazy"')


def test_states_of_widgets_are_in_a_file_of_their_own(tmp_path):
    other = SimpleNamespace(filename="a.js", attributes={})
    states = SimpleNamespace(
        filename=None, attributes={"type": sphinx_extension.WIDGET_STATES, "body": '{"a": 1}'}
    )
    app = SimpleNamespace(srcdir=tmp_path, outdir=tmp_path, env=SimpleNamespace(images={}))
    context = {"script_files": [other, states], "body": "<p>text</p>"}
    sphinx_extension.lighten(app, "notebooks/04", "page.html", context, None)
    assert context["script_files"] == [other]
    assert context["body"] == "<p>text</p>"
    assert (tmp_path / "_static" / "widgets" / "notebooks" / "04.js").read_text() == 'seelikeWidgets({"a": 1});\n'


def test_a_figure_counts_only_where_it_was_drawn():
    empty = figure_cell("fig-none")
    empty.outputs = []
    assert notebooks.figures(executed(figure_cell(), empty)) == {"fig-within"}


def test_the_staging_folder_has_pages_notebooks_and_scoreboard(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = tmp_path / "04_representation_structure.ipynb"
    nbformat.write(executed(claim_cell(), figure_cell()), path)
    staged = stage.stage([path])
    pages = {str(name): staged[name].decode() for name in staged if name.suffix not in (".png", ".jpg")}
    assert "_config.yml" in pages
    assert "Last run" in pages["notebooks/04_representation_structure.ipynb"]
    assert "{numref}`fig-within`" in pages["book/scoreboard.md"]
    assert "1 holds" in pages["book/scoreboard_summary.txt"]
    assert json.loads(pages["_static/scoreboard.json"])[0]["verdict"] == "holds"


def test_the_staging_folder_has_every_photograph_with_its_author_and_licence(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    nbformat.write(executed(), tmp_path / "04_representation_structure.ipynb")
    staged = stage.stage([tmp_path / "04_representation_structure.ipynb"])
    assert b"{include} photographs_table.txt" in staged[Path("book/photographs.md")]
    rows = staged[Path("book/photographs_table.txt")].decode().split("\n* - ")[1:]
    for row, photograph in zip(rows, sources(), strict=True):
        name = f"photographs/{photograph.file.name}"
        assert staged[Path("book", name)] == photograph.file.read_bytes()
        for part in (name, photograph.author, photograph.licence_address, photograph.package, photograph.path):
            assert part in row


def test_staging_refuses_failed_and_unlisted_notebooks_and_names_them(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    nbformat.write(new_notebook(), tmp_path / "99_unlisted.ipynb")
    with pytest.raises(ValueError, match="not run by papermill") as caught:
        stage.stage([tmp_path / "99_unlisted.ipynb"])
    assert "_toc.yml does not list notebooks/99_unlisted" in str(caught.value)


def test_writing_leaves_unchanged_files_alone_and_removes_old_ones(tmp_path):
    stage.write({Path("a"): b"1", Path("b/c"): b"2", Path("old"): b"3"}, tmp_path)
    before = (tmp_path / "a").stat().st_mtime_ns
    stage.write({Path("a"): b"1", Path("b/c"): b"4"}, tmp_path)
    assert (tmp_path / "a").stat().st_mtime_ns == before
    assert (tmp_path / "b" / "c").read_bytes() == b"4"
    assert not (tmp_path / "old").exists()


# Parameters, and the lock


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3", 3), ("0.5", 0.5), ("None", None), ("True", True), ("tiny", "tiny"), ("a,b", "a,b"), ("1,2", "1,2")],
)
def test_parameters_are_read_as_papermill_reads_them(text, expected):
    assert run_notebook.parse_value(text) == expected


def test_the_lock_follows_the_needs_of_what_is_needed():
    found = lock.closure(lock.requirements(ROOT / "pyproject.toml"), {})
    assert {"torch", "jinja2", "pytest"} <= found
    assert "seelike" not in found
