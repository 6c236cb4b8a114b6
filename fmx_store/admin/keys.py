"""`fmx admin keys`: make, list and revoke the keys that let programs in."""

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from sqlalchemy.exc import DBAPIError

from fmx_store import keys
from fmx_store.database import Database
from fmx_store.errors import NotFoundError
from fmx_store.keys import Scope
from fmx_store.settings import get_settings
from fmx_store.tables import MAX_OWNER_LENGTH, ApiKey, now

MAX_NAME_LENGTH = 128
MAX_DAYS = 3650

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@contextmanager
def open_record() -> Generator[Database]:
    """The record that the settings name; exits with 1 where it does not answer."""
    db = Database(get_settings().database)
    try:
        yield db
    except DBAPIError as error:
        typer.echo(f"fmx admin: {str(error.orig).strip().partition(chr(10))[0]}", err=True)
        raise typer.Exit(1) from None
    finally:
        db.close()


def refuse(message: str, status: int) -> typer.Exit:
    """What ends the command: its reason is printed."""
    typer.echo(f"fmx admin: {message}", err=True)
    return typer.Exit(status)


def _check(what: str, text: str, longest: int) -> str:
    if not (0 < len(text) <= longest and text.isprintable()):
        raise refuse(f"{what} is 1 to {longest} printable characters", 2)
    return text


@app.command()
def create(
    owner: Annotated[str, typer.Option(help="Whose the jobs are that are submitted with it.")],
    scope: Annotated[list[Scope], typer.Option(help="What it allows; give it several times.")],
    name: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    expires_days: Annotated[
        int | None, typer.Option(min=1, max=MAX_DAYS, help="Days until it lets nobody in.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown now and never again."""
    _check("an owner", owner, MAX_OWNER_LENGTH)
    name = "" if name is None else _check("a name", name, MAX_NAME_LENGTH)
    expires_at = None if expires_days is None else now() + timedelta(days=expires_days)
    with open_record() as db:
        row, key = keys.create(db, owner, set(scope), name=name, expires_at=expires_at)
    if as_json:
        typer.echo(json.dumps({**_describe(row), "key": key}, indent=2))
        return
    typer.echo(f"key {row.id} of {owner}: {', '.join(row.scopes)}", err=True)
    typer.echo(key)


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List the keys there are and were, without what lets anyone in."""
    with open_record() as db:
        found = [_describe(key) for key in keys.list_keys(db)]
    if as_json:
        typer.echo(json.dumps({"items": found}, indent=2))
        return
    for line in _tabulate(found):
        typer.echo(line)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, as list shows it.")],
    as_json: AsJson = False,
) -> None:
    """End a key for good. Servers notice within 5 seconds."""
    with open_record() as db:
        try:
            row = keys.revoke(db, key_id.upper())
        except NotFoundError as error:
            raise refuse(str(error), 1) from None
    if as_json:
        typer.echo(json.dumps(_describe(row), indent=2))
    else:
        typer.echo(f"key {row.id} of {row.owner} is revoked")


def _describe(key: ApiKey) -> dict[str, Any]:
    """What may be told of a key."""
    times = ("created_at", "last_used_at", "expires_at", "revoked_at")
    return {
        "id": key.id,
        "owner": key.owner,
        "name": key.name,
        "scopes": list(key.scopes),
        "state": _state_of(key),
        **{name: _format(getattr(key, name)) for name in times},
    }


def _state_of(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now() else "good"


def _format(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _tabulate(found: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = ("id", "state", "owner", "scopes", "last_used_at", "expires_at", "name")
    rows = [columns, *([_cell(item[column]) for column in columns] for item in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    return [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _cell(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else value or "-"  # pyright: ignore[reportUnknownArgumentType] - scopes
