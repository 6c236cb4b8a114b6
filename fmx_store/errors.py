"""The errors of the record, each with a stable `code` and the data it concerns.

StoreError
├── NotFoundError          not_found
├── ConflictError          conflict
│   ├── TransitionError    illegal_transition
│   ├── AmbiguousAliasError
│   └── IdempotencyError   idempotency_mismatch
├── AliasNameError         bad_alias
├── LimitError             limit_exceeded
├── QuotaError             quota_exceeded
├── NoRoomError            disk_full
├── UnknownDatasetError    unknown_dataset
├── NamedRunError
│   ├── UnknownRunError    unknown_run
│   └── UnfinishedRunError not_finished
├── LeaseLostError         lease_lost
├── CursorError            bad_cursor
├── BlobError              blob_damaged
└── StorageUnavailableError storage_unavailable (an OSError too)
"""

from collections.abc import Sequence
from typing import ClassVar


class StoreError(Exception):
    """Base of every error the record raises on purpose."""

    code: ClassVar[str] = "store_error"


class NotFoundError(StoreError):
    """There is no such thing."""

    code = "not_found"

    def __init__(self, what: str, identity: str) -> None:
        self.what, self.identity = what, identity
        super().__init__(f"there is no {what} {identity!r}")


class ConflictError(StoreError):
    """The thing is in a state that does not allow this."""

    code = "conflict"


class TransitionError(ConflictError):
    """A state that can't follow the present one."""

    code = "illegal_transition"

    def __init__(self, what: str, identity: str, present: str, wanted: str) -> None:
        self.what, self.identity, self.present, self.wanted = what, identity, present, wanted
        super().__init__(f"{what} {identity} is {present} and can't become {wanted}")


class AmbiguousAliasError(ConflictError):
    """Several owners have an alias of this name, and whoever asks sees more than one."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"several owners have an alias {name!r}: name the model by its id")


class IdempotencyError(ConflictError):
    """An idempotency key was used before, with another request."""

    code = "idempotency_mismatch"

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"the idempotency key {key!r} was used with another request")


class AliasNameError(StoreError):
    """No model can be called so."""

    code = "bad_alias"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            "an alias has 1 to 64 letters, digits, dots, dashes and underscores, begins with a "
            "letter or a digit, looks like no id, and is none of aliases, last and stats"
        )


class LimitError(StoreError):
    """More was asked for than a setting allows."""

    code = "limit_exceeded"

    def __init__(self, what: str, asked: int, allowed: int) -> None:
        self.what, self.asked, self.allowed = what, asked, allowed
        super().__init__(f"{asked} {what} asked for, {allowed} allowed")


class QuotaError(StoreError):
    """There is no place for more of something: of an owner's, or of all together."""

    code = "quota_exceeded"

    def __init__(self, what: str, owner: str | None, used: int, asked: int, allowed: int) -> None:
        self.what, self.owner = what, owner
        self.used, self.asked, self.allowed = used, asked, allowed
        whose = "" if owner is None else f" of {owner}'s"
        more = f", {asked:,} more asked for" if asked else ""
        super().__init__(f"{what}{whose}: {used:,} used{more}, {allowed:,} allowed")


class NoRoomError(StoreError):
    """The disk is too full to take anything in."""

    code = "disk_full"


class NamedRunError(StoreError):
    """A spec names a run of another job that can't be used; `place` says where, with dots."""

    def __init__(self, place: str, run_id: str, message: str) -> None:
        self.place, self.run_id = place, run_id
        super().__init__(message)


class UnknownRunError(NamedRunError):
    """There is no such training."""

    code = "unknown_run"

    def __init__(self, place: str, run_id: str) -> None:
        super().__init__(place, run_id, f"there is no training {run_id!r}")


class UnfinishedRunError(NamedRunError):
    """The training has not succeeded."""

    code = "not_finished"

    def __init__(self, place: str, run_id: str, state: str) -> None:
        super().__init__(place, run_id, f"run {run_id} is {state} and has not succeeded")


class UnknownDatasetError(StoreError):
    """A spec names a data set that is not registered."""

    code = "unknown_dataset"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        super().__init__(f"there is no data set {name!r}; there are {', '.join(known)}")


class LeaseLostError(StoreError):
    """The run belongs to another attempt now; nothing may be written for this one."""

    code = "lease_lost"

    def __init__(self, run_id: str, attempt: int) -> None:
        self.run_id, self.attempt = run_id, attempt
        super().__init__(f"attempt {attempt} no longer holds run {run_id}")


class CursorError(StoreError):
    """A list cursor that this server did not make."""

    code = "bad_cursor"


class BlobError(StoreError):
    """A stored file is missing or its bytes have changed."""

    code = "blob_damaged"


class StorageUnavailableError(StoreError, OSError):
    """What keeps the stored files can't be reached or does not work; it may heal."""

    code = "storage_unavailable"

    def __init__(self, where: str, why: str) -> None:
        self.where = where
        super().__init__(f"the storage at {where} does not work: {why}")
