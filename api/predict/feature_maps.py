"""What the convolutions of a model make of pictures, as numbers and drawn.

Legend of shapes: C channels, H W pixels.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from api.conditional import accepts_json, prefers_png
from api.json_body import JSON_TYPE
from api.pointers import ErrorItem
from api.predict.catalogue import Loaded
from api.predict.intake import Batch
from api.predict.predictor import describe_predictions
from api.predict.sheets import (
    PNG_TYPE,
    Row,
    draw_input,
    draw_layer,
    draw_sheet,
    to_data_uri,
    to_png,
)
from api.problems import invalid, refuse
from api.queries import FeatureMapQuery
from fmx_ml.model_card import ModelCard, OutputCard

MAX_NUMBERS = 4_000_000  # of an answer in JSON: some 40 MB

_CONVOLUTION = re.compile(r"conv\d+")  # the outputs of an export that are feature maps


@dataclass(frozen=True)
class _Mapped:
    """A picture, what the model says of it, and the maps of each layer."""

    pixels_HW: NDArray[np.uint8]
    prediction: dict[str, Any]
    maps: Sequence[NDArray[np.float32]]  # [C, H, W] each


@dataclass(frozen=True)
class Rendered:
    """An answer's body."""

    content: bytes
    media_type: str


def choose_layers(card: ModelCard, asked: str | None) -> list[OutputCard]:
    """The layers that are named, or all, from input to output.

    Raises ProblemError: 409 where the model has no convolutions, 422 for what is no layer of it.
    """
    known = [out for out in card.outputs if _CONVOLUTION.fullmatch(out.name)]
    if not known:
        raise refuse(409, "no_feature_maps", "this model has no convolutions, so no feature maps")
    if asked is None:
        return known
    names = asked.split(",")
    _refuse_layers(names, [layer.name for layer in known])
    return [layer for layer in known if layer.name in names]


def _refuse_layers(names: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        detail = f"{unknown[0]!r} is none of {', '.join(known)}"
        raise invalid([ErrorItem("?layers", "unknown_layer", detail)])
    if len(set(names)) < len(names):
        raise invalid([ErrorItem("?layers", "repeated", "a layer is named more than once")])


def render_maps(
    loaded: Loaded,
    layers: Sequence[OutputCard],
    batch: Batch,
    query: FeatureMapQuery,
    accept: str | None,
) -> Rendered:
    """The maps of each picture as the client likes them. Raises ProblemError."""
    if prefers_png(accept):
        if len(batch.origins) == 1:
            return _render_sheet(layers, _map_pictures(loaded, layers, batch)[0])
        if not accepts_json(accept):
            detail = "a sheet shows one picture: send one, or accept application/json"
            raise refuse(406, "one_picture", detail)
    if query.values:
        _refuse_numbers(layers, len(batch.origins))
    mapped = _map_pictures(loaded, layers, batch)
    pictures = [_describe(layers, picture, values=query.values) for picture in mapped]
    body = {"model": loaded.model.id, "feature_maps": pictures}
    return Rendered(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), JSON_TYPE)


def _refuse_numbers(layers: Sequence[OutputCard], num_pictures: int) -> None:
    """Raises ProblemError where an answer would be too large to be made in memory."""
    a_picture = sum(math.prod(int(side) for side in layer.shape[1:]) for layer in layers)
    if num_pictures * a_picture > MAX_NUMBERS:
        detail = (
            f"{num_pictures * a_picture:,} numbers are more than {MAX_NUMBERS:,}: "
            "leave them out, or ask for fewer layers or pictures"
        )
        raise invalid([ErrorItem("?values", "too_many_values", detail)])


def _map_pictures(loaded: Loaded, layers: Sequence[OutputCard], batch: Batch) -> list[_Mapped]:
    names = [layer.name for layer in layers]
    probabilities_NK, maps = loaded.session.predict_with_maps(batch.images_NHW, names)
    predictions = describe_predictions(loaded.card, batch, probabilities_NK)
    return [
        _Mapped(pixels_HW, prediction, of_layers)
        for pixels_HW, prediction, *of_layers in zip(
            batch.images_NHW, predictions, *maps, strict=True
        )
    ]


def _describe(layers: Sequence[OutputCard], mapped: _Mapped, *, values: bool) -> dict[str, Any]:
    pixels_HW = mapped.pixels_HW
    return {
        **mapped.prediction,
        "input": {
            "shape": pixels_HW.shape,
            **({"values": np.ascontiguousarray(pixels_HW)} if values else {}),
            "picture": to_data_uri(draw_input(pixels_HW)),
        },
        "layers": [
            {
                "name": layer.name,
                "meaning": layer.meaning,
                "shape": maps_CHW.shape,
                "minimum": maps_CHW.min(),
                "maximum": maps_CHW.max(),
                **({"values": np.ascontiguousarray(maps_CHW)} if values else {}),
                "picture": to_data_uri(draw_layer(maps_CHW)),
            }
            for layer, maps_CHW in zip(layers, mapped.maps, strict=True)
        ],
    }


def _render_sheet(layers: Sequence[OutputCard], mapped: _Mapped) -> Rendered:
    rows = [Row(layer.name, maps_CHW) for layer, maps_CHW in zip(layers, mapped.maps, strict=True)]
    return Rendered(to_png(draw_sheet(mapped.pixels_HW, rows)), PNG_TYPE)
