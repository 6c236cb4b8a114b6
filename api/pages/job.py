"""The page of a job: what it is, its curves, its results beside the published ones, its files."""

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from api.dependencies import App, Db, JobId
from api.outcomes import require_manifest, require_results
from api.pages.best import find_best
from api.pages.differences import Differences, find_differences
from api.pages.rendering import render_page
from api.pages.sketches import HEIGHT, MAX_LINES, WIDTH, sketch_job
from api.problems import ProblemError
from api.routes.jobs import delete_job
from api.schemas import ResultsBody, RunBody
from api.views import artifact_body, job_body, run_bodies
from fmx_store import artifacts, jobs
from fmx_store.overviews import require_overview
from fmx_store.states import ENDED
from fmx_store.viewers import View

router = APIRouter(prefix="/jobs/{job_id:id}", include_in_schema=False)

SHOWN_RUNS = 100  # at first; a script fetches the others
SHOWN_FILES = 200  # the archive has the others


@router.get("")
def show_job(job_id: JobId, request: Request, db: Db) -> Response:
    summary = _summarise(db, job_id)
    runs = _read_runs(db, job_id, SHOWN_RUNS)
    files = artifacts.page_artifacts(db, job_id, limit=SHOWN_FILES)
    return render_page(
        request,
        "job.html",
        **summary,
        runs=runs,
        varied=_tell_apart(runs),
        sketches=sketch_job(db, job_id) if len(runs) <= MAX_LINES else [],
        has_more_runs=len(runs) == SHOWN_RUNS,
        width=WIDTH,
        height=HEIGHT,
        results=find_results(db, job_id),
        files=[artifact_body(*item) for item in files.items],
        has_more_files=files.next_cursor is not None,
    )


@router.get("/summary")
def show_job_summary(job_id: JobId, request: Request, db: Db) -> Response:
    return render_page(request, "parts/job_summary.html", **_summarise(db, job_id))


@router.get("/runs")
def show_job_runs(job_id: JobId, request: Request, db: Db, services: App) -> Response:
    runs = _read_runs(db, job_id, services.settings.max_runs_per_job)
    return render_page(request, "parts/job_runs.html", runs=runs, varied=_tell_apart(runs))


@router.get("/manifest")
def show_job_manifest(job_id: JobId, request: Request, db: Db) -> Response:
    text = orjson.dumps(require_manifest(db, job_id), option=orjson.OPT_INDENT_2).decode()
    return render_page(request, "parts/json.html", text=text, label="Manifest")


@router.post("/cancel")
def cancel_shown_job(job_id: JobId, db: Db) -> Response:
    jobs.cancel(db, job_id)
    return RedirectResponse(f"/jobs/{job_id}", 303)


@router.post("/retry")
def retry_shown_job(job_id: JobId, db: Db) -> Response:
    jobs.retry(db, job_id)
    return RedirectResponse(f"/jobs/{job_id}", 303)


@router.post("/delete")
def delete_shown_job(job_id: JobId, db: Db, services: App) -> Response:
    delete_job(job_id, db, services)
    return RedirectResponse("/jobs", 303)


def _summarise(db: View, job_id: str) -> dict[str, Any]:
    """What the head of the page shows. Raises NotFoundError."""
    job = job_body(require_overview(db, job_id))
    best = find_best(db, job.id, job.models)
    return {"job": job, "has_ended": job.state in ENDED, "best": best}


def find_results(db: View, job_id: str) -> ResultsBody | None:
    """The results of a job, where it has some. Raises NotFoundError."""
    try:
        return require_results(db, job_id)
    except ProblemError:  # not yet, or never
        return None


def _read_runs(db: View, job_id: str, limit: int) -> list[RunBody]:
    return run_bodies(db, jobs.page_runs(db, job_id, limit=limit).items)


def _tell_apart(runs: list[RunBody]) -> Differences:
    """What the runs' trainings differ in, which their names do not always say."""
    return find_differences([run.params for run in runs])
