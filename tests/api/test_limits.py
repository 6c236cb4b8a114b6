"""Every limit, at its bound and one above, through HTTP.

body             256 KB, whether its length is told or not
JSON             depth 32; keys once; numbers finite and, where whole, below 2^31
strings          name 128, tag 64 characters; no control characters, NUL, lone surrogates
job              32 tags, 1,000 runs, 10,000 epochs, batches of 65,536, 30 days
pictures         10 MB, 24 megapixels, PNG, JPEG, WebP and BMP; 64 a prediction, 8 for feature
                 maps, 1,024 tensors of the Open Inference Protocol
lists            200 items a page; one Range a request; 60 s of a long poll
queue            runs that wait, in all and of an owner
storage          bytes stored, in all and of an owner; bytes that must be free
rates            requests and predictions a second, submissions a minute

An operator's settings tighten the bounds of a job and never widen them.
"""

import asyncio
import io
import json
import resource
import shutil
import time
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from http_service import Service, pointers, problem, serve, wait_until
from key_kit import caller
from model_files import png
from PIL import Image
from pydantic import ValidationError
from services import Column

from fmx_store import claims, quotas
from fmx_store.settings import MEBIBYTE, Settings

BLACK = [[0] * 28] * 28
BLACK_PNG = png(np.zeros((28, 28), np.uint8))
NUMBERS = [n / 100 for n in range(1, 33)]


def post(service: Service, body: Any) -> httpx.Response:
    """What becomes of a request."""
    return service.client.post("/v1/jobs/validate", json=body)


def with_spec(**spec: Any) -> dict[str, Any]:
    return {"kind": "q1", "spec": spec}


def in_grid(*sizes: int) -> dict[str, Any]:
    """A grid of so many configurations."""
    names = ("learning_rate", "weight_decay", "dropout")
    lists = {name: NUMBERS[:size] for name, size in zip(names, sizes, strict=True)}
    return {"kind": "q2", "spec": {"grid": {"conv_layers": [1], **lists}}}


# A request at a bound, the one above it, and where that is told.
OF_A_JOB: list[tuple[Any, Any, str]] = [
    ({"kind": "q1", "name": "n" * 128}, {"kind": "q1", "name": "n" * 129}, "/name"),
    ({"kind": "q1", "name": "\U0001f600" * 128}, {"kind": "q1", "name": "é" * 129}, "/name"),
    ({"kind": "q1", "tags": ["t" * 64]}, {"kind": "q1", "tags": ["t" * 65]}, "/tags/0"),
    (
        {"kind": "q1", "tags": [str(n) for n in range(32)]},
        {"kind": "q1", "tags": [str(n) for n in range(33)]},
        "/tags",
    ),
    ({"kind": "q1", "priority": 9}, {"kind": "q1", "priority": 10}, "/priority"),
    (
        {"kind": "q1", "time_limit_seconds": 30 * 86_400},
        {"kind": "q1", "time_limit_seconds": 30 * 86_400 + 1},
        "/time_limit_seconds",
    ),
    (with_spec(max_epochs=10_000), with_spec(max_epochs=10_001), "/spec/max_epochs"),
    (with_spec(batch_size=65_536), with_spec(batch_size=65_537), "/spec/batch_size"),
    (with_spec(seeds=[2**31 - 1]), with_spec(seeds=[2**31]), "/spec/seeds/0"),
    (with_spec(seeds=list(range(32))), with_spec(seeds=list(range(33))), "/spec/seeds"),
    (in_grid(8, 5, 25), in_grid(7, 11, 13), "/spec/grid"),
]


@pytest.mark.parametrize(("bound", "above", "place"), OF_A_JOB)
def test_bounds_of_a_job(shared: Service, bound: Any, above: Any, place: str) -> None:
    assert post(shared, bound).status_code == 200, post(shared, bound).text
    answer = post(shared, above)
    problem(answer, 422, "invalid")
    assert pointers(answer) == [place]
    assert shared.client.post("/v1/jobs", json=above).status_code == 422


