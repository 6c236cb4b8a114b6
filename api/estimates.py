"""What a job may cost, by what equal trainings have taken on this server."""

from statistics import fmean
from typing import Any

from api.schemas import Estimate
from fmx_ml.specs import JobRequest, PlannedRun
from fmx_store import jobs
from fmx_store.database import Database
from fmx_store.states import Role, State
from fmx_store.tables import Run

LOOK_BACK = 20  # jobs: the newest that succeeded

# What the time of an epoch depends on.
_PACE_FIELDS = ("task", "model", "batch_size", "dataset")


def estimate(db: Database, request: JobRequest, planned: tuple[PlannedRun, ...]) -> Estimate:
    """Epochs and seconds at most, were the runs done one after another."""
    epochs = sum(run.max_epochs for run in planned)
    past = _past_runs(db, request.kind)
    seconds, num_known = 0.0, 0
    for run in planned:
        paces = _paces(past, run.training.model_dump(mode="json"))
        if not paces:
            basis = "no training of this network with this batch size has finished here yet"
            return Estimate(epochs_at_most=epochs, seconds_at_most=None, basis=basis)
        seconds += run.max_epochs * fmean(paces)
        num_known = max(num_known, len(paces))
    basis = f"the epochs of {num_known} finished training(s) of the same network and batch size"
    return Estimate(epochs_at_most=epochs, seconds_at_most=seconds, basis=basis)


def _past_runs(db: Database, kind: str) -> list[Run]:
    page = jobs.list_jobs(db, kind=kind, state=State.SUCCEEDED, limit=LOOK_BACK)
    by_job = jobs.runs_by_job(db, [job.id for job in page.items])
    return [run for runs in by_job.values() for run in runs if run.role is Role.TRAINING]


def _paces(past: list[Run], training: dict[str, Any]) -> list[float]:
    """Seconds an epoch of each past run whose epochs cost what this training's do."""
    wanted = [training[name] for name in _PACE_FIELDS]
    return [
        run.seconds_per_epoch
        for run in past
        if run.seconds_per_epoch is not None
        and run.training is not None
        and [run.training.get(name) for name in _PACE_FIELDS] == wanted
    ]
