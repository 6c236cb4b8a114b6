"""The trainer's end of the pipe: what a pipeline reports goes to the supervisor."""

import logging
import socket
import threading
from pathlib import Path

from fmx_ml.sinks import EpochMetrics
from worker.messages import ArtifactReady, Epoch, Message, Phase, encode

_log = logging.getLogger("fmx.trainer")


class PipeSink:
    """A sink of fmx_ml that sends what it gets; its artifacts lie in the order's folder."""

    def __init__(self, pipe: socket.socket, folder: Path, stop: threading.Event) -> None:
        """The folder is made where it does not exist; `stop` is set when the run should end."""
        self._pipe, self._folder, self._stop = pipe, folder, stop
        folder.mkdir(parents=True, exist_ok=True)

    def send(self, message: Message) -> None:
        """Sends a message whole. Raises ValueError or TypeError where JSON can't hold it."""
        self._pipe.sendall(encode(message))

    def phase(self, name: str) -> None:
        _log.info("%s", name)
        self.send(Phase(name=name))

    def epoch(self, metrics: EpochMetrics) -> None:
        figures = metrics.model_dump(exclude={"epoch"}, exclude_none=True)
        _log.info("epoch %d: %s", metrics.epoch, ", ".join(map(_show, figures.items())))
        self.send(Epoch(metrics=metrics))

    def path(self, name: str) -> Path:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def artifact(self, name: str) -> None:
        if not self.path(name).is_file():
            raise FileNotFoundError(self.path(name))
        self.send(ArtifactReady(name=name))

    def should_stop(self) -> bool:
        return self._stop.is_set()


def _show(figure: tuple[str, float]) -> str:
    return f"{figure[0]} {figure[1]:.4f}"
