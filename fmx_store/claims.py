"""Who owns a run: claim, progress, finish, hand back, take back.

A claim raises the run's attempt number, the fencing token. Every write shows it, and a write
whose token is no longer the run's raises LeaseLostError and leaves nothing behind. A claim may
take a pack, several runs of a job that train together; each has its own token all the same.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, tuple_
from sqlmodel import Session, col, delete, select, update

from fmx_ml.sinks import EpochMetrics
from fmx_store.checkpoints import StoredCheckpoint, begin_again
from fmx_store.database import Database
from fmx_store.errors import LeaseLostError
from fmx_store.kin import find_kin
from fmx_store.lifecycle import LIGHT, get_locked, move_job, move_run, note, requeue, settle
from fmx_store.progress import Progress, write_progress
from fmx_store.states import ACTIVE, Reason, Role, State
from fmx_store.tables import Artifact, Job, Model, Run
from fmx_store.texts import storable

CLAIM_LOCK = 0x666D78  # PostgreSQL's advisory lock that makes claims take turns: "fmx"
MAX_MESSAGE = 4_000  # characters of an error's message, from its beginning
MAX_TRACEBACK = 20_000  # characters of a traceback, from its end
MAX_WORKER = 200


@dataclass(frozen=True)
class Lease:
    """What a worker holds of a run: its id and the token of this attempt."""

    run_id: str
    job_id: str
    attempt: int


@dataclass(frozen=True)
class Claim:
    """A run that was claimed, as it was then, the job it belongs to, and what it can go on from."""

    lease: Lease
    job: Job
    run: Run
    checkpoints: Sequence[StoredCheckpoint] = ()  # the newest first


@dataclass(frozen=True)
class StagedFile:
    """A stored file that will become an artifact of its run."""

    path: str
    sha256: str
    size_bytes: int
    media_type: str


@dataclass(frozen=True)
class Success:
    """How a run ended well.

    `results` is what a collation made; `model` asks for the model's row of a training.
    """

    summary: dict[str, Any] = field(default_factory=dict[str, Any])
    files: Sequence[StagedFile] = ()
    model: bool = False
    results: dict[str, Any] | None = None


@dataclass(frozen=True)
class Failure:
    """How a run ended badly; the files are its log, and whatever else it left."""

    reason: Reason
    code: str
    message: str
    traceback: str | None = None
    files: Sequence[StagedFile] = ()


@dataclass(frozen=True)
class Heartbeat:
    """An active run's token and counter, as a reaper watches them."""

    run_id: str
    job_id: str
    attempt: int
    beat: int


def claim(db: Database, worker: str, devices: Sequence[str]) -> Claim | None:
    """The most urgent due run that one of `devices` can do: by priority, then age.

    None where nothing is due. Any number of workers may call this at once; each run goes to one.
    """
    pack = claim_pack(db, worker, devices, lambda _: 1)
    return pack[0] if pack else None


def claim_pack(
    db: Database,
    worker: str,
    devices: Sequence[str],
    most: Callable[[Run], int],
    num_shares: int = 1,
) -> list[Claim]:
    """What `claim` gives, and with it due runs of its job that may train together with it.

    At most as many as `most` says of the first, and no more than leave each of `num_shares`
    claims its part. A run whose process has crashed is alone: if it is to blame, it takes no
    others down again.
    """
    while _is_due(db, devices):
        with db.write() as session:
            claimed = _claim(session, worker, devices, most, num_shares)
        if claimed:
            return claimed
    return []


def _first_due(session: Session, devices: Sequence[str]) -> tuple[str, str] | None:
    """Ids of the run to be claimed next and of its job."""
    due = (
        select(Run.id, Run.job_id)
        .where(Run.state == State.QUEUED, Run.waiting_for == 0, col(Run.device).in_(devices))
        .order_by(col(Run.priority).desc(), col(Run.job_id), col(Run.position))
        .limit(1)
    )
    return session.exec(due).first()


def _is_due(db: Database, devices: Sequence[str]) -> bool:
    """Whether a claim may find something: most messages too many end here, with no lock taken."""
    with db.read() as session:
        return _first_due(session, devices) is not None


