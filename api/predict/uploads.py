"""Uploaded files, one after another as they arrive: no more than one of them is in memory."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from api.json_body import refuse_encoding, refuse_length, too_large
from api.pointers import ErrorItem, join_pointer
from api.problems import ProblemError, invalid, refuse
from fmx_store.settings import MEBIBYTE, Settings

FORM_TYPE = "multipart/form-data"
FIELD = "files"
PICTURE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/bmp")
MAX_UPLOAD_BYTES = 128 * MEBIBYTE  # of all files of a request
MAX_NAME_LENGTH = 255


@dataclass(frozen=True)
class Upload:
    """A file that a client sent."""

    name: str
    content: bytes


class _Collector:
    """What the parser calls, part by part; whole files gather in `done`."""

    def __init__(self, settings: Settings, max_files: int) -> None:
        self.done: list[Upload] = []
        self.has_ended = False
        self._settings, self._max_files = settings, max_files
        self._num_files = 0
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = bytearray(), bytearray()
        self._file_name = ""
        self._content = bytearray()

    def on_part_begin(self) -> None:
        self._headers = {}

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        field = options.get(b"name", b"").decode(errors="replace")
        if field != FIELD:
            item = ErrorItem(
                join_pointer([field[:100]]), "extra_forbidden", f"only {FIELD!r} is known"
            )
            raise invalid([item])
        self._num_files += 1
        if self._num_files > self._max_files:
            detail = f"more than {self._max_files} files"
            raise invalid([ErrorItem(f"/{FIELD}", "too_long", detail)])
        self._file_name = _clean_name(options.get(b"filename", b""))
        self._content = bytearray()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]
        if len(self._content) > self._settings.max_picture_bytes:
            raise too_large(self._settings.max_picture_bytes, f"/{FIELD}/{self._num_files - 1}")

    def on_part_end(self) -> None:
        self.done.append(Upload(self._file_name, bytes(self._content)))
        self._content = bytearray()

    def on_end(self) -> None:
        self.has_ended = True


def _clean_name(name: bytes) -> str:
    """The name to answer with: its printable characters, bounded."""
    text = name.decode(errors="replace")
    return "".join(c for c in text if c.isprintable())[:MAX_NAME_LENGTH]


async def stream_files(
    request: Request, settings: Settings, max_files: int
) -> AsyncGenerator[Upload]:
    """The files of a form, in order. Raises ProblemError: 400, 413, 415, 422."""
    refuse_encoding(request)
    refuse_length(request, MAX_UPLOAD_BYTES)
    collector = _Collector(settings, max_files)
    parser = _make_parser(request, collector)
    num_bytes = 0
    async for chunk in request.stream():
        num_bytes += len(chunk)
        if num_bytes > MAX_UPLOAD_BYTES:
            raise too_large(MAX_UPLOAD_BYTES)
        _write(parser, chunk)
        while collector.done:
            yield collector.done.pop(0)
    if not collector.has_ended:
        raise _bad_form("the form ends before its last boundary")


def _make_parser(request: Request, collector: _Collector) -> MultipartParser:
    _, options = parse_options_header(request.headers["content-type"])
    if not options.get(b"boundary"):
        raise _bad_form("the content type has no boundary")
    try:
        return MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": collector.on_part_begin,
                "on_part_data": collector.on_part_data,
                "on_part_end": collector.on_part_end,
                "on_header_field": collector.on_header_field,
                "on_header_value": collector.on_header_value,
                "on_header_end": collector.on_header_end,
                "on_headers_finished": collector.on_headers_finished,
                "on_end": collector.on_end,
            },
        )
    except FormParserError as error:
        raise _bad_form("the boundary can't be used") from error


def _write(parser: MultipartParser, chunk: bytes) -> None:
    try:
        parser.write(chunk)
    except FormParserError as error:
        raise _bad_form("the form is broken") from error


def _bad_form(detail: str) -> ProblemError:
    return refuse(400, "bad_form", detail)
