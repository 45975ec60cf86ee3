"""What image files show, however odd they are: files are written byte by byte, from the standards of formats."""

import io
import os
import socket
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from seelike import data
from seelike.errors import UnknownName

RNG = np.random.default_rng()
AVIF = pytest.param("avif", marks=pytest.mark.skipif(".avif" not in data.EXTENSIONS, reason="Pillow without AVIF"))


def noise(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def upright(stored, orientation):
    """EXIF 2.32, tag Orientation: where row 0 and column 0 of what is stored are in the picture."""
    return {
        1: lambda: stored,  # top, left
        2: lambda: stored[:, ::-1],  # top, right
        3: lambda: stored[::-1, ::-1],  # bottom, right
        4: lambda: stored[::-1],  # bottom, left
        5: lambda: stored.swapaxes(0, 1),  # left, top
        6: lambda: stored.swapaxes(0, 1)[:, ::-1],  # right, top
        7: lambda: stored.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
        8: lambda: stored.swapaxes(0, 1)[::-1],  # left, bottom
    }[orientation]()


# EXIF (JEITA CP-3451): a small TIFF file. What does not fit into four bytes of an entry lies elsewhere.


def entry(tag, kind, number, value):
    return struct.pack("<HHI", tag, kind, number) + value.ljust(4, b"\0")


def turned(value=6):
    return entry(0x112, 3, 1, struct.pack("<H", value))


def exif_of(*entries, number=None, after=b""):
    number = len(entries) if number is None else number
    return b"II*\0" + struct.pack("<IH", 8, number) + b"".join(entries) + bytes(4) + after


# Behind the head (8), the number of entries (2), two entries (24) and the place of another directory (4).
BEHIND = struct.pack("<I", 38)
ODD = {
    "a rational of -1/0": exif_of(turned(), entry(0x11A, 10, 1, BEHIND), after=struct.pack("<ii", -1, 0)),
    "a rational of 0/0": exif_of(turned(), entry(0x11A, 5, 1, BEHIND), after=bytes(8)),
    "a text behind the end": exif_of(turned(), entry(0x131, 2, 1000, struct.pack("<I", 10**6))),
    "a text longer than the memory": exif_of(turned(), entry(0x131, 2, 2**32 - 1, BEHIND)),
    "an unknown type": exif_of(turned(), entry(0x131, 99, 1, b"")),
    "more entries than there are": exif_of(turned(), number=65535),
    "cut within an entry": exif_of(turned(), turned())[:-12],
    "a directory of GPS that is itself": exif_of(turned(), entry(0x8825, 4, 1, struct.pack("<I", 8))),
    "a directory behind the end": exif_of(turned(), entry(0x8769, 4, 1, struct.pack("<I", 10**6))),
    "no text in a text": exif_of(entry(0x10F, 2, 4, b"\xff\xfe\x00\x80"), turned()),
    "the head twice": b"Exif\0\0" + exif_of(turned()),
    "a text before it behind the end": exif_of(entry(0x10F, 2, 1000, struct.pack("<I", 10**6)), turned()),
}
UNREADABLE = {
    "nothing": b"",
    "noise": bytes(noise(100)),
    "cut in its head": exif_of()[:6],
    "a directory far away": b"MM\0*" + struct.pack(">I", 2**32 - 1),
    "orientation 0": exif_of(turned(0)),
    "orientation 9": exif_of(turned(9)),
    "orientation 65535": exif_of(turned(65535)),
    "orientation '6'": exif_of(entry(0x112, 2, 2, b"6\0")),
    "orientation 6/1": exif_of(entry(0x112, 5, 1, struct.pack("<I", 26)), after=struct.pack("<II", 6, 1)),
}


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(levels, depth=8, colour=2, before=b"", after=b""):
    """PNG (W3C, third edition) of levels [height, width, channels], each row with filter 0."""
    bits = np.unpackbits(levels.astype(">u2").view(np.uint8).reshape(*levels.shape, 2), axis=3)[..., 16 - depth :]
    rows = np.packbits(bits.reshape(len(levels), -1), axis=1)
    head = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], depth, colour, 0, 0, 0)
    pixels = zlib.compress(np.insert(rows, 0, 0, axis=1).tobytes())
    chunks = chunk(b"IHDR", head) + before + chunk(b"IDAT", pixels) + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(pixels, before=b"", **options):
    """A JPEG file with other segments before those of Pillow."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return b"\xff\xd8" + before + file.getvalue()[2:]


def tiff(levels, *entries, order="<", bits=16, photometric=1):
    """TIFF 6.0 of levels [height, width, channels], in one strip without compression."""
    height, width, channels = levels.shape
    if bits == 12:
        pairs = levels.reshape(height, -1, 2).astype(int)
        pixels = np.stack(
            [pairs[..., 0] >> 4, (pairs[..., 0] & 15) << 4 | pairs[..., 1] >> 8, pairs[..., 1] & 255], axis=-1
        )
        pixels = pixels.astype(np.uint8).tobytes()
    else:
        pixels = levels.astype(f"{order}u{bits // 8}").tobytes()
    here = 8 + len(pixels)
    several = struct.pack(f"{order}{channels}H", *[bits] * channels)

    def number(tag, value):
        return struct.pack(order + "HHII", tag, 4, 1, value)

    tags = [
        *(number(256, width), number(257, height), number(259, 1), number(262, photometric), number(273, 8)),
        *(number(277, channels), number(278, height), number(279, len(pixels))),
        number(258, bits) if channels == 1 else struct.pack(order + "HHII", 258, 3, channels, here),
        *entries,
    ]
    tags.sort(key=lambda tag: struct.unpack_from(order + "H", tag))
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, here + len(several))
    return head + pixels + several + struct.pack(order + "H", len(tags)) + b"".join(tags) + bytes(4)


def riff(kind, content):
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def webp(pixels, exif=None, xmp=None):
    """WebP (RFC 9649) with metadata, around what Pillow has compressed without loss."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True)
    flags = 8 * (exif is not None) + 4 * (xmp is not None)
    size = struct.pack("<I", pixels.shape[1] - 1)[:3] + struct.pack("<I", pixels.shape[0] - 1)[:3]
    content = b"WEBP" + riff(b"VP8X", bytes([flags, 0, 0, 0]) + size) + file.getvalue()[12:]
    content += riff(b"EXIF", exif) if exif is not None else b""
    return riff(b"RIFF", content + (riff(b"XMP ", xmp) if xmp is not None else b""))


