"""API keys: made, found by what a client sends, listed, revoked.

A key is shown once, when it is made. The record keeps its SHA-256 alone: 32 random bytes can't be
guessed from it, so no slow hash is needed.
"""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, or_, select, update

from fmx_store.database import Database
from fmx_store.errors import NotFoundError
from fmx_store.ids import is_id
from fmx_store.tables import ApiKey, now
from fmx_store.viewers import Viewer

PREFIX = "fmx_"
SECRET_BYTES = 32
USED_SECONDS = 60  # between two notes of when a key was used

_log = logging.getLogger(__name__)


class Scope(StrEnum):
    """What a key allows."""

    READ = "read"  # look at jobs, runs, models, artifacts, reports; and check requests
    SUBMIT = "submit"  # submit, cancel, retry and delete jobs
    PREDICT = "predict"  # ask models
    ADMIN = "admin"  # all of this, with everyone's jobs


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True)
class Grant:
    """What a key that is good allows, and to whom."""

    key_id: str
    viewer: Viewer
    scopes: frozenset[Scope]
    expires_at: datetime | None

    def allows(self, scope: Scope) -> bool:
        """Whether it allows this."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def has_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now()


def hash_key(key: str) -> str:
    """What the record keeps of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def create(
    db: Database,
    owner: str,
    scopes: Collection[Scope],
    *,
    name: str = "",
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key's row, and the key itself, which nobody can find again."""
    key = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    row = ApiKey(
        hash=hash_key(key),
        name=name,
        owner=owner,
        scopes=sorted(scopes),
        expires_at=expires_at,
    )
    with db.write() as session:
        session.add(row)
    return row, key


def list_keys(db: Database) -> Sequence[ApiKey]:
    """Every key there was, the oldest first."""
    with db.read() as session:
        return session.exec(select(ApiKey).order_by(col(ApiKey.id))).all()


def has_live_key(db: Database) -> bool:
    """Whether there is a key that lets anyone in."""
    lives = or_(col(ApiKey.expires_at).is_(None), col(ApiKey.expires_at) > now())
    query = select(ApiKey.id).where(col(ApiKey.revoked_at).is_(None), lives).limit(1)
    with db.read() as session:
        return session.exec(query).first() is not None


def revoke(db: Database, key_id: str) -> ApiKey:
    """Ends a key for good; again, changes nothing. Raises NotFoundError."""
    with db.write() as session:
        key = session.get(ApiKey, key_id, with_for_update=True) if is_id(key_id) else None
        if key is None:
            raise NotFoundError("key", key_id)
        key.revoked_at = key.revoked_at or now()
        return key


def find_grant(db: Database, digest: str) -> Grant | None:
    """What the key with this hash allows; None where it is unknown, revoked or expired.

    Notes that it was used, once a minute.
    """
    with db.read() as session:
        key = session.exec(select(ApiKey).where(ApiKey.hash == digest)).first()
    # The index has compared them already, as fast as it differs; a hash tells nothing of the key.
    if key is None or not hmac.compare_digest(key.hash, digest) or key.revoked_at is not None:
        return None
    scopes = frozenset(Scope(scope) for scope in key.scopes)
    viewer = Viewer(key.owner, sees_all=Scope.ADMIN in scopes)
    grant = Grant(key.id, viewer, scopes, key.expires_at)
    if grant.has_expired():
        return None
    if key.last_used_at is None or key.last_used_at < now() - timedelta(seconds=USED_SECONDS):
        _note_use(db, key.id)
    return grant


def _note_use(db: Database, key_id: str) -> None:
    """Nobody is kept out because this can't be written, as where the disk is full."""
    try:
        with db.write() as session:
            session.exec(update(ApiKey).where(col(ApiKey.id) == key_id).values(last_used_at=now()))
    except SQLAlchemyError as error:
        _log.warning("the use of key %s was not noted: %s", key_id, str(error).partition("\n")[0])
