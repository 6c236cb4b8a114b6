"""Forms that are broken, endless, or name their files oddly."""

from collections.abc import Callable, Iterator

from PIL import Image

from hostile import pictures
from hostile.attacks import Attack
from hostile.pictures import BOUNDARY, FORM, PREDICT, upload

_PICTURE = pictures.encode(Image.linear_gradient("L").resize((28, 28)))
_END = f"--{BOUNDARY}--\r\n".encode()
_FILE = 'Content-Disposition: form-data; name="files"; filename="x.png"'


def _part(*headers: str, content: bytes = b"") -> bytes:
    lines = "\r\n".join(headers)
    return f"--{BOUNDARY}\r\n{lines}\r\n\r\n".encode("latin-1") + content + b"\r\n"


def _said(content_type: str) -> dict[str, str]:
    return {"Content-Type": content_type}


def _endless() -> Iterator[bytes]:
    """A header that goes on for 20 MB."""
    yield f"--{BOUNDARY}\r\nX: ".encode()
    for _ in range(320):
        yield b"x" * 65_536


def _endless_file() -> Iterator[bytes]:
    yield f"--{BOUNDARY}\r\n{_FILE}\r\n\r\n".encode()
    for _ in range(320):
        yield bytes(65_536)


def _preamble() -> Iterator[bytes]:
    """140 MB before the first boundary."""
    for _ in range(2200):
        yield b"\r\n" * 32_768


FORMS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "only its end": lambda: _END,
    "text": lambda: b"hello",
    "no end": lambda: _part(_FILE, content=_PICTURE),
    "cut": lambda: upload(_PICTURE)[:60],
    "another boundary": lambda: upload(_PICTURE).replace(BOUNDARY.encode(), b"other"),
    "line feeds": lambda: upload(_PICTURE).replace(b"\r\n", b"\n"),
    "no headers": lambda: _part() + _END,
    "a header without a name": lambda: _part(": form-data") + _END,
    "a header without a colon": lambda: _part("Content-Disposition") + _END,
    "a header of 1 MB": lambda: _part("X: " + "x" * 1_000_000) + _END,
    "100,000 headers": lambda: _part(*["X: y"] * 100_000) + _END,
    "10,000 parts": lambda: _part(_FILE) * 10_000 + _END,
    "10,000 fields": lambda: (
        b"".join(_part(f'Content-Disposition: form-data; name="f{n}"') for n in range(10_000))
        + _END
    ),
    "65 pictures": lambda: _part(_FILE, content=_PICTURE) * 65 + _END,
    "a form within": lambda: (
        _part(_FILE, f"Content-Type: multipart/mixed; boundary={BOUNDARY}2", content=upload(b"x"))
        + _END
    ),
    "no name": lambda: _part("Content-Disposition: form-data", content=_PICTURE) + _END,
    "another name": lambda: _part('Content-Disposition: form-data; name="file"') + _END,
    "a name of 10 KB": lambda: _part(f'Content-Disposition: form-data; name="{"f" * 10_000}"')
    + _END,
    "a name with NUL": lambda: _part('Content-Disposition: form-data; name="fi\0les"') + _END,
    "a file name of 100 KB": lambda: upload(_PICTURE, name="x" * 100_000),
}  # fmt: skip

NAMES = [
    "a\r\nX-Evil: 1",
    "a\r\n\r\n<html>",
    "../../../etc/passwd",
    "..\\..\\boot.ini",
    "a\0.png",
    "C:/x",
    "nul",
    "<script>alert(1)</script>",
    "'; DROP TABLE job; --",
    "{0.__class__}",
    "%00%0d%0a",
    "\u202egnp.exe",
    "\u0430" * 1000,
]

BOUNDARIES = {
    "none": "multipart/form-data",
    "an empty one": "multipart/form-data; boundary=",
    "a long one": "multipart/form-data; boundary=" + "x" * 5000,
    "an open quote": 'multipart/form-data; boundary="',
    "odd letters": "multipart/form-data; boundary=\xe9\xe9",
    "two": f"multipart/form-data; boundary=x; boundary={BOUNDARY}y",
    "continued": "multipart/form-data; boundary*0=a; boundary*1=b",
    "encoded": "multipart/form-data; boundary*=utf-8''%00%0d%0a",
    "many parameters": "multipart/form-data" + "; a=b" * 5000,
    "another multipart": f"multipart/mixed; boundary={BOUNDARY}",
    "a field form": "application/x-www-form-urlencoded",
}

ATTACKS: dict[str, Callable[[], Attack]] = {
    **{
        f"form: {name}": lambda make=make: Attack(PREDICT, make(), FORM)
        for name, make in FORMS.items()
    },
    **{
        f"file name: {name!r:.40}": lambda name=name: Attack(
            PREDICT, upload(_PICTURE, name=name), FORM, statuses=frozenset({200, 400, 422})
        )
        for name in NAMES
    },
    **{
        f"boundary: {name}": lambda said=said: Attack(PREDICT, upload(_PICTURE), _said(said))
        for name, said in BOUNDARIES.items()
    },
    "a header without an end": lambda: Attack(PREDICT, _endless, FORM, code="bad_form"),
    "a file without an end": lambda: Attack(
        PREDICT, _endless_file, FORM, code="too_large", pointer="/files/0"
    ),
    "a preamble of 140 MB": lambda: Attack(PREDICT, _preamble, FORM),
    "a length that is too long": lambda: Attack(
        PREDICT, upload(_PICTURE), {**FORM, "Content-Length": "999999999999"}, code="too_large"
    ),
}