def file_with(exif, kind, pixels):
    """A file with this EXIF and what it shows without."""
    if kind == "jpg":
        content = jpeg(pixels, segment(0xE1, b"Exif\0\0" + exif), quality=95)
        return content, np.array(Image.open(io.BytesIO(jpeg(pixels, quality=95))))
    if kind == "png":
        return png(pixels, before=chunk(b"eXIf", exif)), pixels
    return webp(pixels, exif), pixels


def loaded(folder, content, name="a.png"):
    """The only image of a folder that has this file, loaded without any warning."""
    (folder / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = data.load(folder)
        assert len(images) == 1
        return np.array(images[0])


def assert_left_out(folder, content, reason, name="a.png"):
    (folder / "sound.png").write_bytes(png(noise(3, 4, 3)))
    (folder / name).write_bytes(content)
    with pytest.warns(UserWarning, match=f"1 of 2 image files .*{reason}"):
        images = data.load(folder)
    assert [path.name for path in images.stored] == ["sound.png"]


# Metadata


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
@pytest.mark.parametrize("exif", ODD.values(), ids=ODD)
def test_odd_exif_costs_neither_the_image_nor_its_orientation(tmp_path, kind, exif):
    content, pixels = file_with(exif, kind, noise(11, 7, 3))
    np.testing.assert_array_equal(loaded(tmp_path, content, f"a.{kind}"), upright(pixels, 6))


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
@pytest.mark.parametrize("exif", UNREADABLE.values(), ids=UNREADABLE)
def test_an_image_whose_orientation_cannot_be_read_is_shown_as_it_is_stored(tmp_path, kind, exif):
    content, pixels = file_with(exif, kind, noise(11, 7, 3))
    np.testing.assert_array_equal(loaded(tmp_path, content, f"a.{kind}"), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_every_orientation_is_made_upright(tmp_path, kind, orientation):
    content, pixels = file_with(exif_of(turned(orientation)), kind, noise(11, 7, 3))
    np.testing.assert_array_equal(loaded(tmp_path, content, f"a.{kind}"), upright(pixels, orientation))


@pytest.mark.parametrize(("order", "kind"), [("<", 3), (">", 3), ("<", 4), (">", 4)])
def test_orientation_is_read_in_both_orders_of_bytes(tmp_path, order, kind):
    value = struct.pack(order + "H" * (kind == 3) + "I" * (kind == 4), 8).ljust(4, b"\0")
    exif = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIHHHI", 42, 8, 1, 0x112, kind, 1) + value
    pixels = noise(5, 9, 3)
    shown = loaded(tmp_path, png(pixels, after=chunk(b"eXIf", exif + bytes(4))))
    np.testing.assert_array_equal(shown, upright(pixels, 8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("order", "photometric"), [("<", 2), (">", 2)])
def test_orientations_of_tiff(tmp_path, order, photometric, orientation):
    pixels = noise(6, 4, 3)
    tag = struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0)
    shown = loaded(tmp_path, tiff(pixels, tag, order=order, bits=8, photometric=2), "a.tif")
    np.testing.assert_array_equal(shown, upright(pixels, orientation))


@pytest.mark.parametrize(
    "odd",
    [
        entry(0x11A, 5, 1, struct.pack("<I", 2**31)),
        entry(0x10E, 2, 1000, struct.pack("<I", 10**6)),  # before the places of pixels
        entry(0x8769, 4, 1, struct.pack("<I", 10**6)),
        entry(0x8825, 4, 1, struct.pack("<I", 8)),
        entry(0x2BC, 1, 10**6, struct.pack("<I", 4)),
        entry(0x8773, 7, 2**32 - 1, b"\xff\xff\xff\xff"),
        entry(0x14A, 4, 1, b"\xff\xff\xff\xff"),
    ],
    ids=["resolution", "description", "EXIF", "GPS", "XMP", "colour profile", "other directories"],
)
def test_odd_tags_of_tiff_cost_neither_the_image_nor_its_orientation(tmp_path, odd):
    pixels = noise(6, 4, 3)
    shown = loaded(tmp_path, tiff(pixels, turned(), odd, bits=8, photometric=2), "a.tif")
    np.testing.assert_array_equal(shown, upright(pixels, 6))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"])
def test_compressed_tiff_shows_what_pillow_shows(tmp_path, compression):
    picture = Image.fromarray(noise(40, 30, 3))
    picture = picture.convert("1") if compression == "group4" else picture
    picture.save(tmp_path / "a.tif", compression=compression, tiffinfo={270: "a text"}, resolution=72.0)
    with Image.open(tmp_path / "a.tif") as opened:
        expected = np.array(opened.convert("L" if compression == "group4" else "RGB"))
    np.testing.assert_array_equal(np.array(data.load(tmp_path)[0]), expected)


def test_big_tiff_is_read(tmp_path):
    picture = Image.fromarray(noise(9, 5, 3))
    picture.save(tmp_path / "a.tif", big_tiff=True, tiffinfo={274: 6})
    np.testing.assert_array_equal(np.array(data.load(tmp_path)[0]), upright(np.array(picture), 6))


XMP = b"<x:xmpmeta><rdf:Description %s/></x:xmpmeta>"


@pytest.mark.parametrize(
    ("said", "orientation"),
    [
        (b'tiff:Orientation="6"', 6),
        (b"tiff:Orientation = '3'", 3),
        (b'tiff:Orientation="9"', 1),
        (b"\xff\0\xd9", 1),
    ],
)
@pytest.mark.parametrize("kind", ["jpg", "png", "packed png", "webp", "tif"])
def test_orientation_in_xmp_is_read_and_damaged_xmp_does_no_harm(tmp_path, kind, said, orientation):
    pixels, xmp = noise(11, 7, 3), XMP % said
    if kind == "jpg":
        content = jpeg(pixels, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp))
        pixels = np.array(Image.open(io.BytesIO(jpeg(pixels))))
    elif kind == "png":
        content = png(pixels, before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    elif kind == "packed png":
        content = png(pixels, after=chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)))
    elif kind == "webp":
        content = webp(pixels, xmp=xmp)
    else:
        content = tiff(pixels, entry(700, 1, len(xmp), struct.pack("<I", 0)), bits=8, photometric=2)
        place = struct.pack("<HHII", 700, 1, len(xmp), len(content))
        content = content.replace(struct.pack("<HHII", 700, 1, len(xmp), 0), place) + xmp
    shown = loaded(tmp_path, content, f"a.{kind[-4:].strip()}")
    np.testing.assert_array_equal(shown, upright(pixels, orientation))


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_exif_that_can_be_read_goes_before_xmp(tmp_path, kind):
    pixels, exif, xmp = noise(11, 7, 3), exif_of(turned(8)), XMP % b'tiff:Orientation="3"'
    if kind == "jpg":
        content = jpeg(
            pixels, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp) + segment(0xE1, b"Exif\0\0" + exif)
        )
        pixels = np.array(Image.open(io.BytesIO(jpeg(pixels))))
    elif kind == "png":
        content = png(pixels, before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp) + chunk(b"eXIf", exif))
    else:
        content = webp(pixels, exif, xmp)
    np.testing.assert_array_equal(loaded(tmp_path, content, f"a.{kind}"), upright(pixels, 8))


