"""Bring executed notebooks from the machine that ran them to the one that publishes the book.

    python book/tools/pack.py pack build/executed-paper.tar.gz build/executed/paper/*.ipynb
    python book/tools/pack.py unpack executed-paper.tar.gz

The archive holds the notebooks of one profile, and about.json: when, from which commit, with which versions, on
which GPU, and the hash of each notebook. Unpack only what you trust as you trust this repository: the notebooks'
outputs become pages as they are.
"""

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import stage

from seelike.errors import unknown_name
from seelike.profiles import NAMES

EXECUTED = Path("build/executed")
ABOUT = "about.json"
_NOTEBOOK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.ipynb")
# Its own size is not stated anywhere else.
_LONGEST_ABOUT = 1_000_000


def pack(archive: Path, executed: Sequence[Path]) -> None:
    """Write the archive of some executed notebooks.

    Args:
        archive: Where to write it.
        executed: The notebooks, all of one profile: their folder's name.

    Raises:
        ValueError: A notebook did not run to its end.
    """
    notebooks = {path: nbformat.read(path, as_version=4) for path in executed}
    complaints = [f"{path}: {text}" for path, one in notebooks.items() for text in stage.problems(one)]
    if complaints:
        raise ValueError("\n".join(complaints))
    about = {
        "profile": executed[0].parent.name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "notebooks": {path.name: _about(path, one) for path, one in notebooks.items()},
    }
    archive.parent.mkdir(parents=True, exist_ok=True)
    # Under another name until it is whole.
    part = archive.with_name(f"{archive.name}.part")
    with tarfile.open(part, "w:gz") as file:
        content = json.dumps(about, indent=1).encode()
        entry = tarfile.TarInfo(ABOUT)
        entry.size = len(content)
        file.addfile(entry, io.BytesIO(content))
        for path in executed:
            file.add(path, path.name)
    os.replace(part, archive)
    print(f"{_summary(about)}\nPacked in {archive}, {_megabytes(archive.stat().st_size)}.")


def unpack(archive: Path, to: Path = EXECUTED) -> None:
    """Put the notebooks of an archive into their place; those of the same profile that were there go.

    Args:
        archive: What `pack` has written.
        to: The folder of executed notebooks, with a folder for each profile.

    Raises:
        ValueError: It is no such archive, it holds what it must not or not what it says, or the disk has no room.
    """
    try:
        with tarfile.open(archive, "r:gz") as file:
            about, notebooks = _contents(archive, file, to)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ValueError(f"{archive} cannot be read: {error}. Was it cut off on its way? Copy it again.") from None
    place = to / about["profile"]
    arriving = to / f".{about['profile']}.arriving"
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir(parents=True)
    for name, content in notebooks.items():
        (arriving / name).write_bytes(content)
    shutil.rmtree(place, ignore_errors=True)
    os.replace(arriving, place)
    print(f"{_summary(about)}\nIn {place}. Show them: make render PROFILE={about['profile']}")


def _contents(archive: Path, file: tarfile.TarFile, to: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read an archive after looking at every name and size in it."""
    entries = file.getmembers()
    for entry in entries:
        if not entry.isfile() or not (entry.name == ABOUT or _NOTEBOOK.fullmatch(entry.name)):
            raise ValueError(
                f"{archive} holds {entry.name!r}. An archive of `make pack` holds {ABOUT} and notebooks, and "
                "no folders or links. Nothing was unpacked."
            )
    size = sum(entry.size for entry in entries)
    free = shutil.disk_usage(next(folder for folder in (to, *to.absolute().parents) if folder.exists())).free
    if size > free:
        raise ValueError(f"{archive} needs {_megabytes(size)}, and the disk has {_megabytes(free)} left.")
    contents = {entry.name: entry for entry in entries}
    if ABOUT not in contents or contents[ABOUT].size > _LONGEST_ABOUT:
        raise ValueError(f"{archive} has no {ABOUT} of fit size: it was not made by `make pack`.")
    about = _read_about(archive, _bytes(file, contents.pop(ABOUT)))
    if about["notebooks"].keys() != contents.keys():
        raise ValueError(f"{archive} does not hold the notebooks that its {ABOUT} lists. Nothing was unpacked.")
    notebooks = {name: _bytes(file, entry) for name, entry in contents.items()}
    for name, content in notebooks.items():
        if hashlib.sha256(content).hexdigest() != about["notebooks"][name]["sha256"]:
            raise ValueError(f"{name} in {archive} is not what was packed. Nothing was unpacked. Copy it again.")
    return about, notebooks


def _read_about(archive: Path, content: bytes) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(content)
        profile, notebooks = about["profile"], about["notebooks"]
        for one in notebooks.values():
            one["sha256"], one["bytes"], one["device"], about["commit"], about["date"]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(
            f"The {ABOUT} of {archive} cannot be understood: it was not made by `make pack`."
        ) from None
    if profile not in NAMES:
        raise unknown_name("profile", str(profile), NAMES)
    return about


def _bytes(file: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    content = file.extractfile(entry)
    assert content is not None  # it is a file: see _contents
    return content.read()


def _about(path: Path, notebook: nbformat.NotebookNode) -> dict[str, Any]:
    run = stage.parameters(notebook)
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "date": notebook.metadata.papermill.end_time,
        "device": run.get("gpu") or run.get("device"),
        "versions": run.get("versions", {}),
    }


def _commit() -> str | None:
    """Name the commit of the code, with "+" where files differ from it; None outside a repository."""
    called = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        answer = subprocess.run(called, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return answer.stdout.strip() or None


def _summary(about: dict[str, Any]) -> str:
    notebooks = about["notebooks"].values()
    devices = sorted({one["device"] for one in notebooks if one["device"]})
    size = _megabytes(sum(one["bytes"] for one in notebooks))
    on = ", ".join(devices) or "a device not recorded"
    code = about["commit"] or "of no commit"
    return (
        f"{len(notebooks)} notebooks of the profile {about['profile']}, {size}, run on {on}; code {code}, "
        f"packed {about['date']}."
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def main() -> None:
    """Pack or unpack, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("archive", type=Path)
    packing.add_argument("executed", type=Path, nargs="+", metavar="NOTEBOOK")
    commands.add_parser("unpack").add_argument("archive", type=Path)
    arguments = parser.parse_args()
    try:
        if arguments.command == "pack":
            pack(arguments.archive, arguments.executed)
        else:
            unpack(arguments.archive)
    except ValueError as error:
        raise SystemExit(f"{arguments.command} failed.\n{error}") from None


if __name__ == "__main__":
    main()
