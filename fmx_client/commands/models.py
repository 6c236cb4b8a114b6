"""`fmx models`: which models there are, and what they are called."""

from typing import Annotated

import typer

from fmx_client.options import AsJson, Url
from fmx_client.session import Session
from fmx_client.terminal import views

models_app = typer.Typer(help="List models, newest first, or name them.")

Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="An alias, as production.")]


@models_app.callback(invoke_without_command=True)
def models(
    context: typer.Context, limit: Limit = 20, url: Url = None, as_json: AsJson = False
) -> None:
    """List models, newest first, or name them."""
    if context.invoked_subcommand is None:
        with Session(url, as_json) as session:
            found = list(session.client.models(limit=limit))
            session.put(found, views.models(found))


@models_app.command()
def promote(
    name: Name,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or `last`.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Let an alias, new or not, name a model from now on."""
    with Session(url, as_json) as session:
        alias = session.client.promote(name, session.find_model(model))
        session.put(alias, f"{alias.name} {alias.model}")


@models_app.command("aliases")
def list_aliases(url: Url = None, as_json: AsJson = False) -> None:
    """List aliases by name."""
    with Session(url, as_json) as session:
        found = list(session.client.aliases())
        session.put(found, views.aliases(found))


@models_app.command()
def unname(name: Name, url: Url = None, as_json: AsJson = False) -> None:
    """Delete an alias; its model stays."""
    with Session(url, as_json) as session:
        session.client.delete_alias(name)
        session.put({"deleted": name}, f"{name} deleted")
