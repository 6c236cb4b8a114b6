"""Artifacts: files staged under a lease, stored by contents, and collected when unused.

A blob's row comes before its bytes and its bytes go before its row. A pin keeps a staged blob
until the attempt that staged it commits or ends.
"""

import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, exists, select

from fmx_store.blobs import BlobStore, digest
from fmx_store.claims import Lease, StagedFile, hold
from fmx_store.database import Database
from fmx_store.errors import NotFoundError
from fmx_store.ids import is_id
from fmx_store.tables import Artifact, Blob, Job, Pin, Run, now
from fmx_store.texts import is_storable

STAGE_TRIES = 5  # a blob's row may come or go between our look and our pin
COLLECT_AT_ONCE = 100  # blobs in one transaction
SWEEP_AGE_SECONDS = 600  # a blob unused for this long belongs to no one who is about to pin it

_UNUSED = (
    ~exists().where(col(Artifact.sha256) == Blob.sha256),
    ~exists().where(col(Pin.sha256) == Blob.sha256),
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
    """The media type that a file's ending stands for."""
    suffix = Path(path).suffix
    guess = mimetypes.guess_type(path)[0]
    return _MEDIA_TYPES.get(suffix) or guess or "application/octet-stream"


def stage(
    db: Database, blobs: BlobStore, lease: Lease, files: Mapping[str, Path]
) -> list[StagedFile]:
    """Stores files (artifact path: local file) for a lease that will publish them by `finish`.

    Raises LeaseLostError, BlobError where a file changes meanwhile, OSError where the store is full
    or can't be reached.
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


def list_artifacts(db: Database, job_id: str) -> list[Artifact]:
    """The job's artifacts by path. Raises NotFoundError where there is no such job."""
    with db.read() as session:
        if not is_id(job_id) or session.get(Job, job_id) is None:
            raise NotFoundError("job", job_id)
        found = session.exec(select(Artifact).where(Artifact.job_id == job_id)).all()
    # Here, since databases order text by rules of their own.
    return sorted(found, key=lambda artifact: artifact.path)


def require_artifact(db: Database, job_id: str, path: str) -> Artifact:
    """One artifact of a job. Raises NotFoundError."""
    with db.read() as session:
        named = is_id(job_id) and is_storable(path)
        artifact = session.get(Artifact, (job_id, path)) if named else None
    if artifact is None:
        raise NotFoundError("artifact", path)
    return artifact


def artifacts_of_run(db: Database, run_id: str) -> dict[str, Artifact]:
    """A run's artifacts by their path within the run (without its name)."""
    with db.read() as session:
        run = session.get(Run, run_id) if is_id(run_id) else None
        if run is None:
            return {}
        query = select(Artifact).where(Artifact.run_id == run_id)
        return {a.path.removeprefix(f"{run.name}/"): a for a in session.exec(query)}


def collect(db: Database, blobs: BlobStore, digests: Iterable[str]) -> int:
    """Removes those blobs that no artifact and no pin names; answers how many."""
    wanted = sorted(set(digests))
    chunks = (wanted[i : i + COLLECT_AT_ONCE] for i in range(0, len(wanted), COLLECT_AT_ONCE))
    return sum(_collect_some(db, blobs, chunk) for chunk in chunks)


def _collect_some(db: Database, blobs: BlobStore, digests: Sequence[str]) -> int:
    with db.write() as session:
        unused = select(Blob.sha256).where(*_UNUSED, col(Blob.sha256).in_(digests))
        # A blob that someone has locked is being pinned, so it is passed over. What was pinned
        # between our look and our lock shows when we look again.
        held = session.exec(unused.with_for_update(skip_locked=True)).all()
        free = session.exec(unused.where(col(Blob.sha256).in_(held))).all()
        session.exec(delete(Blob).where(col(Blob.sha256).in_(free)))
        for sha256 in free:
            blobs.delete(sha256)
        return len(free)


def find_unused(db: Database, limit: int = 1000) -> Sequence[str]:
    """Blobs that attempts which never committed have left behind, the oldest first."""
    old = col(Blob.created_at) < now() - timedelta(seconds=SWEEP_AGE_SECONDS)
    query = select(Blob.sha256).where(*_UNUSED, old).order_by(col(Blob.created_at)).limit(limit)
    with db.read() as session:
        return session.exec(query).all()
