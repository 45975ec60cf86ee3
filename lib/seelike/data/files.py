"""Image files: which can be read, and what they show as 8-bit grey or RGB."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")

# The modes of Pillow that have a plain meaning in grey levels or RGB. Left out are 32-bit and floating-point
# images, whose black and white are unknown, and LAB, which Pillow cannot convert.
_READABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B")


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


def decode(path: Path) -> Image.Image:
    """Open an image file, as `ImageSet` shows it; the error names the file."""
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
