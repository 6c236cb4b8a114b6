"""Stored files as answers: whole, in part, or many of them in one archive."""

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import PurePosixPath
from typing import BinaryIO
from urllib.parse import quote

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from zipstream import ZipStream

from api.conditional import Span, matches, requested_span
from api.envelope import HEAD_KEY
from fmx_store.blobs import BlobStore, missing
from fmx_store.tables import Artifact

CHUNK_BYTES = 256 * 1024

# What a browser may show. An SVG can hold a script, so it is never shown.
_INLINE_TYPES = ("image/png", "text/csv", "application/json", "text/plain")
_POLICY = "sandbox; default-src 'none'"


def artifact_response(
    request: Request, blobs: BlobStore, artifact: Artifact, *, inline: bool
) -> Response:
    """The file, a part of it, 304, or where a store gives it out itself, the way there.

    Raises ProblemError (416), BlobError, StorageUnavailableError.
    """
    etag = f'"{artifact.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Security-Policy": _POLICY,
        "Content-Disposition": _disposition(artifact, inline=inline),
    }
    asked = request.headers
    if matches(etag, asked.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    if request.scope.get(HEAD_KEY, False):
        headers["Content-Length"] = str(artifact.size_bytes)
        return Response(b"", 200, headers, artifact.media_type)
    span = requested_span(asked.get("range"), asked.get("if-range"), etag, artifact.size_bytes)
    # A range that does not count here would count there; what is shown is shown by this origin.
    if not inline and (span is not None or "range" not in asked):
        url = blobs.sign(artifact.sha256, artifact.media_type, headers["Content-Disposition"])
        if url is not None:
            return _sent_elsewhere(url, etag)
    return _streamed(blobs, artifact, span, headers)


def _sent_elsewhere(url: str, etag: str) -> Response:
    """The way to a file, for whoever asked alone: the URL is as good as the file for a while."""
    return Response(
        status_code=307,
        headers={
            "Location": url,
            "ETag": etag,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
        },
    )


def _streamed(
    blobs: BlobStore, artifact: Artifact, span: Span | None, headers: dict[str, str]
) -> Response:
    size_bytes, media_type = artifact.size_bytes, artifact.media_type
    if span is None:
        content = _read(blobs.open(artifact.sha256), size_bytes)
        headers["Content-Length"] = str(size_bytes)
        return StreamingResponse(content, 200, headers, media_type)
    stop = span.start + span.length
    content = _read(blobs.open(artifact.sha256, span.start, stop), span.length)
    headers["Content-Range"] = f"bytes {span.start}-{stop - 1}/{size_bytes}"
    headers["Content-Length"] = str(span.length)
    return StreamingResponse(content, 206, headers, media_type)


def _disposition(artifact: Artifact, *, inline: bool) -> str:
    name = PurePosixPath(artifact.path).name
    shown = inline and artifact.media_type.partition(";")[0] in _INLINE_TYPES
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else "_" for c in name)
    kind = "inline" if shown else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


async def _read(file: BinaryIO, length: int) -> AsyncIterator[bytes]:
    with file:
        left = length
        while left > 0:
            chunk = await to_thread.run_sync(file.read, min(CHUNK_BYTES, left))
            if not chunk:
                return  # shorter than recorded: the connection breaks, so the client notices
            left -= len(chunk)
            yield chunk


def archive_response(
    request: Request, blobs: BlobStore, artifacts: Sequence[Artifact], name: str
) -> Response:
    """Artifacts as one zip file, made while it is sent; its size is known before.

    Raises BlobError, StorageUnavailableError where not even the first of them can be had.
    """
    archive = ZipStream(sized=True)
    for artifact in artifacts:
        archive.add(_chunks(blobs, artifact), artifact.path, size=artifact.size_bytes)
    headers = {
        "Content-Length": str(len(archive)),
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    if request.scope.get(HEAD_KEY, False):
        return Response(b"", 200, headers, "application/zip")
    if artifacts and blobs.size_of(artifacts[0].sha256) is None:
        raise missing(artifacts[0].sha256)
    return StreamingResponse(iter(archive), 200, headers, "application/zip")


def _chunks(blobs: BlobStore, artifact: Artifact) -> Iterator[bytes]:
    with blobs.open(artifact.sha256) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
