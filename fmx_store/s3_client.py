"""Clients of S3, and what their errors mean here.

botocore alone is used, without boto3. It opens sockets and no threads, so processes that fork may
use it; it finds credentials where every tool of Amazon's does; it signs URLs for chosen answers.
"""

import base64
import errno
import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from fmx_store.errors import StorageUnavailableError
from fmx_store.settings import Settings

DEFAULT_REGION = "us-east-1"  # what stores that know no regions take

_MISSING = frozenset({"NoSuchKey", "404"})  # a HEAD's answer has a number alone
_FULL = frozenset({"XMinioStorageFull", "InsufficientStorage", "QuotaExceeded", "507"})
# Another put came first, or deletes at this moment, or the store knows no conditions.
_UNMET = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "NotImplemented"})

# Sums are sent where we give them. Older stores refuse those that botocore adds by itself.
_AS_GIVEN = "when_required"


@dataclass(frozen=True)
class Clients:
    """Clients of one bucket; any number of threads may use them. None has connected yet.

    Attributes:
        patient: for transfers; whoever waits for one anyway tries again by itself.
        brief: for what a transaction or a probe waits for; it gives up within 4.5 s.
        signer: makes URLs that clients are sent to; None where they are not.
    """

    patient: Any
    brief: Any
    signer: Any


def open_clients(settings: Settings) -> Clients:
    """The clients for the settings' store, with the credentials of this process's environment."""
    session = Session()
    region = settings.storage_region or os.environ.get("AWS_REGION") or _own_region(session)

    def make(endpoint: str, attempts: int, connect_seconds: float, read_seconds: float) -> Any:
        config = _config(attempts, connect_seconds, read_seconds)
        client: Any = session.create_client(
            "s3", region_name=region, endpoint_url=endpoint or None, config=config
        )
        client.meta.events.register("before-call.s3.DeleteObjects", _add_md5)
        return client

    endpoint = settings.storage_endpoint
    public = settings.storage_public_endpoint or endpoint
    return Clients(
        patient=make(endpoint, 3, 3.0, 10.0),
        brief=make(endpoint, 1, 2.0, 2.5),
        signer=make(public, 1, 2.0, 2.5) if settings.storage_redirects == "auto" else None,
    )


def _config(attempts: int, connect_seconds: float, read_seconds: float) -> Config:
    return Config(
        signature_version="s3v4",
        connect_timeout=connect_seconds,
        read_timeout=read_seconds,
        retries={"mode": "standard", "total_max_attempts": attempts},
        tcp_keepalive=True,
        max_pool_connections=32,
        s3={"payload_signing_enabled": True},  # the store compares what comes with its sha256
        request_checksum_calculation=_AS_GIVEN,
        response_checksum_validation=_AS_GIVEN,
    )


def _own_region(session: Session) -> str:
    return session.get_config_variable("region") or DEFAULT_REGION


def _add_md5(params: dict[str, Any], **_: Any) -> None:
    """Adds what the protocol wanted of a list of deletions at first, and older stores still do."""
    sum_ = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(sum_).decode()


@contextmanager
def speaking_to(where: str) -> Generator[None]:
    """Turns botocore's errors into OSError: StorageUnavailableError, or that there is no room."""
    try:
        yield
    except ClientError as error:
        if code_of(error) in _FULL:
            raise OSError(errno.ENOSPC, f"{where} is full: {error}") from error
        raise StorageUnavailableError(where, str(error)) from error
    except BotoCoreError as error:
        raise StorageUnavailableError(where, str(error)) from error


def code_of(error: ClientError) -> str:
    """What the store calls an error."""
    told: Any = error.response
    return str(told.get("Error", {}).get("Code", ""))


def is_missing(error: ClientError) -> bool:
    """Whether there is no such object."""
    return code_of(error) in _MISSING


def is_unmet(error: ClientError) -> bool:
    """Whether the condition of a write was not met, or can't be."""
    status: Any = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return code_of(error) in _UNMET or status in {409, 412, 501}