def test_a_thousand_runs_are_a_job_and_one_more_is_none(service: Service) -> None:
    job = service.client.post("/v1/jobs", json=in_grid(8, 5, 25)).json()
    assert job["runs"]["queued"] == 1000
    many = {"kind": "q5", "spec": {"fractions": list(range(1, 101)), "seeds": [0, 1, 2, 3]}}
    answer = service.client.post("/v1/jobs", json=many)
    problem(answer, 422, "limit_exceeded")
    assert pointers(answer) == ["/spec"]


def test_runs_are_counted_before_they_are_built(shared: Service) -> None:
    """A grid of 10^12 configurations and more: neither time nor memory."""
    lists = dict.fromkeys(("learning_rate", "weight_decay", "dropout", "momentum"), NUMBERS)
    grid = {**lists, "batch_size": list(range(1, 33)), "shift": list(range(9))}
    assert 32**5 * 9 > 3e8
    huge = {"kind": "q2", "spec": {"grid": grid, "seeds": list(range(32))}}
    models = [{"model": {"conv_layers": 1}, "optimiser": {"learning_rate": r}} for r in NUMBERS] * 3
    listed = {"kind": "q2", "spec": {"models": models, "seeds": list(range(32))}}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for body in (huge, listed):
        began = time.process_time()
        assert post(shared, body).status_code == 422
        assert time.process_time() - began < 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024, f"{grown} KB"


def padded(num_bytes: int) -> bytes:
    """A request of so many bytes."""
    return json.dumps({"kind": "q1"}).encode().ljust(num_bytes)


@pytest.mark.parametrize("is_told", [True, False])
def test_bytes_of_a_body(shared: Service, is_told: bool) -> None:
    headers = {"Content-Type": "application/json"}

    def send(num_bytes: int) -> httpx.Response:
        body = padded(num_bytes)
        content = body if is_told else iter([body[:100], body[100:]])
        return shared.client.post("/v1/jobs/validate", content=content, headers=headers)

    assert send(256 * 1024).status_code == 200
    problem(send(256 * 1024 + 1), 413, "too_large")


def nested(depth: int) -> bytes:
    return b'{"kind": "q1", "spec": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


# JSON that is read, and JSON that is not.
OF_JSON = [
    (nested(32), nested(33)),
    (b'{"kind": "q1", "name": "a"}', b'{"kind": "q1", "name": "a", "name": "a"}'),
    (
        b'{"kind": "q1", "spec": {"model": {}}}',
        b'{"kind": "q1", "spec": {"model": {"a": 1, "\\u0061": 1}}}',
    ),
    (b'{"kind": "q1", "priority": 1e308}', b'{"kind": "q1", "priority": 1e309}'),
    (b'{"kind": "q1", "priority": 1}', b'{"kind": "q1", "priority": NaN}'),
    (b'{"kind": "q1", "priority": 1}', b'{"kind": "q1", "priority": -Infinity}'),
    (b'{"kind": "q1", "name": "\\ud83d\\ude00"}', b'{"kind": "q1", "name": "\\ud83d"}'),
]


