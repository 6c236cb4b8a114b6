"""What a model says of pictures.

Legend of shapes: N pictures, K classes.
"""

import numpy as np
from numpy.typing import NDArray

from api.predict.catalogue import Catalogue
from api.predict.intake import Batch, Reader
from api.schemas import Prediction
from fmx_ml.model_card import ModelCard
from fmx_store.tables import Model


def predict_pictures(catalogue: Catalogue, model: Model, read: Reader) -> list[Prediction]:
    """A prediction for each picture. Raises ProblemError, NotFoundError, BlobError."""
    batch = read()
    loaded = catalogue.load(model)
    return describe_predictions(loaded.card, batch, loaded.session.predict(batch.images_NHW))


def describe_predictions(
    card: ModelCard, batch: Batch, probabilities_NK: NDArray[np.float32]
) -> list[Prediction]:
    """Each picture's most probable class, all probabilities, and where it came from."""
    names, indices = card.class_names, card.class_indices
    predictions: list[Prediction] = []
    for row_K, origin in zip(probabilities_NK.tolist(), batch.origins, strict=True):
        best = max(range(len(row_K)), key=row_K.__getitem__)
        predictions.append(
            Prediction(
                label=names[best],
                index=indices[best],
                probabilities=dict(zip(names, row_K, strict=True)),
                **origin,
            )
        )
    return predictions
