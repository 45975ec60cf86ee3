"""The profiles for clusters. The plugins are real; the clusters are stand-ins that run jobs on this machine."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from kubernetes_stand_in import Cluster
from small_project import ROOT, RUN, make, make_project

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
def test_results_are_made_as_jobs_of_slurm(tmp_path, slurm):
    project = quickly(make_project(tmp_path / "project", cells=(RUN,)))
    status, output = make(project, "results", "CLUSTER=slurm", "PROFILE=colab", **slurm)
    assert status == 0, output
    assert (project / "results" / "colab" / "03_background.ipynb").exists()
    (job,) = submitted(slurm)
    assert "--cpus-per-task=8" in job
    assert "--gpus=1" in job


@pytest.mark.notebook
def test_a_notebook_that_fails_on_a_node_stops_the_book_and_leaves_its_log(tmp_path, slurm):
    project = quickly(make_project(tmp_path / "project", cells=("raise ValueError('too few images')",)))
    status, output = make(project, "book", "CLUSTER=slurm", **slurm)
    assert status != 0
    assert ".snakemake/slurm_logs/rule_notebook/03_background/1.log" in output
    assert not (project / "build" / "executed" / "tiny" / "03_background.ipynb").exists()
    (log,) = (project / ".snakemake" / "slurm_logs").rglob("*.log")
    assert "ValueError: too few images" in log.read_text()
    assert "--gpus" not in submitted(slurm)[0]


@pytest.fixture
def kubernetes(tmp_path):
    """A server that takes jobs as Kubernetes does. Its nodes have python, and need not install anything."""
    for plugin in ("snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_fs"):
        pytest.importorskip(plugin, reason=f"{plugin} is not installed")
    if shutil.which("rsync") is None:
        pytest.skip("The storage plugin copies by rsync, which is not here.")
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, content in {"python": f'exec "{sys.executable}" "$@"', "pip": "exit 0"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{content}\n")
        (folder / name).chmod(0o755)
    with Cluster({**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.notebook
def test_a_sweep_runs_as_jobs_of_kubernetes(tmp_path, kubernetes):
    project = make_project(tmp_path / "volume")
    (project / "mine.yaml").write_text(SWEEP)
    (project / ".gitignore").write_text("build/\n.venv/\n.snakemake/\n")
    for command in (["git", "init", "--quiet"], ["git", "add", "--all"]):
        subprocess.run(command, cwd=project, check=True)
    # The volume is this folder, and the library is the one that is tested.
    profile = project / "profiles" / "kubernetes" / "config.yaml"
    places = {"/seelike/lib": str(ROOT / "lib"), "/seelike\n": f"{project}\n"}
    text = profile.read_text()
    for place, here in places.items():
        text = text.replace(place, here)
    profile.write_text(text)
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubernetes.settings))
    status, output = make(
        project, "sweep", "SWEEP=mine.yaml", "CLUSTER=kubernetes", KUBECONFIG=str(tmp_path / "kubeconfig")
    )
    assert status == 0, f"{output}\n{kubernetes.output}"
    assert (project / "build" / "sweep" / "mine" / "comparison.html").exists()
    assert len(kubernetes.jobs) == 2
    for job in kubernetes.jobs.values():
        (container,) = job["spec"]["template"]["spec"]["containers"]
        asked, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert asked["nvidia.com/gpu"] == limits["nvidia.com/gpu"] == "1"
        assert (limits["cpu"], limits["memory"], limits["ephemeral-storage"]) == ("8000m", "32000M", "20000M")
        assert str(project) in [mount["mountPath"] for mount in container["volumeMounts"]]


@pytest.fixture(scope="module")
def options_of_snakemake():
    """Its own options and those of all plugins, as its help lists them."""
    asked = [sys.executable, "-m", "snakemake", "--help"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.replace("\n", " ")


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_a_profile_has_no_option_that_snakemake_does_not_know(name, options_of_snakemake):
    pytest.importorskip(f"snakemake_executor_plugin_{name}", reason=f"the plugin for {name} is not installed")
    profile = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
    for option in profile:
        assert f"--{option} " in options_of_snakemake
