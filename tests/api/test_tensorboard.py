"""A job's event files, as TensorBoard's own readers see them."""

import importlib
import io
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest
from http_service import SUMMARY, Service, epoch, problem
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from api.tensorboard import records
from api.tracking import flatten_parameters
from fmx_store import claims

# What protoc has made has its classes when it is imported, so no type checker knows them.
Event: Any = importlib.import_module("tensorboard.compat.proto.event_pb2").Event
_PLUGIN = importlib.import_module("tensorboard.plugins.hparams.plugin_data_pb2")
HParams: Any = _PLUGIN.HParamsPluginData

NUM_EPOCHS = 130  # more than are framed at once


def unpack(service: Service, job_id: str, folder: Path) -> Path:
    answer = service.client.get(f"/v1/jobs/{job_id}/tensorboard.zip")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert f"{job_id}-tensorboard.zip" in answer.headers["content-disposition"]
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(folder)
    return folder


def accumulate(folder: Path) -> EventAccumulator:
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    return read


def hparams_of(read: EventAccumulator) -> dict[str, Any]:
    content = read.PluginTagToContent("hparams")
    return {tag: HParams.FromString(part) for tag, part in content.items()}


def plain(value: Any) -> Any:
    return getattr(value, value.WhichOneof("kind"))


def test_a_runs_scalars_are_ours(service: Service, tmp_path: Path) -> None:
    job = service.submit(spec={"seeds": [0, 1], "optimiser": {"learning_rate": 0.25}})
    claim = service.claim()
    epochs = [epoch(n, train_accuracy=n / 1000) for n in range(1, NUM_EPOCHS + 1)]
    claims.record_progress(service.db, claim.lease, epochs, phase="training")
    service.succeed(claim, {})
    folder = unpack(service, job["id"], tmp_path / "logs")
    assert sorted(path.name for path in folder.iterdir()) == ["seed-0", "seed-1"]

    read = accumulate(folder / "seed-0")
    run = service.get(f"/v1/runs/{claim.run.id}")
    body = service.get(f"/v1/runs/{claim.run.id}/metrics")
    for place, column in enumerate(body["columns"][1:], start=1):
        events = read.Scalars(column)
        assert [event.step for event in events] == [row[0] for row in body["rows"]]
        ours = [row[place] for row in body["rows"]]
        assert [event.value for event in events] == pytest.approx(ours, rel=1e-6)
    times = [event.wall_time for event in read.Scalars("val_loss")]
    assert times == sorted(times)
    assert times[-1] - times[0] == pytest.approx(0.5 * (NUM_EPOCHS - 1), abs=0.01)
    (tested,) = read.Scalars("test_accuracy")
    assert (tested.step, tested.value) == (SUMMARY["best_epoch"], SUMMARY["test_accuracy"])
    check_parameters(read, run["params"])


def check_parameters(read: EventAccumulator, params: dict[str, Any]) -> None:
    """The HParams dashboard has what the run was asked."""
    told = hparams_of(read)
    start = told["_hparams_/session_start_info"].session_start_info
    seen = {name: plain(value) for name, value in start.hparams.items()}
    assert seen == flatten_parameters(params)
    assert seen["optimiser.learning_rate"] == 0.25
    assert seen["optimiser.name"] == "SGD"
    assert seen["model.batch_norm"] is False
    assert start.group_name == "seed-0"
    assert told["_hparams_/session_end_info"].session_end_info.status == 1  # STATUS_SUCCESS


def test_a_run_on_its_way_is_there_as_far_as_it_has_come(service: Service, tmp_path: Path) -> None:
    job = service.submit(spec={"seeds": [0, 1]})
    claim = service.claim()
    claims.record_progress(service.db, claim.lease, [epoch(1)], phase="training")
    folder = unpack(service, job["id"], tmp_path / "logs")
    read = accumulate(folder / "seed-0")
    assert [event.step for event in read.Scalars("train_loss")] == [1]
    assert list(hparams_of(read)) == ["_hparams_/session_start_info"]
    assert accumulate(folder / "seed-1").Tags()["scalars"] == []
    service.fail(claim)
    read = accumulate(unpack(service, job["id"], tmp_path / "later") / "seed-0")
    end = hparams_of(read)["_hparams_/session_end_info"].session_end_info
    assert end.status == 2  # STATUS_FAILURE


def test_what_a_float_can_not_hold_is_left_out() -> None:
    """An epoch whose loss has grown past all bounds has its other figures."""
    event = Event.FromString(records.scalars(1.5, 2**40, {"a": -2.5}))
    assert (event.wall_time, event.step) == (1.5, 2**40)
    (value,) = event.summary.value
    assert (value.tag, value.simple_value) == ("a", -2.5)


def test_losses_past_all_bounds(service: Service, tmp_path: Path) -> None:
    job = service.submit()
    claim = service.claim()
    odd = [epoch(1, train_loss=1e300), epoch(2, train_loss=math.nan), epoch(3, train_loss=3e38)]
    claims.record_progress(service.db, claim.lease, odd, phase="training")
    read = accumulate(unpack(service, job["id"], tmp_path / "logs") / "seed-0")
    assert [event.step for event in read.Scalars("train_loss")] == [3]
    assert [event.step for event in read.Scalars("val_loss")] == [1, 2, 3]


def test_head_and_jobs_that_are_not_there(service: Service) -> None:
    job = service.submit()
    answer = service.client.head(f"/v1/jobs/{job['id']}/tensorboard.zip")
    assert (answer.status_code, answer.content) == (200, b"")
    path = "/v1/jobs/7ZZZZZZZZZZZZZZZZZZZZZZZZZ/tensorboard.zip"
    problem(service.client.get(path), 404, "not_found")


def test_parameters_are_flat() -> None:
    nested = {"a": {"b": [1, [2]], "c": None}, "d": True, "dataset": {"name": "x", "sha256": "y"}}
    assert flatten_parameters(nested) == {
        "a.b": "[1,[2]]",
        "d": True,
        "dataset": "x",
        "dataset_sha256": "y",
    }
