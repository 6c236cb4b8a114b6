"""The part of mlflow's REST API that reads: MLFLOW_TRACKING_URI=http://this-server/mlflow.

A job is an experiment, a training is a run. What would change something is refused.
"""

from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ValidationError

from api import examples
from api.dependencies import Blobs, Db, JobJson
from api.files import artifact_response
from api.mlflow import examples as mlflow_examples
from api.mlflow import folders, schemas, searches
from api.mlflow.bodies import describe_experiment, id_in_name, name_experiment
from api.openapi import ANY_TYPE, answer, file_answer, model_request_body, problem_responses
from api.pointers import describe_invalid
from api.problems import invalid, refuse
from api.tracking import COLUMNS, begin_time, end_times, final_figures, final_step
from fmx_store import artifacts, jobs
from fmx_store.errors import NotFoundError
from fmx_store.metrics import read_last, read_rows
from fmx_store.overviews import require_overview
from fmx_store.tables import Run
from fmx_store.viewers import Record

M = TypeVar("M", bound=BaseModel)

PREFIX = "/mlflow/api/2.0"
_WRITES = (
    *(f"experiments/{write}" for write in ("create", "delete", "restore", "update")),
    *(f"experiments/{write}" for write in ("set-experiment-tag", "delete-experiment-tag")),
    *(f"runs/{write}" for write in ("create", "delete", "restore", "update", "outputs")),
    *(f"runs/log-{what}" for what in ("metric", "parameter", "batch", "model", "inputs")),
    *(f"runs/{write}" for write in ("set-tag", "delete-tag")),
    "logged-models",
    "registered-models/create",
    "model-versions/create",
)
"""What mlflow's clients post to change something, as far as it concerns runs and their models."""

router = APIRouter(prefix=PREFIX, tags=["mlflow"])


