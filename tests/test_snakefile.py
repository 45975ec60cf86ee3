"""The Snakefile makes again what changed, and nothing else. Every step is a stand-in that notes that it ran."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Each stand-in notes its name and last argument, and writes the file that the step makes.
STEPS = {
    "run_notebook.py": "note(sys.argv[1]); write(sys.argv[2])",
    "assets.py": "note('assets'); write('build/assets/mathjax/script.js')",
    "stage.py": "note('stage'); write('build/book/_toc.yml')",
    "render.py": "note('render'); write('build/html/index.html')",
}
STAND_IN = """\
import pathlib, sys

def note(step):
    with open("log.txt", "a") as log:
        print(step, *sys.argv[3:], file=log)

def write(path):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("made")

"""
OTHERS = (
    "_config.yml",
    "_toc.yml",
    "CONTRIBUTING.md",
    "results/README.md",
    "benchmarks/results/README.md",
    "requirements.lock",
    "package.json",
    "package-lock.json",
    "book/intro.md",
    "book/tools/widgets.js",
    "book/tools/scoreboard.js",
    "book/tools/citations.py",
    "book/tools/card.py",
    "book/tools/explorers.py",
    "book/tools/folding.py",
    "book/tools/layout.html",
    "book/tools/measured_costs.py",
    "book/tools/executed.py",
    "book/tools/fingerprint.py",
    "book/tools/gpus.py",
    "book/tools/judging.py",
    "book/tools/rule.svg",
    "book/tools/photographs.py",
    "book/tools/results.py",
    "book/tools/scoreboard.py",
    "book/tools/sphinx_extension.py",
    "lib/seelike/cka.py",
    "lib/seelike/plots/explorers/cka.js",
    "lib/seelike/train.py",
    "notebooks/03_a.ipynb",
    "notebooks/04_b.ipynb",
)
ALL = {"notebooks/03_a.ipynb", "notebooks/04_b.ipynb", "stage", "render"}


@pytest.fixture
def project(tmp_path):
    """A folder with the real Snakefile and the amounts of the profiles, and nothing else that is real."""
    shutil.copy(ROOT / "Snakefile", tmp_path)
    profiles = tmp_path / "lib" / "seelike" / "profiles.toml"
    profiles.parent.mkdir(parents=True)
    shutil.copy(ROOT / "lib" / "seelike" / "profiles.toml", profiles)
    for name in OTHERS:
        change(tmp_path / name, "first")
    for name, step in STEPS.items():
        change(tmp_path / "book" / "tools" / name, STAND_IN + step)
    return tmp_path


def change(path, content):
    """Write a file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def snakemake(project, *, terminal=subprocess.DEVNULL, **config):
    """Run the Snakefile; give the process, and what ran."""
    settings = [f"{name}={value}" for name, value in config.items()]
    finished = subprocess.run(
        [
            sys.executable,
            "-m",
            "snakemake",
            "--cores",
            "2",
            "--scheduler",
            "greedy",
            "--quiet",
            "progress",
            "rules",
        ]
        + (["--config", *settings] if settings else []),
        cwd=project,
        stdin=terminal,
        capture_output=True,
        text=True,
        check=False,
    )
    log = project / "log.txt"
    ran = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return finished, ran


def steps(project, **config):
    """The names of the steps that a run took."""
    finished, ran = snakemake(project, **config)
    assert finished.returncode == 0, finished.stderr
    return {line.split()[0] for line in ran}


def test_only_what_changed_is_made_again(project):
    assert steps(project) == ALL | {"assets"}
    assert steps(project) == set()
    change(project / "notebooks" / "04_b.ipynb", "second")
    assert steps(project) == {"notebooks/04_b.ipynb", "stage", "render"}
    change(project / "book" / "intro.md", "second")
    change(project / "lib" / "seelike" / "train.py", "second")
    change(project / "lib" / "seelike" / "plots" / "explorers" / "cka.js", "second")
    assert steps(project) == {"stage", "render"}
    change(project / "lib" / "seelike" / "cka.py", "second")
    assert steps(project) == ALL


