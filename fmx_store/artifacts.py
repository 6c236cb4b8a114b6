"""Artifacts: files staged under a lease, stored by contents, and collected when unused.

A blob's row comes before its bytes and its bytes go before its row. A pin keeps a staged blob
until the attempt that staged it commits or ends.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, collate
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel, col, delete, exists, select

from fmx_store.blobs import BlobStore, digest
from fmx_store.claims import Lease, StagedFile, hold
from fmx_store.database import Database
from fmx_store.errors import NotFoundError
from fmx_store.ids import is_id
from fmx_store.pages import Page, decode_path, make_page
from fmx_store.states import Role
from fmx_store.tables import Artifact, Blob, Job, Pin, Run, now, table_of
from fmx_store.texts import is_storable
from fmx_store.viewers import Record, only_seen

STAGE_TRIES = 5  # a blob's row may come or go between our look and our pin
COLLECT_AT_ONCE = 100  # blobs in one transaction
SWEEP_AGE_SECONDS = 600  # a blob unused for this long belongs to no one who is about to pin it

HOLD_SECONDS = 3.0  # of a collection's transaction, which a database ends when it is silent for 10

# Every column that names a blob is a foreign key, by which the database keeps what it names. So a
# table that is added needs nothing here.
BLOB_REFERENCES: Sequence[ColumnElement[str]] = tuple(
    column
    for table in SQLModel.metadata.sorted_tables
    for column in table.columns
    if any(key.references(table_of(Blob)) for key in column.foreign_keys)
)
UNUSED: Sequence[ColumnElement[bool]] = tuple(
    ~exists().where(column == Blob.sha256) for column in BLOB_REFERENCES
)

_MEDIA_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".onnx": "application/octet-stream",
    ".png": "image/png",
    ".safetensors": "application/octet-stream",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


def media_type_of(path: str) -> str:
    """The media type that a file's ending stands for, whatever this machine has other ones for."""
    return _MEDIA_TYPES.get(Path(path).suffix, "application/octet-stream")


def stage(
    db: Database, blobs: BlobStore, lease: Lease, files: Mapping[str, Path]
) -> list[StagedFile]:
    """Stores files (artifact path: local file) for a lease that will publish them by `finish`.

    Raises LeaseLostError, BlobError where a file changes meanwhile, StorageUnavailableError where
    the store does not work, OSError where it is full.
    """
    staged: list[StagedFile] = []
    sources: dict[str, Path] = {}
    for path, source in files.items():
        sha256, size_bytes = digest(source)
        staged.append(StagedFile(path, sha256, size_bytes, media_type_of(path)))
        sources[sha256] = source
    _pin(db, lease, {file.sha256: file.size_bytes for file in staged})
    for sha256, source in sources.items():
        blobs.put(source, sha256)
    return staged


def _pin(db: Database, lease: Lease, sizes: Mapping[str, int]) -> None:
    for tries_left in reversed(range(STAGE_TRIES)):
        try:
            with db.write() as session:
                _, run = hold(session, lease)
                _pin_once(session, run, sizes)
        except IntegrityError:
            if tries_left == 0:
                raise
        else:
            return


def _pin_once(session: Session, run: Run, sizes: Mapping[str, int]) -> None:
    known = set(session.exec(select(Blob.sha256).where(col(Blob.sha256).in_(sizes))))
    # Always in the order of digests, so that no two who pin the same files wait for each other.
    for sha256 in sorted(sizes.keys() - known):
        session.add(Blob(sha256=sha256, size_bytes=sizes[sha256]))
    session.flush()
    mine = (Pin.run_id == run.id, Pin.attempt == run.attempt)
    pinned = set(session.exec(select(Pin.sha256).where(*mine)))
    for sha256 in sorted(sizes.keys() - pinned):
        session.add(Pin(sha256=sha256, run_id=run.id, attempt=run.attempt))


def list_artifacts(db: Record, job_id: str) -> Sequence[Artifact]:
    """The job's artifacts by path. Raises NotFoundError where there is no such job."""
    with db.read() as session:
        _require_job(db, session, job_id)
        query = select(Artifact).where(Artifact.job_id == job_id)
        return session.exec(query.order_by(_by_path(db))).all()


