"""mlflow's own client reads this server's jobs."""

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_service import Service, epoch, serve
from key_kit import make_key
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException, RestException
from services import Column

from fmx_store import claims

API = "/mlflow/api/2.0"
FILES = {"model.json": b"{}", "deeper/notes.txt": b"some notes"}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong is said at once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def tracking(service: Service) -> MlflowClient:
    return MlflowClient(f"{service.server.url}/mlflow")


@pytest.fixture
def job_id(service: Service) -> str:
    """A job of three runs: one that has succeeded, one that goes on, one that waits."""
    spec = {"seeds": [0, 1, 2], "optimiser": {"learning_rate": 0.25}}
    job: dict[str, Any] = service.submit(name="first", tags=["demo"], spec=spec)
    for number in (1, 2):
        claim = service.claim()
        epochs = [epoch(n, train_accuracy=n * number / 10) for n in range(1, 2 + number)]
        claims.record_progress(service.db, claim.lease, epochs, phase="training")
        if number == 1:
            service.succeed(claim, FILES)
    return job["id"]


def names(runs: list[Run]) -> list[str | None]:
    return [run.info.run_name for run in runs]


def test_a_job_is_an_experiment(tracking: MlflowClient, job_id: str, service: Service) -> None:
    other = service.submit(kind="q3")["id"]
    found = tracking.search_experiments()
    assert [experiment.experiment_id for experiment in found] == [other, job_id]
    experiment = tracking.get_experiment(job_id)
    assert experiment.name == f"first {job_id}"
    assert experiment.tags == {
        "fmx.kind": "q1",
        "fmx.preset": "report",
        "fmx.state": "running",
        "fmx.tag.demo": "true",
    }
    by_name = tracking.get_experiment_by_name(experiment.name)
    assert by_name is not None
    assert dict(by_name) == dict(experiment)
    assert tracking.get_experiment_by_name(f"second {job_id}") is None
    assert tracking.get_experiment_by_name("nothing") is None
    created = service.get(f"/v1/jobs/{job_id}")["created_at"]
    assert experiment.creation_time is not None
    seconds = time.gmtime(experiment.creation_time / 1000)
    assert created.startswith(time.strftime("%Y-%m-%dT%H:%M:%S", seconds))


def test_experiments_are_filtered_and_paged(tracking: MlflowClient, service: Service) -> None:
    ids = [service.submit(kind=kind, name=kind)["id"] for kind in ("q1", "q3", "q1", "q3", "q1")]
    page = tracking.search_experiments(max_results=2, order_by=["creation_time DESC"])
    seen = list(page)
    while page.token:
        page = tracking.search_experiments(max_results=2, page_token=page.token)
        seen += page
    assert [experiment.experiment_id for experiment in seen] == ids[::-1]
    found = tracking.search_experiments(filter_string="tags.`fmx.kind` = 'q3'", max_results=2)
    assert [experiment.experiment_id for experiment in found] == [ids[3], ids[1]]
    first = tracking.search_experiments(filter_string="name LIKE 'q1 %'", max_results=2)
    assert [experiment.experiment_id for experiment in first] == [ids[4], ids[2]]
    rest = tracking.search_experiments(filter_string="name LIKE 'q1 %'", page_token=first.token)
    assert [experiment.experiment_id for experiment in rest] == [ids[0]]
    assert not rest.token
    found = tracking.search_experiments(filter_string="name LIKE 'q1 %'")
    assert [experiment.experiment_id for experiment in found] == [ids[4], ids[2], ids[0]]
    assert tracking.search_experiments(view_type=ViewType.DELETED_ONLY) == []


