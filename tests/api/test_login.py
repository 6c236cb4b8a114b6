"""Signing in with a browser: the cookie, what it opens, and what no other site can do with it."""

import re
from typing import Any

import httpx
import pytest
from http_service import Service, problem
from key_kit import bearer, make_key

from api import cookies
from fmx_store import keys
from fmx_store.keys import Scope

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
UNKNOWN = "fmx_" + "x" * 43


@pytest.fixture
def settings_values() -> dict[str, Any]:
    """Keys are on."""
    return {"keys": "required"}


@pytest.fixture
def own(service: Service) -> dict[str, str]:
    """The header that a page of this server sends."""
    return {"Origin": service.server.url}


def sign_in(service: Service, key: str, **fields: str) -> httpx.Response:
    """The answer to the form, in a client that then has the cookie."""
    headers = {**HTML, "Origin": service.server.url}
    return service.client.post("/login", data={"key": key, **fields}, headers=headers)


def test_a_browser_without_a_key_is_led_to_the_form(service: Service) -> None:
    for path in ("/jobs", "/jobs?kind=q1", "/nothing", "/v1/jobs"):
        answer = service.client.get(path, headers=HTML)
        assert answer.status_code == 303
        way = httpx.URL(answer.headers["location"])
        assert (way.path, way.params["next"]) == ("/login", path)
    form = service.client.get("/login", params={"next": "/jobs?kind=q1"}, headers=HTML)
    assert form.status_code == 200
    assert 'type="password"' in form.text
    assert 'value="/jobs?kind=q1"' in form.text
    assert "Workers" not in form.text, "a stranger is not told which pages there are"


