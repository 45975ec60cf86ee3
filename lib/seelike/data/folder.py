"""The images of a folder. Its subfolders are classes; ImageNet's validation images may also lie flat."""

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seelike.data import imagenet
from seelike.data.files import EXTENSIONS, whole
from seelike.data.image_set import ImageSet, of_files

# Names of the parts of a data set, which are no classes.
_PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}

# Endings of pictures that are not read. Among `EXTENSIONS`, too, is .avif where Pillow can read it.
_OTHER_PICTURES = (
    *(".avif", ".avifs", ".heic", ".heif", ".hif", ".jxl", ".jxr", ".wdp", ".jp2", ".j2k", ".jpf", ".jpx"),
    *(".svg", ".svgz", ".psd", ".psb", ".xcf", ".eps", ".ai", ".tga", ".dds", ".ico", ".icns", ".qoi", ".dib"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".pcx", ".exr", ".hdr", ".fits", ".dcm", ".dng", ".raw", ".crw"),
    *(".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f"),
)
_NOWHERE = "link to nothing"


def images_of_folder(name: str) -> ImageSet:
    """Load the images of an existing folder, as `seelike.data.load` says."""
    folder = Path(os.path.expanduser(name))
    paths, others = _image_paths(folder)
    if not paths:
        raise ValueError(
            f"{name} holds no images: expected files ending in {', '.join(EXTENSIONS)} in it or below, "
            f"found {_in_words(others)}."
        )
    _warn_of_others(folder, others)
    flat = imagenet.is_flat(folder, paths)
    classes = imagenet.classes(folder, paths) if flat else _subfolders(folder, paths)
    # By all files, before broken ones are left out: a broken file never renumbers the classes.
    labels, class_names = classes or (None, None)
    readable = whole(str(folder), folder, paths)
    return of_files(
        name, [paths[i] for i in readable], None if labels is None else labels[np.array(readable)], class_names
    )


def _image_paths(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Find the image files of a folder, sorted, and count the extensions of all other files."""

    def fail(error: OSError) -> None:
        raise error

    paths, others = [], Counter[str]()
    root, seen = folder.resolve(), set[Path]()
    doubled = []
    # Without `onerror`, os.walk would silently pass over subfolders that it may not read.
    for parent, subfolders, files in os.walk(folder, onerror=fail, followlinks=True):
        here = Path(parent).resolve()
        entered = []
        # Links are followed, since data sets are often linked into place, but into each folder only once: where it
        # lies, if the walk comes there, else by the first link. Of links back up nothing need be said.
        for name in sorted(name for name in subfolders if not name.startswith(".")):
            path = Path(parent, name)
            place = path.resolve()
            back_up = here.is_relative_to(place) or root.is_relative_to(place)
            comes_there = place.is_relative_to(root) and not _hidden(place.relative_to(root))
            if place in seen or (comes_there and place != root / path.relative_to(folder)):
                doubled += [] if back_up else [path]
            elif not back_up:
                seen.add(place)
                entered.append(name)
        subfolders[:] = entered
        for name in files:
            path = Path(parent, name)
            if name.startswith("."):
                continue
            if not os.path.exists(path):
                others[_NOWHERE] += 1
            elif path.suffix.lower() in EXTENSIONS:
                paths.append(path)
            else:
                others[path.suffix.lower() or "no extension"] += 1
    if doubled:
        warnings.warn(
            f"Links of {folder} to folders that are there already are left out: {len(doubled)}, such as "
            f"{doubled[0].relative_to(folder)} to {doubled[0].resolve()}. So no image is there twice.",
            stacklevel=4,
        )
    return sorted(paths, key=lambda path: path.relative_to(folder).parts), others


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _warn_of_others(folder: Path, others: Counter[str]) -> None:
    """Warn of what may have been meant to be seen; texts, tables and the like need no word."""
    pictures = Counter({ending: number for ending, number in others.items() if ending in _OTHER_PICTURES})
    if pictures:
        warnings.warn(
            f"Files of {folder} that look like pictures of kinds that are not read are left out: "
            f"{_counts(pictures)}. To have them, save them as JPEG or PNG.",
            stacklevel=4,
        )
    if others[_NOWHERE]:
        warnings.warn(
            f"Links of {folder} that lead to nothing are left out: {others[_NOWHERE]}. Is a disk missing?",
            stacklevel=4,
        )


def _in_words(extensions: Counter[str]) -> str:
    return f"other files: {_counts(extensions)}" if extensions else "no files"


def _counts(extensions: Counter[str]) -> str:
    return ", ".join(f"{number} ({extension})" for extension, number in extensions.most_common(5))


def _subfolders(folder: Path, paths: Sequence[Path]) -> tuple[np.ndarray, list[str]] | None:
    """The class of each file and the names of the classes, where the subfolders are classes."""
    parts = [path.relative_to(folder).parts for path in paths]
    subfolders = sorted({first for first, *rest in parts if rest})
    loose = [first for first, *rest in parts if not rest]
    if subfolders and loose:
        warnings.warn(
            f"{folder} holds images itself ({len(loose)}, such as {loose[0]}) and subfolders with images "
            f"({len(subfolders)}, such as {subfolders[0]}). All images are used, without labels. If the "
            "subfolders are classes, move the other images away.",
            stacklevel=4,
        )
        return None
    if not subfolders:
        return None
    if _PARTS.issuperset(name.lower() for name in subfolders):
        warnings.warn(
            f"The subfolders of {folder} ({', '.join(subfolders)}) are taken for classes, but look like parts "
            f"of a data set. Give one of them, such as {folder / subfolders[-1]}.",
            stacklevel=4,
        )
    numbers = {name: number for number, name in enumerate(subfolders)}
    return np.array([numbers[first] for first, *_ in parts], dtype=np.int64), subfolders
