"""The stacked optimisers beside torch's own, step by step."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from ml_cases import make_training

from fmx_ml.engine.ensemble.optimisers import Family, StackedOptimiser, family_of, make_pace
from fmx_ml.engine.ensemble.stack import Stack
from fmx_ml.engine.train import make_optimiser, make_schedule
from fmx_ml.trainings import CnnTraining

NUM_STEPS = 50


def make_trainings(*optimisers: dict[str, Any], **fields: Any) -> list[CnnTraining]:
    return [
        make_training(optimiser=optimiser, max_epochs=1, batch_size=10, **fields)
        for optimiser in optimisers
    ]


def walk_alone(training: CnnTraining, weights: torch.Tensor, gradients: torch.Tensor) -> None:
    """Torch's steps with given gradients."""
    model = torch.nn.ParameterList([torch.nn.Parameter(weights)])
    optimiser = make_optimiser(training.optimiser, model)
    schedule = make_schedule(training, optimiser, NUM_STEPS * 10)
    for gradient in gradients:
        model[0].grad = gradient.clone()
        optimiser.step()
        if schedule is not None:
            schedule.step()


def walk_together(
    trainings: Sequence[CnnTraining], weights_MW: torch.Tensor, gradients_SMW: torch.Tensor
) -> torch.Tensor:
    stack = Stack([{"w": row} for row in weights_MW], torch.device("cpu"))
    specs = [training.optimiser for training in trainings]
    optimiser = StackedOptimiser.of(specs)
    paces = [torch.from_numpy(make_pace(each, NUM_STEPS * 10, 1)) for each in trainings]
    pace_SMQ = torch.stack(paces, 1)
    for gradients_MW, pace_MQ in zip(gradients_SMW, pace_SMQ, strict=True):
        families: list[Family] = [family_of(spec) for spec in specs]
        optimiser.step(stack, gradients_MW.clone(), pace_MQ, families)
    return stack.weights_MW


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize(
    "optimisers",
    [
        [{}, {"learning_rate": 0.5}],
        [{"momentum": 0.9, "weight_decay": 0.1}, {"weight_decay": 0.2}, {"momentum": 0.3}],
        [{"name": "Adam"}, {"name": "Adam", "learning_rate": 0.05, "weight_decay": 0.3}],
        [{"name": "AdamW", "weight_decay": 0.3}, {"name": "AdamW", "learning_rate": 0.05}],
        [{"momentum": 0.9}, {"name": "Adam", "weight_decay": 0.1}, {}, {"name": "AdamW",
         "weight_decay": 0.05}],
    ],
    ids=["SGD", "momentum", "Adam", "AdamW", "all"],
)  # fmt: skip
def test_fifty_steps_are_torchs(optimisers: list[dict[str, Any]], schedule: str) -> None:
    trainings = make_trainings(*optimisers, schedule=schedule)
    generator = torch.Generator().manual_seed(0)
    weights_MW = torch.randn(len(trainings), 300, generator=generator)
    gradients_SMW = torch.randn(NUM_STEPS, len(trainings), 300, generator=generator)
    ours_MW = walk_together(trainings, weights_MW, gradients_SMW)
    for row, training in enumerate(trainings):
        theirs_W = weights_MW[row].clone()
        walk_alone(training, theirs_W, gradients_SMW[:, row])
        assert (theirs_W - weights_MW[row]).abs().max() > 0.01  # they moved at all
        assert (ours_MW[row] - theirs_W).abs().max() < 1e-5


def test_a_pace_goes_on_where_the_epoch_before_ended() -> None:
    fields = {"schedule": "cosine", "batch_size": 10}
    whole = make_training(optimiser={"name": "AdamW", "weight_decay": 0.1}, max_epochs=2, **fields)
    first, second = (make_pace(whole, 95, epoch) for epoch in (1, 2))
    assert first.shape == second.shape == (10, 6)
    assert first[0, 0] == pytest.approx(0.005 / 0.1, rel=1e-6)  # the mean's correction at step 1
    assert (second[:, 0] < first[:, 0]).all()  # the cosine falls
    assert (second[:, 4] < first[:, 4]).all()
    assert first[:-1, 5] == pytest.approx(0.1)
    assert first[-1, 5] == pytest.approx(0.2)  # five pictures are left
