"""A claimed run, or a pack: a trainer has the order, is watched, stopped where it must be.

Ends of a run, and what is written of them, each as soon as it has come:

    done                        succeeded, with its files (a job being cancelled: cancelled)
    failed                      failed, with the error's reason and its log
    too much memory             failed; of a pack, a crash of each, so that they train alone next
    cancelled, time limit       the group gets SIGTERM, then SIGKILL; cancelled or failed, with log
    the worker stops            likewise; handed back to the queue
    no last message             a crash: back to the queue, or failed after too many
    the lease is lost           nothing; the trainer drops the run, or gets SIGKILL if it was alone

The runs of a pack are of one job, so what stops one before its end stops all that are left.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from fmx_store.claims import Claim
from fmx_store.database import OUTAGES
from fmx_store.errors import StorageUnavailableError
from fmx_store.log_format import Ids, about
from worker.attempt import Attempt, ids_of
from worker.child import Child, FloodError
from worker.context import Context
from worker.endings import FULL, Crash, Ending, Halt, HandBack, failure_of
from worker.keeper import Keeper
from worker.log_tail import LogTail
from worker.messages import Assignment, Done, Drop
from worker.orders import Order, write_order
from worker.preparation import make_order
from worker.recorder import Recorder, first_line, outlast
from worker.scratch import last_words, open_scratch, scratch_of
from worker.trainers import Trainers

TICK_SECONDS = 0.1  # between two looks at what may end a run
_TOO_MUCH = "the training process took more memory than a worker's may"

GRACE_SECONDS = 1.5  # a worker that stops still waits so long for a database that is away

_log = logging.getLogger(__name__)


def supervise(context: Context, pack: Sequence[Claim], trainers: Trainers | None = None) -> None:
    """Sees claimed runs to their ends, by one of the trainers: the context's, or those given.

    Afterwards nothing that they have started is left and their scratch folders are gone, whatever
    has happened; the trainer may wait for the next order.
    """
    with about(**_common_ids(pack)):
        _supervise(context, pack, trainers or context.trainers)


def _common_ids(pack: Sequence[Claim]) -> Ids:
    """What all that is logged of a pack concerns."""
    lease = pack[0].lease
    return ids_of(lease) if len(pack) == 1 else {"job": lease.job_id}


def _supervise(context: Context, pack: Sequence[Claim], trainers: Trainers) -> None:
    leases = [claim.lease for claim in pack]
    settings = context.settings
    logs = {
        lease: LogTail(scratch_of(settings.scratch_dir, lease).log, settings.log_bytes)
        for lease in leases
    }
    recorder = Recorder(context.db, leases, settings.heartbeat_seconds, logs)
    has_given_up = _patience(context.is_stopping)
    keeper = Keeper(context, recorder)
    attempts = [Attempt(context, claim, recorder, keeper, has_given_up) for claim in pack]
    recorder.start()
    try:
        Crew(context, attempts, recorder, keeper, trainers).work(has_given_up)
    finally:
        for attempt in attempts:
            attempt.span.end("given up")  # if its end was not written
        keeper.stop()
        recorder.stop()
        if not context.is_stopping():
            trainers.warm_up()


class Crew:
    """Attempts that one trainer works on; one of them alone, or a pack."""

    def __init__(
        self,
        context: Context,
        attempts: Sequence[Attempt],
        recorder: Recorder,
        keeper: Keeper,
        trainers: Trainers,
    ) -> None:
        """Nothing happens before `work`."""
        self._context, self._attempts = context, attempts
        self._recorder, self._keeper, self._trainers = recorder, keeper, trainers
        self._first = attempts[0]
        scratch = self._first.scratch
        self._output = scratch.log if len(attempts) == 1 else scratch.output
        self._halt: Halt | None = None

    def work(self, has_given_up: Callable[[], bool]) -> None:
        """From the claims to what is written of each end."""
        for attempt in self._attempts:
            attempt.begin()
        with ExitStack() as scratches:
            try:
                for attempt in self._attempts:
                    folder = open_scratch(self._context.settings.scratch_dir, attempt.lease)
                    scratches.enter_context(folder)
                self._train(has_given_up)
            except OUTAGES as error:
                said = first_line(error)
                _log.warning("%s: given up, the database is away: %s", self._first.label, said)
            except Exception as error:  # noqa: BLE001 - written down as the runs' end
                _log.exception("%s: its supervisor failed", self._first.label)
                failure = failure_of(error)
                self._end_all(lambda _: failure)

    def _train(self, has_given_up: Callable[[], bool]) -> None:
        if self._first.is_over_time():
            self._end_all(Attempt.time_is_over)
            return
        try:
            order = self._make_order(has_given_up)
        except StorageUnavailableError as error:
            _log.warning("%s: what it needs can't be had: %s", self._first.label, error)
            ending = HandBack() if self._context.is_stopping() else failure_of(error)
            self._end_all(lambda _: ending)
            return
        write_order(order, self._first.scratch.order)
        for attempt in self._attempts:
            attempt.scratch.log.touch()  # a full disk is found out here
            if attempt.scratch.log != self._output:
                attempt.output = self._output
        try:
            child = self._trainers.take()
        except OSError as error:
            if error.errno in FULL:
                raise
            crash = Crash(f"no training process can be started: {error}")
            self._end_all(lambda _: crash)
            return
        with ExitStack() as stack:
            stack.enter_context(child)
            self._have_done(child)
            if self._went_well() and self._trainers.keep(child):
                stack.pop_all()

    def _make_order(self, has_given_up: Callable[[], bool]) -> Order:
        """Waits for a record or a storage that is away."""
        pairs = [(attempt.claim, attempt.scratch) for attempt in self._attempts]

        def make() -> Order:
            return make_order(self._context, pairs)

        return self._first.storage.outlast(lambda: outlast(make, has_given_up))

    def _have_done(self, child: Child) -> None:
        temporary = self._first.scratch.temporary
        order = self._first.scratch.order
        child.assign(Assignment(order=order, log=self._output, temporary=temporary))
        how = self._watch(child)
        if not self._went_well():
            if self._going_on():
                child.wait(self._context.settings.stop_seconds)
            how = how or _how_it_ended(child.close(), self._output)
        self._end_all(lambda attempt: attempt.judge(self._halt, how or ""))

    def _watch(self, child: Child) -> str | None:
        """Until all have said their last, or the trainer's end; answers what it did wrong.

        The end of a run is written while the others go on, one end between two looks.
        """
        while (going := self._going_on()) and not child.is_silent:
            ready = next((attempt for attempt in self._left() if attempt not in going), None)
            try:
                messages = child.receive(0 if ready else TICK_SECONDS)
            except FloodError as error:
                child.kill()
                return str(error)
            for message in messages:
                if message.place < len(self._attempts):
                    self._attempts[message.place].take(message)
            if child.has_ended():
                child.kill()  # what it has started and left behind, which may hold the pipe open
                if not child.is_readable():
                    return None
            self._recorder.check()
            self._drop_lost(child)
            if self._is_over_memory(child):
                child.kill()
                if len(self._attempts) > 1:  # whose memory it was is found out when each is alone
                    return _TOO_MUCH
                self._halt = Halt.MEMORY_LIMIT
            self._look_for_halt(child)
            if ready is not None and not ready.is_over:
                ready.end(ready.judge(self._halt, ""))
        return None

    def _going_on(self) -> list[Attempt]:
        return [attempt for attempt in self._left() if attempt.last is None]

    def _left(self) -> list[Attempt]:
        return [attempt for attempt in self._attempts if not attempt.is_over]

    def _drop_lost(self, child: Child) -> None:
        for place, attempt in enumerate(self._attempts):
            if attempt.is_lost and not attempt.is_over:
                attempt.lose()
                child.instruct(Drop(place=place))

    def _is_over_memory(self, child: Child) -> bool:
        limit = self._context.settings.worker_memory_bytes
        return limit is not None and self._halt is None and child.group_bytes() > limit

    def _look_for_halt(self, child: Child) -> None:
        if self._halt is not None:
            child.enforce()
            return
        self._halt = self._reason_to_halt()
        if self._halt is not None:
            _log.info("%s: is stopped (%s)", self._first.label, self._halt.name.lower())
            child.ask_to_stop(self._context.settings.stop_seconds)

    def _reason_to_halt(self) -> Halt | None:
        if self._recorder.is_cancelled:
            return Halt.CANCELLED
        if self._first.is_over_time():
            return Halt.TIME_LIMIT
        return Halt.WORKER_STOPS if self._context.is_stopping() else None

    def _end_all(self, judge: Callable[[Attempt], Ending]) -> None:
        self._keeper.hurry()
        for attempt in self._left():
            attempt.end(judge(attempt))

    def _went_well(self) -> bool:
        """Whether the trainer has done all of its order, and none of it in vain."""
        return self._halt is None and all(
            isinstance(attempt.last, Done) and not attempt.is_lost for attempt in self._attempts
        )


def _how_it_ended(status: int | None, output: Path) -> str:
    how = f"by signal {-status}" if status is not None and status < 0 else f"with status {status}"
    words = last_words(output)
    return f"the training process ended {how}" + (f": {words}" if words else "")


def _patience(is_stopping: Callable[[], bool]) -> Callable[[], bool]:
    """Whether a worker that stops has waited long enough for a database that is away."""
    stopping_since: list[float] = []

    def has_given_up() -> bool:
        if is_stopping() and not stopping_since:
            stopping_since.append(time.monotonic())
        return bool(stopping_since) and time.monotonic() - stopping_since[0] > GRACE_SECONDS

    return has_given_up
