"""Stand-ins for the commands of Slurm that its Snakemake plugin calls: jobs run on this machine, at once.

The first argument is the command's name. The folder STAND_IN_JOBS keeps one JSON for each job.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

STATE = Path(os.environ.get("STAND_IN_JOBS", os.devnull))


def option(arguments, name):
    """The value of an option, written "name value" or "name=value"."""
    for place, argument in enumerate(arguments):
        if argument == name:
            return arguments[place + 1]
        if argument.startswith(f"{name}="):
            return argument.removeprefix(f"{name}=")
    return None


def jobs():
    """All jobs, by number."""
    return {int(path.stem): json.loads(path.read_text()) for path in STATE.glob("*.json")}


def write(number, job):
    """Keep a job, in one move: another command may be reading."""
    part = STATE / f"{number}.{os.getpid()}.part"
    part.write_text(json.dumps(job))
    part.replace(STATE / f"{number}.json")


def sbatch(arguments):
    """Start a job, and print its number."""
    number = max(jobs(), default=0) + 1
    write(number, {"name": option(arguments, "--job-name"), "arguments": arguments, "state": "RUNNING"})
    with open(option(arguments, "--output").replace("%j", str(number)), "w") as log:
        # What Slurm does on another machine: it outlives whoever submitted it.
        subprocess.Popen(
            [sys.executable, __file__, "node", str(number)], stdout=log, stderr=log, start_new_session=True
        )
    print(number)


def node(arguments):
    """Run a job, and keep how it ended."""
    number = int(arguments[0])
    job = jobs()[number]
    command, folder = option(job["arguments"], "--wrap"), option(job["arguments"], "-D")
    environment = {**os.environ, "SLURM_JOB_ID": str(number)}
    process = subprocess.Popen(["sh", "-c", command], cwd=folder, env=environment)
    write(number, {**job, "pid": os.getpid()})
    state = "COMPLETED" if process.wait() == 0 else "FAILED"
    write(number, {**job, "state": state})


def srun(arguments):
    """Run a command within a job."""
    first = next(place for place, argument in enumerate(arguments) if not argument.startswith("-"))
    os.execvp(arguments[first], arguments[first:])


def sacct(arguments):
    """Print the state of each job of a name; nothing of accounts or reasons."""
    name = option(arguments, "--name")
    for number, job in jobs().items():
        if job["name"] == name:
            print(f"{number}|{job['state']}")


def scancel(arguments):
    """End jobs."""
    for number in map(int, arguments):
        os.killpg(jobs()[number]["pid"], signal.SIGKILL)
        write(number, {**jobs()[number], "state": "CANCELLED"})


def sinfo(arguments):
    """Name the partitions; the star is at the default one."""
    print("PARTITION\nlong\nshort*")


def scontrol(arguments):
    """Print the part of the configuration that the plugin reads."""
    print("MaxArraySize            = 1001\nMinJobAge               = 300 sec")


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2:])
