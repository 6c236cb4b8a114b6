"""Feature maps drawn in grey: black is 0, white a layer's largest number.

Legend of shapes: C channels, H W pixels of a map, Y X pixels of a drawing.
"""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

TILE_SIDE = 56  # pixels, about: a map is enlarged by the whole number that comes nearest
GAP = 4  # pixels between tiles, and around them
MAX_COLUMNS = 16  # tiles beside each other on a labelled sheet

PNG_TYPE = "image/png"

_PAPER, _INK, _FAINT = 255, 0, 110
_MARGIN = 16
_INPUT_SCALE = 4
_LABEL_WIDTH = 112
_TEXT_SIZE, _LINE_HEIGHT = 14, 18

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """A layer of a labelled sheet."""

    name: str
    maps_CHW: NDArray[np.float32]


def draw_input(pixels_HW: Grey) -> Grey:
    """A picture, enlarged as its tiles are."""
    return _enlarge(pixels_HW, _tile_scale(*pixels_HW.shape))


def draw_layer(maps_CHW: NDArray[np.float32], columns: int | None = None) -> Grey:
    """All channels of a layer as tiles, as near to a square as fits where no columns are given.

    The layer has one scale, from 0 to its maximum, so that channels can be compared.
    """
    columns = columns or math.ceil(math.sqrt(len(maps_CHW)))
    tiles = [_enlarge(map_HW, _tile_scale(*map_HW.shape)) for map_HW in _to_grey(maps_CHW)]
    height, width = (side + GAP for side in tiles[0].shape)
    rows = math.ceil(len(tiles) / columns)
    sheet_YX = np.full((rows * height + GAP, columns * width + GAP), _PAPER, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (number // columns * height + GAP, number % columns * width + GAP)
        sheet_YX[top : top + height - GAP, left : left + width - GAP] = tile
    return sheet_YX


def _to_grey(maps_CHW: NDArray[np.float32]) -> Grey:
    """0 becomes black, the largest number white; a layer that is silent stays black."""
    highest = maps_CHW.max()
    if not highest > 0:
        return np.zeros(maps_CHW.shape, np.uint8)
    return np.rint(maps_CHW / highest * 255).astype(np.uint8)


def _tile_scale(height: int, width: int) -> int:
    return max(1, round(TILE_SIDE / max(height, width)))


def _enlarge(picture_HW: Grey, scale: int) -> Grey:
    """Each pixel becomes a square of so many a side."""
    return picture_HW.repeat(scale, axis=0).repeat(scale, axis=1)


def draw_sheet(pixels_HW: Grey, rows: Sequence[Row]) -> Grey:
    """The input at the left; beside it a row of tiles for each layer, with its name and scale."""
    picture = _enlarge(pixels_HW, _INPUT_SCALE)
    drawn = [draw_layer(row.maps_CHW, _line_length(len(row.maps_CHW))) for row in rows]
    labels_left = _MARGIN + picture.shape[1] + _MARGIN
    tiles_left = labels_left + _LABEL_WIDTH
    width = tiles_left + max(tiles.shape[1] for tiles in drawn) + _MARGIN
    rows_height = sum(tiles.shape[0] + _MARGIN for tiles in drawn)
    height = _MARGIN + max(rows_height, _LINE_HEIGHT + picture.shape[0] + _MARGIN)
    sheet = Image.new("L", (width, height), _PAPER)
    _write(sheet, _MARGIN, _MARGIN, "input")
    sheet.paste(Image.fromarray(picture), (_MARGIN, _MARGIN + _LINE_HEIGHT))
    top = _MARGIN
    for row, tiles in zip(rows, drawn, strict=True):
        _write(sheet, labels_left, top, row.name, *_notes(row.maps_CHW))
        sheet.paste(Image.fromarray(tiles), (tiles_left, top))
        top += tiles.shape[0] + _MARGIN
    return np.asarray(sheet)


def _line_length(num_tiles: int) -> int:
    """Tiles a line: all of them, or as many in each line where they need several."""
    return math.ceil(num_tiles / math.ceil(num_tiles / MAX_COLUMNS))


def _notes(maps_CHW: NDArray[np.float32]) -> list[str]:
    """Number and size of a layer's maps, and what white stands for."""
    channels, height, width = maps_CHW.shape
    highest = float(maps_CHW.max())
    size = f"{channels} of {height} x {width}"
    return [size, f"white: {highest:.3g}" if highest > 0 else "all 0"]


def _write(sheet: Image.Image, left: int, top: int, title: str, *notes: str) -> None:
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT_SIZE)
    pen.text((left, top), title, _INK, font)
    for number, note in enumerate(notes, start=1):
        pen.text((left, top + number * _LINE_HEIGHT), note, _FAINT, font)


def to_png(drawing_YX: Grey) -> bytes:
    """The drawing as a file."""
    file = io.BytesIO()
    Image.fromarray(drawing_YX).save(file, "PNG")
    return file.getvalue()


def to_data_uri(drawing_YX: Grey) -> str:
    """The drawing as a file that lies within its address (RFC 2397)."""
    return f"data:{PNG_TYPE};base64,{base64.b64encode(to_png(drawing_YX)).decode()}"
