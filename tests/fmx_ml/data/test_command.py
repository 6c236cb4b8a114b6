"""`python -m fmx_ml.data`: what it prints, and how it exits."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ml_cases import miss

from fmx_ml.data import __main__ as command
from fmx_ml.data.fashion_mnist import CHECKSUMS, SYSTEM_DIR
from fmx_ml.data.loader import load_half
from fmx_ml.data.sources import DataSources


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    status = command.main(arguments)
    return status, json.loads(capsys.readouterr().out)


def test_it_names_the_place_and_its_checksums(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if not SYSTEM_DIR.is_dir():
        miss(f"no {SYSTEM_DIR}")
    status, said = _run(capsys, "--cache-dir", str(tmp_path))
    assert status == 0
    assert said == {
        "found": True,
        "dataset": "fashion-mnist",
        "source": str(SYSTEM_DIR),
        "checksums": CHECKSUMS,
    }


def test_what_can_not_be_had_has_a_reason(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmx_ml.data.fashion_mnist.SYSTEM_DIR", tmp_path / "none")
    status, said = _run(capsys, "--cache-dir", str(tmp_path), "--dataset-dir", str(tmp_path))
    assert status == 1
    assert said["found"] is False
    assert "download: switched off" in said["reason"]
    assert str(tmp_path / "none") in said["reason"]


def test_the_pictures_are_the_test_sets_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, said = _run(
        capsys,
        "--dataset",
        "synthetic",
        "--half",
        "fm2",
        "--pictures",
        "--cache-dir",
        str(tmp_path),
    )
    assert status == 0
    data = load_half("synthetic", "fm2", 0, DataSources(None, tmp_path, download=False))
    assert [picture["label"] for picture in said["pictures"]] == list(data.names)
    for label, picture in enumerate(said["pictures"]):
        assert data.test.labels_N[picture["row"]] == label
        assert picture["pixels"] == data.test.images_NHW[picture["row"]].tolist()


def test_it_needs_no_torch_where_nothing_is_downloaded() -> None:
    look = "import sys, fmx_ml.data.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
