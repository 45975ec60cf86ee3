"""The profiles for clusters, and Kubernetes: a stand-in that runs jobs on this machine, with the real plugins."""

import os
import re
import shutil
import subprocess
import sys
import threading

import pytest
import yaml
from asks import asks
from kubernetes_stand_in import Cluster
from small_project import ROOT, make, make_project

SWEEP = "profile: colab\nnotebooks: [03_background]\nmodels: {one: [tiny/vit_7x7]}\nseeds: [0, 1]\n"


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
        assert (limits["cpu"], limits["memory"], limits["ephemeral-storage"]) == ("8000m", "17000M", "20000M")
        assert str(project) in [mount["mountPath"] for mount in container["volumeMounts"]]


@pytest.mark.parametrize("profile", ["pretrained", "colab", "paper"])
def test_jobs_ask_for_what_their_pages_cost(profile, monkeypatch):
    monkeypatch.chdir(ROOT)
    asks.cache_clear()
    short, long = asks(profile, "03_background"), asks(profile, "10_your_own_models")
    assert 15 < short[0] < long[0] < 48 * 60
    # No network is so large that its page needs what a whole node has.
    assert all(1000 < megabytes <= 20_000 for _, megabytes in (short, long))
    if profile == "pretrained":
        assert short[1] < long[1]


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
        assert re.search(rf"--{option}[ ,]", options_of_snakemake)
