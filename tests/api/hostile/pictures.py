"""Files that are no pictures, or are made to take time and memory."""

import io
import struct
import zlib
from collections.abc import Callable

from PIL import Image, ImageCms

from hostile.attacks import Attack

PREDICT = "/v1/models/{model}/predict"
BOUNDARY = "hostile"

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def header(width: int, height: int, depth: int = 8, colour: int = 0, interlace: int = 0) -> bytes:
    """A PNG's signature and first chunk."""
    fields = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return _SIGNATURE + chunk(b"IHDR", fields)


def png(
    width: int,
    height: int,
    data: bytes,
    *more: bytes,
    depth: int = 8,
    colour: int = 0,
    interlace: int = 0,
) -> bytes:
    """A PNG with any data as its pixels and any chunks before them."""
    begin = header(width, height, depth, colour, interlace)
    return begin + b"".join(more) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def upload(content: bytes, name: str = "x.png", kind: str = "image/png") -> bytes:
    """A form with one file."""
    said = f'Content-Disposition: form-data; name="files"; filename="{name}"\r\n'
    begin = f"--{BOUNDARY}\r\n{said}Content-Type: {kind}\r\n\r\n"
    return begin.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

_GREY = Image.linear_gradient("L")
_TINY = _GREY.resize((28, 28))
_JPEG = encode(_GREY, "JPEG")
_WEBP = encode(_GREY, "WEBP")
_FRAMES = [Image.new("L", (28, 28), shade) for shade in (10, 200)]


def _bmp(width: int, height: int, *, depth: int = 24, compression: int = 0) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, depth, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def _jpeg_of(width: int, height: int) -> bytes:
    content = bytearray(_JPEG)
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def _segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def _apng(num_frames: int) -> bytes:
    control = chunk(b"acTL", struct.pack(">II", num_frames, 0))
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 28, 28, 0, 0, 1, 100, 0, 0))
    more = b"".join(
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 2 * n + 1, 28, 28, 0, 0, 1, 100, 0, 0))
        + chunk(b"fdAT", struct.pack(">I", 2 * n + 2) + zlib.compress(bytes(29 * 28)))
        for n in range(num_frames - 1)
    )
    pixels = chunk(b"IDAT", zlib.compress(bytes(29 * 28)))
    return header(28, 28) + control + frame + pixels + more + chunk(b"IEND", b"")


def _many_scans(num_scans: int) -> bytes:
    """A progressive JPEG of 23 megapixels whose last scan is sent again and again."""
    content = encode(Image.new("L", (64, 64), 90), "JPEG", progressive=True)
    place = content.index(b"\xff\xc2") + 5
    sized = content[:place] + struct.pack(">HH", 4800, 4800) + content[place + 4 :]
    last = sized.rindex(b"\xff\xda")
    scan = sized[last:-2]
    return sized[:-2] + scan * num_scans + b"\xff\xd9"


def _many_references() -> bytes:
    """EXIF of 5,000 entries that all name the same 60 KB."""
    entries = b"".join(struct.pack("<HHII", 0x8000 + n, 7, 60_000, 8) for n in range(5000))
    return b"II*\0" + struct.pack("<IH", 8, 5000) + entries + bytes(4)


def _icc_bomb() -> bytes:
    return chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(100_000_000), 9))


def _profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


