"""Results of larger networks, which the repository keeps: what may be one, what makes it stale, how it is made."""

import base64
import copy
import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import executed
import fingerprint
import nbformat
import numpy as np
import pytest
import results
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from small_project import ROOT, RUN, make, make_project, write_notebook
from test_build_tools import claim

from seelike import claims, profiles, verdicts

# A library whose modules import each other, and a notebook that uses some.
LIBRARY = {
    "__init__": '"""A library."""\n',
    "sums": '"""Sums."""\nfrom seelike import numbers\n\ndef total(values):\n    """Add."""\n    sum(values)',
    "numbers": "ONE = 1\n",
    "other": "TWO = 2\n",
}
CODE = "from seelike import sums\n\nsums.total([1, 2])"
NAME = "04_representation_structure"
KEPT = sorted(ROOT.glob("results/**/*.ipynb"))


def test_no_result_in_the_repository_is_stale(monkeypatch):
    monkeypatch.chdir(ROOT)
    places = results.kept()
    assert [ROOT / place for place in places] == KEPT, "There is a file in results/ that is no result."
    found = {str(place): results.stale(results.read(place), place) for place in places}
    assert {place: parts for place, parts in found.items() if parts} == {}, "Make these anew: make results"


def test_results_in_the_repository_have_the_words_of_todays_notebooks(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert results.other_prose() == [], "Renew the words: .venv/bin/python book/tools/results.py prose"


def test_the_front_page_has_the_picture_of_the_result(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert results.front_picture() == results.FRONT_PICTURE.read_bytes(), "Run book/tools/results.py prose"


def test_the_results_of_a_profile_are_not_too_large():
    sizes = {}
    for path in KEPT:
        profile = path.relative_to(ROOT / "results").parts[0]
        sizes[profile] = sizes.get(profile, 0) + path.stat().st_size
    assert all(size <= results.LARGEST for size in sizes.values()), sizes


# What code a result is of


@pytest.fixture
def library(tmp_path):
    """A folder with a library of a few lines."""
    folder = tmp_path / "lib"
    for name, text in LIBRARY.items():
        change(folder, name, text)
    return folder


def change(folder, name, text):
    """Write a module, as an editor does: with a new time of change."""
    path = folder / "seelike" / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    fingerprint._of_file.cache_clear()


def notebook_of(*cells):
    """A notebook with some cells of code."""
    return new_notebook(cells=[new_markdown_cell("# A page"), *map(new_code_cell, cells)])


def code_of(library, *cells):
    return fingerprint.of_notebook(notebook_of(*(cells or [CODE])), NAME, "colab", library)


def test_all_that_is_imported_counts_and_nothing_else(library):
    own = [f"notebooks/{NAME}.ipynb", "profiles.toml"]
    assert list(code_of(library)) == [*own, "seelike", "seelike.numbers", "seelike.sums"]
    within = "def f():\n    import seelike.other as it"
    assert list(code_of(library, within)) == [*own, "seelike", "seelike.other"]


@pytest.mark.parametrize(
    "text",
    [
        LIBRARY["sums"] + "# A comment.\n",
        LIBRARY["sums"].replace("Add.", "Add all of them."),
        LIBRARY["sums"].replace('"""Sums."""\n', ""),
        LIBRARY["sums"].replace("total(values)", "total(\n    values,\n)"),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(library, text):
    before = code_of(library)
    change(library, "sums", text)
    change(library, "other", "TWO = 3\n")
    assert fingerprint.changed(before, code_of(library)) == []
    spaced = CODE.replace("[1, 2]", "[1,\n  2]  # two of them\n")
    assert fingerprint.changed(before, code_of(library, spaced)) == []


def test_what_changed_is_named(library):
    before = code_of(library)
    change(library, "numbers", "ONE = 1.0\n")
    assert fingerprint.changed(before, code_of(library)) == ["seelike.numbers"]
    changed = fingerprint.changed(before, code_of(library, CODE, "sums.total([])"))
    assert changed == [f"notebooks/{NAME}.ipynb", "seelike.numbers"]
    (library / "seelike" / "numbers.py").unlink()
    assert fingerprint.changed(before, code_of(library)) == ["seelike.numbers"]


def test_only_what_the_profile_gives_to_this_page_counts(monkeypatch):
    page = notebook_of("1 + 1")
    before = fingerprint.of_notebook(page, NAME, "colab")
    content = copy.deepcopy(profiles._CONTENT)
    monkeypatch.setattr(profiles, "_CONTENT", content)
    content["paper"]["repeats"] += 1
    content["colab"]["images_note"] += " In other words."
    content["colab"]["pages"]["D_localization"]["number_of_images"] += 1
    assert fingerprint.of_notebook(page, NAME, "colab") == before
    content["colab"]["pages"][NAME] = {"number_of_images": 8}
    assert fingerprint.changed(before, fingerprint.of_notebook(page, NAME, "colab")) == ["profiles.toml"]


def test_what_papermill_adds_and_colab_alone_runs_does_not_count():
    page = notebook_of("1 + 1")
    added = new_code_cell("seed = 1", metadata={"tags": ["injected-parameters"]})
    installs = new_code_cell("import seelike", metadata={"tags": ["remove-cell"]})
    more = new_notebook(cells=[*page.cells, added, installs])
    assert fingerprint.of_notebook(page, NAME, "colab") == fingerprint.of_notebook(more, NAME, "colab")


def test_commands_of_ipython_are_code_and_what_is_no_python_has_a_hash_too():
    one, other, neither = (
        fingerprint.of_notebook(notebook_of(code), NAME, "colab") for code in ("%time 1", "!ls", "def")
    )
    assert len({found[f"notebooks/{NAME}.ipynb"] for found in (one, other, neither)}) == 3


# What may be kept


def ran(profile="colab", name=NAME, **parameters):
    """A notebook as run_notebook.py leaves it."""
    run = {"profile": profile, "device": "cpu", "gpu": None, "versions": {}, "weights": {}, "models": []}
    shown = new_output("display_data", {executed.RUN_MIME: run, "text/plain": "run"})
    notebook = notebook_of("run")
    notebook.cells[1].outputs = [shown]
    notebook.metadata["papermill"] = {
        "exception": None,
        "duration": 83.2,
        "start_time": "2026-03-01T09:58:00+00:00",
        "end_time": "2026-03-01T10:00:00+00:00",
        "parameters": {"profile": profile, **parameters},
    }
    code = fingerprint.of_notebook(nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4), name, profile)
    notebook.metadata["seelike"] = {"notebook": name, "commit": None, "seconds": 83.2, "code": code}
    return notebook


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Write a notebook into a folder, and take it from there into results/ of another one."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")

    def keep(notebook, name=NAME):
        source = tmp_path / f"{name}.ipynb"
        nbformat.write(notebook, source)
        return results.take(source, tmp_path / "results")

    return keep


def test_a_result_is_where_its_profile_says_and_the_same_run_gives_the_same_bytes(keep):
    notebook = ran()
    place = keep(notebook)
    assert place.parts[-3:] == ("results", "colab", f"{NAME}.ipynb")
    before = place.read_bytes()
    assert keep(notebook).read_bytes() == before
    assert results.reasons(place, {"profile": "colab"}) == []
    assert keep(ran(weights="random")).parts[-3:] == ("colab", "untrained", f"{NAME}.ipynb")
    assert results.kept(place.parents[1]) == [place, place.parent / "untrained" / place.name]


def test_a_control_has_no_pictures_and_all_of_its_claims(keep):
    control = ran(weights="random")
    picture = new_output("display_data", {"image/png": "iVBO"})
    recorded = new_output("display_data", {executed.CLAIM_MIME: claim(name="uniform_layers")})
    control.cells[1].outputs += [picture, recorded]
    outputs = [output for cell in results.read(keep(control)).cells for output in cell.get("outputs", [])]
    assert picture not in outputs
    assert recorded in outputs


def test_other_parameters_are_another_result(keep):
    (why,) = results.reasons(keep(ran(repeats=2)), {"profile": "colab", "repeats": 3})
    assert why == "it ran with other parameters: repeats=2"


def test_what_is_stale_is_told_part_by_part(keep):
    changed = ran()
    changed.metadata["seelike"]["code"]["seelike.skip"] = "another"
    recorded = {executed.CLAIM_MIME: claim(name="uniform_layers")}
    changed.cells[1].outputs.append(new_output("display_data", recorded))
    weights = {"file": "seelike/checkpoints/resnet.safetensors", "sha256": "0" * 64}
    others = {"file": "model.safetensors", "sha256": "0" * 64}
    executed.parameters(changed)["weights"] = {"tiny/resnet": weights, "resnet50": others}
    place = keep(changed)
    assert results.stale(results.read(place), place) == [
        "seelike.skip",
        "claims.toml",
        "the weights of tiny/resnet",
    ]


@pytest.fixture
def words(tmp_path, monkeypatch):
    """Keep a result of a notebook of three cells; give it with what its notebook was."""
    monkeypatch.chdir(tmp_path)
    own = "# A comment.\nprint(1)"
    cells = [new_markdown_cell("# Old"), new_code_cell("profile = None"), new_code_cell(own)]
    cells[1].metadata["tags"] = ["parameters"]
    cells[2].metadata["mystnb"] = {"figure": {"caption": "Old."}}
    notebook = new_notebook(cells=cells)
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, f"notebooks/{NAME}.ipynb")
    done = copy.deepcopy(notebook)
    done.cells.insert(2, new_code_cell("profile = 'colab'", metadata={"tags": ["injected-parameters"]}))
    done.cells[3].outputs = [new_output("stream", name="stdout", text="1\n")]
    done.cells[3].metadata["papermill"] = {"duration": 1}
    done.cells[3].execution_count = 3
    done.metadata["seelike"] = {"code": fingerprint.of_notebook(notebook, NAME, "tiny")}
    return notebook, done


def test_new_words_come_without_a_new_run(words):
    notebook, done = words
    notebook.cells[0].source = "# New"
    notebook.cells.insert(1, new_markdown_cell("More."))
    notebook.cells[3].source = "# Another comment.\nprint(\n    1\n)"
    notebook.cells[3].metadata["mystnb"] = {"figure": {"caption": "New."}}
    nbformat.write(notebook, f"notebooks/{NAME}.ipynb")
    found = results.with_prose(done, NAME)
    assert [cell.source for cell in found.cells] == [
        "# New",
        "More.",
        "profile = None",
        "profile = 'colab'",
        notebook.cells[3].source,
    ]
    last = found.cells[-1]
    assert (last.outputs, last.execution_count) == (done.cells[-1].outputs, 3)
    assert last.metadata == {"mystnb": {"figure": {"caption": "New."}}, "papermill": {"duration": 1}}
    assert found.metadata == done.metadata
    assert results.with_prose(found, NAME) == found


def test_the_set_up_of_colab_may_change_and_outputs_stay_with_their_code(words):
    notebook, done = words
    set_up = new_code_cell("install", metadata={"tags": ["remove-cell"]})
    notebook.cells.insert(1, set_up)
    nbformat.write(notebook, f"notebooks/{NAME}.ipynb")
    found = results.with_prose(done, NAME)
    assert [cell.source for cell in found.cells][1:4] == ["install", "profile = None", "profile = 'colab'"]
    assert found.cells[-1].outputs == done.cells[-1].outputs
    # And is gone again, or below the parameters.
    notebook.cells.remove(set_up)
    notebook.cells.insert(2, set_up)
    nbformat.write(notebook, f"notebooks/{NAME}.ipynb")
    assert results.with_prose(found, NAME).cells[-1].outputs == done.cells[-1].outputs
    notebook.cells.remove(set_up)
    nbformat.write(notebook, f"notebooks/{NAME}.ipynb")
    assert results.with_prose(found, NAME).cells == results.with_prose(done, NAME).cells


def test_other_words_are_named_and_make_brings_them_without_a_run(keep, monkeypatch, capsys):
    notebook = ran()
    shown = notebook.cells[1].outputs
    notebook.cells = nbformat.read(ROOT / "notebooks" / f"{NAME}.ipynb", 4).cells
    next(cell for cell in notebook.cells if cell.cell_type == "code").outputs = shown
    notebook.cells[0].source = "# Words of another day"
    place = keep(notebook)
    monkeypatch.setattr("sys.argv", ["results.py", "stale"])
    assert results.main() == 0
    assert f"0 of 1 results are stale.\n{place}: has other words" in capsys.readouterr().out
    monkeypatch.setattr(results.run_notebook, "attempt", lambda *_: pytest.fail("It was run."))
    assert results.make(Path("notebooks", f"{NAME}.ipynb"), {"profile": "colab"}) == 0
    assert "another day" not in place.read_text()
    assert results.other_prose() == []
    before = place.stat().st_mtime_ns
    assert results.make(Path("notebooks", f"{NAME}.ipynb"), {"profile": "colab"}) == 0
    assert place.stat().st_mtime_ns == before


def test_what_has_to_be_known_of_all_results_stands_below_the_heading(words, tmp_path):
    _, done = words
    note = tmp_path / "results" / "tiny" / "note.md"
    note.parent.mkdir(parents=True)
    note.write_text("A note.\n")
    found = results.with_prose(done, NAME)
    assert [cell.source for cell in found.cells[:3]] == ["# Old", "A note.", "profile = None"]
    assert results.with_prose(found, NAME) == found


def test_words_of_other_code_are_not_those_of_a_result(words):
    notebook, done = words
    notebook.cells[0].source, notebook.cells[2].source = "# New", "print(2)"
    nbformat.write(notebook, f"notebooks/{NAME}.ipynb")
    assert results.with_prose(done, NAME) is done


def test_the_discussion_is_stale_when_another_page_has_other_claims(keep):
    def discussion():
        notebook = ran(name="09_discussion")
        notebook.metadata["seelike"]["gathered"] = verdicts.digest(results.RESULTS / "colab")
        return keep(notebook, "09_discussion")

    def another(statistic):
        notebook = ran()
        recorded = new_output("display_data", {executed.CLAIM_MIME: claim(statistic=statistic)})
        notebook.cells[1].outputs.append(recorded)
        return keep(notebook)

    place = discussion()
    asked = {"profile": "colab"}
    other = place.with_name(f"{NAME}.ipynb")
    assert results.wanted([(place, asked), (other, asked)]) == [place, other]
    another(0.25)
    assert results.stale(results.read(place), place) == ["the results of other pages"]
    discussion()
    assert results.stale(results.read(place), place) == []
    # An older result that comes back is another one, too; the same claims of another run are the same.
    another(0.26)
    assert results.stale(results.read(place), place) == ["the results of other pages"]
    another(0.25)
    assert results.stale(results.read(place), place) == []


def test_a_discussion_of_before_it_kept_what_it_saw_can_be_read_and_is_stale(keep):
    place = keep(ran(name="09_discussion"), "09_discussion")
    assert results.stale(results.read(place), place) == ["the results of other pages"]


def test_the_discussion_is_given_all_results_of_its_profile_and_nothing_else(keep, tmp_path):
    keep(ran())
    keep(ran(weights="random"))
    discussion = keep(ran(name="09_discussion"), "09_discussion")
    output = tmp_path / "executed" / "colab" / discussion.name
    output.parent.mkdir(parents=True)
    for stray in ("tiny_networks.ipynb", f"{NAME}.ipynb"):
        output.with_name(stray).write_text("another run")
    results._bring_others(discussion, output)
    found = {path.relative_to(output.parent).as_posix() for path in output.parent.rglob("*.ipynb")}
    assert found == {f"{NAME}.ipynb", f"untrained/{NAME}.ipynb"}
    assert verdicts.digest(output.parent) == verdicts.digest(discussion.parent)


def test_the_rule_and_the_margins_make_no_measurement_stale(keep, monkeypatch):
    recorded = claims.evaluate("uniform_layers", [0.3, 0.31])._repr_mimebundle_()[executed.CLAIM_MIME]
    notebook = ran()
    # As a result of before has them.
    notebook.metadata["seelike"]["code"] |= {"seelike.claims": "1", "seelike.plots.claims": "2"}
    notebook.cells[1].outputs.append(new_output("display_data", {executed.CLAIM_MIME: recorded}))
    place = keep(notebook)
    assert results.stale(results.read(place), place) == []
    wider = dataclasses.replace(claims.CLAIMS["uniform_layers"], margin=1.0, margin_reason="Another.")
    monkeypatch.setitem(claims.CLAIMS, "uniform_layers", wider)
    assert results.stale(results.read(place), place) == []
    other = dataclasses.replace(wider, statistic="another one")
    monkeypatch.setitem(claims.CLAIMS, "uniform_layers", other)
    assert results.stale(results.read(place), place) == ["claims.toml"]


def test_modules_that_judge_count_for_a_page_that_shows_verdicts_of_others_alone():
    measures, gathers = (
        fingerprint.of_notebook(notebook_of(code), NAME, "colab")
        for code in ("from seelike import claims, plots", "from seelike import claims, plots, verdicts")
    )
    judges = {"seelike.claims", "seelike.evidence", "seelike.plots.claims", "seelike.verdicts"}
    assert gathers.keys() - measures.keys() == judges
    before = {**gathers, "seelike.claims": "another"}
    assert fingerprint.changed(before, gathers) == ["seelike.claims"]
    own = f"notebooks/{NAME}.ipynb"
    assert fingerprint.changed(before, measures) == [own]


def failed(notebook):
    notebook.metadata["papermill"]["exception"] = True


def without_code(notebook):
    del notebook.metadata["seelike"]["code"]


def without_run(notebook):
    notebook.cells[1].outputs = []


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (failed, "Papermill did not run it to its end"),
        (without_code, "It does not say which code it ran"),
        (without_run, "It has no record of its run"),
        (
            lambda notebook: notebook.metadata["seelike"].update(notebook="03_background"),
            "It is a run of 03_background",
        ),
        (
            lambda notebook: notebook.metadata["papermill"]["parameters"].update(weights="random"),
            "colab/untrained",
        ),
        (lambda notebook: executed.parameters(notebook).update(profile="paper"), "It ran at paper"),
        (lambda notebook: executed.parameters(notebook).update(profile="tiny"), "results are not kept"),
        (lambda notebook: executed.parameters(notebook).update(profile="../.."), "results are not kept"),
    ],
)
def test_a_notebook_that_is_no_result_of_its_place_is_refused_and_named(keep, spoil, expected):
    place = keep(ran())
    notebook = executed.read(place)
    spoil(notebook)
    nbformat.write(notebook, place)
    with pytest.raises(ValueError, match=rf"colab/{NAME}\.ipynb: .*{expected}"):
        results.read(place)


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"nbformat": 4}', '{"cells": 3, "nbformat": 4}'])
def test_a_file_that_is_no_notebook_is_refused_and_named(tmp_path, text):
    path = tmp_path / "03_background.ipynb"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"03_background\.ipynb: It cannot be read as a notebook"):
        executed.read(path)


