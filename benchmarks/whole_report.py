"""What the report's own loop would have taken for the trainings that a record holds.

`python -m benchmarks.whole_report [JOB…]` looks at the finished runs of the record that
FMX_DATA_DIR or FMX_DATABASE_URL names, such as those of `make report`, or of those jobs alone, and
at how long they took from the first submission to the last end. Of each different network, batch
size and optimiser a small share of an epoch is timed in the report's loop, on all threads; its
steps are scaled to the pictures and epochs that were trained, and so is what it validates. Run it
where the report ran, with nothing beside it.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from sqlmodel import col, select

from benchmarks.dataset import unpack
from benchmarks.report_loop import Loop, Report
from fmx_ml.data.sources import DataSources
from fmx_ml.trainings import (
    AutoencoderTraining,
    CnnTraining,
    MlpTraining,
    Training,
    TrialTraining,
    parse_training,
)
from fmx_store.database import Database
from fmx_store.settings import get_settings
from fmx_store.states import State
from fmx_store.tables import Job, Run

ROUNDS = 3
MIN_STEPS = 60  # of an epoch that are timed: the shortest epoch here has 118

Key = tuple[str, ...]


@dataclass(frozen=True)
class Trained:
    """A finished training: its question, and the epochs that it took."""

    kind: str
    training: Training
    epochs: int


@dataclass(frozen=True)
class Epoch:
    """Seconds of an epoch in the report's loop: steps over all pictures, and what is watched."""

    steps: float
    watching: float

    def of(self, trained: Trained) -> float:
        """Of all epochs of a training, with its share of the pictures."""
        percent = getattr(trained.training, "fraction_percent", 100)
        return trained.epochs * (self.steps * percent / 100 + self.watching)


def main() -> int:
    """Prints a line a question, and the whole; answers the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.whole_report",
        description="What the report's own loop would have taken for a record's trainings.",
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of which the median counts")
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="ids of the jobs [all]")
    options = parser.parse_args()
    settings = get_settings()
    db = Database(settings.database)
    trained, seconds = read_record(db, options.jobs)
    db.close()
    if not trained:
        print("the record has no finished training", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        unpack(Path(name), DataSources(settings.dataset_dir, settings.cache_dir))
        epochs = time_epochs(Report(Path(name)), trained, options.rounds)
    tell(trained, epochs, seconds)
    return 0


def read_record(db: Database, jobs: Sequence[str]) -> tuple[list[Trained], float]:
    """Finished trainings of those jobs, or of all; seconds from the first submission to the end."""
    query = select(Job.kind, Run.training, Run.epochs_done).join(Job, col(Job.id) == Run.job_id)
    asked = [col(Job.id).in_(jobs)] if jobs else []
    with db.read() as session:
        rows = session.exec(
            query.where(
                col(Run.training).is_not(None),
                col(Run.reused_from).is_(None),
                Run.state == State.SUCCEEDED,
                *asked,
            )
        ).all()
        times = session.exec(select(Job.created_at, Job.finished_at).where(*asked)).all()
    trained = [Trained(kind, parse_training(training), done) for kind, training, done in rows]
    return trained, span([(begun, ended) for begun, ended in times if ended is not None])


def span(times: Iterable[tuple[datetime, datetime]]) -> float:
    """Seconds from the first beginning to the last end; 0 where there is none."""
    known = list(times)
    if not known:
        return 0.0
    return (max(end for _, end in known) - min(begin for begin, _ in known)).total_seconds()


def key_of(training: Training) -> Key:
    """What an epoch's seconds depend on, but for the share of the pictures."""
    if isinstance(training, TrialTraining):
        raise TypeError("the report's loop knows no search")
    transfer = training.transfer if isinstance(training, CnnTraining) else None
    learns = transfer.trained if transfer else "all_layers"
    model = training.model.model_dump_json()
    return (training.task, model, training.optimiser.name, str(training.batch_size), learns)


def time_epochs(report: Report, trained: Iterable[Trained], rounds: int) -> dict[Key, Epoch]:
    """An epoch of each different training: medians, all of them in turn."""
    loops = {key_of(each.training): loop_of(report, each.training) for each in trained}
    taken: dict[Key, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        for key, loop in loops.items():
            taken[key].append(loop.time_epoch(min(1.0, MIN_STEPS / len(loop.train))))
    return {
        key: Epoch(*(median(part) for part in zip(*times, strict=True)))
        for key, times in taken.items()
    }


def loop_of(report: Report, training: Training) -> Loop:
    """The report's loop for a training."""
    match training:
        case CnnTraining():
            return report.cnn(training)
        case MlpTraining():
            return report.mlp(training)
        case AutoencoderTraining():
            return report.autoencoder(training)
        case TrialTraining():
            raise TypeError("the report's loop knows no search")


def tell(trained: Iterable[Trained], epochs: Mapping[Key, Epoch], seconds: float) -> None:
    """Prints what each question would have taken."""
    loops: dict[str, list[float]] = defaultdict(list)
    for each in trained:
        loops[each.kind].append(epochs[key_of(each.training)].of(each))
    for kind in sorted(loops):
        print(f"{kind}: {len(loops[kind])} trainings, {sum(loops[kind]) / 60:.1f} min in the loop")
    total = sum(map(sum, loops.values()))
    print(f"all: {total / 3600:.2f} h in the loop, {seconds / 60:.1f} min here, tables included")
    print(f"ratio: {total / seconds:.1f}" if seconds else "no job has ended")


if __name__ == "__main__":
    sys.exit(main())
