"""No one gets in: without a good key nothing answers, and a key allows what it says, no more."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_service import Service, problem, serve, wait_until
from key_kit import ROUTES, Route, bearer, caller, make_key
from record_kit import dump, statements
from services import ROOT, Column, stop
from sqlmodel import select

from api import keyring
from api.permissions import OPEN_PATHS, PERMISSIONS, is_open, permission_of
from fmx_store import keys
from fmx_store.keys import Scope
from fmx_store.tables import ApiKey, now

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
UNKNOWN = "fmx_" + "x" * 43
NO_ID = "0" * 26
OTHER_PATHS = (
    "/",
    "/v1",
    "/v2/",
    "/v1/jobs/",
    "/nothing",
    "/healthz/",
    "/readyz/more",
    "/healthz%2f..%2fv1%2fjobs",
    "/HEALTHZ",
)


@pytest.fixture(scope="module")
def keyed(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    """A server that needs keys, for all tests here that leave it as it is."""
    folder = tmp_path_factory.mktemp("keyed")
    column = Column("embedded", {"FMX_DATA_DIR": str(folder)})
    (folder / "fmx.sqlite3").write_bytes(sqlite_template.read_bytes())
    settings = column.settings(port=0, keys="required", rate_bad_keys_per_minute=0)
    with serve(settings, folder) as service:
        yield service


@pytest.fixture
def settings_values() -> dict[str, Any]:
    """A server of a test's own needs keys too."""
    return {"keys": "required"}


def ids() -> dict[str, str]:
    return {"job_id": NO_ID, "run_id": NO_ID, "model_id": NO_ID}


def assert_unauthorized(answer: httpx.Response, code: str) -> None:
    assert answer.status_code == 401, (answer.request.method, answer.request.url)
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert answer.headers["x-content-type-options"] == "nosniff"
    if answer.request.method != "HEAD":
        assert answer.json()["code"] == code
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", METHODS)
def test_no_route_and_no_method_answers_without_a_key(keyed: Service, method: str) -> None:
    paths = sorted({route.fill(**ids()) for route in ROUTES} | set(OTHER_PATHS))
    assert len(paths) > 40
    for path in paths:
        answer = keyed.client.request(method, path)
        if is_open(method, path):
            assert answer.status_code not in {401, 403}
        else:
            assert_unauthorized(answer, "no_key")


def test_only_health_and_the_way_in_are_open() -> None:
    assert {"/healthz", "/readyz"} == OPEN_PATHS
    paths = {route.path for route in ROUTES if is_open(route.method, route.path)}
    assert paths == {"/healthz", "/readyz", "/login", "/logout"}
    assert is_open("GET", "/static/app.css")
    for method, path in (("POST", "/static/app.css"), ("GET", "/static"), ("GET", "/login/x")):
        assert not is_open(method, path)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Authorization": f"Bearer {UNKNOWN}"}, "bad_key"),
        ({"Authorization": "Bearer fmx_short"}, "bad_key"),
        ({"Authorization": "Bearer"}, "no_key"),
        ({"Authorization": ""}, "no_key"),
        ({"Authorization": f"Basic {UNKNOWN}"}, "no_key"),
        ({"X-API-Key": UNKNOWN}, "no_key"),
        ({"Authorization": "Bearer " + "x" * 10_000}, "bad_key"),
        ({"Authorization": b"Bearer fmx_\xff\xfe"}, "bad_key"),
    ],
)
def test_what_is_no_key_lets_nobody_in(keyed: Service, headers: Any, code: str) -> None:
    for path in ("/v1/jobs", "/v2", "/healthz/x"):
        assert_unauthorized(keyed.client.get(path, headers=headers), code)


def test_a_good_key_counts_in_its_header_alone(keyed: Service) -> None:
    key = make_key(keyed)
    assert keyed.client.get("/v1/jobs", headers=bearer(key)).status_code == 200
    lower = {"authorization": f"bearer {key}"}
    assert keyed.client.get("/v1/jobs", headers=lower).status_code == 200
    twice = [("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {UNKNOWN}")]
    assert_unauthorized(keyed.client.get("/v1/jobs", headers=twice), "no_key")
    for place in (f"/v1/jobs?key={key}", f"/v1/jobs?access_token={key}"):
        assert_unauthorized(keyed.client.get(place), "no_key")
    assert_unauthorized(keyed.client.get("/v1/jobs", headers={"Cookie": f"key={key}"}), "no_key")
    changed = key[:-1] + ("A" if key[-1] != "A" else "B")
    assert_unauthorized(keyed.client.get("/v1/jobs", headers=bearer(changed)), "bad_key")


def test_predictions_by_the_shortcut_need_one_too(keyed: Service) -> None:
    for path in (f"/v1/models/{NO_ID}/predict", f"/v2/models/{NO_ID}/infer"):
        answer = keyed.client.post(path, json={"test_rows": [0]})
        assert_unauthorized(answer, "no_key")
        with caller(keyed, "ada", Scope.READ, Scope.SUBMIT) as reader:
            refused = reader.post(path, json={"test_rows": [0]})
        assert (refused.status_code, refused.json()["code"]) == (403, "missing_scope")
        with caller(keyed, "ada", Scope.PREDICT) as predictor:
            assert predictor.post(path, json={"test_rows": [0]}).status_code == 404