def test_a_notebook_that_may_not_be_kept_is_not_taken(keep, tmp_path):
    notebook = ran()
    failed(notebook)
    with pytest.raises(ValueError, match="did not run it to its end"):
        keep(notebook)
    with pytest.raises(ValueError, match="Results of the profile tiny are not kept: make book runs it anew"):
        keep(ran(profile="tiny"))
    assert not (tmp_path / "results").exists()


def test_the_place_of_a_file_of_weights_is_not_told(keep):
    notebook = ran()
    weights = {"file": "/home/someone/weights.safetensors", "sha256": "0" * 64}
    executed.parameters(notebook)["weights"] = {"mine": weights}
    assert "/home/someone" not in keep(notebook).read_text()


# Pictures


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def opened(content):
    return Image.open(io.BytesIO(content))


def lines(width, clear=False):
    """A picture as figures are: few colours, and noise that compresses badly where it is kept."""
    pixels = np.full((200, width, 4), 255, np.uint8)
    pixels[50:60] = (0, 98, 163, 255)
    pixels[100:150, :, :3] -= np.random.default_rng(0).integers(0, 4, (50, width, 3), np.uint8)
    if clear:
        pixels[:50, :, 3] = 0
        pixels[60:80, :, 3] = np.random.default_rng(1).integers(120, 124, (20, width), np.uint8)
    return png(pixels if clear else pixels[..., :3])


