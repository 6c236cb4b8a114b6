"""The form of each kind: every place of a request has a control, and the schema's bounds."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest

from api.kinds import describe_kind
from api.pages.forms import FormField, FormGroup, make_group
from fmx_ml.requests import KINDS


def fields_of(group: FormGroup) -> Iterator[FormField]:
    yield from group.fields
    for inner in group.groups:
        yield from fields_of(inner)


def places_of(value: Any, place: str = "") -> Iterator[str]:
    """The pointers of all that is no object in a value, and of what is null."""
    if isinstance(value, Mapping):
        for name, item in cast("Mapping[str, Any]", value).items():
            yield from places_of(item, f"{place}/{name}")
    else:
        yield place


def pointers_of(group: FormGroup) -> Iterator[str]:
    yield group.pointer
    for inner in group.groups:
        yield from pointers_of(inner)


@pytest.mark.parametrize("kind", KINDS)
def test_every_place_of_the_defaults_has_a_control(kind: str) -> None:
    described = describe_kind(kind)
    form = make_group(described.json_schema)
    fields = {field.pointer: field for field in fields_of(form)}
    groups = set(pointers_of(form))
    for place in places_of(described.defaults):
        assert place in fields or place in groups, place
    identities = [field.identity for field in fields.values()]
    assert len(set(identities)) == len(identities)


def field_at(kind: str, pointer: str) -> FormField:
    form = make_group(describe_kind(kind).json_schema)
    return next(field for field in fields_of(form) if field.pointer == pointer)


def test_controls_are_those_of_their_values() -> None:
    rate = field_at("q1", "/spec/optimiser/learning_rate")
    assert (rate.control, rate.minimum, rate.default) == ("number", 0, 0.005)
    epochs = field_at("q1", "/spec/max_epochs")
    assert (epochs.control, epochs.minimum, epochs.maximum) == ("integer", 1, 10_000)
    assert list(field_at("q1", "/spec/half").choices) == ["fm1", "fm2"]
    assert field_at("q1", "/reuse").control == "flag"
    name = field_at("q1", "/name")
    assert (name.control, name.nullable, name.max_length) == ("text", True, 128)
    seeds = field_at("q1", "/spec/seeds")
    assert (seeds.control, seeds.value_type) == ("list", "integer")
    channels = field_at("q1", "/spec/model/channels")
    assert (channels.control, channels.value_type, channels.nullable) == ("list", "integer", True)
    assert field_at("q2", "/spec/models").control == "json"


def test_groups_that_may_be_null_can_be_switched_off() -> None:
    form = make_group(describe_kind("q2").json_schema)
    spec = next(group for group in form.groups if group.pointer == "/spec")
    switched = {group.pointer for group in spec.groups if group.nullable}
    assert {"/spec/grid", "/spec/search", "/spec/early_stopping"} <= switched
    grid = next(group for group in spec.groups if group.pointer == "/spec/grid")
    assert grid.description == "Every combination of some lists."
    assert field_at("q2", "/spec/grid/batch_size").default == [100]
