"""The commands `fmx logs` and `fmx events`: a job's lines and events, as they come."""

import json
from typing import Annotated

import typer

from fmx_client.options import AsJson, JobName, Url
from fmx_client.session import Session
from fmx_client.terminal.text import plain


def logs(
    job: JobName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until it has ended.")] = False,
    tail: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the last N lines.")
    ] = None,
    run: Annotated[str | None, typer.Option(metavar="NAME", help="Of this run only.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Print what a job's runs print."""
    with Session(url, as_json) as session:
        job_id = session.find_job(job)
        run_id = None if run is None else session.find_run(job_id, run)
        lines = session.client.logs(job_id, tail=tail, follow=follow, run=run_id)
        if as_json:
            print(json.dumps({"lines": list(lines)}, indent=2))
            return
        for line in lines:
            print(plain(line.expandtabs()), flush=follow)


def events(
    job: JobName,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="Only what came after this event.")
    ] = None,
    url: Url = None,
) -> None:
    """Print what happens to a job until it has ended, a JSON document a line."""
    with Session(url, as_json=True) as session:
        for event in session.client.events(session.find_job(job), after):
            print(event.model_dump_json(), flush=True)