@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("page", ["white", "black"])
def test_pictures_of_few_colours_get_a_palette_and_look_the_same(clear, page):
    before = lines(600, clear)
    after = results.smaller(before)
    assert opened(after).mode == "P"
    assert len(after) < 0.75 * len(before)
    shown = [opened(content).convert("RGBA") for content in (before, after)]
    ground = Image.new("RGBA", shown[0].size, page)
    apart = np.subtract(*(np.asarray(Image.alpha_composite(ground, each), int) for each in shown))
    assert np.abs(apart).max() <= results._FURTHEST
    assert np.sqrt(np.square(apart).mean()) <= results._MEAN


def test_wide_pictures_are_made_narrower():
    assert opened(results.smaller(lines(2000))).size == (1000, 100)
    assert opened(results.smaller(lines(1050))).size == (1050, 200)


def test_pictures_that_a_palette_would_spoil_keep_their_colours():
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    assert (np.asarray(opened(results.smaller(png(noise)))) == noise).all()
    clear = np.dstack([noise, noise[..., 0]])
    assert (np.asarray(opened(results.smaller(png(clear)))) == clear).all()


def test_pictures_of_cells_and_of_sliders_become_smaller_and_records_stay(keep):
    notebook = ran()
    large = base64.b64encode(lines(1500)).decode()
    html = f'<img src="data:image/png;base64,{large}" alt="Lines">'
    recorded = {executed.CLAIM_MIME: claim(), "text/html": html, "image/png": large}
    notebook.cells[1].outputs.append(new_output("display_data", recorded))
    states = {"picture": {"model_name": "HTMLModel", "state": {"value": html, "layout": None}}}
    notebook.metadata["widgets"] = {executed.WIDGETS: {"state": states}}
    kept = results.read(keep(notebook))
    data = kept.cells[1].outputs[1].data
    value = kept.metadata["widgets"][executed.WIDGETS]["state"]["picture"]["state"]["value"]
    small = data["image/png"]
    assert opened(base64.b64decode(small)).width == 1000
    assert data["text/html"] == value == html.replace(large, small)
    assert executed.claims(kept) == [claim()]


