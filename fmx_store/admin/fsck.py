"""`fmx admin fsck`: are the record and the stored files as they must be?"""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from fmx_store.blobs import open_store
from fmx_store.database import Database
from fmx_store.errors import StorageUnavailableError
from fmx_store.fsck import MIN_AGE_SECONDS, Report, check
from fmx_store.settings import get_settings


def fsck(
    fix: Annotated[bool, typer.Option("--fix", help="Remove what is garbage.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Read every file and check it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document.")] = False,
    min_age: Annotated[
        float, typer.Option(min=0, help="Seconds; younger garbage may be on its way.")
    ] = MIN_AGE_SECONDS,
) -> None:
    """Hold the record and the stored files against each other, in both directions.

    Server and workers may go on meanwhile. Exits with 0 where nothing is wrong (any more), with 1
    where something is, with 2 where the database or the storage can't be reached.
    """
    settings = get_settings()
    db = Database(settings.database)
    try:
        blobs = open_store(settings)
        report = check(db, blobs, deep=deep, fix=fix, min_age_seconds=min_age)
    except (DBAPIError, StorageUnavailableError) as error:
        typer.echo(f"fmx admin: {str(error).splitlines()[0]}", err=True)
        raise typer.Exit(2) from None
    finally:
        db.close()
    typer.echo(_as_json(report) if as_json else _as_text(report))
    raise typer.Exit(1 if report.remaining else 0)


def _as_json(report: Report) -> str:
    return json.dumps({**asdict(report), "is_clean": not report.remaining}, indent=2)


def _as_text(report: Report) -> str:
    lines = [
        f"{finding.code:12} {finding.subject}: {finding.detail}"
        + (" (mended)" if finding.is_mended else " (garbage)" if finding.is_garbage else "")
        for finding in report.findings
    ]
    looked_at = (
        f"{report.num_jobs:,} jobs, {report.num_known:,} known files, "
        f"{report.num_stored:,} stored files of {report.stored_bytes:,} bytes"
    )
    said = f"{len(report.remaining)} things are wrong" if report.remaining else "all is well"
    return "\n".join([*lines, f"{looked_at}: {said}"])
