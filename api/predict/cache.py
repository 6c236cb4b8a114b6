"""A bounded cache that makes each value once, even where many ask for it at the same time."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Slot(Generic[T]):
    """A value, or the lock under which it is being made."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: T | None = None


class OnceCache(Generic[T]):
    """Keeps the most recently used values; one that leaves stays alive while it is in use."""

    def __init__(self, size: int) -> None:
        """Size is how many values are kept."""
        self._size = size
        self._slots: OrderedDict[str, _Slot[T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], T]) -> T:
        """The value of a key, made where it is not there; what `make` raises is not kept."""
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            while len(self._slots) > self._size:
                self._slots.popitem(last=False)
        with slot.lock:
            if slot.value is None:
                try:
                    slot.value = make()
                except BaseException:
                    self._forget(key, slot)
                    raise
            return slot.value

    def _forget(self, key: str, slot: _Slot[T]) -> None:
        with self._lock:
            if self._slots.get(key) is slot:
                del self._slots[key]

    def drop(self, key: str) -> None:
        """Keeps the value of a key no more."""
        with self._lock:
            self._slots.pop(key, None)

    def __len__(self) -> int:
        """How many values are kept or being made."""
        with self._lock:
            return len(self._slots)
