"""The trainer's end of the pipe: what a pipeline reports goes to the supervisor."""

import logging
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from fmx_ml.sinks import EpochMetrics, SavedCheckpoint
from worker.messages import (
    ArtifactReady,
    CheckpointReady,
    Epoch,
    Message,
    Phase,
    Resumed,
    encode,
)
from worker.orders import Continuation, Place, TrainMember


class LogLine(logging.Formatter):
    """Lines that begin with the moment in UTC, which a server knows again."""

    converter = time.gmtime
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        """One form for all of a trainer's lines."""
        super().__init__("%(asctime)s %(levelname)s %(message)s")


class PipeSink:
    """A sink of fmx_ml that sends what it gets; its files lie in the run's folders.

    Of the checkpoints that it is offered it keeps the newest in mind and writes one now and then.
    """

    def __init__(
        self, pipe: socket.socket, number: int, place: Place, stops: Callable[[], bool]
    ) -> None:
        """Folders are made where they do not exist; `stops` says when the run should end."""
        self._pipe, self.place, self._folder, self._stops = pipe, number, place.folder, stops
        self._folder.mkdir(parents=True, exist_ok=True)
        self._continuation: Continuation | None = None
        if isinstance(place, TrainMember):
            self._continuation = place.continuation
            self._continuation.folder.mkdir(parents=True, exist_ok=True)
        self._offered: tuple[int, Callable[[Path], None]] | None = None
        self._saved_at = time.monotonic()
        self.log = logging.getLogger(f"fmx.trainer.{number}")
        self.log.setLevel(logging.INFO)
        self.log.propagate = False
        handler = logging.FileHandler(place.log, encoding="utf-8")
        handler.setFormatter(LogLine())
        self.log.addHandler(handler)

    def close(self) -> None:
        """Closes the log; what was offered is forgotten.

        What no longer fits on the disk must not keep the run's end from us.
        """
        self._offered = None
        for handler in tuple(self.log.handlers):
            self.log.removeHandler(handler)
            with suppress(OSError):
                handler.close()

    def send(self, message: Message) -> None:
        """Sends a message whole. Raises ValueError or TypeError where JSON can't hold it."""
        self._pipe.sendall(encode(message))

    def phase(self, name: str) -> None:
        self.log.info("%s", name)
        self.send(Phase(place=self.place, name=name))

    def epoch(self, metrics: EpochMetrics) -> None:
        figures = metrics.model_dump(exclude={"epoch"}, exclude_none=True)
        self.log.info("epoch %d: %s", metrics.epoch, ", ".join(map(_show, figures.items())))
        self.send(Epoch(place=self.place, metrics=metrics))

    def path(self, name: str) -> Path:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def artifact(self, name: str) -> None:
        if not self.path(name).is_file():
            raise FileNotFoundError(self.path(name))
        self.send(ArtifactReady(place=self.place, name=name))

    def should_stop(self) -> bool:
        return self._stops()

    def checkpoints(self) -> Sequence[SavedCheckpoint]:
        return self._continuation.earlier if self._continuation else ()

    def resumed(self, epoch: int) -> None:
        self.log.info("goes on after epoch %d", epoch)
        self.send(Resumed(place=self.place, epoch=epoch))

    def checkpoint(self, epoch: int, write: Callable[[Path], None]) -> None:
        self._offered = (epoch, write)
        if self._continuation and time.monotonic() - self._saved_at >= self._continuation.seconds:
            self.save()

    def save(self) -> None:
        """Writes what was offered last, if anything; where that fails, only time may be lost."""
        if self._offered is None or self._continuation is None:
            return
        epoch, write = self._offered
        name = f"epoch-{epoch}.safetensors"
        try:
            write(self._continuation.folder / name)
        except OSError as error:
            self.log.warning("the checkpoint of epoch %d can't be written: %s", epoch, error)
        else:
            self.send(CheckpointReady(place=self.place, epoch=epoch, name=name))
        self._offered, self._saved_at = None, time.monotonic()


def _show(figure: tuple[str, float]) -> str:
    return f"{figure[0]} {figure[1]:.4f}"
