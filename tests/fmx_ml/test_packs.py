"""Which of the report's trainings may train together."""

from collections import Counter
from typing import Any

import pytest
from ml_cases import make_training

from fmx_ml.packs import pack_key, pack_limit
from fmx_ml.requests import parse_request, plan
from fmx_ml.trainings import CnnTraining, PlannedRun, Training, Transfer


def plan_of(kind: str, **spec: Any) -> list[PlannedRun]:
    return list(plan(parse_request({"kind": kind, "spec": spec})))


def sizes_of(runs: list[PlannedRun]) -> list[int]:
    """How many runs each pack of a question has at most."""
    return sorted(Counter(pack_key(run.training) for run in runs).values(), reverse=True)


def make_transfer(trained: Any, source: str = "a", **fields: Any) -> CnnTraining:
    transfer = Transfer(source=source, trained=trained)
    return make_training(**fields).model_copy(update={"transfer": transfer})


def test_the_packs_of_the_report() -> None:
    assert sizes_of(plan_of("q1", seeds=[0, 1, 2])) == [3]
    assert sizes_of(plan_of("q2")) == [6, 3, 1]  # three networks
    # Random and fine-tuned starts and the whole first half; the heads; two on the second half.
    assert sizes_of(plan_of("q5")) == [40, 20, 1, 1]
    # Both sweeps, the first with the two final perceptrons; three rates of each of 20 networks, but
    # the own one.
    assert sizes_of(plan_of("q4")) == [42, 40, *[3] * 20, 1]


@pytest.mark.parametrize(
    "fields",
    [
        {"seeds": [1]},
        {"optimiser": {"name": "AdamW", "weight_decay": 0.1}},
        {"max_epochs": 3},
        {"early_stopping": None},
        {"schedule": "cosine"},
    ],
    ids=str,
)
def test_what_may_differ(fields: dict[str, Any]) -> None:
    assert pack_key(make_training(**fields)) == pack_key(make_training())


def test_shares_of_the_pictures_and_first_weights_may_differ() -> None:
    part = make_training().model_copy(update={"fraction_percent": 5})
    assert pack_key(part) == pack_key(make_training())
    for source in "ab":
        assert pack_key(make_transfer("all_layers", source)) == pack_key(make_training())


@pytest.mark.parametrize(
    "fields",
    [
        {"batch_size": 50},
        {"model": {"dense_layers": 1}},
        {"half": "fm2"},
        {"split_seed": 1},
        {"dataset": "synthetic"},
    ],
    ids=str,
)
def test_what_must_be_equal(fields: dict[str, Any]) -> None:
    assert pack_key(make_training(**fields)) != pack_key(make_training())


def test_heads_share_their_source() -> None:
    assert pack_key(make_transfer("last_layer")) == pack_key(make_transfer("last_layer", seeds=[1]))
    assert pack_key(make_transfer("last_layer")) != pack_key(make_transfer("last_layer", "b"))
    assert pack_key(make_transfer("last_layer")) != pack_key(make_transfer("all_layers"))


@pytest.mark.parametrize(
    "training",
    [
        make_training(model={"dropout": 0.1}),
        make_training(model={"batch_norm": True}),
        make_training(augmentation={"flip": True}),
        make_transfer("last_layer", model={"dense_layers": 1, "channels": [6, 512]}),
        *[run.training for run in plan_of("q2", search={"trials": 1})],
    ],
)  # fmt: skip
def test_what_trains_alone(training: Training) -> None:
    assert pack_key(training) is None
    assert pack_limit(training, "cuda") == pack_limit(training, "cpu") == 1


def test_frozen_batch_norms_stay_as_they_are() -> None:
    assert pack_key(make_transfer("last_layer", model={"batch_norm": True})) is not None


def test_limits() -> None:
    heads = make_transfer("last_layer")
    assert pack_limit(heads, "cpu") == pack_limit(heads, "cuda") == 64
    assert pack_limit(make_training(), "cpu") == 1
    assert pack_limit(make_training(), "cuda") == 81
    assert pack_limit(make_training(batch_size=50_000), "cuda") == 1
    assert {pack_limit(run.training, "cpu") for run in plan_of("q4")} == {1}
    assert min(pack_limit(run.training, "cuda") for run in plan_of("q4")) == 128
