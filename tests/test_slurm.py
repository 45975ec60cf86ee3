"""Sweeps on a real Slurm, which the tests start: root, and Debian's packages for it, are needed.

Elsewhere they skip, unless SEELIKE_REQUIRE_SLURM is set. Every wait has a limit: what waits for ever is a failure.
"""

import os
import re
import shutil
import signal
import subprocess

import on_slurm
import pytest
import real_slurm
from small_project import CLAIM, RUN, make_project, start_make

PLACE = "build/sweep/mine/03_background/one"
FILES = {seed: f"{PLACE}/seed_{seed}.ipynb" for seed in range(6)}
# Each waits until the test lets it go on; FIRST is whether it has been here before.
BEGIN = """\
import os, pathlib, time
here = pathlib.Path(started).parent
first = not (here / f"been_{seed}").exists()
(here / f"been_{seed}").touch()
def wait():
    while not (here / f"go_{seed}").exists():
        time.sleep(0.2)
"""
# Long for a machine with two busy cores.
LIMIT = 240


@pytest.fixture(scope="module")
def slurms(tmp_path_factory):
    """Start a Slurm of each kind when a test first wants it, and end all."""
    if problem := real_slurm.missing():
        if os.environ.get("SEELIKE_REQUIRE_SLURM"):
            pytest.fail(problem)
        pytest.skip(problem)
    running = {}

    def get(accounting):
        if accounting not in running:
            # Where accounts are kept squeue forgets at once, so that these are what is asked.
            slurm = real_slurm.Slurm(
                tmp_path_factory.mktemp("slurm"), accounting, remembered=2 if accounting else 300
            )
            running[accounting] = slurm.__enter__()
        return running[accounting]

    yield get
    for slurm in running.values():
        slurm.__exit__()


class Driver:
    """A `make sweep` at work, and what it has printed."""

    def __init__(self, project, slurm, **environment):
        self.log = project.parent / f"driver_{len(list(project.parent.glob('driver_*')))}.log"
        with self.log.open("w") as log:
            self.process = start_make(
                project,
                "sweep",
                "SWEEP=mine.yaml",
                "CLUSTER=slurm",
                stdout=log,
                **slurm.environment,
                **environment,
            )

    @property
    def said(self):
        """All that it has printed."""
        return self.log.read_text()

    def until(self, text):
        """Wait until it has printed what a pattern finds."""

        def found():
            assert self.process.poll() is None or re.search(text, self.said), self.said
            return re.search(text, self.said)

        try:
            return real_slurm.until(found, LIMIT)
        except TimeoutError:
            pytest.fail(f"never printed {text!r}:\n{self.said}")

    def end(self, how=None):
        """Wait for its end, perhaps after a signal to it and to make; give its exit status."""
        if how:
            os.killpg(self.process.pid, how)
        try:
            return self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            pytest.fail(f"did not end:\n{self.said}")


@pytest.fixture
def project(tmp_path):
    """Lay out a sweep of some seeds; how each notebook behaves is some code of its own."""

    def lay_out(cell, seeds, asks="mem_mb: 1500 * attempt, runtime: 20 * attempt"):
        here = tmp_path / "project"
        begin = f"started = {str(here / 'started.txt')!r}\n{BEGIN}"
        # Only the last cell imports the library, which takes long.
        make_project(here, cells=(begin + cell, RUN, CLAIM))
        (here / "mine.yaml").write_text(
            f"profile: colab\nnotebooks: [03_background]\nmodels: {{one: [tiny/vit_7x7]}}\nseeds: {seeds}\n"
        )
        profile = here / "profiles" / "slurm" / "config.yaml"
        text = re.sub(r"(seconds-before-status-checks): \d+", r"\1: 1", profile.read_text())
        profile.write_text(
            f"{text}\nset-resources:\n  sweep_notebook: {{{asks}}}\nset-threads:\n  sweep_notebook: 2\n"
        )
        return here

    return lay_out


def starts(project):
    """The seeds of all notebooks that began."""
    return sorted(int(line.split()[0]) for line in (project / "started.txt").read_text().splitlines())


