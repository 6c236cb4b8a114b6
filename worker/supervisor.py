"""One claimed run: its process is started, watched, stopped where it must be, and its end written.

Ends of a run, and what is written of them:

    done                        succeeded, with its files (a job being cancelled: cancelled)
    failed                      failed, with the error's reason and its log
    cancelled, time limit       the group gets SIGTERM, then SIGKILL; cancelled or failed, with log
    the worker stops            likewise; handed back to the queue
    no last message             a crash: back to the queue, or failed after too many
    the lease is lost           SIGKILL at once; nothing
"""

import errno
import logging
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from pathlib import Path

from fmx_store import artifacts, claims
from fmx_store.claims import Claim, Failure, StagedFile, Success
from fmx_store.errors import BlobError, LeaseLostError
from fmx_store.states import Reason, Role, State
from worker.child import Child, FloodError
from worker.context import Context
from worker.messages import ArtifactReady, Assignment, Done, Epoch, Failed, Last, Message, Phase
from worker.orders import write_order
from worker.preparation import make_order
from worker.recorder import OUTAGES, Recorder, first_line, outlast
from worker.scratch import Scratch, open_scratch
from worker.trainers import Trainers

TICK_SECONDS = 0.1  # between two looks at what may end a run
GRACE_SECONDS = 1.5  # a worker that stops still waits so long for a database that is away
MODEL_FILE = "model.onnx"

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REASONS = {
    "user_error": Reason.USER_ERROR,
    "nan_loss": Reason.NAN_LOSS,
    "out_of_memory": Reason.OUT_OF_MEMORY,
    "disk_full": Reason.DISK_FULL,
    "data_unavailable": Reason.DATA_UNAVAILABLE,
}

_log = logging.getLogger(__name__)


class Halt(Enum):
    """Why a trainer is stopped before its end."""

    CANCELLED = auto()
    TIME_LIMIT = auto()
    WORKER_STOPS = auto()


@dataclass(frozen=True)
class Crash:
    """The trainer ended without saying how."""

    message: str


@dataclass(frozen=True)
class HandBack:
    """The run goes back to the queue; nothing is wrong with it."""


Ending = Done | Failure | Crash | HandBack


def supervise(context: Context, claim: Claim, trainers: Trainers | None = None) -> None:
    """Sees a claimed run to its end, by one of the trainers: the context's, or those given.

    Afterwards nothing that it has started is left and its scratch folder is gone, whatever has
    happened; its trainer may wait for the next order.
    """
    recorder = Recorder(context.db, claim.lease, context.settings.heartbeat_seconds)
    attempt = Attempt(context, claim, recorder, trainers or context.trainers)
    recorder.start()
    try:
        attempt.run()
    except LeaseLostError:
        _log.warning("%s: its lease is lost", attempt.label)
    except OUTAGES as error:
        said = first_line(error)
        _log.warning(
            "%s: given up, the database is away, its lease runs out: %s", attempt.label, said
        )
    finally:
        recorder.stop()
        if not context.is_stopping():
            attempt.trainers.warm_up()


