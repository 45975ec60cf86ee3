"""Sweeps: what a file may ask for, a run that is killed in the middle, and the page that compares the results."""

import csv
import fcntl
import os
import platform
import re
import signal
import subprocess
import sys
import time

import gather_sweep
import launch
import pytest
import scoreboard
import sweep
from small_project import ROOT, make, make_project, start_make
from test_book import FAINT, NARROW
from test_book import browser as chromium

# A fixture has to be known by its name here.
browser = chromium

SWEEP = """\
profile: tiny
notebooks: [03_background]
models:
  one: [tiny/vit_7x7]
  both: tiny/vit_7x7,tiny/resnet
seeds: [0, 1]
"""
RUN = {
    "images": "digits/test",
    "models": ["tiny/vit_7x7"],
    "device": "cuda",
    "gpu": "H200",
    "versions": {"torch": "2.4.0"},
    "weights": {"vit": {"repository": "timm/vit", "revision": "0f" * 20, "sha256": "1e" * 32}},
    "date": "2026-03-01T10:00:00+00:00",
}


@pytest.fixture
def project(tmp_path):
    """A project with one notebook that takes seconds, and a sweep over it."""
    make_project(tmp_path)
    (tmp_path / "mine.yaml").write_text(SWEEP)
    return tmp_path


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read a sweep over the real notebooks."""
    monkeypatch.chdir(ROOT)

    def read(content, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(content)
        return sweep.read(path)

    return read


# What a file may ask for


def test_the_sweep_that_comes_with_the_project_is_right(monkeypatch):
    monkeypatch.chdir(ROOT)
    asked = sweep.read(ROOT / "sweep.yaml")
    assert len(asked.jobs) == 8
    assert len({job.output for job in asked.jobs}) == 8


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seeds", "seed", r"mine\.yaml: Unknown part of a sweep 'seed'\. Did you mean 'seeds'"),
        ("seeds: [0, 1]", "", "The part 'seeds' is missing or empty"),
        ("seeds: [0, 1]", "seeds: []", "The part 'seeds' is missing or empty"),
        ("[0, 1]", "[0, 0]", "seeds lists 0 twice"),
        ("[0, 1]", "[0, -1]", r"seeds must be a list of whole numbers of 0 or more, .* got \[0, -1\]"),
        ("[0, 1]", "[true]", "seeds must be a list of whole numbers"),
        ("tiny\n", "tinny\n", "Unknown profile 'tinny'. Did you mean 'tiny'"),
        ("03_background", "03_backgroud", "Unknown notebook '03_backgroud'. Did you mean '03_background'"),
        ("[03_background]", "03_background", "notebooks must be a list of names"),
        ("[03_background]", "[03_background, 03_background]", "notebooks lists '03_background' twice"),
        ("one:", "../one:", r"A label of models becomes a folder's name: .* got '\.\./one'"),
        ("one:", "3:", "A label of models becomes a folder's name: .* got 3"),
        ("one:", "both:", "cannot be read as YAML: found 'both' twice"),
        ("[tiny/vit_7x7]", "[]", r"models 'one' must be names, .* got \[\]"),
        ("[tiny/vit_7x7]", "7", "models 'one' must be names, .* got 7"),
        ("[0, 1]", "[0, 1]\nparameters: {seed: 3}", "The parameter 'seed' is set by the part 'seeds'"),
        ("[0, 1]", "[0, 1]\nparameters: {repeat: 3}", "Unknown parameter of 03_background 'repeat'. Did you mean"),
        ("[0, 1]", "[0, 1]\nparameters: 3", "parameters must be names with values"),
        ("[0, 1]", "[0, 1", "cannot be read as YAML"),
    ],
)
def test_a_mistake_is_named(read, old, new, expected):
    with pytest.raises(ValueError, match=expected):
        read(SWEEP.replace(old, new, 1))


@pytest.mark.parametrize("content", ["", "- a list"])
def test_a_file_that_is_no_sweep_says_what_one_has(read, content):
    with pytest.raises(ValueError, match="A sweep has the parts profile, notebooks, models, seeds"):
        read(content)


def test_a_file_name_that_is_no_folder_name_is_refused(read):
    with pytest.raises(ValueError, match="The file's name becomes a folder's name"):
        read(SWEEP, name="my sweep.yaml")


def test_a_sweep_that_is_not_there_is_named_by_make(project):
    status, output = make(project, "sweep", "SWEEP=other.yaml")
    assert status != 0
    assert "There is no sweep other.yaml. Name one: make sweep SWEEP=sweep.yaml" in output


# Runs


def started(project):
    """The seed and models of each notebook that was started."""
    return sorted((project / "started.txt").read_text().splitlines())


def claims_of(project):
    """The rows of claims.csv."""
    with (project / "build" / "sweep" / "mine" / "claims.csv").open() as file:
        return list(csv.DictReader(file))


def results(project):
    """The executed notebooks that are in place, with their times of change."""
    files = (project / "build" / "sweep").rglob("seed_*.ipynb")
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.notebook
def test_killed_in_the_middle_it_goes_on_and_gives_the_same(project):
    process = start_make(project, "sweep", "SWEEP=mine.yaml", "CORES=1")
    while not results(project):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = results(project)
    assert 1 <= len(done) < 4
    (project / "started.txt").unlink()

    status, output = make(project, "sweep", "SWEEP=mine.yaml", "CORES=2")
    assert status == 0, output
    after = results(project)
    assert len(after) == 4
    # Snakemake had no time to note that the last one was finished, if the kill came at that very moment.
    assert sum(after[path] != before for path, before in done.items()) <= 1
    assert len(started(project)) <= 4 - len(done) + 1
    # As computed by hand from seed and models: what no kill can change.
    rows = claims_of(project)
    assert [(row["label"], row["seed"]) for row in rows] == [
        ("one", "0"),
        ("one", "1"),
        ("both", "0"),
        ("both", "1"),
    ]
    assert {row["claim"] for row in rows} == {"uniform_layers"}
    for row in rows:
        networks = 1 if row["label"] == "one" else len("tiny/vit_7x7,tiny/resnet")
        first = int(row["seed"]) + networks / 10
        assert [float(value) for value in row["values"].split()] == [first + repeat / 100 for repeat in range(3)]
        assert float(row["statistic"]) == pytest.approx(first + 0.01)
        assert row["verdict"] == "holds"
        assert row["says"] == "holds in these networks, without control"

    # A third time there is nothing to do; with another seed only its own jobs.
    (project / "started.txt").unlink()
    (project / "mine.yaml").write_text(SWEEP.replace("[0, 1]", "[0, 1, 2]"))
    status, output = make(project, "sweep", "SWEEP=mine.yaml", "CORES=2")
    assert status == 0, output
    assert [line.split()[0] for line in started(project)] == ["2", "2"]
    assert len(claims_of(project)) == 6


def test_a_second_make_in_a_folder_waits_for_the_first(tmp_path):
    launch = [sys.executable, ROOT / "book" / "tools" / "launch.py", "--version"]
    (tmp_path / "build").mkdir()
    with (tmp_path / "build" / "snakemake.lock").open("w") as lock:
        lock.write("elsewhere 123")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen(launch, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert (
            "Another make is at work in this folder (process 123 on elsewhere). Waiting"
            in second.stderr.readline()
        )
        assert second.poll() is None
    output, errors = second.communicate()
    assert second.returncode == 0, errors
    assert re.match(r"\d+\.\d+", output)


def test_who_holds_a_folder_is_said_also_when_it_is_stopped():
    waiting = subprocess.Popen(["sleep", "60"])
    noted = f"{platform.node()} {waiting.pid}"
    assert launch.holder(noted) == f"process {waiting.pid}"
    waiting.send_signal(signal.SIGSTOP)
    os.waitpid(waiting.pid, os.WUNTRACED)
    assert "which is stopped: kill -CONT" in launch.holder(noted)
    waiting.kill()
    waiting.wait()
    assert launch.holder("") == "not known which"


# Gathering


def outcome(label="one", seed=0, statistic=0.5, uncertainty=0.1, verdict="holds", why="", statement="A claim."):
    """One claim as a job of a sweep tested it."""
    job = sweep.Job(
        "03_background", label, seed, sweep.RESULTS / "mine" / "03_background" / label / f"{seed}.ipynb"
    )
    row = scoreboard.Row(
        claim="uniform_layers",
        figure="Figure 1",
        statement=statement,
        verdict=verdict,
        says=f"{verdict} in these networks",
        not_learned=False,
        statistic=statistic,
        uncertainty=uncertainty,
        margin=0.05,
        margin_reason="",
        kind="difference",
        what="mean CKA",
        values=[0.4, 0.6],
        trainings=[1],
        spread_over="1 training x 2 repeats",
        groups=(),
        why=why,
        paper="",
        notebook="03_background",
        figure_name=None,
        profile="tiny",
        page="notebooks/03_background",
        before_training=None,
    )
    return gather_sweep.Outcome(job, ["tiny/vit_7x7"], row)


def test_the_axis_has_zero_and_every_interval_on_it():
    outcomes = [outcome(statistic=0.5, uncertainty=0.1), outcome(statistic=-0.2, uncertainty=0.3)]
    low, high = gather_sweep.axis(outcomes)
    assert low < -0.5 < 0 < 0.6 < high
    for one in outcomes:
        mark = gather_sweep.mark(one, low, high)
        assert 0 < mark.begin < mark.place < mark.end < 100


@pytest.mark.parametrize("statistic", [None, 0.0])
def test_an_axis_without_any_width_is_still_one(statistic):
    low, high = gather_sweep.axis([outcome(statistic=statistic, uncertainty=None)])
    assert low < 0 < high


def test_the_page_shows_each_seed_and_counts_verdicts(read):
    asked = read(SWEEP)
    why = "This run has no ResNet."
    outcomes = [
        outcome("one", 0),
        outcome("one", 1, statistic=-0.5, verdict="does not hold"),
        outcome("both", 0),
        outcome("both", 1, statistic=None, uncertainty=None, verdict="not testable", why=why),
    ]
    page = gather_sweep.page(asked, outcomes, [RUN])
    assert page.count('<a class="seed ') == 3
    assert 'href="03_background/one/0.ipynb"' in page
    assert f"seed 1</a>: {why}" in page
    assert "✓&nbsp;holds (1 of 2), ✗&nbsp;does not hold (1 of 2)" in page
    for fact in ("H200", "2026-03-01", "torch 2.4.0", "digits/test", f"vit: timm/vit at {'0f' * 20}"):
        assert fact in page


def test_no_name_is_read_as_html(read):
    evil = "<script>alert('x')</script>"
    asked = read(SWEEP.replace("[tiny/vit_7x7]", f'["{evil}"]') + f'parameters: {{images: "{evil}"}}\n')
    outcomes = [outcome(statement=evil, why=evil), outcome(statistic=None, verdict="not testable", why=evil)]
    run = {**RUN, "images": evil, "gpu": evil, "versions": {evil: evil}}
    page = gather_sweep.page(asked, [gather_sweep.Outcome(one.job, [evil], one.row) for one in outcomes], [run])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 7


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_by_day_and_by_night(read, browser, scheme):
    long = "a_very_long_label_of_models_that_no_phone_has_room_for_in_one_line_" * 2
    asked = read(SWEEP.replace("one:", f"{long}:") + "parameters: {number_of_images: 64}\n")
    outcomes = [outcome(long, 0), outcome("both", 0, statistic=-0.5, verdict="does not hold"), outcome("both", 1)]
    page = browser.new_page(viewport=NARROW, color_scheme=scheme)
    page.set_content(gather_sweep.page(asked, outcomes, [RUN]))
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "scrolls sideways"
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 30)"}[scheme]
    assert page.evaluate(FAINT) == []
    width = page.locator(".seeds").first.bounding_box()["width"]
    assert width > NARROW["width"] / 3
    # Every mark is within the picture that it belongs to.
    for place in range(page.locator("a.seed").count()):
        mark = page.locator("a.seed").nth(place)
        box, point = mark.bounding_box(), mark.locator(".point").bounding_box()
        assert box["x"] < point["x"] < point["x"] + point["width"] < box["x"] + box["width"]
    page.close()


def test_a_missing_or_failed_notebook_is_not_gathered(read, tmp_path, monkeypatch):
    asked = read(SWEEP)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"seed_0\.ipynb is not there"):
        gather_sweep.read(asked)
