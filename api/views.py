"""From rows of the record to the bodies that clients get; a list is read in a few queries."""

from collections.abc import Sequence
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
from fmx_ml.specs import Preset
from fmx_store import models
from fmx_store.overviews import Overview
from fmx_store.states import ENDED, State
from fmx_store.tables import Artifact, Run
from fmx_store.viewers import Record


def job_path(job_id: str) -> str:
    """Where a job is."""
    return f"/v1/jobs/{job_id}"


def artifact_path(job_id: str, path: str) -> str:
    """Where a file of a job is."""
    return f"{job_path(job_id)}/artifacts/{quote(path)}"


def job_etag(job_id: str, version: int) -> str:
    """The entity tag of a job's body: its version changes with all that the body shows."""
    return f'"{job_id}-{version}"'


def job_body(job: Overview) -> JobBody:
    """The body of a job."""
    return JobBody(
        id=job.id,
        kind=job.kind,
        preset=cast("Preset", job.preset),
        name=job.name,
        tags=list(job.tags),
        state=job.state,
        reason=job.reason,
        error=job.error,
        priority=job.priority,
        time_limit_seconds=job.time_limit_seconds,
        spec=job.spec,
        spec_hash=job.spec_hash,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        progress=_job_progress(job),
        runs=RunCounts(**{state.value: job.tally.count(state) for state in State}),
        models=list(job.models),
        links=_job_links(job.id),
    )


def _job_links(job_id: str) -> JobLinks:
    here = job_path(job_id)
    parts = ("events", "logs", "runs", "results", "manifest", "artifacts", "cancel", "retry")
    links = {part: f"{here}/{part}" for part in parts}
    return JobLinks.model_validate({**links, "self": here, "archive": f"{here}/artifacts.zip"})


def _job_progress(job: Overview) -> Progress:
    return Progress(
        phase=_job_phase(job),
        completed=job.tally.epochs_done,
        total=job.tally.epochs_total,
        eta_seconds=_eta_seconds(job),
    )


def _job_phase(job: Overview) -> str:
    if job.state in ENDED:
        return job.state
    return "collating" if job.tally.have_ended else job.tally.phase or "queued"


def _eta_seconds(job: Overview) -> float | None:
    """Epochs that are still to come at most, at the mean pace so far; trainings run abreast."""
    if job.state in ENDED:
        return 0.0
    pace = job.tally.seconds_per_epoch
    return None if pace is None else job.tally.epochs_left * pace / max(1, job.tally.num_active)


def run_bodies(db: Record, runs: Sequence[Run]) -> list[RunBody]:
    """The bodies of runs, in their order."""
    left = models.ids_by_run(db, [run.id for run in runs])
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


def artifact_body(artifact: Artifact, run_name: str | None) -> ArtifactBody:
    """The body of an artifact, with the name of the training that left it, if one did."""
    here = artifact_path(artifact.job_id, artifact.path)
    fields = {"path", "size_bytes", "sha256", "media_type", "created_at"}
    return ArtifactBody(
        **artifact.model_dump(include=fields),
        run=run_name,
        links=SelfLink.model_validate({"self": here}),
    )
