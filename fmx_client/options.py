"""The options and arguments that commands share."""

from typing import Annotated

import typer

from fmx_client.completion import complete_jobs, complete_models

Url = Annotated[
    str | None,
    typer.Option("--url", help="The server (else FMX_URL, else this machine).", metavar="URL"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
JobName = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="A job's id, how it begins or ends, or `last`.",
        autocompletion=complete_jobs,
    ),
]
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A model's id or alias, or `last`.", autocompletion=complete_models
    ),
]
