"""The profiles for clusters. Slurm's commands are stand-ins that run every job on this machine."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from small_project import make, make_project

SWEEP = "profile: colab\nnotebooks: [03_background]\nmodels: {one: [tiny/vit_7x7]}\nseeds: [0, 1]\n"
COMMANDS = ("sbatch", "srun", "sacct", "scancel", "sinfo", "scontrol")


@pytest.fixture
def slurm(tmp_path):
    """The environment of a machine with Slurm, and the folder of its jobs."""
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="the plugin for Slurm is not installed")
    folder, state = tmp_path / "bin", tmp_path / "jobs"
    folder.mkdir()
    state.mkdir()
    stand_in = Path(__file__).with_name("slurm_stand_in.py")
    for name in COMMANDS:
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in}" {name} "$@"\n')
        command.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "STAND_IN_JOBS": str(state)}


def submitted(slurm):
    """The options of each job that was submitted, in order."""
    files = sorted(Path(slurm["STAND_IN_JOBS"]).glob("*.json"), key=lambda path: int(path.stem))
    return [" ".join(json.loads(path.read_text())["arguments"]) for path in files]


def quickly(project):
    """Look after jobs every second: the profile's twenty are for a cluster."""
    path = project / "profiles" / "slurm" / "config.yaml"
    text = path.read_text()
    path.write_text(re.sub(r"(seconds-before-status-checks): \d+", r"\1: 1", text))
    assert path.read_text() != text
    return project


@pytest.mark.notebook
def test_a_sweep_runs_as_jobs_of_slurm(tmp_path, slurm):
    project = quickly(make_project(tmp_path / "project"))
    (project / "mine.yaml").write_text(SWEEP)
    status, output = make(project, "sweep", "SWEEP=mine.yaml", "CLUSTER=slurm", **slurm)
    assert status == 0, output
    assert (project / "build" / "sweep" / "mine" / "comparison.html").exists()
    jobs = submitted(slurm)
    # The two notebooks; gathering them needs no machine of its own.
    assert len(jobs) == 2
    for job in jobs:
        for wanted in ("-t 240", "--mem 32000", "--cpus-per-task=8", "--gpus=1", "-p short"):
            assert wanted in job


@pytest.mark.notebook
def test_a_notebook_that_fails_on_a_node_stops_the_book_and_leaves_its_log(tmp_path, slurm):
    project = quickly(make_project(tmp_path / "project", cells=("raise ValueError('too few images')",)))
    status, output = make(project, "book", "CLUSTER=slurm", **slurm)
    assert status != 0
    assert "FAILED" in output
    assert not (project / "build" / "executed" / "tiny" / "03_background.ipynb").exists()
    (log,) = (project / ".snakemake" / "slurm_logs").rglob("*.log")
    assert "ValueError: too few images" in log.read_text()
    assert "--gpus" not in submitted(slurm)[0]