def page_artifacts(
    db: Record, job_id: str, *, limit: int, cursor: str | None = None
) -> Page[tuple[Artifact, str | None]]:
    """Some of the job's artifacts by path, each with the name of the training that left it.

    What the collation left has no such name. Raises NotFoundError, CursorError.
    """
    by_path = _by_path(db)
    query = (
        select(Artifact, Run.name, Run.role)
        .join(Run, col(Run.id) == col(Artifact.run_id))
        .where(Artifact.job_id == job_id)
        .order_by(by_path)
        .limit(limit + 1)
    )
    if cursor is not None:
        query = query.where(by_path > decode_path(cursor))
    with db.read() as session:
        _require_job(db, session, job_id)
        found = [
            (artifact, name if role is Role.TRAINING else None)
            for artifact, name, role in session.exec(query)
        ]
    return make_page(found, limit, lambda item: item[0].path)


def _require_job(record: Record, session: Session, job_id: str) -> None:
    known = select(Job.id).where(Job.id == job_id, *only_seen(record, col(Job.owner)))
    if not is_id(job_id) or session.exec(known).first() is None:
        raise NotFoundError("job", job_id)


def _by_path(db: Record) -> ColumnElement[str]:
    """Paths by their bytes: databases order text by rules of their own, if they are not told."""
    return collate(col(Artifact.path), "BINARY" if db.is_sqlite else "C")


def require_artifact(db: Record, job_id: str, path: str) -> Artifact:
    """One artifact of a job. Raises NotFoundError."""
    query = select(Artifact).join(Job, col(Job.id) == col(Artifact.job_id))
    query = query.where(Artifact.job_id == job_id, Artifact.path == path)
    with db.read() as session:
        named = is_id(job_id) and is_storable(path)
        shown = query.where(*only_seen(db, col(Job.owner)))
        artifact = session.exec(shown).first() if named else None
    if artifact is None:
        raise NotFoundError("artifact", path)
    return artifact


def artifacts_of_run(db: Database, run_id: str) -> dict[str, Artifact]:
    """A run's artifacts by their path within the run (without its name)."""
    return artifacts_of_runs(db, [run_id])[run_id] if is_id(run_id) else {}


def artifacts_of_runs(db: Database, run_ids: Sequence[str]) -> dict[str, dict[str, Artifact]]:
    """`artifacts_of_run` of many runs in one query."""
    query = select(Artifact, Run.name).join(Run, col(Run.id) == col(Artifact.run_id))
    found: dict[str, dict[str, Artifact]] = {run_id: {} for run_id in run_ids}
    with db.read() as session:
        for artifact, name in session.exec(query.where(col(Run.id).in_(run_ids))):
            found[artifact.run_id][artifact.path.removeprefix(f"{name}/")] = artifact
    return found


def collect(db: Database, blobs: BlobStore, digests: Iterable[str]) -> int:
    """Removes those blobs that no artifact, checkpoint or pin names; answers how many."""
    wanted = sorted(set(digests))
    chunks = (wanted[i : i + COLLECT_AT_ONCE] for i in range(0, len(wanted), COLLECT_AT_ONCE))
    return sum(_collect_some(db, blobs, chunk) for chunk in chunks)


def _collect_some(db: Database, blobs: BlobStore, digests: Sequence[str]) -> int:
    with db.write() as session:
        unused = select(Blob.sha256).where(*UNUSED, col(Blob.sha256).in_(digests))
        # A blob that someone has locked is being pinned, so it is passed over. What was pinned
        # between our look and our lock shows when we look again.
        until = time.monotonic() + HOLD_SECONDS
        held = session.exec(unused.with_for_update(skip_locked=True)).all()
        free = session.exec(unused.where(col(Blob.sha256).in_(held))).all()
        gone: list[str] = []
        blobs.delete_all(_one_by_one(free, until, gone))
        session.exec(delete(Blob).where(col(Blob.sha256).in_(gone)))
        return len(gone)


def _one_by_one(digests: Iterable[str], until: float, given: list[str]) -> Iterator[str]:
    """Gives out what may be deleted while its lock is sure to be held, and notes it.

    A process that was frozen meanwhile may have lost its locks, and someone may need the bytes.
    """
    for sha256 in digests:
        if time.monotonic() > until:
            return
        given.append(sha256)
        yield sha256


def find_known(db: Database, digests: Iterable[str]) -> set[str]:
    """Those that there are blobs of."""
    with db.read() as session:
        return set(session.exec(select(Blob.sha256).where(col(Blob.sha256).in_(digests))))


def find_unused(db: Database, limit: int = 1000) -> Sequence[str]:
    """Blobs that attempts which never committed have left behind, the oldest first."""
    old = col(Blob.created_at) < now() - timedelta(seconds=SWEEP_AGE_SECONDS)
    query = select(Blob.sha256).where(*UNUSED, old).order_by(col(Blob.created_at)).limit(limit)
    with db.read() as session:
        return session.exec(query).all()
