"""The tables of the record. A run's row is written by `claims` alone once it exists.

A JSON column is written once and never changed in place.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel, col

from fmx_store.columns import Counter, Json, UtcDateTime, Word
from fmx_store.ids import ID_LENGTH, new_id
from fmx_store.states import Reason, Role, State

MAX_OWNER_LENGTH = 64
MAX_ALIAS_LENGTH = 64

# Every constraint has a name that a migration can call it by.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


def table_of(model: type[SQLModel]) -> Table:
    """The table of a model, for statements that read or write plain rows."""
    return SQLModel.metadata.tables[str(model.__tablename__)]


def _index_of_owners(name: str, *columns: str) -> Index:
    """An index for what one owner sees. Where keys are off there are no owners, and it is empty."""
    owned = text("owner IS NOT NULL")
    return Index(name, "owner", *columns, sqlite_where=owned, postgresql_where=owned)


class Job(SQLModel, table=True):
    """One submitted spec. `version` rises with every change a reader can see.

    Its owner is that of the API key it came with, None where keys are off. Its traceparent is the
    W3C name of the span that submitted it, None where that was not traced.
    """

    __table_args__ = (
        Index("ix_job_kind_id", "kind", "id"),
        Index("ix_job_state_id", "state", "id"),
        Index("ix_job_kind_state_id", "kind", "state", "id"),
        _index_of_owners("ix_job_owner_id", "id"),
        _index_of_owners("ix_job_owner_kind_id", "kind", "id"),
        _index_of_owners("ix_job_owner_state_id", "state", "id"),
        _index_of_owners("ix_job_owner_kind_state_id", "kind", "state", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_LENGTH)
    kind: str = Field(max_length=20)
    preset: str = Field(max_length=20)
    name: str | None = Field(default=None, max_length=128)
    priority: int
    time_limit_seconds: int | None = None
    spec: dict[str, Any] = Field(sa_type=Json)
    spec_hash: str = Field(max_length=64)
    state: State = Field(default=State.QUEUED, sa_type=Word(State))
    reason: Reason | None = Field(default=None, sa_type=Word(Reason))
    error: dict[str, Any] | None = Field(default=None, sa_type=Json)
    results: dict[str, Any] | None = Field(default=None, sa_type=Json)
    version: int = 1
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    owner: str | None = Field(default=None, max_length=MAX_OWNER_LENGTH)
    traceparent: str | None = Field(default=None, max_length=55)


class JobTag(SQLModel, table=True):
    """A tag of a job; its owner is the job's."""

    __tablename__ = "job_tag"  # pyright: ignore[reportAssignmentType] - a name, as documented
    __table_args__ = (
        Index("ix_job_tag_tag", "tag", "job_id"),
        _index_of_owners("ix_job_tag_owner", "tag", "job_id"),
    )

    job_id: str = Field(
        sa_column_args=(ForeignKey("job.id", ondelete="CASCADE"),),
        primary_key=True,
        max_length=ID_LENGTH,
    )
    tag: str = Field(primary_key=True, max_length=64)
    owner: str | None = Field(default=None, max_length=MAX_OWNER_LENGTH)


