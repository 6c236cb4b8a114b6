"""The page of the command line, from the commands themselves."""

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from fmx_client import cli
from fmx_store.admin.__main__ import app as admin_app
from scripts.docs_site.markup import code, join, table

_HEAD = """\
# Command line

`fmx` needs the client alone (`pip install fmx` without extras) and asks the server that `FMX_URL`
names. `fmx admin` works on the record and storage of its own machine. `fmx --install-completion`
completes commands, and the ids of jobs and models, in bash, zsh and fish."""


def make_page() -> str:
    """Every command with its arguments and options."""
    ours, admins = get_command(cli.app), get_command(admin_app)
    commands = [*_walk(ours, "fmx"), *_walk(admins, "fmx admin")]
    return join([_HEAD, *(part for name, command in commands for part in _describe(name, command))])


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The commands below one, in their order; `fmx admin` is a program of its own."""
    for word, inner in getattr(command, "commands", {}).items():
        if hasattr(inner, "commands"):
            yield from _walk(inner, f"{name} {word}")
        elif (name, word) != ("fmx", "admin"):
            yield f"{name} {word}", inner


def _describe(name: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    yield f"## {name}"
    yield str(command.help or "")
    yield code(
        " ".join([name, *("[OPTIONS]" if options else "",), *map(_usage, arguments)]).strip()
    )
    yield table(("argument or option", "what for"), map(_row, [*arguments, *options]))


def _usage(argument: Any) -> str:
    word = str(argument.metavar or argument.name.upper())
    many = f"{word}…" if argument.nargs == -1 else word
    return many if argument.required else f"[{many}]"


def _row(parameter: Any) -> tuple[str, str]:
    if parameter.param_type_name == "argument":
        return code(str(parameter.metavar or parameter.name.upper())), str(parameter.help or "")
    word = "" if parameter.is_flag else f" {parameter.metavar or parameter.bare_type().upper()}"
    return code(f"{', '.join(parameter.opts)}{word}"), str(parameter.help or "")
