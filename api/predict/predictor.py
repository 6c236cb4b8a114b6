"""What a model says of pictures.

Legend of shapes: N pictures, K classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.predict.catalogue import Loaded
from api.predict.intake import Batch
from fmx_ml.model_card import ModelCard


async def predict_pictures(loaded: Loaded, batch: Batch) -> list[dict[str, Any]]:
    """A prediction for each picture. Raises ProblemError where too many wait already."""
    probabilities_NK = await loaded.predict(batch.images_NHW)
    return describe_predictions(loaded.card, batch, probabilities_NK)


def describe_predictions(
    card: ModelCard, batch: Batch, probabilities_NK: NDArray[np.float32]
) -> list[dict[str, Any]]:
    """Each picture's most probable class, all probabilities, and where it came from.

    As `api.predict.schemas.Prediction` says, which a path of thousands a second goes without.
    """
    names, indices = card.class_names, card.class_indices
    best_N = probabilities_NK.argmax(axis=1).tolist()
    return [
        {
            "label": names[best],
            "class": indices[best],
            "probabilities": dict(zip(names, row_K, strict=True)),
            **origin,
        }
        for row_K, best, origin in zip(
            probabilities_NK.tolist(), best_N, batch.origins, strict=True
        )
    ]
