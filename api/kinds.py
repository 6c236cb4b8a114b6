"""What there is to say about each kind of experiment, from its question and its request."""

import functools
import inspect

from api.schemas import KindBody, KindItem, SelfLink
from fmx_ml.experiments import QUESTIONS
from fmx_ml.published import published_figures
from fmx_ml.requests import KINDS, REQUESTS, parse_request, require_question
from fmx_store.errors import NotFoundError


def list_kinds() -> list[KindItem]:
    """Every kind, in the order in which the questions are listed."""
    return [
        KindItem(
            kind=question.kind,
            title=question.title,
            links=SelfLink.model_validate({"self": f"/v1/kinds/{question.kind}"}),
        )
        for question in QUESTIONS
    ]


@functools.cache
def describe_kind(kind: str) -> KindBody:
    """All about a kind. Raises NotFoundError."""
    if kind not in KINDS:
        raise NotFoundError("kind", kind)
    question, request = require_question(kind), REQUESTS[kind]
    return KindBody(
        kind=kind,
        title=question.title,
        description=inspect.getdoc(request) or "",
        json_schema=request.model_json_schema(),
        defaults=parse_request({"kind": kind}).model_dump(mode="json"),
        presets={"report": {}, "quick": dict(question.quick)},
        published=published_figures(kind),
    )
