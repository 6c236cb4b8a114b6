"""Jobs and runs as mlflow's clients see them: a job is an experiment, a training is a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.mlflow.filters import Columns, Value
from api.mlflow.schemas import Experiment, MlflowMetric, MlflowRun, Pair, RunData, RunInfo
from api.tracking import begin_time, final_figures, final_step, flatten_parameters
from fmx_ml.sinks import EpochMetrics
from fmx_store.ids import ID_LENGTH
from fmx_store.overviews import Overview
from fmx_store.states import State
from fmx_store.tables import Run

_STATUS: Mapping[State, Any] = {
    State.QUEUED: "SCHEDULED",
    State.RUNNING: "RUNNING",
    State.CANCELLING: "RUNNING",
    State.SUCCEEDED: "FINISHED",
    State.FAILED: "FAILED",
    State.CANCELLED: "KILLED",
}
EXPERIMENT_ATTRIBUTES = {
    "experiment_id": str, "name": str, "creation_time": float, "last_update_time": float,
}  # fmt: skip
RUN_ATTRIBUTES = {
    "run_id": str, "run_name": str, "status": str, "user_id": str, "artifact_uri": str,
    "start_time": float, "end_time": float,
}  # fmt: skip


def _milliseconds(moment: datetime) -> int:
    return int(1000 * moment.timestamp())


def name_experiment(job: Overview) -> str:
    """A name of the job's own: what its owner calls it, or its kind, and its id."""
    return f"{job.name or job.kind} {job.id}"


def id_in_name(name: str) -> str:
    """The id of the job that an experiment of this name would be."""
    return name[-ID_LENGTH:]


def describe_experiment(job: Overview) -> Experiment:
    """A job as an experiment."""
    tags = {"fmx.kind": job.kind, "fmx.preset": job.preset, "fmx.state": job.state}
    tags |= {f"fmx.tag.{tag}": "true" for tag in job.tags}
    changed = job.finished_at or job.started_at or job.created_at
    return Experiment(
        experiment_id=job.id,
        name=name_experiment(job),
        artifact_location=f"mlflow-artifacts:/{job.id}",
        creation_time=_milliseconds(job.created_at),
        last_update_time=_milliseconds(changed),
        tags=_pairs(tags),
    )


def columns_of_experiment(found: Experiment) -> Columns:
    """What experiments are searched by."""
    attributes: dict[str, Value] = found.model_dump(include=set(EXPERIMENT_ATTRIBUTES))
    tags: dict[str, Value] = {tag.key: tag.value for tag in found.tags}
    return {"attributes": attributes, "tags": tags, "metrics": {}, "params": {}}


@dataclass(frozen=True)
class RunOfJob:
    """A run, its job, and its last epoch with the seconds of all of its epochs, if it has one."""

    run: Run
    job: Overview
    owner: str
    last: tuple[EpochMetrics, float] | None


def describe_run(found: RunOfJob) -> MlflowRun:
    """A training as a run."""
    run = found.run
    params = {name: str(value) for name, value in flatten_parameters(run.training or {}).items()}
    tags = {
        "mlflow.runName": run.name,
        "mlflow.user": found.owner,
        "mlflow.source.name": "fmx",
        "fmx.kind": found.job.kind,
        "fmx.preset": found.job.preset,
        "fmx.state": run.state,
    }
    if run.reason is not None:
        tags["fmx.reason"] = run.reason
    info = RunInfo(
        run_id=run.id,
        run_uuid=run.id,
        run_name=run.name,
        experiment_id=run.job_id,
        user_id=found.owner,
        status=_STATUS[run.state],
        start_time=int(1000 * begin_time(run)),
        end_time=_milliseconds(run.finished_at) if run.finished_at is not None else None,
        artifact_uri=f"mlflow-artifacts:/{run.job_id}/{run.name}",
    )
    return MlflowRun(
        info=info, data=RunData(metrics=_metrics(found), params=_pairs(params), tags=_pairs(tags))
    )


def _metrics(found: RunOfJob) -> list[MlflowMetric]:
    """The last epoch's figures, and the final ones that are no epoch's."""
    run, step, ended = found.run, 0, begin_time(found.run)
    figures: dict[str, float] = {}
    if found.last is not None:
        epoch, seconds = found.last
        step, ended = epoch.epoch, ended + seconds
        figures = epoch.model_dump(exclude={"epoch"}, exclude_none=True)
    told = [(name, value, step) for name, value in figures.items()]
    told += [(name, value, final_step(run)) for name, value in final_figures(run).items()]
    at = int(1000 * ended)
    return [
        MlflowMetric(key=name, value=value, timestamp=at, step=step) for name, value, step in told
    ]


def _pairs(values: Mapping[str, str]) -> list[Pair]:
    return [Pair(key=key, value=value) for key, value in values.items()]


def columns_of_run(found: MlflowRun) -> Columns:
    """What runs are searched by."""
    info = found.info.model_dump(include=set(RUN_ATTRIBUTES), exclude_none=True)
    return {
        "attributes": info,
        "metrics": {metric.key: metric.value for metric in found.data.metrics},
        "params": {param.key: param.value for param in found.data.params},
        "tags": {tag.key: tag.value for tag in found.data.tags},
    }
