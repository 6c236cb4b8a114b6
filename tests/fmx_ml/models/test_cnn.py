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
    x = torch.nn.functional.max_pool2d(maps[-1], 2).flatten(1)
    for dense in model.denses[:-1]:
        x = dense(x).relu()
    assert torch.equal(x, model.features(images))
    assert torch.equal(model.denses[-1](x), model(images))


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


def test_batch_norms_stand_between_convolution_and_relu(examples: SmallExamples) -> None:
    model = make(batch_norm=True)
    plain = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 12, 5), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(192, 80), nn.ReLU(), nn.Linear(80, 5),
    )  # fmt: skip
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))
    images = examples.val.images_NCHW[:50]
    for _ in range(3):
        assert torch.equal(model(images), plain(images))
    assert torch.equal(model.eval()(images), plain.eval()(images))
    maps = list(model.feature_maps(images))
    assert torch.equal(maps[0], plain[:3](images))
    assert torch.equal(maps[1], plain[:7](images))


def test_batch_norms_draw_nothing() -> None:
    with_norms, without = make(batch_norm=True).state_dict(), make().state_dict()
    assert without.keys() < with_norms.keys()
    for name, weight in without.items():
        assert torch.equal(weight, with_norms[name])


def test_dropout_comes_before_each_dense_layer(examples: SmallExamples) -> None:
    model = make(dropout=0.5, dense_layers=3)
    model.dropout.seed(3, torch.device("cpu"))
    images = examples.val.images_NCHW[:50]
    logits = model(images)
    model.dropout.seed(3, torch.device("cpu"))
    x = torch.nn.functional.max_pool2d(list(model.feature_maps(images))[-1], 2).flatten(1)
    for dense in model.denses[:-1]:
        x = dense(model.dropout(x)).relu()
    assert torch.equal(model.denses[-1](model.dropout(x)), logits)
    assert torch.equal(model.eval()(images), make(dense_layers=3)(images))


def test_frozen_only_the_last_layer_learns(examples: SmallExamples) -> None:
    model = make(batch_norm=True)
    model.freeze()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimiser = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=1.0)
    model.train()
    model(examples.val.images_NCHW).square().sum().backward()
    optimiser.step()
    changed = {name for name, w in model.state_dict().items() if not torch.equal(w, before[name])}
    assert changed == {"fc2.weight", "fc2.bias"}


@pytest.mark.parametrize(
    "fields",
    [{}, {"conv_layers": 4}, {"conv_layers": 1, "kernel_size": 4}, {"kernel_size": 3}],
    ids=["the report's", "padded", "odd rows at first", "odd rows at last"],
)
def test_pooling_without_gradients_gives_the_same_numbers(fields: dict[str, Any]) -> None:
    model = make(**fields)
    images = torch.randn(7, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with_gradients = model.features(images)
    with torch.inference_mode():
        assert torch.equal(model.features(images), with_gradients)
