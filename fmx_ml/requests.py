"""Job requests: JSON in, checked before anything is queued; out come specs, plans and hashes.

`parse_request` turns JSON data into a `JobRequest`: the preset's values, overridden by what the
request's `spec` names, refused where they do not fit together. `plan` lists the runs a request
needs. Nothing here imports more than pydantic, so server, worker and client share it.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, create_model, model_validator

from fmx_ml.experiments import QUESTIONS
from fmx_ml.questions import MisfitError, Question, References
from fmx_ml.specs import (
    DISTINCT,
    MAX_TAGS,
    MAX_TIME_LIMIT_SECONDS,
    Bool,
    CommonSpec,
    Frozen,
    Int,
    Name,
    OwnDataset,
    Preset,
    Tag,
    misfit,
)
from fmx_ml.trainings import PlannedRun, digest

KINDS: tuple[str, ...] = tuple(question.kind for question in QUESTIONS)

_BY_KIND: dict[str, Question[Any]] = {question.kind: question for question in QUESTIONS}


class JobRequest(Frozen):
    """What every job request carries; each kind has a model of its own, with its own spec."""

    kind: str
    preset: Preset = Field(
        default="report", description="report: as published; quick: a smoke version."
    )
    name: Name | None = None
    tags: tuple[Tag, ...] = Field(default=(), max_length=MAX_TAGS, json_schema_extra=DISTINCT)
    priority: Int = Field(
        default=5, ge=0, le=9, description="9 is served first; equal ones by age."
    )
    time_limit_seconds: Int | None = Field(
        default=None, ge=1, le=MAX_TIME_LIMIT_SECONDS, description="Wall time from the job's start."
    )
    reuse: Bool = Field(
        default=False, description="Take runs that finished before instead of training them again."
    )
    spec: CommonSpec

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, data: Any) -> Any:
        """Puts the spec that was given over the preset's values and the question's own.

        A mapping in it changes what it names and leaves the rest as the question has it.
        """
        if not isinstance(data, Mapping):
            return data
        kind, spec = data.get("kind"), data.get("spec", {})
        question = _BY_KIND.get(kind) if isinstance(kind, str) else None
        if question is None or not isinstance(spec, Mapping):
            return data
        base = question.quick if data.get("preset", "report") == "quick" else {}
        return {**data, "spec": _fill(question.spec().model_dump(), _merge(base, spec))}

    @model_validator(mode="after")
    def _distinct_tags(self) -> "JobRequest":
        if len(set(self.tags)) != len(self.tags):
            raise misfit("tags", "the same tag is given twice")
        return self


def _merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Base with the override's values put over it, mapping by mapping."""
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _merge(old, value)  # noqa: PLW2901
        merged[key] = value
    return merged


def _fill(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given values, each mapping put over the default's where that is one too."""
    return {
        name: _merge(defaults[name], value)
        if isinstance(value, Mapping) and isinstance(defaults.get(name), Mapping)
        else value
        for name, value in given.items()
    }


def _make_request(question: Question[Any]) -> type[JobRequest]:
    kind = question.kind
    fields: dict[str, Any] = {
        "kind": (Literal[kind], ...),
        "spec": (question.spec, question.spec()),
    }
    return create_model(
        f"{kind.capitalize()}Request",
        __base__=JobRequest,
        __doc__=f'A job of kind {kind}; `{{"kind": "{kind}"}}` alone is the report\'s.',
        **fields,
    )


REQUESTS: dict[str, type[JobRequest]] = {q.kind: _make_request(q) for q in QUESTIONS}


class _UnknownKind(JobRequest):
    """Says which kinds there are."""

    kind: Literal[KINDS]  # pyright: ignore[reportInvalidTypeForm] - made of what is listed
    spec: CommonSpec = CommonSpec()


def require_question(kind: str) -> Question[Any]:
    """The question of a kind. Raises KeyError."""
    return _BY_KIND[kind]


def parse_request(data: Any) -> JobRequest:
    """The checked request in data (a JSON value). Raises pydantic.ValidationError."""
    kind = data.get("kind") if isinstance(data, Mapping) else None
    model = REQUESTS.get(kind, _UnknownKind) if isinstance(kind, str) else _UnknownKind
    return model.model_validate(data)


def parse_spec(kind: str, data: Any) -> CommonSpec:
    """A spec as the record holds it. Raises KeyError for another kind, pydantic.ValidationError."""
    return require_question(kind).spec.model_validate(data)


def told(request: JobRequest, dataset: OwnDataset | None) -> JobRequest:
    """The request with a spec that knows the registered data set which it names."""
    return request.model_copy(update={"spec": request.spec.told(dataset)})


def named_runs(request: JobRequest) -> dict[str, str]:
    """Ids of finished runs of other jobs that a request names, by their places in the spec."""
    return dict(require_question(request.kind).references(request.spec))


def count_fewest(request: JobRequest) -> int:
    """The runs that a request needs at least: what is too many need not be planned."""
    return require_question(request.kind).fewest(request.spec)


def plan(request: JobRequest, references: References | None = None) -> tuple[PlannedRun, ...]:
    """The runs that a request needs, each named once, after the runs that it needs.

    Args:
        request: what is asked for.
        references: the trainings of the runs that it names, by id.

    Raises:
        MisfitError: a named run is not there or does not fit, or nobody has told the request what
            the data set is that it names.
    """
    try:
        _ = request.spec.data
    except LookupError as error:
        raise MisfitError("dataset", str(error)) from error
    question = require_question(request.kind)
    return tuple(question.plan(request.spec, references or {}))


def spec_hash(kind: str, spec: CommonSpec) -> str:
    """The sha256, in hex, of a kind and its normalised spec: equal specs, equal hashes."""
    return digest({"kind": kind, "spec": spec.model_dump(mode="json")})