@pytest.mark.parametrize(("read", "refused"), OF_JSON)
def test_what_json_may_hold(shared: Service, read: bytes, refused: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = shared.client.post("/v1/jobs/validate", content=read, headers=headers)
    assert answer.status_code in {200, 422}, answer.text
    answer = shared.client.post("/v1/jobs/validate", content=refused, headers=headers)
    problem(answer, 400, "bad_json")


@pytest.mark.parametrize("character", ["\0", "\x01", "\t", "\n", "\x1b", "\x7f", "\x85", "\x9f"])
def test_strings_hold_no_control_characters(shared: Service, character: str) -> None:
    for member, place in (("name", "/name"), ("tags", "/tags/0")):
        text = f"a{character}b"
        answer = post(shared, {"kind": "q1", member: text if member == "name" else [text]})
        problem(answer, 422, "invalid")
        assert pointers(answer) == [place]
    for near in (" ", "~", "\xa0"):
        assert post(shared, {"kind": "q1", "name": f"a{near}b"}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/models", "runs", "artifacts"])
def test_items_of_a_page(service: Service, path: str) -> None:
    if not path.startswith("/"):
        path = f"{service.submit()['links']['self']}/{path}"
    assert service.client.get(path, params={"limit": 200}).status_code == 200
    answer = service.client.get(path, params={"limit": 201})
    problem(answer, 422, "invalid")
    assert pointers(answer) == ["?limit"]


def test_one_range_a_request(service: Service) -> None:
    job_id = service.run_to_success(job_files={"a.txt": b"0123456789"})
    path = f"/v1/jobs/{job_id}/artifacts/a.txt"
    one = service.client.get(path, headers={"Range": "bytes=2-4"})
    assert (one.status_code, one.content) == (206, b"234")
    two = service.client.get(path, headers={"Range": "bytes=2-4,6-7"})
    problem(two, 416, "several_ranges")
    flood = "bytes=" + ",".join(f"{n}-" for n in range(5000))
    assert service.client.get(path, headers={"Range": flood}).status_code in {416, 431}
    waited = service.client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=61"})
    assert waited.headers["preference-applied"] == "wait=60"


# Pictures.


def send_files(service: Service, path: str, *contents: bytes) -> httpx.Response:
    files = [("files", (f"{n}", content, "image/png")) for n, content in enumerate(contents)]
    return service.client.post(path, files=files)


def padded_png(num_bytes: int) -> bytes:
    """A picture with a chunk of no meaning, so many bytes in all."""
    content = b"\0" * (num_bytes - len(BLACK_PNG) - 12)
    name = b"fmXx"
    chunk = len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)
    end = len(BLACK_PNG) - 12
    return BLACK_PNG[:end] + chunk + BLACK_PNG[end:]


def test_bytes_of_a_picture(shared: Service, predict_path: str) -> None:
    bound, above = padded_png(10 * MEBIBYTE), padded_png(10 * MEBIBYTE + 1)
    assert (len(bound), len(above)) == (10 * MEBIBYTE, 10 * MEBIBYTE + 1)
    answer = send_files(shared, predict_path, bound)
    assert answer.status_code == 200, answer.text
    answer = send_files(shared, predict_path, BLACK_PNG, above)
    problem(answer, 413, "too_large")
    assert pointers(answer) == ["/files/1"]


def blank(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_pixels_of_a_picture(shared: Service, predict_path: str) -> None:
    assert send_files(shared, predict_path, blank(6000, 4000)).status_code == 200
    for size in ((6000, 4001), (24_000_001, 1)):
        answer = send_files(shared, predict_path, blank(*size))
        problem(answer, 422, "invalid")
        assert answer.json()["errors"][0]["code"] == "too_many_pixels"


FORMATS = {"PNG": 200, "JPEG": 200, "WEBP": 200, "BMP": 200}
OTHER_FORMATS = dict.fromkeys(("GIF", "TIFF", "ICO", "PPM", "TGA", "EPS", "PDF", "PCX"), 422)


@pytest.mark.parametrize(("form", "status"), [*FORMATS.items(), *OTHER_FORMATS.items()])
def test_formats_of_pictures(shared: Service, predict_path: str, form: str, status: int) -> None:
    file = io.BytesIO()
    Image.new("L", (28, 28)).save(file, form)
    answer = send_files(shared, predict_path, file.getvalue())
    assert answer.status_code == status, answer.text
    if status == 422:
        assert answer.json()["errors"][0]["code"] == "not_a_picture"


def test_pictures_of_a_request(shared: Service, model_id: str) -> None:
    for path, most in (("predict", 64), ("feature-maps", 8)):
        whole = f"/v1/models/{model_id}/{path}"
        assert shared.client.post(whole, json={"images": [BLACK] * most}).status_code == 200
        answer = shared.client.post(whole, json={"images": [BLACK] * (most + 1)})
        problem(answer, 422, "invalid")
        assert pointers(answer) == ["/images"]
        assert send_files(shared, whole, *[BLACK_PNG] * most).status_code == 200
        answer = send_files(shared, whole, *[BLACK_PNG] * (most + 1))
        problem(answer, 422, "invalid")
        assert pointers(answer) == ["/files"]


def test_tensors_of_a_request(shared: Service, model_id: str) -> None:
    def infer(number: int) -> httpx.Response:
        size = number * 784
        tensor = {"name": "images", "shape": [number, 784], "datatype": "UINT8"}
        head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]})
        headers = {"Inference-Header-Content-Length": str(len(head))}
        content = head.encode() + bytes(size)
        return shared.client.post(f"/v2/models/{model_id}/infer", content=content, headers=headers)

    assert infer(1024).status_code == 200
    answer = infer(1025)
    assert answer.status_code == 422
    assert pointers(answer) == ["/inputs/0/shape"]