FAULTS = """
if seed == 0 and first:
    # What the system does when memory runs out.
    os.kill(os.getpid(), 9)
if seed == 1 and first or seed == 2:
    wait()
if seed == 3:
    open("/dev/full", "w").write("x" * 100_000)
"""


@pytest.mark.notebook
@pytest.mark.parametrize("accounting", [False, True], ids=["without accounting", "with accounting"])
def test_each_fault_of_a_job_is_named_and_nothing_is_lost(project, slurms, accounting):
    slurm = slurms(accounting)
    here = project(FAULTS, [0, 1, 2, 3])
    driver = Driver(here, slurm)
    numbers = {
        seed: driver.until(rf"started {path} \(job (\d+_\d+) on")[1] for seed, path in list(FILES.items())[:4]
    }
    real_slurm.until(lambda: (here / "been_1").exists() and (here / "been_2").exists(), LIMIT)
    # As if its time were over: the shortest time that can be asked for is a minute.
    slurm.run("scontrol", "update", f"JobId={numbers[1]}", "EndTime=now")
    slurm.run("scancel", numbers[2])
    assert driver.end() != 0
    said = driver.said
    for line in (
        rf"FAILED {FILES[0]} \(job {numbers[0]}\): killed for memory: it asked for 1500 MB; \d to go\n"
        r"  tried again, with 3000 MB\n  to raise: mem_mb of sweep_notebook in set-resources of profiles",
        rf"FAILED {FILES[1]} \(job {numbers[1]}\): killed for time: it asked for 20 minutes; \d to go\n"
        r"  tried again, with 40 minutes\n  to raise: runtime of sweep_notebook in set-resources of profiles",
        rf"FAILED {FILES[2]} \(job {numbers[2]}\): cancelled, by somebody or by the cluster; \d to go\n",
        rf"FAILED {FILES[3]} \(job {numbers[3]}\): a disk is full; \d to go\n",
        rf"done {FILES[0]} \(job \d+, \d+\.\d min\); \d to go",
        rf"done {FILES[1]} \(job \d+, \d+\.\d min\); \d to go",
        r"; 0 to go",
        r"OSError: \[Errno 28\] No space left on device",
    ):
        assert re.search(line, said), f"{line} is not in\n{said}"
    # Each failure has its log, and nobody lists what a job reads.
    logs = [here / path for path in re.findall(r"  log: (\S+)", said)]
    assert len(logs) == 4
    assert all(log.exists() for log in logs)
    assert "run_notebook.py," not in said
    assert "sacct" not in said
    # What failed has no result, and each other one is whole.
    assert sorted(path.name for path in (here / PLACE).iterdir()) == ["seed_0.ipynb", "seed_1.ipynb"]
    assert starts(here) == [0, 0, 1, 1, 2, 3]


@pytest.mark.notebook
def test_what_ran_while_there_was_no_driver_is_taken_up(project, slurms):
    slurm = slurms(False)
    here = project("if seed == 1:\n    wait()\n", [0, 1])
    driver = Driver(here, slurm)
    number = driver.until(rf"started {FILES[1]} \(job (\S+) on")[1]
    driver.until(rf"started {FILES[0]}")
    # Ctrl-C: it ends at once, and says how to end the jobs, too.
    assert driver.end(signal.SIGINT) != 0
    name = re.search(r"Jobs in Slurm go on.*scancel --name=(\S+)", driver.said)[1]
    assert slurm.run("squeue", "--noheader", f"--name={name}", "--states=running").strip()
    real_slurm.until((here / FILES[0]).exists, LIMIT)

    driver = Driver(here, slurm)
    driver.until(rf"was done meanwhile: {FILES[0]} \(job \S+\); 1 to go")
    driver.until(rf"takes up {FILES[1]} \(job {number}\)")
    # Neither make nor snakemake has time to do anything.
    driver.end(signal.SIGKILL)
    (here / "go_1").touch()
    real_slurm.until((here / FILES[1]).exists, LIMIT)

    driver = Driver(here, slurm)
    assert driver.end() == 0, driver.said
    assert f"was done meanwhile: {FILES[1]} (job {number}); 0 to go" in driver.said
    assert (here / "build" / "sweep" / "mine" / "comparison.html").exists()
    assert starts(here) == [0, 1]


