"""What a set on the Hugging Face hub holds, and a stream of its images, by the library `datasets`.

That library finds which configurations and splits there are, and of what type each column is. Files are read as
data, and nothing of a set is ever run: from version 4 on, which is asked for, `datasets` runs no scripts of a set.
Nor is anything outside of a set opened, whatever it writes in the place of an image.

A set is cut into the pieces that can be fetched alone: the row groups of parquet files (mostly 100 images), every
k-th file where each image is a file of the repository, else whole files. Before version 5, `datasets` fetches
parquet, too, by whole files, so that the same seed draws other pieces there.
"""

import errno
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from seelike import hub
from seelike.errors import unknown_name

# Older ones run scripts that a set may bring.
_OLDEST = 4

# Images that are files of their own, in a piece.
_FILES = 100
_SECONDS = 10
# Where no split is named. Networks have mostly seen the training images: these come last.
_SPLITS = ("validation", "val", "test", "train")
# A column of numbers or texts by one of these names has the class, where no column is of the type of classes.
_LABELS = ("label", "labels", "class", "cls")
_OTHER_WAYS = (
    "Without the hub, images='fashion-mnist/test' takes what comes with seelike, and images=FOLDER your own."
)

# What only a mistake in a program raises.
_MISTAKES = (TypeError, AttributeError, LookupError, AssertionError)

# Name, content and label of each image.
Piece = Iterable[tuple[str, bytes, Any]]
Stream = Callable[[int], Piece]


@dataclass(frozen=True)
class Wanted:
    """What a name asks for; None takes what the set has.

    Attributes:
        name: The name itself.
        repository: Owner and name of the set on the hub.
        revision: A branch, tag or commit.
        configuration: One of several sets in the repository.
        split: A part of it, such as "validation".
    """

    name: str
    repository: str
    revision: str | None
    configuration: str | None
    split: str | None

    @property
    def page(self) -> str:
        """Where the hub shows the set."""
        return f"{constants.ENDPOINT}/datasets/{self.repository}"


@dataclass(frozen=True)
class Content:
    """What a set was found to hold.

    Attributes:
        commit: The version of the repository.
        configuration: The configuration that was taken.
        split: The split that was taken.
        label: The column with the classes; None without one.
        class_names: Names of the classes, where the set has them.
        pieces: In how many pieces it can be fetched.
    """

    commit: str
    configuration: str
    split: str
    label: str | None
    class_names: list[str] | None
    pieces: int


def open_stream(wanted: Wanted, revision: str | None) -> tuple[Content, Stream]:
    """Open a set without fetching its images.

    Args:
        wanted: The set.
        revision: A branch, tag or commit; None for the newest.

    Returns:
        What it holds, and a function that fetches the piece of a number.

    Raises:
        ImportError: The library `datasets` is missing or too old.
        UnknownName: The set has no such configuration or split.
        ValueError: It needs code of its own to be read, has several configurations of which none is named, or has
            no column of images; or a folder of its name is here.
        FileNotFoundError: There is no such set or revision, or the set has no files that can be read.
        PermissionError: The set is gated, and the user has no access.
        ConnectionError: The hub cannot be reached, or the connection broke.
    """
    datasets = _library()
    if Path(wanted.repository).is_dir():
        raise ValueError(
            f"{wanted.name} names a set of the hub, but a folder {wanted.repository} is here, which the library "
            f"datasets would take for it. Give './{wanted.repository}' if that is meant, or call from another "
            "folder."
        )
    with _explained(wanted):
        commit = _commit(wanted, revision)
    configuration = _configuration(datasets, wanted, commit)
    with _explained(wanted):
        splits = datasets.load_dataset(wanted.repository, name=configuration, revision=commit, streaming=True)
    split = _choice(wanted, splits)
    rows = splits[split]
    features = rows.features or {}
    image, label = _columns(datasets, wanted, features)
    with _explained(wanted):
        number, piece_of = _cut(rows.decode(False))
    root = f"hf://datasets/{wanted.repository}@{commit}/"

    def stream(piece: int) -> Iterator[tuple[str, bytes, Any]]:
        with _explained(wanted):
            for row in piece_of(piece):
                picture = row[image] or {"path": None, "bytes": b""}
                yield picture["path"] or "", _bytes(picture, root), row[label] if label else None

    names = getattr(features[label], "names", None) if label else None
    return Content(commit, configuration, split, label, names, number), stream


def _library() -> ModuleType:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f"Image sets of the hub are read by the library datasets: pip install 'datasets>={_OLDEST}'. "
            f"{_OTHER_WAYS}"
        ) from error
    if int(datasets.__version__.partition(".")[0]) < _OLDEST:
        raise ImportError(
            f"Image sets of the hub need the library datasets, version {_OLDEST} or later; here is "
            f"{datasets.__version__}. pip install -U datasets. {_OTHER_WAYS}"
        )
    return datasets


def _commit(wanted: Wanted, revision: str | None) -> str:
    """Ask the hub for the commit, and whether the user may read it."""
    client = HfApi()
    info = client.dataset_info(wanted.repository, revision=revision, timeout=_SECONDS)
    if info.gated:
        client.auth_check(wanted.repository, repo_type="dataset")
    assert info.sha is not None
    return info.sha


