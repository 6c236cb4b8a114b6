"""Headers, paths and queries that are too long, too many, or forged."""

import base64
import gzip
import zlib
from collections.abc import Callable

from hostile.attacks import Attack

FINE = frozenset({200})
EITHER = frozenset({200, *range(400, 500)})
NOBODY = "01KB0000000000000000000000"

_FILE = "/v1/jobs/{job}/artifacts/{file}"
_JSON = {"Content-Type": "application/json"}
_INFER = "/v2/models/{model}/infer"


def _get(path: str, headers: dict[str, str] | None = None, **said: object) -> Attack:
    return Attack(path, headers=headers or {}, method="GET", **said)  # pyright: ignore[reportArgumentType]


RANGES = {
    "1,000 ranges": ("bytes=" + ",".join(f"{n}-{n}" for n in range(1000)), frozenset({416})),
    "overlapping": ("bytes=0-,0-,0-", frozenset({416})),
    "beyond": ("bytes=99999999999-", frozenset({416})),
    "2^64": (f"bytes={2**64}-{2**65}", EITHER),
    "1,000 digits": ("bytes=" + "9" * 1000 + "-", FINE),
    "backwards": ("bytes=9-1", FINE),
    "minus minus": ("bytes=--1", FINE),
    "the last none": ("bytes=-0", frozenset({416})),
    "another unit": ("lines=0-1", FINE),
    "nonsense": ("bytes=\xff", FINE),
    "no number": ("bytes=NaN-", FINE),
}

HEADERS: dict[str, Callable[[], Attack]] = {
    "10,000 tags": lambda: _get(
        "/v1/jobs/{job}", {"If-None-Match": ",".join(['"x"'] * 10_000)}, statuses=FINE
    ),
    "an open tag": lambda: _get("/v1/jobs/{job}", {"If-None-Match": '"x'}, statuses=FINE),
    "10,000 types": lambda: _get(
        "/v1/runs/{run}/metrics", {"Accept": ",".join(["a/b;q=0.5"] * 6000)}, statuses=EITHER
    ),
    "a quality that is none": lambda: _get(
        "/v1/runs/{run}/metrics", {"Accept": "text/csv;q=nan, */*;q=inf"}, statuses=FINE
    ),
    "a key of 256 characters": lambda: Attack(
        "/v1/jobs", b'{"kind": "q1"}', {**_JSON, "Idempotency-Key": "k" * 256},
        code="invalid", pointer="header Idempotency-Key",
    ),
    "a key of odd bytes": lambda: Attack(
        "/v1/jobs", b'{"kind": "q1"}', {**_JSON, "Idempotency-Key": "\xe9\xff"},
        code="invalid", pointer="header Idempotency-Key",
    ),
    "an empty key": lambda: Attack(
        "/v1/jobs", b'{"kind": "q1"}', {**_JSON, "Idempotency-Key": ""},
        code="invalid", pointer="header Idempotency-Key",
    ),
    "60 KB of headers": lambda: _get(
        "/healthz", {f"X-{n}": "y" * 50 for n in range(1000)}, statuses=EITHER
    ),
    "a host that is none": lambda: _get("/", {"Host": "a b\\@c/d?e"}, statuses=EITHER | {307}),
    "a forged address": lambda: _get(
        "/healthz", {"X-Forwarded-For": "::1, \xff", "X-Forwarded-Proto": "gopher"}, statuses=FINE
    ),
    "another method by a header": lambda: _get(
        "/v1/jobs/{job}", {"X-HTTP-Method-Override": "DELETE"}, statuses=FINE
    ),
    "a request id that breaks the line": lambda: _get(
        "/healthz", {"X-Request-ID": "a\tb"}, statuses=FINE
    ),
    "ranges of a page": lambda: _get("/docs", {"Range": "bytes=0-,0-,0-"}, statuses=FINE),
    "a range of a page": lambda: _get("/docs", {"Range": "bytes=999999-"}, statuses=FINE),
    "a bad range of a page": lambda: _get(
        "/static/docs.js", {"Range": "bytes=x-"}, statuses=FINE
    ),
}  # fmt: skip