# make results


def starts(project):
    """How often a notebook was started."""
    path = project / "started.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


def make_results(project, *arguments):
    """Run make results at colab; give how many notebooks it started, and what it printed."""
    before = starts(project)
    status, output = make(project, "results", "PROFILE=colab", *arguments)
    assert status == 0, output
    return starts(project) - before, output


@pytest.mark.notebook
def test_make_results_runs_what_is_missing_or_stale_and_goes_on_where_it_stopped(tmp_path):
    # What they compute is not asked here, and to import the library takes seconds.
    project = make_project(tmp_path, notebooks=("03_background", "tiny_networks"), cells=(RUN, "1 / 100"))
    kept = project / "results" / "colab" / "03_background.ipynb"
    started, output = make_results(project)
    assert started == 1
    assert "there is no result" in output
    assert [path.name for path in kept.parent.iterdir()] == [kept.name], "tiny_networks is at tiny alone"
    notebook = nbformat.read(kept, as_version=4)
    assert notebook.metadata["seelike"]["notebook"] == "03_background"
    # As if it had been stopped between running and taking; and only a comment has changed.
    kept.unlink()
    source = project / "notebooks" / "03_background.ipynb"
    source.write_text(source.read_text().replace("from IPython", "# A comment.\\nfrom IPython"))
    assert make_results(project)[0] == 0
    assert "# A comment." in kept.read_text()
    source.write_text(source.read_text().replace("# A page", "# The same page"))
    assert make_results(project)[0] == 0
    assert "# The same page" in kept.read_text()
    source.write_text(source.read_text().replace("/ 100", "/ 1000"))
    started, output = make_results(project)
    assert started == 1
    assert "changed since: notebooks/03_background.ipynb" in output
    assert make_results(project)[0] == 0


