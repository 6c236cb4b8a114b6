"""Looking for a request to stop, often enough for a fast cancel and rarely enough to be free."""

import time

from fmx_ml.errors import StoppedError
from fmx_ml.sinks import Sink

_LOOK_SECONDS = 0.25


class StopCheck:
    """Asks the sink at most every quarter of a second whether to stop."""

    def __init__(self, sink: Sink) -> None:
        """The first call asks at once."""
        self._sink = sink
        self.due = 0.0  # when it asks next, in seconds of the monotonic clock

    def __call__(self) -> None:
        """Raises StoppedError if the sink wants an end."""
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + _LOOK_SECONDS
        if self._sink.should_stop():
            raise StoppedError("stopped on request")