@pytest.mark.parametrize("packed", [True, False])
def test_exif_in_a_text_of_imagemagick_is_read(tmp_path, packed):
    exif = b"Exif\0\0" + exif_of(turned(3))
    text = f"\nexif\n{len(exif):8}\n".encode() + exif.hex().encode()
    key = b"Raw profile type exif\0"
    text = chunk(b"zTXt", key + b"\0" + zlib.compress(text)) if packed else chunk(b"tEXt", key + text)
    pixels = noise(4, 6, 3)
    np.testing.assert_array_equal(loaded(tmp_path, png(pixels, before=text)), upright(pixels, 3))


def damaged(kind, content):
    return chunk(kind, content)[:-1] + b"?"


BOMB = zlib.compress(bytes(1 << 21))
ODD_CHUNKS = {
    **{
        f"wrong checksum of {kind.decode()}": damaged(kind, b"Comment\0a text")
        for kind in (b"tEXt", b"iCCP", b"iTXt", b"zTXt", b"tIME", b"pHYs", b"abCd")
    },
    "wrong checksum of eXIf": damaged(b"eXIf", exif_of(turned(1))),
    "too large zTXt": chunk(b"zTXt", b"Comment\0\0" + BOMB),
    "too large iTXt": chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB),
    "too large XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
    "too large colour profile": chunk(b"iCCP", b"profile\0\0" + BOMB),
    "too many texts": 65 * chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 20))),
    "unknown compression of zTXt": chunk(b"zTXt", b"Comment\0\7" + zlib.compress(b"a text")),
    "no stream in zTXt": chunk(b"zTXt", b"Comment\0\0no stream"),
    "unknown compression of iCCP": chunk(b"iCCP", b"profile\0\5no stream"),
    "short XMP": chunk(b"iTXt", b"XML:com.adobe.xmp"),
    "no text in iTXt": chunk(b"iTXt", b"\xff\xfe\0\0\0\xff\0\xff\0\xff"),
    "no EXIF in tEXt": chunk(b"tEXt", b"exif\0no EXIF"),
    "no XMP in tEXt": chunk(b"tEXt", b"xmp\0no XMP"),
    "no EXIF of ImageMagick": chunk(b"tEXt", b"Raw profile type exif\0no EXIF"),
    "no stream of ImageMagick": chunk(b"zTXt", b"Raw profile type exif\0\0no stream"),
    **{
        f"empty {kind.decode()}": chunk(kind, b"")
        for kind in (b"tIME", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"bKGD", b"hIST", b"sPLT", b"iCCP", b"eXIf")
    },
    **{f"short {kind.decode()}": chunk(kind, b"\0") for kind in (b"acTL", b"fcTL", b"fdAT")},
    "no frames": chunk(b"acTL", struct.pack(">II", 0, 0)),
    "gamma 0": chunk(b"gAMA", struct.pack(">I", 0)),
    "unknown unit": chunk(b"pHYs", struct.pack(">IIB", 0, 0, 9)),
}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("odd", ODD_CHUNKS.values(), ids=ODD_CHUNKS)
def test_no_chunk_beside_the_pixels_costs_an_image(tmp_path, odd, place):
    pixels = noise(6, 5, 3)
    np.testing.assert_array_equal(loaded(tmp_path, png(pixels, **{place: odd})), pixels)