def test_errors_of_v2_are_told_as_its_protocol_wants(keyed: Service) -> None:
    assert keyed.client.get("/v2").json()["error"].startswith("a key is needed")


def test_every_route_is_in_the_table_of_permissions() -> None:
    assert {route.name for route in ROUTES} == PERMISSIONS.keys()
    assert permission_of("a route that was forgotten").scope is Scope.ADMIN
    changing = {route.name for route in ROUTES if route.method != "GET"}
    free = {name for name in changing if PERMISSIONS[name].scope in {None, Scope.READ}}
    assert free == {
        "validate_job",
        "search_mlflow_experiments",
        "search_mlflow_runs",
        "search_mlflow_models",
        "refuse_extension",
        "refuse_mlflow_write",
        "sign_in",
        "sign_out",
    }


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_scope_opens_its_routes_and_no_others(keyed: Service, route: Route) -> None:
    needed = permission_of(route.name).scope
    path = route.fill(**ids())
    for scope in (Scope.READ, Scope.SUBMIT, Scope.PREDICT, Scope.ADMIN):
        with caller(keyed, "ada", scope) as client:
            answer = client.request(route.method, path)
        if needed in {None, scope} or scope is Scope.ADMIN:
            refused = answer.status_code in {401, 403}
            assert not refused or answer.json()["code"] == "read_only", answer.text
            continue
        body = problem_of(answer, 403)
        assert body["code"] == "missing_scope"
        assert repr(str(needed)) in body["detail"]
        assert f'scope="{needed}"' in answer.headers["www-authenticate"]


def problem_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_body_is_not_read_for_a_key_that_may_not_send_it(keyed: Service) -> None:
    with caller(keyed, "ada", Scope.READ) as client:
        answer = client.post("/v1/jobs", content=b"no json at all")
    problem(answer, 403, "missing_scope")


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_key_that_is_over_stops_within_five_seconds(keyed: Service, how: str) -> None:
    expires_at = now() + timedelta(seconds=1.5) if how == "expired" else None
    row, key = keys.create(keyed.db, "ada", {Scope.READ}, expires_at=expires_at)
    assert keyed.client.get("/v1/jobs", headers=bearer(key)).status_code == 200
    if how == "revoked":
        keys.revoke(keyed.db, row.id)
    began = time.monotonic()

    def is_out() -> bool:
        return keyed.client.get("/v1/jobs", headers=bearer(key)).status_code == 401

    wait_until(is_out, 10)
    assert time.monotonic() - began < 5
    assert_unauthorized(keyed.client.get("/v1/jobs", headers=bearer(key)), "bad_key")


def test_the_record_is_asked_once_in_a_while(service: Service) -> None:
    with caller(service) as client:
        client.get("/v1/kinds")
        with statements(service.app.state.services._db) as told:
            began = time.monotonic()
            for _ in range(50):
                assert client.get("/v1/kinds").is_success
            lookups = sum("FROM api_key" in statement for statement in told)
            assert lookups <= 1 + (time.monotonic() - began) / keyring.BELIEVED_SECONDS


def test_what_is_kept_of_keys_is_bounded(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "MAX_KEPT", 3)
    for _ in range(6):
        with caller(service) as client:
            assert client.get("/v1/kinds").is_success
    for number in range(6):
        guess = f"fmx_{number:043}"
        assert service.client.get("/v1/kinds", headers=bearer(guess)).status_code == 401
    assert len(service.app.state.services.doorman._ring._entries) == 3


def test_its_use_is_noted_once_a_minute(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "BELIEVED_SECONDS", 0.0)
    key = make_key(service)

    def used_at() -> Any:
        with service.db.read() as session:
            return session.exec(select(ApiKey.last_used_at)).one()

    assert used_at() is None
    assert service.client.get("/v1/kinds", headers=bearer(key)).is_success
    first = used_at()
    assert abs((now() - first).total_seconds()) < 10
    assert service.client.get("/v1/kinds", headers=bearer(key)).is_success
    assert used_at() == first
    monkeypatch.setattr(keys, "USED_SECONDS", 0)
    assert service.client.get("/v1/kinds", headers=bearer(key)).is_success
    assert used_at() > first


def test_a_key_stands_nowhere_in_the_record(service: Service) -> None:
    key = make_key(service)
    assert service.client.get("/v1/kinds", headers=bearer(key)).is_success
    rows = repr(dump(service.db))
    assert key.removeprefix("fmx_") not in rows
    assert keys.hash_key(key) in rows


