"""Image files without their metadata, and which way up their pictures lie.

Before any pixel, Pillow reads texts, colour profiles and the notes of cameras, and stops at what is odd in them.
None of that says what the pixels are. So it gets the file without, and the orientation is read here.
"""

import re
import struct
import zlib
from contextlib import suppress
from typing import NamedTuple

# Among the pixels of a JPEG file, a byte of 0xFF before 0 is one of them, and eight markers only count.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_JPEG_END = b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PNG_SMALL = 1 << 16
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# The tags of TIFF that decide what is shown: sizes, compression, colours, places of pixels.
_TIFF_TAGS = {
    *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338),
    *(339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 50674),
}
_TIFF_XMP = 700
_ORIENTATION = 274
_ORIENTATION_IN_XMP = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])\b")
# In the list of what an AVIF file holds, the entry for EXIF, up to the word that says so.
_EXIF_IN_AVIF = re.compile(rb"(infe[\x02\x03].{7}(?:..)?)Exif", re.DOTALL)
_LONGEST_TEXT = 1 << 20


class Bare(NamedTuple):
    """An image file without its metadata.

    Attributes:
        content: The file that is left.
        exif: Its EXIF, which is a small TIFF file; empty without.
        xmp: Its XMP, which is a text; empty without.
        proven: Whether checksums have shown that its pixels are whole.
    """

    content: bytes
    exif: bytes = b""
    xmp: bytes = b""
    proven: bool = False


def bare(content: bytes, brief: bool = False) -> Bare:
    """Take the metadata out of an image file. What is no JPEG, PNG, TIFF or AVIF file stays as it is.

    Args:
        content: The file.
        brief: Take out the pixels, too, of a JPEG file in which nothing but its end follows them. What is left
            then decodes if the whole file does, in a fraction of the time.

    Raises:
        ValueError: A checksum of a PNG file is wrong, or it needs what the standard of PNG does not know.
    """
    if content.startswith(b"\xff\xd8\xff"):
        return _jpeg(content, brief)
    if content.startswith(_PNG):
        return _png(content)
    if content.startswith(_TIFF):
        return _tiff(content)
    if content[4:8] == b"ftyp":
        # The orientation of these is a property of the picture, which EXIF can only repeat.
        return Bare(_EXIF_IN_AVIF.sub(rb"\1none", content))
    return Bare(content)


def orientation(exif: bytes, xmp: bytes) -> int:
    """Say which way up a picture lies: 1 (upright) to 8, as EXIF counts; 1 where nothing says it.

    Example:
        >>> orientation(b"", b'<rdf:Description tiff:Orientation="6"/>')
        6
    """
    tiff = exif.removeprefix(b"Exif\0\0").removeprefix(b"Exif\0\0")
    order, _, entries = _directory(tiff)
    for tag, kind, _, value in (_parts(order, entry) for entry in entries):
        if tag == _ORIENTATION and kind in (3, 4):
            (number,) = struct.unpack_from(order + "HI"[kind - 3], value)
            if 1 <= number <= 8:
                return int(number)
    found = _ORIENTATION_IN_XMP.search(xmp)
    return int(found[1]) if found else 1


def _jpeg(content: bytes, brief: bool) -> Bare:
    kept, exif, xmp, pixels = _segments(content)
    if brief and (following := _JPEG_MARKER.search(content, pixels)) and content[following.start() :] == _JPEG_END:
        return Bare(kept + _JPEG_END, exif, xmp)
    return Bare(kept + content[pixels:], exif, xmp)


def _segments(content: bytes) -> tuple[bytes, bytes, bytes, int]:
    """What stands before the pixels of a JPEG file, its EXIF and XMP, and where the pixels begin."""
    kept, exif, xmp = [content[:2]], b"", b""
    place = 2
    # Whatever is no marker is passed over, as libjpeg does; a marker may begin with several bytes of 0xFF.
    while (place := content.find(b"\xff", place) + 1) and place + 3 <= len(content):
        marker = content[place]
        if marker in (0x00, 0xFF):
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD9:  # has no content
            kept.append(content[place - 1 : place + 1])
            continue
        end = place + 1 + max(int.from_bytes(content[place + 1 : place + 3]), 2)
        data = content[place + 3 : end]
        if marker == 0xE1 and data.startswith(b"Exif\0\0"):
            exif += data[6:]
        elif marker == 0xE1 and data.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            xmp += data
        # Of all applications, those of JFIF and Adobe say which colours the channels are.
        says_colours = (marker == 0xE0 and data.startswith(b"JFIF\0") and len(data) >= 14) or (
            marker == 0xEE and data.startswith(b"Adobe") and len(data) >= 12
        )
        if says_colours or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(content[place - 1 : end])
        if marker == 0xDA:
            return b"".join(kept), exif, xmp, end
        place = end
    return b"".join(kept), exif, xmp, len(content)


