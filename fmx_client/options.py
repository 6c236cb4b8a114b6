"""What most commands of `fmx` take."""

from typing import Annotated

import typer

Url = Annotated[
    str | None,
    typer.Option("--url", help="The server (else FMX_URL, else this machine).", metavar="URL"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
JobName = Annotated[
    str,
    typer.Argument(metavar="JOB", help="A job's id, how it begins or ends, or `last`."),
]
