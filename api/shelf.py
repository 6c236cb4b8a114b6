"""What takes long to make, kept for a while."""

import threading
from collections import OrderedDict
from collections.abc import Callable

MAX_KEPT = 4


class Shelf:
    """The contents that were asked for last, by their tags; one is made at a time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._turn = threading.Lock()

    def get(self, etag: str, make: Callable[[], bytes]) -> bytes:
        """The content with this tag, made if it is not kept."""
        with self._turn:
            if etag not in self._kept:
                self._kept[etag] = make()
            self._kept.move_to_end(etag)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return self._kept[etag]
