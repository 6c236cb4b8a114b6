"""Bodies that are refused: the status, the pointer to the place, and nothing queued."""

import contextlib
import json
from typing import Any

import httpx
import pytest
from http_service import Service, pointers, problem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.json_body import parse_json
from api.problems import ProblemError

HEADERS = {"Content-Type": "application/json"}

THRESHOLD = "/spec/early_stopping/threshold"


def with_spec(**spec: Any) -> dict[str, Any]:
    return {"kind": "q1", "spec": spec}


def with_q2(**spec: Any) -> dict[str, Any]:
    return {"kind": "q2", "spec": spec}


def with_rate(rate: Any) -> dict[str, Any]:
    return with_q2(search={"space": {"learning_rate": rate}})


RATE = "/spec/search/space/learning_rate"
NUMBERS = [n / 100 for n in range(1, 33)]
LISTS = dict.fromkeys(("learning_rate", "weight_decay", "dropout", "momentum"), NUMBERS)
BILLIONS = with_q2(grid={**LISTS, "batch_size": list(range(1, 33)), "shift": list(range(9))})

# What does not fit the schema, and the place of it.
MISFITS: list[tuple[Any, str]] = [
    ({}, "/kind"),
    ({"kind": "q9"}, "/kind"),
    ({"kind": None}, "/kind"),
    ({"kind": ["q1"]}, "/kind"),
    ({"kind": {"q1": 1}}, "/kind"),
    ({"kind": "q1", "seeds": [0]}, "/seeds"),
    ({"kind": "q1", "preset": "huge"}, "/preset"),
    ({"kind": "q1", "preset": {}}, "/preset"),
    ({"kind": "q1", "name": ""}, "/name"),
    ({"kind": "q1", "name": "n" * 129}, "/name"),
    ({"kind": "q1", "name": 5}, "/name"),
    ({"kind": "q1", "name": "a\nb"}, "/name"),
    ({"kind": "q1", "name": "a\0b"}, "/name"),
    ({"kind": "q1", "tags": "demo"}, "/tags"),
    ({"kind": "q1", "tags": ["a", 1]}, "/tags/1"),
    ({"kind": "q1", "tags": ["a", "a"]}, "/tags"),
    ({"kind": "q1", "tags": [str(i) for i in range(33)]}, "/tags"),
    ({"kind": "q1", "priority": 10}, "/priority"),
    ({"kind": "q1", "priority": True}, "/priority"),
    ({"kind": "q1", "priority": 5.0}, "/priority"),
    ({"kind": "q1", "priority": "5"}, "/priority"),
    ({"kind": "q1", "time_limit_seconds": 0}, "/time_limit_seconds"),
    ({"kind": "q1", "time_limit_seconds": 2**63}, "/time_limit_seconds"),
    ({"kind": "q1", "reuse": 1}, "/reuse"),
    ({"kind": "q1", "a/b~c": 1}, "/a~1b~0c"),
    ({"kind": "q1", "spec": []}, "/spec"),
    ({"kind": "q1", "spec": None}, "/spec"),
    ({"kind": "q1", "spec": "q1"}, "/spec"),
    (with_spec(epochs=5), "/spec/epochs"),
    (with_spec(max_epochs=0), "/spec/max_epochs"),
    (with_spec(max_epochs=10_001), "/spec/max_epochs"),
    (with_spec(max_epochs=1_000_000_000), "/spec/max_epochs"),
    (with_spec(max_epochs="5"), "/spec/max_epochs"),
    (with_spec(max_epochs=5.5), "/spec/max_epochs"),
    (with_spec(max_epochs=2**63), "/spec/max_epochs"),
    (with_spec(max_epochs=10**400), "/spec/max_epochs"),
    (with_spec(batch_size=65_537), "/spec/batch_size"),
    (with_spec(batch_size=-1), "/spec/batch_size"),
    (with_spec(seeds=[]), "/spec/seeds"),
    (with_spec(seeds=0), "/spec/seeds"),
    (with_spec(seeds=[0, 0]), "/spec/seeds"),
    (with_spec(seeds=[0, -1]), "/spec/seeds/1"),
    (with_spec(seeds=[2**31]), "/spec/seeds/0"),
    (with_spec(seeds=[0, True]), "/spec/seeds/1"),
    (with_spec(seeds=list(range(33))), "/spec/seeds"),
    (with_spec(dataset="no/name"), "/spec/dataset"),
    (with_spec(device="tpu"), "/spec/device"),
    (with_spec(half="fm3"), "/spec/half"),
    (with_spec(model=None), "/spec/model"),
    (with_spec(model={"conv_layers": 0}), "/spec/model/conv_layers"),
    (with_spec(model={"conv_layers": 9}), "/spec/model/conv_layers"),
    # Does not fit together, though each value is fine by itself.
    (with_spec(model={"conv_layers": 8}), "/spec/model/channels"),
    (with_spec(model={"kernel_size": 15}), "/spec/model/conv_layers"),
    (with_spec(model={"channels": [6]}), "/spec/model/channels"),
    (with_spec(model={"channels": [6, 0]}), "/spec/model/channels/1"),
    (with_spec(model={"kernel_size": 4, "padding": "same"}), "/spec/model/kernel_size"),
    (with_spec(model={"layers": 2}), "/spec/model/layers"),
    (with_spec(optimiser={"name": "sgd"}), "/spec/optimiser/name"),
    (with_spec(optimiser={"learning_rate": 0}), "/spec/optimiser/learning_rate"),
    (with_spec(optimiser={"learning_rate": -0.1}), "/spec/optimiser/learning_rate"),
    (with_spec(optimiser={"learning_rate": "fast"}), "/spec/optimiser/learning_rate"),
    (with_spec(optimiser={"learning_rate": [0.1]}), "/spec/optimiser/learning_rate"),
    (with_spec(optimiser={"name": "Adam", "momentum": 0.9}), "/spec/optimiser/momentum"),
    (with_spec(early_stopping={"window": 0}), "/spec/early_stopping/window"),
    (with_spec(early_stopping={"threshold": True}), "/spec/early_stopping/threshold"),
    # A place that takes a list or an object.
    (with_rate([]), RATE),
    (with_rate([0.1, -1]), f"{RATE}/1"),
    (with_rate([0.1, {}]), f"{RATE}/1"),
    (with_rate({"low": 2, "high": 1}), f"{RATE}/low"),
    (with_rate({"low": 0.1, "high": "x"}), f"{RATE}/high"),
    (with_rate({"low": 0.1}), f"{RATE}/high"),
    (with_rate({"low": 0.1, "high": 0.2, "a/b": 1}), f"{RATE}/a~1b"),
    (with_rate({"low": -1, "high": 0.2, "log": True}), f"{RATE}/low"),
    (with_rate("fast"), RATE),
    (with_rate(0.1), RATE),
    (with_rate(None), RATE),
    (with_q2(search={"method": "grid"}), "/spec/search/space"),
    (with_q2(models=[{}, {"model": {"kernel_size": 0}}]), "/spec/models/1/model/kernel_size"),
    (with_q2(models=[]), "/spec/models"),
    (with_q2(models=[{}], grid={}), "/spec/models"),
    (with_q2(grid={"batch_size": [10, 0]}), "/spec/grid/batch_size/1"),
    (with_q2(grid={"learning_rate": [0.1] * 33}), "/spec/grid/learning_rate"),
    (BILLIONS, "/spec/grid"),
    ([], ""),
    ("q1", ""),
    (5, ""),
    (None, ""),
    ([{"kind": "q1"}], ""),
]

