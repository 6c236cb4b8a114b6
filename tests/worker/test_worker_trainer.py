"""The trainer's process, and what passes between it and its supervisor."""

import math
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError
from services import ROOT
from stages import Stage
from workers import DOUBLES, ESCAPES, NOT_A_NUMBER

from fmx_ml.sinks import EpochMetrics
from fmx_store.states import Reason, State
from worker.messages import (
    ArtifactReady,
    Done,
    Epoch,
    Failed,
    Message,
    Phase,
    Stopped,
    decode,
    encode,
)
from worker.supervisor import supervise


@pytest.fixture
def doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(DOUBLES))


@pytest.mark.usefixtures("doubles")
def test_a_training_and_its_collation(stage: Stage) -> None:
    claim = stage.claim(epochs=3)
    supervise(stage.context, [claim])
    run = stage.run_of(claim)
    assert run.state is State.SUCCEEDED, run.error
    assert stage.epochs(run) == [1, 2, 3]
    log = stage.files(run)["seed-0/log.txt"]
    assert "training" in log
    assert "epoch 3: val_loss 0.3333" in log
    assert log.rstrip().endswith("INFO done")

    supervise(stage.context, [stage.claim_again()])
    job = stage.record.job(run.job_id)
    assert job.state is State.SUCCEEDED
    assert job.results is not None
    assert job.results["tables"][0]["rows"] == [["seed-0", 3, "model.onnx of seed 0"]]
    assert {"table.txt", "log-collation.txt"} < stage.files(run).keys()


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize(
    ("failure", "reason", "code", "message"),
    [
        (10, Reason.USER_ERROR, "user_error", "bad spec"),
        (11, Reason.NAN_LOSS, "nan_loss", "the loss is inf at epoch 3, step 7"),
        (12, Reason.OUT_OF_MEMORY, "out_of_memory", "too large"),
        (13, Reason.DATA_UNAVAILABLE, "data_unavailable", "no data"),
        (14, Reason.INTERNAL_ERROR, "export_failed", "differs"),
        (15, Reason.OUT_OF_MEMORY, "out_of_memory", "MemoryError"),
        (16, Reason.DISK_FULL, "disk_full", "No space left on device"),
        (17, Reason.INTERNAL_ERROR, "internal_error", "PermissionError: [Errno 13]"),
        (18, Reason.INTERNAL_ERROR, "internal_error", "ZeroDivisionError: division by zero"),
        (NOT_A_NUMBER, Reason.INTERNAL_ERROR, "internal_error", "ValueError: Out of range float"),
        (ESCAPES, Reason.INTERNAL_ERROR, "internal_error", "plain relative path"),
    ],
)
def test_an_error_of_a_pipeline_ends_its_run_once(
    stage: Stage, failure: int, reason: Reason, code: str, message: str
) -> None:
    claim = stage.claim(ml=failure)
    supervise(stage.context, [claim])
    run = stage.run_of(claim)
    assert (run.state, run.reason, run.attempt, run.crashes) == (State.FAILED, reason, 1, 0)
    assert run.error is not None
    assert run.error["code"] == code
    assert message in run.error["message"]
    assert ("Traceback" in run.error.get("traceback", "")) == (code == "internal_error")
    assert "Traceback" in stage.files(run)["seed-0/log.txt"]


MESSAGES: list[Message] = [
    Phase(name="data"),
    Epoch(metrics=EpochMetrics(epoch=1, train_loss=0.1, seconds=2.5)),
    ArtifactReady(name="a/b.txt"),
    Done(summary={"nested": [1, None, "ü"]}, results={"tables": []}),
    Failed(code="nan_loss", message="a\nb", traceback="t"),
    Stopped(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode(line) == message


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_that_json_does_not_have_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        encode(Done(summary={"loss": number}))
    with pytest.raises(ValueError, match="Out of range"):
        encode(Epoch(metrics=EpochMetrics(epoch=1, val_loss=number, seconds=1)))


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../b", ".", "a//b", "a/", "./a", "x" * 161]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        ArtifactReady(name=name)


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("worker.app, worker.__main__", ["torch", "matplotlib", "numpy", "fastapi", "onnx"]),
        ("worker.trainer, fmx_ml.collation", ["torch", "celery"]),
    ],
)
def test_imports_are_light(modules: str, absent: list[str]) -> None:
    loaded: Any = run_python(f"import sys, {modules}; print(*sys.modules)").split()
    assert set(absent).isdisjoint(loaded)