def test_a_part_of_a_page_leads_the_page_to_the_form(service: Service) -> None:
    shown = f"{service.server.url}/jobs?kind=q1"
    headers = {"Accept": "text/html", "HX-Request": "true", "HX-Current-URL": shown}
    answer = service.client.get("/jobs/rows", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/login?next=%2Fjobs%3Fkind%3Dq1"


def test_cookies_of_others_on_this_host_do_no_harm(service: Service) -> None:
    key = make_key(service)
    cookie = f'a={{"x": [1, 2]}}; b; c="d; {cookies.NAME}={key}; e=f'
    assert service.client.get("/v1/jobs", headers={"Cookie": cookie}).status_code == 200


def test_a_program_is_told_as_before(service: Service) -> None:
    problem(service.client.get("/jobs"), 401, "no_key")
    problem(service.client.get("/v1/jobs", headers={"Accept": "*/*"}), 401, "no_key")


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(service: Service) -> None:
    key = make_key(service)
    answer = sign_in(service, key, next="/models")
    assert (answer.status_code, answer.headers["location"]) == (303, "/models")
    cookie = answer.headers["set-cookie"].lower()
    assert f"{cookies.NAME}={key.lower()}" in cookie
    for part in ("httponly", "samesite=strict", "path=/", f"max-age={cookies.KEPT_SECONDS}"):
        assert part in cookie
    assert "secure" not in cookie
    assert key not in service.client.get("/jobs", headers=HTML).text


def test_it_is_secure_where_the_page_came_encrypted(service: Service) -> None:
    host = service.server.url.removeprefix("http://")
    headers = {**HTML, "Origin": f"https://{host}"}
    answer = service.client.post("/login", data={"key": make_key(service)}, headers=headers)
    assert "secure" in answer.headers["set-cookie"].lower()


def test_it_opens_pages_and_the_api_within_the_keys_scopes(
    service: Service, own: dict[str, str]
) -> None:
    sign_in(service, make_key(service, "ada", Scope.READ))
    assert service.client.get("/jobs", headers=HTML).status_code == 200
    assert service.client.get("/v1/jobs").status_code == 200
    answer = service.client.post("/v1/jobs", json={"kind": "q1"}, headers=own)
    problem(answer, 403, "missing_scope")
    shown = service.client.get("/submit", headers=HTML)
    assert shown.status_code == 403
    assert "missing_scope" in shown.text
    assert "New job" not in shown.text


def test_a_key_in_the_header_goes_before_the_cookie(service: Service) -> None:
    sign_in(service, make_key(service))
    bad = service.client.get("/v1/jobs", headers=bearer(UNKNOWN))
    problem(bad, 401, "bad_key")


def test_each_sees_their_own_jobs_alone(service: Service, own: dict[str, str]) -> None:
    sign_in(service, make_key(service, "ada"))
    made = service.client.post("/v1/jobs", json={"kind": "q1", "name": "adas"}, headers=own)
    job_id = made.json()["id"]
    assert "adas" in service.client.get("/jobs", headers=HTML).text
    assert "adas" in service.client.get("/jobs/rows", headers=HTML).text
    sign_in(service, make_key(service, "bob"))
    for path in ("/jobs", "/jobs/rows", "/compare", "/workers", "/workers/rows"):
        assert "adas" not in service.client.get(path, headers=HTML).text
    pages = ("", "/summary", "/runs", "/manifest")
    for path in [f"/jobs/{job_id}{part}" for part in pages] + [f"/compare?job={job_id}"]:
        assert service.client.get(path, headers=HTML).status_code == 404
    for order in ("cancel", "retry", "delete"):
        answer = service.client.post(f"/jobs/{job_id}/{order}", headers={**HTML, **own})
        assert answer.status_code == 404


FOREIGN = ("https://evil.test", "null", "http://127.0.0.1", "http://localhost:1")


def test_another_sites_form_changes_nothing(service: Service, own: dict[str, str]) -> None:
    sign_in(service, make_key(service))
    for origin in FOREIGN:
        for path in ("/v1/jobs", "/login", "/logout"):
            answer = service.client.post(path, json={"kind": "q1"}, headers={"Origin": origin})
            problem(answer, 403, "foreign_origin")
    problem(service.client.post("/v1/jobs", json={"kind": "q1"}), 403, "no_origin")
    assert service.get("/v1/jobs")["items"] == []
    for headers in (own, {"X-Requested-With": "fetch"}, {"HX-Request": "true"}):
        answer = service.client.post("/v1/jobs", json={"kind": "q1"}, headers=headers)
        assert answer.status_code == 202


def test_a_program_with_a_key_needs_no_origin(service: Service) -> None:
    headers = bearer(make_key(service))
    answer = service.client.post("/v1/jobs", json={"kind": "q1"}, headers=headers)
    assert answer.status_code == 202


def test_signing_out_forgets_it(service: Service, own: dict[str, str]) -> None:
    sign_in(service, make_key(service))
    assert service.client.get("/login", headers=HTML).headers["location"] == "/jobs"
    answer = service.client.post("/logout", headers={**HTML, **own})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert service.client.cookies.get(cookies.NAME) is None
    problem(service.client.get("/v1/jobs"), 401, "no_key")


def test_a_revoked_key_leads_back_to_the_form(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.keyring.BELIEVED_SECONDS", 0.0)
    row, key = keys.create(service.db, "ada", {Scope.READ})
    sign_in(service, key)
    assert service.client.get("/jobs", headers=HTML).status_code == 200
    keys.revoke(service.db, row.id)
    assert service.client.get("/jobs", headers=HTML).headers["location"].startswith("/login")
    assert service.client.get("/login", headers=HTML).status_code == 200
    assert service.client.get("/static/app.css").status_code == 200


@pytest.mark.parametrize(
    "way",
    [
        "https://evil.test",
        "//evil.test",
        "/\\evil.test",
        "javascript:alert(1)",
        "jobs",
        "",
        "/\r\nX: y",
    ],
)
def test_it_leads_nowhere_else(service: Service, way: str) -> None:
    answer = sign_in(service, make_key(service), next=way)
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
    assert "x" not in {name.lower() for name in answer.headers}


@pytest.mark.parametrize("key", [UNKNOWN, "", "fmx_short", "é" * 20, "<script>alert(1)</script>"])
def test_a_bad_key_is_told_and_not_kept(service: Service, key: str) -> None:
    answer = sign_in(service, key)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "unknown, revoked or expired" in answer.text
    assert "<script>alert" not in answer.text


def test_guesses_wait(service: Service) -> None:
    statuses = [
        sign_in(service, f"fmx_{number:043}").status_code
        for number in range(service.settings.rate_bad_keys_per_minute + 5)
    ]
    assert statuses[-1] == 429
    assert statuses == sorted(statuses)


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"key=a" * 2000, "application/x-www-form-urlencoded", 413),
        (b"&".join(b"a=b" for _ in range(50)), "application/x-www-form-urlencoded", 401),
        (b"key=%ff%fe%00", "application/x-www-form-urlencoded", 401),
        (b"key", "application/x-www-form-urlencoded", 401),
        (b'{"key": "a"}', "application/json", 415),
        (b"", "multipart/form-data; boundary=x", 415),
    ],
)
def test_odd_forms_are_refused(
    service: Service, own: dict[str, str], content: bytes, content_type: str, status: int
) -> None:
    headers = {**own, "Content-Type": content_type}
    answer = service.client.post("/login", content=content, headers=headers)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("cookie", ["fmx_key", "fmx_key=", "=;;=", "fmx_key=\xff", "a=b;" * 500])
def test_what_is_no_cookie_lets_nobody_in(service: Service, cookie: str) -> None:
    headers = [(b"Cookie", cookie.encode("latin-1"))]
    code = "bad_key" if "\xff" in cookie else "no_key"
    problem(service.client.get("/v1/jobs", headers=headers), 401, code)


def test_pages_are_framed_by_nobody_and_run_no_foreign_script(service: Service) -> None:
    sign_in(service, make_key(service))
    for path in ("/login", "/jobs", "/submit", "/compare", "/models", "/workers", "/nothing"):
        policy = service.client.get(path, headers=HTML, follow_redirects=True).headers[
            "content-security-policy"
        ]
        assert "unsafe" not in policy
        assert re.search(r"default-src 'none'.*script-src 'self'.*frame-ancestors 'none'", policy)
