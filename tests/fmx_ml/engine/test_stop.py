from pathlib import Path

import pytest

from fmx_ml.engine import stop
from fmx_ml.engine.stop import StopCheck
from fmx_ml.errors import StoppedError
from fmx_ml.sinks import FolderSink


class CountingSink(FolderSink):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.num_asked = 0
        self.wants_end = False

    def should_stop(self) -> bool:
        self.num_asked += 1
        return self.wants_end


def test_it_asks_at_once_and_then_every_quarter_of_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(stop.time, "monotonic", lambda: now)
    sink = CountingSink(tmp_path)
    check = StopCheck(sink)
    for hundredths in range(100):
        now = 1_000 + hundredths / 100
        check()
    assert sink.num_asked == 4
    sink.wants_end = True
    check()
    now += 0.25
    with pytest.raises(StoppedError):
        check()
