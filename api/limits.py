"""Bounds of a request that an operator has set tighter than the ones that are built in."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from api.pointers import ErrorItem, join_pointer
from api.problems import invalid
from fmx_ml.requests import JobRequest
from fmx_ml.specs import MAX_BATCH_SIZE, MAX_EPOCHS
from fmx_store.settings import Settings


def tighten(request: JobRequest, settings: Settings) -> JobRequest:
    """The request, with the time limit that it has at least. Raises ProblemError (422)."""
    errors = [*_find_long(request, settings), *_find_large(request, settings)]
    if errors:
        raise invalid(errors)
    if request.time_limit_seconds is None and settings.default_time_limit_seconds is not None:
        given = {"time_limit_seconds": settings.default_time_limit_seconds}
        return request.model_copy(update=given)
    return request


def _find_long(request: JobRequest, settings: Settings) -> Iterator[ErrorItem]:
    name = request.name or ""
    if len(name) > settings.max_name_length:
        detail = f"String should have at most {settings.max_name_length} characters"
        yield ErrorItem("/name", "string_too_long", detail)
    if len(request.tags) > settings.max_tags:
        yield ErrorItem("/tags", "too_long", f"at most {settings.max_tags} tags")
    if (request.time_limit_seconds or 0) > settings.max_time_limit_seconds:
        yield _above("/time_limit_seconds", settings.max_time_limit_seconds)


def _find_large(request: JobRequest, settings: Settings) -> Iterator[ErrorItem]:
    """Epochs and batches, wherever a spec has them: as a number, in a list, in a range."""
    bounds = {"max_epochs": settings.max_epochs, "batch_size": settings.max_batch_size}
    if bounds == {"max_epochs": MAX_EPOCHS, "batch_size": MAX_BATCH_SIZE}:
        return  # the spec's own bounds, which it has been held to
    for place, name, number in _numbers(request.spec.model_dump(mode="json"), ["spec"], ""):
        if name in bounds and number > bounds[name]:
            yield _above(join_pointer(place), bounds[name])


def _numbers(
    value: Any, place: list[str | int], name: str
) -> Iterator[tuple[list[str | int], str, float]]:
    """Every number of a value, its place, and the name of the field that it belongs to."""
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[str, Any]", value).items():
            inner = name if key in {"low", "high"} else key
            yield from _numbers(item, [*place, key], inner)
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[Any]", value)):
            yield from _numbers(item, [*place, index], name)
    elif isinstance(value, int | float):
        yield place, name, value


def _above(pointer: str, bound: int) -> ErrorItem:
    detail = f"Input should be less than or equal to {bound}"
    return ErrorItem(pointer, "less_than_equal", detail)
