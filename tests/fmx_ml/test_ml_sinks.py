from pathlib import Path

import pytest

from fmx_ml.sinks import EpochMetrics, FolderSink


def test_columns_are_those_of_the_metrics() -> None:
    assert EpochMetrics.columns() == (
        "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds",
    )  # fmt: skip


def test_a_folder_sink_keeps_what_it_is_told(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path / "new" / "folder")
    metrics = EpochMetrics(epoch=1, seconds=0.5)
    sink.phase("training")
    sink.epoch(metrics)
    sink.path("deep/file.txt").write_text("x")
    sink.artifact("deep/file.txt")
    assert (sink.phases, sink.history, sink.artifacts) == (
        ["training"], [metrics], ["deep/file.txt"],
    )  # fmt: skip
    assert not sink.should_stop()


def test_an_artifact_that_was_not_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FolderSink(tmp_path).artifact("missing.txt")
