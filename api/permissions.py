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
    "get_root": _ANY_KEY,
    "get_docs": _ANY_KEY,
    "get_openapi": _ANY_KEY,
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
    "get_runs": _READ,
    "get_run": _READ,
    "get_metrics": _READ,
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
    "infer": _PREDICT,
}

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What answers without a key: an orchestrator asks it. The rest of the server is not even named."""


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
