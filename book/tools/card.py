"""The picture by which a page is shared: the title of the book beside its first figure, twice as wide as high."""

import textwrap
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

# What networks that show large cards ask for, in pixels.
SIZE = (1200, 630)
_MARGIN = 40
_INK = "#16243f"
_FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")


def card(figure: Image.Image, title: str, about: str) -> Image.Image:
    """Draw it.

    Args:
        figure: A picture about as high as wide. It gets the right-hand side.
        title: In large letters.
        about: A sentence below.

    Example:
        >>> card(Image.new("RGB", (90, 90)), "Do they see alike?", "A book of notebooks").size
        (1200, 630)
    """
    sheet = Image.new("RGB", SIZE, "white")
    room = SIZE[0] // 2 - _MARGIN, SIZE[1] - 2 * _MARGIN
    scale = min(room[0] / figure.width, room[1] / figure.height)
    shown = figure.convert("RGBA").resize(
        (round(figure.width * scale), round(figure.height * scale)), Image.Resampling.LANCZOS
    )
    sheet.paste(shown, (SIZE[0] - _MARGIN - shown.width, (SIZE[1] - shown.height) // 2), mask=shown)
    draw = ImageDraw.Draw(sheet)
    top = 2 * _MARGIN
    for text, file, size, width in ((title, "DejaVuSans-Bold.ttf", 48, 18), (about, "DejaVuSans.ttf", 26, 34)):
        font = ImageFont.truetype(str(_FONTS / file), size)
        lines = textwrap.fill(text, width)
        draw.multiline_text((_MARGIN, top), lines, fill=_INK, font=font, spacing=size // 3)
        top = draw.multiline_textbbox((_MARGIN, top), lines, font=font, spacing=size // 3)[3] + _MARGIN
    return sheet
