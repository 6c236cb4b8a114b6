"""What many look at again and again, made once a second however many they are."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

KEPT_SECONDS = 1.0
MAX_KEPT = 64


@dataclass
class _Glimpse:
    turn: threading.Lock = field(default_factory=threading.Lock)
    text: str = ""
    made_at: float = float("-inf")


class Glimpses:
    """Texts by their keys, of which each must name who looks. May be used by any thread."""

    def __init__(self) -> None:
        """Nothing is kept yet."""
        self._kept: OrderedDict[Hashable, _Glimpse] = OrderedDict()
        self._turn = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], str]) -> str:
        """The text with this key, made anew where the last one is older than a second."""
        with self._turn:
            glimpse = self._kept.setdefault(key, _Glimpse())
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        with glimpse.turn:
            begun = time.monotonic()
            if begun >= glimpse.made_at + KEPT_SECONDS:
                glimpse.text, glimpse.made_at = make(), begun
            return glimpse.text
