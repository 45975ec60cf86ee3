"""Snakemake, with its plugin for Slurm as a sweep needs it.

The plugin submits jobs. Here is how they are followed: a job is known by squeue, by sacct where the cluster keeps
accounts, or by its result. All drivers of a folder give their jobs one name, so that the next one takes up what an
earlier one has left in the queue. `make ... CLUSTER=slurm` starts this in place of snakemake.
"""

import asyncio
import contextlib
import hashlib
import itertools
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import snakemake_executor_plugin_slurm as plugin
from snakemake_executor_plugin_slurm import SubmittedJobInfo

# What is asked for where a job asks for too little.
SET_IN = "set-resources of profiles/slurm/config.yaml"
GOING = {
    *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"),
    *("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESIZING", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
}
# Tasks of one array. Each has a command of about 3 KB in the script, of which Slurm takes 4 MB.
LARGEST_ARRAY = 500
# Looks for a job that neither squeue nor sacct knows. Accounts may come late.
LOOKS = 3
NOTES = Path(".snakemake/on_slurm")
_LINES_SHOWN = 12
_MEMORY = re.compile(r"oom[-_ ]?kill|out of memory|exceeded .*memory limit|Kernel died", re.IGNORECASE)


class State(NamedTuple):
    """What Slurm says of a job: PENDING, RUNNING, and where."""

    name: str
    node: str = ""


def name_of(folder: Path) -> str:
    """The name in Slurm of all jobs of a folder.

    Example:
        >>> name_of(Path("/home/me/seelike"))
        'seelike-e9e332cb'
    """
    return f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"


def parse(lines: str) -> dict[str, State]:
    """Read what squeue or sacct print: a job's number, state and nodes, with bars between them.

    Example:
        >>> parse("7_1|RUNNING|node3\\n8|CANCELLED by 0|None assigned\\n")["8"].name
        'CANCELLED'
    """
    rows = (line.split("|") for line in lines.splitlines() if line.count("|") >= 2)
    return {number: State(state.split()[0], node) for number, state, node, *_ in rows if state.strip()}


def why(state: State, log: str, asked: Any) -> tuple[str, str | None]:
    """Say why a job ended without a result, and which resource was short.

    Args:
        state: How it ended.
        log: What it printed.
        asked: Its resources, with `mem_mb` and `runtime`.

    Returns:
        A sentence; and mem_mb, runtime, "node" where another try may do, or None.

    Example:
        >>> why(State("TIMEOUT"), "", {"runtime": 30})
        ('killed for time: it asked for 30 minutes', 'runtime')
        >>> why(State("FAILED"), "OSError: [Errno 28] No space left on device", {})[0]
        'a disk is full'
    """
    if state.name in ("TIMEOUT", "DEADLINE"):
        return f"killed for time: it asked for {asked.get('runtime')} minutes", "runtime"
    if state.name == "OUT_OF_MEMORY" or _MEMORY.search(log):
        return f"killed for memory: it asked for {asked.get('mem_mb')} MB", "mem_mb"
    if state.name == "PREEMPTED":
        return "others went before", "node"
    if state.name in ("NODE_FAIL", "BOOT_FAIL"):
        return f"its node {state.node} failed".replace("  ", " "), "node"
    if state.name == "CANCELLED":
        return "cancelled, by somebody or by the cluster", None
    if "No space left on device" in log:
        return "a disk is full", None
    if state.name == "UNKNOWN":
        return "Slurm no longer knows it, and there is no result", None
    if not log:
        return "no log: perhaps its node cannot write to this folder, or the disk is full", None
    return "its notebook failed" if "FAILED:" in log else "it failed", None


def told(log: str) -> list[str]:
    """What run_notebook.py said of a failure, else the first lines with an error.

    Example:
        >>> told("loading\\nFAILED: notebooks/a.ipynb: memory\\n  ValueError: b\\n[Sun Mar  1] Error in rule")
        ['FAILED: notebooks/a.ipynb: memory', '  ValueError: b']
        >>> told("loading\\nsrun: error: no such node\\n")
        ['srun: error: no such node']
    """
    lines = log.splitlines()
    begin = next((place for place, line in enumerate(lines) if line.startswith("FAILED:")), None)
    if begin is None:
        return [line for line in lines if "error:" in line.lower()][:3]
    # Snakemake goes on with a time in brackets.
    return list(itertools.takewhile(lambda line: not line.startswith("["), lines[begin : begin + _LINES_SHOWN]))


def note_of(output: str) -> Path:
    """Where the number of a job is noted, from before it runs until a driver knows its end.

    Snakemake's own marks do not do: the snakemake on the node writes its own over them, and removes them.
    """
    return NOTES / hashlib.sha256(str(output).encode()).hexdigest()[:16]


def say(text: str) -> None:
    """Print a line with the time."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def ask(command: Sequence[str]) -> str | None:
    """Ask Slurm. None where it does not answer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


class Executor(plugin.Executor):
    """The plugin's, which submits, with another way to follow jobs and to tell of them."""

    def __init__(self, workflow: Any, logger: Any) -> None:
        """Begin, as snakemake does, before any job is known."""
        self._open: set[str] | None = None
        self._begun: dict[str, float] = {}
        self._unseen: Counter[str] = Counter()
        self._answers, self._quiet = True, 0
        self._before: dict[str, State] = {}
        self._interval = workflow.executor_settings.init_seconds_before_status_checks
        # This starts the thread that looks after jobs.
        super().__init__(workflow, logger)

    def __post_init__(self, test_mode: bool = False) -> None:
        """Give all jobs of this folder one name."""
        super().__post_init__(test_mode)
        self.run_uuid = name_of(Path(self.workflow.workdir_init))

    # Giving jobs to Slurm.

    def run_jobs(self, jobs: Sequence[Any]) -> None:
        """Take up what an earlier driver has left, and submit all else, in arrays where they ask for the same."""
        if self._open is None:
            self._open = {job.output[0] for job in self.workflow.dag.needrun_jobs() if not job.is_local}
            self._before = self._states([]) or {}
            # As Ctrl-C. Snakemake would wait for all jobs.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        new = [job for job in jobs if not self._take_up(job)]
        in_order = sorted(new, key=lambda job: (_asked(job), job.output[0]))
        for _, group in itertools.groupby(in_order, key=_asked):
            for chunk in _chunks(list(group), min(LARGEST_ARRAY, self.max_array_size)):
                self._submit(chunk)

    def additional_general_args(self) -> str:
        """Run a job in its allocation as it is: a step of its own would start snakemake a third time."""
        return "--executor local"

    def _submit(self, jobs: Sequence[Any]) -> None:
        """Submit jobs as one, or as one array.

        Each task has its own command. Those of the plugin's own arrays all begin with the first job's, so that one
        that fails removes the first one's result.
        """
        job = jobs[0]
        logs = self.slurm_logdir / f"rule_{job.name}"
        logs.mkdir(parents=True, exist_ok=True)
        about = {
            "run_uuid": self.run_uuid,
            "slurm_logfile": logs / ("%j.log" if len(jobs) == 1 else "%A_%a.log"),
            "comment_str": job.rule.name,
            "account": next(self.get_account_arg(job)),
            "partition": self.get_partition_arg(job),
            "workdir": self.workflow.workdir_init,
        }
        settings = self.workflow.executor_settings
        call = plugin.get_submit_command(job, about, settings=settings, failed_nodes=self._failed_nodes)
        call += plugin.set_gres_string(job) + (f" --array=1-{len(jobs)}" if len(jobs) > 1 else "")
        cases = (f"{place}) {self.format_job_exec(each)} ;;" for place, each in enumerate(jobs, 1))
        script = "\n".join(["#!/bin/sh", "case ${SLURM_ARRAY_TASK_ID:-1} in", *cases, "esac"])
        # The script is its input.
        with _no_stop():
            done = subprocess.run(
                call, shell=True, input=script, capture_output=True, text=True, check=False, start_new_session=True
            )
            if done.returncode:
                for each in jobs:
                    self._fail(SubmittedJobInfo(each), done.stderr.strip(), None, [])
                return
            number = plugin.validate_or_get_slurm_job_id(done.stdout.strip().split(";")[0], done.stdout)
            for place, each in enumerate(jobs, 1):
                self._follow(
                    SubmittedJobInfo(each, external_jobid=number if len(jobs) == 1 else f"{number}_{place}")
                )
        say(f"submitted {len(jobs)} of {job.rule.name} (job {number}); {len(self._open)} to go")

    def _follow(self, info: SubmittedJobInfo, made: str | None = None) -> None:
        """Look after a job from now on, and note what it is made from, for a later driver.

        Args:
            info: The job and its number.
            made: When the result was made that was there before it.
        """
        job, number = info.job, info.external_jobid
        log = self.slurm_logdir / f"rule_{job.name}" / f"{number}.log"
        info.aux = {"log": log, "made": made or _made(job)}
        NOTES.mkdir(parents=True, exist_ok=True)
        note = note_of(job.output[0])
        # Whole or not at all: a driver can be killed at any time.
        part = note.with_suffix(".part")
        part.write_text(f"{number} {_contents(job)} {info.aux['made']}")
        os.replace(part, note)
        self.report_job_submission(info)

    def _take_up(self, job: Any) -> bool:
        """Follow a job that an earlier driver submitted, if it would be the same today."""
        note = note_of(job.output[0])
        if not note.exists():
            return False
        number, contents, made = note.read_text().split(" ")
        goes_on = number in self._before and self._before[number].name in GOING
        if contents != _contents(job):
            if goes_on:
                say(f"cancelled {job.output[0]} (job {number}): what it is made from has changed")
                ask(["scancel", number])
        elif goes_on:
            say(f"takes up {job.output[0]} (job {number})")
            self._follow(SubmittedJobInfo(job, external_jobid=number), made)
            return True
        elif _made(job) != made:
            self._succeed(SubmittedJobInfo(job, external_jobid=number), "was done meanwhile:")
            return True
        return False

    def get_account_arg(self, job: Any) -> Iterator[str]:
        """Leave the account to Slurm, which knows each user's, unless one is asked for."""
        if job.resources.get("slurm_account"):
            yield from super().get_account_arg(job)
        else:
            yield ""

    def get_partition_arg(self, job: Any) -> str:
        """Leave the partition to Slurm, which has a default, unless one is asked for."""
        asked = job.resources.get("slurm_partition") or self._partitions
        return super().get_partition_arg(job) if asked else ""

    # Following them.

    def _states(self, numbers: Iterable[str]) -> dict[str, State] | None:
        """Ask for the jobs of this folder, and for numbers that squeue has forgotten. None without an answer."""
        queue = ["squeue", "--array", "--states=all", "--noheader", "--format=%i|%T|%N", f"--name={self.run_uuid}"]
        answer = ask(queue)
        if answer is None:
            return None
        states = parse(answer)
        if forgotten := [number for number in numbers if number not in states]:
            accounts = ["sacct", "-X", "--parsable2", "--noheader", "--format=JobID,State,NodeList"]
            # Without accounting it fails.
            states |= parse(ask([*accounts, f"--jobs={','.join(forgotten)}"]) or "")
        return states

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncIterator[SubmittedJobInfo]:
        """Tell of jobs that began or ended, and give those that go on."""
        self.next_seconds_between_status_checks = self._interval
        if not active_jobs:
            return
        states = await asyncio.to_thread(self._states, [info.external_jobid for info in active_jobs])
        if (states is not None) != self._answers:
            self._answers = states is not None
            say("Slurm answers again" if self._answers else "Slurm does not answer. Asking on; its jobs go on")
        ended = False
        for info in active_jobs:
            number = info.external_jobid
            state = states and states.get(number)
            if states is not None and state is None:
                self._unseen[number] += 1
                if self._unseen[number] >= LOOKS:
                    state = State("UNKNOWN")
            if state is None or state.name in GOING:
                if state:
                    self._tell_beginning(info, state)
                yield info
                continue
            ended = True
            self._end(info, state)
        self._quiet = 0 if ended else self._quiet + 1
        # Less often while nothing happens.
        if self._quiet > LOOKS:
            self.next_seconds_between_status_checks = 3 * self._interval

    def _tell_beginning(self, info: SubmittedJobInfo, state: State) -> None:
        number, output = info.external_jobid, info.job.output[0]
        if state.name == "RUNNING" and number not in self._begun:
            self._begun[number] = time.monotonic()
            say(f"started {output} (job {number} on {state.node})")
        elif state.name == "PENDING" and self._begun.pop(number, None):
            say(f"queued again by Slurm: {output} (job {number}). Its node failed, or others went before")

    def _end(self, info: SubmittedJobInfo, state: State) -> None:
        if state.name == "COMPLETED" or (state.name == "UNKNOWN" and _made(info.job) != info.aux["made"]):
            self._succeed(info, "done")
            info.aux["log"].unlink(missing_ok=True)
            return
        log = info.aux["log"]
        printed = log.read_text(errors="replace") if log.exists() else ""
        reason, short = why(state, printed, info.job.resources)
        if state.name == "NODE_FAIL" and state.node:
            self._failed_nodes.add(state.node)
        self._fail(info, reason, short, told(printed) if short is None and state.name == "FAILED" else [])

    def _succeed(self, info: SubmittedJobInfo, how: str) -> None:
        begun = self._begun.pop(info.external_jobid, None)
        took = f", {(time.monotonic() - begun) / 60:.1f} min" if begun else ""
        self._open.discard(info.job.output[0])
        note_of(info.job.output[0]).unlink(missing_ok=True)
        say(f"{how} {info.job.output[0]} (job {info.external_jobid}{took}); {len(self._open)} to go")
        self.report_job_success(info)

    def _fail(self, info: SubmittedJobInfo, reason: str, short: str | None, lines: Sequence[str]) -> None:
        job = info.job
        again = None
        if short and job.attempt <= job.restart_times:
            again = "as it is" if short == "node" else _more(job, short)
        if again is None:
            # No further try.
            job.attempt = job.restart_times + 1
            self._open.discard(job.output[0])
            note_of(job.output[0]).unlink(missing_ok=True)
        which = f"job {info.external_jobid}" if info.external_jobid else "not submitted"
        text = [f"FAILED {job.output[0]} ({which}): {reason}; {len(self._open)} to go"]
        if again:
            text.append(f"  tried again, {again}")
        if short in ("mem_mb", "runtime"):
            text.append(f"  to raise: {short} of {job.rule.name} in {SET_IN}")
        text += [f"  {line}" for line in lines]
        if info.aux and info.aux["log"].exists():
            text.append(f"  log: {info.aux['log'].relative_to(Path.cwd())}")
        say("\n".join(text))
        self.workflow.scheduler.error_callback(job)

    # Being stopped.

    def cancel(self) -> None:
        """Leave the jobs to Slurm: what they need of this process is in files, which stay."""
        say(
            "Stopped. Jobs in Slurm go on, and the same command takes them up. "
            f"To end them: scancel --name={self.run_uuid}"
        )


def _asked(job: Any) -> tuple[str, ...]:
    """What jobs of one array have in common."""
    return (job.rule.name, str(job.threads), *sorted(f"{name}={value}" for name, value in job.resources.items()))


@contextlib.contextmanager
def _no_stop() -> Iterator[None]:
    """Let Ctrl-C and its like wait: a job that is in the queue and not yet noted would be submitted twice."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def _chunks(jobs: list[Any], largest: int) -> Iterator[list[Any]]:
    for begin in range(0, len(jobs), largest):
        yield jobs[begin : begin + largest]


def _contents(job: Any) -> str:
    """A hash of what a job is made from: its command, and its files by time and size."""
    stats = [(str(path), Path(path).stat()) for path in job.input]
    files = [(path, stat.st_mtime_ns, stat.st_size) for path, stat in stats]
    return hashlib.sha256(repr((job.shellcmd, files)).encode()).hexdigest()[:16]


def _made(job: Any) -> str:
    """When the result that is there was made. It is put into its place in one move."""
    path = Path(job.output[0])
    return str(path.stat().st_mtime_ns) if path.exists() else "never"


def _more(job: Any, short: str) -> str | None:
    """What the next try asks for; None where that is no more."""
    asked = job.resources.get(short)
    job.attempt += 1
    more = job.resources.get(short)
    job.attempt -= 1
    return f"with {more} {'MB' if short == 'mem_mb' else 'minutes'}" if more > asked else None


def main() -> int:
    """Run snakemake with this executor, and without its talk: errors are left."""
    # Snakemake takes the class from there.
    plugin.Executor = Executor
    from snakemake import logging as talk
    from snakemake.cli import main as snakemake
    from snakemake.persistence.file import FilePersistence

    passes = talk.DefaultFilter.filter
    talk.DefaultFilter.filter = lambda self, record: record.levelno >= logging.ERROR and passes(self, record)
    # Where there is a note, a result is not known to be of today's files until `_take_up` has looked.
    marked = FilePersistence._filter_incomplete_keys
    FilePersistence._filter_incomplete_keys = lambda self, keys: (
        marked(self, keys) | {key for key in keys if note_of(key).exists()}
    )
    return snakemake()


if __name__ == "__main__":
    sys.exit(main())
