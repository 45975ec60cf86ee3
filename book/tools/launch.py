"""Start snakemake, one at a time in a folder: a second one waits until the first has ended.

    python book/tools/launch.py SNAKEMAKE'S OWN OPTIONS

Snakemake's own lock is a file that outlives a snakemake that was killed, and then stops the next one. This lock is
the operating system's, and goes with the process.
"""

import fcntl
import os
import platform
import subprocess
import sys
from pathlib import Path

LOCK = Path("build/snakemake.lock")


def holder(noted: str) -> str:
    """Say who holds the lock, from what it noted: its machine and its number there.

    Example:
        >>> holder("elsewhere 12")
        'process 12 on elsewhere'
    """
    machine, _, number = noted.partition(" ")
    if not number.isdecimal():
        return "not known which"
    if machine != platform.node():
        return f"process {number} on {machine}"
    look = ["ps", "-o", "state=", "-p", number]
    state = subprocess.run(look, capture_output=True, text=True, check=False).stdout.strip()
    if state.startswith("T"):
        return f"process {number}, which is stopped: kill -CONT {number} lets it go on, kill -9 {number} ends it"
    return f"process {number}"


def main() -> None:
    """Take the lock, then become snakemake."""
    LOCK.parent.mkdir(exist_ok=True)
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(
            f"Another make is at work in this folder ({holder(os.pread(lock, 300, 0).decode())}). "
            "Waiting until it has ended; Ctrl-C gives up.",
            file=sys.stderr,
            flush=True,
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{platform.node()} {os.getpid()}".encode(), 0)
    # Snakemake keeps the lock. What it starts does not get it: a notebook that outlives it has a lock of its own.
    os.set_inheritable(lock, True)
    snakemake = ["book/tools/on_slurm.py"] if "profiles/slurm" in sys.argv else ["-m", "snakemake"]
    os.execv(sys.executable, [sys.executable, *snakemake, "--nolock", *sys.argv[1:]])


if __name__ == "__main__":
    main()
