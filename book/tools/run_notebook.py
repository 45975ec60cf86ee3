"""Run one notebook by papermill: as `papermill` itself, but strict, and clear about where it failed.

    python book/tools/run_notebook.py notebooks/03_background.ipynb OUTPUT -p profile tiny -p repeats 3

The notebook is in build/running while it runs, and moved to OUTPUT when it is done. One that fails stays there.
"""

import argparse
import ast
import os
import sys
import time
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from seelike.errors import UnknownName, unknown_name

RUNNING = Path("build/running")
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


def run(notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
    """Run a notebook and leave the result at `output`; a notebook that fails stays in build/running.

    Args:
        notebook: What to run.
        output: Where the executed notebook is put.
        parameters: Values for names in the notebook's parameters cell.

    Raises:
        UnknownName: A parameter that the notebook does not have.
        PapermillExecutionError: A cell failed.
        DeadKernelError: The kernel died, for example because memory ran out.
    """
    check_names(notebook, parameters)
    # The kernel of this very environment, also where the user has another of the same name.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    running = RUNNING / notebook.name
    for folder in (running.parent, output.parent):
        folder.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(
        str(notebook),
        str(running),
        parameters=parameters,
        progress_bar={"desc": notebook.stem, "mininterval": 1.0},
        # Jupyter warns of an open connection at every start of a kernel. This closes it, where the kernel can.
        config=Config({"KernelManager": {"transport_encryption": "auto"}}),
    )
    os.replace(running, output)


def explain(notebook: Path, error: PapermillExecutionError) -> str:
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
            f"  The notebook up to there, with the whole traceback: {RUNNING / notebook.name}",
        ]
    )


def main() -> int:
    """Run the notebook that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    arguments = parser.parse_args()
    parameters = {name: parse_value(value) for name, value in arguments.parameter}
    begin = time.monotonic()
    try:
        run(arguments.notebook, arguments.output, parameters)
    except UnknownName as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 2
    except PapermillExecutionError as error:
        print(explain(arguments.notebook, error), file=sys.stderr)
        return 1
    except DeadKernelError as error:
        print(
            f"FAILED: {arguments.notebook}: {error} Perhaps memory ran out: try fewer images or models.\n"
            f"  The notebook up to there: {RUNNING / arguments.notebook.name}",
            file=sys.stderr,
        )
        return 1
    print(f"{arguments.notebook} ran in {time.monotonic() - begin:.0f} s: {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
