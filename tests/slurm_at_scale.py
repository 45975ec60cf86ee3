"""Measure what a sweep of many jobs costs the process that drives it: seconds, memory, open files. It takes root.

    .venv/bin/python tests/slurm_at_scale.py 45 450 4500

The Slurm, the Snakefile and the executor are real. The jobs do nothing but put a result into its place.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import real_slurm
from small_project import CLAIM, ROOT, RUN, make_project

NOTEBOOKS, SEEDS = 18, 5
STARTED = time.monotonic()


def lay_out(folder: Path, jobs: int) -> Path:
    """A sweep of 18 notebooks, 5 seeds, and as many networks as give that many jobs; fewer notebooks for few."""
    notebooks = min(NOTEBOOKS, max(1, jobs // (5 * SEEDS)))
    names = [f"page_{number:02}" for number in range(notebooks)]
    networks = {f"net_{number:02}": ["tiny/vit_7x7"] for number in range(jobs // SEEDS // notebooks)}
    make_project(folder, notebooks=names, cells=(RUN, CLAIM))
    asked = {"profile": "tiny", "notebooks": names, "models": networks, "seeds": list(range(SEEDS))}
    (folder / "mine.yaml").write_text(json.dumps(asked))
    return folder


def drive() -> None:
    """Be the driver: snakemake with the executor, whose jobs do nothing, and print what that cost."""
    sys.path.insert(0, "book/tools")
    import on_slurm

    class Idle(on_slurm.Executor):
        def format_job_exec(self, job):
            super().format_job_exec(job)
            return f"mkdir -p {Path(job.output[0]).parent} && echo > {job.output[0]}"

    opened = [0]

    def look() -> None:
        while True:
            opened[0] = max(opened[0], len(os.listdir("/proc/self/fd")))
            time.sleep(0.2)

    threading.Thread(target=look, daemon=True).start()
    on_slurm.Executor = Idle
    try:
        on_slurm.main()
    except SystemExit as end:
        status = end.code
    used = resource.getrusage(resource.RUSAGE_SELF)
    cost = {
        "status": status,
        "seconds": round(time.monotonic() - STARTED),
        "of the processor": round(used.ru_utime + used.ru_stime),
        "MB": round(used.ru_maxrss / 1000),
        "open files": opened[0],
    }
    print(f"COST {json.dumps(cost)}")


def measure(jobs: int, folder: Path, environment: dict[str, str], limit: int) -> str:
    """Run a sweep of that many jobs."""
    project = lay_out(folder / f"sweep_{jobs}", jobs)
    options = (
        "--nolock --rerun-incomplete --scheduler greedy --workflow-profile profiles/slurm --config cluster=slurm "
        f"profile=tiny sweep=mine.yaml --jobs {limit} --until sweep_notebook -- sweep"
    )
    command = [sys.executable, __file__, "--drive", *options.split()]
    around = {**os.environ, **environment}
    done = subprocess.run(command, cwd=project, env=around, capture_output=True, text=True, check=False)
    (folder / f"driver_{jobs}.log").write_text(done.stdout + done.stderr)
    made = sum(1 for _ in project.glob("build/sweep/mine/*/*/*.ipynb"))
    costs = [line for line in done.stdout.splitlines() if line.startswith("COST")]
    return f"{jobs} jobs, at most {limit} in the queue: {made} results, {costs or done.stderr[-2000:]}"


def main() -> None:
    """Measure each number of jobs that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", type=int, nargs="+")
    parser.add_argument("--limit", type=int, default=5000, help="jobs in the queue at the same time")
    asked = parser.parse_args()
    os.environ["PYTHONPATH"] = f"{ROOT / 'lib'}"
    with tempfile.TemporaryDirectory() as folder, real_slurm.Slurm(Path(folder) / "slurm", False) as slurm:
        for jobs in asked.jobs:
            print(measure(jobs, Path(folder), slurm.environment, asked.limit), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--drive":
        del sys.argv[1]
        drive()
    else:
        main()
