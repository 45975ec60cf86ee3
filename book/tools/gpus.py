"""Give each notebook a GPU of its own, where the machine has several.

Snakemake counts GPUs, but gives none in particular: all notebooks would take the first. So each takes an operating
system's lock on one that is free. The lock goes with the process that holds it, whatever ends that process.

Clusters show a job only its own GPU. There, and on machines with one, nothing is done.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

_SECONDS_BETWEEN_LOOKS = 1.0


def visible() -> list[str]:
    """List the GPUs that this process may use, by names that CUDA_VISIBLE_DEVICES takes.

    Returns:
        What CUDA_VISIBLE_DEVICES lists, else what the driver lists; empty without a driver.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    # Numbers would not do: CUDA may count GPUs in another order than the driver.
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return answer.stdout.split() if answer.returncode == 0 else []


def wants_one(parameters: Mapping[str, Any]) -> bool:
    """Tell whether a notebook with these parameters works on any one GPU.

    Example:
        >>> wants_one({"profile": "paper"}), wants_one({"profile": "tiny"}), wants_one({"device": "cuda"})
        (True, False, True)
        >>> wants_one({"profile": "paper", "device": "cpu"}), wants_one({"device": "cuda:1"})
        (False, False)
    """
    device = parameters.get("device")
    return device == "cuda" or (device is None and parameters.get("profile") in ("colab", "paper"))


@contextmanager
def one_of(names: Sequence[str], locks: Path | None = None) -> Iterator[str]:
    """Hold one free GPU, and wait for it while all are taken.

    Args:
        names: The GPUs, as `visible` lists them; at least one.
        locks: Where the locks are: by default a folder of this user for the whole machine.

    Yields:
        The name of the GPU that is held.
    """
    folder = locks or Path(tempfile.gettempdir(), f"seelike-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    told = False
    while True:
        for name in names:
            lock = FileLock(folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', name)}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                yield name
            finally:
                lock.release()
            return
        if not told:
            print(f"All {len(names)} GPUs are taken by other notebooks. Waiting for one.", flush=True)
            told = True
        time.sleep(_SECONDS_BETWEEN_LOOKS)


@contextmanager
def pinned(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Let CUDA see one free GPU only, in this process and those that it starts from here on.

    Args:
        parameters: The notebook's. One that needs no GPU, or names its own, is left alone.
    """
    names = visible() if wants_one(parameters) else []
    if len(names) < 2:
        yield
        return
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    with one_of(names) as name:
        os.environ["CUDA_VISIBLE_DEVICES"] = name
        try:
            yield
        finally:
            if before is None:
                del os.environ["CUDA_VISIBLE_DEVICES"]
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = before
