"""From rows of the record to the bodies that clients get; a list is read in a few queries."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import cast
from urllib.parse import quote

from api.schemas import (
    ArtifactBody,
    JobBody,
    JobLinks,
    Progress,
    RunBody,
    RunCounts,
    RunLinks,
    SelfLink,
)
from fmx_ml.specs import Kind, Preset
from fmx_store import jobs, models
from fmx_store.database import Database
from fmx_store.states import ACTIVE, ENDED, Role, State
from fmx_store.tables import Artifact, Job, Model, Run


def job_path(job_id: str) -> str:
    """Where a job is."""
    return f"/v1/jobs/{job_id}"


def artifact_path(job_id: str, path: str) -> str:
    """Where a file of a job is."""
    return f"{job_path(job_id)}/artifacts/{quote(path)}"


def job_etag(job: Job) -> str:
    """The entity tag of a job's body: its version changes with all that the body shows."""
    return f'"{job.id}-{job.version}"'


def job_bodies(db: Database, found: Sequence[Job]) -> list[JobBody]:
    """The bodies of jobs, in their order."""
    ids = [job.id for job in found]
    runs, tags = jobs.runs_by_job(db, ids), jobs.tags_of(db, ids)
    left = models.models_by_job(db, ids)
    return [_job_body(job, runs[job.id], tags[job.id], left[job.id]) for job in found]


def job_body(db: Database, job: Job) -> JobBody:
    """The body of one job."""
    return job_bodies(db, [job])[0]


def _job_body(job: Job, runs: Sequence[Run], tags: Sequence[str], left: Sequence[Model]) -> JobBody:
    trainings = [run for run in runs if run.role is Role.TRAINING]
    counts = Counter(run.state for run in trainings)
    return JobBody(
        **job.model_dump(include=_JOB_FIELDS),
        kind=cast("Kind", job.kind),
        preset=cast("Preset", job.preset),
        tags=list(tags),
        progress=_job_progress(job, trainings),
        runs=RunCounts(**{state.value: counts[state] for state in State}),
        models=[model.id for model in left],
        links=_job_links(job.id),
    )


_JOB_FIELDS = {
    "id",
    "name",
    "state",
    "reason",
    "error",
    "priority",
    "time_limit_seconds",
    "spec",
    "spec_hash",
    "created_at",
    "started_at",
    "finished_at",
}


def _job_links(job_id: str) -> JobLinks:
    here = job_path(job_id)
    parts = ("runs", "results", "manifest", "artifacts", "cancel", "retry")
    links = {part: f"{here}/{part}" for part in parts}
    return JobLinks.model_validate({**links, "self": here, "archive": f"{here}/artifacts.zip"})


def _job_progress(job: Job, trainings: Sequence[Run]) -> Progress:
    return Progress(
        phase=_job_phase(job, trainings),
        completed=sum(run.epochs_done for run in trainings),
        total=sum(run.epochs_total for run in trainings),
        eta_seconds=_eta_seconds(job, trainings),
    )


def _job_phase(job: Job, trainings: Sequence[Run]) -> str:
    if job.state in ENDED:
        return job.state
    if all(run.state in ENDED for run in trainings):
        return "collating"
    return next((run.phase for run in trainings if run.state in ACTIVE), "queued")


def _eta_seconds(job: Job, trainings: Sequence[Run]) -> float | None:
    """Epochs that are still to come at most, at the mean pace so far; trainings run abreast."""
    if job.state in ENDED:
        return 0.0
    paces = [run.seconds_per_epoch for run in trainings if run.seconds_per_epoch is not None]
    if not paces:
        return None
    left = sum(run.epochs_total - run.epochs_done for run in trainings if run.state not in ENDED)
    abreast = max(1, sum(run.state in ACTIVE for run in trainings))
    return left * fmean(paces) / abreast


def run_bodies(db: Database, job_id: str, runs: Sequence[Run]) -> list[RunBody]:
    """The bodies of runs of one job, in their order."""
    left = {model.run_id: model.id for model in models.models_by_job(db, [job_id])[job_id]}
    return [_run_body(run, left.get(run.id)) for run in runs]


def _run_body(run: Run, model_id: str | None) -> RunBody:
    here = f"/v1/runs/{run.id}"
    links = {"self": here, "job": job_path(run.job_id), "metrics": f"{here}/metrics"}
    return RunBody(
        **run.model_dump(include=_RUN_FIELDS),
        job=run.job_id,
        params=run.training or {},
        summary=run.summary or {},
        progress=_run_progress(run),
        model=model_id,
        links=RunLinks.model_validate(links),
    )


_RUN_FIELDS = {
    "id",
    "name",
    "state",
    "reason",
    "error",
    "attempt",
    "device",
    "reused_from",
    "created_at",
    "started_at",
    "finished_at",
}


def _run_progress(run: Run) -> Progress:
    eta = None if run.seconds_per_epoch is None else run.seconds_per_epoch
    left = run.epochs_total - run.epochs_done
    return Progress(
        phase=run.state if run.state in ENDED else run.phase,
        completed=run.epochs_done,
        total=run.epochs_total,
        eta_seconds=0.0 if run.state in ENDED else eta and left * eta,
    )


def artifact_body(artifact: Artifact, run_names: dict[str, str | None]) -> ArtifactBody:
    """The body of an artifact; `run_names` has the name of each training by its id."""
    here = artifact_path(artifact.job_id, artifact.path)
    fields = {"path", "size_bytes", "sha256", "media_type", "created_at"}
    return ArtifactBody(
        **artifact.model_dump(include=fields),
        run=run_names.get(artifact.run_id),
        links=SelfLink.model_validate({"self": here}),
    )
