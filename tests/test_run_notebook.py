"""How notebooks run beside each other: each on a GPU of its own, and one process for one result."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import gpus
import nbformat
import pytest
import run_notebook
from small_project import ROOT, make_project, start_make, write_notebook

TOOLS = ROOT / "book" / "tools"
RUNNER = TOOLS / "run_notebook.py"
# Waits until the test lets it end: no time decides.
WAIT = "import pathlib, time\nwhile not pathlib.Path({go!r}).exists():\n    time.sleep(0.05)"
GPU = "import os\nprint('GPU', os.environ.get('CUDA_VISIBLE_DEVICES'))"


def start(folder, notebook, output, *parameters, **environment):
    """Start the runner as the Snakefile does, in a process group of its own."""
    options = [part for pair in parameters for part in ("-p", *pair)]
    return subprocess.Popen(
        [sys.executable, RUNNER, notebook, output, *options],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def printed(path):
    """All that an executed notebook printed."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def until(condition):
    """Wait for something to become true."""
    while not condition():
        time.sleep(0.05)


def note(folder):
    """Code that notes that a notebook was started."""
    return f"with open({str(folder / 'started.txt')!r}, 'a') as log:\n    print(seed, file=log)"


def starts(folder):
    """How often the notebook was started."""
    path = folder / "started.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


# GPUs