def test_a_training_is_a_run(tracking: MlflowClient, job_id: str, service: Service) -> None:
    first, second, third = service.get(f"/v1/jobs/{job_id}/runs")["items"]
    run = tracking.get_run(first["id"])
    assert (run.info.run_name, run.info.experiment_id) == ("seed-0", job_id)
    assert run.info.status == "FINISHED"
    assert run.info.end_time is not None
    assert run.data.params["optimiser.learning_rate"] == "0.25"
    assert run.data.params["dataset"] == "fashion-mnist"
    assert run.data.params["early_stopping.window"] == "20"
    metrics = service.get(f"/v1/runs/{first['id']}/metrics")
    last = dict(zip(metrics["columns"], metrics["rows"][-1], strict=True))
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        assert run.data.metrics[name] == last[name]
    assert run.data.metrics["test_accuracy"] == first["summary"]["test_accuracy"]
    assert run.data.tags["fmx.kind"] == "q1"
    going, waiting = tracking.get_run(second["id"]), tracking.get_run(third["id"])
    assert (going.info.status, waiting.info.status) == ("RUNNING", "SCHEDULED")
    assert going.data.metrics["train_accuracy"] == 3 * 2 / 10
    assert waiting.data.metrics == {}


def test_the_history_of_a_figure(tracking: MlflowClient, job_id: str, service: Service) -> None:
    first = service.get(f"/v1/jobs/{job_id}/runs")["items"][0]
    metrics = service.get(f"/v1/runs/{first['id']}/metrics")
    place = metrics["columns"].index("val_loss")
    history = tracking.get_metric_history(first["id"], "val_loss")
    assert [(point.step, point.value) for point in history] == [
        (row[0], row[place]) for row in metrics["rows"]
    ]
    assert history[1].timestamp - history[0].timestamp == 500
    (tested,) = tracking.get_metric_history(first["id"], "test_accuracy")
    assert (tested.step, tested.value) == (2, first["summary"]["test_accuracy"])
    assert tracking.get_metric_history(first["id"], "nothing") == []
    page = service.get(
        f"{API}/mlflow/metrics/get-history",
        run_id=first["id"], metric_key="val_loss", max_results=1,
    )  # fmt: skip
    assert [point["step"] for point in page["metrics"]] == [1]
    page = service.get(
        f"{API}/mlflow/metrics/get-history",
        run_id=first["id"], metric_key="val_loss", page_token=page["next_page_token"],
    )  # fmt: skip
    assert [point["step"] for point in page["metrics"]] == [2]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["seed-0", "seed-1", "seed-2"]),
        ("metrics.train_accuracy > 0.25", ["seed-1"]),
        ("metrics.train_accuracy <= 0.25", ["seed-0"]),
        ("metrics.train_accuracy>0.1 and metrics.train_accuracy<1e1", ["seed-0", "seed-1"]),
        ("attributes.status = 'FINISHED'", ["seed-0"]),
        ("status IN ('RUNNING', \"SCHEDULED\")", ["seed-1", "seed-2"]),
        ("status NOT IN ('RUNNING')", ["seed-0", "seed-2"]),
        ("params.`optimiser.name` = 'SGD' AND params.seed != '1'", ["seed-0", "seed-2"]),
        ('params."optimiser.learning_rate" = "0.25"', ["seed-0", "seed-1", "seed-2"]),
        ("tags.fmx.kind = 'q1' AND run_name LIKE '%-2'", ["seed-2"]),
        ("tags.`mlflow.runName` ILIKE 'SEED-_'", ["seed-0", "seed-1", "seed-2"]),
        ("attributes.start_time > 0 AND metrics.nothing > 0", []),
        ("params.nothing != 'x'", []),
    ],
)
def test_runs_are_filtered(
    text: str, found: list[str], tracking: MlflowClient, job_id: str
) -> None:
    runs = tracking.search_runs([job_id], filter_string=text, order_by=["run_name"])
    assert names(runs) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("metrics.val_accuracy", "a comparison is wanted at 'metrics.val_accuracy'"),
        ("status = 'FINISHED' OR status = 'FAILED'", 'AND is wanted at "OR status'),
        ("metrics.a > 'x'", "'x' is no number"),
        ("metrics.a LIKE 'x'", "is a number, which LIKE does not compare"),
        ("params.a > '1'", "is a text, which > does not compare"),
        ("params.a = 1", "put it in quotes"),
        ("nothing = 'x'", "there is no attribute 'nothing'; there are run_id"),
        ("foo.bar = 'x'", "keys begin with metrics, params or tags"),
        ("status IN 'x'", "IN is followed by a list"),
        ("status = ('x')", "IN is followed by a list"),
        ("metrics.a IS NULL", "a comparison is wanted"),
        (" AND ".join(["metrics.a > 1"] * 21), "more than 20 comparisons"),
        ("(" * 3000, "a comparison is wanted"),
        ("status IN (" + "a" * 3000, "a comparison is wanted"),
        ("a" * 3900, "a comparison is wanted"),
        ("metrics.`" + "`" * 3000, "a comparison is wanted"),
    ],
)
def test_filters_that_have_no_meaning_here(
    text: str, says: str, tracking: MlflowClient, job_id: str
) -> None:
    started = time.monotonic()
    with pytest.raises(RestException) as caught:
        tracking.search_runs([job_id], filter_string=text)
    assert says in caught.value.message
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert time.monotonic() - started < 5