def test_exif_behind_a_broken_chunk_still_turns_the_image(tmp_path):
    pixels = noise(6, 5, 3)
    odd = damaged(b"iCCP", b"profile") + chunk(b"eXIf", exif_of(turned()))
    np.testing.assert_array_equal(loaded(tmp_path, png(pixels, before=odd)), upright(pixels, 6))


MPF = b"MPF\0" + exif_of(entry(0xB001, 4, 1, struct.pack("<I", 7)), entry(0xB002, 7, 112, BEHIND))


ODD_SEGMENTS = {
    "short JFIF": segment(0xE0, b"JFIF\0"),
    "shorter JFIF": segment(0xE0, b"JFIF"),
    "empty": segment(0xE1, b""),
    "empty EXIF": segment(0xE1, b"Exif\0\0"),
    "damaged XMP": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta \xff\xd9\xff\xda"),
    "empty colour profile": segment(0xE2, b"ICC_PROFILE\0"),
    "part of a colour profile": segment(0xE2, b"ICC_PROFILE\0\x01\x05part"),
    "parts out of order": segment(0xE2, b"ICC_PROFILE\0\x02\x01part") + segment(0xE2, b"ICC_PROFILE\0"),
    "no list of pictures": segment(0xE2, b"MPF\0"),
    "pictures that are not there": segment(0xE2, MPF),
    "noise as a list of pictures": segment(0xE2, b"MPF\0" + bytes(noise(60))),
    "short Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\2\0\0"),
    "shorter Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\x03"),
    "short Adobe": segment(0xEE, b"Adobe"),
    "shorter Adobe": segment(0xEE, b"Adobe\0\x64\0\0\0\0"),
    "markers in a comment": segment(0xFE, b"\xff\xd8\xff\xe1 a comment"),
    "fill bytes": b"\xff\xff\xff" + segment(0xE1, b"text"),
    "much": b"".join(segment(0xE1, bytes(65000)) for _ in range(5)),
}