def _claim(
    session: Session,
    worker: str,
    devices: Sequence[str],
    most: Callable[[Run], int],
    num_shares: int,
) -> list[Claim]:
    """Claims the first due run; none where it was cancelled or removed while we looked.

    Claims take turns, so that each sees what the one before left, and then lock as everyone does,
    the job before its run: passing over locked rows instead would take a less urgent run, or
    none, whenever a job's progress is being written.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.exec(select(func.pg_advisory_xact_lock(CLAIM_LOCK)))
    first = _first_due(session, devices)
    if first is None:
        return []
    run_id, job_id = first
    job = get_locked(session, Job, job_id)
    run = get_locked(session, Run, run_id)
    if job is None or run is None or run.state is not State.QUEUED or run.waiting_for > 0:
        return []
    pack = [run, *find_kin(session, run, most(run), num_shares)]
    found = begin_again(session, pack)
    return [_begin(session, job, run, worker, found.get(run.id, ())) for run in pack]


def _begin(
    session: Session, job: Job, run: Run, worker: str, found: Sequence[StoredCheckpoint]
) -> Claim:
    run.attempt += 1
    run.beat = run.log_end = 0
    run.epochs_done = found[0].epoch if found else 0
    run.seconds_per_epoch = None
    run.worker = worker[:MAX_WORKER]
    if job.state is State.QUEUED:
        move_job(session, job, State.RUNNING)
    move_run(session, job, run, State.RUNNING)
    if run.attempt > 1 and run.role is Role.TRAINING:  # what was told of later epochs is void
        note(session, job, "rewound", run, epoch=run.epochs_done)
    run.phase = "starting"
    lease = Lease(run_id=run.id, job_id=run.job_id, attempt=run.attempt)
    return Claim(lease=lease, job=job, run=run, checkpoints=tuple(found))


def hold(session: Session, lease: Lease) -> tuple[Job, Run]:
    """The job and the run of a lease, both locked. Raises LeaseLostError where it is lost."""
    job = get_locked(session, Job, lease.job_id)
    run = get_locked(session, Run, lease.run_id)
    if job is None or run is None or run.attempt != lease.attempt or run.state not in ACTIVE:
        raise LeaseLostError(lease.run_id, lease.attempt)
    return job, run


def beat(db: Database, lease: Lease) -> State:
    """Renews the lease; answers RUNNING, or CANCELLING where the run should stop."""
    return _require(beat_all(db, [lease]), lease)


def beat_all(db: Database, leases: Sequence[Lease]) -> dict[Lease, State]:
    """Renews leases of one job; answers the states of those that are not lost."""
    with db.write() as session:
        # One row can't be half of a deadlock, several can.
        if len(leases) > 1 and get_locked(session, Job, leases[0].job_id) is None:
            return {}
        tokens = (col(Run.id), col(Run.attempt), col(Run.state))
        renewed = update(Run).where(_are_held(leases)).values(beat=Run.beat + 1).returning(*tokens)
        rows = session.exec(renewed).all()
    return _by_lease(leases, rows)


def look_at(db: Database, leases: Sequence[Lease]) -> dict[Lease, State]:
    """The states of the runs whose leases are not lost."""
    with db.read() as session:
        query = select(Run.id, Run.attempt, Run.state).where(_are_held(leases))
        rows = session.exec(query).all()
    return _by_lease(leases, rows)


def _are_held(leases: Iterable[Lease]) -> Any:
    tokens = [(lease.run_id, lease.attempt) for lease in leases]
    return tuple_(col(Run.id), col(Run.attempt)).in_(tokens) & col(Run.state).in_(ACTIVE)


def _by_lease(leases: Iterable[Lease], rows: Iterable[tuple[str, int, str]]) -> dict[Lease, State]:
    by_token = {(lease.run_id, lease.attempt): lease for lease in leases}
    return {by_token[run_id, attempt]: State(state) for run_id, attempt, state in rows}


def record_progress(
    db: Database,
    lease: Lease,
    epochs: Sequence[EpochMetrics] = (),
    *,
    phase: str | None = None,
) -> State:
    """Writes epochs and the phase under the token, and renews the lease.

    Writing an epoch twice leaves what was written last, so a caller may repeat what it is not sure
    of. A figure that is not finite is written as none.
    """
    return _require(record_all(db, {lease: Progress(epochs, phase)}), lease)


def record_all(db: Database, progress: Mapping[Lease, Progress]) -> dict[Lease, State]:
    """`record_progress` of runs of one job, at once; answers the states of those that are held.

    Nothing is written of a run whose lease is lost.
    """
    leases = list(progress)
    with db.write() as session:
        job = get_locked(session, Job, leases[0].job_id)
        query = select(Run).where(_are_held(leases)).order_by(col(Run.id)).options(*LIGHT)
        locked = query.with_for_update().execution_options(populate_existing=True)
        runs = {(run.id, run.attempt): run for run in session.exec(locked)}
        told = {
            lease: (runs[lease.run_id, lease.attempt], each)
            for lease, each in progress.items()
            if (lease.run_id, lease.attempt) in runs
        }
        if job is None or not told:
            return {}
        write_progress(session, job, list(told.values()))
        return {lease: run.state for lease, (run, _) in told.items()}


def _require(states: Mapping[Lease, State], lease: Lease) -> State:
    if lease not in states:
        raise LeaseLostError(lease.run_id, lease.attempt)
    return states[lease]


def finish(db: Database, lease: Lease, outcome: Success | Failure) -> State:
    """Ends a run, publishes its files and settles its job; answers the state it ended in.

    A run that was being cancelled ends as cancelled, whatever its outcome.
    """
    with db.write() as session:
        job, run = hold(session, lease)
        session.exec(delete(Artifact).where(col(Artifact.run_id) == run.id))
        for file in outcome.files:
            session.add(Artifact(job_id=job.id, run_id=run.id, **vars(file)))
        session.flush()
        if outcome.files:
            note(session, job, "artifacts", run, paths=[file.path for file in outcome.files])
        if run.state is State.CANCELLING:
            move_run(session, job, run, State.CANCELLED, Reason.CANCELLED_BY_USER)
        elif isinstance(outcome, Success):
            _succeed(session, job, run, outcome)
        else:
            error = {"code": outcome.code, "message": storable(outcome.message)[:MAX_MESSAGE]}
            if outcome.traceback:
                error["traceback"] = storable(outcome.traceback)[-MAX_TRACEBACK:]
            move_run(session, job, run, State.FAILED, outcome.reason, error)
        settle(session, job)
        return run.state


def _succeed(session: Session, job: Job, run: Run, outcome: Success) -> None:
    run.summary = outcome.summary
    run.epochs_total = run.epochs_done
    if run.role is Role.COLLATION:
        job.results = outcome.results
    if outcome.model:
        session.add(
            Model(
                run_id=run.id,
                job_id=job.id,
                owner=job.owner,
                kind=job.kind,
                run_name=run.name,
                dataset=job.spec["dataset"],
                val_accuracy=outcome.summary.get("val_accuracy"),
                test_accuracy=outcome.summary.get("test_accuracy"),
            )
        )
    move_run(session, job, run, State.SUCCEEDED)


def hand_back(db: Database, lease: Lease) -> State:
    """Puts a run back to the queue because its worker stops; this is no crash."""
    with db.write() as session:
        job, run = hold(session, lease)
        return _give_up(session, job, run)


def report_crash(db: Database, lease: Lease, message: str, max_crashes: int) -> State:
    """Counts a crash of the run's process: back to the queue, or failed after too many."""
    with db.write() as session:
        job, run = hold(session, lease)
        return _crash(session, job, run, message, max_crashes)