class Attempt:
    """An attempt at a run, under a lease that the recorder keeps."""

    def __init__(
        self, context: Context, claim: Claim, recorder: Recorder, trainers: Trainers
    ) -> None:
        """Nothing happens before `run`."""
        self._context, self._claim, self._recorder = context, claim, recorder
        self._settings, self._lease = context.settings, claim.lease
        self.trainers = trainers
        self._names: dict[str, None] = {}  # of complete artifacts, in the order they came
        self._last: Last | None = None
        self._halt: Halt | None = None
        self._idle: Child | None = None  # the trainer, when it has done its order well
        self._has_given_up = _patience(context.is_stopping)
        self.label = f"run {claim.run.id} ({claim.run.name}), attempt {claim.lease.attempt}"

    def run(self) -> None:
        """From the claim to what is written of its end. Raises LeaseLostError, or an outage."""
        _log.info("%s: begins", self.label)
        try:
            with (
                ExitStack() as stack,
                open_scratch(self._settings.scratch_dir, self._lease) as scratch,
            ):
                self._write(self._train(scratch, stack), scratch)
                # Not before: where the lease is lost, its process ends.
                if self._idle is not None and self.trainers.keep(self._idle):
                    stack.pop_all()
        except (LeaseLostError, *OUTAGES):
            raise
        except Exception as error:  # noqa: BLE001 - written down as the run's end
            _log.exception("%s: its supervisor failed", self.label)
            self._finish(failure_of(error))

    def _train(self, scratch: Scratch, stack: ExitStack) -> Ending:
        if self._is_over_time():
            return self._time_is_over()
        order = outlast(lambda: make_order(self._context, self._claim, scratch), self._has_given_up)
        write_order(order, scratch.order)
        scratch.log.touch()  # a full disk is found out here
        try:
            child = self.trainers.take()
        except OSError as error:
            if error.errno in _FULL:
                raise
            return Crash(f"no training process can be started: {error}")
        stack.enter_context(child)
        child.assign(Assignment(order=scratch.order, log=scratch.log, temporary=scratch.temporary))
        flood = self._watch(child)
        if isinstance(self._last, Done) and self._halt is None:
            self._idle = child
            return self._last
        if self._last is None:
            child.wait(self._settings.stop_seconds)
        return self._judge(flood or _how_it_ended(child.close(), scratch))

    def _watch(self, child: Child) -> str | None:
        """Until the child has said its last, or ended; answers what it did wrong, if anything."""
        while self._last is None and not child.is_silent:
            try:
                messages = child.receive(TICK_SECONDS)
            except FloodError as error:
                child.kill()
                return str(error)
            for message in messages:
                self._take(message)
            if child.has_ended():
                child.kill()  # what it has started and left behind, which may hold the pipe open
                if not child.is_readable():
                    return None
            self._recorder.check()
            self._look_for_halt(child)
        return None

    def _take(self, message: Message) -> None:
        if self._last is not None:
            return
        match message:
            case Phase():
                self._recorder.set_phase(message.name)
            case Epoch():
                self._recorder.add_epoch(message.metrics)
            case ArtifactReady():
                self._names[message.name] = None
            case _:
                self._last = message

    def _look_for_halt(self, child: Child) -> None:
        if self._halt is not None:
            child.enforce()
            return
        self._halt = self._reason_to_halt()
        if self._halt is not None:
            _log.info("%s: is stopped (%s)", self.label, self._halt.name.lower())
            child.ask_to_stop(self._settings.stop_seconds)

    def _reason_to_halt(self) -> Halt | None:
        if self._recorder.is_cancelled:
            return Halt.CANCELLED
        if self._is_over_time():
            return Halt.TIME_LIMIT
        return Halt.WORKER_STOPS if self._context.is_stopping() else None

    def _is_over_time(self) -> bool:
        job = self._claim.job
        if job.time_limit_seconds is None or job.started_at is None:
            return False
        return datetime.now(UTC) > job.started_at + timedelta(seconds=job.time_limit_seconds)

    def _time_is_over(self) -> Failure:
        seconds = self._claim.job.time_limit_seconds
        return Failure(Reason.TIME_LIMIT, "time_limit", f"the job's {seconds} seconds are over")

    def _judge(self, how_it_ended: str) -> Ending:
        match self._halt, self._last:
            case Halt.CANCELLED, _:
                ending = Failure(Reason.CANCELLED_BY_USER, "cancelled_by_user", "cancelled")
            case Halt.TIME_LIMIT, _:
                ending = self._time_is_over()
            case _, Done() as done:
                ending = done
            case None, Failed() as failed:
                reason = _REASONS.get(failed.code, Reason.INTERNAL_ERROR)
                ending = Failure(reason, failed.code, failed.message, failed.traceback)
            case None, None:
                ending = Crash(how_it_ended)
            case _:  # the worker stops, or another asked the trainer to
                ending = HandBack()
        return ending

    def _write(self, ending: Ending, scratch: Scratch) -> None:
        if isinstance(ending, Done | Failure) and not self._recorder.flush(self._has_given_up):
            _log.warning("%s: not all of it is written; its lease will run out", self.label)
            return
        match ending:
            case Done():
                self._finish(self._stage_success(ending, scratch))
            case Failure():
                self._finish(replace(ending, files=self._stage_log(scratch)))
            case Crash():
                _log.warning("%s: %s", self.label, ending.message)
                limit = self._settings.max_crashes
                self._settle(
                    lambda: claims.report_crash(
                        self._context.db, self._lease, ending.message, limit
                    )
                )
            case HandBack():
                self._settle(lambda: claims.hand_back(self._context.db, self._lease))

    def _finish(self, outcome: Success | Failure) -> None:
        self._settle(lambda: claims.finish(self._context.db, self._lease, outcome))

    def _settle(self, write: Callable[[], State]) -> None:
        _log.info("%s: is %s", self.label, outlast(write, self._has_given_up))

    def _stage_success(self, done: Done, scratch: Scratch) -> Success | Failure:
        role = self._claim.run.role
        files = {self._publish_as(name): scratch.artifacts / name for name in self._names}
        try:
            staged = self._stage({**files, **self._log_file(scratch)})
        except (OSError, BlobError) as error:
            _log.exception("%s: its files can't be stored", self.label)
            return replace(failure_of(error), files=self._stage_log(scratch))
        has_model = role is Role.TRAINING and MODEL_FILE in self._names
        return Success(done.summary, staged, model=has_model, results=done.results)

    def _stage_log(self, scratch: Scratch) -> list[StagedFile]:
        try:
            return self._stage(self._log_file(scratch))
        except (OSError, BlobError) as error:
            _log.warning("%s: its log can't be stored: %s", self.label, error)
            return []

    def _log_file(self, scratch: Scratch) -> dict[str, Path]:
        if not scratch.log.exists():
            return {}
        scratch.trim_log()
        name = "log.txt" if self._claim.run.role is Role.TRAINING else "log-collation.txt"
        return {self._publish_as(name): scratch.log}

    def _publish_as(self, name: str) -> str:
        """A training's files go into a folder of the run's name, the collation's lie beside."""
        run = self._claim.run
        return f"{run.name}/{name}" if run.role is Role.TRAINING else name

    def _stage(self, files: dict[str, Path]) -> list[StagedFile]:
        db, blobs = self._context.db, self._context.blobs
        return outlast(lambda: artifacts.stage(db, blobs, self._lease, files), self._has_given_up)


def failure_of(error: Exception) -> Failure:
    """How a run ends whose supervisor could not go on."""
    message = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno in _FULL:
        return Failure(Reason.DISK_FULL, "disk_full", message)
    text = "".join(traceback.format_exception(error))
    return Failure(
        Reason.INTERNAL_ERROR, "internal_error", f"{type(error).__name__}: {message}", text
    )


def _how_it_ended(status: int | None, scratch: Scratch) -> str:
    how = f"by signal {-status}" if status is not None and status < 0 else f"with status {status}"
    words = scratch.last_words()
    return f"the training process ended {how}" + (f": {words}" if words else "")


def _patience(is_stopping: Callable[[], bool]) -> Callable[[], bool]:
    """Whether a worker that stops has waited long enough for a database that is away."""
    stopping_since: list[float] = []

    def has_given_up() -> bool:
        if is_stopping() and not stopping_since:
            stopping_since.append(time.monotonic())
        return bool(stopping_since) and time.monotonic() - stopping_since[0] > GRACE_SECONDS

    return has_given_up