def test_the_discussion_runs_after_all_other_pages_and_again_when_one_changes(project):
    change(project / "notebooks" / "09_discussion.ipynb", "first")
    _, ran = snakemake(project)
    pages = [line.split()[0] for line in ran if line.startswith("notebooks/")]
    assert pages[-1] == "notebooks/09_discussion.ipynb"
    change(project / "notebooks" / "03_a.ipynb", "second")
    assert steps(project) == {"notebooks/03_a.ipynb", "notebooks/09_discussion.ipynb", "stage", "render"}


def test_the_discussion_sees_the_controls_of_this_run(project):
    snakefile = project / "Snakefile"
    snakefile.write_text(snakefile.read_text().replace("CONTROLLED = (", 'CONTROLLED = ("03_a", '))
    change(project / "notebooks" / "09_discussion.ipynb", "first")
    _, ran = snakemake(project)
    pages = [line for line in ran if line.startswith("notebooks/")]
    assert len(pages) == 4
    assert pages[-1].startswith("notebooks/09_discussion.ipynb")


def test_profile_and_parameters_reach_every_notebook(project):
    _, ran = snakemake(project, profile="colab", parameters="images='~/my photos' repeats=3")
    options = [line.split(" ", 1)[1] for line in ran if line.startswith("notebooks/")]
    assert options == ["-p profile colab -p images ~/my photos -p repeats 3"] * 2
    assert (project / "build" / "executed" / "colab" / "03_a.ipynb").exists()


def test_rendering_alone_takes_the_notebooks_as_they_are(project):
    change(project / "build" / "executed" / "paper" / "03_a.ipynb", "from elsewhere")
    finished, ran = snakemake(project, profile="paper", run="no")
    assert finished.returncode != 0
    assert "not there: build/executed/paper/04_b.ipynb." in finished.stderr
    assert ran == []
    change(project / "build" / "executed" / "paper" / "04_b.ipynb", "from elsewhere")
    # Also where they are older than what they were made from.
    change(project / "lib" / "seelike" / "cka.py", "second")
    assert steps(project, profile="paper", run="no") == {"assets", "stage", "render"}
    assert (project / "build" / "executed" / "paper" / "04_b.ipynb").read_text() == "from elsewhere"


def test_results_of_larger_networks_are_shown_with_the_tiny_ones_and_alone_they_are_not_run(project):
    kept = project / "results" / "colab" / "03_a.ipynb"
    change(kept, "kept")
    _, ran = snakemake(project)
    assert "stage results/colab/03_a.ipynb" in ran
    assert {line.split()[0] for line in ran} == ALL | {"assets"}
    # A page tells whether its result is older than the library.
    change(kept, "another")
    assert steps(project) == {"stage", "render"}
    _, ran = snakemake(project, profile="colab")
    assert "stage" in ran


def test_controls_run_with_random_weights_and_are_staged(project):
    snakefile = project / "Snakefile"
    snakefile.write_text(snakefile.read_text().replace("CONTROLLED = (", 'CONTROLLED = ("03_a", '))
    _, ran = snakemake(project)
    control = "-p profile tiny -p weights random -p repeats 3 -p number_of_images 128"
    assert f"notebooks/03_a.ipynb {control}" in ran
    assert "stage build/executed/tiny/untrained/03_a.ipynb" in ran
    assert steps(project) == set()


def test_a_failed_notebook_stops_the_book(project):
    change(project / "book" / "tools" / "run_notebook.py", "raise SystemExit('cell 3 failed')")
    finished, ran = snakemake(project)
    assert finished.returncode != 0
    assert "cell 3 failed" in finished.stderr
    assert not {"stage", "render"} & {line.split()[0] for line in ran}


def test_no_parameters_are_none_and_nothing_waits_for_the_terminal(project):
    # A pipe that nobody writes to is as a terminal where nobody types.
    silent, writer = os.pipe()
    try:
        finished, ran = snakemake(project, terminal=silent, parameters="")
    finally:
        os.close(writer)
        os.close(silent)
    assert finished.returncode == 0, finished.stderr
    assert {line for line in ran if line.startswith("notebooks/")} == {
        "notebooks/03_a.ipynb -p profile tiny",
        "notebooks/04_b.ipynb -p profile tiny",
    }


def test_a_parameter_without_a_value_is_refused(project):
    finished, ran = snakemake(project, parameters="repeats")
    assert finished.returncode != 0
    assert "NAME=VALUE" in finished.stderr
    assert ran == []
