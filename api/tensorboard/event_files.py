"""A run's event file for TensorBoard, made of the record."""

from collections.abc import Iterator, Mapping
from typing import Any

from api.tensorboard import records
from api.tracking import COLUMNS, begin_time, end_times, final_step, flatten_parameters
from fmx_store.metrics import read_rows
from fmx_store.states import ENDED, State
from fmx_store.tables import Run
from fmx_store.viewers import Record

_LARGEST = 3.4028234e38  # of a float of 32 bits
_AT_ONCE = 64  # events that are framed before they are handed on
_TESTED = ("test_loss", "test_accuracy")


def name_file(run: Run) -> str:
    """Where the run's file lies in a folder of logs: TensorBoard shows the folder's name."""
    return f"{run.name}/events.out.tfevents.{int(run.created_at.timestamp())}.fmx"


def write_events(record: Record, run: Run) -> Iterator[bytes]:
    """The contents of a run's file, as far as the run has come, piece by piece."""
    begun = begin_time(run)
    parameters = flatten_parameters(run.training or {})
    yield records.frame(records.first_event(begun))
    yield records.frame(records.session_start(begun, parameters, run.name))
    rows = read_rows(record, run.id)
    times = end_times(run, rows)
    for start in range(0, len(rows), _AT_ONCE):
        some = zip(rows[start : start + _AT_ONCE], times[start:], strict=False)
        epochs = ((dict(zip(COLUMNS, row, strict=True)), time) for row, time in some)
        yield b"".join(_tell(time, epoch.pop("epoch"), epoch) for epoch, time in epochs)
    yield from _tell_end(run, times[-1] if times else begun)


def _tell_end(run: Run, ended: float) -> Iterator[bytes]:
    summary = run.summary or {}
    if tested := {name: summary[name] for name in _TESTED if name in summary}:
        yield _tell(ended, final_step(run), tested)
    if run.state in ENDED:
        went_well = run.state is State.SUCCEEDED
        yield records.frame(records.session_end(ended, went_well=went_well))


def _tell(wall_time: float, step: int, figures: Mapping[str, Any]) -> bytes:
    """The record of those figures that there are, and that a float of 32 bits holds."""
    told = {
        name: value
        for name, value in figures.items()
        if isinstance(value, int | float) and abs(value) <= _LARGEST
    }
    return records.frame(records.scalars(wall_time, step, told))
