"""The trainer's end of the pipe: what a pipeline reports goes to the supervisor."""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fmx_ml.sinks import EpochMetrics
from worker.messages import ArtifactReady, Epoch, Message, Phase, encode

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class PipeSink:
    """A sink of fmx_ml that sends what it gets; its artifacts lie in the run's folder."""

    def __init__(
        self, pipe: socket.socket, place: int, folder: Path, log: Path, stops: Callable[[], bool]
    ) -> None:
        """The folder is made where it does not exist; `stops` says when the run should end."""
        self._pipe, self.place, self._folder, self._stops = pipe, place, folder, stops
        folder.mkdir(parents=True, exist_ok=True)
        self.log = logging.getLogger(f"fmx.trainer.{place}")
        self.log.setLevel(logging.INFO)
        self.log.propagate = False
        handler = logging.FileHandler(log, encoding="utf-8")
        handler.setFormatter(logging.Formatter(LOG_FORMAT))
        self.log.addHandler(handler)

    def close(self) -> None:
        """Closes the log. What no longer fits on the disk must not keep the run's end from us."""
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


def _show(figure: tuple[str, float]) -> str:
    return f"{figure[0]} {figure[1]:.4f}"
