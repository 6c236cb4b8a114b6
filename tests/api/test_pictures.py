"""Uploaded pictures: what becomes of good ones, and that bad ones are refused before they cost."""

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import real_test_pictures
from numpy.typing import NDArray
from PIL import Image
from services import ROOT

from fmx_ml.data.pictures import Picture, PictureError, read_picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.*")  # as the server does

MAX_PIXELS = 24_000_000

Grey = NDArray[np.uint8]


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(content: bytes) -> Picture:
    return read_picture(content, MAX_PIXELS)


def refusal(content: bytes) -> str:
    with pytest.raises(PictureError) as caught:
        read(content)
    return caught.value.code


def thing(side: int = 28, dark: int = 0, light: int = 200) -> Grey:
    """A light rectangle on a dark ground, off the middle both ways."""
    picture = np.full((side, side), dark, np.uint8)
    picture[side // 7 : side * 3 // 7, side // 7 : side * 2 // 7] = light
    return picture


def test_the_data_sets_pictures_come_out_as_they_are(tmp_path: Path) -> None:
    """All 10,000 test pictures; none is taken for one on a light ground."""
    for picture_HW in real_test_pictures(tmp_path).images_NHW:
        done = read(encode(Image.fromarray(picture_HW), compress_level=1))
        assert not done.inverted
        assert np.array_equal(done.pixels_HW, picture_HW)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA", "LA"])
def test_every_way_to_save_a_grey_picture_gives_it_back(kind: str, mode: str) -> None:
    if (kind, mode) in {("BMP", "LA"), ("WEBP", "P")}:  # which Pillow saves as something else
        mode = "L"
    grey_HW = np.arange(784, dtype=np.uint16).reshape(28, 28) // 4
    grey = Image.fromarray(grey_HW.astype(np.uint8))
    options = {"lossless": True} if kind == "WEBP" else {}
    done = read(encode(grey.convert(mode), kind, **options))
    assert (done.width, done.height, done.inverted) == (28, 28, False)
    assert np.array_equal(done.pixels_HW, grey_HW)


def test_a_jpeg_is_nearly_the_picture() -> None:
    done = read(encode(Image.fromarray(thing()), "JPEG", quality=95))
    assert np.abs(done.pixels_HW.astype(int) - thing()).max() < 12


def test_black_and_white_and_sixteen_bits() -> None:
    bits = Image.fromarray(thing(light=255)).convert("1")
    assert np.array_equal(read(encode(bits)).pixels_HW, thing(light=255))
    wide = Image.fromarray(thing().astype(np.uint16) * 257)
    assert wide.mode == "I;16"
    assert np.array_equal(read(encode(wide)).pixels_HW, thing())


def test_colours_become_grey() -> None:
    done = read(encode(Image.new("RGB", (28, 28), (0, 100, 0))))
    assert set(done.pixels_HW.flat) == {59}  # 0.587 of it
    cmyk = encode(Image.fromarray(thing()).convert("CMYK"), "JPEG", quality=100)
    assert np.abs(read(cmyk).pixels_HW.astype(int) - thing()).max() < 12


def test_a_light_ground_is_inverted() -> None:
    done = read(encode(Image.fromarray(255 - thing())))
    assert done.inverted
    assert np.array_equal(done.pixels_HW, thing())


@pytest.mark.parametrize(("num_light", "inverted"), [(71, False), (72, True)])
def test_light_means_two_thirds_of_the_border(num_light: int, inverted: bool) -> None:
    ring = [(0, x) for x in range(28)] + [(27, x) for x in range(28)]
    ring += [(y, x) for y in range(1, 27) for x in (0, 27)]
    assert len(ring) == 108
    picture = np.full((28, 28), 50, np.uint8)
    for y, x in ring[:num_light]:
        picture[y, x] = 128
    assert read(encode(Image.fromarray(picture))).inverted is inverted


@pytest.mark.parametrize("side", [14, 56, 280, 1000])
def test_other_sizes_are_scaled(side: int) -> None:
    done = read(encode(Image.fromarray(thing(side))))
    assert (done.width, done.height) == (side, side)
    difference = np.abs(done.pixels_HW.astype(int) - thing())
    assert difference.mean() < 5  # soft edges
    assert (done.pixels_HW[16:] == 0).all()


def test_scaling_down_averages() -> None:
    """A fine pattern becomes its mean, not an accident of sampling."""
    fine = np.indices((560, 560)).sum(0) % 2 * 255
    done = read(encode(Image.fromarray(fine.astype(np.uint8))))
    assert np.abs(done.pixels_HW.astype(int) - 127).max() <= 2


@pytest.mark.parametrize(("width", "height"), [(280, 140), (140, 280)])
def test_the_whole_of_an_oblong_picture_is_kept(width: int, height: int) -> None:
    picture = np.full((height, width), 10, np.uint8)
    picture[:, : width // 2] = 100
    done = read(encode(Image.fromarray(picture)))
    assert (done.width, done.height) == (width, height)
    if width > height:
        assert (done.pixels_HW[7:21, :13] == 100).all()
        assert (done.pixels_HW[7:21, 15:] == 10).all()
    else:
        assert (done.pixels_HW[:, 7:13] == 100).all()
    # What is added is the background, the median of the border.
    added = done.pixels_HW[:7] if width > height else done.pixels_HW[:, :7]
    assert len(set(added.flat)) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 28), (28, 1), (3000, 1), (1, 3000), (29, 27)])
