"""python -m fmx_ml, as a process and as a function."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ml_cases import miss
from own_pictures import write_idx

import fmx_ml.__main__ as main_module
from fmx_ml.__main__ import FAILED, INTERRUPTED, REFUSED, main
from fmx_ml.data.__main__ import main as pack
from fmx_ml.errors import DataUnavailableError, DivergedError
from fmx_ml.pipelines import common
from fmx_ml.results import Results, Table
from fmx_ml.texts import format_markdown, format_table


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-W", "error", "-m", "fmx_ml", "q1", "--out", str(folder)),
            *("--threads", "1", *arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
    )


def test_the_real_thing_from_end_to_end(tmp_path: Path) -> None:
    """Two epochs on all 25,000 real pictures, in a process of its own."""
    done = run("--preset", "quick", "--spec", '{"max_epochs": 2}', folder=tmp_path)
    if "data_unavailable" in done.stderr:
        miss(done.stderr)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("seed-0  epoch 1/2  training ")
    assert lines[1].startswith("seed-0  epoch 2/2  training ")
    assert "Accuracies beside the published (quick preset)" in done.stdout
    results = Results.model_validate_json((tmp_path / "results.json").read_text())
    summary = json.loads((tmp_path / "seed-0" / "summary.json").read_text())
    assert summary["test_accuracy"] > 0.93
    test = next(c for c in results.comparisons if c.id == "q1.accuracy.test")
    assert test.ours is not None
    assert test.ours.values == [summary["test_accuracy"]]
    assert summary["confusion"][0][0] + sum(summary["confusion"][0][1:]) == 1_000
    for name in ("figure-1-loss.svg", "samples.png", "manifest.json", "seed-0/model.onnx"):
        assert (tmp_path / name).is_file()


@pytest.fixture
def small_data(small: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The small pictures stand in for whatever is loaded; what was asked for is kept."""
    asked: list[tuple[Any, ...]] = []

    def load(*arguments: Any) -> Any:
        asked.append(arguments)
        return small

    monkeypatch.setattr(common, "load_half", load)
    return asked


def test_seeds_and_a_spec_from_a_file(
    small_data: list[tuple[Any, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text('{"seeds": [3, 4], "max_epochs": 1}')
    arguments = ["q1", "--out", str(tmp_path / "out"), "--spec", str(spec)]
    arguments += ["--synthetic", "--dataset-dir", str(tmp_path), "--threads", "1"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "seed-3  epoch 1/1" in printed
    assert "seed-4  epoch 1/1" in printed
    assert "(synthetic data)" in printed
    assert [arguments[0] for arguments in small_data] == ["synthetic"] * 2
    assert small_data[0][3].dataset_dir == tmp_path


def test_the_folder_in_the_environment_is_looked_at(
    small_data: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMX_DATASET_DIR", str(tmp_path / "named"))
    arguments = ["q1", "--out", str(tmp_path), "--spec", '{"max_epochs": 1}', "--threads", "1"]
    assert main(arguments) == 0
    assert small_data[0][3].dataset_dir == tmp_path / "named"


def test_pictures_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = tmp_path / "digits.safetensors"
    folder = str(write_idx(tmp_path / "idx", 200, 50))
    assert pack(["pack", "--idx", folder, "--out", str(packed)]) == 0
    spec = '{"max_epochs": 2, "half": "fm2", "batch_size": 20}'
    arguments = ["q1", "--out", str(tmp_path / "out"), "--data", str(packed), "--threads", "1"]
    assert main([*arguments, "--spec", spec]) == 0
    assert "Each run (digits)" in capsys.readouterr().out
    results = Results.model_validate_json((tmp_path / "out" / "results.json").read_text())
    assert results.dataset == "digits"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["runs"][0]["training"]["dataset"]["class_names"] == list("0123456789")
    assert list(manifest["data"][0]["checksums"]) == ["digits.safetensors"]
    packed.write_bytes(b"nothing")
    assert main([*arguments, "--spec", spec]) == REFUSED
    assert "is no data set's file" in capsys.readouterr().err


def test_a_data_set_that_nobody_has_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["q1", "--out", str(tmp_path), "--spec", '{"dataset": "digits"}']) == REFUSED
    assert "spec.dataset: nobody has told" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ('{"max_epoch": 3}', "spec.max_epoch: Extra inputs are not permitted"),
        ('{"max_epochs": 0}', "spec.max_epochs: Input should be greater than or equal to 1"),
        ('{"max_epochs": ', "the spec can't be read"),
        ("no-such-file.json", "the spec can't be read"),
        ('{"model": {"kernel_size": 15}}', "gets only 7 x 7 pixels"),
    ],
)
def test_a_bad_spec_is_refused_before_anything_is_trained(
    spec: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["q1", "--out", str(tmp_path / "out"), "--spec", spec]) == REFUSED
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [[], ["q1"], ["q9", "--out", "x"], ["q1", "--out"], [*("q1", "--out", "x", "--threads"), "0"]],
)
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DivergedError(1, 2, float("inf")), FAILED, "nan_loss: the loss is inf at epoch 1, step 2"),
        (DataUnavailableError("none"), FAILED, "data_unavailable: none"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
    ],
)
def test_failures_have_a_status(
    error: BaseException,
    status: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(main_module, "run", fail)
    assert main(["q1", "--out", str(tmp_path)]) == status
    assert message in capsys.readouterr().err


def test_a_table_as_text() -> None:
    table = Table(
        name="t", title="Title", columns=["figure", "mean"],
        rows=[["a long name", 0.98765], ["b", None], ["c", 205.25], ["d", 7]], note="A note.",
    )  # fmt: skip
    assert format_table(table).splitlines() == [
        "Title",
        "figure       mean",
        "a long name  0.9877",
        "b            -",
        "c            205.2",
        "d            7",
        "A note.",
    ]


def test_a_table_as_markdown() -> None:
    table = Table(name="t", title="Title", columns=["a|b", "c"], rows=[["x|y", None]], note="N.")
    assert format_markdown(table).splitlines() == [
        "**Title**",
        "",
        "| a\\|b | c |",
        "| --- | --- |",
        "| x\\|y | \N{EN DASH} |",
        "",
        "N.",
    ]
