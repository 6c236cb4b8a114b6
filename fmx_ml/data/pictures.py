"""Uploaded pictures: checked before they are decoded, then made what the models were trained on.

A picture becomes 28 x 28 grey pixels, light on dark. It is turned as its EXIF orientation says,
made grey, shrunk or enlarged as a whole until its longer side is 28 pixels, centred on a square of
its own background, and inverted where that background is light. A grey picture of 28 x 28 pixels
on a dark background, as the data set has them, comes out with every pixel as it was.

- The background is what the border shows, the outermost ring of pixels. It is light where at least
  two thirds of the ring are lighter than 127; in none of the data set's 70,000 pictures is it more
  than 58%.
- What is transparent shows black behind light things and white behind dark ones.

Legend of shapes: H W pixels.
"""

import io
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from fmx_ml.data.budget import Budget
from fmx_ml.specs import IMAGE_SIDE

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "F"})  # of Pillow
MID_GREY = 127
LIGHT_SHARE = 2 / 3  # of the border
MOST_AT_ONCE = 2  # of the largest pictures; a WebP's takes 20 bytes a pixel while it is decoded
MAX_CHUNKS = 8192  # of a PNG; writers put 8 KB or more of pixels into one
MAX_SEGMENTS = 1024  # of a JPEG, 64 KB at most each
MAX_FULL_SCANS = 16  # of a JPEG of the most pixels; a progressive one has about ten
DRAFT_SIDE = 8 * IMAGE_SIDE  # a JPEG is decoded no finer than this needs

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation: what puts the picture upright
_PNG_SIGNATURE, _JPEG_SIGNATURE, _SCAN = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xda"
_BARE_MARKERS = {0x00, 0x01, *range(0xD0, 0xD9), 0xFF}  # of a JPEG, without a length after them
_SIDES_SWAPPED = 5  # from this orientation on

_DECODING = Budget()

# The limit is the server's own, checked before decoding; Pillow's would warn below it.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of odd metadata in words of the file, each kept for good, so as to be said once.
warnings.filterwarnings("ignore", module=r"PIL\.")


class PictureError(Exception):
    """A file that is no picture this server takes; `code` says why."""

    def __init__(self, code: str, detail: str) -> None:
        """Detail is for people."""
        self.code, self.detail = code, detail
        super().__init__(detail)


@dataclass(frozen=True)
class Picture:
    """A picture as models take it, and the size it had the right way up."""

    pixels_HW: NDArray[np.uint8]
    width: int
    height: int
    inverted: bool
    coloured: bool = False


def read_picture(content: bytes, max_pixels: int) -> Picture:
    """The picture in a file. Raises PictureError."""
    if not content:
        raise PictureError("empty_file", "the file is empty")
    # Pillow makes room for a WebP when it opens it, and for the others when it decodes them.
    room = MOST_AT_ONCE * max_pixels
    with _DECODING.take(math.prod(_webp_size(content, max_pixels)), room):
        opened = _open(content, max_pixels)
        width, height = opened.size
        coloured = opened.mode not in GREY_MODES
        with _DECODING.take(0 if opened.format == "WEBP" else width * height, room):
            grey = _decode(opened)
    orientation = _orientation(opened)  # not before: it loads a PNG, and hides that it is damaged
    if orientation in _TURNS:
        grey = grey.transpose(_TURNS[orientation])
    if orientation >= _SIDES_SWAPPED:
        width, height = height, width
    pixels_HW, inverted = _centre(np.asarray(grey, dtype=np.uint8))
    return Picture(pixels_HW, width, height, inverted, coloured)


def make_square(picture: Image.Image) -> tuple[NDArray[np.uint8], bool]:
    """A picture in memory as `read_picture` makes one of a file's, and whether it was inverted."""
    return _centre(np.asarray(_blend(picture), dtype=np.uint8))


