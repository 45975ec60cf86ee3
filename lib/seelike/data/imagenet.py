"""The classes of ImageNet's 50,000 validation images (ILSVRC 2012), where they lie flat in one folder.

The archive that ImageNet gives out holds ILSVRC2012_val_00000001.JPEG to ILSVRC2012_val_00050000.JPEG, and no
class. Each class has three names: a WordNet id (n01440764, a tench), an ILSVRC id (449), and the number that
networks trained on ImageNet give it (0), which is the place of its WordNet id in sorted order. ILSVRC ids have an
order of their own: 1 is n02119789, a fox. What tells the class of an image, in the order in which it is looked
for:

- the WordNet id in the file's name, as in ILSVRC2012_val_00000001_n01751748.JPEG of the Hugging Face hub's
  archive;
- `LOC_val_solution.csv`, from Kaggle, which has the WordNet id of each image;
- `ILSVRC2012_validation_ground_truth.txt` with `meta.mat`, both of the development kit (ILSVRC2012_devkit_t12):
  line n of the first is the ILSVRC id of image n, and the second has the WordNet id of each ILSVRC id;
- the first of these two alone. Then labels are ILSVRC ids.

These files may lie beside the images, in one of the four folders above, or there in data, devkit, devkit/data or
ILSVRC2012_devkit_t12/data. `synset_words.txt`, often found with them, has the WordNet ids in sorted order and
knows no ILSVRC ids.
"""

import csv
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"
SOLUTION = "LOC_val_solution.csv"

_IMAGES = 50_000
_CLASSES = 1_000
_NAME = re.compile(r"(ILSVRC2012_val_(\d{8}))(?:_(n\d{8}))?\.JPE?G", re.IGNORECASE)
_PLACES = ("", "data", "devkit", "devkit/data", "ILSVRC2012_devkit_t12/data")

Classes = tuple[np.ndarray, list[str]]


def is_flat(folder: Path, paths: Sequence[Path]) -> bool:
    """Say whether the files of a folder are validation images of ImageNet, all in the folder itself.

    Args:
        folder: The folder.
        paths: All image files in it and below.

    Example:
        >>> is_flat(Path("val"), [Path("val/ILSVRC2012_val_00000001.JPEG")])
        True
        >>> is_flat(Path("val"), [Path("val/n01751748/ILSVRC2012_val_00000001.JPEG")])
        False
    """
    named = [path for path in paths if path.parent == folder and _NAME.fullmatch(path.name)]
    if named and len(named) < len(paths):
        other = next(path for path in paths if path.parent != folder or not _NAME.fullmatch(path.name))
        warnings.warn(
            f"{folder} holds {len(named):,} validation images of ImageNet and {len(paths) - len(named):,} other "
            f"images, such as {other.relative_to(folder)}. All are used, without the classes of ImageNet. Move "
            "the others away to have them.",
            stacklevel=4,
        )
    return len(named) == len(paths)


def classes(folder: Path, paths: Sequence[Path]) -> Classes | None:
    """Find the classes of validation images that lie flat in a folder.

    Args:
        folder: The folder.
        paths: Its images.

    Returns:
        The class of each image, a place among the names of the classes, and these: sorted WordNet ids, or "ILSVRC
        id 1" to "ILSVRC id 1000". None, with a warning, where nothing tells the classes.

    Raises:
        ValueError: A file that should tell the classes is damaged, is another one, or lacks an image.
    """
    matches = [match for path in paths if (match := _NAME.fullmatch(path.name))]
    in_names = [match[3] for match in matches]
    if all(in_names):
        return _numbered(in_names, set(in_names))
    if solution := _find(SOLUTION, folder):
        of_image = _solution(solution)
        missing = [match[1] for match in matches if match[1] not in of_image]
        if missing:
            raise ValueError(
                f"{solution} has no line for {len(missing):,} of the {len(paths):,} images in {folder}, such as "
                f"{missing[0]}. Get the whole file again, from Kaggle."
            )
        return _numbered([of_image[match[1]] for match in matches], set(of_image.values()))
    if truth := _find(GROUND_TRUTH, folder):
        ids = _ground_truth(truth)
        of_images = ids[[_number(match[2], folder) - 1 for match in matches]]
        meta = _find(META, folder)
        if meta is None:
            warnings.warn(_ilsvrc_ids(folder, truth), stacklevel=4)
            return of_images - 1, [f"ILSVRC id {number}" for number in range(1, _CLASSES + 1)]
        wordnet = _wordnet_ids(meta)
        return _numbered([wordnet[number] for number in of_images], set(wordnet.values()))
    warnings.warn(
        f"{folder} holds validation images of ImageNet without classes: all images are used, without labels, and "
        f"probes need labels. Put {GROUND_TRUTH} and {META} beside them, from the development kit of ILSVRC 2012 "
        f"(ILSVRC2012_devkit_t12.tar.gz, in its folder data), or {SOLUTION} from Kaggle.",
        stacklevel=4,
    )
    return None


