"""One claimed run on its way: what its trainer has said of it, and what is written of its end."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fmx_store import artifacts, claims
from fmx_store.claims import Claim, Failure, Lease, StagedFile, Success
from fmx_store.database import OUTAGES
from fmx_store.errors import BlobError, LeaseLostError, StorageUnavailableError
from fmx_store.log_format import Ids, about
from fmx_store.states import Reason, Role, State
from worker.context import Context
from worker.endings import (
    Crash,
    Ending,
    Halt,
    HandBack,
    can_be_resumed,
    failure_of,
    failure_told,
)
from worker.keeper import Keeper
from worker.messages import (
    ArtifactReady,
    CheckpointReady,
    Done,
    Epoch,
    Failed,
    Last,
    Message,
    Phase,
    Resumed,
)
from worker.patience import StoragePatience, within
from worker.recorder import Recorder, first_line, outlast
from worker.scratch import scratch_of
from worker.spans import begin_span

MODEL_FILE = "model.onnx"
CANCEL_SECONDS = 1.5  # that the log of a cancelled run may take to store

_log = logging.getLogger(__name__)


def ids_of(lease: Lease) -> Ids:
    """What is logged under a lease concerns these."""
    return {"job": lease.job_id, "run": lease.run_id, "attempt": lease.attempt}


class Attempt:
    """An attempt at a run, under a lease that the recorder keeps."""

    def __init__(
        self,
        context: Context,
        claim: Claim,
        recorder: Recorder,
        keeper: Keeper,
        has_given_up: Callable[[], bool],
    ) -> None:
        """Nothing has been said yet. `has_given_up` says when no more to wait for a database."""
        self._context, self._recorder, self._has_given_up = context, recorder, has_given_up
        self.storage = StoragePatience(
            context.settings.storage_patience_seconds,
            lambda: has_given_up() or recorder.is_cancelled,
        )
        self._keeper = keeper
        for stored in claim.checkpoints:
            keeper.note(claim.lease, stored)
        self.claim, self.lease = claim, claim.lease
        self.span = begin_span(context, claim)
        self.scratch = scratch_of(context.settings.scratch_dir, claim.lease)
        self.output: Path | None = None  # what its pack's process prints, where that is no log
        self._names: dict[str, None] = {}  # of complete artifacts, in the order they came
        self.last: Last | None = None
        self._failure: str | None = None  # how it failed, if it has, for its trace
        self.is_over = False  # its end is written, or can't be
        self._is_lost = False
        self.label = f"run {claim.run.id} ({claim.run.name}), attempt {claim.lease.attempt}"

    @property
    def is_lost(self) -> bool:
        """Whether the lease is lost, or was before the end was written."""
        if self.is_over:  # the recorder may have looked for a lease that its run's end has ended
            return self._is_lost
        return self.lease in self._recorder.lost

    def begin(self) -> None:
        """Says that it begins."""
        with about(**ids_of(self.lease)):
            _log.info("%s: begins", self.label)

    def take(self, message: Message) -> None:
        """What the trainer says; after its last message, nothing."""
        if self.last is not None or self.is_over:
            return
        match message:
            case Phase():
                self._recorder.set_phase(self.lease, message.name)
                self.span.event("phase", message)
            case Epoch():
                self._recorder.add_epoch(self.lease, message.metrics)
                self.span.event("epoch", message.metrics)
            case ArtifactReady():
                self._names[message.name] = None
            case Resumed():
                self._resume(message.epoch)
                self.span.event("resumed", message)
            case CheckpointReady():
                path = self.scratch.checkpoints / message.name
                self._keeper.add(self.lease, message.epoch, path)
            case _:
                self.last = message

    def _resume(self, epoch: int) -> None:
        """The claim has gone back to the newest checkpoint; the trainer may have to go further."""
        newest = max((stored.epoch for stored in self.claim.checkpoints), default=0)
        _log.info("%s: goes on after epoch %d", self.label, epoch)
        if epoch < newest:
            self._recorder.rewind(self.lease, epoch)

    def is_over_time(self) -> bool:
        """Whether the job's time limit has passed."""
        job = self.claim.job
        if job.time_limit_seconds is None or job.started_at is None:
            return False
        return datetime.now(UTC) > job.started_at + timedelta(seconds=job.time_limit_seconds)

    def time_is_over(self) -> Failure:
        """The ending of a run whose job took too long."""
        seconds = self.claim.job.time_limit_seconds
        return Failure(Reason.TIME_LIMIT, "time_limit", f"the job's {seconds} seconds are over")

    def memory_is_over(self) -> Failure:
        """The ending of a run whose training took too much memory."""
        limit = self._context.settings.worker_memory_bytes or 0
        said = f"the training took more than the {limit:,} bytes that a worker's may"
        return Failure(Reason.OUT_OF_MEMORY, "out_of_memory", said)

    def judge(self, halt: Halt | None, how_it_ended: str) -> Ending:
        """The ending that follows from why the trainer was stopped, and from its last message."""
        match halt, self.last:
            case Halt.CANCELLED, _:
                ending = Failure(Reason.CANCELLED_BY_USER, "cancelled_by_user", "cancelled")
            case Halt.TIME_LIMIT, _:
                ending = self.time_is_over()
            case _, Done() as done:
                ending = done
            case Halt.MEMORY_LIMIT, _:
                ending = self.memory_is_over()
            case None, Failed() as failed:
                ending = failure_told(failed)
            case None, None:
                ending = Crash(how_it_ended)
            case _:  # the worker stops, or another asked the trainer to
                ending = HandBack()
        return ending

    def lose(self) -> None:
        """Ends it without a word: the lease is lost."""
        self._is_lost = self.is_over = True
        self.span.end("its lease is lost")
        _log.warning("%s: its lease is lost", self.label)

    def end(self, ending: Ending) -> None:
        """Writes the ending, as long as the lease is held and the database does not stay away."""
        with about(**ids_of(self.lease)):
            self._try_to_write(ending)
        self.is_over = True
        self.span.end(self._failure)
        self._recorder.release(self.lease)
        self._keeper.forget(self.lease)
        self._keeper.collect(self.lease)
        self.scratch.clear()

    def _try_to_write(self, ending: Ending) -> None:
        try:
            self._write(ending)
        except LeaseLostError:
            self.lose()
        except OUTAGES as error:
            said = first_line(error)
            _log.warning(
                "%s: given up, the database is away, its lease runs out: %s", self.label, said
            )

    def _write(self, ending: Ending) -> None:
        try:
            self._write_whole(ending)
        except (LeaseLostError, *OUTAGES):
            raise
        except Exception as error:  # noqa: BLE001 - written down as the run's end
            _log.exception("%s: its supervisor failed", self.label)
            self._finish(failure_of(error))

    def _keep_checkpoint(self) -> None:
        """Waits a moment for one that is on its way: the next attempt goes on from it."""
        deadline = self._keeper.settle(self.lease)
        if self._recorder.has_checkpoint(self.lease):
            self._recorder.flush(self.lease, lambda: time.monotonic() > deadline)

    def _complete_log(self) -> None:
        """Adds what its pack's process has printed, where that is no log."""
        if self.output is not None:
            try:
                self.scratch.add_to_log(self.output)
            except OSError as error:
                _log.warning("%s: its log is not complete: %s", self.label, error)

    def _flush(self, ending: Ending) -> bool:
        """Waits until all is written; only a moment for a run that another attempt takes up."""
        if isinstance(ending, Done | Failure):
            return self._recorder.flush(self.lease, self._has_given_up)
        deadline = self._keeper.settle(self.lease)
        self._recorder.flush(self.lease, lambda: time.monotonic() > deadline)
        return True

    def _write_whole(self, ending: Ending) -> None:
        self._complete_log()
        if can_be_resumed(ending):
            self._keep_checkpoint()
        if not self._flush(ending):
            _log.warning("%s: not all of it is written; its lease will run out", self.label)
            return
        db, lease = self._context.db, self.lease
        match ending:
            case Done():
                self._publish(ending)
            case Failure():
                self._finish(replace(ending, files=self._stage_log()))
            case Crash(message):
                _log.warning("%s: %s", self.label, message)
                self._failure = message
                limit = self._context.settings.max_crashes
                self._settle(lambda: claims.report_crash(db, lease, message, limit))
            case HandBack():
                self._settle(lambda: claims.hand_back(db, lease))

    def _finish(self, outcome: Success | Failure) -> None:
        self._failure = outcome.code if isinstance(outcome, Failure) else None
        self._settle(lambda: claims.finish(self._context.db, self.lease, outcome))

    def _settle(self, write: Callable[[], State]) -> None:
        state = outlast(write, self._has_given_up)
        self.span.set({"fmx.state": state.value})
        _log.info("%s: is %s", self.label, state)

    def _publish(self, done: Done) -> None:
        try:
            outcome = self._stage_success(done)
        except StorageUnavailableError as error:
            _log.warning("%s: its files can't be stored: %s", self.label, error)
            if self._has_given_up():  # the worker stops; another does it again
                self._settle(lambda: claims.hand_back(self._context.db, self.lease))
                return
            outcome = failure_of(error)
        self._finish(outcome)

    def _stage_success(self, done: Done) -> Success | Failure:
        files = {self._publish_as(name): self.scratch.artifacts / name for name in self._names}
        try:
            staged = self._stage({**files, **self._log_file()})
        except StorageUnavailableError:
            raise
        except (OSError, BlobError) as error:
            _log.exception("%s: its files can't be stored", self.label)
            return replace(failure_of(error), files=self._stage_log())
        has_model = self.claim.run.role is Role.TRAINING and MODEL_FILE in self._names
        return Success(done.summary, staged, model=has_model, results=done.results)

    def _stage_log(self) -> list[StagedFile]:
        """The log, stored; nothing where that fails, or takes long and someone waits."""
        try:
            if self._recorder.is_cancelled:
                return within(CANCEL_SECONDS, lambda: self._stage(self._log_file()))
            return self._stage(self._log_file())
        except (OSError, BlobError) as error:
            _log.warning("%s: its log can't be stored: %s", self.label, error)
            return []

    def _log_file(self) -> dict[str, Path]:
        if not self.scratch.log.exists():
            return {}
        self.scratch.trim_log()
        name = "log.txt" if self.claim.run.role is Role.TRAINING else "log-collation.txt"
        return {self._publish_as(name): self.scratch.log}

    def _publish_as(self, name: str) -> str:
        """A training's files go into a folder of the run's name, the collation's lie beside."""
        run = self.claim.run
        return f"{run.name}/{name}" if run.role is Role.TRAINING else name

    def _stage(self, files: dict[str, Path]) -> list[StagedFile]:
        db, blobs = self._context.db, self._context.blobs

        def stage() -> list[StagedFile]:
            return artifacts.stage(db, blobs, self.lease, files)

        return self.storage.outlast(lambda: outlast(stage, self._has_given_up))
