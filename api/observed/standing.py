"""The record's figures as a viewer sees them, counted once in a while, however often asked for."""

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass

from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError

from fmx_store.database import Database
from fmx_store.figures import Figures, read_figures
from fmx_store.viewers import View, Viewer

KEPT_SECONDS = 5.0
KEPT_VIEWERS = 64
MAX_SHARE = 0.05  # of the time that counting may take: a large record is counted less often

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Counted:
    figures: Figures | None
    good_until: float


class Standing:
    """Counts for each viewer. To be used in the event loop's thread."""

    def __init__(self, db: Database) -> None:
        """Nothing is counted yet."""
        self._db = db
        self._turn = asyncio.Lock()
        self._counted: OrderedDict[Viewer, _Counted] = OrderedDict()

    async def figures(self, viewer: Viewer) -> Figures | None:
        """The figures of a moment ago; None where the record could not be read."""
        async with self._turn:
            counted = self._counted.get(viewer)
            if counted is None or time.monotonic() > counted.good_until:
                counted = self._counted[viewer] = await to_thread.run_sync(self._count, viewer)
            self._counted.move_to_end(viewer)
            while len(self._counted) > KEPT_VIEWERS:
                self._counted.popitem(last=False)
            return counted.figures

    def _count(self, viewer: Viewer) -> _Counted:
        began = time.monotonic()
        try:
            figures = read_figures(View(self._db, viewer))
        except SQLAlchemyError as error:
            _log.warning("the record was not counted: %s", str(error).partition("\n")[0])
            figures = None
        ended = time.monotonic()
        return _Counted(figures, ended + max(KEPT_SECONDS, (ended - began) / MAX_SHARE))