def test_runs_are_sorted_and_paged(tracking: MlflowClient, job_id: str) -> None:
    falling = tracking.search_runs([job_id], order_by=["metrics.train_accuracy DESC"])
    assert names(falling) == ["seed-1", "seed-0", "seed-2"]
    rising = tracking.search_runs([job_id], order_by=["metrics.train_accuracy ASC", "status"])
    assert names(rising) == ["seed-0", "seed-1", "seed-2"]
    by_state = tracking.search_runs([job_id], order_by=["attributes.status DESC", "run_id"])
    assert names(by_state) == ["seed-2", "seed-1", "seed-0"]
    page = tracking.search_runs([job_id], max_results=2, order_by=["params.seed"])
    assert names(page) == ["seed-0", "seed-1"]
    page = tracking.search_runs(
        [job_id], max_results=2, order_by=["params.seed"], page_token=page.token
    )
    assert names(page) == ["seed-2"]
    assert not page.token
    with pytest.raises(RestException, match="is no key to sort by"):
        tracking.search_runs([job_id], order_by=["run_name SIDEWAYS"])
    with pytest.raises(RestException, match="cursor"):
        tracking.search_runs([job_id], page_token="?")


def test_files_are_listed_and_downloaded(
    tracking: MlflowClient, job_id: str, service: Service, tmp_path: Path
) -> None:
    run_id = service.get(f"/v1/jobs/{job_id}/runs")["items"][0]["id"]
    top = tracking.list_artifacts(run_id)
    assert [(file.path, file.is_dir, file.file_size) for file in top] == [
        ("deeper", True, None),
        ("model.json", False, 2),
    ]
    (deep,) = tracking.list_artifacts(run_id, "deeper")
    assert (deep.path, deep.file_size) == ("deeper/notes.txt", 10)
    assert tracking.list_artifacts(run_id, "model.json") == []
    assert tracking.list_artifacts(run_id, "nothing") == []
    assert tracking.search_logged_models([job_id]) == []
    got = tmp_path / "got"
    got.mkdir()
    whole = Path(tracking.download_artifacts(run_id, "", str(got)))
    assert {str(path.relative_to(whole)): path.read_bytes() for path in whole.rglob("*.*")} == FILES
    with pytest.raises(MlflowException):
        tracking.download_artifacts(run_id, "nothing", str(tmp_path))
    asked = {"run_id": run_id, "path": "deeper"}
    listed = service.client.get(f"{API}/mlflow/artifacts/list", params=asked)
    assert listed.json()["files"] == [
        {"path": "deeper/notes.txt", "is_dir": False, "file_size": 10}
    ]