def test_thin_and_tiny_pictures(size: tuple[int, int]) -> None:
    done = read(encode(Image.new("L", size, 40)))
    assert done.pixels_HW.shape == (28, 28)
    assert (done.width, done.height) == size
    assert set(done.pixels_HW.flat) == {40}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_put_upright(kind: str, orientation: int) -> None:
    upright = np.full((40, 80), 20, np.uint8)
    upright[:20, :20] = 220
    # How a camera held so stores the picture: the turn that undoes the orientation, undone.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    done = read(encode(Image.fromarray(stored.copy()), kind, exif=exif.tobytes(), quality=95))
    assert (done.width, done.height) == (80, 40)
    assert done.pixels_HW[8:12, 1:5].mean() > 180
    assert done.pixels_HW[16:20, 20:].mean() < 60


def test_broken_metadata_is_no_reason_to_refuse() -> None:
    content = encode(Image.fromarray(thing(56)), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read(content).width == 56
    exif = Image.Exif()
    exif[0x0112] = 77
    assert read(encode(Image.fromarray(thing()), exif=exif.tobytes())).width == 28


@pytest.mark.parametrize(("colour", "inverted"), [(230, False), (20, True)])
def test_what_is_transparent_shows_a_ground_that_the_thing_stands_out_from(
    colour: int, inverted: bool
) -> None:
    rgba = np.zeros((28, 28, 4), np.uint8)
    rgba[..., :3] = 90  # of what can't be seen
    rgba[8:20, 8:20] = (colour, colour, colour, 255)
    done = read(encode(Image.fromarray(rgba)))
    assert done.inverted is inverted
    assert (done.pixels_HW[:8] == 0).all()
    assert (done.pixels_HW[8:20, 8:20] == (255 - colour if inverted else colour)).all()


def test_a_colour_that_stands_for_transparency() -> None:
    pixels = np.zeros((28, 28, 3), np.uint8)
    pixels[...] = (255, 0, 255)
    pixels[8:20, 8:20] = 230
    png = encode(Image.fromarray(pixels), transparency=(255, 0, 255))
    done = read(png)
    assert not done.inverted
    assert (done.pixels_HW[:8] == 0).all()
    palette = Image.fromarray(thing()).convert("P")
    assert read(encode(palette, transparency=0)).pixels_HW[10, 5] == 200


def test_nothing_but_transparency() -> None:
    done = read(encode(Image.new("RGBA", (50, 50), (255, 255, 255, 0))))
    assert len(set(done.pixels_HW.flat)) == 1


def test_the_first_picture_of_a_cameras_file_counts() -> None:
    first, second = Image.fromarray(thing(56)), Image.new("L", (56, 56), 9)
    content = encode(first, "MPO", save_all=True, append_images=[second])
    assert content.count(b"\xff\xd8\xff") == 2
    assert read(content).pixels_HW[6, 6] > 150


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(width: int, height: int, data: bytes, *more: bytes) -> bytes:
    """A PNG of the size, in black and white, with any data as its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + pixels + chunk(b"IEND", b"")


def webp_of(width: int, height: int) -> bytes:
    """A WebP that begins with a canvas of the size."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([0x02, 0, 0, 0]) + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp_of(width: int, height: int) -> bytes:
    """A BMP's header."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def jpeg_of(width: int, height: int) -> bytes:
    """A small JPEG that says it is of the size."""
    content = bytearray(encode(Image.new("L", (8, 8)), "JPEG"))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


BOMBS = {
    "png": png_of(11_000, 8_000, bytes(1376 * 8000)),
    "png at the bound": png_of(24_000_001, 1, b"\0"),
    "png, square of the largest": png_of(2**31 - 1, 2**31 - 1, b"\0"),
    "webp": webp_of(16_383, 16_383),
    "webp, largest": webp_of(2**24, 2**24),
    "webp lossless": b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\xff\xff\xff\xff" + bytes(20),
    "bmp": bmp_of(60_000, 60_000),
    "jpeg": jpeg_of(65_000, 65_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_picture_of_too_many_pixels_is_not_decoded(name: str) -> None:
    assert refusal(BOMBS[name]) == "too_many_pixels"


def test_the_most_pixels_that_are_taken() -> None:
    content = encode(Image.new("L", (40, 50), 7))
    assert read_picture(content, 2000).pixels_HW[0, 0] == 7
    with pytest.raises(PictureError, match="40 x 50 pixels are more than 1,999"):
        read_picture(content, 1999)


def test_refusing_takes_no_memory(tmp_path: Path) -> None:
    """In a process of its own, whose high-water mark is that of these pictures."""
    for number, content in enumerate(BOMBS.values()):
        (tmp_path / str(number)).write_bytes(content)
    code = (
        "import json, pathlib, resource, sys\n"
        "from fmx_ml.data.pictures import PictureError, read_picture\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "files = [p.read_bytes() for p in pathlib.Path(sys.argv[1]).iterdir()]\n"
        "before, codes = peak(), []\n"
        "for content in files:\n"
        "    try: read_picture(content, 24_000_000)\n"
        "    except PictureError as error: codes.append(error.code)\n"
        "print(json.dumps([codes, peak() - before]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    codes, kibibytes = json.loads(done.stdout)
    assert codes == ["too_many_pixels"] * len(BOMBS)
    assert kibibytes < 16 * 1024


ANIMATION = [Image.new("RGB", (28, 28), (shade, 0, 0)) for shade in (10, 200)]
_NOISE = np.random.default_rng(0).integers(0, 256, (280, 280), np.uint8)
NOISE_JPEG = encode(Image.fromarray(_NOISE), "JPEG")
ODD_FILES = {
    "empty": (b"", "empty_file"),
    "one byte": (b"\x89", "not_a_picture"),
    "text": (b"hello", "not_a_picture"),
    "html": (b"<html><img src=x></html>", "not_a_picture"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not_a_picture"),
    "pdf": (b"%PDF-1.7", "not_a_picture"),
    "gif": (encode(ANIMATION[0], "GIF"), "not_a_picture"),
    "tiff": (encode(ANIMATION[0], "TIFF"), "not_a_picture"),
    "ico": (encode(ANIMATION[0], "ICO"), "not_a_picture"),
    "ppm": (encode(ANIMATION[0], "PPM"), "not_a_picture"),
    "jpeg 2000": (encode(ANIMATION[0], "JPEG2000"), "not_a_picture"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_a_picture"),
    "png, signature only": (b"\x89PNG\r\n\x1a\n", "not_a_picture"),
    "png, no pixels": (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
        + chunk(b"IEND", b""),
        "broken_picture",
    ),
    "png of no size": (png_of(0, 0, b""), "not_a_picture"),
    "png, text bomb": (
        png_of(28, 28, bytes(140), chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**8), 9))),
        "not_a_picture",
    ),
    "png, animated": (
        encode(ANIMATION[0], save_all=True, append_images=ANIMATION[1:]),
        "animated_picture",
    ),
    "webp, animated": (
        encode(ANIMATION[0], "WEBP", save_all=True, append_images=ANIMATION[1:]),
        "animated_picture",
    ),
    "webp, header only": (webp_of(28, 28), "not_a_picture"),
    "bmp, header only": (bmp_of(28, 28), "broken_picture"),
    "jpeg, cut": (NOISE_JPEG[: len(NOISE_JPEG) // 2], "broken_picture"),
    "png, cut": (encode(Image.fromarray(thing(280)))[:-40], "broken_picture"),
    "jpeg of no size": (jpeg_of(0, 0), "not_a_picture"),
}


@pytest.mark.parametrize("name", ODD_FILES)
def test_an_odd_file_is_refused(name: str) -> None:
    content, code = ODD_FILES[name]
    assert refusal(content) == code


SEEDS = [
    encode(Image.fromarray(thing()), kind, **options)
    for kind, options in [("PNG", {}), ("JPEG", {}), ("WEBP", {}), ("BMP", {})]
]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 4000),
)
def test_a_damaged_file_is_a_picture_or_refused(
    content: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    damaged = bytearray(content[: max(1, length)] if length < len(content) else content)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    try:
        done = read(bytes(damaged))
    except PictureError:
        return
    assert done.pixels_HW.shape == (28, 28)
    assert done.pixels_HW.dtype == np.uint8
