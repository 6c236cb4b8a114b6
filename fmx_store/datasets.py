"""Registered data sets: a name for ever for the same contents, which lie with the other blobs.

They are the house's: an operator registers them, and whoever may read sees them. A name that jobs
use can't be given to other contents, nor removed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import collate
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from fmx_ml.specs import BUILT_IN, OwnDataset
from fmx_store.blobs import BlobStore, digest
from fmx_store.database import Database
from fmx_store.errors import BlobError, ConflictError, NotFoundError, UnknownDatasetError
from fmx_store.pages import Page, decode_path, make_page
from fmx_store.tables import Blob, Dataset
from fmx_store.texts import is_storable
from fmx_store.viewers import Record

REGISTER_TRIES = 5  # an unused blob of the same contents may be collected between look and use
_NAMED = 20  # data sets that an error lists


def list_datasets(record: Record, *, limit: int = 50, cursor: str | None = None) -> Page[Dataset]:
    """The registered data sets by name. Raises CursorError."""
    by_name = collate(col(Dataset.name), "BINARY" if record.is_sqlite else "C")
    query = select(Dataset).order_by(by_name).limit(limit + 1)
    if cursor is not None:
        query = query.where(by_name > decode_path(cursor))
    with record.read() as session:
        return make_page(session.exec(query).all(), limit, lambda found: found.name)


def require_dataset(record: Record, name: str) -> Dataset:
    """A registered data set. Raises NotFoundError."""
    with record.read() as session:
        found = session.get(Dataset, name) if is_storable(name) else None
    if found is None:
        raise NotFoundError("data set", name)
    return found


def resolve(record: Record, name: str) -> OwnDataset | None:
    """What a spec's name stands for; None where it is built in.

    Raises UnknownDatasetError.
    """
    if name in BUILT_IN:
        return None
    try:
        return identify(require_dataset(record, name))
    except NotFoundError:
        known = [*BUILT_IN, *(one.name for one in list_datasets(record, limit=_NAMED).items)]
        raise UnknownDatasetError(name, known) from None


def identify(row: Dataset) -> OwnDataset:
    """A registered data set as trainings name it."""
    return OwnDataset(
        name=row.name,
        sha256=row.sha256,
        class_names=tuple(row.about["class_names"]),
        first_half=tuple(row.about["first_half"]),
    )


def register(
    db: Database, blobs: BlobStore, name: str, source: Path, about: Mapping[str, Any]
) -> Dataset:
    """Registers a packed file under a name; the same contents a second time change nothing.

    Raises ConflictError where the name has other contents, BlobError, StorageUnavailableError and
    OSError where the file can't be stored.
    """
    sha256, size_bytes = digest(source)
    row = Dataset(name=name, sha256=sha256, size_bytes=size_bytes, about=dict(about))
    identify(row)  # what could not be learnt from is not taken in
    for _ in range(REGISTER_TRIES - 1):
        try:
            return _register(db, blobs, row, source)
        except IntegrityError:
            # Another has just registered the name or stored the same file, or it was collected.
            continue
    return _register(db, blobs, row, source)


def _register(db: Database, blobs: BlobStore, row: Dataset, source: Path) -> Dataset:
    with db.write() as session:
        earlier = _find_earlier(session, row.name, row.sha256)
        if session.get(Blob, row.sha256) is None:
            session.add(Blob(sha256=row.sha256, size_bytes=row.size_bytes))
    blobs.put(source, row.sha256)
    return earlier or _name(db, blobs, Dataset(**row.model_dump()))


def _find_earlier(session: Session, name: str, sha256: str) -> Dataset | None:
    """The data set of a name, if it has these contents. Raises ConflictError for others."""
    earlier = session.get(Dataset, name)
    if earlier is not None and earlier.sha256 != sha256:
        raise ConflictError(
            f"the data set {name!r} is registered with other contents "
            f"(sha256 {earlier.sha256:.12}, not {sha256:.12}): choose another name, or remove it"
        )
    return earlier


def _name(db: Database, blobs: BlobStore, row: Dataset) -> Dataset:
    """Gives stored contents their name; from here on the foreign key keeps them."""
    with db.write() as session:
        session.add(row)
        session.flush()
        if blobs.size_of(row.sha256) is None:
            raise BlobError(f"blob {row.sha256} went while it was being registered")
    return row


def remove(db: Record, name: str) -> str:
    """Removes a data set that no job uses; answers the sha256 of what nothing may name any more.

    Raises NotFoundError, ConflictError.
    """
    require_dataset(db, name)
    try:
        with db.write() as session:
            found = session.get(Dataset, name)
            if found is None:
                raise NotFoundError("data set", name)
            session.delete(found)
            return found.sha256
    except IntegrityError:
        raise ConflictError(f"jobs use the data set {name!r}: delete them before it") from None
