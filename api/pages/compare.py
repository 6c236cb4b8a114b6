"""Jobs and runs side by side: what they differ in, their curves on one axis, their last figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi import Query as QueryOf
from pydantic import Field

from api.dependencies import Db
from api.pages.best import find_best
from api.pages.differences import find_differences
from api.pages.job import find_results
from api.pages.rendering import render_page
from api.queries import Query
from api.schemas import JobBody, ResultsBody, RunBody
from api.views import job_body, run_bodies
from fmx_store import jobs
from fmx_store.overviews import require_overview
from fmx_store.viewers import View

router = APIRouter(include_in_schema=False)

MAX_COMPARED = 12
OFFERED_JOBS = 50


class CompareQuery(Query):
    """What is compared."""

    job: list[str] = Field(default_factory=list, max_length=MAX_COMPARED)
    run: list[str] = Field(default_factory=list, max_length=MAX_COMPARED)


@dataclass(frozen=True)
class Side:
    """A job or a run among those that are compared."""

    title: str
    path: str
    params: dict[str, Any]
    summary: dict[str, Any]
    curves: str  # where its epochs are


@router.get("/compare")
def show_compare(request: Request, db: Db, query: Annotated[CompareQuery, QueryOf()]) -> Response:
    shown = [job_body(require_overview(db, job_id)) for job_id in dict.fromkeys(query.job)]
    runs = [_read_run(db, run_id) for run_id in dict.fromkeys(query.run)]
    sides = [*(_side_of_job(db, job) for job in shown), *map(_side_of_run, runs)]
    offered = jobs.list_jobs(db, limit=OFFERED_JOBS).items
    return render_page(
        request,
        "compare.html",
        jobs=shown,
        sides=sides,
        asked=query,
        differences=find_differences([side.params for side in sides]),
        summary=_summarise(sides),
        comparisons=_line_up([find_results(db, job.id) for job in shown]),
        offered=[job_body(overview) for overview in offered],
        most=MAX_COMPARED,
    )


def _read_run(db: View, run_id: str) -> RunBody:
    return run_bodies(db, [jobs.require_run(db, run_id)])[0]


def name_job(job: JobBody) -> str:
    """What a job is called where its name may be missing."""
    return job.name or f"{job.kind} {job.id[-6:]}"


def _side_of_job(db: View, job: JobBody) -> Side:
    params = {"kind": job.kind, "preset": job.preset, **job.spec}
    summary = {"state": job.state, **_describe_best(db, job)}
    curves = f"/v1/jobs/{job.id}/metrics"
    return Side(name_job(job), f"/jobs/{job.id}", params, summary, curves)


def _describe_best(db: View, job: JobBody) -> dict[str, Any]:
    """The figures of the model of a job with the highest validation accuracy."""
    best = find_best(db, job.id, job.models)
    if best is None:
        return {}
    return {
        "best_run": best.run_name,
        "val_accuracy": best.val_accuracy,
        "test_accuracy": best.test_accuracy,
    }


def _side_of_run(run: RunBody) -> Side:
    title, path = f"{run.name} {run.id[-6:]}", f"/jobs/{run.job}"
    summary = {"state": run.state, **run.summary}
    return Side(title, path, run.params, summary, run.links.metrics)


_FIGURES = (
    "state",
    "best_run",
    "epochs",
    "best_epoch",
    "val_accuracy",
    "test_accuracy",
    "seconds",
    "device",
)


def _summarise(sides: Sequence[Side]) -> list[tuple[str, list[Any]]]:
    """The last figures that any side has, by their names."""
    rows = [(name, [side.summary.get(name) for side in sides]) for name in _FIGURES]
    return [(name, row) for name, row in rows if any(value is not None for value in row)]


def _line_up(results: Sequence[ResultsBody | None]) -> list[tuple[str, float | None, list[Any]]]:
    """Each figure that a job has: its id, the published one, and ours of each job."""
    found: dict[str, tuple[float | None, list[Any]]] = {}
    for place, result in enumerate(results):
        for item in result.comparisons if result else ():
            _, ours = found.setdefault(item.id, (item.published, [None] * len(results)))
            ours[place] = item.ours.mean if item.ours else None
    return [(name, published, ours) for name, (published, ours) in found.items()]
