"""The command line and the demo with a real server and a real worker, on one short training."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from services import ROOT, Column
from stack import processes_of, serve

from fmx_client import Client
from fmx_client.demo.data import Decision
from fmx_client.demo.story import Story

TINY = ["--preset=quick", "--set=dataset=synthetic", "--set=max_epochs=1"]


def _fmx(url: str, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "fmx_client.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "FMX_URL": url},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def _json(url: str, *arguments: str) -> Any:
    return json.loads(_fmx(url, *arguments, "--json"))


def test_from_submit_to_prediction(embedded_column: Column, tmp_path: Path) -> None:
    with serve(embedded_column) as (_, http):
        url = str(http.base_url)
        watched = _fmx(url, "submit", "q1", *TINY, "--watch")
        assert "succeeded after" in watched
        body = _json(url, "results", "last")
        assert body["dataset"] == "synthetic"
        assert "of the synthetic data set" in _fmx(url, "results", "last")
        names = [item["path"] for item in _json(url, "artifacts", "list", "last")["items"]]
        out = tmp_path / "out"
        got = _json(url, "artifacts", "get", "last", "--all", f"--out={out}")["items"]
        assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == names
        assert [item["path"] for item in got] == names
        _predict(url, out)
        with Client(url) as client:
            _tell(client, tmp_path)


def _predict(url: str, out: Path) -> None:
    (model,) = _json(url, "models")["items"]
    rows = [f"--test-row={row}" for row in range(70)]
    answer = _json(url, "predict", *rows)
    assert answer["model"] == model["id"]
    assert [p["row"] for p in answer["predictions"]] == list(range(70))
    picture = next(path for path in out.rglob("*.png") if "sample" in path.name)
    (of_file,) = _json(url, "predict", str(picture), f"--model={model['id']}")["predictions"]
    assert of_file["file"] == picture.name
    assert sum(of_file["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert of_file["label"] in _fmx(url, "predict", str(picture))
    (tmp := out / "no-picture.png").write_text("not a picture")
    assert _fmx(url, "predict", str(tmp), status=2) == ""


def _tell(client: Client, tmp_path: Path) -> None:
    """The demo's end, of the job that is there."""
    with (tmp_path / "told.txt").open("w") as file:
        console = Console(file=file, width=90, force_terminal=True, _environ={"TERM": "xterm"})
        told = Story(console, "quick", tmp_path / "figures")
        told.show(client, next(client.jobs()), Decision("synthetic", "made"), tmp_path)
    text = (tmp_path / "told.txt").read_text()
    assert text.count("▀") > 5 * 14 * 7
    assert "synthetic 8" in text
    figures = {path.suffix for path in (tmp_path / "figures").iterdir()}
    assert {".png", ".svg", ".csv"} <= figures


def test_ctrl_c_ends_the_demo_and_all_that_it_started(tmp_path: Path) -> None:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("FMX_")}
    demo = subprocess.Popen(
        [sys.executable, "-m", "fmx_client.demo", f"--out={tmp_path / 'out'}"],
        cwd=ROOT,
        env={**inherited, "FMX_DATA_DIR": str(tmp_path / "data"), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert demo.stdout is not None
    with demo.stdout:
        said: list[str] = []
        for line in demo.stdout:
            said.append(line)
            if "  training  " in line:
                break
        assert processes_of(tmp_path / "data"), said
        os.killpg(demo.pid, signal.SIGINT)
        said += demo.stdout
    assert demo.wait(30) == 130, said
    text = "".join(said)
    assert "interrupted; nothing is left running" in text
    assert "Traceback" not in text
    deadline = time.monotonic() + 5
    while left := [
        pid
        for module in ("worker.trainer", "api.serve", "worker", "api")
        for pid in processes_of(tmp_path / "data", module)
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    assert not (tmp_path / "out").exists()