def has_light_ring(images_NHW: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether the background of each picture is light."""
    ring_NR = np.concatenate(
        [images_NHW[:, 0], images_NHW[:, -1], images_NHW[:, 1:-1, 0], images_NHW[:, 1:-1, -1]],
        axis=1,
    )
    return (ring_NR > MID_GREY).mean(axis=1) >= LIGHT_SHARE


def _decode(opened: Image.Image) -> Image.Image:
    try:
        return _to_grey(opened)
    except Exception as error:
        raise PictureError("broken_picture", "the picture is damaged or cut off") from error


def _open(content: bytes, max_pixels: int) -> Image.Image:
    """The picture, its header read and its pixels not yet."""
    _refuse_parts(content)
    try:
        opened = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception as error:
        known = ", ".join(FORMATS)
        raise PictureError("not_a_picture", f"the file is none of {known}") from error
    _refuse_pixels(opened.size, max_pixels)
    _refuse_scans(content, opened, max_pixels)
    # A camera's JPEG may hold further pictures (a preview, a depth map): the first one counts.
    if opened.format in {"PNG", "WEBP"} and getattr(opened, "n_frames", 1) > 1:
        raise PictureError("animated_picture", "the picture has several frames")
    return opened


def _refuse_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        detail = f"{width} x {height} pixels are more than {max_pixels:,}"
        raise PictureError("too_many_pixels", detail)


def _refuse_parts(content: bytes) -> None:
    """Raises PictureError for more chunks or segments than a picture has any use for.

    Pillow takes some microseconds for each, and copies metadata anew with each that adds to them.
    """
    is_png = content.startswith(_PNG_SIGNATURE)
    walk, most = (_png_chunks, MAX_CHUNKS) if is_png else (_jpeg_segments, MAX_SEGMENTS)
    if any(number == most for number, _ in enumerate(walk(content))):
        raise PictureError("not_a_picture", f"the file has more than {most:,} parts")


def _png_chunks(content: bytes) -> Iterator[int]:
    """Where each chunk of a PNG begins: its length, name, data and checksum."""
    place = len(_PNG_SIGNATURE)
    while place < len(content):
        yield place
        place += 12 + int.from_bytes(content[place : place + 4], "big")


def _jpeg_segments(content: bytes) -> Iterator[int]:
    """Where each segment of a JPEG begins, up to its first scan; junk counts byte by byte."""
    place = len(_JPEG_SIGNATURE)
    while place < len(content) and content.startswith(_JPEG_SIGNATURE):
        yield place
        marker = content[place : place + 2]
        if marker == _SCAN:
            return
        if marker[0] != 0xFF or marker[-1] in _BARE_MARKERS:  # noqa: PLR2004 - begins a marker
            place += 1
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")


def _refuse_scans(content: bytes, opened: Image.Image, max_pixels: int) -> None:
    """Raises PictureError for a JPEG whose scans take too long: each goes over all its pixels."""
    width, height = opened.size
    work = content.count(_SCAN) * width * height if opened.format in {"JPEG", "MPO"} else 0
    if work > MAX_FULL_SCANS * max_pixels:
        raise PictureError("too_many_scans", "the picture has too many scans for its size")


def _webp_size(content: bytes, max_pixels: int) -> tuple[int, int]:
    """Width and height of a WebP (RFC 9649); zeros for other files. Raises PictureError."""
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        return 0, 0
    match content[12:16]:
        case b"VP8X":
            sides = (content[24:27], content[27:30])
            width, height = (int.from_bytes(side, "little") + 1 for side in sides)
        case b"VP8L":
            bits = int.from_bytes(content[21:25], "little")
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case _:
            sides = (content[26:28], content[28:30])
            width, height = (int.from_bytes(side, "little") & 0x3FFF for side in sides)
    _refuse_pixels((width, height), max_pixels)
    return width, height


def _orientation(opened: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none that can be read."""
    try:
        value = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - metadata can be broken in any way, and is no reason to refuse
        return 1
    return value if isinstance(value, int) and 1 <= value <= max(_TURNS) else 1


def _to_grey(opened: Image.Image) -> Image.Image:
    """The picture in grey, its longer side 28 pixels."""
    opened.draft("L", (DRAFT_SIDE, DRAFT_SIDE))
    opened.load()
    if opened.mode.startswith("I"):  # 16 bits a pixel, as grey PNGs may have
        return _shrink(Image.fromarray((np.asarray(opened) // 257).clip(0, 255).astype(np.uint8)))
    return _blend(opened)


def _blend(opened: Image.Image) -> Image.Image:
    """A picture of 8 bits a channel in grey, its longer side 28 pixels."""
    if not opened.has_transparency_data:
        return _shrink(opened.convert("L"))
    coloured = opened if opened.mode == "RGBA" else opened.convert("RGBA")
    small = np.asarray(_shrink(coloured), dtype=np.float32)
    alpha_HW = small[..., 3] / 255
    grey_HW = small[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
    is_light = (grey_HW * alpha_HW).sum() > MID_GREY * alpha_HW.sum()
    behind = 0.0 if is_light else 255.0
    mixed_HW = grey_HW * alpha_HW + behind * (1 - alpha_HW)
    return Image.fromarray(mixed_HW.round().clip(0, 255).astype(np.uint8))


def _shrink(picture: Image.Image) -> Image.Image:
    """The whole picture, its longer side 28 pixels; one that is so already stays as it is."""
    width, height = picture.size
    longer = max(width, height)
    if longer == IMAGE_SIDE:
        return picture
    size = [max(1, round(side * IMAGE_SIDE / longer)) for side in (width, height)]
    # Averages first, then filters what is left: anti-aliased, and fast for large pictures. A
    # triangle does not overshoot at edges as sharper filters do: the background stays even.
    return picture.resize((size[0], size[1]), Image.Resampling.BILINEAR, reducing_gap=3.0)


def _centre(grey_HW: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], bool]:
    """The picture on a square of its background, light on dark, and whether it was inverted."""
    ring = np.concatenate([grey_HW[0], grey_HW[-1], grey_HW[1:-1, 0], grey_HW[1:-1, -1]])
    height, width = grey_HW.shape
    square_HW = np.full((IMAGE_SIDE, IMAGE_SIDE), np.median(ring), dtype=np.uint8)
    top, left = (IMAGE_SIDE - height) // 2, (IMAGE_SIDE - width) // 2
    square_HW[top : top + height, left : left + width] = grey_HW
    inverted = bool(has_light_ring(grey_HW[None])[0])
    return (255 - square_HW if inverted else square_HW), inverted
