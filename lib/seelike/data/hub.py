"""Image sets of the Hugging Face hub, by name, fetched in pieces: 500 images do not cost a whole download.

A stream has no order to draw from at random. What the library `datasets` calls a shuffle is a buffer: some
thousand rows from the beginning of some files, mixed. Many sets are sorted by class, and of such a one a buffer
shows a few classes. So here the set is cut into the pieces that can be fetched alone (`seelike.data.hub_stream`).
The seed puts the pieces into an order, and they are taken one by one until they hold enough images. This is a draw
of pieces, not of images: images that lie together come together. Of a set sorted by class it has fewer classes
than a draw of images would, and then a warning says so. All pieces are the whole set, and draws from that are
draws of images.

Each piece is kept in the folder that the hub's tools share (assets/seelike in `HF_HOME`), under the commit that it
is of. A second call with the same seed needs no network, one with another seed or more images fetches what is
missing, and one that was stopped goes on. Delete the folder of a set there to fetch a newer version of it.
"""

import json
import re
import shutil
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from huggingface_hub import cached_assets_path, constants
from tqdm.auto import tqdm

from seelike.data.files import EXTENSIONS, whole
from seelike.data.hub_stream import Content, Piece, Stream, Wanted, cannot_keep, open_stream
from seelike.data.image_set import ImageSet, of_files

PREFIX = "hub:"

_FORM = "hub:OWNER/NAME, hub:OWNER/NAME/SPLIT or hub:OWNER/NAME/CONFIGURATION/SPLIT"
_PART = re.compile(r"[A-Za-z0-9][\w.-]*")
# Of the classes that a draw of images would show, the share below which a draw of pieces is warned of.
_FEW_CLASSES = 0.75


def images_of_hub(name: str, enough: int, seed: int) -> ImageSet:
    """Load images of a set on the hub, as `seelike.data.load` says."""
    wanted = _parse(name)
    content, stream = _content(wanted)
    place = f"{content.commit}/{content.configuration}/{content.split}/{content.pieces}"
    folder = _folder(wanted, place)

    images: list[dict[str, Any]] = []
    taken = 0
    # Shown only where it takes a while, which is where something is fetched.
    with tqdm(total=enough, desc=name, unit="image", delay=1) as progress:
        for piece in np.random.default_rng(seed).permutation(content.pieces).tolist():
            if len(images) >= enough:
                break
            here = folder / f"{piece:06d}"
            if not here.is_dir():
                if stream is None:
                    opened, stream = open_stream(wanted, content.commit)
                    if opened != content:  # another version of datasets, which cuts otherwise
                        _remember(wanted, opened)
                        return images_of_hub(name, enough, seed)
                _keep(wanted, stream(piece), here)
            index = json.loads((here / "index.json").read_text())
            images += [{**image, "path": here / image["file"]} for image in index]
            taken += 1
            progress.update(len(index))
    return _image_set(wanted, content, folder, images, f"{taken:,} of {content.pieces:,} pieces, seed {seed}")


def _parse(name: str) -> Wanted:
    parts = name.removeprefix(PREFIX).split("/")
    if not 2 <= len(parts) <= 4 or not all(parts):
        raise ValueError(f"{name!r} does not name an image set of the hub; expected {_FORM}.")
    owner, (set_name, _, revision) = parts[0], parts[1].partition("@")
    if not (_PART.fullmatch(owner) and _PART.fullmatch(set_name)):
        raise ValueError(
            f"{name!r} does not name an image set of the hub: an owner and a name have letters, digits, '-', '_' "
            f"and '.' only; expected {_FORM}."
        )
    configuration, split = [None, None, *parts[2:]][-2:]
    return Wanted(name, f"{owner}/{set_name}", unquote(revision) or None, configuration, split)


def _content(wanted: Wanted) -> tuple[Content, Stream | None]:
    """What the set holds, as it was when it was first asked for, and a stream of it if that is now."""
    known = _known(wanted)
    if known.exists():
        return Content(**json.loads(known.read_text())), None
    content, stream = open_stream(wanted, wanted.revision)
    _remember(wanted, content)
    return content, stream


