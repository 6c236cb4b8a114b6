"""Artifacts: files staged under a lease, stored by contents, and collected when unused.

A blob's row comes before its bytes and its bytes go before its row, so bytes without a row never
stay. A pin keeps a staged blob until the attempt that staged it commits or ends.
"""

import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, exists, select

from fmx_store.blobs import BlobStore, digest
from fmx_store.claims import Lease, StagedFile, hold
from fmx_store.database import Database
from fmx_store.errors import NotFoundError
from fmx_store.tables import Artifact, Blob, Job, Pin, now

STAGE_TRIES = 5  # a collection may take a blob's row between our look and our pin
SWEEP_AGE_SECONDS = 600  # a blob unused for this long belongs to no one who is about to pin it

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

    Raises LeaseLostError, OSError where the store is full or can't be reached.
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
                known = set(session.exec(select(Blob.sha256).where(col(Blob.sha256).in_(sizes))))
                for sha256 in sorted(sizes.keys() - known):
                    session.add(Blob(sha256=sha256, size_bytes=sizes[sha256]))
                session.flush()
                for sha256 in sorted(sizes):
                    session.merge(Pin(sha256=sha256, run_id=run.id, attempt=run.attempt))
        except IntegrityError:
            if tries_left == 0:
                raise
        else:
            return


def list_artifacts(db: Database, job_id: str) -> list[Artifact]:
    """The job's artifacts by path. Raises NotFoundError where there is no such job."""
    with db.read() as session:
        if session.get(Job, job_id) is None:
            raise NotFoundError("job", job_id)
        query = select(Artifact).where(Artifact.job_id == job_id).order_by(col(Artifact.path))
        return list(session.exec(query))


def require_artifact(db: Database, job_id: str, path: str) -> Artifact:
    """One artifact of a job. Raises NotFoundError."""
    with db.read() as session:
        artifact = session.get(Artifact, (job_id, path))
    if artifact is None:
        raise NotFoundError("artifact", path)
    return artifact


def artifacts_of_run(db: Database, run_id: str) -> dict[str, Artifact]:
    """A run's artifacts by their path within the run (without its name)."""
    with db.read() as session:
        query = select(Artifact).where(Artifact.run_id == run_id)
        return {artifact.path.partition("/")[2]: artifact for artifact in session.exec(query)}


def collect(db: Database, blobs: BlobStore, digests: Iterable[str]) -> int:
    """Removes those blobs that no artifact and no pin names; answers how many."""
    return sum(_collect_one(db, blobs, sha256) for sha256 in sorted(digests))


def _collect_one(db: Database, blobs: BlobStore, sha256: str) -> bool:
    with db.write() as session:
        blob = session.get(Blob, sha256, with_for_update=True)
        if blob is None or _is_used(session, sha256):
            return False
        session.delete(blob)
        session.flush()
        blobs.delete(sha256)
        return True


def _is_used(session: Session, sha256: str) -> bool:
    artifact = select(exists().where(col(Artifact.sha256) == sha256))
    pin = select(exists().where(col(Pin.sha256) == sha256))
    return session.exec(artifact).one() or session.exec(pin).one()


def find_unused(db: Database, limit: int = 1000) -> Sequence[str]:
    """Blobs that attempts which never committed have left behind, the oldest first."""
    query = (
        select(Blob.sha256)
        .where(
            ~exists().where(col(Artifact.sha256) == Blob.sha256),
            ~exists().where(col(Pin.sha256) == Blob.sha256),
            col(Blob.created_at) < now() - timedelta(seconds=SWEEP_AGE_SECONDS),
        )
        .order_by(col(Blob.created_at))
        .limit(limit)
    )
    with db.read() as session:
        return session.exec(query).all()
