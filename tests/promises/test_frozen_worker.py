"""A frozen worker does no harm: another finishes its run, and it writes nothing more."""

import signal
import time

from fleet import Fleet
from sqlmodel import select
from workers import Worker, command_of, is_writable

from fmx_store.tables import Metric

EPOCHS = 80
FROZEN_SECONDS = 8.0  # four leases


def freeze(fleet: Fleet, worker: Worker) -> None:
    """Stops a worker with its pool and trainers' supervisors, but not within a write of SQLite.

    The whole database has one lock there, which a frozen process would keep; a machine that
    freezes takes all processes of that column with it.
    """
    while True:
        worker.send_to_group(signal.SIGSTOP)
        if not fleet.db.is_sqlite or is_writable(fleet.data_dir / "fmx.sqlite3"):
            return
        worker.send_to_group(signal.SIGCONT)
        time.sleep(0.05)


def test_a_frozen_worker_does_no_harm(fleet: Fleet) -> None:
    fleet.start_server()
    frozen = fleet.start_worker()
    job_id = fleet.submit(epochs=EPOCHS)
    fleet.wait_for_epochs(job_id)
    trainers = frozen.trainers()
    freeze(fleet, frozen)
    thaws_at = time.monotonic() + FROZEN_SECONDS
    fleet.start_worker()
    fleet.wait_until(lambda: fleet.runs(job_id)[0]["attempt"] == 2, 20, "a new attempt")
    time.sleep(max(0.0, thaws_at - time.monotonic()))
    frozen.send_to_group(signal.SIGCONT)
    fleet.wait_until(lambda: not any(map(command_of, trainers)), 5, "the old trainer's end")
    assert fleet.wait_for_end(job_id)["state"] == "succeeded"
    [run] = fleet.runs(job_id)
    assert run["attempt"] == 2
    with fleet.db.read() as session:
        written = session.exec(select(Metric.epoch, Metric.attempt)).all()
    assert sorted(written) == [(epoch, 2) for epoch in range(1, EPOCHS + 1)]
    fleet.wait_until(lambda: "its lease is lost" in frozen.text(), 5, "what it says")
    fleet.check()