# What an operator sets.


@contextmanager
def serving(column: Column, folder: Path, **values: Any) -> Generator[Service]:
    with serve(column.settings(port=0, lease_seconds=600.0, **values), folder) as service:
        yield service


# A setting, requests at its bound and above, and the places of the latter's errors.
TIGHTENED: list[tuple[str, int, Any, Any, list[str]]] = [
    (
        "max_name_length",
        3,
        {"kind": "q1", "name": "abc"},
        {"kind": "q1", "name": "abcd"},
        ["/name"],
    ),
    (
        "max_tags",
        1,
        {"kind": "q1", "tags": ["a"]},
        {"kind": "q1", "tags": ["a", "b"]},
        ["/tags"],
    ),
    (
        "max_epochs",
        20,
        with_spec(max_epochs=20),
        with_spec(max_epochs=21),
        ["/spec/max_epochs"],
    ),
    (
        "max_batch_size",
        64,
        {"kind": "q2", "spec": {"grid": {"batch_size": [1, 64]}}},
        {"kind": "q2", "spec": {"grid": {"batch_size": [65, 64, 66]}}},
        ["/spec/grid/batch_size/0", "/spec/grid/batch_size/2"],
    ),
    (
        "max_time_limit_seconds",
        60,
        {"kind": "q1", "time_limit_seconds": 60},
        {"kind": "q1", "time_limit_seconds": 61},
        ["/time_limit_seconds"],
    ),
    (
        "max_runs_per_job",
        3,
        with_spec(seeds=[0, 1, 2]),
        with_spec(seeds=[0, 1, 2, 3]),
        ["/spec"],
    ),
]


@pytest.mark.parametrize(("name", "bound", "good", "bad", "places"), TIGHTENED)
def test_settings_tighten(
    embedded_column: Column,
    tmp_path: Path,
    name: str,
    bound: int,
    good: Any,
    bad: Any,
    places: list[str],
) -> None:
    with serving(embedded_column, tmp_path, **{name: bound}) as service:
        for path in ("/v1/jobs", "/v1/jobs/validate"):
            answer = service.client.post(path, json=good)
            assert answer.is_success, answer.text
            answer = service.client.post(path, json=bad)
            assert answer.status_code == 422
            assert pointers(answer) == places


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_name_length", 129),
        ("max_tags", 33),
        ("max_epochs", 10_001),
        ("max_batch_size", 65_537),
        ("max_time_limit_seconds", 30 * 86_400 + 1),
        ("default_time_limit_seconds", 30 * 86_400 + 1),
    ],
)
def test_settings_widen_nothing(name: str, value: int) -> None:
    Settings.model_validate({name: value - 1})
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: value})


def test_a_time_limit_for_those_that_ask_for_none(service: Service, tmp_path: Path) -> None:
    assert service.submit()["time_limit_seconds"] is None
    column = Column("embedded", {"FMX_DATA_DIR": str(service.settings.data_dir)})
    with serving(column, tmp_path, default_time_limit_seconds=5) as limited:
        assert limited.submit()["time_limit_seconds"] == 5
        assert limited.submit(time_limit_seconds=7)["time_limit_seconds"] == 7


