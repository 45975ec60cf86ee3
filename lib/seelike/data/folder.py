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


def images_of_folder(name: str) -> ImageSet:
    """Load the images of an existing folder, as `seelike.data.load` says."""
    folder = Path(name).expanduser()
    paths, others = _image_paths(folder)
    if not paths:
        raise ValueError(
            f"{name} holds no images: expected files ending in {', '.join(EXTENSIONS)} in it or below, "
            f"found {_in_words(others)}."
        )
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
    # Without `onerror`, os.walk would silently pass over subfolders that it may not read.
    for parent, subfolders, files in os.walk(folder, onerror=fail, followlinks=True):
        # Links are followed, since data sets are often linked into place, but not back up to where they are.
        here = Path(parent).resolve()
        subfolders[:] = [
            name
            for name in subfolders
            if not name.startswith(".") and not here.is_relative_to(Path(parent, name).resolve())
        ]
        for name in files:
            path = Path(parent, name)
            if name.startswith("."):
                continue
            if path.suffix.lower() in EXTENSIONS:
                paths.append(path)
            else:
                others[path.suffix.lower() or "no extension"] += 1
    return sorted(paths, key=lambda path: path.relative_to(folder).parts), others


def _in_words(extensions: Counter[str]) -> str:
    if not extensions:
        return "no files"
    counts = ", ".join(f"{number} ({extension})" for extension, number in extensions.most_common(5))
    return f"other files: {counts}"


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
