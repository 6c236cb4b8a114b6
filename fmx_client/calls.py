"""What a client can ask for: each call described once, as a flow that both clients drive.

A function here becomes a method of `Client` and of `AsyncClient`; its `wire` is the client.
"""

import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable
from uuid import uuid4

from fmx_client.asking import get as _get
from fmx_client.asking import pages as _pages
from fmx_client.asking import remove as _remove
from fmx_client.downloads import ArchiveFile, VerifiedFile
from fmx_client.errors import (
    ConflictError,
    DownloadError,
    InvalidRequestError,
    UnexpectedAnswerError,
)
from fmx_client.paths import path_to
from fmx_client.types import (
    Answered,
    Artifact,
    FeatureMaps,
    Job,
    Kind,
    Metrics,
    Model,
    Page,
    Predictions,
    ResultsBody,
    Run,
    Validation,
)
from fmx_client.wire import NOT_MODIFIED, Call, Flow, Task, Wire
from fmx_ml.requests import JobRequest

A = TypeVar("A", bound=Answered)

BATCH_PICTURES = 64  # the most that a server takes at once
BATCH_MAPPED_PICTURES = 8  # and where it is to show feature maps
REPORT_SECONDS = 600.0  # of hundreds of runs as PDF, on a machine that does much else
PNG_TYPE = "image/png"


@runtime_checkable
class Array(Protocol):
    """numpy's, torch's, or another one."""

    def tolist(self) -> Any: ...


Pixels: TypeAlias = Sequence[Sequence[int]] | Array
Picture: TypeAlias = Path | str | tuple[str, bytes]
ReportForm: TypeAlias = Literal["html", "pdf", "md"]
Request: TypeAlias = JobRequest | Mapping[str, Any] | str


def _payload(request: Request, options: dict[str, Any]) -> dict[str, Any]:
    """The body of a job request."""
    given = {k: v for k, v in options.items() if v is not None}
    if isinstance(request, str):
        return {"kind": request, **given}
    if given:
        msg = f"a whole request was given: {', '.join(given)} belong into it"
        raise TypeError(msg)
    if isinstance(request, Mapping):
        return dict(request)
    return request.model_dump(mode="json", exclude_none=True)


