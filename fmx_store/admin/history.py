"""`fmx admin history`: is the record what its history says?"""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from fmx_store.blobs import open_store
from fmx_store.database import Database
from fmx_store.history import check_history
from fmx_store.settings import get_settings


def history(
    *, as_json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")] = False
) -> None:
    """Check the whole history: nothing lost, nothing doubled, every file as it was stored."""
    settings = get_settings()
    db = Database(settings.database)
    violations = check_history(db, open_store(settings))
    db.close()
    if as_json:
        typer.echo(json.dumps({"violations": [asdict(violation) for violation in violations]}))
    else:
        for violation in violations:
            typer.echo(str(violation))
        typer.echo(f"{len(violations)} violations" if violations else "the history is clean")
    raise typer.Exit(1 if violations else 0)
