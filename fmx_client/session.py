"""What every command of `fmx` shares: the client, what is printed where, how it exits."""

import json
import sys
from typing import Any, NoReturn, Self

import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.text import Text
from typer.core import TyperGroup

from fmx_client.client import Client
from fmx_client.errors import (
    AddressError,
    ApiKeyError,
    AuthenticationError,
    ConnectionFailedError,
    FmxClientError,
    InvalidRequestError,
    ProblemError,
    TooManyError,
)
from fmx_client.terminal.live import Progress
from fmx_client.terminal.text import make_console, plain
from fmx_client.types import Job

FAILED, USAGE, CANCELLED = 1, 2, 130
_ID_LENGTH = 26  # of a job, run or model
_SHORTEST_ENDING = 4
_SEARCHED_JOBS = 2000


def value_of(answer: Any) -> Any:
    """An answer as JSON values, with the names that the server uses."""
    if isinstance(answer, BaseModel):
        return answer.model_dump(mode="json", by_alias=True)
    if isinstance(answer, list):
        return {"items": [value_of(item) for item in answer]}  # pyright: ignore[reportUnknownVariableType] - any list
    return answer


def put(console: Console, answer: Any, view: RenderableType, *, as_json: bool) -> None:
    """Prints an answer: as a JSON document, or as a person reads it."""
    if as_json:
        print(json.dumps(value_of(answer), indent=2))
    else:
        view = Text(plain(view)) if isinstance(view, str) else view
        console.print(view, soft_wrap=not console.is_terminal)


class Session:
    """One command: it asks a server and prints one answer."""

    def __init__(self, url: str | None, as_json: bool) -> None:
        """Raises AddressError."""
        self.as_json = as_json
        self.console = make_console()
        self._progress = Progress(self.console, with_curves=True)
        on_retry = None if as_json else self._progress.trouble
        self.client = Client(url, on_retry=on_retry)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def put(self, answer: Any, view: RenderableType) -> None:
        """Prints an answer: as a JSON document, or as a person reads it."""
        put(self.console, answer, view, as_json=self.as_json)

    def wait(self, job_id: str, *, live: bool) -> Job:
        """The job when it has ended."""
        if live and not self.as_json:
            return self._progress.follow(self.client, job_id)
        return self.client.wait(job_id)

    def find_job(self, name: str) -> str:
        """The id of a job: `last`, the id, or how the id of one job begins or ends."""
        if name == "last":
            newest = next(self.client.jobs(limit=1), None)
            return newest.id if newest else fail("there is no job yet")
        wanted = name.upper()
        if len(wanted) == _ID_LENGTH:
            return wanted
        found = [job for job in self.client.jobs(limit=_SEARCHED_JOBS) if _matches(job.id, wanted)]
        if not found:
            fail(f"no job's id begins or ends with {name}")
        if len(found) > 1:
            some = ", ".join(job.id for job in found[:3])
            fail(f"{len(found)} jobs' ids begin or end with {name}: {some} …", USAGE)
        return found[0].id

    def find_run(self, job_id: str, name: str) -> str:
        """The id of a job's run, by its name or by that id."""
        for run in self.client.runs(job_id):
            if name in {run.name, run.id}:
                return run.id
        return fail(f"the job has no run {name}")

    def find_model(self, model_id: str | None) -> str:
        """The model's id; the newest model's for `last`, or where none was given."""
        if model_id is not None and model_id != "last":
            return model_id
        newest = next(self.client.models(limit=1), None)
        return newest.id if newest else fail("there is no model yet: it takes a job that succeeded")


def _matches(job_id: str, wanted: str) -> bool:
    ends = len(wanted) >= _SHORTEST_ENDING and job_id.endswith(wanted)
    return job_id.startswith(wanted) or ends


def fail(message: str, status: int = FAILED) -> NoReturn:
    """Says on one line of stderr what is wrong, and exits."""
    line = " ".join(plain(message).split())
    print(f"fmx: {line}", file=sys.stderr)
    raise typer.Exit(status)


def exit_as(job: Job) -> None:
    """Exits as the job ended: 0, 1, 130."""
    if job.state == "cancelled":
        raise typer.Exit(CANCELLED)
    if job.state != "succeeded":
        raise typer.Exit(FAILED)


def _explain(error: FmxClientError) -> tuple[str, int]:
    """What is wrong, and the exit status that says so."""
    match error:
        case AddressError() | ApiKeyError() | InvalidRequestError():
            return str(error), USAGE
        case AuthenticationError():
            hint = (
                "put a key into FMX_API_KEY; who runs the server makes one: fmx admin keys create"
            )
            return f"{error} ({hint})", FAILED
        case TooManyError(retry_after=float() as seconds):
            return f"{error} (again in {seconds:g} s)", FAILED
        case ConnectionFailedError():
            hint = "is the server running? (make serve; another one: --url or FMX_URL)"
            return f"{error}: {hint}", FAILED
        case ProblemError(status=status) if status >= 500 and error.request_id:  # noqa: PLR2004
            return f"{error} (request {error.request_id})", FAILED
        case _:
            return str(error), FAILED


class Commands(TyperGroup):
    """Commands whose errors are one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FmxClientError as error:
            fail(*_explain(error))
        except UnicodeEncodeError:
            fail("an argument is not valid text", USAGE)
        except BrokenPipeError:
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            fail(f"{where}{error.strerror or error}")
        except KeyboardInterrupt:
            raise typer.Exit(CANCELLED) from None
