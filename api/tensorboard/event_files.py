"""A run's event file for TensorBoard, made of the record."""

from collections.abc import Iterator, Sequence
from typing import Any

from api.parameters import flatten_parameters
from api.tensorboard import records
from fmx_ml.sinks import EpochMetrics
from fmx_store.metrics import read_rows
from fmx_store.states import ENDED, State
from fmx_store.tables import Run
from fmx_store.viewers import Record

_LARGEST = 3.4028234e38  # of a float of 32 bits
_COLUMNS = EpochMetrics.columns()
_AT_ONCE = 64  # events that are framed before they are handed on
_TESTED = ("test_loss", "test_accuracy")


def name_file(run: Run) -> str:
    """Where the run's file lies in a folder of logs: TensorBoard shows the folder's name."""
    return f"{run.name}/events.out.tfevents.{int(run.created_at.timestamp())}.fmx"


def write_events(record: Record, run: Run) -> Iterator[bytes]:
    """The contents of a run's file, as far as the run has come, piece by piece."""
    begun = (run.started_at or run.created_at).timestamp()
    parameters = flatten_parameters(run.training or {})
    yield records.frame(records.first_event(begun))
    yield records.frame(records.session_start(begun, parameters, run.name))
    ended = begun
    rows = read_rows(record, run.id)
    for start in range(0, len(rows), _AT_ONCE):
        events: list[bytes] = []
        for row in rows[start : start + _AT_ONCE]:
            event, ended = _tell_epoch(row, ended)
            events.append(records.frame(event))
        yield b"".join(events)
    yield from _tell_end(run, ended)


def _tell_epoch(row: Sequence[Any], begun: float) -> tuple[bytes, float]:
    """The event of an epoch, and when it ended: as long after the one before as it took."""
    figures = dict(zip(_COLUMNS, row, strict=True))
    step, ended = figures.pop("epoch"), begun + figures["seconds"]
    return records.scalars(ended, step, _keep_numbers(figures)), ended


def _tell_end(run: Run, ended: float) -> Iterator[bytes]:
    summary = run.summary or {}
    tested = _keep_numbers({name: summary.get(name) for name in _TESTED})
    if tested:
        step = int(summary.get("best_epoch", run.epochs_done))
        yield records.frame(records.scalars(ended, step, tested))
    if run.state in ENDED:
        went_well = run.state is State.SUCCEEDED
        yield records.frame(records.session_end(ended, went_well=went_well))


def _keep_numbers(figures: dict[str, Any]) -> dict[str, float]:
    """Those that there are, and that a float of 32 bits holds."""
    return {
        name: value
        for name, value in figures.items()
        if isinstance(value, int | float) and abs(value) <= _LARGEST
    }