WAITS = ["1e9", "NaN", "-1", "0x10", "9" * 30, "1;wait=2", '"', "", "\xb2"]


def _squeeze(levels: int) -> bytes:
    content = bytes(100_000_000)
    for _ in range(levels):
        content = gzip.compress(content, 9)
    return content


CODINGS: dict[str, Callable[[], tuple[str, bytes]]] = {
    "a bomb": lambda: ("gzip", _squeeze(1)),
    "a nested bomb": lambda: ("gzip", _squeeze(2)),
    "two codings": lambda: ("gzip, gzip", _squeeze(2)),
    "a deflate bomb": lambda: ("deflate", zlib.compress(bytes(100_000_000), 9)),
    "br": lambda: ("br", b"x"),
    "zstd": lambda: ("zstd", b"x"),
    "chunked": lambda: ("chunked", b"x"),
    "nonsense": lambda: ("\xff" * 5000, b"x"),
    "nothing packed": lambda: ("gzip", b""),
    "cut": lambda: ("gzip", gzip.compress(b'{"inputs": []}')[:-4]),
    "10,000 members": lambda: ("gzip", gzip.compress(b"") * 10_000),
    "not packed": lambda: ("gzip", b'{"inputs": []}'),
}


def _coded(path: str, make: Callable[[], tuple[str, bytes]]) -> Attack:
    coding, body = make()
    return Attack(path, body, {**_JSON, "Content-Encoding": coding})


PATHS = [
    "/v1/jobs/..%2f..%2fetc%2fpasswd",
    "/v1/jobs/{job}/artifacts/..%2f..%2f..%2ffmx.sqlite3",
    "/v1/jobs/{job}/artifacts/../../../../fmx.sqlite3",
    "/v1/jobs/{job}/artifacts/%2e%2e/%2e%2e/fmx.sqlite3",
    "/v1/jobs/{job}/artifacts/%c0%ae%c0%ae%c0%af",
    "/v1/jobs/{job}/artifacts/%00",
    "/v1/jobs/{job}/artifacts/a%00.png",
    "/v1/jobs/{job}/artifacts/%ff%fe",
    "/v1/jobs/{job}/artifacts/%ed%a0%80",
    "/v1/jobs/{job}/artifacts//etc/passwd",
    "/v1/jobs/{job}/artifacts/file:%2f%2f%2fetc%2fpasswd",
    "/v1/jobs/{job}/artifacts/http:%2f%2f169.254.169.254%2f",
    "/v1/jobs/%00",
    "/v1/jobs/%0d%0aX-Evil:%201",
    "/v1/jobs/" + "9" * 8000,
    "/v1/jobs/" + "%41" * 8000,
    "/v1/runs/" + "a/" * 4000,
    "/v1//jobs",
    "//v1/jobs",
    "/v1/jobs//",
    "/v1/jobs/.",
    "/v1/models/..;/jobs",
    "/v1/models/%252e%252e%252f",
    "/v2/models/" + "x" * 5000 + "/infer",
    "/v2/models/{model}/versions/" + "1" * 5000,
    "/v2/models/{model}/versions/%31%00",
    "/v1/kinds/__proto__",
    "/v1/kinds/q1%00",
    "/v1/reports/report.exe",
    "/v1/reports/report.html%00.pdf",
    "/static/../main.py",
    "/static/%2e%2e/%2e%2e/main.py",
    "/static/..%2f..%2fmain.py",
    "/static/..%5c..%5cmain.py",
    "/static//etc/passwd",
    "/static/%00",
    "/static/" + "a" * 5000,
    "/static/" + "a/" * 4000,
    "/static/",
    "/static",
    "/.git/config",
    "/.env",
    "/%",
    "/%zz",
    "/*",
]

