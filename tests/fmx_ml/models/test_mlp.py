import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fmx_ml.models import build
from fmx_ml.models.mlp import Mlp
from fmx_ml.specs import MlpSpec


def make(seed: int = 0, output: str = "sigmoid") -> Mlp:
    spec = MlpSpec.model_validate({"output": output})
    return build(spec, 5, torch.Generator().manual_seed(seed))


def pictures(count: int) -> torch.Tensor:
    return 2 * torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(1)) - 1


def test_sizes_and_names_are_the_reports() -> None:
    shapes = {name: tuple(w.shape) for name, w in make().state_dict().items() if "weight" in name}
    assert shapes == {
        "fc1.weight": (128, 784), "fc2.weight": (64, 128),
        "fc3.weight": (32, 64), "fc4.weight": (10, 32),
    }  # fmt: skip
    assert make()(pictures(3)).shape == (3, 10)


@pytest.mark.parametrize("output", ["sigmoid", "logits"])
def test_forward_is_the_reports_or_without_its_sigmoid(output: str) -> None:
    model = make(output=output)
    plain = nn.Sequential(
        nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(),
        nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10),
        nn.Sigmoid() if output == "sigmoid" else nn.Identity(),
    )  # fmt: skip
    values = model.state_dict().values()
    plain.load_state_dict(dict(zip(plain.state_dict(), values, strict=True)))
    images = pictures(50)
    assert torch.equal(model(images), plain(images.flatten(1)))


def test_with_a_sigmoid_no_loss_is_below_the_floor() -> None:
    """The right class at 1 and nine outputs at 0: weights that saturate the sigmoid."""
    model = make()
    with torch.no_grad():
        model.denses[-1].weight.zero_()
        model.denses[-1].bias.fill_(-100)
        model.denses[-1].bias[2] = 100
    loss = cross_entropy(model(pictures(4)), torch.full((4,), 2))
    assert loss.item() == pytest.approx(math.log(math.e + 9) - 1)
    assert loss.item() == pytest.approx(1.461, abs=5e-4)


def test_weights_follow_the_seed() -> None:
    first, again, other = make(7), make(7), make(8)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
        assert not torch.equal(weight, other.state_dict()[name])
