"""Calls about aliases, the names of models that are moved from one to another."""

from fmx_client.asking import get, pages, remove
from fmx_client.paths import path_to
from fmx_client.types import Alias
from fmx_client.wire import Call, Flow, Task, Wire


def aliases(wire: Wire, *, limit: int | None = None) -> Flow[Alias, None]:
    """The names that models have, by name."""
    return pages(wire, Alias, path_to("models", "aliases"), limit)


def alias(wire: Wire, name: str) -> Task[Alias]:
    """Which model an alias names now."""
    return get(wire, Alias, "models", "aliases", name)


def promote(wire: Wire, name: str, model_id: str) -> Task[Alias]:
    """Lets an alias, new or not, name this model from now on."""
    call = Call("PUT", path_to("models", "aliases", name), json={"model": model_id})
    return (yield from wire.ask(call)).read(Alias)


def delete_alias(wire: Wire, name: str) -> Task[None]:
    """Deletes an alias; its model stays."""
    return remove(wire, "models", "aliases", name)
