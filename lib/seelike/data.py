"""Images to show to networks: Fashion-MNIST, or any folder of images.

The 10,000 test images of Fashion-MNIST (Xiao et al. 2017) are part of the package, so nothing has to be
downloaded. Its 60,000 training images come from a folder or from the Hugging Face hub. Whatever the source, their
content is verified.
"""

import gzip
import hashlib
import io
import operator
import os
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from seelike import textures
from seelike.errors import unknown_name

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
FASHION_MNIST_CLASSES = (
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

_SETS = ("fashion-mnist", "fashion-mnist-rotated", "fashion-mnist-inverted", "digits", "textures")
_NAMES = tuple(f"{name}{split}" for name in _SETS for split in ("", "/test", "/train"))
_TRAIN_IN_FOLDER = "fashion-mnist/train@"
_PACKAGED = Path(__file__).parent / "fashion_mnist"
_DIGITS = Path(__file__).parent / "digits" / "digits.npz"
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_OTHER_SOURCES = (
    "Other ways: install Debian's package dataset-fashion-mnist; or name a folder that holds "
    "train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz, "
    f"as '{_TRAIN_IN_FOLDER}FOLDER' or in the environment variable {FOLDER_VARIABLE}."
)
# The modes of Pillow that have a plain meaning in grey levels or RGB. Left out are 32-bit and floating-point
# images, whose black and white are unknown, and LAB, which Pillow cannot convert.
_READABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B")


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


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images in a fixed order, with or without classes; `load` makes them.

    Images stay as they are stored (files, or bytes in memory) until they are asked for: `images[i]` decodes one,
    and `for image in images` all, one by one. An ImageSet never changes; `sample` makes a new one that shares the
    storage.

    Attributes:
        name: What was loaded: "fashion-mnist/test", or the folder as it was given.
        labels: Class of each image, a place in `class_names`; None without classes.
        class_names: Names of the classes; None without classes.
        stored: All images of the source: grey levels in memory, or paths of files.
        places: Where in `stored` each image of this set is.

    Example:
        >>> images = load("fashion-mnist/test")
        >>> images
        <ImageSet 'fashion-mnist/test': 10,000 images, 10 classes>
        >>> images[0].size, images.class_names[images.labels[0]]
        ((28, 28), 'Ankle boot')
    """

    name: str
    labels: Int64[np.ndarray, "n"] | None
    class_names: list[str] | None
    stored: UInt8[np.ndarray, "all height width"] | Sequence[Path]
    places: Int64[np.ndarray, "n"]

    def __repr__(self) -> str:
        """Say the name and how many images and classes there are."""
        classes = "" if self.class_names is None else f", {len(self.class_names)} classes"
        return f"<ImageSet {self.name!r}: {len(self):,} images{classes}>"

    def __len__(self) -> int:
        """Count the images."""
        return len(self.places)

    def __getitem__(self, i: SupportsIndex) -> Image.Image:
        """Decode image `i`, in mode "L" (grey) or "RGB", 8 bits a channel.

        The EXIF orientation is applied, transparent parts lie on white, 16-bit grey levels are scaled to 8 bits, a
        palette gives RGB, and of an animation the first frame is shown.

        Raises:
            IndexError: There is no image `i`.
            ValueError: The image file cannot be decoded; the error names it.
        """
        place = self.places[operator.index(i)]
        if isinstance(self.stored, np.ndarray):
            return Image.fromarray(self.stored[place])
        return _decode(self.stored[place])

    def sample(self, n: int, seed: int) -> "ImageSet":
        """Draw n images without replacement, in random order, with their labels.

        The same seed draws the same images on every platform. A smaller sample is the beginning of a larger one.

        Args:
            n: How many images.
            seed: Seed of the generator, 0 or more.

        Raises:
            ValueError: n is less than 1, or more than there are images.

        Example:
            >>> images = load("fashion-mnist/test").sample(100, seed=0)
            >>> len(images), len(images.labels)
            (100, 100)
        """
        if not 1 <= n <= len(self):
            raise ValueError(
                f"Cannot draw {n} images without replacement from {self.name}, which has {len(self)}; "
                f"ask for 1 to {len(self)}."
            )
        return self.select(np.random.default_rng(seed).permutation(len(self))[:n].astype(np.int64))

    def select(self, chosen: Int64[np.ndarray, "n"]) -> "ImageSet":
        """Take the images at these indices, in this order, with their labels.

        Args:
            chosen: Indices of images, from 0.

        Raises:
            IndexError: There is no such image.

        Example:
            >>> images = load("fashion-mnist/test")
            >>> images.select(np.flatnonzero(images.labels == 9))
            <ImageSet 'fashion-mnist/test': 1,000 images, 10 classes>
        """
        labels = None if self.labels is None else _read_only(self.labels[chosen])
        return replace(self, labels=labels, places=_read_only(self.places[chosen]))

    def batches(
        self, transform: Callable[[Image.Image], Tensor], batch_size: int
    ) -> Iterator[Float32[Tensor, "b c h w"]]:
        """Transform the images and stack them, in order; the last batch may be smaller.

        Args:
            transform: Turns an image into a tensor [c, h, w], of the same shape for all images, such as
                `seelike.models.preprocessing` gives.
            batch_size: Images in a batch.

        Returns:
            Iterator over float32 tensors [b, c, h, w].

        Raises:
            ValueError: `batch_size` is less than 1; or, while iterating, an image cannot be decoded, or its tensor
                is not [c, h, w] or of another shape than that of the first image. The error names the image.

        Example:
            >>> images = load("fashion-mnist/test").sample(100, seed=0)
            >>> grey_levels = lambda image: torch.from_numpy(np.array(image))[None]
            >>> [list(batch.shape) for batch in images.batches(grey_levels, batch_size=64)]
            [[64, 1, 28, 28], [36, 1, 28, 28]]
        """
        # Not itself a generator, so that a wrong batch size is found by the call and not by the first batch.
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected 1 or more.")
        return self._batches(transform, batch_size)

    def _batches(self, transform: Callable[[Image.Image], Tensor], batch_size: int) -> Iterator[Tensor]:
        shape = None
        for start in range(0, len(self), batch_size):
            tensors = []
            for i in range(start, min(start + batch_size, len(self))):
                tensor = transform(self[i])
                if not isinstance(tensor, Tensor) or tensor.ndim != 3:
                    found = f"shape {list(tensor.shape)}" if isinstance(tensor, Tensor) else repr(type(tensor))
                    raise ValueError(
                        f"The transform turned {self._title(i)} into {found}; expected a tensor [c, h, w]."
                    )
                shape = shape or tensor.shape
                if tensor.shape != shape:
                    raise ValueError(
                        f"The transform turned {self._title(i)} into shape {list(tensor.shape)}, but "
                        f"{self._title(0)} into {list(shape)}. Batches need equal shapes: let the transform "
                        "resize and crop, and convert all images to grey or all to RGB."
                    )
                tensors.append(tensor)
            yield torch.stack(tensors).float()

    def _title(self, i: int) -> str:
        place = self.places[i]
        if isinstance(self.stored, np.ndarray):
            return f"image {place} of {self.name}"
        return str(self.stored[place])


def load(images: str | Path) -> ImageSet:
    """Load an image set by its name, or the images of a folder.

    The names:

    - "fashion-mnist" or "fashion-mnist/test": the 10,000 test images, part of the package.
    - "fashion-mnist/train": the 60,000 training images, from the folder in the environment variable
      SEELIKE_FASHION_MNIST if it is set, else from that of Debian's package dataset-fashion-mnist, else from the
      Hugging Face hub (30 MB, kept in its cache; needs pyarrow).
    - "fashion-mnist/train@FOLDER": the same, from a folder that holds train-images-idx3-ubyte and
      train-labels-idx1-ubyte, with or without .gz.
    - "fashion-mnist-rotated" and "fashion-mnist-inverted", each with /test or /train: the same images, turned left
      by 90 degrees, or with black and white exchanged.
    - "digits/test" (500) and "digits/train" (1,297): handwritten digits of the UCI repository (Alpaydin and Kaynak
      1998), 8 x 8 pixels of 17 grey levels enlarged to 28 x 28; part of the package.
    - "textures/test" (2,000) and "textures/train" (20,000): made by `seelike.textures`.

    Anything else is a folder (one called fashion-mnist is "./fashion-mnist"). All files with the extensions of
    `EXTENSIONS` are its images, in sorted order, at any depth; hidden files and folders are passed over.
    Subfolders that hold images are the classes, in sorted order. If images lie beside the subfolders too, these
    are no classes: all images are used, without labels, and a warning says so. Every file is checked; broken ones
    are left out, and one warning names them.

    Args:
        images: Name of an image set, or a folder; `~` is the home folder.

    Raises:
        UnknownName: It is neither a known name nor an existing folder.
        ValueError: A file of Fashion-MNIST is damaged, or the folder holds no image that can be read.
        FileNotFoundError: A file of Fashion-MNIST is missing.
        NotADirectoryError: It is a file.
        ConnectionError: The training images are not on this machine and the hub cannot be reached.
        ImportError: The training images would come from the hub, but pyarrow is missing.

    Example:
        >>> load("fashion-mnist")
        <ImageSet 'fashion-mnist/test': 10,000 images, 10 classes>
        >>> load("fashion-minst/test")
        Traceback (most recent call last):
            ...
        seelike.errors.UnknownName: Unknown image set 'fashion-minst/test'. Did you mean 'fashion-mnist/test', \
'fashion-mnist', 'fashion-mnist-rotated/test'? There is no folder of this name either.
    """
    name = images.as_posix() if isinstance(images, Path) else images
    if name in ("fashion-mnist", "fashion-mnist/test"):
        return _fashion_mnist_from_folder("test", _PACKAGED)
    if name == "fashion-mnist/train":
        return _fashion_mnist_train()
    if name.startswith(_TRAIN_IN_FOLDER):
        return _fashion_mnist_from_folder("train", Path(name.removeprefix(_TRAIN_IN_FOLDER)))
    if name in _NAMES:
        source, _, split = name.partition("/")
        return _OTHER_SETS[source](split or "test")
    return _images_of_folder(name)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


# Fashion-MNIST


def _fashion_mnist_train() -> ImageSet:
    # A folder that the user chose has to be right: going on to the next source would hide a wrong path.
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return _fashion_mnist_from_folder("train", Path(chosen))
    if _DEBIAN.is_dir():
        return _fashion_mnist_from_folder("train", _DEBIAN)
    return _fashion_mnist_train_from_hub()


def _fashion_mnist_from_folder(split: str, folder: Path) -> ImageSet:
    wanted = _SPLITS[split]
    folder = folder.expanduser()
    pixels_file = _existing(folder / f"{wanted.prefix}-images-idx3-ubyte.gz")
    labels_file = _existing(folder / f"{wanted.prefix}-labels-idx1-ubyte.gz")
    pixels = _read_idx(pixels_file, (wanted.number, 28, 28))
    labels = _read_idx(labels_file, (wanted.number,))
    return _verified_fashion_mnist(split, pixels, labels, pixels_file, labels_file)


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


def _fashion_mnist_train_from_hub() -> ImageSet:
    where = f"the Hugging Face hub (data set {HUB_REPOSITORY})"
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            f"Reading Fashion-MNIST's training images from {where} needs pyarrow: pip install pyarrow. "
            + _OTHER_SOURCES
        ) from error
    from huggingface_hub import hf_hub_download

    try:
        path = Path(hf_hub_download(HUB_REPOSITORY, HUB_FILE, repo_type="dataset"))
    # Which exceptions mean "no network" differs between versions of the hub's client, so all of them do here.
    except Exception as error:
        raise ConnectionError(
            f"Could not get Fashion-MNIST's training images from {where}: {error} {_OTHER_SOURCES}"
        ) from error
    try:
        table = parquet.read_table(path, columns=["image", "label"])
        pixels = np.stack([_grey_levels(row["bytes"]) for row in table.column("image").to_pylist()])
        labels = np.array(table.column("label").to_pylist()).astype(np.uint8)
    except (KeyError, TypeError, OSError, ValueError) as error:
        raise ValueError(
            f"{path}, from {where}, is damaged or another file: expected a parquet file with 28 x 28 images in "
            f"column 'image' and classes in column 'label', found: {error} {_OTHER_SOURCES}"
        ) from error
    return _verified_fashion_mnist("train", pixels, labels, path, path)


def _grey_levels(encoded: bytes) -> UInt8[np.ndarray, "height width"]:
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("L"))


def _verified_fashion_mnist(
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
    return _in_memory(f"fashion-mnist/{split}", pixels, labels, list(FASHION_MNIST_CLASSES))


# What networks are finetuned on


def _rotated(split: str) -> ImageSet:
    return _changed("fashion-mnist-rotated", split, lambda levels: np.rot90(levels, axes=(1, 2)))


def _inverted(split: str) -> ImageSet:
    return _changed("fashion-mnist-inverted", split, lambda levels: 255 - levels)


def _changed(name: str, split: str, change: Callable[[np.ndarray], np.ndarray]) -> ImageSet:
    garments = load(f"fashion-mnist/{split}")
    assert isinstance(garments.stored, np.ndarray)
    stored = np.ascontiguousarray(change(garments.stored))
    return replace(garments, name=f"{name}/{split}", stored=_read_only(stored))


def _digits(split: str) -> ImageSet:
    with np.load(_DIGITS) as content:
        levels, labels = content["levels"], content["labels"]
    # Each writer's digits lie together: the last images are of writers who wrote none of the first.
    kept = slice(-500, None) if split == "test" else slice(None, -500)
    grown = [
        np.asarray(Image.fromarray(each * 15).resize((28, 28), Image.Resampling.BICUBIC)) for each in levels[kept]
    ]
    return _in_memory(f"digits/{split}", np.stack(grown), labels[kept], [str(digit) for digit in range(10)])


def _textures(split: str) -> ImageSet:
    # Seed and number are part of what the name means.
    levels, labels = textures.textures(2_000, seed=1) if split == "test" else textures.textures(20_000, seed=0)
    return _in_memory(f"textures/{split}", levels, labels, list(textures.CLASSES))


def _in_memory(name: str, levels: np.ndarray, labels: np.ndarray, class_names: list[str]) -> ImageSet:
    return ImageSet(
        name=name,
        labels=_read_only(labels.astype(np.int64)),
        class_names=class_names,
        stored=_read_only(levels),
        places=_read_only(np.arange(len(levels), dtype=np.int64)),
    )


_OTHER_SETS = {
    "fashion-mnist-rotated": _rotated,
    "fashion-mnist-inverted": _inverted,
    "digits": _digits,
    "textures": _textures,
}

# Folders


def _images_of_folder(name: str) -> ImageSet:
    folder = Path(name).expanduser()
    if folder.is_file():
        raise NotADirectoryError(f"{name} is a file; expected a folder of images. Give the folder that holds it.")
    if not folder.is_dir():
        raise unknown_name("image set", name, _NAMES, hint="There is no folder of this name either.")
    paths, others = _image_paths(folder)
    if not paths:
        raise ValueError(
            f"{name} holds no images: expected files ending in {', '.join(EXTENSIONS)} in it or below, "
            f"found {_in_words(others)}."
        )
    class_names = _class_names(folder, paths)
    readable = _without_broken(folder, paths)
    labels = None
    if class_names is not None:
        # By the subfolders found, before broken files were left out: a broken file never renumbers the classes.
        numbers = {class_name: number for number, class_name in enumerate(class_names)}
        labels = np.array([numbers[path.relative_to(folder).parts[0]] for path in readable], dtype=np.int64)
    return ImageSet(
        name=name,
        labels=None if labels is None else _read_only(labels),
        class_names=class_names,
        stored=tuple(readable),
        places=_read_only(np.arange(len(readable), dtype=np.int64)),
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


def _class_names(folder: Path, paths: Sequence[Path]) -> list[str] | None:
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
    return subfolders if subfolders and not loose else None


def _without_broken(folder: Path, paths: Sequence[Path]) -> list[Path]:
    readable, broken = [], []
    for path in paths:
        problem = _problem(path)
        if problem is None:
            readable.append(path)
        else:
            broken.append(f"{path.relative_to(folder)} ({problem})")
    if broken:
        message = f"{len(broken)} of {len(paths)} image files in {folder} cannot be read: " + ", ".join(broken[:3])
        if len(broken) > 3:
            message += f" and {len(broken) - 3} more"
        if not readable:
            raise ValueError(message + ". No image is left.")
        warnings.warn(message + ". They are left out.", stacklevel=4)
    return readable


def _problem(path: Path) -> str | None:
    """Say what is wrong with an image file; None if it can be read."""
    # Pillow raises many kinds of errors for broken files (OSError, SyntaxError, ValueError, struct.error, ...).
    try:
        with Image.open(path) as image:
            # Pillow 10 opens 16-bit grey PNG as mode "I".
            if image.mode not in _READABLE_MODES and (image.mode, image.format) != ("I", "PNG"):
                return f"pixels of mode {image.mode} have no known range"
            # Decoding every file could take as long as a network's pass. The checksums of PNG and the end mark of
            # JPEG tell whether the file is whole at a fraction of that; anything in doubt is decoded.
            if image.format == "PNG":
                image.verify()
            elif image.format in ("JPEG", "MPO") and _ends_like_jpeg(path):
                image.getexif()
            else:
                image.load()
    except UnidentifiedImageError:
        return "no image, whatever its name says"
    except Exception as error:
        return str(error) or type(error).__name__
    return None


def _ends_like_jpeg(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-2, os.SEEK_END)
        return file.read() == b"\xff\xd9"


def _decode(path: Path) -> Image.Image:
    # As in `_problem`: the kinds of errors are many, and a long run has to say which file stopped it.
    try:
        with Image.open(path) as image:
            return grey_or_rgb(ImageOps.exif_transpose(image))
    except Exception as error:
        raise ValueError(
            f"The image file {path} cannot be decoded ({error}), though it looked whole when it was loaded. "
            "Replace or remove it."
        ) from error


def grey_or_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to 8 bits a channel, grey or RGB: transparent parts lie on white.

    Pillow itself would clip 16-bit grey levels at 255, and show whatever colour is stored under transparent parts.

    Raises:
        ValueError: The pixels are floating-point numbers, whose black and white are not known.

    Example:
        >>> grey_or_rgb(Image.new("LA", (1, 1), (0, 0))).getpixel((0, 0))
        255
    """
    if image.mode == "F":
        raise ValueError("The image has floating-point pixels of unknown range. Save it with 8 bits a channel.")
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.float64) / 257
        return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))
    grey = image.mode in ("1", "L", "LA")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("L" if grey else "RGB")
