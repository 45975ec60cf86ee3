"""Bring executed notebooks from the machine that ran them to the one that publishes the book.

    python book/tools/pack.py pack build/executed-paper.tar.gz results/paper/*.ipynb
    python book/tools/pack.py unpack executed-paper.tar.gz

What is unpacked goes into results/PROFILE, and that of the profile tiny, which is kept nowhere, into
build/executed/tiny. The archive holds the notebooks of one profile, and about.json: when, from which commit, with
which versions, on which GPU, and the hash of each notebook. Unpack only what you trust as you trust this
repository: the notebooks' outputs become pages as they are.
"""

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import executed
import fingerprint
import results
from nbformat import NotebookNode

from seelike.errors import unknown_name
from seelike.profiles import NAMES

ABOUT = "about.json"
_NOTEBOOK = re.compile(rf"({executed.UNTRAINED}/)?[A-Za-z0-9][A-Za-z0-9_-]*\.ipynb")
# Its own size is not stated anywhere else.
_LONGEST_ABOUT = 1_000_000


def pack(archive: Path, files: Sequence[Path]) -> None:
    """Write the archive of some executed notebooks.

    Args:
        archive: Where to write it.
        files: The notebooks, all of one profile: their folder's name. Those with random weights are in a folder of
            that one.

    Raises:
        ValueError: A notebook did not run to its end, or is no result of its place.
    """
    profile = _profile(files[0])
    notebooks = {path.relative_to(path.parents[_depth(path)]).as_posix(): path for path in files}
    read = {name: executed.read(path) for name, path in notebooks.items()}
    _refuse(profile, {name: (str(notebooks[name]), notebook) for name, notebook in read.items()})
    about = {
        "profile": profile,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": fingerprint.commit(),
        "notebooks": {name: _about(notebooks[name], notebook) for name, notebook in read.items()},
    }
    archive.parent.mkdir(parents=True, exist_ok=True)
    # Under another name until it is whole.
    part = archive.with_name(f"{archive.name}.part")
    with tarfile.open(part, "w:gz") as file:
        content = json.dumps(about, indent=1).encode()
        entry = tarfile.TarInfo(ABOUT)
        entry.size = len(content)
        file.addfile(entry, io.BytesIO(content))
        for name, path in notebooks.items():
            file.add(path, name)
    os.replace(part, archive)
    print(f"{_summary(about)}\nPacked in {archive}, {_megabytes(archive.stat().st_size)}.")


def _depth(path: Path) -> int:
    return 1 if path.parent.name == executed.UNTRAINED else 0


def _profile(path: Path) -> str:
    return path.parents[_depth(path)].name


def _refuse(profile: str, notebooks: Mapping[str, tuple[str, NotebookNode]]) -> None:
    """Refuse notebooks that failed or are no results of their place. By name: how messages call it, and itself."""
    found = []
    for name, (shown, notebook) in notebooks.items():
        is_kept = profile != results.NOT_KEPT
        complaints = results.complaints(notebook, Path(profile, name)) if is_kept else executed.problems(notebook)
        found += [f"{shown}: {text}" for text in complaints]
    if found:
        raise ValueError("\n".join(found))


def unpack(archive: Path, to: Path = Path()) -> None:
    """Put the notebooks of an archive into their place; those of the same profile that were there go.

    Args:
        archive: What `pack` has written.
        to: The folder of the repository.

    Raises:
        ValueError: It is no such archive, it holds what it must not or not what it says, a notebook in it failed
            or is no result, or the disk has no room.
    """
    try:
        with tarfile.open(archive, "r:gz") as file:
            about, notebooks = _contents(archive, file, to)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ValueError(f"{archive} cannot be read: {error}. Was it cut off on its way? Copy it again.") from None
    profile = about["profile"]
    folder = to / (results.EXECUTED if profile == results.NOT_KEPT else results.RESULTS)
    arriving = folder / f".{profile}.arriving"
    shutil.rmtree(arriving, ignore_errors=True)
    for name, content in notebooks.items():
        path = arriving / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    try:
        _refuse(profile, {name: (f"{name} in {archive}", executed.read(arriving / name)) for name in notebooks})
    except ValueError as error:
        shutil.rmtree(arriving)
        raise ValueError(f"{error}\nNothing was unpacked.") from None
    shutil.rmtree(folder / profile, ignore_errors=True)
    os.replace(arriving, folder / profile)
    print(f"{_summary(about)}\nIn {folder / profile}. Show them: make book, or make render where it has run.")


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


def _about(path: Path, notebook: NotebookNode) -> dict[str, Any]:
    run = executed.parameters(notebook)
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "date": notebook.metadata.papermill.end_time,
        "device": run.get("gpu") or run.get("device"),
        "versions": run.get("versions", {}),
    }


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
