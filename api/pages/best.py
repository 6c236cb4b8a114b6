"""The model of a job that did best on the validation pictures."""

from collections.abc import Sequence

from fmx_store import models
from fmx_store.tables import Model
from fmx_store.viewers import View


def find_best(db: View, job_id: str, model_ids: Sequence[str]) -> Model | None:
    """Which of a job's models has the highest validation accuracy; None where it has none."""
    if not model_ids:
        return None
    found = models.list_models(db, job_id=job_id, limit=len(model_ids)).items
    return max(found, key=lambda model: model.val_accuracy or 0.0, default=None)
