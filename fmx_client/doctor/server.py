"""What a client sees of its server: is it there, is it ready, does it know the key, who trains."""

import time
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import httpx

from fmx_client.connection import find_key, find_url, http_options
from fmx_client.doctor.findings import Finding, failed, ok, warning
from fmx_client.errors import AddressError, ApiKeyError

SKEW_SECONDS = 60.0  # signed addresses of a bucket and the ends of keys are told by clocks
PATIENCE_SECONDS = 30.0  # after which a run that waits and is not begun is worth a word
_TIMEOUT_SECONDS = 10.0
_NO_ID = "0" * 26  # of nothing: asking for it tells a scope that is missing from one that is there
_PROBES = (
    ("read", "GET", "/v1/kinds"),
    ("submit", "POST", f"/v1/jobs/{_NO_ID}/cancel"),
    ("predict", "GET", f"/v2/models/{_NO_ID}/ready"),
)


def look_at_server(
    given_url: str | None, transport: httpx.BaseTransport | None = None
) -> Iterator[Finding]:
    """Everything that can be asked for; it ends where an answer makes the rest pointless."""
    try:
        url = find_url(given_url)
        options = http_options(url, find_key(), None)
    except AddressError as error:
        yield failed("address", str(error), "correct FMX_URL or --url")
        return
    except ApiKeyError as error:
        yield failed("key", str(error), "correct FMX_API_KEY")
        return
    with httpx.Client(transport=transport, timeout=_TIMEOUT_SECONDS, **options) as http:
        try:
            yield from _look(http, url)
        except httpx.HTTPError as error:
            says = f"{url} does not answer ({error or type(error).__name__})"
            yield failed("server", says, "start it (make serve), or name another one in FMX_URL")


def _look(http: httpx.Client, url: str) -> Iterator[Finding]:
    begun = time.time()
    health = _ask_openly(http, "/healthz")
    if _value(health).get("status") != "ok":
        says = f"what answers at {url} is no fmx server (status {health.status_code})"
        yield failed("server", says, "name the server in FMX_URL")
        return
    skew = look_at_clock(health, (begun + time.time()) / 2)
    about = http.get("/v2")
    if about.status_code != HTTPStatus.OK:
        yield ok("server", f"{url} answers")
        yield skew
        yield _describe_refusal(http, about)
        return
    yield _look_at_version(url, _value(about))
    yield skew
    yield from _look_at_readiness(http)
    yield _look_at_key(http)
    yield from _look_at_jobs(http)


def _ask_openly(http: httpx.Client, path: str) -> httpx.Response:
    """What is answered to anyone, asked without the key: a bad one would be refused here too."""
    request = http.build_request("GET", path)
    request.headers.pop("authorization", None)
    return http.send(request)


def look_at_clock(answer: httpx.Response, here_at: float) -> Finding:
    """This machine's clock beside the server's, which dates its answers to the second."""
    there_at = _dated(answer)
    if there_at is None:
        return warning("clock", "the server's answers bear no date", "is a proxy in between?")
    skew = here_at - there_at
    if abs(skew) > SKEW_SECONDS:
        way = "ahead of" if skew > 0 else "behind"
        says = f"this machine is {abs(skew):.0f} s {way} the server"
        return failed("clock", says, "set both clocks by NTP (timedatectl set-ntp true)")
    return ok("clock", f"within {max(1.0, abs(skew)):.0f} s of the server's")


def _dated(answer: httpx.Response) -> float | None:
    """When the server says that it has answered; it says whole seconds, so half of one is added."""
    try:
        return parsedate_to_datetime(answer.headers["date"]).timestamp() + 0.5
    except (KeyError, ValueError):
        return None


def _look_at_version(url: str, about: dict[str, Any]) -> Finding:
    theirs, ours = str(about.get("version")), version("fmx")
    if theirs != ours:
        cure = "an older client goes on working; what is new in the server it does not show"
        return warning("server", f"{url} is fmx {theirs}, this program fmx {ours}", cure)
    return ok("server", f"{url} is fmx {theirs}")


def _look_at_readiness(http: httpx.Client) -> Iterator[Finding]:
    ready = _value(http.get("/readyz"))
    bad = [(name, c) for name, c in dict(ready.get("checks") or {}).items() if not c.get("ok")]
    for name, check in bad:
        says = f"the server says of its {name}: {check.get('detail')}"
        yield failed("readiness", says, "on the server's machine, fmx admin doctor says more")
    if not bad:
        yield ok("readiness", f"the server can do its work ({ready.get('engine')} trains on CPUs)")


def _describe_refusal(http: httpx.Client, answer: httpx.Response) -> Finding:
    """Why nothing more can be asked for."""
    if answer.status_code != HTTPStatus.UNAUTHORIZED:
        says = f"{_value(answer).get('detail') or 'refused'} (status {answer.status_code})"
        return failed("key", says, "wait a minute, then look again")
    sent = "authorization" in http.headers
    says = "the server does not know the key" if sent else "the server wants a key"
    cure = "put one into FMX_API_KEY; who runs the server makes it: fmx admin keys create"
    return failed("key", says, cure)


def _look_at_key(http: httpx.Client) -> Finding:
    """The scopes of the key, by asking for things that are not there."""
    answers = {scope: http.request(method, path) for scope, method, path in _PROBES}
    lacking = [s for s, a in answers.items() if a.status_code == HTTPStatus.FORBIDDEN]
    may = ", ".join(scope for scope in answers if scope not in lacking)
    if "authorization" not in http.headers:
        return ok("key", f"none is needed to {may}")
    if lacking:
        says = f"accepted; it may {may or 'nothing'}, and lacks {', '.join(lacking)}"
        return warning("key", says, "fmx admin keys create makes one with more --scope")
    return ok("key", f"accepted; it may {may}")


def _look_at_jobs(http: httpx.Client) -> Iterator[Finding]:
    """Is somebody training? A job that waits while none runs is what shows that nobody is.

    Nothing is said where the key may not read.
    """
    queued, running = (_list_jobs(http, state) for state in ("queued", "running"))
    if queued.status_code != HTTPStatus.OK:
        return
    waiting, now = _value(queued).get("items") or [], _dated(queued) or time.time()
    num_running = len(_value(running).get("items") or [])
    waits = [now - datetime.fromisoformat(job["created_at"]).timestamp() for job in waiting]
    if waits and not num_running and max(waits) > PATIENCE_SECONDS:
        says = f"{len(waits)} jobs wait, the first for {max(waits):.0f} s, and none runs"
        yield failed("jobs", says, "start a worker: python -m worker, or make serve")
    else:
        yield ok("jobs", f"{num_running} run, {len(waits)} wait")


def _list_jobs(http: httpx.Client, state: str) -> httpx.Response:
    return http.get("/v1/jobs", params={"state": state})


def _value(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer; an empty one where it has none."""
    try:
        value = answer.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