# Quotas, on each database.


def test_runs_that_wait(column: Column, tmp_path: Path) -> None:
    with serving(column, tmp_path, max_queued_runs=5) as service:
        first = service.submit(spec={"seeds": [0, 1, 2]})
        answer = service.client.post("/v1/jobs", json=with_spec(seeds=[0, 1, 2]))
        body = problem(answer, 429, "quota_exceeded")
        assert body["detail"] == "queued runs: 3 used, 3 more asked for, 5 allowed"
        assert int(answer.headers["retry-after"]) > 0
        service.submit(spec={"seeds": [0, 1]})
        problem(service.client.post("/v1/jobs", json={"kind": "q1"}), 429, "quota_exceeded")
        assert len(service.get("/v1/jobs")["items"]) == 2, "what was refused left nothing"
        service.claim()
        service.submit()
        problem(service.client.post("/v1/jobs", json={"kind": "q1"}), 429, "quota_exceeded")
        service.client.post(first["links"]["cancel"])
        service.submit(spec={"seeds": [0, 1]})
        problem(service.client.post("/v1/jobs", json={"kind": "q1"}), 429, "quota_exceeded")


def test_jobs_that_come_together_share_a_quota(embedded_column: Column, tmp_path: Path) -> None:
    with serving(embedded_column, tmp_path, max_queued_runs=10) as service:
        statuses = together(service, 24)
        assert statuses.count(202) == 10
        assert statuses.count(429) == 14


def together(service: Service, number: int) -> list[int]:
    """The statuses of so many submissions at once."""

    async def submit_all() -> list[int]:
        async with httpx.AsyncClient(base_url=service.server.url, timeout=30) as client:
            asked = (client.post("/v1/jobs", json={"kind": "q1"}) for _ in range(number))
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    return asyncio.run(submit_all())


def test_runs_of_an_owner_that_wait(column: Column, tmp_path: Path) -> None:
    values = {"keys": "required", "max_queued_runs_per_owner": 2, "max_queued_runs": 5}
    with (
        serving(column, tmp_path, **values) as service,
        caller(service, "ada") as ada,
        caller(service, "bob") as bob,
        caller(service, "cyd") as cyd,
    ):

        def ask(client: httpx.Client, num_runs: int) -> httpx.Response:
            return client.post("/v1/jobs", json=with_spec(seeds=list(range(num_runs))))

        problem(ask(ada, 3), 429, "quota_exceeded")
        assert ask(ada, 2).status_code == 202
        body = problem(ask(ada, 1), 429, "quota_exceeded")
        assert body["detail"] == "queued runs of ada's: 2 used, 1 more asked for, 2 allowed"
        assert ask(bob, 2).status_code == 202
        body = problem(ask(cyd, 2), 429, "quota_exceeded")
        assert body["detail"] == "queued runs: 4 used, 2 more asked for, 5 allowed"
        assert ask(cyd, 1).status_code == 202


def test_bytes_that_are_stored(
    column: Column, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "BYTES_SECONDS", 0.0)
    with serving(column, tmp_path, max_stored_bytes=1000) as service:
        service.run_to_success(job_files={"a": b"x" * 999})
        job_id = service.run_to_success(job_files={"b": b"y"})
        answer = service.client.post("/v1/jobs", json={"kind": "q1"})
        body = problem(answer, 507, "quota_exceeded")
        assert body["detail"] == "stored bytes: 1,000 used, 1,000 allowed"
        assert int(answer.headers["retry-after"]) > 0
        assert service.get(f"/v1/jobs/{job_id}")["state"] == "succeeded"
        assert service.client.delete(f"/v1/jobs/{job_id}").status_code == 204
        service.submit()


