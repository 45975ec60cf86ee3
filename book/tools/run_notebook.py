"""Run one notebook by papermill: as `papermill` itself, but strict, and clear about where it failed.

    python book/tools/run_notebook.py notebooks/03_background.ipynb OUTPUT -p profile tiny -p repeats 3

The notebook is in build/running while it runs, and moved to OUTPUT when it is done. One that fails stays there.
Where another process is at work on the same OUTPUT, this one waits for it, and takes its result if that is the
same.
"""

import argparse
import ast
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import fingerprint
import gpus
import nbformat
import papermill
from filelock import FileLock, Timeout
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

import seelike
from seelike import verdicts
from seelike.errors import UnknownName, unknown_name

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None  # type: ignore[assignment]

BUILD = Path("build")
RUNNING = BUILD / "running"
_LINES_SHOWN = 8


def parse_value(text: str) -> Any:
    """Read a parameter from the command line: a Python number, bool, list, string or None, else the text itself.

    Example:
        >>> parse_value("64"), parse_value("None"), parse_value("~/photos"), parse_value("['a', 'b']")
        (64, None, '~/photos', ['a', 'b'])
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, bool | int | float | str | list | None) else text


def check_names(notebook: Path, parameters: dict[str, Any]) -> None:
    """Refuse a parameter that the notebook does not have. Papermill itself would only warn.

    Raises:
        UnknownName: The notebook's cell with the tag "parameters" lacks one of the names.
    """
    known = papermill.inspect_notebook(str(notebook))
    for name in parameters:
        if name not in known:
            raise unknown_name(f"parameter of {notebook}", name, known)


def place_while_running(output: Path) -> Path:
    """Tell where a notebook is while it runs: each output has a place of its own.

    Example:
        >>> place_while_running(Path("build/executed/tiny/03_background.ipynb")).as_posix()
        'build/running/executed/tiny/03_background.ipynb'
    """
    path = output.absolute()
    for folder in (BUILD.absolute(), Path.cwd()):
        if path.is_relative_to(folder):
            return RUNNING / path.relative_to(folder)
    return RUNNING / path.relative_to(path.anchor)


def is_result_of(output: Path, notebook: Path, parameters: dict[str, Any]) -> bool:
    """Tell whether an executed notebook is what running it now would give.

    Args:
        output: An executed notebook, or where there would be one.
        notebook: What was to be run.
        parameters: Values for its parameters.

    Returns:
        Whether it was run from that notebook with these very parameters, to its end, and neither the notebook nor
        the library has changed since it began.
    """
    if not output.exists():
        return False
    run = json.loads(output.read_text())["metadata"].get("papermill", {})
    if run.get("exception") or run.get("duration") is None:
        return False
    if (run["input_path"], run["parameters"]) != (str(notebook), parameters):
        return False
    library = [path for path in Path(seelike.__file__).parent.rglob("*") if path.suffix != ".pyc"]
    changed = max(path.stat().st_mtime for path in [notebook, *library] if path.is_file())
    return changed < datetime.fromisoformat(run["start_time"]).timestamp()


def run(notebook: Path, output: Path, parameters: dict[str, Any]) -> bool:
    """Run a notebook and leave the result at `output`; a notebook that fails stays in build/running.

    A notebook goes on when only the snakemake that started it is killed. The next snakemake starts it again; that
    one waits for the first, so that not two of them work on one output.

    Args:
        notebook: What to run.
        output: Where the executed notebook is put.
        parameters: Values for names in the notebook's parameters cell.

    Returns:
        Whether it was run here; False where another process has just finished the same.

    Raises:
        UnknownName: A parameter that the notebook does not have.
        PapermillExecutionError: A cell failed.
        DeadKernelError: The kernel died, for example because memory ran out.
    """
    check_names(notebook, parameters)
    running = place_while_running(output)
    for folder in (running.parent, output.parent):
        folder.mkdir(parents=True, exist_ok=True)
    before = output.stat().st_mtime_ns if output.exists() else None
    with _alone(running, f"Another process runs {notebook} for {output}. Waiting for it."):
        # Only a result that came while waiting is taken: who runs a notebook again wants it run.
        is_new = output.exists() and output.stat().st_mtime_ns != before
        if is_new and is_result_of(output, notebook, parameters):
            return False
        # What is imported is read when the notebook starts. What changes while it runs is not what it ran.
        about = _about(notebook, parameters, output.parent)
        before = _largest_child()
        with gpus.pinned(parameters):
            _execute(notebook, running, parameters)
        after = _largest_child()
        _note(running, {**about, "peak_memory_mb": round(after / 1e6) if after > before else None})
        os.replace(running, output)
    return True


def _about(notebook: Path, parameters: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What an executed notebook says of itself, beside what papermill notes: its name, its commit and its code.

    One that shows what the other notebooks of its folder found has a hash of that, too.
    """
    content = nbformat.read(notebook, as_version=4)
    code = fingerprint.of_notebook(content, notebook.stem, str(parameters.get("profile", "tiny")))
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return {
        "notebook": notebook.stem,
        "commit": fingerprint.commit(),
        "code": code,
        "threads": int(threads) if threads.isdecimal() else None,
        **({"gathered": verdicts.digest(folder)} if fingerprint.gathers(content) else {}),
    }


