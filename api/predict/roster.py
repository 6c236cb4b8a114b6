"""The models that are being asked: ready in memory, each looked up in the record once a second."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

from anyio import to_thread

from api.predict.catalogue import Catalogue, Loaded

BELIEVED_SECONDS = 1.0  # so long another server's deletion may go unseen


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
        self._lookups: dict[str, asyncio.Task[Loaded]] = {}
        self._num_deletions = 0

    async def require(self, model_id: str) -> Loaded:
        """The model, ready to answer. Raises NotFoundError, BlobError, a database's errors."""
        entry = self._entries.get(model_id)
        if entry is not None and time.monotonic() < entry.looked_at + BELIEVED_SECONDS:
            return entry.loaded
        lookup = self._lookups.get(model_id)
        if lookup is None:  # one for all who ask meanwhile
            lookup = self._lookups[model_id] = asyncio.create_task(self._look_up(model_id))
            lookup.add_done_callback(lambda _: self._lookups.pop(model_id, None))
        return await asyncio.shield(lookup)

    async def _look_up(self, model_id: str) -> Loaded:
        looked_at, num_deletions = time.monotonic(), self._num_deletions
        loaded = await to_thread.run_sync(self._catalogue.load, model_id)
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
