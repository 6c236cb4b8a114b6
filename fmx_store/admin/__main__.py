"""The command `fmx admin`, or `python -m fmx_store.admin`.

It works on the record and the storage that the FMX_ variables name, not through a server. It exits
with 0 where all is well, 1 where something is wrong, 2 where the command or a setting was.
"""

import typer
from pydantic import ValidationError

from fmx_store.admin import data, keys
from fmx_store.admin.doctor import doctor
from fmx_store.admin.fsck import fsck
from fmx_store.admin.history import history
from fmx_store.settings import get_settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(keys.app, name="keys")
app.add_typer(data.app, name="data")
app.command()(fsck)
app.command()(history)
app.command()(doctor)


@app.callback()
def require_settings(context: typer.Context) -> None:
    """Look after a server's record and storage, as the FMX_ variables name them."""
    if context.invoked_subcommand == doctor.__name__:
        return  # it says what is wrong with them
    try:
        get_settings()
    except ValidationError as error:
        typer.echo(f"fmx admin: {error}", err=True)
        raise typer.Exit(2) from None


def main() -> None:
    """Runs the command line."""
    app(prog_name="fmx admin")


if __name__ == "__main__":
    main()
