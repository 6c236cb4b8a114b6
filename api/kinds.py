"""What there is to say about each kind of experiment, from its request's schema."""

import functools
import inspect

from api.schemas import KindBody, KindItem, SelfLink
from fmx_ml.published import published_figures
from fmx_ml.specs import KINDS, PRESETS, REQUESTS, Kind, parse_request


def list_kinds() -> list[KindItem]:
    """Every kind, by name."""
    return [
        KindItem(
            kind=kind,
            title=_title(kind),
            links=SelfLink.model_validate({"self": f"/v1/kinds/{kind}"}),
        )
        for kind in KINDS
    ]


@functools.cache
def describe_kind(kind: Kind) -> KindBody:
    """All about a kind."""
    request = REQUESTS[kind]
    return KindBody(
        kind=kind,
        title=_title(kind),
        description=inspect.getdoc(request) or "",
        json_schema=request.model_json_schema(),
        defaults=parse_request({"kind": kind}).model_dump(mode="json"),
        presets={name: dict(spec) for name, spec in PRESETS[kind].items()},
        published=published_figures(kind),
    )


def _title(kind: Kind) -> str:
    """The first line of what the kind's spec says of itself."""
    spec = REQUESTS[kind].model_fields["spec"].annotation
    return (inspect.getdoc(spec) or kind).splitlines()[0]