def test_keys_that_are_guessed_wait(service: Service) -> None:
    """And whoever has a good one does not, though both come from one address."""
    with caller(service) as client:
        assert client.get("/v1/kinds").is_success
        guesses = [
            service.client.get("/v1/kinds", headers=bearer(f"fmx_{number:043}"))
            for number in range(service.settings.rate_bad_keys_per_minute + 5)
        ]
        statuses = [answer.status_code for answer in guesses]
        assert statuses == sorted(statuses)
        assert statuses.count(401) in {30, 31, 32}
        problem(guesses[-1], 429, "too_many_requests")
        assert 0 < int(guesses[-1].headers["retry-after"]) <= 2
        assert client.get("/v1/kinds").is_success


def test_a_stranger_is_told_no_more_than_whether_it_works(service: Service) -> None:
    with service.db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE fmx_alembic_version SET version_num = '2026_11_26_keys'")
    told = service.client.get("/readyz")
    assert (told.status_code, told.json()["status"]) == (503, "unavailable")
    assert "2026_11_26_keys" not in told.text
    with caller(service) as client:
        assert "2026_11_26_keys" in client.get("/readyz").text
    assert_unauthorized(service.client.get("/readyz", headers=bearer(UNKNOWN)), "bad_key")


def test_a_record_that_is_away_is_no_way_in(column: Column, tmp_path: Path) -> None:
    settings = column.settings(port=0, keys="required")
    with serve(settings, tmp_path) as service:
        key = make_key(service)
        assert service.client.get("/v1/kinds", headers=bearer(key)).is_success
        with service.db.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE api_key RENAME TO hidden")
        late = time.monotonic() + keyring.BELIEVED_SECONDS + 2
        answers = {200}
        while time.monotonic() < late and answers == {200}:
            answers = {service.client.get("/v1/kinds", headers=bearer(key)).status_code}
            time.sleep(0.1)
        answer = service.client.get("/v1/kinds", headers=bearer(key))
        problem(answer, 503, "database_unavailable")


Admin = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def admin(column: Column) -> Admin:
    """Runs `fmx admin keys …` against the column's record."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fmx_store.admin", "keys", *arguments]
        environment = column.process_environment()
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    return run


def test_a_key_from_its_making_to_its_end(column: Column, tmp_path: Path, admin: Admin) -> None:
    made = admin("create", "--owner", "ada", "--scope", "read", "--name", "a notebook")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert re.fullmatch(r"fmx_[A-Za-z0-9_-]{43}", key)
    with serve(column.settings(port=0, keys="required"), tmp_path) as service:
        assert service.client.get("/v1/jobs", headers=bearer(key)).status_code == 200
        listed = json.loads(admin("list", "--json").stdout)["items"]
        [item] = listed
        assert (item["owner"], item["scopes"], item["state"]) == ("ada", ["read"], "good")
        assert item["name"] == "a notebook"
        assert item["last_used_at"] is not None
        assert key not in json.dumps(listed)
        assert "ada" in admin("list").stdout
        assert admin("revoke", item["id"]).returncode == 0

        def is_out() -> bool:
            return service.client.get("/v1/jobs", headers=bearer(key)).status_code == 401

        wait_until(is_out, 5)
        assert json.loads(admin("list", "--json").stdout)["items"][0]["state"] == "revoked"


def test_what_the_commands_refuse(admin: Admin) -> None:
    for arguments, status in (
        (("create", "--owner", "ada"), 2),
        (("create", "--scope", "read"), 2),
        (("create", "--owner", "ada", "--scope", "everything"), 2),
        (("create", "--owner", "", "--scope", "read"), 2),
        (("create", "--owner", "a" * 65, "--scope", "read"), 2),
        (("create", "--owner", "a\nb", "--scope", "read"), 2),
        (("create", "--owner", "ada", "--scope", "read", "--expires-days", "0"), 2),
        (("revoke", NO_ID), 1),
        (("revoke", "nonsense"), 1),
    ):
        done = admin(*arguments)
        assert done.returncode == status, (arguments, done.stdout, done.stderr)
        assert done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("values", [{"host": "0.0.0.0"}, {"keys": "required"}])  # noqa: S104 - keys
def test_keys_are_needed_as_soon_as_others_reach_it(
    embedded_column: Column, values: dict[str, str]
) -> None:
    environment = embedded_column.process_environment(port=0, **values)
    process = subprocess.Popen(
        [sys.executable, "-m", "api"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().rpartition(":")[2].strip()
        said = process.stdout.readline()
        assert said.startswith("keys are needed, and there is none yet: fmx admin keys create")
        assert httpx.get(f"http://127.0.0.1:{port}/v1/jobs").status_code == 401
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    finally:
        stop(process)  # pyright: ignore[reportArgumentType] - of text or of bytes
        if process.stdout is not None:
            process.stdout.close()


def test_a_server_is_not_opened_by_accident(embedded_column: Column) -> None:
    environment = embedded_column.process_environment(port=0, host="0.0.0.0", keys="off")  # noqa: S104 - refused
    command = [sys.executable, "-m", "api"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "FMX_TRUST_NETWORK" in done.stderr
    assert done.stdout == ""
