"""Commands of `fmx` that lead to other programs: TensorBoard, and those of the server's side."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from fmx_client.options import AsJson, JobName, Url
from fmx_client.session import Session
from fmx_client.terminal import views

PASSED_ON: dict[str, Any] = {
    "context_settings": {"ignore_unknown_options": True, "allow_extra_args": True},
    "add_help_option": False,
}
"""How a command is declared whose arguments are another program's."""


def tensorboard(
    job: JobName,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to put them.")] = Path("logs"),
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write a job's epochs, so far, as TensorBoard reads them."""
    with Session(url, as_json) as session:
        job_id = session.find_job(job)
        files = [str(file) for file in session.client.tensorboard(job_id, out / job_id)]
        session.put({"job": job_id, "files": files}, f"tensorboard --logdir {out}")


def datasets(url: Url = None, as_json: AsJson = False) -> None:
    """List the data sets that a spec's `dataset` may name beside those that are built in."""
    with Session(url, as_json) as session:
        found = list(session.client.datasets())
        session.put(found, views.datasets(found))


def admin(context: typer.Context) -> None:
    """Look after this machine's record and storage; `fmx admin --help` lists how."""
    _become_admin(context.args)


def data(context: typer.Context) -> None:
    """Register data sets of your own in this machine's record; `fmx data --help` lists how."""
    _become_admin(["data", *context.args])


def _become_admin(arguments: Sequence[str]) -> NoReturn:
    """Goes on as a program of the server's side, which the client does without."""
    os.execv(sys.executable, [sys.executable, "-m", "fmx_store.admin", *arguments])  # noqa: S606 - ours
