"""Quick stand-ins for the trainings and collations of fmx_ml, in processes that have this folder
on their path: everything around them (worker, supervisor, trainer, pipe, record) is the real thing.

A training's split_seed chooses what it does, its max_epochs how long.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

EPOCH_SECONDS = 0.05

GOOD, CRASHES_ONCE, CRASHES, DEAF = 0, 1, 2, 3


def train(training: Any, sink: Any, **_: Any) -> dict[str, Any]:
    """Emits epochs; leaves a file and a model."""
    from fmx_ml.errors import StoppedError
    from fmx_ml.sinks import EpochMetrics

    attempt = int(sink.path("x").parent.parent.name.rpartition("-")[2])
    if training.split_seed == DEAF:
        _play_deaf()
    sink.phase("training")
    for epoch in range(1, training.max_epochs + 1):
        time.sleep(EPOCH_SECONDS)
        if sink.should_stop():
            raise StoppedError("stopped on request")
        sink.epoch(EpochMetrics(epoch=epoch, val_loss=1 / epoch, seconds=EPOCH_SECONDS))
        crashes = training.split_seed == CRASHES or (
            training.split_seed == CRASHES_ONCE and attempt == 1
        )
        if crashes and epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    for name in ("model.onnx", "notes/history.txt"):
        sink.path(name).write_text(f"{name} of seed {training.seed}")
        sink.artifact(name)
    return {"test_accuracy": 0.75, "val_accuracy": 0.5, "attempt": attempt}


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
    from fmx_ml.results import Results, Table

    rows = [
        [o.name, len(o.history), artifact_path(o.name, "model.onnx").read_text()] for o in outcomes
    ]
    table = Table(name="runs", title="Runs", columns=["run", "epochs", "left"], rows=rows)
    sink.path("table.txt").write_text(str(rows))
    sink.artifact("table.txt")
    assert "torch" not in sys.modules
    return Results(
        kind=kind, preset=preset, dataset=spec.dataset, tables=[table], figures=[], comparisons=[]
    )


def _install() -> None:
    package, trainings = (
        ModuleType("fmx_ml.experiments"),
        ModuleType("fmx_ml.experiments.trainings"),
    )
    vars(package).update(collate=collate, trainings=trainings, __path__=[])
    vars(trainings).update(train=train)
    sys.modules.update({package.__name__: package, trainings.__name__: trainings})


_install()
