"""Pictures of each kind that a client may send, put through a model.

Legend of shapes: N pictures, H W pixels, K classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from api.pointers import ErrorItem, describe_invalid, join_pointer
from api.predict.catalogue import Catalogue, Loaded
from api.predict.pictures import Picture, PictureError, read_picture
from api.predict.uploads import FIELD, Upload
from api.problems import invalid
from api.queries import PredictRequest
from api.schemas import Prediction
from fmx_store.settings import Settings
from fmx_store.tables import Model


def parse_request(value: Any, max_pictures: int) -> PredictRequest:
    """The checked request in a JSON value. Raises ProblemError."""
    try:
        request = PredictRequest.model_validate(value)
    except ValidationError as error:
        raise invalid(describe_invalid(error, value)) from error
    if (request.images is None) == (request.test_rows is None):
        raise invalid([ErrorItem("", "one_of", "give either images or test_rows")])
    for name, items in (("images", request.images), ("test_rows", request.test_rows)):
        if items is not None and len(items) > max_pictures:
            detail = f"{len(items)} are more than {max_pictures}"
            raise invalid([ErrorItem(f"/{name}", "too_long", detail)])
    return request


def predict_request(
    catalogue: Catalogue, model: Model, request: PredictRequest
) -> list[Prediction]:
    """A prediction for each picture or row of a request. Raises ProblemError."""
    loaded = catalogue.load(model)
    if request.test_rows is not None:
        return _predict_rows(catalogue, model, loaded, request.test_rows)
    return _classify(loaded, np.array(request.images, dtype=np.uint8))


def _predict_rows(
    catalogue: Catalogue, model: Model, loaded: Loaded, rows: Sequence[int]
) -> list[Prediction]:
    test_set = catalogue.test_set(model)
    count = len(test_set.labels_N)
    beyond = [
        ErrorItem(join_pointer(["test_rows", i]), "out_of_range", f"the test set has {count} rows")
        for i, row in enumerate(rows)
        if row >= count
    ]
    if beyond:
        raise invalid(beyond)
    names = loaded.card.class_names
    actual = [names[label] for label in test_set.labels_N[list(rows)]]
    found = _classify(loaded, test_set.images_NHW[list(rows)])
    return [
        prediction.model_copy(update={"row": row, "actual": label})
        for prediction, row, label in zip(found, rows, actual, strict=True)
    ]


def decode(upload: Upload, index: int, settings: Settings) -> Picture:
    """The picture in an uploaded file. Raises ProblemError that points to it."""
    try:
        return read_picture(upload.content, settings.max_picture_pixels)
    except PictureError as error:
        place = join_pointer([FIELD, index])
        raise invalid([ErrorItem(place, error.code, f"{upload.name}: {error.detail}")]) from error


def predict_pictures(
    catalogue: Catalogue, model: Model, names: Sequence[str], pictures: Sequence[Picture]
) -> list[Prediction]:
    """A prediction for each uploaded picture."""
    found = _classify(catalogue.load(model), np.stack([p.pixels_HW for p in pictures]))
    return [
        prediction.model_copy(
            update={
                "file": name,
                "width": picture.width,
                "height": picture.height,
                "inverted": picture.inverted,
            }
        )
        for prediction, name, picture in zip(found, names, pictures, strict=True)
    ]


def _classify(loaded: Loaded, images_NHW: NDArray[np.uint8]) -> list[Prediction]:
    probabilities_NK = loaded.session.predict(images_NHW)
    names, indices = loaded.card.class_names, loaded.card.class_indices
    predictions: list[Prediction] = []
    for row_K in probabilities_NK.tolist():
        best = max(range(len(row_K)), key=row_K.__getitem__)
        predictions.append(
            Prediction(
                label=names[best],
                index=indices[best],
                probabilities=dict(zip(names, row_K, strict=True)),
            )
        )
    return predictions