def _remember(wanted: Wanted, content: Content) -> None:
    known = _known(wanted)
    new = known.with_suffix(f".{uuid.uuid4().hex}")
    with _room_for(wanted.name, known.parent):
        new.write_text(json.dumps(asdict(content)))
        new.replace(known)


def _known(wanted: Wanted) -> Path:
    asked = (wanted.revision or "main", wanted.configuration or "default", wanted.split or "any")
    return _folder(wanted, "names") / (re.sub(r"[^\w.-]", "-", "--".join(asked)) + ".json")


def _folder(wanted: Wanted, place: str) -> Path:
    with _room_for(wanted.name, Path(constants.HF_HOME)):
        return cached_assets_path("seelike", wanted.repository, place)


def _keep(wanted: Wanted, piece: Piece, place: Path) -> None:
    """Write the images of a piece and an index of them into a folder, all or nothing."""
    new = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    with _room_for(wanted.name, place.parent):
        try:
            new.mkdir()
            index = []
            for row, (name, content, label) in enumerate(piece):
                # Of the name in the set only a known ending is taken: it may be anything.
                ending = Path(name).suffix.lower()
                file = f"{row:06d}{ending if ending in EXTENSIONS else ''}"
                (new / file).write_bytes(content)
                index.append({"file": file, "label": label})
            (new / "index.json").write_text(json.dumps(index))
            try:
                new.rename(place)
            except OSError:  # another process was faster
                if not place.is_dir():
                    raise
        finally:
            shutil.rmtree(new, ignore_errors=True)


@contextmanager
def _room_for(name: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        told = cannot_keep(name, folder, error)
        if told is None:
            raise
        raise told from error


def _image_set(
    wanted: Wanted, content: Content, folder: Path, images: list[dict[str, Any]], drawn: str
) -> ImageSet:
    """The images of some pieces with their classes."""
    paths = [image["path"] for image in images]
    if not paths:
        raise ValueError(f"{wanted.name} holds no images: {drawn}. Look at {wanted.page}.")
    readable = whole(wanted.name, folder, paths)
    labels, class_names = _classes(wanted, content, [images[i]["label"] for i in readable])
    if labels is not None and class_names is not None:
        _warn_of_few_classes(wanted, labels, len(class_names), drawn)
    loaded = of_files(wanted.name, [paths[i] for i in readable], labels, class_names)
    revision = f"commit {content.commit[:7]}"
    note = f"The images are {len(loaded):,} of {wanted.page}, {content.split}, {revision}: {drawn}."
    return replace(loaded, note=note)


def _classes(wanted: Wanted, content: Content, labels: list[Any]) -> tuple[np.ndarray | None, list[str] | None]:
    if content.label is None:
        return None, None
    # The type of classes has -1 where there is none, as in test sets that are kept secret.
    without = sum(label is None or (content.class_names is not None and label < 0) for label in labels)
    if without:
        warnings.warn(
            f"{without:,} of {len(labels):,} images of {wanted.name} have no class in column {content.label!r}. "
            "All images are used, without labels.",
            stacklevel=5,
        )
        return None, None
    if content.class_names is not None:
        return np.array(labels, dtype=np.int64), content.class_names
    known = sorted(set(labels))
    return np.array([known.index(label) for label in labels], dtype=np.int64), [str(label) for label in known]


def _warn_of_few_classes(wanted: Wanted, labels: np.ndarray, classes: int, drawn: str) -> None:
    seen, expected = len(np.unique(labels)), classes * (1 - (1 - 1 / classes) ** len(labels))
    if seen < _FEW_CLASSES * expected:
        warnings.warn(
            f"The {len(labels):,} images of {wanted.name} ({drawn}) are of {seen:,} of its {classes:,} classes: "
            "the set is sorted by class, and a piece has images that lie together. More images bring more "
            "classes.",
            stacklevel=5,
        )
