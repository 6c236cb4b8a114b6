"""Drawings of feature maps: tiles, their scale, and the labelled sheet."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api.predict.sheets import Row, draw_input, draw_layer, draw_sheet, to_png

PAPER = 255


def ramp(channels: int, side: int, highest: float = 1.0) -> Any:
    """Maps of 0 to `highest`, brighter from channel to channel."""
    count = channels * side * side
    values = np.arange(count, dtype=np.float32) * np.float32(highest) / max(1, count - 1)
    return values.reshape(channels, side, side)


@pytest.mark.parametrize(
    ("channels", "columns", "rows"),
    [(1, 1, 1), (2, 2, 1), (4, 2, 2), (6, 3, 2), (12, 4, 3), (16, 4, 4), (24, 5, 5), (512, 23, 23)],
)
def test_tiles_are_as_near_to_a_square_as_fits(channels: int, columns: int, rows: int) -> None:
    assert draw_layer(ramp(channels, 14)).shape == (rows * 60 + 4, columns * 60 + 4)


@pytest.mark.parametrize(
    ("side", "drawn"), [(28, 56), (24, 48), (14, 56), (10, 60), (8, 56), (5, 55), (1, 56)]
)
def test_a_tile_is_enlarged_by_whole_pixels_to_about_56(side: int, drawn: int) -> None:
    tiles = draw_layer(ramp(1, side))
    assert tiles.shape == (drawn + 8, drawn + 8)
    scale = drawn // side
    tile = tiles[4:-4, 4:-4].reshape(side, scale, side, scale)
    assert (tile == tile[:, :1, :, :1]).all()


def test_a_layer_has_one_scale() -> None:
    maps = np.zeros((2, 28, 28), np.float32)
    maps[0], maps[1] = 1.5, 3.0
    tiles = draw_layer(maps)
    assert set(tiles[4:60, 4:60].flat) == {128}
    assert set(tiles[4:60, 64:120].flat) == {255}


@pytest.mark.parametrize("highest", [1e-40, 1e-30, 1.0, 1e30])
def test_any_size_of_number_is_drawn(highest: float) -> None:
    drawn = draw_layer(ramp(1, 28, highest))[4:-4, 4:-4]
    assert (drawn.min(), drawn.max()) == (0, 255)


def test_a_silent_layer_is_black() -> None:
    silent = np.zeros((4, 14, 14), np.float32)
    tiles = draw_layer(silent)
    assert set(tiles[4:60, 4:60].flat) == {0}
    assert (draw_sheet(np.zeros((28, 28), np.uint8), [Row("conv1", silent)]) == 0).any()


def test_the_input_is_drawn_as_it_is() -> None:
    pixels = np.arange(784, dtype=np.uint16).reshape(28, 28).astype(np.uint8)
    assert np.array_equal(draw_input(pixels)[1::2, 1::2], pixels)


@pytest.mark.parametrize(("channels", "length"), [(6, 6), (16, 16), (24, 12), (33, 11), (512, 16)])
def test_a_row_of_many_tiles_is_broken_into_even_lines(channels: int, length: int) -> None:
    sheet = draw_sheet(np.zeros((28, 28), np.uint8), [Row("conv1", ramp(channels, 14))])
    left = 16 + 112 + 16 + 112
    assert sheet.shape[1] == left + length * 60 + 4 + 16


@pytest.mark.parametrize("highest", [1.2345e-5, 1.0, 98765.4])
def test_labels_touch_neither_picture_nor_tiles(highest: float) -> None:
    rows = [Row("conv1", ramp(512, 28, highest)), Row("conv8", ramp(3, 1, highest))]
    sheet = draw_sheet(np.full((28, 28), 9, np.uint8), rows)
    labels_left, tiles_left = 144, 256
    assert (sheet[:, labels_left - 8 : labels_left - 1] == PAPER).all()
    assert (sheet[:, tiles_left - 4 : tiles_left + 4] == PAPER).all()
    label = sheet[:, labels_left : tiles_left - 4]
    assert (label.min(1) < PAPER).sum() > 40
    second = label[-80:]  # the last row's, beside its tiles
    assert (second[0] == PAPER).all()
    assert (second[:60] < PAPER).any()


def test_a_layers_name_is_what_is_written_beside_it() -> None:
    pixels = np.zeros((28, 28), np.uint8)
    one, other = (draw_sheet(pixels, [Row(name, ramp(3, 14))]) for name in ("conv1", "conv7"))
    differs_Y, differs_X = np.nonzero(one != other)
    assert 16 <= differs_Y.min() <= differs_Y.max() < 16 + 18
    assert 144 <= differs_X.min() <= differs_X.max() < 256


def test_a_drawing_becomes_a_file_without_loss() -> None:
    drawing = draw_layer(ramp(5, 8))
    with Image.open(io.BytesIO(to_png(drawing))) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), drawing)