@pytest.mark.notebook
def test_a_job_whose_node_dies_runs_again(project, slurms):
    slurm = slurms(False)
    here = project("if first:\n    wait()\n", [0])
    driver = Driver(here, slurm)
    number, node = driver.until(rf"started {FILES[0]} \(job (\d+) on (\w+)\)").groups()
    real_slurm.until((here / "been_0").exists, LIMIT)
    slurm.kill_node(node, number)
    driver.until(rf"queued again by Slurm: {FILES[0]} \(job \d+\). Its node failed")
    # Slurm would wait two minutes.
    slurm.run("scontrol", "update", f"JobId={number}", "StartTime=now")
    assert driver.end() == 0, driver.said
    (other,) = set(real_slurm.NODES) - {node}
    assert f"started {FILES[0]} (job {number} on {other})" in driver.said
    assert starts(here) == [0, 0]


# Between a job's submission and what is said of it. It must not stop with its driver, and neither does its parent.
STOPPING = """\
#!/usr/bin/env bash
{sbatch} "$@" > {folder}/answer || exit
until [ -e {folder}/group ]; do sleep 0.1; done
kill -TERM -- -"$(cat {folder}/group)"
sleep 1
cat {folder}/answer
"""


@pytest.mark.notebook
def test_a_driver_that_is_stopped_while_it_submits_knows_its_job_and_does_not_take_up_an_older_one(
    project, slurms, tmp_path
):
    slurm = slurms(False)
    here = project("", [0])
    slurm.run("scontrol", "update", "PartitionName=all", "State=DOWN")
    stopping = tmp_path / "bin" / "sbatch"
    stopping.parent.mkdir()
    stopping.write_text(STOPPING.format(sbatch=shutil.which("sbatch"), folder=stopping.parent))
    stopping.chmod(0o755)
    driver = Driver(here, slurm, PATH=f"{stopping.parent}:{os.environ['PATH']}")
    (stopping.parent / "part").write_text(str(driver.process.pid))
    (stopping.parent / "part").rename(stopping.parent / "group")
    assert driver.end() != 0
    number = (stopping.parent / "answer").read_text().strip().split(";")[0]
    (here / "lib" / "seelike" / "cka.py").write_text("second")
    driver = Driver(here, slurm)
    driver.until(rf"cancelled {FILES[0]} \(job {number}\): what it is made from has changed")
    name = on_slurm.name_of(here)
    driver.until(r"submitted 1 of sweep_notebook")
    slurm.run("scancel", f"--name={name}")
    slurm.run("scontrol", "update", "PartitionName=all", "State=UP")
    assert driver.end() != 0
    assert not (here / "started.txt").exists()


@pytest.mark.notebook
def test_what_no_node_has_is_refused_in_a_few_words(project, slurms):
    here = project("", [0, 1], asks="mem_mb: 9_000_000, runtime: 20")
    driver = Driver(here, slurms(False))
    assert driver.end() != 0
    failed = re.findall(r"FAILED (\S+) \(not submitted\): (.*)", driver.said)
    assert [path for path, _ in failed] == [FILES[0], FILES[1]]
    assert all(
        "Requested node configuration is not available" in reason or "emory" in reason for _, reason in failed
    )
    assert "--wrap" not in driver.said


@pytest.mark.parametrize(
    ("state", "log", "short"),
    [
        ("OUT_OF_MEMORY", "", "mem_mb"),
        ("FAILED", "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch.", "mem_mb"),
        ("FAILED", "FAILED: notebooks/a.ipynb: Kernel died Perhaps memory ran out", "mem_mb"),
        ("TIMEOUT", "", "runtime"),
        ("NODE_FAIL", "", "node"),
        ("FAILED", "ValueError: too few images", None),
        ("CANCELLED", "", None),
        ("UNKNOWN", "", None),
    ],
)
def test_only_what_more_of_something_may_mend_is_tried_again(state, log, short):
    assert on_slurm.why(on_slurm.State(state), log, {"mem_mb": 1, "runtime": 1})[1] == short
