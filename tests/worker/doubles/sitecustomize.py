"""Quick stand-ins for fmx_ml's trainings and collations.

They play in processes that have this folder on their path. Everything around them (worker,
supervisor, trainer, pipe, record) is the real thing.

A training's split_seed chooses what it does, its max_epochs how long.
"""

import errno
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from fmx_ml.errors import (
    DataUnavailableError,
    DivergedError,
    ExportError,
    OutOfMemoryError,
    StoppedError,
    UserError,
)
from fmx_ml.results import NeededRun, Results, Table
from fmx_ml.sinks import EpochMetrics

EPOCH_SECONDS = 0.05

GOOD, CRASHES_ONCE, CRASHES, DEAF, NOT_A_NUMBER, ESCAPES, FAILS_ONCE, DIES_LATE = range(8)
LINGERS_ONCE = 8
LINGER_SECONDS = 2.0  # an epoch of the first attempt takes
FAILURES: dict[int, Exception] = {
    10: UserError("bad spec"),
    11: DivergedError(3, 7, math.inf),
    12: OutOfMemoryError("too large"),
    13: DataUnavailableError("no data"),
    14: ExportError("differs"),
    15: MemoryError(),
    16: OSError(errno.ENOSPC, "No space left on device"),
    17: PermissionError(errno.EACCES, "Permission denied"),
    18: ZeroDivisionError("division by zero"),
}


def train(
    training: Any, sink: Any, *, needed: Sequence[NeededRun] = (), **_: Any
) -> dict[str, Any]:
    """Emits epochs; leaves a file, a model, and what it saw of the runs that it needs."""
    attempt = int(sink.path("x").parent.parent.name.rpartition("-")[2])
    if training.split_seed == DEAF:
        _play_deaf()
    if training.split_seed == FAILS_ONCE and attempt == 1:
        raise DivergedError(3, 7, math.inf)
    if training.split_seed in FAILURES:
        raise FAILURES[training.split_seed]
    if training.split_seed == ESCAPES:
        sink.artifact("../order.json")
    sink.phase("training")
    print(f"temporary files in {tempfile.gettempdir()}", flush=True)
    lingers = training.split_seed == LINGERS_ONCE and attempt == 1
    for epoch in range(1, training.max_epochs + 1):
        time.sleep(LINGER_SECONDS if lingers else EPOCH_SECONDS)
        if sink.should_stop():
            raise StoppedError("stopped on request")
        sink.epoch(EpochMetrics(epoch=epoch, val_loss=1 / epoch, seconds=EPOCH_SECONDS))
        crashes = training.split_seed == CRASHES or (
            training.split_seed == CRASHES_ONCE and attempt == 1
        )
        if (crashes and epoch == 2) or (training.split_seed == DIES_LATE and epoch == 30):
            os.kill(os.getpid(), signal.SIGKILL)
    for name in ("model.onnx", "notes/history.txt"):
        sink.path(name).write_text(f"{name} of seed {training.seed}")
        sink.artifact(name)
    loss = math.nan if training.split_seed == NOT_A_NUMBER else 0.25
    figures = {"test_accuracy": 0.75, "val_accuracy": 0.5, "test_loss": loss}
    return {**figures, "attempt": attempt, "needed": [_look_at(run) for run in needed]}


class Member(NamedTuple):
    """A training of a pack."""

    training: Any
    sink: Any
    needed: Sequence[NeededRun]


def train_pack(
    members: Sequence[Member], *, ended: Callable[[int, dict[str, Any] | Exception], None], **_: Any
) -> None:
    """All at the same time, each as `train` plays it."""
    print(f"a pack of {len(members)}", flush=True)
    turn = threading.Lock()

    def play(place: int, member: Member) -> None:
        try:
            outcome: dict[str, Any] | Exception = train(
                member.training, member.sink, needed=member.needed
            )
        except Exception as error:  # noqa: BLE001 - as the real one tells it
            outcome = error
        with turn:
            ended(place, outcome)

    threads = [threading.Thread(target=play, args=pair) for pair in enumerate(members)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _look_at(run: NeededRun) -> list[Any]:
    epochs = [metrics.epoch for metrics in run.outcome.history]
    left = run.files["model.onnx"].read_text()
    return [run.outcome.name, epochs, run.outcome.summary["attempt"], left]


def _play_deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with subprocess.Popen(["sleep", "300"]):
        time.sleep(300)


def collate(
    kind: str,
    preset: str,
    spec: Any,
    outcomes: Sequence[Any],
    sink: Any,
    artifact_path: Callable[[str, str], Path],
) -> Any:
    """A table of what the runs left."""
    rows = [
        [o.name, len(o.history), artifact_path(o.name, "model.onnx").read_text()] for o in outcomes
    ]
    table = Table(name="runs", title="Runs", columns=["run", "epochs", "left"], rows=rows)
    sink.path("table.txt").write_text(str(rows))
    sink.artifact("table.txt")
    assert "torch" not in sys.modules
    data = {"kind": kind, "preset": preset, "dataset": spec.dataset, "tables": [table]}
    return Results.model_validate({**data, "figures": [], "comparisons": []})


def warm_up() -> None:
    """Nothing here takes time to load."""


def _install() -> None:
    doubles: dict[str, tuple[Callable[..., Any], ...]] = {
        "fmx_ml.pipelines": (train, train_pack, Member),
        "fmx_ml.collation": (collate,),
        "fmx_ml.warmth": (warm_up,),
    }
    for name, functions in doubles.items():
        module = ModuleType(name)
        for function in functions:
            setattr(module, function.__name__, function)
        sys.modules[name] = module


_install()
