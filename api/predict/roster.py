"""The models that are being asked: ready in memory, each looked up in the record once a second.

What an alias names is looked up with it, for each who asks: a server that moves an alias forgets
it at once, another one learns of it within that second.
"""

import asyncio
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from anyio import to_thread

from api.predict.catalogue import Catalogue, Loaded
from fmx_store.errors import NotFoundError
from fmx_store.ids import is_id
from fmx_store.tables import Model
from fmx_store.viewers import View, Viewer

MOST_NAMES = 256  # that models are known by: ids, and aliases of each who asks
BELIEVED_SECONDS = 1.0  # so long another server's deletion or promotion may go unseen

_Named = tuple[Viewer | None, str]  # a model's id, or somebody's alias
_Asked = tuple[Viewer, str, int]  # who, for which model, after how many changes


@dataclass(frozen=True)
class _Entry:
    loaded: Loaded
    looked_at: float


class Roster:
    """To be used in the event loop's thread, but for what forgets."""

    def __init__(self, catalogue: Catalogue, size: int) -> None:
        """Size is how many models are kept."""
        self._catalogue, self._size = catalogue, size
        self._entries: OrderedDict[_Named, _Entry] = OrderedDict()
        self._lookups: dict[_Asked, asyncio.Task[Loaded]] = {}
        self._changes = itertools.count(1)
        self._last_change = 0

    async def require(self, view: View, name: str) -> Loaded:
        """The model with this id, or that the alias names, ready to answer.

        Raises NotFoundError where the view does not show it, AmbiguousAliasError, BlobError, a
        database's errors.
        """
        entry = self._entries.get(_name(view, name))
        if entry is not None and time.monotonic() < entry.looked_at + BELIEVED_SECONDS:
            if not view.viewer.sees(entry.loaded.model.owner):
                raise NotFoundError("model", name)
            return entry.loaded
        asked = (view.viewer, name, self._last_change)
        lookup = self._lookups.get(asked)
        if lookup is None:  # one for all who ask meanwhile
            lookup = self._lookups[asked] = asyncio.create_task(self._look_up(view, name))
            lookup.add_done_callback(lambda _: self._lookups.pop(asked, None))
        return await asyncio.shield(lookup)

    async def _look_up(self, view: View, name: str) -> Loaded:
        looked_at, last_change = time.monotonic(), self._last_change
        loaded = await to_thread.run_sync(self._catalogue.load, view, name)
        key = _name(view, name)
        self._entries[key] = _Entry(loaded, looked_at)
        self._entries.move_to_end(key)
        while len(self.loaded_ids()) > self._size or len(self._entries) > MOST_NAMES:
            self._entries.popitem(last=False)
        if last_change != self._last_change:  # what was forgotten meanwhile may be this
            self._entries.pop(key, None)
        return loaded

    def forget_job(self, job_id: str) -> None:
        """Forgets a deleted job's models; lookups under way are not kept. From any thread."""
        self._forget(lambda _, model: model.job_id == job_id)

    def forget_model(self, model_id: str) -> None:
        """Forgets a model, whatever it is asked for by; as above."""
        self._forget(lambda _, model: model.id == model_id)

    def loaded_ids(self) -> set[str]:
        """The models that are in memory and have been asked for."""
        return {entry.loaded.model.id for entry in tuple(self._entries.values())}

    def forget_alias(self, alias: str) -> None:
        """Forgets what an alias named; as above."""
        self._forget(lambda name, _: name == alias)

    def _forget(self, is_meant: Callable[[str, Model], bool]) -> None:
        self._last_change = next(self._changes)
        for key, entry in tuple(self._entries.items()):
            if is_meant(key[1], entry.loaded.model):
                self._entries.pop(key, None)


def _name(view: View, name: str) -> _Named:
    return (None if is_id(name) else view.viewer, name)
