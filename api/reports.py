"""A report of some jobs: which they are, what it needs of each, and its three forms."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

from api.outcomes import require_manifest
from api.pointers import ErrorItem
from api.problems import invalid, refuse
from fmx_ml.report import Document, JobReport, compose, render_html, render_markdown, render_pdf
from fmx_ml.requests import KINDS, require_question
from fmx_ml.results import Results
from fmx_store import artifacts, jobs
from fmx_store.blobs import BlobStore
from fmx_store.errors import BlobError, NotFoundError
from fmx_store.states import ENDED, State
from fmx_store.tables import Job
from fmx_store.viewers import View

Format = Literal["html", "pdf", "md"]

MAX_JOBS = 20  # of one report

MEDIA_TYPES: dict[Format, str] = {
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "md": "text/markdown; charset=utf-8",
}

_RENDERERS: dict[Format, Callable[[Document], bytes]] = {
    "html": lambda document: render_html(document).encode(),
    "pdf": render_pdf,
    "md": lambda document: render_markdown(document).encode(),
}


def choose_jobs(db: View, asked: str | None) -> list[Job]:
    """The jobs that are named, or the newest of each kind that has succeeded.

    Raises NotFoundError, ProblemError: 422 for a list that is none, 404 where nothing has
    succeeded yet, 409 for a job without results.
    """
    if asked is None:
        return _choose_newest(db)
    names = asked.split(",")
    if not 0 < len(names) <= MAX_JOBS or len(set(names)) < len(names):
        detail = f"give 1 to {MAX_JOBS} different ids, separated by commas"
        raise invalid([ErrorItem("?jobs", "bad_list", detail)])
    chosen = [jobs.require_job(db, name) for name in names]
    for job in chosen:
        if job.results is None:
            code = "no_results" if job.state in ENDED else "not_ready"
            headers = {} if job.state in ENDED else {"Retry-After": "10"}
            raise refuse(409, code, f"job {job.id} is {job.state}: no results", headers=headers)
    return chosen


def _choose_newest(db: View) -> list[Job]:
    newest = [
        jobs.require_job(db, page.items[0].id)  # with its results, which a list is without
        for kind in KINDS
        if (page := jobs.list_jobs(db, kind=kind, state=State.SUCCEEDED, limit=1)).items
    ]
    if not newest:
        raise refuse(404, "nothing_to_report", "no job has succeeded yet")
    return newest


def tag_report(chosen: Sequence[Job], form: Format) -> str:
    """The entity tag of a report: it changes with its jobs."""
    parts = [form, *(f"{job.id}-{job.version}" for job in chosen)]
    return f'"{hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]}"'


def render_report(db: View, blobs: BlobStore, chosen: Sequence[Job], form: Format) -> bytes:
    """The report of some jobs that have results."""
    document = compose([_describe(db, blobs, job) for job in chosen])
    return _RENDERERS[form](document)


def _describe(db: View, blobs: BlobStore, job: Job) -> JobReport:
    question = require_question(job.kind)
    return JobReport(
        id=job.id,
        name=job.name,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        results=Results.model_validate(job.results),
        manifest=require_manifest(db, job.id),
        title=question.title,
        about=question.about,
        artifacts=functools.partial(_read, db, blobs, job.id),
    )


def _read(db: View, blobs: BlobStore, job_id: str, path: str) -> bytes:
    """A figure's file. Raises LookupError where it is gone, which the report then says."""
    try:
        artifact = artifacts.require_artifact(db, job_id, path)
        with blobs.open(artifact.sha256) as file:
            return file.read()
    except (NotFoundError, BlobError) as error:
        raise LookupError(path) from error