QUERIES = {
    "/v1/jobs": [
        "limit=-1", "limit=0", "limit=201", "limit=1e9", "limit=NaN", "limit=1&limit=2", "limit=",
        "limit=" + "9" * 5000, "limit=%00", "limit=\u0665", "limit[]=5", "limit=1;limit=2",
        "kind=q9", "kind=", "kind=q1%00", "state=done", "tag=", "tag=%00", "tag=" + "x" * 65,
        "nothing=1", "__proto__=1", "=", "%=%", "cursor=",
        "cursor=x", "cursor=%00", "cursor=" + "A" * 601, "cursor=\u20ac",
        "cursor=" + base64.urlsafe_b64encode(b"' OR 1=1 --").decode().rstrip("="),
        "cursor=" + base64.urlsafe_b64encode(b"\0" * 26).decode().rstrip("="),
        "cursor=" + base64.urlsafe_b64encode(b"\xff" * 26).decode().rstrip("="),
        "&".join(f"k{n}=v" for n in range(5000)),
        "&".join(["limit=5"] * 5000),
        "&" * 20_000 + "limit=0",
    ],
    "/v1/jobs/{job}/artifacts": [
        "cursor=" + base64.urlsafe_b64encode(b"../\0").decode().rstrip("="), "limit=0",
    ],
    "/v1/jobs/{job}/artifacts.zip": ["prefix=../", "prefix=%00", "prefix=" + "x" * 301],
    "/v1/jobs/{job}/artifacts/{file}": ["inline=maybe", "inline=", "inline=1&inline=0"],
    "/v1/models": ["job=x", "job=" + "%00" * 26, "job={job}x"],
    "/v1/runs/{run}/metrics": [
        "max_points=0", "max_points=-5", "max_points=10001", "max_points=1e3", "max_points=NaN",
        "format=xml", "format=CSV",
    ],
    "/v1/reports/report.html": [
        "jobs=", "jobs=,", "jobs=,,,", "jobs=" + ",".join(["x"] * 100), "jobs={job},{job}",
        f"jobs={NOBODY}", "jobs=%00", "jobs=" + "x" * 601,
    ],
    "/healthz": ["x", "x=1", "=1"],
}  # fmt: skip

MAPS = [
    "layers=", "layers=conv9", "layers=conv1,conv1", "layers=" + "conv1," * 60, "layers=%00",
    "values=maybe", "nothing=1",
]  # fmt: skip

METHODS = ["PUT", "PATCH", "TRACE", "OPTIONS", "CONNECT", "PROPFIND", "SEARCH", "PURGE", "QUERY"]

ATTACKS: dict[str, Callable[[], Attack]] = {
    **{f"header: {name}": make for name, make in HEADERS.items()},
    **{
        f"range: {name}": lambda said=said, statuses=statuses: _get(
            _FILE, {"Range": said}, statuses=statuses
        )
        for name, (said, statuses) in RANGES.items()
    },
    **{
        f"wait: {said!r:.20}": lambda said=said: _get(
            "/v1/jobs/{job}", {"Prefer": f"wait={said}"}, statuses=FINE
        )
        for said in WAITS
    },
    **{
        f"coding on {path[:3]}: {name}": lambda path=path, make=make: _coded(path, make)
        for path in ("/v1/jobs", "/v1/models/{model}/predict", _INFER)
        for name, make in CODINGS.items()
    },
    **{f"path: {path:.60} ({len(path)})": lambda path=path: _get(path) for path in PATHS},
    **{
        f"query: {path}?{query:.50} ({len(query)})": lambda path=path, query=query: _get(
            f"{path}?{query}"
        )
        for path, queries in QUERIES.items()
        for query in queries
    },
    **{
        f"maps: {query:.40}": lambda query=query: Attack(
            f"/v1/models/{{model}}/feature-maps?{query}", b'{"test_rows": [0]}', _JSON
        )
        for query in MAPS
    },
    **{
        f"method: {method} {path}": lambda method=method, path=path: Attack(
            path, b"x" if method != "TRACE" else b"", method=method, code="method_not_allowed"
        )
        for method in METHODS[:4] + METHODS[5:]
        for path in ("/v1/models", "/v1/jobs/validate", "/healthz", "/static/docs.js")
    },
    "a body that nothing asks for": lambda: Attack(
        "/v1/jobs", b"x" * 1_000_000, method="GET", statuses=FINE
    ),
    "a body without an end that nothing asks for": lambda: Attack(
        "/v1/models", lambda: (bytes(65_536) for _ in range(320)), method="GET", statuses=EITHER
    ),
}
