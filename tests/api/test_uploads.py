"""Forms of uploaded files: broken ones, hostile ones, and their limits."""

from collections.abc import Iterator

import numpy as np
import pytest
from http_service import Service, problem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_files import ModelFiles, png

from api.predict import uploads

BOUNDARY = "boundary-of-a-test"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

CUT = png(np.zeros((99, 99), np.uint8))[:-30]


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "empty_file"), (b"hello", "not_a_picture"), (CUT, "broken_picture")],
)
def test_a_bad_file_is_pointed_to(
    shared: Service, pictures_path: str, made: ModelFiles, content: bytes, code: str
) -> None:
    good = png(made.test.images_NHW[0])
    files = [("files", ("good.png", good)), ("files", ("bad.png", content))]
    answer = shared.client.post(pictures_path, files=files)
    problem(answer, 422, "invalid")
    (item,) = answer.json()["errors"]
    assert (item["pointer"], item["code"]) == ("/files/1", code)
    assert item["detail"].startswith("bad.png: ")


def part(headers: str, content: bytes = b"") -> bytes:
    lines = f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode()
    return lines + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
DISPOSITION = 'Content-Disposition: form-data; name="files"; filename="{}"'
BAD_FORMS: list[tuple[bytes, int, str]] = [
    (b"", 400, "bad_form"),
    (b"hello", 400, "bad_form"),
    (END, 422, "invalid"),
    (part(DISPOSITION.format("x"), b"abc"), 400, "bad_form"),
    (part(DISPOSITION.format("x"), b"abc")[:40], 400, "bad_form"),
    (part("Content-Disposition: form-data") + END, 422, "invalid"),
    (part("X-Nothing: here") + END, 422, "invalid"),
    (part('Content-Disposition: form-data; name="other"', b"x") + END, 422, "invalid"),
    (part('Content-Disposition: form-data; name="\xff\xfe"', b"x") + END, 422, "invalid"),
    (part("A: " + "x" * 10_000) + END, 400, "bad_form"),
    (part("\r\n".join(f"H{i}: x" for i in range(100))) + END, 400, "bad_form"),
]


@pytest.mark.parametrize(("form", "status", "code"), BAD_FORMS, ids=lambda value: repr(value)[:40])
def test_bad_forms(
    shared: Service, pictures_path: str, form: bytes, status: int, code: str
) -> None:
    answer = shared.client.post(pictures_path, content=form, headers=FORM)
    problem(answer, status, code)


@pytest.mark.parametrize("parameters", ["", "; boundary=", "; boundary=" + "x" * 300])
def test_a_form_without_a_good_boundary(
    shared: Service, pictures_path: str, parameters: str
) -> None:
    headers = {"Content-Type": f"multipart/form-data{parameters}"}
    answer = shared.client.post(pictures_path, content=END, headers=headers)
    problem(answer, 400, "bad_form")


def test_odd_file_names_come_back_tame(
    shared: Service, predict_path: str, made: ModelFiles
) -> None:
    content = png(made.test.images_NHW[0])
    names = ["../../etc/passwd", "näme.png", "a\tb\x1b[31m.png", "x" * 4000]
    form = b"".join(part(DISPOSITION.format(name), content) for name in names) + END
    answer = shared.client.post(predict_path, content=form, headers=FORM)
    files = [p["file"] for p in answer.json()["predictions"]]
    assert files == ["../../etc/passwd", "näme.png", "ab[31m.png", "x" * 255]
    nameless = part('Content-Disposition: form-data; name="files"', content) + END
    answer = shared.client.post(predict_path, content=nameless, headers=FORM)
    assert answer.json()["predictions"][0]["file"] == ""


def test_all_files_together_are_bounded(
    shared: Service, predict_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = part(DISPOSITION.format("x.png"), png(np.zeros((28, 28), np.uint8)))
    form = picture * 6 + END
    monkeypatch.setattr(uploads, "MAX_UPLOAD_BYTES", len(form))

    def chunks(content: bytes) -> Iterator[bytes]:
        """Piece by piece, so that the length is not known before."""
        for start in range(0, len(content), 50):
            yield content[start : start + 50]

    for send in (chunks, bytes):
        answer = shared.client.post(predict_path, content=send(form), headers=FORM)
        assert len(answer.json()["predictions"]) == 6
        answer = shared.client.post(predict_path, content=send(picture + form), headers=FORM)
        problem(answer, 413, "too_large")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    st.integers(0, 10_000),
)
def test_no_damaged_form_makes_the_server_fail(
    shared: Service, predict_path: str, changes: list[tuple[int, int]], length: int
) -> None:
    content = png(np.zeros((28, 28), np.uint8))
    form = bytearray(part(DISPOSITION.format("x.png"), content) * 2 + END)
    for place, value in changes:
        form[place % len(form)] = value
    body = bytes(form[:length] if length < len(form) else form)
    answer = shared.client.post(predict_path, content=body, headers=FORM)
    assert answer.status_code in {200, 400, 422}, answer.text
