"""A job's runs as TensorBoard reads them: one archive, made of the record while it is sent."""

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse
from zipstream import ZipStream

from api.dependencies import Db, JobId
from api.envelope import HEAD_KEY
from api.openapi import file_answer, problem_responses
from api.tensorboard.event_files import name_file, write_events
from fmx_store import jobs
from fmx_store.states import Role

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["artifacts"])


@router.get(
    "/tensorboard.zip",
    summary="Download a job's epochs as TensorBoard's event files",
    response_class=Response,
    responses={
        **file_answer(200, "A folder for each run: unpack it, tensorboard --logdir it.",
                      "application/zip"),
        **problem_responses(404, 422),
    },
)  # fmt: skip
def get_event_files(job_id: JobId, request: Request, db: Db) -> Response:
    jobs.require_job(db, job_id)
    runs = [run for run in jobs.list_runs(db, job_id) if run.role is Role.TRAINING]
    headers = {"Content-Disposition": f'attachment; filename="{job_id}-tensorboard.zip"'}
    if request.scope.get(HEAD_KEY, False):
        return Response(b"", 200, headers, "application/zip")
    archive = ZipStream()
    for run in runs:
        archive.add(write_events(db, run), name_file(run))
    return StreamingResponse(iter(archive), 200, headers, "application/zip")
