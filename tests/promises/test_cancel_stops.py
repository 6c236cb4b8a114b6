"""Cancel means stop: what waits at once, what runs soon, and no process of it is left."""

import time

from fleet import Fleet
from workers import DEAF, command_of, processes_of

QUEUED_SECONDS, RUNNING_SECONDS = 1.0, 5.0
LONG = 4000


def sleepers(fleet: Fleet) -> list[int]:
    """What a deaf trainer has started, in a process of its own."""
    found = processes_of(fleet.data_dir)
    return [pid for pid in found if command_of(pid).startswith("sleep")]


def cancel(fleet: Fleet, job_id: str) -> float:
    """Cancels a job; answers how long it took until it was."""
    began = time.monotonic()
    fleet.client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    fleet.wait_until(lambda: fleet.job(job_id)["state"] == "cancelled", 20, "the cancel")
    return time.monotonic() - began


def test_cancel_means_stop(fleet: Fleet) -> None:
    fleet.start_server()
    worker = fleet.start_worker(stop_seconds=3)
    running = fleet.submit(epochs=LONG)
    fleet.wait_for_epochs(running)
    queued, deaf = fleet.submit(), fleet.submit(ml=DEAF)
    assert cancel(fleet, queued) < QUEUED_SECONDS
    assert cancel(fleet, running) < RUNNING_SECONDS
    assert fleet.epochs(queued) == [[]]

    fleet.wait_until(lambda: sleepers(fleet), 20, "a trainer that is deaf to SIGTERM")
    assert cancel(fleet, deaf) < RUNNING_SECONDS
    assert worker.trainers() == []
    assert sleepers(fleet) == []
    for job_id in (running, queued, deaf):
        assert fleet.job(job_id)["reason"] == "cancelled_by_user"
    assert fleet.wait_for_end(fleet.submit())["state"] == "succeeded", "it takes the next"
    fleet.check()
