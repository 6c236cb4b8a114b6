"""`python -m migrations upgrade [REVISION] | downgrade REVISION | current | check | new SLUG`."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from alembic.util import CommandError
from sqlalchemy.exc import OperationalError

from fmx_store.database import Database
from fmx_store.revision import EXPECTED_REVISION, get_revision
from fmx_store.settings import Settings, get_settings
from migrations import commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line asks for; answers the exit status."""
    asked = _parser().parse_args(arguments)
    settings = get_settings()
    try:
        print(_do(asked, settings))  # noqa: T201 - a command's answer
    except (CommandError, OperationalError, OSError, ValueError) as error:
        print(f"{asked.command} failed: {error}", file=sys.stderr)  # noqa: T201 - as above
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m migrations", description="The database that FMX_DATABASE_URL names."
    )
    commands_of = parser.add_subparsers(dest="command", required=True)
    upgrade = commands_of.add_parser("upgrade", help="to a revision, the newest by default")
    upgrade.add_argument("revision", nargs="?", default="head")
    downgrade = commands_of.add_parser("downgrade", help="to a revision, or base for none")
    downgrade.add_argument("revision")
    commands_of.add_parser("current", help="show the revision")
    commands_of.add_parser("check", help="fail where the database differs from the code's tables")
    new = commands_of.add_parser("new", help="write the revision that the code's tables need")
    new.add_argument("slug", help="what it does, as add_run_device")
    return parser


def _do(asked: argparse.Namespace, settings: Settings) -> str:
    url = settings.database
    if asked.command == "upgrade":
        return f"the database is at {commands.upgrade(url, asked.revision)}"
    if asked.command == "downgrade":
        return f"the database is at {commands.downgrade(url, asked.revision) or 'base'}"
    if asked.command == "current":
        return f"{_current(url) or 'base'} (this code expects {EXPECTED_REVISION})"
    if asked.command == "check":
        commands.check(url)
        return "the database is as the code's tables say"
    date = datetime.now(UTC).strftime("%Y_%m_%d")
    return str(commands.add_revision(url, asked.slug, date))


def _current(url: str) -> str | None:
    db = Database(url)
    try:
        return get_revision(db)
    finally:
        db.close()


if __name__ == "__main__":
    sys.exit(main())
