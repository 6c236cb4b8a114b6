"""Pixels in JSON, read in bulk: what is well formed, and that is nearly everything, costs little.

Legend of shapes: N pictures, H W pixels.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from fmx_ml.specs import IMAGE_SIDE

NAME = "images"


def unpack_pixels(body: bytes, max_pictures: int) -> NDArray[np.uint8] | None:
    """The pictures in a body that is `{"images": [...]}` and nothing else, [N, H, W].

    None for every other body, right or wrong: the strict parser says which.
    """
    # One text only, the name: so nothing is named twice, and no pixel is a text or an object's
    # member. Booleans are looked for since they pass for numbers below.
    if body.count(b'"') != 2 or b"true" in body or b"false" in body:  # noqa: PLR2004
        return None
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    images = cast("dict[str, Any]", value).get(NAME) if isinstance(value, dict) else None
    if not isinstance(images, list) or not 0 < len(cast("list[Any]", images)) <= max_pictures:
        return None
    return _pack(cast("list[Any]", images))


def _pack(images: Sequence[Any]) -> NDArray[np.uint8] | None:
    side = IMAGE_SIDE
    try:
        if any(len(image) != side or any(len(row) != side for row in image) for image in images):
            return None
        # Refuses what is no whole number (TypeError) or not within 0 to 255 (ValueError).
        packed = b"".join([bytes(row) for image in images for row in image])
    except (TypeError, ValueError):
        return None
    return np.frombuffer(packed, np.uint8).reshape(len(images), side, side)