def _read(model: type[M], value: Any) -> M:
    """A request's values. Raises ProblemError."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid(describe_invalid(error, value)) from error


@router.post(
    "/mlflow/experiments/search",
    summary="Search experiments: jobs, the newest first",
    responses={
        **answer(200, {"experiments": [mlflow_examples.EXPERIMENT]}),
        **problem_responses(400, 413, 415, 422),
    },
    openapi_extra=model_request_body(schemas.SearchExperiments, {"max_results": 10}),
)
def search_mlflow_experiments(value: JobJson, db: Db) -> schemas.ExperimentsAnswer:
    return searches.search_experiments(db, _read(schemas.SearchExperiments, value))


@router.get(
    "/mlflow/experiments/get",
    summary="Show an experiment",
    responses={
        **answer(200, {"experiment": mlflow_examples.EXPERIMENT}),
        **problem_responses(404, 422),
    },
)
def get_mlflow_experiment(
    db: Db, query: Annotated[schemas.ExperimentQuery, Query()]
) -> schemas.ExperimentAnswer:
    job = require_overview(db, query.experiment_id)
    return schemas.ExperimentAnswer(experiment=describe_experiment(job))


@router.get(
    "/mlflow/experiments/get-by-name",
    summary="Show the experiment of a name",
    responses={
        **answer(200, {"experiment": mlflow_examples.EXPERIMENT}),
        **problem_responses(404, 422),
    },
)
def get_mlflow_experiment_by_name(
    db: Db, query: Annotated[schemas.ExperimentNameQuery, Query()]
) -> schemas.ExperimentAnswer:
    name = query.experiment_name
    job = require_overview(db, id_in_name(name))
    if name_experiment(job) != name:
        raise NotFoundError("experiment", name)
    return schemas.ExperimentAnswer(experiment=describe_experiment(job))


@router.post(
    "/mlflow/runs/search",
    summary="Search runs: the trainings of some jobs",
    responses={
        **answer(200, {"runs": [mlflow_examples.RUN]}),
        **problem_responses(400, 413, 415, 422),
    },
    openapi_extra=model_request_body(schemas.SearchRuns, mlflow_examples.SEARCH),
)
def search_mlflow_runs(value: JobJson, db: Db) -> schemas.RunsAnswer:
    return searches.search_runs(db, _read(schemas.SearchRuns, value))


@router.get(
    "/mlflow/runs/get",
    summary="Show a run with its latest figures",
    responses={**answer(200, {"run": mlflow_examples.RUN}), **problem_responses(404, 422)},
)
def get_mlflow_run(db: Db, query: Annotated[schemas.RunQuery, Query()]) -> schemas.RunAnswer:
    (run,) = searches.describe_runs(db, [jobs.require_run(db, query.run_id)])
    return schemas.RunAnswer(run=run)


@router.get(
    "/mlflow/metrics/get-history",
    summary="Show a figure of each epoch of a run",
    responses={
        **answer(200, {"metrics": [mlflow_examples.METRIC]}),
        **problem_responses(404, 422),
    },
)
def get_mlflow_history(
    db: Db, query: Annotated[schemas.HistoryQuery, Query()]
) -> schemas.HistoryAnswer:
    run = jobs.require_run(db, query.run_id)
    told = _list_history(db, run, query.metric_key)
    page, token = searches.cut(told, query.page_token, min(query.max_results, 25_000))
    return schemas.HistoryAnswer(metrics=list(page), next_page_token=token)


def _list_history(record: Record, run: Run, key: str) -> list[schemas.MlflowMetric]:
    if key in COLUMNS[1:]:
        rows, place = read_rows(record, run.id), COLUMNS.index(key)
        epochs = zip(rows, end_times(run, rows), strict=True)
        points = [(row[0], row[place], moment) for row, moment in epochs]
    elif (final := final_figures(run).get(key)) is not None:
        last = read_last(record, [run.id]).get(run.id)
        points = [(final_step(run), final, begin_time(run) + (last[1] if last else 0))]
    else:
        points = []
    return [
        schemas.MlflowMetric(key=key, value=value, timestamp=int(1000 * moment), step=step)
        for step, value, moment in points
        if value is not None
    ]


@router.get(
    "/mlflow/artifacts/list",
    response_model_exclude_none=True,
    summary="List a folder of a run's files",
    responses={
        **answer(200, {"root_uri": "mlflow-artifacts:/…", "files": [mlflow_examples.FILE]}),
        **problem_responses(404, 422),
    },
)
def list_mlflow_files(db: Db, query: Annotated[schemas.FilesQuery, Query()]) -> schemas.FilesAnswer:
    run = jobs.require_run(db, query.run_id)
    found = folders.list_folder(db, run.job_id, f"{run.name}/{query.path}")
    files = [_move(file, file.path.removeprefix(f"{run.name}/")) for file in found]
    return schemas.FilesAnswer(root_uri=f"mlflow-artifacts:/{run.job_id}/{run.name}", files=files)


def _move(file: schemas.FileInfo, path: str) -> schemas.FileInfo:
    return file.model_copy(update={"path": path})


@router.get(
    "/mlflow-artifacts/artifacts",
    response_model_exclude_none=True,
    summary="List a folder of a job's files",
    responses={**answer(200, {"files": [mlflow_examples.FILE]}), **problem_responses(404, 422)},
)
def browse_mlflow_files(
    db: Db, query: Annotated[schemas.FolderQuery, Query()]
) -> schemas.FilesAnswer:
    job_id, folder = folders.split_path(query.path)
    found = folders.list_folder(db, job_id, folder)
    # By their last names: the clients put the folder's path before each.
    return schemas.FilesAnswer(files=[_move(file, file.path.split("/")[-1]) for file in found])


@router.get(
    "/mlflow-artifacts/artifacts/{path:path}",
    summary="Download a file of a job, or a part of it",
    response_class=Response,
    responses={
        **file_answer(200, "The file; its type is the artifact's.", ANY_TYPE),
        **file_answer(206, "The range that was asked for.", ANY_TYPE),
        304: {"description": "The file is as in If-None-Match."},
        307: {"description": "The file, or its range, is at Location for five minutes."},
        **problem_responses(404, 416, 422, 503),
    },
)
def get_mlflow_file(
    path: Annotated[
        str,
        Path(
            description="A job's id, and an artifact's path.",
            examples=[f"{examples.JOB_ID}/seed-0/model.json"],
        ),
    ],
    request: Request,
    db: Db,
    blobs: Blobs,
) -> Response:
    job_id, inner = folders.split_path(path)
    artifact = artifacts.require_artifact(db, job_id, inner)
    return artifact_response(request, blobs, artifact, inline=False)


@router.post(
    "/mlflow/logged-models/search",
    summary="Search logged models, of which there are none",
    responses={**answer(200, {"models": []}), **problem_responses(422)},
)
async def search_mlflow_models() -> schemas.ModelsAnswer:
    """The clients look for them when they list a run's files, whose models lie among these."""
    return schemas.ModelsAnswer(models=[])


async def refuse_mlflow_write() -> None:
    """Says that nothing is written here, where a client of mlflow's would write."""
    detail = "this server's mlflow API only reads; jobs are submitted to /v1/jobs"
    raise refuse(403, "read_only", detail)


for _path in _WRITES:
    router.post(f"/mlflow/{_path}", include_in_schema=False)(refuse_mlflow_write)
