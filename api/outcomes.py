"""What a job results in: its tables, and what they were made from."""

from typing import Any, cast

from api.problems import ProblemError, refuse
from api.schemas import JobBody, ResultsBody
from api.views import job_body
from fmx_ml.manifest import manifest
from fmx_ml.requests import parse_spec
from fmx_ml.results import RunOutcome
from fmx_ml.specs import Preset
from fmx_ml.trainings import parse_training
from fmx_store import jobs
from fmx_store.overviews import require_overview
from fmx_store.states import ENDED, Role, State
from fmx_store.tables import Run
from fmx_store.viewers import Record

_MAX_RETRY_SECONDS = 60


def require_results(db: Record, job_id: str) -> ResultsBody:
    """The results of a job. Raises NotFoundError, ProblemError (409) where there are none."""
    job = jobs.require_job(db, job_id)
    if job.results is not None:
        return ResultsBody.model_validate({"job": job.id, **job.results})
    if job.state in ENDED:
        raise refuse(409, "no_results", f"job {job.id} has {job.state} and left no results")
    raise _not_ready(job_body(require_overview(db, job_id)))


def _not_ready(job: JobBody) -> ProblemError:
    eta = job.progress.eta_seconds or 0.0
    seconds = min(max(1, round(eta)), _MAX_RETRY_SECONDS)
    detail = f"job {job.id} is {job.state}: its results come when it has ended"
    return refuse(409, "not_ready", detail, headers={"Retry-After": str(seconds)})


def require_manifest(db: Record, job_id: str) -> dict[str, Any]:
    """What a job's results are made from, of the runs that have succeeded so far.

    Raises NotFoundError.
    """
    job = jobs.require_job(db, job_id)
    runs = jobs.list_runs(db, job_id)
    done = [run for run in runs if run.role is Role.TRAINING and run.state is State.SUCCEEDED]
    spec = parse_spec(job.kind, job.spec)
    outcomes = [_outcome(run) for run in done]
    return manifest(job.kind, cast("Preset", job.preset), spec, outcomes)


def _outcome(run: Run) -> RunOutcome:
    """A finished run without its epochs, of which a manifest says nothing."""
    training = parse_training(run.training)
    return RunOutcome(name=run.name, training=training, history=[], summary=run.summary or {})
