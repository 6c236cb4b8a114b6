"""A server and workers on hosts that share nothing but PostgreSQL, Redis and the store of files."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hosts import Host, make_hosts
from services import Column
from stack import Process, job_of, running, submit, wait_for_end, wait_until

NUM_SEEDS = 4
END_SECONDS = 400  # of a job, on a machine that does much else
SPEC = {"dataset": "synthetic", "batch_size": 500, "max_epochs": 2}
# A machine that does much else makes a worker fall silent, which is not what is tested here.
QUICK = {"lease_seconds": 10, "dispatch_seconds": 1, "max_crashes": 50, "port": 0}

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]


@pytest.fixture(params=["folder", "s3"])
def shared(
    request: pytest.FixtureRequest, engines_column: Column, tmp_path: Path
) -> dict[str, str]:
    """The variables of what all share: database, broker and store."""
    environment = {n: t for n, t in engines_column.environment.items() if n != "FMX_DATA_DIR"}
    if request.param == "s3":
        return environment | request.getfixturevalue("s3_storage")
    return environment | {"FMX_STORAGE_URL": (tmp_path / "store").as_uri()}


@contextmanager
def start_worker(host: Host, folder: Path, shared: dict[str, str]) -> Generator[Process]:
    """A worker on a host, with a data folder of its own, one run at a time."""
    column = Column(host.name, {**host.seen_from(shared), "FMX_DATA_DIR": str(folder / host.name)})
    environment = column.process_environment(
        **QUICK, worker_device="cpu", worker_threads=1, worker_pack=1
    )
    with running(["worker"], environment, host.place) as worker:
        worker.wait_for(r" ready\.")
        yield worker


@contextmanager
def start_server(folder: Path, shared: dict[str, str]) -> Generator[httpx.Client]:
    environment = Column("server", {**shared, "FMX_DATA_DIR": str(folder / "server")})
    with running(["api"], environment.process_environment(**QUICK)) as api:
        url = api.wait_for(r"listens on (http://\S+)")[1]
        with httpx.Client(base_url=url, timeout=30) as client:
            yield client


def trained_by(worker: Process, client: httpx.Client, job_id: str) -> set[str]:
    """Which runs of a job a worker has begun, as it says itself."""
    runs = {run["id"] for run in client.get(f"/v1/jobs/{job_id}/runs").json()["items"]}
    said = [line for line in list(worker.lines) if "begins" in line]
    return {run_id for run_id in runs if any(run_id in line for line in said)}


def weights_of(client: httpx.Client, job_id: str) -> dict[str, str]:
    """The checksum of each run's weights."""
    items = client.get(f"/v1/jobs/{job_id}/artifacts?limit=200").raise_for_status().json()["items"]
    return {i["path"]: i["sha256"] for i in items if i["path"].endswith("model.safetensors")}


def can_reach(host: Host, address: str, port: int) -> bool:
    code = f"import socket; socket.create_connection(({address!r}, {port}), timeout=2)"
    command = [*host.place, sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def check_the_hosts_are_apart(hosts: list[Host], client: httpx.Client) -> None:
    """They reach the engines; not the server, and not each other."""
    port = client.base_url.port
    assert port is not None
    for host in hosts:
        assert host.is_apart != can_reach(host, "127.0.0.1", port)
        assert not (host.is_apart and can_reach(host, host.reach, port))


def test_two_workers_that_share_no_folder_do_a_job_together(
    shared: dict[str, str], tmp_path: Path
) -> None:
    urls = [text for name, text in shared.items() if name.endswith(("URL", "ENDPOINT"))]
    with ExitStack() as stack:
        hosts = stack.enter_context(make_hosts(2, urls))
        client = stack.enter_context(start_server(tmp_path, shared))
        check_the_hosts_are_apart(hosts, client)
        first = stack.enter_context(start_worker(hosts[0], tmp_path, shared))
        with start_worker(hosts[1], tmp_path, shared) as second:
            together = train(client)
            parts = [trained_by(worker, client, together) for worker in (first, second)]
            assert all(parts), "both take part"
            assert len(parts[0] | parts[1]) == NUM_SEEDS
            check_predictions(client, together)
        alone = train(client)
        assert len(trained_by(first, client, alone)) == NUM_SEEDS
        assert weights_of(client, alone) == weights_of(client, together), "to the last bit"
        assert len(weights_of(client, alone)) == NUM_SEEDS


def test_what_a_lost_host_was_training_goes_on_elsewhere(
    shared: dict[str, str], tmp_path: Path
) -> None:
    """Its network is gone with it: nobody can tell it, and nothing of it can tell anybody."""
    urls = [text for name, text in shared.items() if name.endswith(("URL", "ENDPOINT"))]
    with ExitStack() as stack:
        lost, other = stack.enter_context(make_hosts(2, urls))
        if not lost.is_apart:
            pytest.skip("no network can be cut here: namespaces can't be made")
        client = stack.enter_context(start_server(tmp_path, shared))
        stack.enter_context(start_worker(lost, tmp_path, shared))
        job_id = submit(client, spec={**SPEC, "max_epochs": 20})
        wait_until(lambda: job_of(client, job_id)["progress"]["completed"] > 0, END_SECONDS)
        subprocess.run(["ip", "-n", lost.name, "link", "set", "out", "down"], check=True)
        stack.enter_context(start_worker(other, tmp_path, shared))
        assert wait_for_end(client, job_id, END_SECONDS)["state"] == "succeeded"
        (run,) = client.get(f"/v1/jobs/{job_id}/runs").json()["items"]
        assert run["attempt"] >= 2
        metrics: dict[str, Any] = client.get(f"/v1/runs/{run['id']}/metrics").json()
        assert [row[0] for row in metrics["rows"]] == list(range(1, len(metrics["rows"]) + 1))


def train(client: httpx.Client) -> str:
    """A job of several runs, done."""
    job_id = submit(client, spec={**SPEC, "seeds": list(range(NUM_SEEDS))})
    body = wait_for_end(client, job_id, END_SECONDS)
    assert (body["state"], len(body["models"])) == ("succeeded", NUM_SEEDS), body
    results = client.get(f"/v1/jobs/{job_id}/results").raise_for_status().json()
    assert {c["ours"]["n"] for c in results["comparisons"] if c["ours"]} == {NUM_SEEDS}
    return job_id


def check_predictions(client: httpx.Client, job_id: str) -> None:
    """The server, which has trained nothing, predicts with every model."""
    for model in job_of(client, job_id)["models"]:
        answer = client.post(f"/v1/models/{model}/predict", json={"test_rows": [0, 1]})
        assert len(answer.raise_for_status().json()["predictions"]) == 2
