"""A job of five hundred runs with hundreds of epochs each, written without training."""

import math
import random

from sqlmodel import col, insert, select, update

from fmx_ml.requests import parse_request
from fmx_store import jobs
from fmx_store.database import Database
from fmx_store.states import Role, State
from fmx_store.tables import Job, Metric, Run

GRID = {
    "batch_size": [50, 100, 200, 400, 800],
    "learning_rate": [0.001, 0.002, 0.005, 0.01, 0.02],
    "dense_layers": [1, 2],
    "conv_layers": [1, 2],
    "dropout": [0.0, 0.1, 0.2, 0.3, 0.4],
}
NUM_RUNS = 500
SUMMARY = {"val_accuracy": 0.9, "test_accuracy": 0.89, "best_epoch": 400, "device": "cpu"}


def seed_epochs(db: Database, num_epochs: int) -> str:
    """A finished q2 whose runs have so many epochs each; its id."""
    spec = {"max_epochs": num_epochs, "grid": GRID}
    request = parse_request({"kind": "q2", "name": "grid of 500", "tags": ["big"], "spec": spec})
    job = jobs.submit(db, request, 1000).job
    draw = random.Random(0)  # noqa: S311 - no secret
    with db.write() as session:
        mine = (col(Run.job_id) == job.id, col(Run.role) == Role.TRAINING)
        ids = session.exec(select(Run.id).where(*mine).order_by(col(Run.position))).all()
        assert len(ids) == NUM_RUNS
        for run_id in ids:
            session.exec(insert(Metric), params=_draw_epochs(run_id, num_epochs, draw))
        done = {"epochs_done": num_epochs, "epochs_total": num_epochs, "attempt": 1}
        ended = {"state": State.SUCCEEDED, "summary": SUMMARY, "seconds_per_epoch": 0.5}
        session.exec(update(Run).where(*mine).values(**done, **ended))
        session.exec(update(Job).where(col(Job.id) == job.id).values(state=State.SUCCEEDED))
    return job.id


def _draw_epochs(run_id: str, num_epochs: int, draw: random.Random) -> list[dict[str, object]]:
    """Falling losses and rising accuracies, of a pace and an end of their own."""
    pace, end = draw.uniform(0.01, 0.06), draw.uniform(0.02, 0.2)
    rows: list[dict[str, object]] = []
    for number in range(1, num_epochs + 1):
        left = math.exp(-pace * number) * draw.uniform(0.95, 1.05)
        figures = {"train_loss": 0.6 * end + 1.4 * left, "train_accuracy": 1 - 0.6 * (end + left)}
        figures |= {"val_loss": end + 1.3 * left, "val_accuracy": 1 - end - 0.6 * left}
        rows.append({"run_id": run_id, "epoch": number, "attempt": 1, "seconds": 0.5, **figures})
    return rows
