"""Start snakemake, one at a time in a folder: a second one waits until the first has ended.

    python book/tools/launch.py SNAKEMAKE'S OWN OPTIONS

Snakemake's own lock is a file that outlives a snakemake that was killed, and then stops the next one. This lock is
the operating system's, and goes with the process.
"""

import fcntl
import os
import sys
from pathlib import Path

LOCK = Path("build/snakemake.lock")


def main() -> None:
    """Take the lock, then become snakemake."""
    LOCK.parent.mkdir(exist_ok=True)
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode() or "not known"
        print(
            f"Another make is at work in this folder (process {holder}). Waiting until it has ended; "
            "Ctrl-C gives up.",
            file=sys.stderr,
            flush=True,
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    # Snakemake keeps the lock. What it starts does not get it: a notebook that outlives it has a lock of its own.
    os.set_inheritable(lock, True)
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", "--nolock", *sys.argv[1:]])


if __name__ == "__main__":
    main()
