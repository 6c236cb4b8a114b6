"""Blobs in a bucket of S3, or of what speaks its protocol: MinIO, Ceph and others.

A blob is written under its digest, and only if nothing is there; what is there is looked at, and
mended where its size or checksum is wrong. What is sent is verified here before it can be seen,
and by the store as it comes.
"""

import base64
import contextlib
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from fmx_store.blobs import (
    CHUNK_BYTES,
    INCOMING_SECONDS,
    StoredBlob,
    is_digest,
    missing,
    read_digest,
)
from fmx_store.copies import Copies
from fmx_store.errors import BlobError, StorageUnavailableError
from fmx_store.s3_client import Clients, is_missing, is_unmet, open_clients, speaking_to
from fmx_store.settings import Settings

PART_BYTES = 16 * 1024 * 1024  # of an upload in parts; what is no larger goes in one request
DELETE_AT_ONCE = LIST_AT_ONCE = 1000  # the most that the protocol takes
SIGNED_SECONDS = 300
RESUMES = 5  # of one download whose connection breaks


class S3Store:
    """Blobs below a prefix of a bucket. Threads may share it; each process needs its own."""

    def __init__(self, bucket: str, prefix: str, clients: Clients, copies: Copies) -> None:
        """The bucket must be there when it is first used, and need not be before."""
        self._bucket, self._prefix = bucket, prefix
        self._patient, self._brief = clients.patient, clients.brief
        self._signer, self._copies = clients.signer, copies
        self._where = f"s3://{bucket}/{prefix}"

    def put(self, source: Path, sha256: str) -> None:
        with source.open("rb") as file, speaking_to(self._where):
            size_bytes = source.stat().st_size
            if self._is_whole(sha256, size_bytes):
                return
            send = self._send_whole if size_bytes <= PART_BYTES else self._send_parts
            try:
                send(file, sha256, {"IfNoneMatch": "*"})
            except ClientError as error:
                if self._is_whole(sha256, size_bytes):
                    return  # by another put, or by this one, whose answer was lost
                if not is_unmet(error):
                    raise
                file.seek(0)
                send(file, sha256, {})

    def _is_whole(self, sha256: str, size_bytes: int) -> bool:
        """Whether the blob is there with the right bytes."""
        found = self._head(self._patient, sha256)
        if found is None or found["ContentLength"] != size_bytes:
            return False
        told = found.get("ChecksumSHA256")
        if told is None or "-" in told:  # the checksum of the checksums of parts
            with self.open(sha256) as file:
                return read_digest(file) == sha256
        return told == _base64(bytes.fromhex(sha256))

    def _head(self, client: Any, sha256: str) -> dict[str, Any] | None:
        try:
            return client.head_object(**self._object(sha256), ChecksumMode="ENABLED")
        except ClientError as error:
            if is_missing(error):
                return None
            raise

    def _send_whole(self, file: BinaryIO, sha256: str, condition: Mapping[str, str]) -> None:
        content = file.read()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise _changed(file)
        checksum = _checksum(bytes.fromhex(sha256))
        self._patient.put_object(**self._object(sha256), Body=content, **checksum, **condition)

    def _send_parts(self, file: BinaryIO, sha256: str, condition: Mapping[str, str]) -> None:
        key = self._object(sha256)
        begun = self._patient.create_multipart_upload(**key, ChecksumAlgorithm="SHA256")
        upload = {**key, "UploadId": begun["UploadId"]}
        try:
            parts = self._send_each(file, sha256, upload)
            self._patient.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": parts}, **condition
            )
        except BaseException:
            with contextlib.suppress(ClientError, BotoCoreError):  # tidy removes it one day
                self._brief.abort_multipart_upload(**upload)
            raise

    def _send_each(
        self, file: BinaryIO, sha256: str, upload: Mapping[str, str]
    ) -> Sequence[dict[str, Any]]:
        whole = hashlib.sha256()
        parts: list[dict[str, Any]] = []
        while content := file.read(PART_BYTES):
            whole.update(content)
            part = {"PartNumber": len(parts) + 1}
            checksum = _checksum(hashlib.sha256(content).digest())
            sent = self._patient.upload_part(**upload, **part, **checksum, Body=content)
            told = {"ETag": sent["ETag"], "ChecksumSHA256": checksum["ChecksumSHA256"]}
            parts.append({**part, **told})
        if whole.hexdigest() != sha256:
            raise _changed(file)
        return parts

    def open(self, sha256: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        def get(position: int) -> Any:
            return self._get(sha256, position, stop)

        return io.BufferedReader(_Download(get, start, self._where), CHUNK_BYTES)

    def _get(self, sha256: str, start: int, stop: int | None) -> Any:
        asked: dict[str, str] = {}
        if start > 0 or stop is not None:
            asked["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        with speaking_to(self._where):
            try:
                return self._patient.get_object(**self._object(sha256), **asked)["Body"]
            except ClientError as error:
                if is_missing(error):
                    raise missing(sha256) from error
                raise

    def fetch(self, sha256: str, to: Path) -> Path:
        if not self._copies.place(sha256, to):
            with self.open(sha256) as source:
                self._copies.add(sha256, source, to)
        return to

    def size_of(self, sha256: str) -> int | None:
        with speaking_to(self._where):
            found = self._head(self._patient, sha256)
        return None if found is None else found["ContentLength"]

    def sign(self, sha256: str, media_type: str, disposition: str) -> str | None:
        if self._signer is None:
            return None
        answer = {"ResponseContentType": media_type, "ResponseContentDisposition": disposition}
        asked = {**self._object(sha256), **answer}
        with speaking_to(self._where):
            return self._signer.generate_presigned_url(
                "get_object", Params=asked, ExpiresIn=SIGNED_SECONDS
            )

    def delete(self, sha256: str) -> None:
        self.delete_all([sha256])

    def delete_all(self, digests: Iterable[str]) -> None:
        with speaking_to(self._where):
            left = iter(digests)
            while some := list(islice(left, DELETE_AT_ONCE)):
                keys = [{"Key": self._key(sha256)} for sha256 in some]
                asked = {"Objects": keys, "Quiet": True}
                done = self._brief.delete_objects(Bucket=self._bucket, Delete=asked)
                if refused := done.get("Errors"):
                    why = f"{refused[0].get('Code')}: {refused[0].get('Message')}"
                    raise StorageUnavailableError(self._where, why)

    def entries(self) -> Iterator[StoredBlob]:
        with speaking_to(self._where):
            for page in self._pages("list_objects_v2"):
                for found in page.get("Contents", ()):
                    sha256 = found["Key"].rpartition("/")[2]
                    if is_digest(sha256) and found["Key"] == self._key(sha256):
                        yield StoredBlob(sha256, found["Size"], found["LastModified"])

    def digests(self) -> Iterator[str]:
        return (entry.sha256 for entry in self.entries())

    def tidy(self) -> None:
        before = datetime.now(UTC) - timedelta(seconds=INCOMING_SECONDS)
        with speaking_to(self._where):
            for page in self._pages("list_multipart_uploads"):
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < before:
                        key = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                        self._patient.abort_multipart_upload(Bucket=self._bucket, **key)

    def _pages(self, operation: str) -> Iterator[dict[str, Any]]:
        pages = self._patient.get_paginator(operation)
        size = {"PageSize": LIST_AT_ONCE}
        return iter(pages.paginate(Bucket=self._bucket, Prefix=self._prefix, PaginationConfig=size))

    def check(self) -> None:
        with speaking_to(self._where):
            self._brief.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

    def _key(self, sha256: str) -> str:
        return f"{self._prefix}{sha256[:2]}/{sha256}"

    def _object(self, sha256: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._key(sha256)}


class _Download(io.RawIOBase):
    """A blob on its way here. Where the connection breaks, the rest is asked for anew."""

    def __init__(self, get: Callable[[int], Any], start: int, where: str) -> None:
        """Get opens the blob's bytes from a position on; the first is opened here."""
        self._get, self._position, self._where = get, start, where
        self._resumes_left = RESUMES
        self._body = get(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            try:
                chunk = self._body.read(len(buffer))
            except (BotoCoreError, OSError) as error:
                self._resume(error)
            else:
                buffer[: len(chunk)] = chunk
                self._position += len(chunk)
                return len(chunk)

    def _resume(self, error: Exception) -> None:
        self._body.close()
        if self._resumes_left == 0:
            raise StorageUnavailableError(self._where, str(error)) from error
        self._resumes_left -= 1
        self._body = self._get(self._position)

    def close(self) -> None:
        if not self.closed:
            self._body.close()
        super().close()


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _checksum(digest: bytes) -> dict[str, str]:
    """A sha256 as a request tells it, which the store compares with what comes."""
    return {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": _base64(digest)}


def _changed(file: BinaryIO) -> BlobError:
    return BlobError(f"{file.name} has changed while it was being stored")


def open_bucket(settings: Settings) -> S3Store:
    """The store in the bucket that the settings name, which need not answer yet."""
    assert settings.storage_bucket is not None  # noqa: S101 - whoever asks has looked
    bucket, prefix = settings.storage_bucket
    copies = Copies(settings.cache_dir / "blobs", settings.storage_cache_bytes)
    return S3Store(bucket, prefix, open_clients(settings), copies)
