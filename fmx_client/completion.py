"""What a shell offers where a job, a kind or a model is to be named: what the server has.

A shell waits while this runs, so nothing is tried twice, and a server that is away offers nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from rich.markup import escape

from fmx_client.client import Client
from fmx_client.errors import FmxClientError
from fmx_client.terminal.text import moment, plain

_OFFERED = 50  # the newest

Offer: TypeAlias = tuple[str, str]
"""What is put on the command line, and what is said of it."""


def complete_jobs(incomplete: str) -> list[Offer]:
    """Ids of jobs, newest first, and `last`."""
    return _offer(incomplete, _jobs)


def complete_kinds(incomplete: str) -> list[Offer]:
    """The kinds of experiments."""
    return _offer(incomplete, lambda client: ((k.kind, k.title) for k in client.kinds()))


def complete_models(incomplete: str) -> list[Offer]:
    """Ids of models, newest first, and `last`."""
    return _offer(incomplete, _models)


def _offer(incomplete: str, find: Callable[[Client], Iterable[Offer]]) -> list[Offer]:
    try:
        with Client(retries=0) as client:
            return [
                (value, escape(plain(said)))
                for value, said in find(client)
                if value.startswith(incomplete)
            ]
    except FmxClientError:
        return []


def _jobs(client: Client) -> Iterator[Offer]:
    yield "last", "the newest"
    for job in client.jobs(limit=_OFFERED):
        yield job.id, f"{job.kind} {job.preset} {job.name or ''} {job.state}".replace("  ", " ")


def _models(client: Client) -> Iterator[Offer]:
    yield "last", "the newest"
    for model in client.models(limit=_OFFERED):
        yield model.id, f"{model.run_name or model.run} of {moment(model.created_at)}"
