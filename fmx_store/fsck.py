"""Holds the record and the stored files against each other, in both directions.

    missing      what an artifact (or whatever else names files) names is stored
    size         with the size that the record has
    contents     and with the bytes that its name is the sha256 of, where they are read (`deep`)
    stray        what is stored is known to the record                                     *
    unused       what the record knows is named by something                               *

and the rules of `fmx_store.invariants`. What is garbage (*) can be removed; nothing that is
referenced ever is. Server and workers may be at work meanwhile: what is found is looked at again
before it is told, and what is younger than an hour may be on its way.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, String, cast, literal, or_, select, union_all
from sqlalchemy.exc import IntegrityError

from fmx_store.artifacts import BLOB_REFERENCES, UNUSED, collect
from fmx_store.blobs import BlobStore, StoredBlob, read_digest
from fmx_store.database import Database
from fmx_store.errors import BlobError
from fmx_store.invariants import Rule, rules
from fmx_store.tables import Blob, Job, Pin, now, table_of

MIN_AGE_SECONDS = 3600.0  # no file takes as long from the store to the record
AT_ONCE = 500  # digests in one query

_BLOB, _JOB, _PIN = table_of(Blob), table_of(Job), table_of(Pin)
# A pin alone keeps what may not be stored yet.
_NAMES = tuple(column for column in BLOB_REFERENCES if column.table is not _PIN)
_IS_NAMED = or_(*(select(1).where(column == _BLOB.c.sha256).exists() for column in _NAMES))


@dataclass(frozen=True)
class Finding:
    """Something that is not as it must be."""

    code: str
    subject: str  # a digest, or the id of a row
    detail: str
    is_garbage: bool = False
    is_mended: bool = False


@dataclass(frozen=True)
class Report:
    """What a check has found, and how much it has looked at."""

    findings: Sequence[Finding]
    num_jobs: int
    num_known: int
    num_stored: int
    stored_bytes: int

    @property
    def remaining(self) -> list[Finding]:
        """What is still so."""
        return [finding for finding in self.findings if not finding.is_mended]


def check(
    db: Database,
    blobs: BlobStore,
    *,
    deep: bool = False,
    fix: bool = False,
    min_age_seconds: float = MIN_AGE_SECONDS,
) -> Report:
    """Checks everything; with `fix`, garbage is removed.

    Raises StorageUnavailableError, and what a database raises that is away.
    """
    before = now() - timedelta(seconds=min_age_seconds)
    known = _read_known(db)
    stored = {entry.sha256: entry for entry in blobs.entries()}
    findings = [
        *_find_damaged(db, blobs, known, stored, deep=deep),
        *_find_stray(db, blobs, known, stored, before=before, fix=fix),
        *_find_broken(db, fix=fix),  # before what is unused: stale pins keep files
        *_find_unused(db, blobs, before=before, fix=fix),
    ]
    if fix:
        blobs.tidy()
    sizes = [entry.size_bytes for entry in stored.values()]
    return Report(findings, _count_jobs(db), len(known), len(sizes), sum(sizes))


def _count_jobs(db: Database) -> int:
    with db.look() as connection:
        return len(connection.execute(select(_JOB.c.id)).all())


@dataclass(frozen=True)
class _Known:
    """A file as the record has it."""

    size_bytes: int
    is_named: bool


def _read_known(db: Database) -> dict[str, _Known]:
    query = select(_BLOB.c.sha256, _BLOB.c.size_bytes, _IS_NAMED)
    with db.look() as connection:
        return {sha256: _Known(size, named) for sha256, size, named in connection.execute(query)}


def _find_damaged(
    db: Database,
    blobs: BlobStore,
    known: Mapping[str, _Known],
    stored: Mapping[str, StoredBlob],
    *,
    deep: bool,
) -> Iterator[Finding]:
    """What is wrong with files that something names."""
    found: list[tuple[str, str, str]] = []
    for sha256, row in known.items():
        if row.is_named:
            size_bytes = stored[sha256].size_bytes if sha256 in stored else None
            wrong = _look_at_size(blobs, sha256, row.size_bytes, size_bytes)
            if wrong is None and deep:
                wrong = _look_at_contents(blobs, sha256)
            if wrong is not None:
                found.append((sha256, *wrong))
    names = _names_of(db, [sha256 for sha256, *_ in found])
    for sha256, code, detail in found:
        if names[sha256]:  # not deleted meanwhile
            yield Finding(code, sha256, f"{detail}; it is {', '.join(names[sha256])}")


def _look_at_size(
    blobs: BlobStore, sha256: str, expected: int, listed: int | None
) -> tuple[str, str] | None:
    """What is wrong; a file that the list lacks is asked for, since it may be newer."""
    size_bytes = blobs.size_of(sha256) if listed is None else listed
    if size_bytes is None:
        return "missing", "it is not stored"
    if size_bytes != expected:
        return "size", f"it has {size_bytes} bytes where {expected} are recorded"
    return None


def _look_at_contents(blobs: BlobStore, sha256: str) -> tuple[str, str] | None:
    try:
        with blobs.open(sha256) as file:
            found = read_digest(file)
    except BlobError as error:
        return "missing", str(error)
    return None if found == sha256 else ("contents", f"its bytes have the sha256 {found}")


def _names_of(db: Database, digests: Sequence[str]) -> Mapping[str, list[str]]:
    """What names files, as it is now: for each digest the tables and the keys of their rows."""
    names = defaultdict[str, list[str]](list)
    for some in _portions(digests):
        named = (_select_names(index, some) for index in range(len(_NAMES)))
        with db.look() as connection:
            for row in connection.execute(union_all(*named)):
                names[row[0]].append(row[1])
    return names


def _select_names(index: int, digests: Sequence[str]) -> Select[str, str]:
    column = _NAMES[index]
    name = literal(f"{column.table.name} ")  # pyright: ignore[reportAttributeAccessIssue] - a table's column
    for place, key in enumerate(column.table.primary_key):  # pyright: ignore[reportAttributeAccessIssue] - as above
        name = name + ("/" if place else "") + cast(key, String)
    return select(column, name).where(column.in_(digests))


def _portions(digests: Iterable[str]) -> Iterator[list[str]]:
    left = list(digests)
    while left:
        yield left[:AT_ONCE]
        del left[:AT_ONCE]


def _find_stray(
    db: Database,
    blobs: BlobStore,
    known: Mapping[str, _Known],
    stored: Mapping[str, StoredBlob],
    *,
    before: datetime,
    fix: bool,
) -> Iterator[Finding]:
    """Files that the record does not know."""
    old = [
        entry for entry in stored.values() if entry.sha256 not in known and entry.stored_at < before
    ]
    newly_known = _which_are_known(db, [entry.sha256 for entry in old])
    names = _names_of(db, [entry.sha256 for entry in old])
    for entry in old:
        if entry.sha256 not in newly_known:
            detail = f"{entry.size_bytes} bytes are stored and the record does not know them"
            if named := names[entry.sha256]:  # its row is lost, which no database should allow
                detail = f"{detail}; they are {', '.join(named)}"
            if fix:
                _adopt_and_collect(db, blobs, entry)
            yield Finding("stray", entry.sha256, detail, is_garbage=not named, is_mended=fix)


def _which_are_known(db: Database, digests: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for some in _portions(digests):
        with db.look() as connection:
            query = select(_BLOB.c.sha256).where(_BLOB.c.sha256.in_(some))
            found.update(connection.execute(query).scalars())
    return found


def _adopt_and_collect(db: Database, blobs: BlobStore, entry: StoredBlob) -> None:
    """Gives a file a row, with which it is collected like any other, or kept where it is named.

    So whoever stores the same contents at this moment is seen, or sees that they are gone.
    """
    try:
        with db.write() as session:
            session.add(Blob(sha256=entry.sha256, size_bytes=entry.size_bytes))
    except IntegrityError:  # someone has just come to need it
        return
    collect(db, blobs, [entry.sha256])


def _find_unused(
    db: Database, blobs: BlobStore, *, before: datetime, fix: bool
) -> Iterator[Finding]:
    """Files that the record knows and nothing names."""
    query = select(_BLOB.c.sha256, _BLOB.c.size_bytes).where(*UNUSED, _BLOB.c.created_at < before)
    with db.look() as connection:
        found = connection.execute(query).all()
    if fix:
        collect(db, blobs, [sha256 for sha256, _ in found])
    left = _which_are_known(db, [sha256 for sha256, _ in found]) if fix else set[str]()
    for sha256, size_bytes in found:
        detail = f"nothing names these {size_bytes} bytes"
        is_mended = fix and sha256 not in left
        yield Finding("unused", sha256, detail, is_garbage=True, is_mended=is_mended)


def _find_broken(db: Database, *, fix: bool) -> Iterator[Finding]:
    """What breaks the record's own rules."""
    for rule in rules():
        with db.look() as connection:
            rows = connection.execute(rule.query).all()
        is_mended = bool(rows) and fix and _remove(db, rule)
        for row in rows:
            detail = rule.says.format(*row)
            garbage = rule.remove is not None
            yield Finding(rule.code, str(row[0]), detail, garbage, is_mended)


def _remove(db: Database, rule: Rule) -> bool:
    if rule.remove is None:
        return False
    with db.write() as session:
        session.connection().execute(rule.remove)
    return True
