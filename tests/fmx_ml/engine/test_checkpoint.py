import hashlib
from pathlib import Path

import pytest
import torch

from fmx_ml.engine.checkpoint import Checkpoint, CheckpointError, read
from fmx_ml.sinks import EpochMetrics


def make_checkpoint(best_epoch: int = 1) -> Checkpoint:
    weights = {"a.weight": torch.randn(3, 2), "a.count": torch.tensor(7)}
    return Checkpoint(
        training="a hash",
        maker="a test",
        history=[EpochMetrics(epoch=n, val_loss=0.1 + 0.2 / n, seconds=0.1) for n in (1, 2)],
        best_epoch=best_epoch,
        seconds=1 / 3,
        best_weights={name: weight + 1 for name, weight in weights.items()},
        last_weights=weights,
        moments={"exp_avg": {"a.weight": torch.randn(3, 2).t().contiguous().t()}},
        generators={"order": torch.Generator().get_state()},
    )


def write(checkpoint: Checkpoint, path: Path) -> str:
    checkpoint.write(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    checkpoint = make_checkpoint()
    found = read(tmp_path / "x", write(checkpoint, tmp_path / "x"))
    assert (found.training, found.maker) == ("a hash", "a test")
    assert (found.epoch, found.best_epoch, found.seconds) == (2, 1, 1 / 3)
    assert found.history == checkpoint.history
    for ours, theirs in (
        (found.last_weights, checkpoint.last_weights),
        (found.best_weights, checkpoint.best_weights),
        (found.moments["exp_avg"], checkpoint.moments["exp_avg"]),
        (found.generators, checkpoint.generators),
    ):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_the_best_weights_are_written_once(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(best_epoch=2)
    found = read(tmp_path / "x", write(checkpoint, tmp_path / "x"))
    assert torch.equal(found.best_weights["a.weight"], checkpoint.last_weights["a.weight"])


def test_what_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    sha256 = write(make_checkpoint(), path)
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:5], b"", whole[:40] + b"?" + whole[41:]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged"):
            read(path, sha256)
        with pytest.raises(CheckpointError, match="none that this version reads"):
            read(path, hashlib.sha256(content).hexdigest())
    with pytest.raises(CheckpointError, match="can't be read"):
        read(tmp_path / "nowhere", sha256)


def test_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write(make_checkpoint(), path)
    path.write_bytes(path.read_bytes().replace(rb"\"format\":1", rb"\"format\":2"))
    with pytest.raises(CheckpointError, match="none that this version reads"):
        read(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    sha256 = write(make_checkpoint(), path)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        make_checkpoint().write(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    assert [each.name for each in tmp_path.iterdir()] == ["x"]
