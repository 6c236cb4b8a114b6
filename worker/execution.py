"""An order is done: by one pipeline for a run alone, by another for a pack, or by a collation."""

import errno
import logging
import socket
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fmx_ml.errors import FmxError, StoppedError
from worker.inbox import Inbox
from worker.messages import Done, Failed, Last, Stopped, encode
from worker.orders import CollateOrder, TrainOrder, read_order
from worker.sink import PipeSink

_FULL = {errno.ENOSPC, errno.EDQUOT}

_log = logging.getLogger("fmx.trainer")


class Runs:
    """The runs of an order on their way; each that ends is told, but for the last one.

    That one's message is kept in `last`: with it the order ends, and it is sent when the trainer
    is ready for the next.
    """

    def __init__(self, sinks: Sequence[PipeSink]) -> None:
        """All are on their way."""
        self._left = dict(enumerate(sinks))
        self.went_well = True
        self.last: Last = Stopped()

    def end(self, place: int, outcome: Done | Exception) -> None:
        """A run has ended, with what it gives or with an error."""
        sink = self._left.pop(place)
        message = self._judge(sink, outcome).model_copy(update={"place": place})
        sink.close()
        self.went_well = self.went_well and isinstance(message, Done)
        if self._left:
            sink.send(message)
        else:
            self.last = message

    def end_left(self, error: Exception) -> None:
        """What has ended the order has ended all that were on their way."""
        for place in list(self._left):
            self.end(place, error)

    def _judge(self, sink: PipeSink, outcome: Done | Exception) -> Last:
        if isinstance(outcome, Done):
            try:
                encode(outcome)
            except (TypeError, ValueError) as error:  # what JSON can't hold is the run's failure
                outcome = error
        if isinstance(outcome, Done):
            sink.log.info("done")
            return outcome
        if isinstance(outcome, StoppedError) and sink.should_stop():
            sink.save()
            sink.log.info("stopped on request")
            return Stopped()
        sink.log.error("failed", exc_info=outcome)
        return describe(outcome)


def execute(path: Path, pipe: socket.socket, inbox: Inbox) -> tuple[Last, bool]:
    """Does the order in a file; answers the last message, and whether all went well."""
    try:
        order = read_order(path)
        places = order.members if isinstance(order, TrainOrder) else [order]
        sinks = [
            PipeSink(pipe, number, place, inbox.stops(number))
            for number, place in enumerate(places)
        ]
    except Exception as error:  # noqa: BLE001 - the supervisor says what it was
        _log.exception("failed")
        return describe(error), False
    runs = Runs(sinks)
    try:
        if isinstance(order, CollateOrder):
            runs.end(0, _collate(order, sinks[0]))
        elif len(sinks) == 1:
            runs.end(0, _train(order, sinks[0]))
        else:
            _train_pack(order, sinks, runs)
    except Exception as error:  # noqa: BLE001 - the one place where a pipeline's errors end
        runs.end_left(error)
    return runs.last, runs.went_well


def describe(error: Exception) -> Failed:
    """The error as the record keeps it; one that nobody foresaw comes with its traceback."""
    message = str(error) or type(error).__name__
    if isinstance(error, FmxError):
        return Failed(code=error.code, message=message)
    if isinstance(error, MemoryError):
        return Failed(code="out_of_memory", message=message)
    if isinstance(error, OSError) and error.errno in _FULL:
        return Failed(code="disk_full", message=message)
    text = "".join(traceback.format_exception(error))
    return Failed(
        code="internal_error", message=f"{type(error).__name__}: {message}", traceback=text
    )


def _train(order: TrainOrder, sink: PipeSink) -> Done:
    from fmx_ml.pipelines import train  # noqa: PLC0415 - a collation goes without torch

    (member,) = order.members
    summary = train(
        member.training,
        sink,
        sources=order.sources,
        device=order.device,
        num_threads=order.num_threads,
        engine=order.engine,
        needed=member.needed,
    )
    return Done(summary=summary)


def _train_pack(order: TrainOrder, sinks: Sequence[PipeSink], runs: Runs) -> None:
    from fmx_ml.pipelines import Member, train_pack  # noqa: PLC0415 - as above

    def ended(place: int, outcome: dict[str, Any] | Exception) -> None:
        runs.end(place, outcome if isinstance(outcome, Exception) else Done(summary=outcome))

    train_pack(
        [Member(m.training, sink, m.needed) for m, sink in zip(order.members, sinks, strict=True)],
        sources=order.sources,
        device=order.device,
        num_threads=order.num_threads,
        engine=order.engine,
        ended=ended,
    )


def _collate(order: CollateOrder, sink: PipeSink) -> Done:
    from fmx_ml.collation import collate  # noqa: PLC0415 - a training goes without plots
    from fmx_ml.requests import parse_spec  # noqa: PLC0415

    results = collate(
        order.kind,
        order.preset,
        parse_spec(order.kind, order.spec),
        order.outcomes,
        sink,
        lambda run, name: order.inputs[run][name],
    )
    return Done(results=results.model_dump(mode="json"))
