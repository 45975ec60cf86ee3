"""Fashion-MNIST (Xiao et al. 2017): 10,000 test images in the package, 60,000 training images from elsewhere.

Whatever the source, their content is verified.
"""

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from seelike import hub
from seelike.data.image_set import ImageSet, in_memory, read_only

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
FOLDER_VARIABLE = "SEELIKE_FASHION_MNIST"
HUB_REPOSITORY = "zalando-datasets/fashion_mnist"
HUB_FILE = "fashion_mnist/train-00000-of-00001.parquet"
# What a name that gives a folder begins with.
TRAIN_IN_FOLDER = "fashion-mnist/train@"

_PACKAGED = Path(__file__).parents[1] / "fashion_mnist"
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_OTHER_SOURCES = (
    "Other ways: install Debian's package dataset-fashion-mnist; or name a folder that holds "
    "train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz, "
    f"as '{TRAIN_IN_FOLDER}FOLDER' or in the environment variable {FOLDER_VARIABLE}."
)


@dataclass(frozen=True)
class _Split:
    """What half of Fashion-MNIST has to be, whatever the files it comes from."""

    prefix: str
    number: int
    pixels_sha256: str
    labels_sha256: str


_SPLITS = {
    "test": _Split(
        prefix="t10k",
        number=10_000,
        pixels_sha256="c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        labels_sha256="3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
    ),
    "train": _Split(
        prefix="train",
        number=60_000,
        pixels_sha256="2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
        labels_sha256="657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
    ),
}


def garments(split: str) -> ImageSet:
    """Load the images themselves, "test" or "train"."""
    return _from_folder("test", _PACKAGED) if split == "test" else _train()


def rotated(split: str) -> ImageSet:
    """Turn them left by 90 degrees."""
    return _changed("fashion-mnist-rotated", split, lambda levels: np.rot90(levels, axes=(1, 2)))


def inverted(split: str) -> ImageSet:
    """Exchange black and white."""
    return _changed("fashion-mnist-inverted", split, lambda levels: 255 - levels)


def train_in_folder(name: str) -> ImageSet:
    """Load the training images of a folder, which the name gives after `TRAIN_IN_FOLDER`."""
    return _from_folder("train", Path(name.removeprefix(TRAIN_IN_FOLDER)))


def _changed(name: str, split: str, change: Callable[[np.ndarray], np.ndarray]) -> ImageSet:
    original = garments(split)
    assert isinstance(original.stored, np.ndarray)
    stored = np.ascontiguousarray(change(original.stored))
    return replace(original, name=f"{name}/{split}", stored=read_only(stored))


def _train() -> ImageSet:
    # A folder that the user chose has to be right: going on to the next source would hide a wrong path.
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return _from_folder("train", Path(chosen))
    if _DEBIAN.is_dir():
        return _from_folder("train", _DEBIAN)
    return _train_from_hub()


def _from_folder(split: str, folder: Path) -> ImageSet:
    wanted = _SPLITS[split]
    folder = folder.expanduser()
    pixels_file = _existing(folder / f"{wanted.prefix}-images-idx3-ubyte.gz")
    labels_file = _existing(folder / f"{wanted.prefix}-labels-idx1-ubyte.gz")
    pixels = _read_idx(pixels_file, (wanted.number, 28, 28))
    labels = _read_idx(labels_file, (wanted.number,))
    return _verified(split, pixels, labels, pixels_file, labels_file)


def _existing(compressed: Path) -> Path:
    plain = compressed.with_suffix("")
    for path in (compressed, plain):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"Fashion-MNIST: found neither {compressed} nor {plain.name} beside it. Give the folder that holds the "
        "data set's files."
    )


def _read_idx(path: Path, shape: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """Read a file of unsigned bytes in the IDX format of MNIST, which has to have this shape."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is damaged: expected a whole gzip file, found {path.stat().st_size:,} bytes that do not "
            f"decompress ({error}). Get the file again."
        ) from error
    # Two zero bytes, 8 for "unsigned byte", the number of axes, then the length of each, big-endian.
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">i4").tobytes()
    if not content.startswith(header):
        raise ValueError(
            f"{path} is damaged or another file: expected the IDX header {header.hex(' ', -4)} (unsigned bytes, "
            f"shape {list(shape)}), found {content[: len(header)].hex(' ', -4) or 'an empty file'}. "
            "Get the file again."
        )
    expected, found = int(np.prod(shape)), len(content) - len(header)
    if found != expected:
        raise ValueError(
            f"{path} is damaged: expected {expected:,} bytes after the header, found {found:,}. "
            "Get the file again."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=len(header)).reshape(shape)


def _train_from_hub() -> ImageSet:
    where = f"the Hugging Face hub (data set {HUB_REPOSITORY})"
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            f"Reading Fashion-MNIST's training images from {where} needs pyarrow: pip install pyarrow. "
            + _OTHER_SOURCES
        ) from error
    path = hub.download(HUB_REPOSITORY, HUB_FILE, kind="dataset", hint=_OTHER_SOURCES).path
    try:
        table = parquet.read_table(path, columns=["image", "label"])
        pixels = np.stack([_grey_levels(row["bytes"]) for row in table.column("image").to_pylist()])
        labels = np.array(table.column("label").to_pylist()).astype(np.uint8)
    except (KeyError, TypeError, OSError, ValueError) as error:
        raise ValueError(
            f"{path}, from {where}, is damaged or another file: expected a parquet file with 28 x 28 images in "
            f"column 'image' and classes in column 'label', found: {error} {_OTHER_SOURCES}"
        ) from error
    return _verified("train", pixels, labels, path, path)


def _grey_levels(encoded: bytes) -> UInt8[np.ndarray, "height width"]:
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("L"))


def _verified(
    split: str,
    pixels: UInt8[np.ndarray, "..."],
    labels: UInt8[np.ndarray, "..."],
    pixels_file: Path,
    labels_file: Path,
) -> ImageSet:
    wanted = _SPLITS[split]
    for what, array, expected, path in (
        ("images", pixels, wanted.pixels_sha256, pixels_file),
        ("labels", labels, wanted.labels_sha256, labels_file),
    ):
        found = hashlib.sha256(array.tobytes()).hexdigest()
        if found != expected:
            raise ValueError(
                f"The {what} in {path} are not those of fashion-mnist/{split}: expected {wanted.number:,} with "
                f"sha256 {expected}, found {len(array):,} with sha256 {found}. Get the file again."
            )
    return in_memory(f"fashion-mnist/{split}", pixels, labels, list(CLASSES))
