"""What specs take and refuse, and the runs that they plan."""

from typing import Any, TypeVar

import pytest
from ml_cases import make_training
from pydantic import ValidationError

from fmx_ml.experiments.q1 import Q1Spec
from fmx_ml.requests import KINDS, parse_request, parse_spec, plan, spec_hash
from fmx_ml.specs import MAX_SEEDS, CnnSpec, CommonSpec

S = TypeVar("S", bound=CommonSpec)


def make_spec(**fields: Any) -> Q1Spec:
    """A Q1 spec as a request has it."""
    return read(Q1Spec, {"kind": "q1", "spec": fields})


def read(kind: type[S], data: Any) -> S:
    spec = parse_request(data).spec
    assert isinstance(spec, kind)
    return spec


def test_kind_alone_is_the_reports() -> None:
    request = parse_request({"kind": "q1"})
    assert request.preset == "report"
    assert request.spec == Q1Spec()
    assert request.priority == 5


def test_a_preset_is_overridden_field_by_field() -> None:
    quick = read(Q1Spec, {"kind": "q1", "preset": "quick"})
    assert quick.max_epochs < 50
    assert quick.optimiser.name == "SGD"
    fields = {"optimiser": {"weight_decay": 0.1}}
    changed = read(Q1Spec, {"kind": "q1", "preset": "quick", "spec": fields})
    assert changed.max_epochs == quick.max_epochs
    assert changed.optimiser.learning_rate == quick.optimiser.learning_rate
    assert changed.optimiser.weight_decay == 0.1


def refuse(**fields: Any) -> list[dict[str, Any]]:
    with pytest.raises(ValidationError) as caught:
        make_spec(**fields)
    return [dict(problem) for problem in caught.value.errors()]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"max_epochs": 0}, ("spec", "max_epochs")),
        ({"max_epochs": 10_001}, ("spec", "max_epochs")),
        ({"max_epochs": 2.0}, ("spec", "max_epochs")),
        ({"max_epochs": "3"}, ("spec", "max_epochs")),
        ({"max_epochs": True}, ("spec", "max_epochs")),
        ({"batch_size": 65_537}, ("spec", "batch_size")),
        ({"seeds": []}, ("spec", "seeds")),
        ({"seeds": list(range(MAX_SEEDS + 1))}, ("spec", "seeds")),
        ({"seeds": [-1]}, ("spec", "seeds", 0)),
        ({"seeds": [2**31]}, ("spec", "seeds", 0)),
        ({"seeds": [1, 1]}, ("spec",)),
        ({"dataset": "no/name"}, ("spec", "dataset")),
        ({"optimiser": {"learning_rate": 0}}, ("spec", "optimiser", "learning_rate")),
        ({"optimiser": {"learning_rate": float("nan")}}, ("spec", "optimiser", "learning_rate")),
        ({"optimiser": {"learning_rate": float("inf")}}, ("spec", "optimiser", "learning_rate")),
        ({"optimiser": {"weight_decay": -0.1}}, ("spec", "optimiser", "weight_decay")),
        ({"epochs": 3}, ("spec", "epochs")),
        ({"model": {"layers": 3}}, ("spec", "model", "layers")),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_its_place(
    fields: dict[str, Any], place: tuple[Any, ...]
) -> None:
    assert refuse(**fields)[0]["loc"] == place


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"conv_layers": 3, "channels": [6, 12]}, "channels", "2 numbers do not fit conv_layers 3"),
        ({"conv_layers": 5}, "channels", "4 numbers do not fit conv_layers 5"),
        ({"conv_layers": 2, "kernel_size": 15}, "conv_layers", "gets only 7 x 7 pixels"),
        ({"padding": "same", "kernel_size": 4}, "kernel_size", "4 is even"),
    ],
)
def test_layers_that_do_not_fit_say_where(fields: dict[str, Any], field: str, message: str) -> None:
    problem = refuse(model=fields)[0]
    assert problem["type"] == "does_not_fit"
    assert problem["ctx"]["field"] == field
    assert message in problem["msg"]


@pytest.mark.parametrize(
    ("conv_layers", "flat", "padding"),
    [(1, 6 * 12 * 12, 0), (2, 12 * 4 * 4, 0), (4, 24 * 7 * 7, 2)],
)
def test_sizes_are_the_reports(conv_layers: int, flat: int, padding: int) -> None:
    spec = CnnSpec(conv_layers=conv_layers)
    assert spec.flat_features() == flat
    assert {layer.padding for layer in spec.layers()} == {padding}
    assert spec.dense_sizes() == (flat, 80, 5)


def test_a_run_for_each_seed() -> None:
    fields = {"seeds": [5, 3], "half": "fm2", "max_epochs": 7}
    runs = plan(parse_request({"kind": "q1", "spec": fields}))
    assert [run.name for run in runs] == ["seed-5", "seed-3"]
    assert [run.training.seed for run in runs] == [5, 3]
    assert all(run.max_epochs == 7 for run in runs)
    assert all(run.training.model_dump()["half"] == "fm2" for run in runs)


def test_a_training_holds_all_that_its_result_depends_on() -> None:
    assert make_training(device="cpu") == make_training(device="cuda")
    assert make_training(split_seed=1) != make_training(split_seed=2)


def test_equal_specs_have_equal_hashes() -> None:
    written_out = parse_spec("q1", Q1Spec().model_dump(mode="json"))
    assert spec_hash("q1", written_out) == spec_hash("q1", Q1Spec())
    assert spec_hash("q1", make_spec(max_epochs=449)) != spec_hash("q1", Q1Spec())


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "x" * 129},
        {"name": "a\x00b"},
        {"tags": ["a", "a"]},
        {"tags": [f"t{n}" for n in range(33)]},
        {"priority": 10},
        {"time_limit_seconds": 0},
        {"preset": "fast"},
        {"spec": []},
        {"spec": None},
    ],
)
def test_bad_requests_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse_request({"kind": "q1", **fields})


@pytest.mark.parametrize("data", [None, [], "q1", {}, {"kind": "q9"}])
def test_what_is_no_request_is_refused(data: Any) -> None:
    with pytest.raises(ValidationError):
        parse_request(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_spec_written_out_is_the_same_spec(kind: str) -> None:
    request = parse_request({"kind": kind})
    assert parse_spec(kind, request.spec.model_dump(mode="json")) == request.spec


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_names_each_run_once_after_those_it_needs(kind: str) -> None:
    for preset in ("report", "quick"):
        runs = plan(parse_request({"kind": kind, "preset": preset, "spec": {"seeds": [0, 7]}}))
        names = [run.name for run in runs]
        assert len(set(names)) == len(names)
        for place, run in enumerate(runs):
            assert set(run.needs) <= set(names[:place])
            assert set(run.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_a_part_of_a_value_leaves_the_rest_as_the_question_has_it() -> None:
    spec = parse_request({"kind": "q3", "spec": {"model": {"dense_layers": 3}}}).spec
    assert spec.model_dump()["model"]["conv_layers"] == 4
    best = {"optimiser": {"learning_rate": 0.001}}
    spec = parse_request({"kind": "q5", "spec": {"best": best}}).spec
    assert spec.model_dump()["best"]["optimiser"]["name"] == "AdamW"
    assert spec.model_dump()["best"]["model"]["dense_layers"] == 3