# What is no JSON, or JSON that parsers do not agree about.
BROKEN: list[tuple[bytes, str]] = [
    (b"", ""),
    (b" ", ""),
    (b"{", ""),
    (b'{"kind": "q1"', ""),
    (b'{"kind": "q1"} {}', ""),
    (b'{"kind": "q1",}', ""),
    (b"{'kind': 'q1'}", ""),
    (b'{kind: "q1"}', ""),
    (b'{"kind": "q1", "name": "tab\there"}', ""),
    (b'{"kind": "q1"}\0', ""),
    (b"\xef\xbb\xbf" + b'{"kind": "q1"}', ""),
    ('{"kind": "q1"}'.encode("utf-16"), ""),
    (b'{"kind": "q1", "name": "\xff"}', ""),
    (b'{"kind": "q1", "name": "\xed\xa0\x80"}', ""),  # a surrogate in UTF-8
    (b'{"kind": "q1", "kind": "q1"}', "/kind"),
    (b'{"kind": "q1", "spec": {"seeds": [0], "seeds": [1]}}', "/spec/seeds"),
    (b'{"kind": "q1", "spec": {"model": {"a": 1, "\\u0061": 2}}}', "/spec/model/a"),
    (b'{"kind": "q1", "spec": {"early_stopping": {"threshold": NaN}}}', THRESHOLD),
    (b'{"kind": "q1", "spec": {"seeds": [Infinity]}}', "/spec/seeds/0"),
    (b'{"kind": "q1", "spec": {"seeds": [0, -Infinity]}}', "/spec/seeds/1"),
    (b'{"kind": "q1", "spec": {"early_stopping": {"threshold": 1e999}}}', THRESHOLD),
    (b'{"kind": "q1", "name": "\\ud800"}', "/name"),
    (b'{"kind": "q1", "tags": ["ok", "\\udfff"]}', "/tags/1"),
    (b'{"kind": "q1", "spec": {"\\ud800": 1}}', "/spec"),
    (b'{"\\ud800": 1, "\\ud800": 2}', ""),
    (b'{"kind": "q1", "priority": ' + b"9" * 5000 + b"}", ""),
    (b"[" * 33 + b"]" * 33, "/0" * 32),
    (b'{"kind":' * 33 + b"1" + b"}" * 33, "/kind" * 32),
    (b"[" * 100_000, ""),
    (b"[" * 100_000 + b"]" * 100_000, ""),
    (b'{"a":' * 40_000, ""),
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_queued(shared: Service) -> Any:
    yield
    assert shared.get("/v1/jobs") == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/validate"])
@pytest.mark.parametrize(("body", "pointer"), MISFITS, ids=repr)
def test_what_does_not_fit_is_pointed_to(
    shared: Service, path: str, body: Any, pointer: str
) -> None:
    answer = shared.client.post(path, content=json.dumps(body), headers=HEADERS)
    problem(answer, 422, "invalid")
    assert pointers(answer) == [pointer]


@pytest.mark.parametrize(("body", "pointer"), BROKEN, ids=lambda value: repr(value)[:40])
def test_what_is_no_json_is_refused(shared: Service, body: bytes, pointer: str) -> None:
    answer = shared.client.post("/v1/jobs", content=body, headers=HEADERS)
    problem(answer, 400, "bad_json")
    assert pointers(answer) == [pointer]


def test_every_error_is_told_at_once(shared: Service) -> None:
    body = {"kind": "q1", "nme": "x", "priority": 11, "spec": {"seeds": [0, "a"], "epochs": 1}}
    answer = shared.client.post("/v1/jobs", json=body)
    problem(answer, 422, "invalid")
    assert sorted(pointers(answer)) == ["/nme", "/priority", "/spec/epochs", "/spec/seeds/1"]
    for item in answer.json()["errors"]:
        assert set(item) == {"pointer", "code", "detail"}
        assert item["detail"]


def test_errors_are_bounded(shared: Service) -> None:
    body = {"kind": "q1", **{f"field-{i}": i for i in range(5000)}}
    answer = shared.client.post("/v1/jobs", json=body)
    problem(answer, 422, "invalid")
    assert len(answer.json()["errors"]) == 50
    assert len(answer.content) < 20_000


def test_a_secret_in_a_body_is_not_repeated(shared: Service) -> None:
    answer = shared.client.post("/v1/jobs", json={"kind": "q1", "name": {"token": "hunter2"}})
    problem(answer, 422, "invalid")
    assert "hunter2" not in answer.text


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["q1", "report", "fm1", "SGD"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["kind", "spec", "seeds", "model", "name", "tags", "priority"])
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
_QUICK = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def check_is_no_failure(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    json.loads(answer.content, parse_constant=pytest.fail)


@_QUICK
@given(_JSON)
def test_no_json_makes_the_server_fail(shared: Service, value: Any) -> None:
    body = json.dumps(value)
    check_is_no_failure(shared.client.post("/v1/jobs/validate", content=body, headers=HEADERS))


@_QUICK
@given(st.dictionaries(st.sampled_from(["name", "tags", "spec", "preset"]), _JSON))
def test_no_request_makes_the_server_fail(shared: Service, members: dict[str, Any]) -> None:
    body = json.dumps({"kind": "q1", **members})
    check_is_no_failure(shared.client.post("/v1/jobs/validate", content=body, headers=HEADERS))


@_QUICK
@given(st.binary(max_size=200))
def test_no_bytes_make_the_server_fail(shared: Service, body: bytes) -> None:
    check_is_no_failure(shared.client.post("/v1/jobs/validate", content=body, headers=HEADERS))


@given(_JSON)
def test_parsing_gives_what_was_written_or_refuses_it(value: Any) -> None:
    text = json.dumps(value).encode()
    if any(mark in text for mark in (b"NaN", b"Infinity", b"\\ud")):
        with contextlib.suppress(ProblemError):
            assert parse_json(text, 32) == value
    else:
        assert parse_json(text, 32) == value