def test_bytes_that_an_owner_stores(
    column: Column, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "BYTES_SECONDS", 0.0)
    values = {"keys": "required", "max_stored_bytes_per_owner": 10}
    with (
        serving(column, tmp_path, **values) as service,
        caller(service, "ada") as ada,
        caller(service, "bob") as bob,
    ):
        service.client.headers["Authorization"] = ada.headers["Authorization"]
        service.run_to_success(job_files={"a": b"x" * 10})
        problem(ada.post("/v1/jobs", json={"kind": "q1"}), 507, "quota_exceeded")
        assert bob.post("/v1/jobs", json={"kind": "q1"}).status_code == 202


def test_a_disk_with_too_little_room(
    embedded_column: Column, tmp_path: Path, filler: Callable[[], None]
) -> None:
    """No job is taken and the rest goes on, until there is room again."""
    wanted = shutil.disk_usage(tmp_path).free + 256 * MEBIBYTE
    with serving(embedded_column, tmp_path, min_free_bytes=wanted) as service:
        answer = service.client.post("/v1/jobs", json={"kind": "q1"})
        problem(answer, 507, "disk_full")
        assert int(answer.headers["retry-after"]) > 0
        problem(service.client.post("/v1/jobs", json={"kind": "q9"}), 422, "invalid")
        assert service.get("/v1/jobs") == {"items": [], "next_cursor": None}
        readiness = service.get("/readyz")
        assert readiness["status"] == "degraded"
        assert readiness["checks"]["disk"]["ok"] is False
        assert "MB are free" in readiness["checks"]["disk"]["detail"]
        filler()
        wait_until(lambda: service.get("/readyz")["status"] == "ok", 10)
        service.submit()


# Rates.


def test_requests_of_a_second(embedded_column: Column, tmp_path: Path) -> None:
    with serving(embedded_column, tmp_path, rate_requests_per_second=20) as service:
        began = time.monotonic()
        statuses = [service.client.get("/v1/kinds").status_code for _ in range(60)]
        seconds = time.monotonic() - began
        good = statuses.count(200)
        assert 20 <= good <= 21 + 20 * seconds
        if seconds < 1.5:
            answer = service.client.get("/v1/nothing")
            assert answer.status_code in {404, 429}
            assert 429 in statuses
        wait_until(lambda: service.client.get("/v1/kinds").is_success, 5)


def test_submissions_of_a_minute_are_counted_for_each_key(
    embedded_column: Column, tmp_path: Path
) -> None:
    values = {"keys": "required", "rate_submits_per_minute": 3}
    with (
        serving(embedded_column, tmp_path, **values) as service,
        caller(service, "ada") as ada,
        caller(service, "bob") as bob,
    ):
        statuses = [ada.post("/v1/jobs", json={"kind": "q1"}).status_code for _ in range(3)]
        assert statuses == [202] * 3
        answer = ada.post("/v1/jobs", json={"kind": "q1"})
        problem(answer, 429, "too_many_requests")
        assert 1 <= int(answer.headers["retry-after"]) <= 20
        assert ada.get("/v1/jobs").is_success
        assert bob.post("/v1/jobs", json={"kind": "q1"}).status_code == 202


def test_predictions_of_a_second(embedded_column: Column, tmp_path: Path) -> None:
    with serving(embedded_column, tmp_path, rate_predicts_per_second=2) as service:
        path = f"/v1/models/{'0' * 26}/predict"
        answers = [service.client.post(path, json={"images": [BLACK]}) for _ in range(20)]
        statuses = {answer.status_code for answer in answers}
        assert statuses == {404, 429}
        assert answers[0].status_code == answers[1].status_code == 404
        limited = next(answer for answer in answers if answer.status_code == 429)
        problem(limited, 429, "too_many_requests")
        assert limited.headers["retry-after"] == "1"


def test_a_claim_is_no_submission(service: Service) -> None:
    """Where keys are off nothing is limited that was not asked for."""
    assert service.settings.rates == (None, None, None)
    for _ in range(30):
        service.submit()
    assert claims.claim(service.db, "w", ["auto", "cpu"]) is not None