# By what they must be called; all are 422.
REFUSED: dict[str, dict[str, Callable[[], bytes]]] = {
    "empty_file": {"nothing": lambda: b""},
    "not_a_picture": {
        "a zero": lambda: b"\0",
        "zeros": lambda: bytes(5_000_000),
        "0xff": lambda: b"\xff" * 5_000_000,
        "only a signature": lambda: _SIGNATURE,
        "another signature": lambda: b"\x88" + encode(_TINY)[1:],
        "line ends converted": lambda: encode(_TINY).replace(b"\r\n", b"\n"),
        "no size": lambda: png(0, 0, b""),
        "text bomb": lambda: png(
            28, 28, bytes(29 * 28), chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**8), 9))
        ),
        "tiff": lambda: encode(_TINY, "TIFF"),
        "gif": lambda: encode(_TINY, "GIF"),
        "jpeg 2000": lambda: encode(_TINY, "JPEG2000"),
        "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>',
        "svg, entities": lambda: (
            b'<!DOCTYPE s [<!ENTITY a "aaaaaaaaaa">' + b'<!ENTITY b "&a;&a;">' * 999 + b"]><svg/>"
        ),
        "pdf": lambda: b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj trailer<<>>",
        "postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "zip": lambda: b"PK\x03\x04" + bytes(100),
        "jpeg without a frame": lambda: b"\xff\xd8\xff\xd9",
        "webp, header only": lambda: b"RIFF\x04\0\0\0WEBP",
        "webp, wrong length": lambda: _WEBP[:4] + b"\xff\xff\xff\x7f" + _WEBP[8:100],
        "jpeg, 500,000 empty comments": lambda: _JPEG[:2] + b"\xff\xfe\0\2" * 500_000 + _JPEG[2:],
        "jpeg, 5 MB of padding": lambda: _JPEG[:2] + b"\xff" * 5_000_000 + _JPEG[2:],
        "jpeg, 5 MB of junk": lambda: _JPEG[:2] + bytes(5_000_000) + _JPEG[2:],
        "jpeg, EXIF in 300,000 pieces": lambda: (
            _JPEG[:2] + _segment(0xE1, b"Exif\0\0x") * 300_000 + _JPEG[2:]
        ),
        "png, 500,000 chunks": lambda: png(28, 28, bytes(29 * 28), chunk(b"prIv", b"") * 500_000),
        "10,000 frames": lambda: _apng(10_000),
        "an ICC bomb": lambda: png(28, 28, bytes(29 * 28), _icc_bomb()),
        "png, 500,000 texts": lambda: png(
            28, 28, bytes(29 * 28), chunk(b"tEXt", b"k\0v") * 500_000
        ),
    },
    "broken_picture": {
        "png, cut": lambda: encode(_GREY)[:-40],
        "png, no pixels": lambda: header(28, 28) + chunk(b"IEND", b""),
        "png, too few pixels": lambda: png(100, 100, bytes(50)),
        "png, pixels that are not packed": lambda: (
            header(28, 28) + chunk(b"IDAT", b"hello" * 20) + chunk(b"IEND", b"")
        ),
        "jpeg, cut": lambda: encode(Image.effect_noise((280, 280), 90), "JPEG")[:9000],
        "jpeg, no table": lambda: _JPEG.replace(b"\xff\xdb", b"\xff\xee"),
        "bmp, header only": lambda: _bmp(28, 28),
        "bmp, colours beyond its palette": lambda: _bmp(28, 28, depth=8) + b"\xff" * 100,
    },
    "animated_picture": {
        "2,000 frames": lambda: _apng(2_000),
        "webp": lambda: encode(_FRAMES[0], "WEBP", save_all=True, append_images=_FRAMES[1:]),
    },
    "too_many_pixels": {
        "88 megapixels in 251 KB": lambda: png(11_000, 8_000, bytes(1376 * 8000), depth=1),
        "the largest": lambda: png(2**31 - 1, 2**31 - 1, b""),
        "negative size": lambda: png(0x80000001, 28, b""),
        "one beyond": lambda: png(24_000_001, 1, b""),
        "bmp, huge": lambda: _bmp(2**31 - 1, 2**31 - 1),
        "bmp, huge, top down": lambda: _bmp(60_000, -60_000),
        "jpeg": lambda: _jpeg_of(65_500, 65_500),
        "webp": lambda: b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6,
    },
    "too_many_scans": {"jpeg, 20,000 scans": lambda: _many_scans(20_000)},
}

# Odd, and yet pictures: these are predicted.
TAKEN: dict[str, Callable[[], bytes]] = {
    "24 megapixels of nothing": lambda: png(6000, 4000, bytes(6001 * 4000)),
    "interlaced": lambda: png(28, 28, bytes(2000), interlace=1),
    "1 bit": lambda: encode(_TINY.convert("1")),
    "palette": lambda: encode(_TINY.convert("P")),
    "16 bits": lambda: encode(_TINY.convert("I;16")),
    "grey and alpha": lambda: encode(_TINY.convert("LA")),
    "inks": lambda: encode(_TINY.convert("CMYK"), "JPEG"),
    "an ICC profile": lambda: encode(_TINY, "JPEG", icc_profile=_profile()),
    "EXIF that refers to itself": lambda: encode(
        _TINY, "JPEG", exif=b"Exif\0\0" + _many_references()
    ),
    "a page hangs on": lambda: encode(_TINY) + b"<html><script>alert(1)</script></html>",
    "a zip hangs on": lambda: _JPEG + b"PK\x03\x04" + bytes(100),
    "said to be a page": lambda: encode(_TINY),
}

ATTACKS: dict[str, Callable[[], Attack]] = {
    **{
        f"{code}: {name}": lambda make=make, code=code: Attack(
            PREDICT, upload(make()), FORM, code=code, pointer="/files/0"
        )
        for code, family in REFUSED.items()
        for name, make in family.items()
    },
    **{
        f"taken: {name}": lambda make=make: Attack(
            PREDICT, upload(make(), kind="text/html"), FORM, statuses=frozenset({200})
        )
        for name, make in TAKEN.items()
    },
}
