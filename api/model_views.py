"""From a model's row and its model.json to the body that clients get."""

import logging

from api.predict.catalogue import Catalogue
from api.schemas import ModelBody, ModelClass, ModelDetail, ModelLinks
from api.views import artifact_path, job_path
from fmx_ml.files import CARD_FILE, ONNX_FILE, WEIGHTS_FILE
from fmx_ml.model_card import ModelCard
from fmx_store.errors import BlobError, NotFoundError
from fmx_store.tables import Model

_log = logging.getLogger(__name__)


def model_body(catalogue: Catalogue, model: Model) -> ModelBody:
    """The body of a model in a list; without its classes where its model.json is damaged."""
    try:
        card = catalogue.card(model)
    except (BlobError, NotFoundError):
        _log.exception("the description of model %s can't be read", model.id)
        return _body(model, [])
    return _body(model, _classes(card))


def model_detail(catalogue: Catalogue, model: Model) -> ModelDetail:
    """The body of one model. Raises NotFoundError, BlobError."""
    card = catalogue.card(model)
    body = _body(model, _classes(card))
    return ModelDetail(**dict(body), description=card.model_dump(mode="json"))


def _classes(card: ModelCard) -> list[ModelClass]:
    pairs = zip(card.class_indices, card.class_names, strict=True)
    return [ModelClass(index=index, label=label) for index, label in pairs]


def _body(model: Model, classes: list[ModelClass]) -> ModelBody:
    here = f"/v1/models/{model.id}"
    links = {
        "self": here,
        "predict": f"{here}/predict",
        "job": job_path(model.job_id),
        "onnx": artifact_path(model.job_id, f"{model.run_name}/{ONNX_FILE}"),
        "weights": artifact_path(model.job_id, f"{model.run_name}/{WEIGHTS_FILE}"),
        "description": artifact_path(model.job_id, f"{model.run_name}/{CARD_FILE}"),
    }
    return ModelBody(
        id=model.id,
        job=model.job_id,
        run=model.run_id,
        run_name=model.run_name,
        kind=model.kind,
        dataset=model.dataset,
        classes=classes,
        val_accuracy=model.val_accuracy,
        test_accuracy=model.test_accuracy,
        created_at=model.created_at,
        links=ModelLinks.model_validate(links),
    )