@pytest.mark.parametrize("odd", ODD_SEGMENTS.values(), ids=ODD_SEGMENTS)
def test_no_segment_beside_the_pixels_costs_a_jpeg(tmp_path, odd):
    pixels = noise(16, 24, 3)
    expected = np.array(Image.open(io.BytesIO(jpeg(pixels))))
    np.testing.assert_array_equal(loaded(tmp_path, jpeg(pixels, odd), "a.jpg"), expected)


def test_adobe_still_says_which_colours_a_jpeg_has(tmp_path):
    pixels = noise(8, 8, 3)
    content = jpeg(pixels, quality=100, subsampling=0)
    tables = content[content.index(b"\xff\xdb") :]  # and all that follows, without JFIF
    # Three channels without a word are YCbCr; transform 0 of Adobe says that they are RGB.
    content = b"\xff\xd8" + segment(0xEE, b"Adobe\0\x64\0\0\0\0\0") + tables
    channels = np.array(Image.fromarray(pixels).convert("YCbCr"))
    np.testing.assert_allclose(loaded(tmp_path, content, "a.jpg"), channels, atol=4)


@pytest.mark.parametrize("damaged", [False, True])
def test_of_a_stereo_photo_the_first_picture_is_shown(tmp_path, damaged):
    first, second = Image.fromarray(noise(16, 24, 3)), Image.fromarray(noise(16, 24, 3))
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[second], exif=b"Exif\0\0" + exif_of(turned(8)))
    content = file.getvalue()
    if damaged:
        place = content.index(b"MPF\0") + 4
        content = content[:place] + bytes(noise(40)) + content[place + 40 :]
    expected = np.array(Image.open(io.BytesIO(jpeg(np.array(first)))))
    np.testing.assert_array_equal(loaded(tmp_path, content, "a.mpo"), upright(expected, 8))


@pytest.mark.skipif(".avif" not in data.EXTENSIONS, reason="Pillow without AVIF")
@pytest.mark.parametrize("orientation", [1, 6])
def test_odd_exif_of_avif_does_no_harm(tmp_path, orientation):
    pixels = np.repeat(np.repeat(noise(2, 3, 3), 16, axis=0), 16, axis=1)
    exif = Image.Exif()
    exif[0x112], exif[0x11A] = orientation, 72.0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "AVIF", quality=100, subsampling="4:4:4", exif=exif)
    content = file.getvalue()
    assert content.count(b"MM\0*") == 1
    odd = content.replace(b"MM\0*", b"MM\1?")
    for number, each in enumerate([content, odd]):
        folder = tmp_path / str(number)
        folder.mkdir()
        np.testing.assert_allclose(loaded(folder, each, "a.avif"), upright(pixels, orientation), atol=6)


# Pixels


def test_damaged_pixels_of_png_are_left_out(tmp_path):
    content = bytearray(png(noise(30, 30, 3)))
    content[content.index(b"IDAT") + int(RNG.integers(10, 2000))] ^= 1 << int(RNG.integers(8))
    assert_left_out(tmp_path, bytes(content), "the checksum of its IDAT is wrong")


def test_png_with_right_checksums_and_too_few_pixels_is_left_out(tmp_path):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60, 60, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(500)))
    assert_left_out(tmp_path, b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b""), "truncated")


def test_png_without_pixels_is_left_out(tmp_path):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60, 60, 8, 2, 0, 0, 0))
    assert_left_out(tmp_path, b"\x89PNG\r\n\x1a\n" + head + chunk(b"IEND", b""), "cannot load this image")


def test_png_of_another_standard_is_left_out(tmp_path):
    # As Xcode writes them, with the channels exchanged.
    content = png(noise(5, 5, 3)).replace(
        b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", b"\x30\0\x20\6")
    )
    assert_left_out(tmp_path, content, "it has a chunk CgBI")


def test_png_with_an_unusable_transparency_is_opaque(tmp_path):
    pixels = noise(5, 6, 4)
    content = png(pixels, colour=6, before=chunk(b"tRNS", b"\0\1\0\2\0\3"))
    opaque = 255 - pixels[..., 3:] / 255 * (255.0 - pixels[..., :3])
    np.testing.assert_allclose(loaded(tmp_path, content), opaque, atol=1)
    pixels = noise(5, 6, 3)
    np.testing.assert_array_equal(loaded(tmp_path, png(pixels, before=chunk(b"tRNS", b"\0\1"))), pixels)


def test_jpeg_with_broken_tables_is_left_out(tmp_path):
    content = bytearray(jpeg(noise(40, 40, 3)))
    place = content.index(b"\xff\xc4")  # the table of Huffman's code: a number of words for each length
    content[place + 5 : place + 21] = b"\xff" * 16
    assert_left_out(tmp_path, bytes(content), "a.jpg", name="a.jpg")