@pytest.mark.notebook
def test_the_discussion_sees_the_results_of_the_others_also_of_those_run_elsewhere_and_controls_run_too(tmp_path):
    gather = "from seelike import verdicts\nprint(len(verdicts.gather(f'build/executed/{profile}')), 'claims')"
    project = make_project(tmp_path)
    snakefile = project / "Snakefile"
    snakefile.write_text(snakefile.read_text().replace("CONTROLLED = (", 'CONTROLLED = ("03_background", '))
    notebook = project / "notebooks" / "03_background.ipynb"
    parameters = "device = None\\nweights = None\\nrepeats = None"
    notebook.write_text(notebook.read_text().replace("device = None", parameters))
    write_notebook(project / "notebooks" / "09_discussion.ipynb", RUN, gather)
    assert make_results(project)[0] == 2
    kept = project / "results" / "colab"
    control = executed.read(kept / "untrained" / "03_background.ipynb")
    assert control.metadata.papermill.parameters == {
        "profile": "colab",
        "weights": "random",
        "repeats": 3,
        "number_of_images": 256,
    }
    make(project, "clean")
    discussion = kept / "09_discussion.ipynb"
    discussion.unlink()
    assert make_results(project)[0] == 0
    assert "1 claims" in discussion.read_text()


def test_make_results_stops_at_a_damaged_result_and_at_tiny(tmp_path):
    project = make_project(tmp_path)
    path = project / "results" / "colab" / "03_background.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text("no notebook")
    status, output = make(project, "results", "PROFILE=colab")
    assert status != 0
    assert "results/colab/03_background.ipynb: It cannot be read as a notebook" in output
    status, output = make(project, "results")
    assert status != 0
    assert "Results of the profile tiny are not kept" in output
    assert starts(project) == 0


def test_the_command_line_lists_what_is_stale(keep, tmp_path):
    notebook = ran()
    notebook.metadata["seelike"]["code"]["seelike.skip"] = "another"
    keep(notebook)
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    command = [sys.executable, ROOT / "book" / "tools" / "results.py", "stale"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert f"results/colab/{NAME}.ipynb: changed since: seelike.skip\n1 of 1 results are stale." in finished.stdout