def _numbered(names: Sequence[str], known: set[str]) -> Classes:
    class_names = sorted(known)
    numbers = {name: number for number, name in enumerate(class_names)}
    return np.array([numbers[name] for name in names], dtype=np.int64), class_names


def _find(file: str, folder: Path) -> Path | None:
    return next((path for path in _candidates(file, folder) if path.is_file()), None)


def _candidates(file: str, folder: Path) -> Iterator[Path]:
    above = folder.resolve()
    for parent in (above, *list(above.parents)[:4]):
        for place in _PLACES:
            yield parent / place / file


def _number(digits: str, folder: Path) -> int:
    number = int(digits)
    if not 1 <= number <= _IMAGES:
        raise ValueError(
            f"{folder} holds an image ILSVRC2012_val_{digits}, but the validation images are numbered 1 to "
            f"{_IMAGES:,}."
        )
    return number


def _ground_truth(path: Path) -> np.ndarray:
    """Read the ILSVRC id of each of the 50,000 images."""
    lines = path.read_text(errors="replace").split()
    wrong = next(
        (i for i, line in enumerate(lines) if not line.isdecimal() or not 1 <= int(line) <= _CLASSES), None
    )
    if wrong is not None:
        raise ValueError(
            f"{path} is damaged or another file: expected one number from 1 to {_CLASSES:,} for each image, "
            f"found {lines[wrong][:20]!r} for image {wrong + 1:,}. Get it again, from the development kit of "
            "ILSVRC 2012."
        )
    if len(lines) != _IMAGES:
        raise ValueError(
            f"{path} has {len(lines):,} lines; expected {_IMAGES:,}, one for each validation image, whichever of "
            "them are here: line n is for image n. Get it again, from the development kit of ILSVRC 2012."
        )
    return np.array(lines, dtype=np.int64)


def _solution(path: Path) -> dict[str, str]:
    """Read the WordNet id of each image; a line has it before each box around an object, always the same."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = csv.reader(file)
        head = next(lines, [])
        wordnet = {line[0]: line[1].split()[0] for line in lines if len(line) == 2 and line[1].strip()}
    strange = next((name for name in wordnet.values() if not re.fullmatch(r"n\d{8}", name)), None)
    if head != ["ImageId", "PredictionString"] or strange is not None or not wordnet:
        raise ValueError(
            f"{path} is damaged or another file: expected the columns ImageId and PredictionString, the second "
            f"beginning with a WordNet id such as n01440764; found the columns {head}"
            f"{'' if strange is None else f' and {strange[:20]!r}'}. Get it again, from Kaggle."
        )
    return wordnet


def _wordnet_ids(path: Path) -> dict[int, str]:
    """Read the WordNet id of each of the ILSVRC ids from 1 to 1000; beyond are their ancestors."""
    try:
        synsets = loadmat(path, squeeze_me=True, variable_names=["synsets"])["synsets"]
        pairs = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
        wordnet = {int(number): str(name) for number, name in pairs if int(number) <= _CLASSES}
    # What SciPy raises for a damaged file is not documented, and of many kinds.
    except Exception as error:
        raise ValueError(
            f"{path} is damaged or another file: expected a table 'synsets' with ILSVRC2012_ID and WNID "
            f"({type(error).__name__}: {error}). Get it again, from the development kit of ILSVRC 2012."
        ) from error
    if sorted(wordnet) != list(range(1, _CLASSES + 1)) or len(set(wordnet.values())) != _CLASSES:
        raise ValueError(
            f"{path} names {len(wordnet):,} classes with ILSVRC ids up to {_CLASSES:,}; expected each id once, "
            "with a WordNet id of its own. Get it again, from the development kit of ILSVRC 2012."
        )
    return wordnet


def _ilsvrc_ids(folder: Path, truth: Path) -> str:
    return (
        f"The labels of the images in {folder} are the ILSVRC ids of {truth}. Their order is not that of the "
        "classes of networks, which follow sorted WordNet ids: do not compare the two. Probes learn the classes "
        f"from the images, and are the same either way. Put {META} of the development kit beside it to have "
        "WordNet ids; synset_words.txt knows no ILSVRC ids."
    )
