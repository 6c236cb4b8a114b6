"""The models that are being asked: ready in memory, each looked up in the record once a second."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

from anyio import to_thread

from api.predict.catalogue import Catalogue, Loaded
from fmx_store.errors import NotFoundError
from fmx_store.viewers import View, Viewer

BELIEVED_SECONDS = 1.0  # so long another server's deletion may go unseen


_Asked = tuple[Viewer, str]  # who, for which model


@dataclass(frozen=True)
class _Entry:
    loaded: Loaded
    looked_at: float


class Roster:
    """To be used in the event loop's thread, but for `forget_job`."""

    def __init__(self, catalogue: Catalogue, size: int) -> None:
        """Size is how many models are kept."""
        self._catalogue, self._size = catalogue, size
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lookups: dict[_Asked, asyncio.Task[Loaded]] = {}
        self._num_deletions = 0

    async def require(self, view: View, model_id: str) -> Loaded:
        """The model, ready to answer.

        Raises NotFoundError where the view does not show it, BlobError, a database's errors.
        """
        entry = self._entries.get(model_id)
        if entry is not None and time.monotonic() < entry.looked_at + BELIEVED_SECONDS:
            if not view.viewer.sees(entry.loaded.model.owner):
                raise NotFoundError("model", model_id)
            return entry.loaded
        asked = (view.viewer, model_id)
        lookup = self._lookups.get(asked)
        if lookup is None:  # one for all who ask meanwhile
            lookup = self._lookups[asked] = asyncio.create_task(self._look_up(view, model_id))
            lookup.add_done_callback(lambda _: self._lookups.pop(asked, None))
        return await asyncio.shield(lookup)

    async def _look_up(self, view: View, model_id: str) -> Loaded:
        looked_at, num_deletions = time.monotonic(), self._num_deletions
        loaded = await to_thread.run_sync(self._catalogue.load, view, model_id)
        if num_deletions == self._num_deletions:
            self._entries[model_id] = _Entry(loaded, looked_at)
            self._entries.move_to_end(model_id)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
        return loaded

    def forget_job(self, job_id: str) -> None:
        """Forgets a deleted job's models; lookups under way are not kept. From any thread."""
        self._num_deletions += 1
        for model_id, entry in tuple(self._entries.items()):
            if entry.loaded.model.job_id == job_id:
                self._entries.pop(model_id, None)
