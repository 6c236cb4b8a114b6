"""Keys that were found good a moment ago, so that the record is not asked for each request."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

from anyio import to_thread

from fmx_store.database import Database
from fmx_store.keys import Grant, find_grant

BELIEVED_SECONDS = 3.0  # so long a key that was revoked lets in
MAX_KEPT = 1024


@dataclass(frozen=True)
class _Entry:
    grant: Grant
    looked_at: float


class KeyRing:
    """Grants by the hashes of their keys. To be used in the event loop's thread."""

    def __init__(self, db: Database) -> None:
        """Nothing is known yet."""
        self._db = db
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[Grant | None]] = {}

    def knows(self, digest: str) -> bool:
        """Whether this key was good when it was last looked up."""
        return digest in self._entries

    async def find(self, digest: str) -> Grant | None:
        """What the key with this hash allows; None where it is none. Raises a database's errors."""
        entry = self._entries.get(digest)
        if entry is not None and time.monotonic() < entry.looked_at + BELIEVED_SECONDS:
            return None if entry.grant.has_expired() else entry.grant
        lookup = self._lookups.get(digest)
        if lookup is None:  # one for all who ask meanwhile
            lookup = self._lookups[digest] = asyncio.create_task(self._look_up(digest))
            lookup.add_done_callback(lambda _: self._lookups.pop(digest, None))
        return await asyncio.shield(lookup)

    async def _look_up(self, digest: str) -> Grant | None:
        looked_at = time.monotonic()
        grant = await to_thread.run_sync(find_grant, self._db, digest)
        if grant is None:  # not kept: whoever guesses would push out the good ones
            self._entries.pop(digest, None)
            return None
        self._entries[digest] = _Entry(grant, looked_at)
        self._entries.move_to_end(digest)
        while len(self._entries) > MAX_KEPT:
            self._entries.popitem(last=False)
        return grant