def test_nothing_is_written(tracking: MlflowClient, job_id: str, service: Service) -> None:
    run_id = service.get(f"/v1/jobs/{job_id}/runs")["items"][0]["id"]
    for write in (
        lambda: tracking.create_experiment("mine"),
        lambda: tracking.create_run(job_id),
        lambda: tracking.log_metric(run_id, "a", 1.0),
        lambda: tracking.log_param(run_id, "a", 1),
        lambda: tracking.set_tag(run_id, "a", "b"),
        lambda: tracking.delete_run(run_id),
        lambda: tracking.delete_experiment(job_id),
        lambda: tracking.rename_experiment(job_id, "other"),
    ):
        with pytest.raises(RestException, match="only reads") as caught:
            write()
        assert caught.value.error_code == "PERMISSION_DENIED"
    answer = service.client.put(f"{API}/mlflow-artifacts/artifacts/{job_id}/x.txt", content=b"x")
    assert answer.status_code == 405
    assert answer.json()["error_code"] == "ENDPOINT_NOT_FOUND"


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("mlflow/experiments/get", {"experiment_id": "0"}, 404),
        ("mlflow/experiments/get", {}, 422),
        ("mlflow/experiments/get", {"experiment_id": "\0" * 26}, 404),
        ("mlflow/experiments/get-by-name", {"experiment_name": ""}, 404),
        ("mlflow/experiments/get-by-name", {"experiment_name": "x" * 601}, 422),
        ("mlflow/runs/get", {"run_id": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"}, 404),
        ("mlflow/runs/get", {"run_id": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "new": "x"}, 404),
        ("mlflow/metrics/get-history", {"run_id": "x"}, 422),
        ("mlflow-artifacts/artifacts", {"path": ""}, 404),
        ("mlflow-artifacts/artifacts", {"path": "../../etc"}, 404),
        ("mlflow-artifacts/artifacts", {"path": "a\0b"}, 404),
        ("mlflow-artifacts/artifacts/%2e%2e/passwd", {}, 404),
        ("mlflow-artifacts/artifacts/x", {}, 404),
        ("mlflow/nothing", {}, 404),
    ],
)
def test_requests_that_have_no_answer(
    path: str, query: dict[str, str], status: int, shared: Service
) -> None:
    answer = shared.client.get(f"{API}/{path}", params=query)
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["message"]
    assert body["error_code"] in {
        "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "ENDPOINT_NOT_FOUND",
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"max_results": 0}',
        b'{"max_results": "many"}',
        b'{"filter": 7}',
        b'{"order_by": "x"}',
        b'{"page_token": "AAAA"}',
        b'{"page_token": "OTk5OTk5OTk5OTk5OTk5OTk5"}',
        b'{"view_type": "NONE", "run_view_type": "NONE"}',
        b'{"experiment_ids": ["\\u0000"], "max_results": -1}',
    ],
)
@pytest.mark.parametrize("what", ["experiments", "runs"])
def test_bodies_that_will_not_do(what: str, body: bytes, shared: Service) -> None:
    headers = {"Content-Type": "application/json"}
    path = f"{API}/mlflow/{what}/search"
    answer = shared.client.post(path, content=body, headers=headers)
    assert answer.status_code in {400, 422}
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


@pytest.fixture
def house(column: Column, tmp_path: Path) -> Generator[Service]:
    settings = column.settings(port=0, keys="required", lease_seconds=600.0)
    with serve(settings, tmp_path) as service:
        yield service


def test_others_see_nothing(house: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bob = make_key(house, "ada"), make_key(house, "bob")
    headers = {"Authorization": f"Bearer {ada}"}
    answer = house.client.post("/v1/jobs", json={"kind": "q1"}, headers=headers)
    job_id = answer.json()["id"]
    runs = house.client.get(f"/v1/jobs/{job_id}/runs", headers=headers).json()["items"]
    tracking = MlflowClient(f"{house.server.url}/mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", ada)
    assert tracking.get_experiment(job_id).experiment_id == job_id
    assert [run.info.user_id for run in tracking.search_runs([job_id])] == ["ada"]
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", bob)
    assert tracking.search_experiments() == []
    assert tracking.search_runs([job_id]) == []
    for look in (
        lambda: tracking.get_experiment(job_id),
        lambda: tracking.get_run(runs[0]["id"]),
        lambda: tracking.get_metric_history(runs[0]["id"], "val_loss"),
    ):
        with pytest.raises(RestException) as caught:
            look()
        assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    with pytest.raises(RestException) as caught:
        tracking.search_experiments()
    assert caught.value.error_code == "UNAUTHENTICATED"


def test_open_queries_of_newer_clients(shared: Service) -> None:
    """What a client of tomorrow sends beside is no error."""
    answer = shared.client.post(f"{API}/mlflow/runs/search", json={"experiment_ids": [], "x": 1})
    assert answer.status_code == httpx.codes.OK
    assert answer.json()["runs"] == []
