"""Bytes on a connection that no HTTP client would send."""

from collections.abc import Callable

from hostile.attacks import RawAttack

_HOST = b"Host: localhost\r\n"
_GET = b"GET /healthz HTTP/1.1\r\n" + _HOST
_POST = b"POST /v1/jobs HTTP/1.1\r\n" + _HOST + b"Content-Type: application/json\r\n"
_Q1 = b'{"kind": "q9"}'  # which is refused, and so leaves nothing


def _chunked(*parts: bytes) -> bytes:
    return _POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(parts)


ATTACKS: dict[str, Callable[[], RawAttack]] = {
    "not HTTP": lambda: RawAttack(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)),
    "zeros": lambda: RawAttack(bytes(1000)),
    "HTTP/2": lambda: RawAttack(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)),
    "HTTP/0.9": lambda: RawAttack(b"GET /healthz\r\n\r\n"),
    "HTTP/9.9": lambda: RawAttack(b"GET /healthz HTTP/9.9\r\n" + _HOST + b"\r\n"),
    "HTTP/1.0": lambda: RawAttack(b"GET /healthz HTTP/1.0\r\n\r\n", (200,)),
    "a method that is none": lambda: RawAttack(b"G\xffT / HTTP/1.1\r\n" + _HOST + b"\r\n"),
    "a method of 1 MB": lambda: RawAttack(b"G" * 1_000_000 + b" / HTTP/1.1\r\n\r\n"),
    "CONNECT": lambda: RawAttack(
        b"CONNECT example.com:443 HTTP/1.1\r\n" + _HOST + b"\r\n", (400, 404, 405)
    ),
    "an absolute path": lambda: RawAttack(
        b"GET http://elsewhere/healthz HTTP/1.1\r\n" + _HOST + b"\r\n", (200, 400)
    ),
    "an absolute path without one": lambda: RawAttack(
        b"GET http://elsewhere HTTP/1.1\r\n" + _HOST + b"\r\n", (200, 307, 400, 404)
    ),
    "an asterisk": lambda: RawAttack(b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n", (400, 404, 405)),
    "no slash": lambda: RawAttack(b"GET healthz HTTP/1.1\r\n" + _HOST + b"\r\n"),
    "a path of 1 MB": lambda: RawAttack(
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n", (431,)
    ),
    "a path that is not ASCII": lambda: RawAttack(
        b"GET /\xff\xfe HTTP/1.1\r\n" + _HOST + b"\r\n", (400, 404)
    ),
    "a path with NUL": lambda: RawAttack(b"GET /\0 HTTP/1.1\r\n" + _HOST + b"\r\n"),
    "a header of 1 MB": lambda: RawAttack(
        _GET + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n", (431,)
    ),
    "20,000 headers": lambda: RawAttack(_GET + b"X: y\r\n" * 20_000 + b"\r\n", (431,)),
    "headers without an end": lambda: RawAttack(_GET + b"X: y\r\n" * 2_000_000, (431,)),
    "a header's name of 1 MB": lambda: RawAttack(_GET + b"X" * 1_000_000, (431,)),
    "a header with NUL": lambda: RawAttack(_GET + b"X: a\0b\r\n\r\n"),
    "a folded header": lambda: RawAttack(_GET + b"X: a\r\n b\r\n\r\n", (200, 400)),
    "a blank before the colon": lambda: RawAttack(_GET + b"X : a\r\n\r\n"),
    "a bare line feed": lambda: RawAttack(
        b"GET /healthz HTTP/1.1\nHost: localhost\n\n", (200, 400)
    ),
    "a bare carriage return": lambda: RawAttack(_GET + b"X: a\rY: b\r\n\r\n"),
    "two lengths": lambda: RawAttack(
        _POST + b"Content-Length: 14\r\nContent-Length: 15\r\n\r\n" + _Q1
    ),
    "a negative length": lambda: RawAttack(_POST + b"Content-Length: -1\r\n\r\n"),
    "a length of 2^64": lambda: RawAttack(
        _POST + b"Content-Length: 18446744073709551616\r\n\r\n"
    ),
    "a length of 5,000 digits": lambda: RawAttack(
        _POST + b"Content-Length: " + b"0" * 5000 + b"14\r\n\r\n" + _Q1, (400, 413, 422)
    ),
    "a length with a sign": lambda: RawAttack(_POST + b"Content-Length: +14\r\n\r\n" + _Q1),
    "a length of two numbers": lambda: RawAttack(
        _POST + b"Content-Length: 14, 14\r\n\r\n" + _Q1
    ),
    "a length and chunks": lambda: RawAttack(
        _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _GET
    ),
    "chunks and a length": lambda: RawAttack(
        _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + _GET
    ),
    "chunks, then not": lambda: RawAttack(
        _POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"
    ),
    "chunks twice": lambda: RawAttack(
        _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "an odd coding": lambda: RawAttack(
        _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", (400, 501)
    ),
    "chunks in HTTP/1.0": lambda: RawAttack(
        _chunked(b"e\r\n", _Q1, b"\r\n0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0", 1), (400, 422)
    ),
    "chunks that are sound": lambda: RawAttack(_chunked(b"e\r\n", _Q1, b"\r\n0\r\n\r\n"), (422,)),
    "chunks of one byte": lambda: RawAttack(
        _chunked(*(b"1\r\n%c\r\n" % byte for byte in _Q1), b"0\r\n\r\n"), (422,)
    ),
    "a chunk of no length": lambda: RawAttack(_chunked(b"\r\n", _Q1)),
    "a chunk of nonsense": lambda: RawAttack(_chunked(b"zz\r\n", _Q1)),
    "a chunk of negative length": lambda: RawAttack(_chunked(b"-1\r\n", _Q1)),
    "a chunk of 2^64": lambda: RawAttack(_chunked(b"10000000000000000\r\n", _Q1)),
    "a chunk longer than said": lambda: RawAttack(_chunked(b"2\r\n", _Q1, b"\r\n0\r\n\r\n")),
    "a chunk's extension of 1 MB": lambda: RawAttack(
        _chunked(b"e;", b"x" * 1_000_000, b"\r\n", _Q1, b"\r\n0\r\n\r\n"), (400, 413, 422)
    ),
    "trailers without an end": lambda: RawAttack(
        _chunked(b"e\r\n", _Q1, b"\r\n0\r\n", b"X: y\r\n" * 500_000), (400, 413, 422, 431)
    ),
    "a body that is cut": lambda: RawAttack(
        _POST + b"Content-Length: 100\r\n\r\n" + _Q1, (400, 408), may_be_silent=True
    ),
    "more than the length": lambda: RawAttack(
        _POST + b"Content-Length: 14\r\n\r\n" + _Q1 + b"GARBAGE\r\n\r\n", (422,)
    ),
    "1,000 requests at once": lambda: RawAttack((_GET + b"\r\n") * 1000, (200,)),
    "an upgrade to WebSocket": lambda: RawAttack(
        _GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        (200, 400, 403, 404, 426),
    ),
    "an upgrade to HTTP/2": lambda: RawAttack(
        _GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABk\r\n\r\n",
        (200, 400),
    ),
    "an expectation": lambda: RawAttack(
        _POST + b"Expect: 100-continue\r\nContent-Length: 14\r\n\r\n" + _Q1, (100,)
    ),
    "another expectation": lambda: RawAttack(
        _GET + b"Expect: \xff\r\n\r\n", (200, 400, 417)
    ),
    "half a line": lambda: RawAttack(b"GET /hea", (400, 408), may_be_silent=True),
    "half a head": lambda: RawAttack(_GET, (400, 408), may_be_silent=True),
    "nothing": lambda: RawAttack(b"", (), may_be_silent=True),
    "line ends": lambda: RawAttack(b"\r\n" * 1000, (400, 408), may_be_silent=True),
}  # fmt: skip
