"""What all explorers share: the output that a notebook keeps, and numbers and pictures packed into few bytes."""

import base64
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Int8, Int16, UInt8
from matplotlib.figure import Figure
from PIL import Image

from seelike.data import ImageSet
from seelike.data.photographs import sources

EXPLORER_MIME = "application/vnd.seelike.explorer+json"
# The scripts and the style sheet that draw explorers in a page.
SCRIPTS = Path(__file__).parent
# Bytes of the data of one explorer: a page shall open on a slow line, too.
LARGEST = 1_500_000
# CKA as whole numbers: the error is 0.00005 at most.
_STEPS_OF_CKA = 10_000
UNDEFINED = -32768
_COLUMNS = 8
# Letters, at nine points, in a line as wide as a figure.
_LETTERS_OF_A_LINE = 64


@dataclass(frozen=True, eq=False)
class Explorer:
    """An explorer, as the last expression of a cell: a still in a notebook, alive in the book.

    Attributes:
        kind: Which script draws it: "cka" or "patch".
        figure: The still.
        alt: What the still shows, for those who cannot see it.
        data: What the script draws; it can be written as JSON.

    Example:
        >>> explorer = Explorer("cka", Figure(), "A map.", {"layers": 2})
        >>> list(explorer._repr_mimebundle_())
        ['text/plain', 'image/png', 'application/vnd.seelike.explorer+json']
        >>> explorer.size
        12
    """

    kind: str
    figure: Figure
    alt: str
    data: dict[str, Any] = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse data that are too large for a page.

        Raises:
            ValueError: They are.
        """
        if self.size > LARGEST:
            raise ValueError(
                f"This explorer has {self.size:,} bytes of data; a page takes {LARGEST:,}. Give fewer networks, "
                "or fewer images."
            )

    @property
    def size(self) -> int:
        """Bytes that the page loads for it."""
        return len(compact(self.data))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        png = BytesIO()
        self.figure.savefig(png, format="png", dpi=160, bbox_inches="tight")
        return {
            "text/plain": self.alt,
            "image/png": base64.b64encode(png.getvalue()).decode(),
            EXPLORER_MIME: {"kind": self.kind, "alt": self.alt, "data": self.data},
        }


def compact(data: Any) -> str:
    """Write data as JSON without spaces, on one line.

    Example:
        >>> compact({"a": [1, 2]})
        '{"a":[1,2]}'
    """
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def packed(numbers: Int8[np.ndarray, "..."] | Int16[np.ndarray, "..."] | UInt8[np.ndarray, "..."]) -> str:
    """Write an array as Base64 of its bytes, row by row, the low byte first.

    Example:
        >>> packed(np.array([[1, 258]], dtype=np.int16))
        'AQACAQ=='
    """
    little = numbers.astype(numbers.dtype.newbyteorder("<"))
    return base64.b64encode(np.ascontiguousarray(little).tobytes()).decode()


def rounded_cka(cka: Float[np.ndarray, "..."]) -> Int16[np.ndarray, "..."]:
    """Round CKA to four decimals, as whole numbers; NaN has a number of its own.

    Example:
        >>> rounded_cka(np.array([1, 0.12344, np.nan])).tolist()
        [10000, 1234, -32768]
    """
    whole = np.round(np.clip(np.nan_to_num(cka), -3, 3) * _STEPS_OF_CKA)
    return np.where(np.isnan(cka), UNDEFINED, whole).astype(np.int16)


def in_levels(values: Float[np.ndarray, "rows columns"]) -> tuple[Int8[np.ndarray, "rows columns"], list[float]]:
    """Round each row to 255 levels of its own, from minus to plus its largest number.

    Returns:
        The levels, and what one level of each row is.

    Example:
        >>> levels, steps = in_levels(np.array([[0.5, -1.27], [0.0, 0.0]]))
        >>> levels.tolist(), steps
        ([[50, -127], [0, 0]], [0.01, 0.0])
    """
    steps = np.abs(values).max(axis=1, initial=0) / 127
    # A row of zeros is a dead layer.
    levels = np.round(values / np.where(steps > 0, steps, 1)[:, None])
    return levels.astype(np.int8), [float(f"{step:.5g}") for step in steps]


def colour_table(name: str) -> str:
    """Pack the 256 colours of one of matplotlib's scales: red, green and blue of each.

    Example:
        >>> len(base64.b64decode(colour_table("magma")))
        768
    """
    colours = matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3]
    return packed(np.round(colours * 255).astype(np.uint8))


def contact_sheet(images: Sequence[Image.Image], side: int) -> dict[str, Any]:
    """Put thumbnails side by side into one small picture, eight in a row.

    Args:
        images: Square or not, grey or in colour. Each is scaled to a square, small ones with their pixels kept.
        side: Pixels along each side of a thumbnail.

    Returns:
        The picture as an address, `src`, and how many thumbnails are in its rows, `columns`, and columns, `rows`.

    Example:
        >>> sheet = contact_sheet([Image.new("L", (28, 28))] * 9, 32)
        >>> sheet["columns"], sheet["rows"], sheet["src"][:22]
        (8, 2, 'data:image/jpeg;base64')
    """
    rows = -(-len(images) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * side, rows * side))
    for number, image in enumerate(images):
        scale = Image.Resampling.NEAREST if max(image.size) < side else Image.Resampling.LANCZOS
        thumbnail = image.convert("RGB").resize((side, side), scale)
        sheet.paste(thumbnail, (number % _COLUMNS * side, number // _COLUMNS * side))
    jpeg = BytesIO()
    sheet.save(jpeg, format="JPEG", quality=85, optimize=True)
    address = f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
    return {"src": address, "columns": _COLUMNS, "rows": rows}


def credit_lines(credit: str) -> list[str]:
    """Break whose the pictures are into lines: some licences ask for it wherever a picture is.

    Example:
        >>> credit_lines("The pictures are of fashion-mnist.")
        ['The pictures are of fashion-mnist.']
    """
    return textwrap.wrap(credit, _LETTERS_OF_A_LINE)


def in_words(images: ImageSet) -> list[str]:
    """Say what each image shows: its class, or what is known of a photograph that comes with seelike.

    Example:
        >>> from seelike.data import load
        >>> in_words(load("photographs"))[7], in_words(load("fashion-mnist"))[0]
        ('two spaniels that look out of a door', 'Ankle boot')
    """
    if images.labels is not None and images.class_names is not None:
        return [images.class_names[label] for label in images.labels]
    if isinstance(images.stored, np.ndarray):
        return [f"image {number}" for number in range(1, len(images) + 1)]
    known: Mapping[Path, str] = {each.file: each.shows for each in sources()}
    files = [images.stored[place] for place in images.places]
    return [known.get(file, f"image {number}") for number, file in enumerate(files, start=1)]
