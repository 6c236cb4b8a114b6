"""What a client can ask for: each call described once, as a flow that both clients drive.

A function here becomes a method of `Client` and of `AsyncClient`; its `wire` is the client.
"""

import math
import mimetypes
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable
from urllib.parse import quote
from uuid import uuid4

from fmx_client.downloads import ArchiveFile, VerifiedFile
from fmx_client.errors import (
    ConflictError,
    DownloadError,
    InvalidRequestError,
    JobCancelledError,
    JobFailedError,
    NotFoundError,
    WaitTimeoutError,
)
from fmx_client.types import (
    Answered,
    Artifact,
    Epoch,
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
from fmx_client.wire import NOT_MODIFIED, READ_TIMEOUT_SECONDS, Call, Emit, Flow, Pause, Task, Wire
from fmx_ml.specs import JobRequest

A = TypeVar("A", bound=Answered)

PAGE_ITEMS = 200  # the most that a server gives at once
BATCH_PICTURES = 64  # the most that a server takes at once
POLL_SECONDS = 30.0  # a long poll
PATIENCE_SECONDS = 60.0  # a server that restarts is waited for so long
_SHORTEST_POLL_SECONDS = 0.2  # a job that changes faster is looked at this often
_UNHELD_POLL_SECONDS = 1.0  # between looks, where something on the way does not hold a poll


@runtime_checkable
class _Array(Protocol):
    def tolist(self) -> Any: ...


Pixels: TypeAlias = Sequence[Sequence[int]] | _Array
Picture: TypeAlias = Path | str | tuple[str, bytes]
Request: TypeAlias = JobRequest | Mapping[str, Any] | str


def _segment(text: str) -> str:
    """One part of a path; dots alone would climb."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E") or "%20"


def _path(*parts: str) -> str:
    return "/v1/" + "/".join(map(_segment, parts))


def _get(wire: Wire, kind: type[A], *parts: str) -> Task[A]:
    answer = yield from wire.ask(Call("GET", _path(*parts)))
    return answer.read(kind)


def _pages(
    wire: Wire, item_type: type[A], path: str, limit: int | None = None, **filters: str | None
) -> Flow[A, None]:
    left, cursor = limit, None
    while left is None or left > 0:
        asked = {"limit": PAGE_ITEMS if left is None else min(left, PAGE_ITEMS), "cursor": cursor}
        params = {k: v for k, v in {**filters, **asked}.items() if v is not None}
        page = (yield from wire.ask(Call("GET", path, params=params))).read(Page[item_type])
        for item in page.items if left is None else page.items[:left]:
            yield Emit(item)
        cursor = page.next_cursor
        left = None if left is None else left - len(page.items)
        if cursor is None:
            return


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
    answer = yield from wire.ask(Call("POST", _path("jobs"), json=body, headers=headers))
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
    answer = yield from wire.ask(Call("POST", _path("jobs", "validate"), json=body))
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
    return _pages(wire, Job, _path("jobs"), limit, kind=kind, state=state, tag=tag)


def runs(wire: Wire, job_id: str) -> Flow[Run, None]:
    """The trainings of a job, in their order."""
    return _pages(wire, Run, _path("jobs", job_id, "runs"))


def run(wire: Wire, run_id: str) -> Task[Run]:
    """A run as it is now."""
    return (yield from _get(wire, Run, "runs", run_id))


def metrics(wire: Wire, run_id: str, *, max_points: int | None = None) -> Task[Metrics]:
    """The epochs of a run, thinned by the server to at most `max_points`; the last one stays."""
    params = {} if max_points is None else {"max_points": max_points}
    answer = yield from wire.ask(Call("GET", _path("runs", run_id, "metrics"), params=params))
    return answer.read(Metrics)


def results(wire: Wire, job_id: str) -> Task[ResultsBody]:
    """The tables of a job. Raises NotReadyError before they exist, ConflictError without any."""
    return (yield from _get(wire, ResultsBody, "jobs", job_id, "results"))


def manifest(wire: Wire, job_id: str) -> Task[dict[str, Any]]:
    """What a job's results were made from: code, seeds, packages, devices, data, spec."""
    return (yield from wire.ask(Call("GET", _path("jobs", job_id, "manifest")))).value()


def artifacts(wire: Wire, job_id: str) -> Flow[Artifact, None]:
    """The files of a job, by path."""
    return _pages(wire, Artifact, _path("jobs", job_id, "artifacts"))


def download(wire: Wire, job_id: str, artifact: Artifact | str, to: Path | str) -> Task[Path]:
    """Writes an artifact to the file `to` and checks its sha256.

    A file that is there already and the same stays untouched; a download that broke goes on.
    """
    path, announced = (
        (artifact, None) if isinstance(artifact, str) else (artifact.path, artifact.sha256)
    )
    url = _path("jobs", job_id, "artifacts", *path.split("/"))
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
        call = Call("GET", _path("jobs", job_id, "artifacts.zip"), params=params, receiver=file)
        yield from wire.ask(call)
        return file.finish()


def models(wire: Wire, *, limit: int | None = None) -> Flow[Model, None]:
    """The models there are, newest first."""
    return _pages(wire, Model, _path("models"), limit)


def model(wire: Wire, model_id: str) -> Task[Model]:
    """One model with its description."""
    return (yield from _get(wire, Model, "models", model_id))


def predict(
    wire: Wire,
    model_id: str,
    *,
    files: Sequence[Picture] | None = None,
    images: Sequence[Pixels] | None = None,
    test_rows: Sequence[int] | None = None,
) -> Task[Predictions]:
    """What a model says of pictures, in their order; more than 64 go in several requests.

    Args:
        wire: the client.
        model_id: which model.
        files: paths of picture files, or (name, bytes) pairs.
        images: 28 rows of 28 numbers of 0 to 255 each; arrays do.
        test_rows: rows of the model's test set.
    """
    given = [x for x in (files, images, test_rows) if x is not None]
    if len(given) != 1 or not given[0]:
        msg = "give files, images or test_rows: one of the three, and not empty"
        raise ValueError(msg)
    bodies = _bodies(files, images, test_rows)
    answers: list[Predictions] = []
    for body in bodies:
        call = Call("POST", _path("models", model_id, "predict"), **body)
        answers.append((yield from wire.ask(call)).read(Predictions))
    return Predictions(
        model=answers[0].model, predictions=[p for answer in answers for p in answer.predictions]
    )


def _bodies(
    files: Sequence[Picture] | None,
    images: Sequence[Pixels] | None,
    test_rows: Sequence[int] | None,
) -> Iterator[dict[str, Any]]:
    """The body of each request, made when its turn comes."""
    for start in range(0, len(files or images or test_rows or ()), BATCH_PICTURES):
        batch = slice(start, start + BATCH_PICTURES)
        if files is not None:
            yield {"files": [("files", _part(picture)) for picture in files[batch]]}
        elif images is not None:
            rows = [i.tolist() if isinstance(i, _Array) else i for i in images[batch]]
            yield {"json": {"images": rows}}
        elif test_rows is not None:
            yield {"json": {"test_rows": list(test_rows[batch])}}


def _part(picture: Picture) -> tuple[str, bytes, str]:
    if isinstance(picture, tuple):
        name, content = picture
    else:
        name, content = Path(picture).name, Path(picture).read_bytes()
    return name, content, mimetypes.guess_type(name)[0] or "application/octet-stream"


def _order(wire: Wire, job_id: str, order: str, done: frozenset[str]) -> Task[Job]:
    try:
        return (yield from wire.ask(Call("POST", _path("jobs", job_id, order)))).read(Job)
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
    """Deletes a job and its files. Raises ConflictError while it runs."""
    try:
        yield from wire.ask(Call("DELETE", _path("jobs", job_id)))
    except NotFoundError as error:
        if error.sends == 1:
            raise


@dataclass(frozen=True)
class _Watch:
    """Which job to look at, until when, and how long to wait for a server that is away."""

    job_id: str
    patience_seconds: float
    timeout_seconds: float
    began_at: float

    def left_seconds(self) -> float:
        return self.began_at + self.timeout_seconds - time.monotonic()


@dataclass(frozen=True)
class _Seen:
    """A job as it was seen, and the mark to ask for changes by."""

    job: Job
    etag: str | None


def _next_change(wire: Wire, watched: _Watch, seen: _Seen | None) -> Task[_Seen]:
    """The job once it differs from what was seen. Raises WaitTimeoutError."""
    while True:
        left = watched.left_seconds()
        if seen is not None and left <= 0:
            raise WaitTimeoutError(seen.job, watched.timeout_seconds)
        asked_at = time.monotonic()
        answer = yield from wire.ask(_poll(watched, seen, left))
        took = time.monotonic() - asked_at
        unchanged = answer.status == NOT_MODIFIED
        shortest = _UNHELD_POLL_SECONDS if unchanged else _SHORTEST_POLL_SECONDS
        if seen is not None and took < shortest:
            yield Pause(max(0.0, min(shortest - took, watched.left_seconds())))
        if not unchanged:
            return _Seen(answer.read(Job), answer.headers.get("etag"))


def _poll(watched: _Watch, seen: _Seen | None, left: float) -> Call:
    headers: dict[str, str] = {}
    hold = 0
    if seen is not None and seen.etag is not None:
        hold = max(1, int(min(left, POLL_SECONDS)))
        headers = {"If-None-Match": seen.etag, "Prefer": f"wait={hold}"}
    return Call(
        "GET",
        _path("jobs", watched.job_id),
        headers=headers,
        read_timeout_seconds=READ_TIMEOUT_SECONDS + hold,
        patience_seconds=None if seen is None else watched.patience_seconds,
    )


def watch(
    wire: Wire,
    job_id: str,
    *,
    timeout_seconds: float = math.inf,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Flow[Job, None]:
    """The job now, and again whenever it has changed, until it has ended.

    A server that stops answering is waited for during `patience_seconds`. Raises WaitTimeoutError.
    """
    watched = _Watch(job_id, patience_seconds, timeout_seconds, time.monotonic())
    seen = None
    while seen is None or not seen.job.ended:
        seen = yield from _next_change(wire, watched, seen)
        yield Emit(seen.job)


def wait(
    wire: Wire,
    job_id: str,
    *,
    timeout_seconds: float = math.inf,
    check: bool = False,
    on_change: Callable[[Job], None] | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Task[Job]:
    """The job when it has ended; `on_change` is called with it whenever it has changed.

    With `check`, raises JobFailedError or JobCancelledError where it did not succeed. Raises
    WaitTimeoutError.
    """
    watched = _Watch(job_id, patience_seconds, timeout_seconds, time.monotonic())
    seen = None
    while seen is None or not seen.job.ended:
        seen = yield from _next_change(wire, watched, seen)
        if on_change is not None:
            on_change(seen.job)
    if check and seen.job.state == "cancelled":
        raise JobCancelledError(seen.job)
    if check and seen.job.state != "succeeded":
        raise JobFailedError(seen.job)
    return seen.job


def follow_metrics(
    wire: Wire, run_id: str, *, patience_seconds: float = PATIENCE_SECONDS
) -> Flow[Epoch, None]:
    """Each epoch of a run as it ends, from the first to the last.

    An epoch that is trained again, because its worker was lost, comes again.
    """
    followed = yield from run(wire, run_id)
    watched = _Watch(followed.job, patience_seconds, math.inf, time.monotonic())
    seen, known = None, dict[int, Epoch]()
    while True:
        seen = yield from _next_change(wire, watched, seen)
        followed = yield from run(wire, run_id)
        for epoch in (yield from metrics(wire, run_id)).epochs():
            if known.get(epoch.epoch) != epoch:
                known[epoch.epoch] = epoch
                yield Emit(epoch)
        if followed.ended or seen.job.ended:
            return
