"""Texts that are no JSON, or JSON that is made to hurt."""

import json
from collections.abc import Callable

from hostile.attacks import Attack

JOBS, PREDICT, INFER = "/v1/jobs", "/v1/models/{model}/predict", "/v2/models/{model}/infer"
PATHS = {"jobs": JOBS, "validate": "/v1/jobs/validate", "predict": PREDICT, "infer": INFER}
SAID = {"Content-Type": "application/json"}

_Q1 = '{"kind": "q1"}'


def _priority(number: str) -> bytes:
    return f'{{"kind": "q1", "priority": {number}}}'.encode()


# What no path takes.
TEXTS: dict[str, bytes] = {
    "nothing": b"",
    "a blank": b" ",
    "a brace": b"{",
    "cut": b'{"kind": "q',
    "two values": b'{"kind": "q1"}{"kind": "q1"}',
    "a trailing comma": b'{"kind": "q1",}',
    "single quotes": b"{'kind': 'q1'}",
    "a comment": b'{"kind": "q1"} // hello',
    "a key twice": b'{"kind": "q1", "kind": "q2"}',
    "a key twice, escaped": b'{"kind": "q1", "k\\u0069nd": "q2"}',
    "a byte order mark": b"\xef\xbb\xbf" + _Q1.encode(),
    "UTF-16": _Q1.encode("utf-16"),
    "UTF-32": _Q1.encode("utf-32"),
    "Latin-1": '{"kind": "q1", "name": "\xe9"}'.encode("latin-1"),
    "overlong": b'{"kind": "q1", "name": "\xc0\xaf"}',
    "a lone surrogate": b'{"kind": "q1", "name": "\\ud800"}',
    "a lone surrogate as a key": b'{"kind": "q1", "\\udfff": 1}',
    "a surrogate in UTF-8": b'{"kind": "q1", "name": "\xed\xa0\x80"}',
    "NUL": b'{"kind": "q1", "name": "a\\u0000b"}',
    "NUL, bare": b'{"kind": "q1", "name": "a\0b"}',
    "NUL at the end": _Q1.encode() + b"\0",
    "control characters": b'{"kind": "q1", "name": "a\\u001b[31m"}',
    "NaN": _priority("NaN"),
    "Infinity": _priority("Infinity"),
    "-Infinity": _priority("-Infinity"),
    "1e400": _priority("1e400"),
    "2^63": _priority(str(2**63)),
    "-2^63 - 1": _priority(str(-(2**63) - 1)),
    "5.0": _priority("5.0"),
    "100,000 digits": _priority("9" * 100_000),
    "100,000 digits of a fraction": _priority("0." + "9" * 100_000),
    "an exponent of 100,000 digits": _priority("1e" + "9" * 100_000),
    "a sign": _priority("+5"),
    "a leading zero": _priority("05"),
    "hexadecimal": _priority("0x5"),
    "a name of 200 KB": f'{{"kind": "q1", "name": "{"x" * 200_000}"}}'.encode(),
    "a key of 200 KB": f'{{"kind": "q1", "{"x" * 200_000}": 1}}'.encode(),
    "20,000 keys": json.dumps({"kind": "q1", **{f"k{n}": n for n in range(20_000)}}).encode(),
    "20,000 bad items": json.dumps({"kind": "q1", "tags": [0] * 20_000}).encode(),
    "__proto__": b'{"kind": "q1", "__proto__": {"priority": 9}}',
    "__class__": b'{"kind": "q1", "__class__": "os.system"}',
    "33 lists deep": b"[" * 33 + b"]" * 33,
    "33 objects deep": b'{"kind":' * 33 + b"1" + b"}" * 33,
    "100,000 lists deep": b"[" * 100_000 + b"]" * 100_000,
    "100,000 lists deep, open": b"[" * 100_000,
    "80,000 lists in a list": b"[" + b"[]," * 80_000 + b"[]]",
    "a list": b'["q1"]',
    "a text": b'"q1"',
    "a number": b"5",
    "null": b"null",
}

CONTENT_TYPES = {
    "none": "",
    "text/plain": "text/plain",
    "a form": "application/x-www-form-urlencoded",
    "XML": "application/xml",
    "YAML": "application/x-yaml",
    "pickle": "application/x-python-serialize",
    "JSON lines": "application/jsonl",
    "nonsense": ";;;",
    "long": "application/json" + "x" * 8000,
    "two": "application/json, text/plain",
}

_TENSOR = b'{"inputs": [{"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [%s]}]}'


def _infer(data: bytes) -> Attack:
    return Attack(INFER, _TENSOR % data, SAID, code="too_many_values")


ATTACKS: dict[str, Callable[[], Attack]] = {
    **{
        f"{where}: {name}": lambda text=text, path=path: Attack(path, text, SAID)
        for where, path in PATHS.items()
        for name, text in TEXTS.items()
    },
    **{
        f"type: {name}": lambda said=said: Attack(
            JOBS, _Q1.encode(), {"Content-Type": said}, code="unsupported_media_type"
        )
        for name, said in CONTENT_TYPES.items()
    },
    **{
        f"charset: {name}": lambda name=name: Attack(
            JOBS, _Q1.encode("utf-16"), {"Content-Type": f"application/json; charset={name}"},
            code="bad_json", pointer="",
        )
        for name in ("utf-16", "utf-7", "../../x", "")
    },
    "one byte too many": lambda: Attack(
        JOBS, b" " * (256 * 1024 + 1 - len(_Q1)) + _Q1.encode(), SAID, code="too_large"
    ),
    "one byte too many, of unknown length": lambda: Attack(
        JOBS, lambda: iter([b" " * (256 * 1024 + 1 - len(_Q1)), _Q1.encode()]), SAID,
        code="too_large",
    ),
    "without an end": lambda: Attack(
        JOBS, lambda: (b" " * 65_536 for _ in range(320)), SAID, code="too_large"
    ),
    "infer: 4,000,000 lists": lambda: _infer(b"[]," * 4_000_000 + b"[]"),
    "infer: 6,000,000 numbers": lambda: _infer(b"0," * 6_000_000 + b"0"),
    "infer: 3,000,000 fractions": lambda: _infer(b"0.5," * 2_900_000 + b"0"),
    "infer: 1,000,000 objects": lambda: _infer(b"{}," * 4_000_000 + b"{}"),
    "infer: 2,000,000 texts": lambda: _infer(b'"a\\u00e9",' * 1_200_000 + b'""'),
    "predict: 300,000 lists": lambda: Attack(
        PREDICT, b'{"images": [' + b"[]," * 300_000 + b"[]]}", SAID, code="too_many_values"
    ),
}  # fmt: skip
