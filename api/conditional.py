"""Conditional requests, preferences and ranges (RFC 9110, RFC 7240), as far as they are served."""

import re
from dataclasses import dataclass

from api.accept import quality as _quality
from api.problems import refuse

_RANGE = re.compile(r"(\d*)-(\d*)")
_WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,9})\"?", re.IGNORECASE)


def matches(etag: str, if_none_match: str | None) -> bool:
    """Whether an If-None-Match header names this tag (weakly, as it should be compared)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def preferred_wait(prefer: str | None, max_seconds: int) -> int | None:
    """The seconds that a Prefer header asks to wait, bounded; None where it does not."""
    for preference in (prefer or "").split(","):
        if found := _WAIT.fullmatch(preference.partition(";")[0].strip()):
            return min(int(found[1]), max_seconds)
    return None


def prefers_csv(accept: str | None) -> bool:
    """Whether an Accept header likes CSV better than JSON."""
    return _quality(accept, "text/csv") > _quality(accept, "application/json")


def prefers_png(accept: str | None) -> bool:
    """Whether an Accept header likes PNG better than JSON."""
    return _quality(accept, "image/png") > _quality(accept, "application/json")


def prefers_lines(accept: str | None) -> bool:
    """Whether an Accept header likes JSON, a document a line, better than server-sent events."""
    return _quality(accept, "application/x-ndjson") > _quality(accept, "text/event-stream")


def accepts_json(accept: str | None) -> bool:
    """Whether JSON is an answer to an Accept header at all."""
    return _quality(accept, "application/json") > 0


@dataclass(frozen=True)
class Span:
    """A part of a file: `length` bytes from `start`."""

    start: int
    length: int


def requested_span(
    range_header: str | None, if_range: str | None, etag: str, size_bytes: int
) -> Span | None:
    """The one part of a file that is asked for; None where the whole file is to be sent.

    A header that is no byte range is ignored. Raises ProblemError (416) for several ranges, and
    for one that the file does not reach.
    """
    if range_header is None or (if_range is not None and if_range != etag):
        return None
    unit, _, text = range_header.partition("=")
    if unit.strip().lower() != "bytes":
        return None
    if "," in text:
        raise refuse(
            416, "several_ranges", "one range a request is served", headers=_size(size_bytes)
        )
    found = _RANGE.fullmatch(text.strip())
    if found is None or found[0] == "-" or len(found[0]) > 40:  # noqa: PLR2004 - no file is as long
        return None
    span = _resolve(found[1], found[2], size_bytes)
    if span is None:
        return None
    if span.length <= 0:
        raise refuse(
            416,
            "range_not_satisfiable",
            f"the file has {size_bytes:,} bytes",
            headers=_size(size_bytes),
        )
    return span


def _resolve(first: str, last: str, size_bytes: int) -> Span | None:
    """The part between two positions; of no length where the file does not reach it."""
    if not first:  # the last so many bytes
        length = min(int(last), size_bytes)
        return Span(size_bytes - length, length)
    start = int(first)
    if last and int(last) < start:  # no range at all
        return None
    end = min(int(last), size_bytes - 1) if last else size_bytes - 1
    return Span(start, end - start + 1)


def _size(size_bytes: int) -> dict[str, str]:
    return {"Content-Range": f"bytes */{size_bytes}"}
