from collections.abc import Callable
from typing import Any

import pytest
import torch
from ml_cases import SmallExamples
from torch import nn

from fmx_ml.models import build
from fmx_ml.models.cnn import Cnn
from fmx_ml.specs import CnnSpec


def make(seed: int = 0, **fields: Any) -> Cnn:
    return build(CnnSpec(**fields), 5, torch.Generator().manual_seed(seed))


def count(*layers: tuple[int, int]) -> int:
    """Weights and biases of layers given as (inputs of a unit, units)."""
    return sum((inputs + 1) * units for inputs, units in layers)


CONV1, CONV2 = (25, 6), (6 * 25, 12)


@pytest.mark.parametrize(
    ("conv_layers", "dense_layers", "expected"),
    [
        (1, 1, count(CONV1, (864, 5))),
        (1, 2, count(CONV1, (864, 80), (80, 5))),
        (1, 3, count(CONV1, (864, 120), (120, 84), (84, 5))),
        (2, 1, count(CONV1, CONV2, (192, 5))),
        (2, 2, count(CONV1, CONV2, (192, 80), (80, 5))),
        (2, 3, count(CONV1, CONV2, (192, 120), (120, 84), (84, 5))),
        (4, 2, count(CONV1, CONV2, (12 * 25, 16), (16 * 25, 24), (24 * 49, 80), (80, 5))),
    ],
)
def test_sizes_are_the_reports(conv_layers: int, dense_layers: int, expected: int) -> None:
    model = make(conv_layers=conv_layers, dense_layers=dense_layers)
    assert sum(weight.numel() for weight in model.parameters()) == expected
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 5)


def test_layers_bear_the_reports_names() -> None:
    names = {name.split(".")[0] for name in make().state_dict()}
    assert names == {"conv1", "conv2", "fc1", "fc2"}


def test_forward_is_the_reports(examples: SmallExamples) -> None:
    """Convolution, relu, pooling, twice; then dense, relu, dense: written out in plain layers."""
    model = make()
    weights = model.state_dict()
    plain = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 12, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(192, 80), nn.ReLU(), nn.Linear(80, 5),
    )  # fmt: skip
    plain.load_state_dict(dict(zip(plain.state_dict(), weights.values(), strict=True)))
    images = examples.val.images_NCHW[:50]
    assert torch.equal(model(images), plain(images))


def test_feature_maps_lead_to_the_same_logits(examples: SmallExamples) -> None:
    model = build(CnnSpec(conv_layers=4), 5, torch.Generator().manual_seed(0))
    images = examples.val.images_NCHW[:20]
    maps = list(model.feature_maps(images))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (6, 28, 28), (12, 28, 28), (16, 14, 14), (24, 14, 14),
    ]  # fmt: skip
    assert all((m >= 0).all() for m in maps)
    pooled = torch.nn.functional.max_pool2d(maps[-1], 2)
    assert torch.equal(model._classify(pooled), model(images))


def test_equal_seeds_equal_weights() -> None:
    first, again, other = make(7), make(7), make(8)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
        assert not torch.equal(weight, other.state_dict()[name])


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    make(7)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("make_layer", [lambda: nn.Conv2d(6, 12, 5), lambda: nn.Linear(192, 80)])
def test_weights_are_distributed_as_torchs_own(make_layer: Callable[[], nn.Module]) -> None:
    """Bounds, mean and deviation of many of our draws against torch's own layer."""
    name = "conv2" if isinstance(make_layer(), nn.Conv2d) else "fc1"
    for part in ("weight", "bias"):
        ours = torch.cat([make(s).state_dict()[f"{name}.{part}"].flatten() for s in range(200)])
        torch.manual_seed(0)
        theirs = torch.cat([make_layer().state_dict()[part].flatten() for _ in range(200)])
        assert ours.numel() == theirs.numel()
        bound = theirs.abs().max().item()
        assert ours.abs().max().item() == pytest.approx(bound, rel=2e-3)
        assert ours.mean().item() == pytest.approx(0, abs=0.05 * bound)
        assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.03)
