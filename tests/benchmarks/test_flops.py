"""Arithmetic counted by hand is what torch counts."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import flops
from benchmarks.report_networks import make_network
from benchmarks.training import epoch_flops, pick
from fmx_ml.specs import NUM_PIXELS, AutoencoderSpec, CnnSpec, MlpSpec
from fmx_ml.trainings import AutoencoderTraining, CnnTraining

NETWORKS = (
    CnnSpec(),
    CnnSpec(conv_layers=1, dense_layers=3),
    CnnSpec(conv_layers=4),
    MlpSpec(),
    AutoencoderSpec(),
)


@pytest.mark.parametrize("spec", NETWORKS)
def test_counts_are_torchs(spec: flops.NetworkSpec) -> None:
    network, batch = make_network(spec), 2
    shape = (batch, 1, 28, 28) if isinstance(spec, CnnSpec) else (batch, NUM_PIXELS)
    with FlopCounterMode(display=False) as forward:
        answer = network(torch.zeros(shape))
    with FlopCounterMode(display=False) as backward:
        answer.sum().backward()
    counted = flops.count(spec)
    assert counted.forward * batch == forward.get_total_flops()
    assert counted.step * batch == forward.get_total_flops() + backward.get_total_flops()


def test_the_last_layer_alone() -> None:
    assert flops.count_last_layer(CnnSpec(dense_layers=3)) == (2 * 84 * 5, 4 * 84 * 5)


def test_epochs_count_pictures_of_training_and_validation() -> None:
    q1 = pick("q1", "seed-0", CnnTraining)[0]
    forward, step = flops.count(q1.model)
    assert epoch_flops(q1) == 25_000 * step + 5_000 * forward
    part = q1.model_copy(update={"fraction_percent": 20})
    assert epoch_flops(part) == 5_000 * step + 5_000 * forward
    frozen = pick("q5", "frozen-100-", CnnTraining)[0]
    assert epoch_flops(frozen) == 25_000 * 4 * 84 * 5 + 5_000 * 2 * 84 * 5
    autoencoder = pick("q4", "autoencoder-20-", AutoencoderTraining)[0]
    forward, step = flops.count(autoencoder.model)
    assert epoch_flops(autoencoder) == 60_000 * step + 5_000 * forward