def test_progressive_jpeg_with_a_broken_scan_is_left_out(tmp_path):
    content = jpeg(noise(40, 40, 3), progressive=True)
    parts = content.split(b"\xff\xda")
    assert len(parts) > 3
    # The second scan sends coefficients 63 to 1.
    second = bytearray(parts[2])
    second[5:7] = b"\x3f\x01"
    assert_left_out(tmp_path, b"\xff\xda".join([*parts[:2], bytes(second), *parts[3:]]), "a.jpg", name="a.jpg")


def some_file(kind):
    picture = Image.fromarray(noise(6, 8, 3)).resize((int(RNG.integers(20, 90)), 47))
    exif = Image.Exif()
    exif[0x112], exif[0x10F] = int(RNG.integers(1, 9)), "a maker"
    file = io.BytesIO()
    {
        "jpg": lambda: picture.save(file, "JPEG", exif=exif, icc_profile=bytes(300)),
        "progressive jpg": lambda: picture.save(file, "JPEG", exif=exif, progressive=True),
        "cmyk jpg": lambda: picture.convert("CMYK").save(file, "JPEG"),
        "png": lambda: picture.save(file, "PNG", exif=exif),
        "palette png": lambda: picture.quantize(17).save(file, "PNG", transparency=3),
        "webp": lambda: picture.save(file, "WEBP", exif=exif),
        "gif": lambda: picture.save(file, "GIF"),
        "bmp": lambda: picture.save(file, "BMP"),
        "tif": lambda: picture.save(file, "TIFF", exif=exif),
        "lzw tif": lambda: picture.save(file, "TIFF", exif=exif, compression="tiff_lzw"),
        "avif": lambda: picture.save(file, "AVIF", exif=exif, speed=10),
    }[kind]()
    return file.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind",
    [
        *("jpg", "progressive jpg", "cmyk jpg", "png", "palette png", "webp", "gif", "bmp", "tif", "lzw tif"),
        AVIF,
    ],
)
def test_whatever_is_damaged_what_load_calls_whole_can_be_decoded(tmp_path, kind):
    whole = some_file(kind)
    for i in range(60):
        content = bytearray(whole)
        place = int(RNG.integers(len(content) if i % 2 else 700) % len(content))
        if i % 3 == 0:
            del content[place:]
        elif i % 3 == 1:
            content[place : place + int(RNG.integers(20))] = RNG.bytes(int(RNG.integers(30)))
        else:
            content[place] = int(RNG.integers(256))
        (tmp_path / f"{i:02}.{kind[-4:].strip()}").write_bytes(content)
    (tmp_path / "whole.png").write_bytes(png(noise(3, 3, 3)))
    for image in data.load(tmp_path):
        assert image.mode in ("L", "RGB")


# 16 bits, and transparent colours. By the definition, what is shown is opacity * colour + (1 - opacity) * white.


def eight_bits(levels, opacity=1.0, highest=65535):
    return np.floor(255 * (1 - opacity * (1 - levels / highest)) + 0.5)


def assert_shows(shown, expected):
    expected = expected[..., 0] if expected.shape[2] == 1 else expected
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3)])
@pytest.mark.parametrize("transparent", [True, False])
def test_16_bits_of_png_with_a_transparent_colour(tmp_path, colour, channels, transparent):
    levels = RNG.integers(0, 65536, (5, 7, channels))
    levels[0, 0], levels[0, 1] = 0, 65535
    key = levels[2, 3]
    # One less in the lower byte is another colour.
    levels[2, 4] = key ^ 1
    levels[4, :2] = key
    before = chunk(b"tRNS", struct.pack(f">{channels}H", *key)) if transparent else b""
    opacity = (levels != key).any(axis=2, keepdims=True) if transparent else 1.0
    assert_shows(loaded(tmp_path, png(levels, 16, colour, before)), eight_bits(levels, opacity))


@pytest.mark.parametrize(("colour", "channels"), [(4, 2), (6, 4)])
def test_16_bits_of_png_with_alpha(tmp_path, colour, channels):
    levels = RNG.integers(0, 65536, (5, 7, channels))
    levels[0, :3, -1] = 0, 1, 65535
    expected = eight_bits(levels[..., :-1], levels[..., -1:] / 65535)
    assert_shows(loaded(tmp_path, png(levels, 16, colour)), expected)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_transparent_grey_of_few_bits(tmp_path, depth):
    highest = 2**depth - 1
    levels = RNG.integers(0, highest + 1, (6, 8, 1))
    levels[0, :2, 0] = 0, highest
    for key in {0, highest, int(levels[3, 3, 0])}:
        # The bits above the depth do not count.
        before = chunk(b"tRNS", struct.pack(">H", key | (0x100 if depth == 8 else 1 << depth)))
        shown = loaded(tmp_path, png(levels, depth, 0, before))
        assert_shows(shown, eight_bits(levels, levels != key, highest))