def _configuration(datasets: ModuleType, wanted: Wanted, commit: str) -> str:
    """The configuration that is asked for, or else the only one, or the one that its authors made the default."""
    with _explained(wanted):
        known = datasets.get_dataset_config_names(wanted.repository, revision=commit)
    if wanted.configuration is not None:
        if wanted.configuration not in known:
            raise unknown_name(f"configuration of {wanted.repository}", wanted.configuration, known)
        return wanted.configuration
    if len(known) == 1:
        return str(known[0])
    with _explained(wanted):
        default = datasets.get_dataset_default_config_name(wanted.repository, revision=commit)
    if default is None:
        raise ValueError(
            f"{wanted.repository} has several configurations: {_listed(known)}. Name one, and a split: "
            f"'hub:{wanted.repository}/{known[0]}/SPLIT'."
        )
    return str(default)


def _choice(wanted: Wanted, splits: Mapping[str, Any]) -> str:
    if wanted.split is None:
        usual = [split for split in _SPLITS if split in splits]
        if usual or len(splits) == 1:
            return (usual or list(splits))[0]
        raise ValueError(
            f"{wanted.repository} has the splits {_listed(splits)}. Name one: "
            f"'hub:{wanted.repository}/{next(iter(splits))}'."
        )
    if wanted.split not in splits:
        hint = "A configuration is named before the split: 'hub:OWNER/NAME/CONFIGURATION/SPLIT'."
        raise unknown_name(f"split of {wanted.repository}", wanted.split, splits, hint)
    return wanted.split


def _columns(datasets: ModuleType, wanted: Wanted, features: Mapping[str, Any]) -> tuple[str, str | None]:
    """The columns of images and of classes, by their types."""
    types = {
        column: feature.dtype if isinstance(feature, datasets.Value) else type(feature).__name__
        for column, feature in features.items()
    }
    images = [column for column, feature in features.items() if isinstance(feature, datasets.Image)]
    if len(images) > 1:
        images = [column for column in images if column == "image"]
    if not images:
        columns = ", ".join(f"{column} ({kind})" for column, kind in types.items()) or "none that are named"
        raise ValueError(
            f"{wanted.name} has no column that is plainly its images: expected one of type Image, or several of "
            f"which one is called 'image'. Its columns: {columns}. Look at {wanted.page}."
        )
    labels = [column for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if len(labels) > 1:
        warnings.warn(
            f"{wanted.name} has several columns of classes: {_listed(labels)}. The first is taken.", stacklevel=6
        )
    plain = [column for column in _LABELS if types.get(column, "").startswith(("int", "uint", "string"))]
    return images[0], next(iter([*labels, *plain]), None)


def _cut(rows: Any) -> tuple[int, Callable[[int], Iterable[Mapping[str, Any]]]]:
    """In how many pieces a stream can be fetched, and a function that gives the rows of one."""
    if rows.info.builder_name == "imagefolder":  # the rows are names of files
        files = list(rows)
        number = -(-len(files) // _FILES)
        return number, lambda piece: files[piece::number]
    if hasattr(rows, "reshard"):
        rows = rows.reshard()
    number = rows.num_shards
    return number, lambda piece: rows.shard(num_shards=number, index=piece)


def _bytes(image: Mapping[str, Any], root: str) -> bytes:
    if image["bytes"] is not None:
        return bytes(image["bytes"])
    # Only a file of the set itself, alone or in an archive: who makes a set can write any path or address into it.
    path = image["path"] or ""
    of_archive = path.partition("::")[2] if path.startswith("zip://") else path
    if "::" in of_archive or not of_archive.startswith(root):
        raise ValueError(f"a row has no image but the path {path[:100]!r}, which is not opened")
    import fsspec  # comes with datasets

    with fsspec.open(path, "rb") as file:
        return bytes(file.read())


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


@contextmanager
def _explained(wanted: Wanted) -> Iterator[None]:
    try:
        yield
    except _MISTAKES:
        raise
    except Exception as error:
        raise _told(wanted, error) from error


def _told(wanted: Wanted, error: Exception) -> Exception:
    """The error that the user sees for one of the hub's client or of `datasets`."""
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, RuntimeError) and "script" in str(error):
        return ValueError(
            f"{wanted.repository} can only be read by a script of its authors, and seelike runs no code of data "
            "sets. Take a set of parquet or image files; many sets were published in that form again."
        )
    if (no_place := cannot_keep(wanted.name, Path(constants.HF_HOME), error)) is not None:
        return no_place
    # Some of the client's errors, of a hub that refuses or cannot be reached, are of these classes too.
    if not isinstance(error, HfHubHTTPError | LocalEntryNotFoundError):
        if isinstance(error, FileNotFoundError):
            return FileNotFoundError(
                f"{wanted.name} has no files that can be read ({what}). Look at {wanted.page}."
            )
        if isinstance(error, ValueError):
            return ValueError(
                f"{wanted.name} is damaged, or of a form that the library datasets cannot read ({what}). Look at "
                f"{wanted.page}."
            )
    hint = f"Pieces that have arrived are kept, and it goes on from there. {_OTHER_WAYS}"
    return hub.refusal(hub.Wanted(wanted.repository, "images", "dataset", wanted.revision or "main", hint), error)


def cannot_keep(name: str, folder: Path, error: Exception) -> OSError | None:
    """The error that the user sees where images cannot be written.

    Args:
        name: The image set.
        folder: Where its images were to be kept.
        error: What happened.

    Returns:
        The error; None if something else happened.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        happened, do = "there is no room on the disk", "Make room there, or set"
    elif number in (errno.EACCES, errno.EPERM, errno.EROFS):
        happened, do = "it may not be written", "Set"
    else:
        return None
    return OSError(
        number,
        f"Cannot keep the images of {name} in {folder}: {happened}. {do} HF_HOME to a folder on another disk, "
        "and call again. Pieces that are whole stay, and are not fetched twice.",
    )