@pytest.mark.parametrize(
    ("listed", "expected"), [("0,1", ["0", "1"]), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"]), ("", [])]
)
def test_gpus_are_those_that_cuda_may_see(monkeypatch, listed, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert gpus.visible() == expected


@pytest.mark.parametrize(("answer", "expected"), [("echo GPU-a\necho GPU-b", ["GPU-a", "GPU-b"]), ("exit 9", [])])
def test_else_those_that_the_driver_lists(monkeypatch, tmp_path, answer, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver = tmp_path / "nvidia-smi"
    driver.write_text(f"#!/bin/sh\n{answer}\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpus.visible() == expected


def test_without_a_driver_there_are_none(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.visible() == []


@pytest.mark.parametrize("listed", ["", "3"])
def test_with_one_gpu_or_none_nothing_is_done(monkeypatch, listed):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    with gpus.pinned({"device": "cuda"}):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == listed


def test_a_notebook_at_tiny_gets_none_for_itself(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with gpus.pinned({"profile": "tiny"}):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


@pytest.mark.parametrize("before", [None, "0,1"])
def test_afterwards_all_gpus_are_seen_again(monkeypatch, tmp_path, before):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gpus, "visible", lambda: ["0", "1"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    with gpus.pinned({"profile": "paper"}):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before


HOLD = """\
import pathlib, sys, time, gpus
with gpus.one_of(["0", "1"], pathlib.Path(sys.argv[1])) as name:
    print(name, flush=True)
    time.sleep(600)
"""


def hold(locks):
    """Start a process that takes a GPU and keeps it."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, locks],
        env={**os.environ, "PYTHONPATH": f"{TOOLS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_each_process_has_a_gpu_and_a_killed_one_gives_it_back(tmp_path):
    first, second = hold(tmp_path), hold(tmp_path)
    third = None
    try:
        held = {process: process.stdout.readline().strip() for process in (first, second)}
        assert sorted(held.values()) == ["0", "1"]
        third = hold(tmp_path)
        assert third.stdout.readline() == "All 2 GPUs are taken by other notebooks. Waiting for one.\n"
        second.send_signal(signal.SIGKILL)
        assert third.stdout.readline().strip() == held[second]
    finally:
        for process in (first, second, third):
            if process:
                process.kill()
                process.communicate()


@pytest.mark.notebook
def test_two_notebooks_at_the_same_time_see_a_gpu_each(tmp_path):
    go = tmp_path / "go"
    notebook = write_notebook(tmp_path / "a.ipynb", GPU, note(tmp_path), WAIT.format(go=str(go)))
    outputs = [tmp_path / "one.ipynb", tmp_path / "two.ipynb"]
    running = [
        start(tmp_path, notebook, output, ("device", "cuda"), CUDA_VISIBLE_DEVICES="0,1") for output in outputs
    ]
    until(lambda: starts(tmp_path) == 2 or any(process.poll() for process in running))
    go.touch()
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert sorted(map(printed, outputs)) == ["GPU 0\n", "GPU 1\n"]


# One process for one result


@pytest.fixture
def slow(tmp_path):
    """A notebook that notes its start, and ends when the file `go` is there."""
    return write_notebook(tmp_path / "a.ipynb", note(tmp_path), WAIT.format(go=str(tmp_path / "go")))


@pytest.mark.notebook
@pytest.mark.parametrize(("seed", "runs", "said"), [("0", 1, "taken over"), ("1", 2, "ran in")])
def test_the_result_of_another_process_is_waited_for_and_taken_if_it_is_the_same(tmp_path, slow, seed, runs, said):
    output = tmp_path / "build" / "out.ipynb"
    first = start(tmp_path, slow, output, ("seed", "0"))
    until(lambda: starts(tmp_path) or first.poll())
    second = start(tmp_path, slow, output, ("seed", seed))
    assert "Another process runs" in second.stdout.readline()
    (tmp_path / "go").touch()
    assert first.wait() == 0
    out, errors = second.communicate()
    assert second.returncode == 0, errors
    assert said in out
    assert starts(tmp_path) == runs
    assert nbformat.read(output, as_version=4).metadata.papermill.parameters == {"seed": int(seed)}
    for process in (first, second):
        process.communicate()


@pytest.mark.notebook
def test_a_killed_process_is_not_waited_for_and_its_kernel_goes(tmp_path, slow):
    output = tmp_path / "build" / "out.ipynb"
    first = start(tmp_path, slow, output)
    until(lambda: starts(tmp_path) or first.poll())
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert not output.exists()
    (tmp_path / "go").touch()
    second = start(tmp_path, slow, output)
    out, errors = second.communicate()
    assert second.returncode == 0, errors
    assert "Another process" not in out


@pytest.mark.notebook
def test_what_is_run_again_is_run(tmp_path, slow):
    (tmp_path / "go").touch()
    for _ in range(2):
        process = start(tmp_path, slow, tmp_path / "out.ipynb")
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert starts(tmp_path) == 2


@pytest.mark.notebook
def test_a_notebook_that_outlives_its_snakemake_is_not_run_a_second_time(tmp_path):
    go = tmp_path / "go"
    project = make_project(tmp_path / "project", cells=(WAIT.format(go=str(go)),))
    (project / "mine.yaml").write_text(
        "profile: tiny\nnotebooks: [03_background]\nmodels: {one: tiny/vit_7x7}\nseeds: [0]\n"
    )
    first = start_make(project, "sweep", "SWEEP=mine.yaml")
    until(lambda: starts(project) or first.poll())
    lock = project / "build" / "snakemake.lock"
    _, process = lock.read_text().split()
    os.kill(int(process), signal.SIGKILL)
    first.wait()
    second = start_make(project, "sweep", "SWEEP=mine.yaml")
    lines = []
    for line in second.stdout:
        lines.append(line)
        if "Another process runs" in line:
            go.touch()
    assert second.wait() == 0, "".join(lines)
    assert any("taken over" in line for line in lines)
    assert starts(project) == 1
    first.communicate()


# Memory

TWO_RUNS = """\
import json, pathlib, nbformat, run_notebook
for name in ("large", "small"):
    run_notebook.run(pathlib.Path(f"{name}.ipynb"), pathlib.Path(f"out/{name}.ipynb"), {"seed": 1})
    print(json.dumps(nbformat.read(f"out/{name}.ipynb", as_version=4).metadata["seelike"]))
"""


@pytest.mark.notebook
def test_the_memory_of_a_kernel_is_noted_and_not_that_of_one_before(tmp_path):
    write_notebook(tmp_path / "large.ipynb", "held = b'x' * 700_000_000")
    write_notebook(tmp_path / "small.ipynb", "1")
    path = f"{TOOLS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-c", TWO_RUNS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    large, small = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert 700 < large["peak_memory_mb"] < 1100
    assert small["peak_memory_mb"] is None
    assert large["threads"] == 1


@pytest.mark.parametrize(("platform", "expected"), [("linux", 2048), ("darwin", 2)])
def test_the_unit_of_memory_is_that_of_the_system(monkeypatch, platform, expected):
    told = SimpleNamespace(RUSAGE_CHILDREN=-1, getrusage=lambda who: SimpleNamespace(ru_maxrss=2 * (who == -1)))
    monkeypatch.setattr(run_notebook, "resource", told)
    monkeypatch.setattr(run_notebook.sys, "platform", platform)
    assert run_notebook._largest_child() == expected
    monkeypatch.setattr(run_notebook, "resource", None)
    assert run_notebook._largest_child() == 0


def test_a_result_counts_only_while_notebook_and_library_are_as_they_were(tmp_path):
    notebook = write_notebook(tmp_path / "a.ipynb")
    output = tmp_path / "out.ipynb"
    executed = nbformat.read(notebook, as_version=4)

    def is_result(start="2100-01-01T00:00:00+00:00", parameters=None, **changes):
        executed.metadata["papermill"] = {
            "input_path": str(notebook),
            "parameters": {"seed": 1},
            "start_time": start,
            "exception": None,
            "duration": 3.0,
            **changes,
        }
        nbformat.write(executed, output)
        return run_notebook.is_result_of(output, notebook, parameters or {"seed": 1})

    assert not run_notebook.is_result_of(output, notebook, {"seed": 1})
    assert is_result()
    assert not is_result(parameters={"seed": 2})
    assert not is_result(start="2000-01-01T00:00:00+00:00")
    assert not is_result(exception=True)
    assert not is_result(duration=None)
    assert not is_result(input_path="other.ipynb")