def _note(executed: Path, about: dict[str, Any]) -> None:
    notebook = nbformat.read(executed, as_version=4)
    notebook.metadata["seelike"] = {**about, "seconds": round(notebook.metadata.papermill.duration, 1)}
    nbformat.write(notebook, executed)


def _largest_child() -> int:
    """Bytes that the largest of the processes held that this one started and that have ended; 0 if none tells.

    After a notebook that is its kernel. Only the largest is told: where an earlier child was larger, that does not
    rise, and the kernel's memory is not known. Here one process runs one notebook, and before it at most git and
    nvidia-smi. A child counts at least what this process held when it started it.
    """
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


@contextmanager
def _alone(running: Path, otherwise: str) -> Iterator[None]:
    """Wait until no other process runs this notebook to this place."""
    lock = FileLock(f"{running}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(otherwise, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _execute(notebook: Path, running: Path, parameters: dict[str, Any]) -> None:
    # The kernel of this very environment, also where the user has another of the same name.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    papermill.execute_notebook(
        str(notebook),
        str(running),
        parameters=parameters,
        progress_bar={"desc": notebook.stem, "mininterval": 1.0},
        # Jupyter warns of an open connection at every start of a kernel. This closes it, where the kernel can.
        config=Config({"KernelManager": {"transport_encryption": "auto"}}),
    )


def explain(notebook: Path, output: Path, error: PapermillExecutionError) -> str:
    """Say which cell of a notebook failed, how it begins, why, and where the partial notebook is."""
    lines = error.source.strip().splitlines()
    shown = [f"    {line}" for line in lines[:_LINES_SHOWN]]
    if len(lines) > _LINES_SHOWN:
        shown.append(f"    ... and {len(lines) - _LINES_SHOWN} lines more")
    return "\n".join(
        [
            f"FAILED: {notebook}, cell In [{error.exec_count}], which begins:",
            *shown,
            f"  {error.ename}: {error.evalue}",
            f"  The notebook up to there, with the whole traceback: {place_while_running(output)}",
        ]
    )


def attempt(notebook: Path, output: Path, parameters: dict[str, Any]) -> int:
    """Run a notebook as `run` does, and say how it went.

    Returns:
        An exit status: 0, 1 where a cell failed, or 2 where a parameter is not known.
    """
    begin = time.monotonic()
    try:
        ran = run(notebook, output, parameters)
    except UnknownName as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 2
    except PapermillExecutionError as error:
        print(explain(notebook, output, error), file=sys.stderr)
        return 1
    except DeadKernelError as error:
        print(
            f"FAILED: {notebook}: {error} Perhaps memory ran out: try fewer images or models.\n"
            f"  The notebook up to there: {place_while_running(output)}",
            file=sys.stderr,
        )
        return 1
    done = "ran" if ran else "was run by another process, and taken over,"
    print(f"{notebook} {done} in {time.monotonic() - begin:.0f} s: {output}")
    return 0


def add_parameters(parser: argparse.ArgumentParser) -> None:
    """Let a command line take parameters of a notebook, as papermill's does."""
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))


def main() -> int:
    """Run the notebook that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("output", type=Path)
    add_parameters(parser)
    arguments = parser.parse_args()
    parameters = {name: parse_value(value) for name, value in arguments.parameter}
    return attempt(arguments.notebook, arguments.output, parameters)


if __name__ == "__main__":
    sys.exit(main())