def active(db: Database) -> list[Heartbeat]:
    """Every run that a worker holds."""
    with db.read() as session:
        columns = select(Run.id, Run.job_id, Run.attempt, Run.beat)
        return [Heartbeat(*row) for row in session.exec(columns.where(col(Run.state).in_(ACTIVE)))]


def try_writing(db: Database) -> None:
    """Writes what is there already. Raises what a heartbeat would."""
    any_active = select(Run.id).where(col(Run.state).in_(ACTIVE)).limit(1).scalar_subquery()
    with db.write() as session:
        session.exec(update(Run).where(col(Run.id) == any_active).values(beat=Run.beat))


def take_back(db: Database, seen: Heartbeat, max_crashes: int) -> bool:
    """Takes a run from a worker that fell silent; False where it has moved since it was seen."""
    lease = Lease(run_id=seen.run_id, job_id=seen.job_id, attempt=seen.attempt)
    try:
        with db.write() as session:
            job, run = hold(session, lease)
            if run.beat != seen.beat:
                return False
            _crash(session, job, run, f"worker {run.worker} fell silent", max_crashes)
    except LeaseLostError:
        return False
    return True


def _crash(session: Session, job: Job, run: Run, message: str, max_crashes: int) -> State:
    run.crashes += 1
    if run.state is State.RUNNING and run.crashes >= max_crashes:
        said = storable(message)[:MAX_MESSAGE]
        error = {"code": "worker_lost", "message": f"{said} ({run.crashes} times)"}
        move_run(session, job, run, State.FAILED, Reason.WORKER_LOST, error)
        settle(session, job)
        return run.state
    return _give_up(session, job, run)


def _give_up(session: Session, job: Job, run: Run) -> State:
    if run.state is State.CANCELLING:
        move_run(session, job, run, State.CANCELLED, Reason.CANCELLED_BY_USER)
        settle(session, job)
    else:
        requeue(session, job, run)
    return run.state