class Run(SQLModel, table=True):
    """One training of a job, or the job's collation.

    `attempt` is the fencing token: it rises with every claim, and whoever writes must show it.
    `beat` rises with every heartbeat; `log_end` is how much of the attempt's log has been written.
    `waiting_for` counts the needed runs that have not ended yet.
    Due runs of a job that have the same `pack_key` may be claimed and trained together.
    """

    __table_args__ = (
        Index("ix_run_job", "job_id", "position", unique=True),
        Index("ix_run_reuse", "training_hash", "state", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_LENGTH)
    job_id: str = Field(
        sa_column_args=(ForeignKey("job.id", ondelete="CASCADE"),), max_length=ID_LENGTH
    )
    position: int
    name: str = Field(max_length=128)
    role: Role = Field(sa_type=Word(Role))
    device: str = Field(max_length=10)
    priority: int
    training: dict[str, Any] | None = Field(default=None, sa_type=Json)
    training_hash: str | None = Field(default=None, max_length=64)
    reused_from: str | None = Field(default=None, max_length=ID_LENGTH)
    state: State = Field(default=State.QUEUED, sa_type=Word(State))
    reason: Reason | None = Field(default=None, sa_type=Word(Reason))
    error: dict[str, Any] | None = Field(default=None, sa_type=Json)
    waiting_for: int = 0
    attempt: int = 0
    beat: int = 0
    crashes: int = 0
    worker: str | None = Field(default=None, max_length=200)
    phase: str = Field(default="queued", max_length=40)
    epochs_done: int = 0
    epochs_total: int = 0
    seconds_per_epoch: float | None = None
    summary: dict[str, Any] | None = Field(default=None, sa_type=Json)
    rung_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    pack_key: str | None = Field(default=None, max_length=64)
    log_end: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"})


# In the order of claims; the device last, so that runs of another one are passed over within it.
Index(
    "ix_run_due",
    col(Run.state),
    col(Run.waiting_for),
    col(Run.priority).desc(),
    col(Run.job_id),
    col(Run.position),
    col(Run.device),
)


class Dataset(SQLModel, table=True):
    """A registered data set; `about` is what fmx_ml.data.packing says of its contents."""

    __table_args__ = (
        UniqueConstraint("name", "sha256"),  # what a job names: this name for these contents
        Index("ix_dataset_sha256", "sha256"),
    )

    name: str = Field(primary_key=True, max_length=40)
    sha256: str = Field(sa_column_args=(ForeignKey("blob.sha256"),), max_length=64)
    size_bytes: int = Field(sa_type=BigInteger)
    about: dict[str, Any] = Field(sa_type=Json)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class JobDataset(SQLModel, table=True):
    """The registered data set that a job learns from, which can't be removed meanwhile.

    `contents` is the sha256 that its name stood for when the job came.
    """

    __tablename__ = "job_dataset"  # pyright: ignore[reportAssignmentType] - a name, as documented
    __table_args__ = (
        ForeignKeyConstraint(["name", "contents"], ["dataset.name", "dataset.sha256"]),
        Index("ix_job_dataset_name", "name"),
    )

    job_id: str = Field(
        sa_column_args=(ForeignKey("job.id", ondelete="CASCADE"),),
        primary_key=True,
        max_length=ID_LENGTH,
    )
    name: str = Field(max_length=40)
    contents: str = Field(max_length=64)


class RunNeed(SQLModel, table=True):
    """A run (`run_id`) that waits for another one (`needs_id`), if no other need implies it."""

    __tablename__ = "run_need"  # pyright: ignore[reportAssignmentType] - a name, as documented
    __table_args__ = (Index("ix_run_need_needs", "needs_id"),)

    run_id: str = Field(
        sa_column_args=(ForeignKey("run.id", ondelete="CASCADE"),),
        primary_key=True,
        max_length=ID_LENGTH,
    )
    needs_id: str = Field(
        sa_column_args=(ForeignKey("run.id", ondelete="CASCADE"),),
        primary_key=True,
        max_length=ID_LENGTH,
    )


class Metric(SQLModel, table=True):
    """One epoch of a run; the columns are those of fmx_ml.sinks.EpochMetrics."""

    run_id: str = Field(
        sa_column_args=(ForeignKey("run.id", ondelete="CASCADE"),),
        primary_key=True,
        max_length=ID_LENGTH,
    )
    epoch: int = Field(primary_key=True)
    attempt: int
    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    seconds: float


class LogPart(SQLModel, table=True):
    """Lines of a run's log, from byte `start` of what its attempt has logged.

    Ids of a job rise in the order in which its log is read: they are given under its lock.
    """

    __tablename__ = "log_part"  # pyright: ignore[reportAssignmentType] - a name, as documented
    __table_args__ = (
        Index("ix_log_part_job", "job_id", "id"),
        Index("ix_log_part_run", "run_id", "id"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=Counter)
    job_id: str = Field(
        sa_column_args=(ForeignKey("job.id", ondelete="CASCADE"),), max_length=ID_LENGTH
    )
    run_id: str = Field(
        sa_column_args=(ForeignKey("run.id", ondelete="CASCADE"),), max_length=ID_LENGTH
    )
    attempt: int
    start: int = Field(sa_type=BigInteger)
    num_bytes: int
    text: str = Field(sa_type=Text)
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Blob(SQLModel, table=True):
    """A stored file, named by its contents."""

    sha256: str = Field(primary_key=True, max_length=64)
    size_bytes: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Pin(SQLModel, table=True):
    """Keeps a blob while an attempt that has stored it is on its way to commit."""

    __table_args__ = (Index("ix_pin_run", "run_id"),)

    sha256: str = Field(
        sa_column_args=(ForeignKey("blob.sha256"),), primary_key=True, max_length=64
    )
    run_id: str = Field(
        sa_column_args=(ForeignKey("run.id", ondelete="CASCADE"),),
        primary_key=True,
        max_length=ID_LENGTH,
    )
    attempt: int = Field(primary_key=True)


class Artifact(SQLModel, table=True):
    """A file of a job, by the path a client asks for."""

    __table_args__ = (Index("ix_artifact_sha256", "sha256"), Index("ix_artifact_run", "run_id"))

    job_id: str = Field(
        sa_column_args=(ForeignKey("job.id", ondelete="CASCADE"),),
        primary_key=True,
        max_length=ID_LENGTH,
    )
    path: str = Field(primary_key=True, max_length=300)
    run_id: str = Field(
        sa_column_args=(ForeignKey("run.id", ondelete="CASCADE"),), max_length=ID_LENGTH
    )
    sha256: str = Field(sa_column_args=(ForeignKey("blob.sha256"),), max_length=64)
    size_bytes: int = Field(sa_type=BigInteger)
    media_type: str = Field(max_length=100)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Checkpoint(SQLModel, table=True):
    """A file that a run can go on from after one of its epochs, whoever has written it."""

    __table_args__ = (Index("ix_checkpoint_sha256", "sha256"),)

    run_id: str = Field(
        sa_column_args=(ForeignKey("run.id", ondelete="CASCADE"),),
        primary_key=True,
        max_length=ID_LENGTH,
    )
    epoch: int = Field(primary_key=True)
    sha256: str = Field(sa_column_args=(ForeignKey("blob.sha256"),), max_length=64)
    size_bytes: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Model(SQLModel, table=True):
    """What a finished classifier run leaves behind for predictions; its owner is its job's."""

    __table_args__ = (
        Index("ix_model_job", "job_id"),
        _index_of_owners("ix_model_owner_id", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_LENGTH)
    run_id: str = Field(
        sa_column_args=(ForeignKey("run.id", ondelete="CASCADE"),),
        unique=True,
        max_length=ID_LENGTH,
    )
    job_id: str = Field(
        sa_column_args=(ForeignKey("job.id", ondelete="CASCADE"),), max_length=ID_LENGTH
    )
    kind: str = Field(max_length=20)
    run_name: str = Field(max_length=128)
    dataset: str = Field(max_length=40)
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    owner: str | None = Field(default=None, max_length=MAX_OWNER_LENGTH)


class ModelAlias(SQLModel, table=True):
    """A name for a model, of the model's owner, that can be moved to another model.

    The owner is empty where keys are off, since a part of a primary key can't be null. A model
    does not go while an alias names it: the reference has no cascade.
    """

    __tablename__ = "model_alias"  # pyright: ignore[reportAssignmentType] - a name, as documented
    __table_args__ = (Index("ix_model_alias_model", "model_id"),)

    name: str = Field(primary_key=True, max_length=MAX_ALIAS_LENGTH)
    owner: str = Field(default="", primary_key=True, max_length=MAX_OWNER_LENGTH)
    model_id: str = Field(sa_column_args=(ForeignKey("model.id"),), max_length=ID_LENGTH)
    updated_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


_IS_DELETION = text("type = 'deleted'")
# What makes void what was told of a run before: it goes back, or has ended once more.
IS_UNDOING = text("type IN ('rewound', 'artifacts')")


class Event(SQLModel, table=True):
    """What happened to a job, in order; `seq` is the job's version that the event made.

    Events are only ever added, and outlive their job.
    """

    __table_args__ = (
        Index("ix_event_deleted", "at", sqlite_where=_IS_DELETION, postgresql_where=_IS_DELETION),
        Index(
            "ix_event_undoing",
            "job_id",
            "seq",
            sqlite_where=IS_UNDOING,
            postgresql_where=IS_UNDOING,
        ),
    )

    job_id: str = Field(primary_key=True, max_length=ID_LENGTH)
    seq: int = Field(primary_key=True)
    type: str = Field(max_length=40)
    run_id: str | None = Field(default=None, max_length=ID_LENGTH)
    attempt: int | None = None
    data: dict[str, Any] = Field(sa_type=Json)
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Idempotency(SQLModel, table=True):
    """The answer that was given to an owner's request with an Idempotency-Key.

    The owner is empty where keys are off, since a part of a primary key can't be null.
    """

    __table_args__ = (Index("ix_idempotency_job", "job_id"),)

    owner: str = Field(
        default="",
        primary_key=True,
        max_length=MAX_OWNER_LENGTH,
        sa_column_kwargs={"server_default": text("''")},
    )
    key: str = Field(primary_key=True, max_length=255)
    request_hash: str = Field(max_length=64)
    job_id: str = Field(max_length=ID_LENGTH)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class ApiKey(SQLModel, table=True):
    """A key that lets programs in; the record has its SHA-256 alone."""

    __tablename__ = "api_key"  # pyright: ignore[reportAssignmentType] - a name, as documented

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_LENGTH)
    hash: str = Field(unique=True, max_length=64)
    name: str = Field(default="", max_length=128)
    owner: str = Field(max_length=MAX_OWNER_LENGTH)
    scopes: list[str] = Field(sa_type=Json)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