def test_a_transparent_colour_of_8_bits(tmp_path):
    pixels = noise(6, 5, 3)
    key = pixels[1, 2]
    pixels[4] = key
    pixels[5, 0] = key ^ [0, 1, 0]
    shown = loaded(tmp_path, png(pixels, before=chunk(b"tRNS", struct.pack(">3H", *key))))
    assert_shows(shown, eight_bits(pixels, (pixels != key).any(axis=2, keepdims=True), 255))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_with_degrees_of_transparency(tmp_path, depth):
    colours, alphas = noise(2**depth, 3), noise(2**depth // 2 + 1)
    numbers = RNG.integers(0, 2**depth, (6, 8, 1))
    before = chunk(b"PLTE", colours.tobytes()) + chunk(b"tRNS", alphas.tobytes())
    opacity = np.append(alphas, np.full(2**depth - len(alphas), 255))[numbers] / 255
    expected = eight_bits(colours[numbers[..., 0]], opacity, 255)
    np.testing.assert_allclose(loaded(tmp_path, png(numbers, depth, 3, before)), expected, atol=1)


@pytest.mark.parametrize(("colour", "channels"), [(4, 2), (6, 4)])
def test_8_bits_of_png_with_alpha(tmp_path, colour, channels):
    levels = noise(5, 7, channels)
    expected = eight_bits(levels[..., :-1], levels[..., -1:] / 255, 255)
    shown = loaded(tmp_path, png(levels, 8, colour))
    np.testing.assert_allclose(shown.reshape(expected.shape), expected, atol=1)


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bits_of_grey_in_tiff(tmp_path, order):
    levels = RNG.integers(0, 65536, (5, 7, 1))
    assert_shows(loaded(tmp_path, tiff(levels, order=order), "a.tif"), eight_bits(levels))


def test_16_bits_of_tiff_where_white_is_zero(tmp_path):
    levels = RNG.integers(0, 65536, (5, 7, 1))
    assert_shows(loaded(tmp_path, tiff(levels, photometric=0), "a.tif"), eight_bits(65535 - levels))


def test_12_bits_of_grey_in_tiff(tmp_path):
    levels = RNG.integers(0, 4096, (5, 8, 1))
    assert_shows(loaded(tmp_path, tiff(levels, bits=12), "a.tif"), eight_bits(levels, highest=4095))


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bits_of_colours_in_tiff_are_right_to_a_level_of_8_bits(tmp_path, order):
    levels = RNG.integers(0, 65536, (5, 7, 3))
    shown = loaded(tmp_path, tiff(levels, order=order, photometric=2), "a.tif")
    np.testing.assert_allclose(shown, eight_bits(levels), atol=1)


def test_grey_or_rgb_knows_a_transparent_grey_of_16_bits():
    levels = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    image = Image.fromarray(levels)
    image.info["transparency"] = int(levels[2, 2])
    expected = eight_bits(levels, levels != levels[2, 2])
    np.testing.assert_array_equal(np.array(data.grey_or_rgb(image)), expected)


def test_inks_of_a_photo_in_cmyk(tmp_path):
    inks = np.zeros((16, 16, 4), dtype=np.uint8)
    inks[...] = ink = RNG.integers(0, 256, 4)
    Image.fromarray(inks, "CMYK").save(tmp_path / "a.jpg", quality=100)
    Image.fromarray(inks, "CMYK").save(tmp_path / "b.tif")
    expected = (1 - ink[:3] / 255) * (1 - ink[3] / 255) * 255
    for image in data.load(tmp_path):
        np.testing.assert_allclose(np.array(image).mean(axis=(0, 1)), expected, atol=3)


# Odd files of real folders


def picture(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(8, 6, 3)).save(path, **options)
    return path


@pytest.mark.parametrize("ending", ["jpg", "JPG", "jpeg", "JPEG", "jpe", "jif", "jfif", "JFIF", "mpo"])
def test_all_endings_of_jpeg_are_read(tmp_path, ending):
    assert loaded(tmp_path, jpeg(noise(8, 6, 3)), f"a.{ending}").shape == (8, 6, 3)


def test_pictures_of_other_kinds_are_counted_in_one_warning(tmp_path):
    picture(tmp_path / "cat" / "a.png")
    for name in ["b.HEIC", "c.heic", "d.svg", "e.nef"]:
        (tmp_path / "cat" / name).write_bytes(b"x")
    for name in ["a.txt", "a.json", "labels.csv", "Thumbs.db", ".DS_Store", "README", "video.mp4", "._b.heic"]:
        (tmp_path / "cat" / name).write_bytes(b"x")
    with pytest.warns(UserWarning, match=r"2 \(\.heic\), 1 \(\.svg\), 1 \(\.nef\)\. .*JPEG or PNG") as told:
        assert len(data.load(tmp_path)) == 1
    assert len(told) == 1


def test_texts_and_tables_beside_the_images_need_no_word(tmp_path):
    for name in ["a.txt", "a.json", "labels.csv", "Thumbs.db", ".DS_Store", "README", "._a.heic"]:
        (tmp_path / name).write_bytes(b"x")
    pixels = noise(3, 3, 3)
    np.testing.assert_array_equal(loaded(tmp_path, png(pixels)), pixels)


@pytest.mark.skipif(".avif" not in data.EXTENSIONS, reason="Pillow without AVIF")
def test_avif_is_read_where_pillow_can(tmp_path):
    picture(tmp_path / "a.avif")
    assert data.load(tmp_path)[0].size == (6, 8)


def test_names_may_have_any_letters_and_length(tmp_path):
    names = ["日本 ünïcödé.PNG", "two\nlines.png", "x" * 251 + ".png", "a" * 200 + "%s{}.jpg"]
    names += [os.fsdecode(b"caf\xe9.png")]
    for name in names:
        Image.fromarray(noise(8, 6, 3)).save(tmp_path / "t.png")
        (tmp_path / "t.png").rename(tmp_path / name)
    images = data.load(tmp_path)
    assert {path.name for path in images.stored} == set(names)
    assert all(image.size == (6, 8) for image in images)


def test_what_is_no_file_is_left_out_without_waiting_for_it(tmp_path):
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.jpg"))
    found = []

    def load():
        with pytest.warns(
            UserWarning, match=r"3 of 4 image files .*device\.jpg \(a folder, pipe, socket or device\)"
        ):
            found.append(data.load(tmp_path))

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert [len(images) for images in found] == [1]


def test_a_folder_may_be_named_like_an_image(tmp_path):
    picture(tmp_path / "cat.jpg" / "a.png")
    assert data.load(tmp_path).class_names == ["cat.jpg"]


def test_empty_files_are_called_so(tmp_path):
    assert_left_out(tmp_path, b"", r"\(empty\)")


@pytest.mark.parametrize(
    "content",
    [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<html>", bytes(999)],
    ids=["EPS", "web", "0"],
)
def test_what_only_has_the_name_of_an_image_is_left_out(tmp_path, content):
    assert_left_out(tmp_path, content, "no image of a kind that is read, whatever its name says", name="a.jpg")


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_images_without_extent_are_left_out(tmp_path, size):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b""))
    assert_left_out(tmp_path, b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b""), r"a\.png")