def _png(content: bytes) -> Bare:
    """Keep the chunks that say what the pixels are, if their checksums are right."""
    kept, exif, xmp = [_PNG], b"", b""
    place, ended, transparent = len(_PNG), False, False
    depth, colour = (*content[24:26], 0, 0)[:2]
    while not ended and (kind := content[place + 4 : place + 8]).isalpha():
        length = int.from_bytes(content[place : place + 4])
        chunk, data = content[place : place + 12 + length], content[place + 8 : place + 8 + length]
        place += 12 + length
        if kind == b"eXIf":
            exif = data
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            exif = exif or _profile(_text(kind, data, b"Raw profile type exif"))
            xmp = xmp or _text(kind, data, b"XML:com.adobe.xmp")
        elif kind in _PNG_CHUNKS:
            if len(chunk) == 12 + length and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
                raise ValueError(f"the checksum of its {kind.decode()} is wrong")
            ended = kind == b"IEND"
            if kind == b"tRNS":
                transparent = True
                chunk = _transparent(data, depth, colour)
            kept.append(chunk)
        elif kind[:1].isupper():
            raise ValueError(f"it has a chunk {kind.decode()}, which the standard of PNG does not know")
    # Palettes and transparent colours can be wrong though the checksums are right. So can the pixels, if another
    # program wrote them wrong; what is small decodes as fast as it is believed.
    plain = depth == 8 and colour != 3 and not transparent
    return Bare(b"".join(kept), exif, xmp, proven=ended and plain and len(content) > _PNG_SMALL)


def _transparent(data: bytes, depth: int, colour: int) -> bytes:
    """The chunk of PNG for the transparent colour, in the 8 bits to which Pillow scales; empty if it is wrong."""
    if (colour, len(data)) in ((0, 2), (2, 6)) and depth < 16:
        highest = 2**depth - 1
        samples = [(sample & highest) * 255 // highest for (sample,) in struct.iter_unpack(">H", data)]
        data = struct.pack(f">{len(samples)}H", *samples)
    elif not (colour == 3 and 1 <= len(data) <= 256) and (colour, len(data)) not in ((0, 2), (2, 6)):
        return b""
    named = b"tRNS" + data
    return struct.pack(">I", len(data)) + named + struct.pack(">I", zlib.crc32(named))


def _text(kind: bytes, data: bytes, wanted: bytes) -> bytes:
    """The text of a chunk of PNG if it has this key and can be read."""
    key, _, text = data.partition(b"\0")
    if key != wanted:
        return b""
    packed = kind == b"zTXt" or (kind == b"iTXt" and text[:1] == b"\1")
    text = {b"tEXt": text, b"zTXt": text[1:], b"iTXt": text[2:].split(b"\0", 2)[-1]}[kind]
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(text, _LONGEST_TEXT) if packed else text
    return b""


def _profile(text: bytes) -> bytes:
    """What ImageMagick wrote in hexadecimal digits: three lines (empty, name, length), then these."""
    with suppress(ValueError):
        return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
    return b""


def _tiff(content: bytes) -> Bare:
    """Keep the first directory of a TIFF file, with the tags that decide what is shown."""
    order, start, entries = _directory(content)
    parts = [_parts(order, entry) for entry in entries]
    kept = b"".join(entry for entry, (tag, *_) in zip(entries, parts, strict=True) if tag in _TIFF_TAGS)
    if not kept:
        return Bare(content)
    size = len(entries[0])
    count, place = (order + "Q", order + "Q") if size == 20 else (order + "H", order + "I")
    directory = struct.pack(count, len(kept) // size) + kept + struct.pack(place, 0)
    xmp = b""
    for tag, _, number, value in parts:
        if tag == _TIFF_XMP:
            (begin,) = struct.unpack(place, value)
            xmp = content[begin : begin + number]
    return Bare(content[:start] + directory + content[start + len(directory) :], content, xmp)


def _directory(tiff: bytes) -> tuple[str, int, list[bytes]]:
    """The order of bytes of a TIFF file, where its first directory is, and the entries of that."""
    order = ">" if tiff.startswith(b"MM") else "<"
    big = b"+" in tiff[2:4]
    with suppress(struct.error, OverflowError):
        if tiff.startswith(_TIFF):
            (start,) = struct.unpack_from(order + ("Q" if big else "I"), tiff, 8 if big else 4)
            (number,) = struct.unpack_from(order + ("Q" if big else "H"), tiff, start)
            first, size = (start + 8, 20) if big else (start + 2, 12)
            number = min(number, (len(tiff) - first) // size)
            return order, start, [tiff[first + i * size : first + (i + 1) * size] for i in range(number)]
    return order, 0, []


def _parts(order: str, entry: bytes) -> tuple[int, int, int, bytes]:
    """Tag, type and number of values of an entry, and these values or where they are."""
    tag, kind, number = struct.unpack_from(order + ("HHQ" if len(entry) == 20 else "HHI"), entry)
    return tag, kind, number, entry[-8:] if len(entry) == 20 else entry[-4:]
