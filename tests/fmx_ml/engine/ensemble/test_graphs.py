"""When work is run, when it is recorded and when it is replayed; the GPU is played by a double."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fmx_ml.engine.ensemble import graphs
from fmx_ml.engine.ensemble.graphs import Recorder


class FakeStream:
    def synchronize(self) -> None:
        pass


def fake_graph(events: list[str], *, refuses: bool = False) -> Callable[[], Any]:
    """What stands for torch.cuda.CUDAGraph."""

    class Graph:
        def capture_begin(self, **_: Any) -> None:
            events.append("begin")

        def capture_end(self) -> None:
            events.append("end")
            if refuses:
                raise RuntimeError("operation not permitted when stream is capturing")

        def replay(self) -> None:
            events.append("replay")

    return Graph


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_stream", FakeStream)


@pytest.mark.usefixtures("stream")
def test_run_then_recorded_then_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recording runs nothing on a device, so the second call replays what it has recorded."""
    events: list[str] = []
    monkeypatch.setattr(torch.cuda, "CUDAGraph", fake_graph(events))
    work = graphs._Graph(lambda: events.append("work"), None)
    work()
    assert events == ["work"]
    work()
    assert events == ["work", "begin", "work", "end", "replay"]
    work()
    assert events[-2:] == ["replay", "replay"]


@pytest.mark.usefixtures("stream")
def test_where_the_device_refuses_work_goes_on_being_launched(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[str] = []
    monkeypatch.setattr(torch.cuda, "CUDAGraph", fake_graph(events, refuses=True))
    work = graphs._Graph(lambda: events.append("work"), None)
    for _ in range(3):
        work()
    assert events == ["work", "begin", "work", "end", "work", "work"]
    assert caplog.messages == [
        "no CUDA graph: operation not permitted when stream is capturing",
    ]


def test_on_the_cpu_work_is_run_as_it_is() -> None:
    recorder = Recorder(torch.device("cpu"))
    events: list[str] = []
    with recorder.running():
        work = recorder.record(lambda: events.append("work"))
        work()
        work()
    assert events == ["work", "work"]
