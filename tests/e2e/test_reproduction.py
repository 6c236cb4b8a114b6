"""`make report`: the questions through a server and worker of its own, as one document."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ml_cases import miss
from services import ROOT
from stack import processes_of

from fmx_ml.data import fashion_mnist
from fmx_ml.data.sources import DataSources
from fmx_ml.errors import DataUnavailableError
from fmx_store.settings import get_settings


@pytest.fixture(autouse=True)
def real_data(tmp_path: Path) -> None:
    """These tests train on the real pictures."""
    try:
        fashion_mnist.load(DataSources(get_settings().dataset_dir, tmp_path, download=False))
    except DataUnavailableError as error:
        miss(str(error))


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fmx_client.reproduction", "--out", str(folder / "out")]
    environment = {**os.environ, "FMX_DATA_DIR": str(folder / "data"), "FMX_WORKER_THREADS": "1"}
    return subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(folder: Path, *arguments: str) -> str:
    process = start(folder, *arguments)
    output, _ = process.communicate(timeout=250)
    assert process.returncode == 0, output
    return output


def test_the_report_of_a_question_and_once_more_from_what_was_kept(tmp_path: Path) -> None:
    arguments = ("--preset", "quick", "--kinds", "q3", "--seeds", "0,1")
    first = finish(tmp_path, *arguments)
    assert "q3  succeeded  2 of 2 runs" in first
    for form in ("html", "pdf", "md"):
        assert (tmp_path / "out" / f"report.{form}").stat().st_size > 10_000
    assert "Figure 15" in (tmp_path / "out" / "report.md").read_text()
    assert processes_of(tmp_path / "data") == []
    again = finish(tmp_path, *arguments)
    assert "q3  succeeded  2 of 2 runs" in again
    assert " 0 of 2 runs" not in again, "nothing was trained once more"


def test_an_interrupted_report_leaves_nothing_running(tmp_path: Path) -> None:
    process = start(tmp_path, "--preset", "report", "--kinds", "q1")
    deadline = time.monotonic() + 100
    while not processes_of(tmp_path / "data"):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "finished runs are kept" in output
    assert processes_of(tmp_path / "data") == []


@pytest.mark.parametrize(
    "arguments", [("--kinds", "q9"), ("--seeds", "a"), ("--preset", "fast"), ("--seeds", "")]
)
def test_wrong_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    process = start(tmp_path, *arguments)
    process.communicate(timeout=60)
    assert process.returncode == 2
