"""What a job may cost, by what trainings like its own have taken on this server."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from api.schemas import Estimate
from fmx_ml.requests import JobRequest
from fmx_ml.trainings import PlannedRun, digest
from fmx_store.tallies import list_paces
from fmx_store.viewers import Record

_UNKNOWN = "no training of this network with this batch size has finished here yet"

# What the time of an epoch depends on, beside the share of the pictures; a field that a training
# does not have is left out. A trial's network is not known before it runs, so the space that it is
# drawn from stands for it.
_PACE_FIELDS = ("task", "model", "batch_size", "dataset", "augmentation", "search")

# A picture of the training set is put through forward, and twice that backward; one of the
# validation set forward alone (report, section 0: 25,000 and 5,000 pictures).
_WORK_OF_TRAINING, _WORK_OF_VALIDATION = 3 * 25_000, 5_000


def estimate(db: Record, request: JobRequest, planned: Sequence[PlannedRun]) -> Estimate:
    """Epochs and seconds at most, were the runs done one after another."""
    trained = [run for run in planned if run.taken_from is None]
    epochs = sum(run.max_epochs for run in trained)
    past = _past_paces(db, request.kind)
    seconds, num_known = 0.0, 0
    for run in trained:
        training = run.training.model_dump(mode="json")
        paces = past.get(_likeness(training))
        if not paces:
            return Estimate(epochs_at_most=epochs, seconds_at_most=None, basis=_UNKNOWN)
        seconds += run.max_epochs * fmean(paces) * _work(training)
        num_known = max(num_known, len(paces))
    basis = f"the epochs of {num_known} finished training(s) of the same network and batch size"
    return Estimate(epochs_at_most=epochs, seconds_at_most=seconds, basis=basis)


def _past_paces(db: Record, kind: str) -> Mapping[str, list[float]]:
    """Seconds a unit of work of past trainings, by what the time of an epoch depends on."""
    paces = defaultdict[str, list[float]](list)
    for training, seconds_per_epoch in list_paces(db, kind):
        paces[_likeness(training)].append(seconds_per_epoch / _work(training))
    return paces


def _likeness(training: Mapping[str, Any]) -> str:
    """Equal for trainings whose epochs cost the same but for the share of the pictures."""
    transfer: Mapping[str, Any] = training.get("transfer") or {}
    fields = {name: training[name] for name in _PACE_FIELDS if name in training}
    return digest({**fields, "trained": transfer.get("trained", "all_layers")})


def _work(training: Mapping[str, Any]) -> float:
    """What an epoch's pictures cost, in passes forward."""
    share = training.get("fraction_percent", 100) / 100
    return _WORK_OF_TRAINING * share + _WORK_OF_VALIDATION
