"""An accepted job is never lost: server, workers and broker are killed together."""

import shutil
from collections.abc import Callable, Generator
from contextlib import ExitStack

import pytest
from fleet import Fleet, running_fleet
from services import Column, free_port, run_redis
from workers import LINGERS_ONCE

RUNNING, QUEUED_JOBS, QUEUED_A_JOB = 20, 10, 10
SEEDS = 24  # of the first job: the last claim, too, takes a whole pack and leaves some behind


@pytest.fixture
def lose_broker(column: Column) -> Generator[Callable[[], None]]:
    """Kills a broker of this test's own with all it holds, and starts it again, empty."""
    if column.name == "embedded":
        broker = column.settings().broker_dir
        yield lambda: shutil.rmtree(broker)
        return
    port = free_port()
    column.environment["FMX_BROKER_URL"] = f"redis://127.0.0.1:{port}/0"
    with ExitStack() as stack:
        servers = [stack.enter_context(run_redis(port))]

        def lose() -> None:
            servers[-1].process.kill()
            servers[-1].process.wait()
            servers.append(stack.enter_context(run_redis(port)))

        yield lose


def start(fleet: Fleet) -> None:
    """A server and two workers, of two packs of five each."""
    fleet.start_server()
    for _ in range(2):
        fleet.start_worker(worker_concurrency=2, worker_pack=5)


def test_an_accepted_job_is_never_lost(column: Column, lose_broker: Callable[[], None]) -> None:
    with running_fleet(column, lease_seconds=3) as fleet:
        start(fleet)
        first = fleet.submit(ml=LINGERS_ONCE, seeds=SEEDS, epochs=30)
        for _ in range(QUEUED_JOBS):
            fleet.submit(seeds=QUEUED_A_JOB, epochs=3)
        fleet.wait_until(lambda: count(fleet, "running") == RUNNING, 60, "20 running")
        assert count(fleet, "queued") == SEEDS - RUNNING + QUEUED_JOBS * QUEUED_A_JOB

        fleet.kill_server()
        fleet.kill_workers()
        lose_broker()
        fleet.wait_until(lambda: not fleet.trainers(), 5, "the trainers' end")
        start(fleet)

        assert fleet.wait_for_all(100) == ["succeeded"] * (1 + QUEUED_JOBS)
        attempts = [run["attempt"] for run in fleet.runs(first)]
        assert sorted(attempts) == [1] * (SEEDS - RUNNING) + [2] * RUNNING
        for job_id in fleet.accepted[1:]:
            assert {run["attempt"] for run in fleet.runs(job_id)} == {1}
        fleet.check()


def count(fleet: Fleet, state: str) -> int:
    """Runs of all jobs that are in a state."""
    items = fleet.get("/v1/jobs", limit=50)["items"]
    return sum(job["runs"][state] for job in items)
