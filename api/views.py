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
from fmx_store import jobs, models
from fmx_store.database import Database
from fmx_store.states import ENDED, State
from fmx_store.tables import Artifact, Job, Run
from fmx_store.tallies import Tally, tally_jobs


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
    tallies, tags = tally_jobs(db, ids), jobs.tags_of(db, ids)
    left = models.ids_by_job(db, ids)
    return [_job_body(job, tallies[job.id], tags[job.id], left[job.id]) for job in found]


def job_body(db: Database, job: Job) -> JobBody:
    """The body of one job."""
    return job_bodies(db, [job])[0]


def _job_body(job: Job, tally: Tally, tags: list[str], model_ids: list[str]) -> JobBody:
    return JobBody(
        **job.model_dump(include=_JOB_FIELDS),
        preset=cast("Preset", job.preset),
        tags=tags,
        progress=_job_progress(job, tally),
        runs=RunCounts(**{state.value: tally.count(state) for state in State}),
        models=model_ids,
        links=_job_links(job.id),
    )


_JOB_FIELDS = {
    "id",
    "kind",
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


def _job_progress(job: Job, tally: Tally) -> Progress:
    return Progress(
        phase=_job_phase(job, tally),
        completed=tally.epochs_done,
        total=tally.epochs_total,
        eta_seconds=_eta_seconds(job, tally),
    )


def _job_phase(job: Job, tally: Tally) -> str:
    if job.state in ENDED:
        return job.state
    return "collating" if tally.have_ended else tally.phase or "queued"


def _eta_seconds(job: Job, tally: Tally) -> float | None:
    """Epochs that are still to come at most, at the mean pace so far; trainings run abreast."""
    if job.state in ENDED:
        return 0.0
    pace = tally.seconds_per_epoch
    return None if pace is None else tally.epochs_left * pace / max(1, tally.num_active)


def run_bodies(db: Database, runs: Sequence[Run]) -> list[RunBody]:
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
