"""Arrays of pictures made what models take, as uploaded pictures are: 28 x 28, grey, light on dark.

Legend of shapes: N examples, H W pixels, C channels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fmx_ml.data.pictures import has_light_ring, make_square
from fmx_ml.errors import BadDatasetError
from fmx_ml.specs import IMAGE_SIDE

_CHANNELS = {1, 3, 4}  # grey; red, green and blue; these and how opaque
_GREY, _COLOURED = 3, 4  # axes of an array of pictures
_LARGEST_SIDE = 4096  # pixels


@dataclass
class Tally:
    """How many pictures were read, and what of them was changed."""

    total: int = 0
    resized: int = 0
    inverted: int = 0
    coloured: int = 0

    def count(self, size: tuple[int, int], *, is_inverted: bool, is_coloured: bool) -> None:
        """One picture more, of this height and width."""
        self.total += 1
        self.coloured += is_coloured
        self.resized += size != (IMAGE_SIDE, IMAGE_SIDE)
        self.inverted += is_inverted

    def notes(self) -> list[str]:
        """What was changed, in words."""
        side = f"{IMAGE_SIDE} x {IMAGE_SIDE}"
        said = {
            f"made {side} as a whole, on a square of their own background": self.resized,
            "made grey": self.coloured,
            "inverted, since their background is light": self.inverted,
        }
        return [
            f"{count:,} of {self.total:,} pictures were {what}"
            for what, count in said.items()
            if count
        ]


def square(array: NDArray[Any], name: str, tally: Tally) -> NDArray[np.uint8]:
    """Pictures [N, H, W] or [N, H, W, C] of 0 to 255 as uint8 [N, 28, 28].

    Raises:
        BadDatasetError: it holds no such pictures.
    """
    channels = array.shape[3] if array.ndim == _COLOURED else 1
    if array.dtype != np.uint8 or array.ndim not in {_GREY, _COLOURED} or channels not in _CHANNELS:
        raise BadDatasetError(
            f"{name} is {array.dtype} {list(array.shape)}, not uint8 pictures [N, H, W] or "
            "[N, H, W, C] of 0 to 255"
        )
    height, width = array.shape[1:3]
    if not (1 <= height <= _LARGEST_SIDE and 1 <= width <= _LARGEST_SIDE):
        raise BadDatasetError(f"{name} has pictures of {width} x {height} pixels")
    grey = array[..., 0] if channels == 1 and array.ndim == _COLOURED else array
    if grey.shape[1:] == (IMAGE_SIDE, IMAGE_SIDE):
        return _turn_light_on_dark(grey, tally)
    return _convert(grey, tally, is_coloured=channels > 1)


def _turn_light_on_dark(images_NHW: NDArray[np.uint8], tally: Tally) -> NDArray[np.uint8]:
    """Those on a light background inverted, the others as they are."""
    is_light_N = has_light_ring(images_NHW)
    tally.total += len(images_NHW)
    tally.inverted += int(is_light_N.sum())
    return np.where(is_light_N[:, None, None], 255 - images_NHW, images_NHW).astype(np.uint8)


def _convert(images: NDArray[np.uint8], tally: Tally, *, is_coloured: bool) -> NDArray[np.uint8]:
    squares_NHW = np.empty((len(images), IMAGE_SIDE, IMAGE_SIDE), dtype=np.uint8)
    for row, image in enumerate(images):
        squares_NHW[row], is_inverted = make_square(Image.fromarray(image))
        size = (image.shape[0], image.shape[1])
        tally.count(size, is_inverted=is_inverted, is_coloured=is_coloured)
    return squares_NHW
