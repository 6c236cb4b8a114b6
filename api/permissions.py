"""What each route asks of a key: the one table of it, by the names of their functions."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from api.problems import refuse
from fmx_store.keys import ALL_SCOPES, Grant, Scope
from fmx_store.viewers import EVERYONE, Viewer

GRANT = "fmx.grant"  # where an ASGI scope has what its sender may do

ANYONE = Grant("", EVERYONE, ALL_SCOPES, None)
"""Whoever asks where keys are off."""

STRANGER = Grant("", Viewer(owner=None, sees_all=False), frozenset(), None)
"""Whoever asks without a key, where one is needed: for what is open to all."""


WATCHER = Grant("", EVERYONE, frozenset({Scope.READ}), None)
"""Whoever reads the metrics without a key, where that is allowed."""


class Meter(Enum):
    """What is counted of a key, beside all of its requests."""

    SUBMITS = auto()
    PREDICTS = auto()


@dataclass(frozen=True)
class Permission:
    """The scope that a route asks for, none if any key does; and what it is counted as."""

    scope: Scope | None
    meter: Meter | None = None


_ANY_KEY = Permission(None)
_READ = Permission(Scope.READ)
_SUBMIT = Permission(Scope.SUBMIT)
_PREDICT = Permission(Scope.PREDICT, Meter.PREDICTS)
_UNKNOWN = Permission(Scope.ADMIN)  # of a route that the table lacks

PERMISSIONS: Mapping[str, Permission] = {
    "get_health": _ANY_KEY,
    "get_readiness": _ANY_KEY,
    "get_metrics_text": _READ,
    "get_root": _ANY_KEY,
    "get_docs": _ANY_KEY,
    "get_openapi": _ANY_KEY,
    "show_login": _ANY_KEY,
    "sign_in": _ANY_KEY,
    "sign_out": _ANY_KEY,
    "show_jobs": _READ,
    "show_job_rows": _READ,
    "show_job": _READ,
    "show_job_summary": _READ,
    "show_job_runs": _READ,
    "show_job_manifest": _READ,
    "cancel_shown_job": _SUBMIT,
    "retry_shown_job": Permission(Scope.SUBMIT, Meter.SUBMITS),
    "delete_shown_job": _SUBMIT,
    "show_models": _READ,
    "show_model": _READ,
    "show_submit": _SUBMIT,
    "show_compare": _READ,
    "show_workers": _READ,
    "show_worker_rows": _READ,
    "get_kinds": _READ,
    "get_kind": _READ,
    "validate_job": _READ,
    "post_job": Permission(Scope.SUBMIT, Meter.SUBMITS),
    "get_jobs": _READ,
    "get_job": _READ,
    "cancel_job": _SUBMIT,
    "retry_job": Permission(Scope.SUBMIT, Meter.SUBMITS),
    "delete_job": _SUBMIT,
    "get_results": _READ,
    "get_manifest": _READ,
    "get_events": _READ,
    "get_logs": _READ,
    "get_runs": _READ,
    "get_run": _READ,
    "get_metrics": _READ,
    "get_curves": _READ,
    "get_artifacts": _READ,
    "get_archive": _READ,
    "get_artifact": _READ,
    "get_event_files": _READ,
    "search_mlflow_experiments": _READ,
    "get_mlflow_experiment": _READ,
    "get_mlflow_experiment_by_name": _READ,
    "search_mlflow_runs": _READ,
    "get_mlflow_run": _READ,
    "get_mlflow_history": _READ,
    "list_mlflow_files": _READ,
    "browse_mlflow_files": _READ,
    "get_mlflow_file": _READ,
    "search_mlflow_models": _READ,
    "refuse_mlflow_write": _READ,
    "get_report": _READ,
    "get_aliases": _READ,
    "get_alias": _READ,
    "put_alias": _SUBMIT,
    "delete_alias": _SUBMIT,
    "get_datasets": _READ,
    "get_dataset": _READ,
    "delete_dataset": Permission(Scope.ADMIN),  # they are the house's
    "get_models": _READ,
    "get_model": _READ,
    "predict": _PREDICT,
    "make_feature_maps": _PREDICT,
    "get_server": _ANY_KEY,
    "get_liveness": _ANY_KEY,
    "get_server_readiness": _ANY_KEY,
    "get_tensors": Permission(Scope.PREDICT),
    "get_model_readiness": Permission(Scope.PREDICT),
    "get_config": Permission(Scope.PREDICT),
    "get_model_statistics": Permission(Scope.PREDICT),
    "get_statistics": Permission(Scope.PREDICT),
    "get_repository_index": Permission(Scope.PREDICT),
    "load_model": Permission(Scope.PREDICT),
    "unload_model": Permission(Scope.PREDICT),
    "refuse_extension": _ANY_KEY,
    "infer": _PREDICT,
}

METRICS_PATH = "/metrics"
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What answers without a key: an orchestrator asks it. Beside it only the sign-in page is named."""

_SIGN_IN_PATHS = frozenset({"/login", "/logout"})
_LOOKS = "/static/"  # of the page that takes a key, and of all others


def is_open(method: str, path: str) -> bool:
    """Whether a request needs no key."""
    if path in OPEN_PATHS or path.startswith(_LOOKS):
        return method in {"GET", "HEAD"}
    return path in _SIGN_IN_PATHS


def permission_of(name: str) -> Permission:
    """What a route's function asks for; one that was forgotten is the admins' alone."""
    return PERMISSIONS.get(name, _UNKNOWN)


def grant_of(scope: MutableMapping[str, Any]) -> Grant:
    """What the sender of a request may do. Raises KeyError where nobody has asked."""
    return scope[GRANT]


def refuse_scope(grant: Grant, scope: Scope | None) -> None:
    """Raises ProblemError (403) for a key that lacks a scope."""
    if scope is not None and not grant.allows(scope):
        challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
        headers = {"WWW-Authenticate": challenge}
        raise refuse(403, "missing_scope", f"this key lacks the scope '{scope}'", headers=headers)
