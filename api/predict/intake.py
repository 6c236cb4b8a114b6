"""The pictures of a request, in whichever way they come: pixels, rows of the test set, files.

Legend of shapes: N pictures, H W pixels.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray
from pydantic import ValidationError
from starlette.requests import Request

from api.json_body import (
    JSON_TYPE,
    media_type,
    parse_json,
    read_json_text,
    unsupported_media_type,
)
from api.pointers import ErrorItem, describe_invalid, join_pointer
from api.predict.catalogue import Catalogue
from api.predict.pixels import unpack_pixels
from api.predict.uploads import FIELD, FORM_TYPE, Upload, stream_files
from api.problems import invalid
from api.queries import PredictRequest
from api.services import Services
from fmx_ml.data.pictures import Picture, PictureError, read_picture
from fmx_ml.specs import IMAGE_SIDE
from fmx_store.settings import Settings
from fmx_store.tables import Model

PIXEL_BYTES = 16  # of a pixel in JSON: three digits, a comma, and an indentation
SPARE_VALUES = 64 * 1024  # of a body in JSON, beside the pixels
BRIEF_BYTES = 16 * 1024  # of a body; reading it takes less time than a thread's help


@dataclass(frozen=True)
class Batch:
    """Pictures as models take them; `origins` are the members of each answer that say whence."""

    images_NHW: NDArray[np.uint8]
    origins: Sequence[dict[str, Any]]


async def receive_pictures(
    request: Request, services: Services, model: Model, max_pictures: int
) -> Batch:
    """The pictures in the request's body. Raises ProblemError, BlobError."""
    kind = media_type(request)
    if kind == JSON_TYPE:
        return await _receive_json(request, services, model, max_pictures)
    if kind == FORM_TYPE:
        return await _receive_files(request, services, max_pictures)
    raise unsupported_media_type(request, JSON_TYPE, FORM_TYPE)


async def _receive_json(
    request: Request, services: Services, model: Model, max_pictures: int
) -> Batch:
    pixels = max_pictures * IMAGE_SIDE * IMAGE_SIDE
    max_bytes = services.settings.max_body_bytes + pixels * PIXEL_BYTES
    body = await read_json_text(request, max_bytes)
    if len(body) <= BRIEF_BYTES:
        images_NHW = unpack_pixels(body, max_pictures)
        if images_NHW is not None:
            return _without_origins(images_NHW)
    read = partial(_read_json, services, model, body, max_pictures)
    return await to_thread.run_sync(read, limiter=services.predict_limiter)


async def _receive_files(request: Request, services: Services, max_pictures: int) -> Batch:
    names: list[str] = []
    pictures: list[Picture] = []
    async with aclosing(stream_files(request, services.settings, max_pictures)) as uploads:
        async for upload in uploads:
            decode = partial(_decode, upload, len(names), services.settings)
            pictures.append(await to_thread.run_sync(decode, limiter=services.predict_limiter))
            names.append(upload.name)
    if not names:
        raise invalid([ErrorItem(f"/{FIELD}", "missing", "no file was sent")])
    return _stack(names, pictures)


def _read_json(services: Services, model: Model, body: bytes, max_pictures: int) -> Batch:
    images_NHW = unpack_pixels(body, max_pictures)
    if images_NHW is not None:
        return _without_origins(images_NHW)
    value = parse_json(body, services.settings.max_json_depth, most_values(max_pictures))
    request = _parse(value, max_pictures)
    if request.test_rows:
        return _read_rows(services.catalogue, model, request.test_rows)
    return _without_origins(np.array(request.images, dtype=np.uint8))


def most_values(max_pictures: int) -> int:
    """The values that so many pictures may have in JSON: pixels, and the lists that they are in."""
    return max_pictures * IMAGE_SIDE * (IMAGE_SIDE + 2) + SPARE_VALUES


def _without_origins(images_NHW: NDArray[np.uint8]) -> Batch:
    return Batch(images_NHW, [{} for _ in images_NHW])


def _parse(value: Any, max_pictures: int) -> PredictRequest:
    try:
        request = PredictRequest.model_validate(value)
    except ValidationError as error:
        raise invalid(describe_invalid(error, value)) from error
    if bool(request.images) == bool(request.test_rows):
        raise invalid([ErrorItem("", "one_of", "give either images or test_rows")])
    for name, items in (("images", request.images), ("test_rows", request.test_rows)):
        if len(items) > max_pictures:
            detail = f"{len(items)} are more than {max_pictures}"
            raise invalid([ErrorItem(f"/{name}", "too_long", detail)])
    return request


def _read_rows(catalogue: Catalogue, model: Model, rows: Sequence[int]) -> Batch:
    test_set = catalogue.test_set(model)
    count = len(test_set.labels_N)
    beyond = [
        ErrorItem(join_pointer(["test_rows", i]), "out_of_range", f"the test set has {count} rows")
        for i, row in enumerate(rows)
        if row >= count
    ]
    if beyond:
        raise invalid(beyond)
    names = catalogue.card(model).class_names
    labels = test_set.labels_N[list(rows)]
    origins = [
        {"row": row, "actual": names[label]} for row, label in zip(rows, labels, strict=True)
    ]
    return Batch(test_set.images_NHW[list(rows)], origins)


def _decode(upload: Upload, index: int, settings: Settings) -> Picture:
    """The picture in an uploaded file. Raises ProblemError that points to it."""
    try:
        return read_picture(upload.content, settings.max_picture_pixels)
    except PictureError as error:
        place = join_pointer([FIELD, index])
        raise invalid([ErrorItem(place, error.code, f"{upload.name}: {error.detail}")]) from error


def _stack(names: Sequence[str], pictures: Sequence[Picture]) -> Batch:
    origins = [
        {
            "file": name,
            "width": picture.width,
            "height": picture.height,
            "inverted": picture.inverted,
        }
        for name, picture in zip(names, pictures, strict=True)
    ]
    return Batch(np.stack([picture.pixels_HW for picture in pictures]), origins)
