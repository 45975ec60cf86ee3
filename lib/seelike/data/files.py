"""Image files: which can be read, and what they show as 8-bit grey or RGB."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from seelike.data.metadata import bare, orientation

try:
    from PIL.AvifImagePlugin import SUPPORTED as _AVIF
except ImportError:  # before Pillow 11.3
    _AVIF = False

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *([".avif"] if _AVIF else []),
)

# No others: Pillow would have Ghostscript run an EPS file, whatever its name.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", *(["AVIF"] if _AVIF else []))

# The modes of Pillow that have a plain meaning in grey levels or RGB. Left out are 32-bit and floating-point
# images, whose black and white are unknown, and LAB, which Pillow cannot convert.
_READABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B")

# What makes a picture upright, by its orientation in EXIF.
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def whole(title: str, root: Path, paths: Sequence[Path]) -> list[int]:
    """Find the image files that can be read, and warn of the others.

    Args:
        title: What the files are, for messages.
        root: A folder above all of them.
        paths: The files.

    Returns:
        The indices of those that can be read.

    Raises:
        ValueError: None can be read.
    """
    problems = [_problem(path) for path in paths]
    readable = [i for i, problem in enumerate(problems) if problem is None]
    broken = [f"{path.relative_to(root)} ({each})" for path, each in zip(paths, problems, strict=True) if each]
    if broken:
        message = f"{len(broken)} of {len(paths)} image files in {title} cannot be read: " + ", ".join(broken[:3])
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
        _picture(path, brief=True)
    except UnidentifiedImageError:
        return "no image of a kind that is read, whatever its name says" if path.stat().st_size else "empty"
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    except Exception as error:
        return str(error) or type(error).__name__
    return None


def decode(path: Path) -> Image.Image:
    """Open an image file, as `ImageSet` shows it; the error names the file."""
    # As in `_problem`: the kinds of errors are many, and a long run has to say which file stopped it.
    try:
        return _picture(path)
    except Exception as error:
        raise ValueError(
            f"The image file {path} cannot be decoded ({error}), though it looked whole when it was loaded. "
            "Replace or remove it."
        ) from error


def _picture(path: Path, brief: bool = False) -> Image.Image:
    """What an image file shows.

    Args:
        path: The file.
        brief: Only find out whether it can be decoded. That of every file could take as long as a network's pass.
            So pixels are not decoded where the end mark of JPEG or the checksums of PNG show that they are whole.
    """
    # To open a pipe waits for who writes into it, and devices have no end.
    if path.exists() and not path.is_file():
        raise ValueError("a folder, pipe, socket or device")
    found = bare(path.read_bytes(), brief)
    with Image.open(io.BytesIO(found.content), formats=_FORMATS) as image:
        # Pillow 10 opens 16-bit grey PNG as mode "I".
        if image.mode not in _READABLE_MODES and (image.mode, image.format) != ("I", "PNG"):
            raise ValueError(f"pixels of mode {image.mode} have no known range")
        if 0 in image.size:
            raise ValueError(f"its size is {image.width} x {image.height} pixels")
        if brief and found.proven:
            return image
        if brief:
            image.draft(None, (1, 1))  # has libjpeg make an eighth of the size, which is faster
        if isinstance(image, TiffImageFile) and image.mode.startswith("I;16"):
            picture = _deep_tiff(image)
        elif image.format == "PNG" and found.content[24] == 16 and image.mode in ("RGB", "RGBA"):
            picture = _deep_png(found.content)
        else:
            picture = grey_or_rgb(image)
        # Of what stays as it is, Pillow hands on what it does not read.
        exif, xmp = found.exif or image.info.get("exif", b""), found.xmp or image.info.get("xmp", b"")
    turn = _TURNS.get(orientation(exif, xmp))
    return picture if turn is None else picture.transpose(turn)


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
        levels = np.asarray(image)[..., None]
        return _of_16_bits(levels, levels != image.info.get("transparency"))
    grey = image.mode in ("1", "L", "LA")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("L" if grey else "RGB")


def _of_16_bits(levels: np.ndarray, opacity: np.ndarray | float = 1.0) -> Image.Image:
    """The image of levels `[height, width, channels]` from 0 to 65535 with this opacity, on white."""
    shown = (255 - opacity * (255 - levels / 257)).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(shown[..., 0] if shown.shape[2] == 1 else shown)


def _deep_tiff(image: TiffImageFile) -> Image.Image:
    """The image of a TIFF file with 12 or 16 bits of grey, which Pillow leaves as they are."""
    highest = 4095 if 12 in image.tag_v2[BITSPERSAMPLE] else 65535
    levels = np.asarray(image)[..., None] * (65535 / highest)
    white_is_zero = image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0
    return _of_16_bits(65535 - levels if white_is_zero else levels)


def _deep_png(content: bytes) -> Image.Image:
    """The image of a PNG file with 16 bits in each of several channels, of which Pillow keeps the upper 8."""
    with Image.open(io.BytesIO(content)) as image:
        transparent = image.info.get("transparency")
    if content[25] == 4:  # grey with alpha, four bytes a pixel, which Pillow can take for 8-bit RGBA
        halves = _unpacked(content, "RGBA")
        high, low = halves[..., ::2], halves[..., 1::2]
    else:
        high, low = (_unpacked(content, f"{image.mode};16{half}") for half in "BL")
    levels = high * 256 + low
    if image.mode == "RGBA":
        return _of_16_bits(levels[..., :-1], levels[..., -1:] / 65535)
    return _of_16_bits(levels, 1.0 if transparent is None else (levels != transparent).any(axis=2, keepdims=True))


def _unpacked(content: bytes, layout: str) -> np.ndarray:
    """The pixels of a PNG file, its bytes taken as Pillow's unpacker of this name takes them."""
    with Image.open(io.BytesIO(content)) as image:
        codec, box, place, _ = image.tile[0]
        image.tile = [(codec, box, place, layout)]  # type: ignore[list-item] # in Pillow 10, too
        return np.asarray(image, dtype=np.int64)
