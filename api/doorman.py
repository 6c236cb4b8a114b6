"""Who may come in: keys, the scopes they have, and how much of them in a second."""

import functools
import re
from collections.abc import MutableMapping
from typing import Any

from api import cookies
from api.keyring import KeyRing
from api.permissions import (
    ANYONE,
    METRICS_PATH,
    STRANGER,
    WATCHER,
    Meter,
    grant_of,
    is_open,
    permission_of,
    refuse_scope,
)
from api.problems import ProblemError, refuse
from api.rates import Buckets, make_buckets, too_many
from fmx_store.database import Database
from fmx_store.keys import PREFIX, Grant, hash_key
from fmx_store.settings import Settings, is_loopback

_KEY = re.compile(re.escape(PREFIX) + "[A-Za-z0-9_-]{43}")
_PORT = re.compile(r":\d*$")  # of a Host header
_CHALLENGE = 'Bearer realm="fmx"'
_MINUTE = 60.0

AsgiScope = MutableMapping[str, Any]


class Doorman:
    """Finds out who sends a request, and refuses it. To be used in the event loop's thread."""

    def __init__(self, db: Database, settings: Settings) -> None:
        """Nobody is known yet."""
        self._needs_keys = settings.needs_keys
        self._has_open_metrics = settings.open_metrics
        self._is_local = not settings.trust_network
        self._ring = KeyRing(db)
        rates = settings.rates
        self._requests = make_buckets(rates.requests_per_second)
        self._failures = make_buckets(settings.rate_bad_keys_per_minute, _MINUTE)
        self._meters: dict[Meter, tuple[Buckets | None, str]] = {
            Meter.SUBMITS: (make_buckets(rates.submits_per_minute, _MINUTE), "submissions"),
            Meter.PREDICTS: (make_buckets(rates.predicts_per_second), "predictions"),
        }

    async def admit(self, scope: AsgiScope) -> Grant:
        """What the sender of a request may do.

        Raises ProblemError: 401 without a good key, 403 and 421 where a page of another site sends
        it, 429. And a database's errors.
        """
        if self._needs_keys:
            grant = await self._identify(scope)
        else:
            grant = ANYONE
            if self._is_local:
                _refuse_elsewhere(scope)
        if self._requests is not None and grant is not STRANGER:
            _take(self._requests, _name(grant, scope), "requests")
        return grant

    async def still_admits(self, scope: AsgiScope) -> bool:
        """Whether the key of a request that is still being answered is good now."""
        key, _ = _find_key(scope)
        if not self._needs_keys or key is None:
            return not self._needs_keys
        grant = await self._ring.find(hash_key(key))
        return grant is not None and grant.viewer == grant_of(scope).viewer

    def permit(self, scope: AsgiScope, grant: Grant, route: str) -> None:
        """Lets a request through to a route's function. Raises ProblemError: 403, 429."""
        permission = permission_of(route)
        refuse_scope(grant, permission.scope)
        if permission.meter is not None:
            buckets, what = self._meters[permission.meter]
            if buckets is not None:
                _take(buckets, _name(grant, scope), what)

    async def _identify(self, scope: AsgiScope) -> Grant:
        key, is_cookie = _find_key(scope)
        if key is None:
            return self._name_stranger(scope)
        try:
            grant = await self.check(scope, key)
        except ProblemError:
            # A key that was revoked must not keep its owner out.
            if is_cookie and is_open(scope["method"], scope["path"]):
                return STRANGER
            raise
        if is_cookie:
            cookies.refuse_forged(scope)
        return grant

    async def check(self, scope: AsgiScope, key: str) -> Grant:
        """What a key that a request brings allows. Raises ProblemError: 401, 429."""
        digest = hash_key(key)
        if self._failures is not None and not self._ring.knows(digest):
            wait = self._failures.look(_address(scope))
            if wait:
                raise too_many("keys that are not known", wait)
        grant = await self._ring.find(digest) if _KEY.fullmatch(key) else None
        if grant is None:
            if self._failures is not None:
                self._failures.take(_address(scope))
            raise _bad_key()
        return grant

    def _name_stranger(self, scope: AsgiScope) -> Grant:
        """What who has no key may do. Raises ProblemError (401) where that is nothing."""
        if is_open(scope["method"], scope["path"]):
            return STRANGER
        is_reading = scope["method"] in {"GET", "HEAD"}
        if is_reading and scope["path"] == METRICS_PATH and self._has_open_metrics:
            return WATCHER
        raise _no_key()


def _refuse_elsewhere(scope: AsgiScope) -> None:
    """Raises ProblemError for what a browser on this machine sends for a page from elsewhere.

    Such a page can't reach this address by its own name, but it can have its name point here (DNS
    rebinding), and it may send what needs no answer: neither is stopped by binding to 127.0.0.1.
    """
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"")
    if host and not _names_this_machine(host):
        raise refuse(421, "foreign_host", "this server is called localhost, or by its address")
    cookies.refuse_foreign(scope)


@functools.lru_cache(maxsize=64)
def _names_this_machine(host: bytes) -> bool:
    """Whether a Host header has a name of this machine's own."""
    return is_loopback(_PORT.sub("", host.decode("latin-1").lower()).strip("[]"))


def _find_key(scope: AsgiScope) -> tuple[str | None, bool]:
    """The key in the Authorization header or, where there is none, a browser's; whether it is."""
    if any(name == b"authorization" for name, _ in scope["headers"]):
        return _bearer(scope), False
    return cookies.read_key(scope), True


def _bearer(scope: AsgiScope) -> str | None:
    """The key in the Authorization header; None where there is none, or several."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(given) != 1:
        return None
    scheme, _, key = given[0].decode("latin-1").partition(" ")
    return (key.strip() or None) if scheme.lower() == "bearer" else None


def _address(scope: AsgiScope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _name(grant: Grant, scope: AsgiScope) -> str:
    """Whose bucket it is: a key's, or an address's where keys are off."""
    return grant.key_id or _address(scope)


def _take(buckets: Buckets, name: str, what: str) -> None:
    wait = buckets.take(name)
    if wait:
        raise too_many(what, wait)


def _no_key() -> ProblemError:
    headers = {"WWW-Authenticate": _CHALLENGE}
    detail = "a key is needed: Authorization: Bearer fmx_…"
    return refuse(401, "no_key", detail, headers=headers)


def _bad_key() -> ProblemError:
    headers = {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'}
    return refuse(401, "bad_key", "this key is unknown, revoked or expired", headers=headers)
