"""Bodies that are compressed, both ways: gzip, and deflate as HTTP means it (zlib)."""

import gzip
import zlib
from collections.abc import Mapping

from starlette.requests import Request

from api.json_body import too_large
from api.problems import refuse

CODINGS = ("gzip", "deflate")
MIN_BYTES = 1024  # of an answer that is worth compressing

_LEVEL = 1  # the others take several times as long for a few percent
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def content_coding(request: Request) -> str | None:
    """How the request's body is compressed, if it is. Raises ProblemError (415)."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding == "identity":
        return None
    if coding not in CODINGS:
        detail = f"content encoding {coding[:100]!r} is none of {', '.join(CODINGS)}"
        headers = {"Accept-Encoding": ", ".join(CODINGS)}
        raise refuse(415, "unsupported_content_encoding", detail, headers=headers)
    return coding


def decompress(body: bytes, coding: str, max_bytes: int) -> bytes:
    """The body's contents. Raises ProblemError: 400, or 413 without unpacking much more."""
    unpacker = zlib.decompressobj(_WINDOW_BITS[coding])
    try:
        content = unpacker.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise refuse(400, "bad_compression", f"the body is no {coding}") from error
    if len(content) > max_bytes:
        raise too_large(max_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise refuse(400, "bad_compression", f"the body is not one whole {coding} stream")
    return content


def compress(content: bytes, coding: str) -> bytes:
    """The content, compressed."""
    if coding == "gzip":
        return gzip.compress(content, _LEVEL, mtime=0)
    return zlib.compress(content, _LEVEL)


def choose_coding(headers: Mapping[str, str], num_bytes: int) -> str | None:
    """How to compress an answer of so many bytes, if the client likes that."""
    if num_bytes < MIN_BYTES:
        return None
    accepted = headers.get("accept-encoding", "").lower().split(",")
    wishes = [wish.replace(" ", "").partition(";q=") for wish in accepted]
    liked = {coding for coding, _, weight in wishes if weight.strip("0.") or not weight}
    return next((coding for coding in CODINGS if coding in liked), None)