def test_images_larger_than_pillow_takes_are_left_out(tmp_path, monkeypatch):
    content = jpeg(noise(60, 60, 3))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert_left_out(tmp_path, content, "3600 pixels. exceeds limit", name="a.jpg")


def test_files_that_may_not_be_read_are_left_out(tmp_path, monkeypatch):
    picture(tmp_path / "a.png")
    secret = picture(tmp_path / "secret.png")
    read = type(secret).read_bytes

    def refuse(path):
        if path == secret:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(type(secret), "read_bytes", refuse)
    with pytest.warns(UserWarning, match=r"secret\.png \(Permission denied\)"):
        assert len(data.load(tmp_path)) == 1


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tif"])
@pytest.mark.parametrize("apart", [False, True])
def test_of_an_animation_the_first_frame_is_shown(tmp_path, kind, apart):
    frames = [Image.fromarray(np.full((8, 6, 3), value, dtype=np.uint8)) for value in (50, 150, 250)]
    options = {"default_image": True} if apart and kind == "png" else {}
    frames[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=frames[1:], **options)
    images = data.load(tmp_path)
    assert len(images) == 1
    assert np.array(images[0]).mean() == pytest.approx(50, abs=2)


def test_a_jpeg_without_its_end_is_left_out(tmp_path):
    assert_left_out(tmp_path, jpeg(noise(40, 40, 3))[:-150], "truncated", name="a.jpg")


def test_bytes_behind_the_end_of_an_image_do_no_harm(tmp_path):
    pixels = noise(9, 9, 3)
    behind = bytes(noise(int(RNG.integers(1, 500))))
    np.testing.assert_array_equal(loaded(tmp_path, png(pixels) + behind), pixels)
    (tmp_path / "a.png").unlink()
    expected = np.array(Image.open(io.BytesIO(jpeg(pixels))))
    np.testing.assert_array_equal(loaded(tmp_path, jpeg(pixels) + behind, "a.jpg"), expected)


@pytest.mark.parametrize(
    "name", ["", "~nobody-of-this-name/photos", "a\0b", "x" * 300], ids=["empty", "no user", "zero", "long"]
)
def test_what_can_be_no_folder_is_an_unknown_name(name):
    with pytest.raises(UnknownName, match="Unknown image set"):
        data.load(name)
