"""What threads may take of something at once, all together."""

import threading
from collections.abc import Generator
from contextlib import contextmanager


class Budget:
    """Lets threads wait until what they want is left; a lone one always gets it."""

    def __init__(self) -> None:
        """Nothing is taken yet."""
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, amount: int, of: int) -> Generator[None]:
        """Holds an amount of a whole."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken == 0 or self._taken + amount <= of)
            self._taken += amount
        try:
            yield
        finally:
            with self._changed:
                self._taken -= amount
                self._changed.notify_all()
