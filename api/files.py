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
from fmx_store.blobs import BlobStore
from fmx_store.tables import Artifact

CHUNK_BYTES = 256 * 1024

# What a browser may show. An SVG can hold a script, so it is never shown.
_INLINE_TYPES = ("image/png", "text/csv", "application/json", "text/plain")
_POLICY = "sandbox; default-src 'none'"


def artifact_response(
    request: Request, blobs: BlobStore, artifact: Artifact, *, inline: bool
) -> Response:
    """The file, a part of it, or 304. Raises ProblemError (416), BlobError."""
    etag = f'"{artifact.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Security-Policy": _POLICY,
        "Content-Disposition": _disposition(artifact, inline=inline),
    }
    if matches(etag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    is_head = request.scope.get(HEAD_KEY, False)
    span = None
    if not is_head:
        asked = request.headers
        span = requested_span(asked.get("range"), asked.get("if-range"), etag, artifact.size_bytes)
    status, part = 200, Span(0, artifact.size_bytes)
    if span is not None:
        status, part = 206, span
        last = span.start + span.length - 1
        headers["Content-Range"] = f"bytes {span.start}-{last}/{artifact.size_bytes}"
    headers["Content-Length"] = str(part.length)
    if is_head:
        return Response(b"", status, headers, artifact.media_type)
    content = _read(blobs.open(artifact.sha256), part)
    return StreamingResponse(content, status, headers, artifact.media_type)


def _disposition(artifact: Artifact, *, inline: bool) -> str:
    name = PurePosixPath(artifact.path).name
    shown = inline and artifact.media_type.partition(";")[0] in _INLINE_TYPES
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else "_" for c in name)
    kind = "inline" if shown else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


async def _read(file: BinaryIO, span: Span) -> AsyncIterator[bytes]:
    with file:
        await to_thread.run_sync(file.seek, span.start)
        left = span.length
        while left > 0:
            chunk = await to_thread.run_sync(file.read, min(CHUNK_BYTES, left))
            if not chunk:
                return  # shorter than recorded: the connection breaks, so the client notices
            left -= len(chunk)
            yield chunk


def archive_response(
    request: Request, blobs: BlobStore, artifacts: Sequence[Artifact], name: str
) -> Response:
    """Artifacts as one zip file, made while it is sent; its size is known before."""
    archive = ZipStream(sized=True)
    for artifact in artifacts:
        archive.add(_chunks(blobs, artifact), artifact.path, size=artifact.size_bytes)
    headers = {
        "Content-Length": str(len(archive)),
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    if request.scope.get(HEAD_KEY, False):
        return Response(b"", 200, headers, "application/zip")
    return StreamingResponse(iter(archive), 200, headers, "application/zip")


def _chunks(blobs: BlobStore, artifact: Artifact) -> Iterator[bytes]:
    with blobs.open(artifact.sha256) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