def submit(
    wire: Wire,
    request: Request,
    *,
    preset: str | None = None,
    name: str | None = None,
    tags: Sequence[str] | None = None,
    priority: int | None = None,
    time_limit_seconds: int | None = None,
    reuse: bool | None = None,
    spec: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Task[Job]:
    """Submits a job: a kind with what departs from its preset, or a whole request.

    It is sent with an idempotency key, so that one that is sent again, here because a connection
    broke or by a caller who gives the same key, is recorded once.
    """
    options = {
        "preset": preset,
        "name": name,
        "tags": None if tags is None else list(tags),
        "priority": priority,
        "time_limit_seconds": time_limit_seconds,
        "reuse": reuse,
        "spec": spec,
    }
    headers = {"Idempotency-Key": idempotency_key or f"fmx-client-{uuid4().hex}"}
    body = _payload(request, options)
    answer = yield from wire.ask(Call("POST", path_to("jobs"), json=body, headers=headers))
    return answer.read(Job)


def validate(
    wire: Wire,
    request: Request,
    *,
    preset: str | None = None,
    spec: Mapping[str, Any] | None = None,
) -> Task[Validation]:
    """What a request would become: its normalised spec, its trainings, how long they may take."""
    body = _payload(request, {"preset": preset, "spec": spec})
    answer = yield from wire.ask(Call("POST", path_to("jobs", "validate"), json=body))
    return answer.read(Validation)


def kinds(wire: Wire) -> Task[list[Kind]]:
    """The kinds of experiments there are."""
    return (yield from _get(wire, Page[Kind], "kinds")).items


def kind(wire: Wire, name: str) -> Task[Kind]:
    """One kind with its schema, defaults, presets and published figures."""
    return (yield from _get(wire, Kind, "kinds", name))


def job(wire: Wire, job_id: str) -> Task[Job]:
    """A job as it is now."""
    return (yield from _get(wire, Job, "jobs", job_id))


def jobs(
    wire: Wire,
    *,
    kind: str | None = None,
    state: str | None = None,
    tag: str | None = None,
    limit: int | None = None,
) -> Flow[Job, None]:
    """Jobs that match every filter given, newest first."""
    return _pages(wire, Job, path_to("jobs"), limit, kind=kind, state=state, tag=tag)


def runs(wire: Wire, job_id: str) -> Flow[Run, None]:
    """The trainings of a job, in their order."""
    return _pages(wire, Run, path_to("jobs", job_id, "runs"))


def run(wire: Wire, run_id: str) -> Task[Run]:
    """A run as it is now."""
    return (yield from _get(wire, Run, "runs", run_id))


def metrics(wire: Wire, run_id: str, *, max_points: int | None = None) -> Task[Metrics]:
    """The epochs of a run, thinned by the server to at most `max_points`; the last one stays."""
    params = {} if max_points is None else {"max_points": max_points}
    answer = yield from wire.ask(Call("GET", path_to("runs", run_id, "metrics"), params=params))
    return answer.read(Metrics)


def results(wire: Wire, job_id: str) -> Task[ResultsBody]:
    """The tables of a job. Raises NotReadyError before they exist, ConflictError without any."""
    return (yield from _get(wire, ResultsBody, "jobs", job_id, "results"))


def manifest(wire: Wire, job_id: str) -> Task[dict[str, Any]]:
    """What a job's results were made from: code, seeds, packages, devices, data, spec."""
    return (yield from wire.ask(Call("GET", path_to("jobs", job_id, "manifest")))).value()


def artifacts(wire: Wire, job_id: str) -> Flow[Artifact, None]:
    """The files of a job, by path."""
    return _pages(wire, Artifact, path_to("jobs", job_id, "artifacts"))


def download(wire: Wire, job_id: str, artifact: Artifact | str, to: Path | str) -> Task[Path]:
    """Writes an artifact to the file `to` and checks its sha256.

    A file that is there already and the same stays untouched; a download that broke goes on.
    """
    path, announced = (
        (artifact, None) if isinstance(artifact, str) else (artifact.path, artifact.sha256)
    )
    url = path_to("jobs", job_id, "artifacts", *path.split("/"))
    with VerifiedFile(Path(to), announced) as file:
        for last in (False, True):
            try:
                answer = yield from wire.ask(Call("GET", url, receiver=file))
                return file.target if answer.status == NOT_MODIFIED else file.finish()
            except (InvalidRequestError, DownloadError) as error:
                # A part that was begun is of no use (416: it is too long): once more from nothing.
                if last or (isinstance(error, InvalidRequestError) and error.status != 416):  # noqa: PLR2004
                    raise
                file.discard()
    raise AssertionError  # the last try returned or raised


def archive(wire: Wire, job_id: str, to: Path | str, *, prefix: str | None = None) -> Task[Path]:
    """Writes all artifacts of a job, or those below a prefix, to one zip file."""
    params = {} if prefix is None else {"prefix": prefix}
    with ArchiveFile(Path(to)) as file:
        call = Call("GET", path_to("jobs", job_id, "artifacts.zip"), params=params, receiver=file)
        yield from wire.ask(call)
        return file.finish()


def report(wire: Wire, job_ids: Sequence[str] = (), *, form: ReportForm = "html") -> Task[bytes]:
    """The results of some jobs as one document: html, pdf or md.

    Without ids it is of the newest job of each kind that has succeeded.
    """
    params = {"jobs": ",".join(job_ids)} if job_ids else {}
    call = Call(
        "GET",
        path_to("reports", f"report.{form}"),
        params=params,
        read_timeout_seconds=REPORT_SECONDS,
    )
    return (yield from wire.ask(call)).body


def models(wire: Wire, *, limit: int | None = None) -> Flow[Model, None]:
    """The models there are, newest first."""
    return _pages(wire, Model, path_to("models"), limit)


def model(wire: Wire, model_id: str) -> Task[Model]:
    """One model, by its id or an alias, with its description."""
    return (yield from _get(wire, Model, "models", model_id))


def predict(
    wire: Wire,
    model_id: str,
    *,
    files: Sequence[Picture] | None = None,
    images: Sequence[Pixels] | Array | None = None,
    test_rows: Sequence[int] | None = None,
) -> Task[Predictions]:
    """What a model says of pictures, in their order; more than 64 go in several requests.

    Args:
        wire: the client.
        model_id: which model: its id or an alias.
        files: paths of picture files, or (name, bytes) pairs.
        images: 28 rows of 28 numbers of 0 to 255 each; arrays do.
        test_rows: rows of the model's test set.
    """
    path = path_to("models", model_id, "predict")
    answers: list[Predictions] = []
    for body in _bodies(BATCH_PICTURES, files=files, images=images, test_rows=test_rows):
        call = Call("POST", path, **body)
        answers.append((yield from wire.ask(call)).read(Predictions))
    predictions = [p for answer in answers for p in answer.predictions]
    return Predictions(model=answers[0].model, predictions=predictions)


def feature_maps(
    wire: Wire,
    model_id: str,
    *,
    files: Sequence[Picture] | None = None,
    images: Sequence[Pixels] | Array | None = None,
    test_rows: Sequence[int] | None = None,
    layers: Sequence[str] | None = None,
    values: bool = True,
) -> Task[FeatureMaps]:
    """What a model's convolutions make of pictures; more than 8 go in several requests.

    Args:
        wire: the client.
        model_id: which model: its id or an alias. Raises ConflictError where it has no
            convolutions.
        files: paths of picture files, or (name, bytes) pairs.
        images: 28 rows of 28 numbers of 0 to 255 each; arrays do.
        test_rows: rows of the model's test set.
        layers: only these, as conv1; else all.
        values: whether the numbers come too, or the pictures alone.
    """
    path = path_to("models", model_id, "feature-maps")
    params = _map_params(layers) | ({} if values else {"values": "false"})
    answers: list[FeatureMaps] = []
    for body in _bodies(BATCH_MAPPED_PICTURES, files=files, images=images, test_rows=test_rows):
        call = Call("POST", path, params=params, **body)
        answers.append((yield from wire.ask(call)).read(FeatureMaps))
    pictures = [picture for answer in answers for picture in answer.feature_maps]
    return FeatureMaps(model=answers[0].model, feature_maps=pictures)


def feature_map_sheet(
    wire: Wire,
    model_id: str,
    *,
    file: Picture | None = None,
    image: Pixels | None = None,
    test_row: int | None = None,
    layers: Sequence[str] | None = None,
) -> Task[bytes]:
    """The feature maps of one picture drawn on one sheet: the bytes of a PNG file.

    Raises UnexpectedAnswerError where something else comes; the arguments are those of
    `feature_maps`, for one picture.
    """
    given = {"files": file, "images": image, "test_rows": test_row}
    (body,) = _bodies(1, **{k: None if v is None else [v] for k, v in given.items()})
    path = path_to("models", model_id, "feature-maps")
    headers = {"Accept": PNG_TYPE}
    call = Call("POST", path, params=_map_params(layers), headers=headers, **body)
    answer = yield from wire.ask(call)
    if answer.headers.get("content-type") != PNG_TYPE:
        raise UnexpectedAnswerError(answer.request, "the answer is no PNG")
    return answer.body


def _map_params(layers: Sequence[str] | None) -> dict[str, str | int]:
    return {} if layers is None else {"layers": ",".join(layers)}


def _bodies(size: int, **given: Sequence[Any] | Array | None) -> Iterator[dict[str, Any]]:
    """What calls for so many pictures at a time carry. Raises ValueError."""
    found = [(k, v.tolist() if isinstance(v, Array) else v) for k, v in given.items()]
    ((kind, items), *more) = [(k, v) for k, v in found if v is not None] or [("", ())]
    if more or len(items) == 0:
        msg = "give files, images or test rows: one of the three, and not empty"
        raise ValueError(msg)
    for start in range(0, len(items), size):
        yield _body(kind, items[start : start + size])


def _body(kind: str, items: Sequence[Any]) -> dict[str, Any]:
    """What a call for some of the pictures carries."""
    if kind == "files":
        return {"files": [("files", _part(picture)) for picture in items]}
    values = [item.tolist() if isinstance(item, Array) else item for item in items]
    return {"json": {kind: values}}


def _part(picture: Picture) -> tuple[str, bytes, str]:
    if isinstance(picture, tuple):
        name, content = picture
    else:
        name, content = Path(picture).name, Path(picture).read_bytes()
    return name, content, mimetypes.guess_type(name)[0] or "application/octet-stream"


def _order(wire: Wire, job_id: str, order: str, done: frozenset[str]) -> Task[Job]:
    try:
        return (yield from wire.ask(Call("POST", path_to("jobs", job_id, order)))).read(Job)
    except ConflictError as error:
        if error.sends == 1:
            raise
        # The sending whose answer got lost may have done it.
        now = yield from job(wire, job_id)
        if now.state not in done:
            raise
        return now


def cancel(wire: Wire, job_id: str) -> Task[Job]:
    """Cancels a job. Raises ConflictError where it has ended."""
    return _order(wire, job_id, "cancel", frozenset({"cancelling", "cancelled"}))


def retry(wire: Wire, job_id: str) -> Task[Job]:
    """Queues again what of a failed or cancelled job did not succeed. Raises ConflictError."""
    return _order(wire, job_id, "retry", frozenset({"queued", "running"}))


def delete(wire: Wire, job_id: str) -> Task[None]:
    """Deletes a job and its files. Raises ConflictError while it runs or a model has an alias."""
    return _remove(wire, "jobs", job_id)
