"""The page where a job is put together, checked while it is typed, and submitted."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi import Query as QueryOf
from pydantic import Field

from api.dependencies import Db
from api.kinds import describe_kind, list_kinds
from api.pages.forms import FormField, FormGroup, make_group
from api.pages.rendering import render_page
from api.queries import Query
from api.views import job_body
from fmx_ml.requests import KINDS
from fmx_ml.specs import BUILT_IN
from fmx_store.datasets import list_datasets
from fmx_store.overviews import require_overview
from fmx_store.viewers import View

router = APIRouter(include_in_schema=False)

# Of a request; its kind and preset are chosen above the form.
_ABOUT_THE_JOB = ("name", "tags", "priority", "time_limit_seconds", "reuse")

_DATASET = "/spec/dataset"
_MAX_DATASETS = 200  # that can be chosen from; the request's text takes any name


class SubmitQuery(Query):
    """What the form begins with."""

    kind: str | None = Field(default=None, max_length=20)
    job: str | None = Field(default=None, alias="from", max_length=30)


@router.get("/submit")
def show_submit(request: Request, db: Db, query: Annotated[SubmitQuery, QueryOf()]) -> Response:
    given = {} if query.job is None else _read_request(db, query.job)
    kind = describe_kind(given.get("kind") or query.kind or KINDS[0])
    whole = make_group(kind.json_schema)
    spec = next(group for group in whole.groups if group.pointer == "/spec")
    return render_page(
        request,
        "submit.html",
        kind=kind,
        kinds=list_kinds(),
        about=[field for field in whole.fields if field.pointer[1:] in _ABOUT_THE_JOB],
        spec=_choose_dataset(spec, _name_datasets(db, given)),
        data={"defaults": kind.defaults, "presets": kind.presets, "given": given},
    )


def _name_datasets(db: View, given: dict[str, Any]) -> Sequence[str]:
    """The built-in data sets, those that are registered, and the one that the form begins with."""
    registered = [row.name for row in list_datasets(db, limit=_MAX_DATASETS).items]
    begins_with = [given["spec"]["dataset"]] if given else []
    return list(dict.fromkeys([*BUILT_IN, *registered, *begins_with]))


def _choose_dataset(spec: FormGroup, names: Sequence[str]) -> FormGroup:
    """The form of a spec, with its data set to be chosen instead of typed."""
    parts = [
        replace(part, control="choice", choices=names)
        if isinstance(part, FormField) and part.pointer == _DATASET
        else part
        for part in spec.parts
    ]
    return replace(spec, parts=parts)


def _read_request(db: View, job_id: str) -> dict[str, Any]:
    """The request that would make a job like this one. Raises NotFoundError."""
    job = job_body(require_overview(db, job_id)).model_dump(mode="json")
    kept = ("kind", "preset", "name", "tags", "priority", "time_limit_seconds", "spec")
    return {name: job[name] for name in kept}
