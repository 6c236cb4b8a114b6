import torch
from torch import nn

from fmx_ml.models import build_autoencoder
from fmx_ml.models.autoencoder import Autoencoder
from fmx_ml.specs import AutoencoderSpec


def make(seed: int = 0) -> Autoencoder:
    return build_autoencoder(AutoencoderSpec(), torch.Generator().manual_seed(seed))


def pictures(count: int) -> torch.Tensor:
    return 2 * torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(1)) - 1


def test_sizes_are_the_reports() -> None:
    sizes = [784, 128, 64, 32, 10, 32, 64, 128, 784]
    expected = sum((sizes[i] + 1) * sizes[i + 1] for i in range(8))
    assert sum(weight.numel() for weight in make().parameters()) == expected
    assert make().encode(pictures(3)).shape == (3, 10)
    assert make()(pictures(3)).shape == (3, 784)


def test_layers_are_named_from_the_pixels_to_the_code_and_back() -> None:
    shapes = {name: tuple(w.shape) for name, w in make().state_dict().items() if "weight" in name}
    assert shapes == {
        "encoder1.weight": (128, 784), "encoder2.weight": (64, 128),
        "encoder3.weight": (32, 64), "encoder4.weight": (10, 32),
        "decoder1.weight": (32, 10), "decoder2.weight": (64, 32),
        "decoder3.weight": (128, 64), "decoder4.weight": (784, 128),
    }  # fmt: skip


def test_forward_is_the_reports() -> None:
    """Relu after each layer, the code's too; a sigmoid after the last: in plain layers."""
    model = make()
    plain = nn.Sequential(
        nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(),
        nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10), nn.ReLU(),
        nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 64), nn.ReLU(),
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 784), nn.Sigmoid(),
    )  # fmt: skip
    values = model.state_dict().values()
    plain.load_state_dict(dict(zip(plain.state_dict(), values, strict=True)))
    images = pictures(50)
    assert torch.equal(model(images), plain(images.flatten(1)))
    assert torch.equal(model.encode(images), plain[:8](images.flatten(1)))
    assert torch.equal(model.decode(model.encode(images)), model(images))


def test_equal_seeds_equal_weights() -> None:
    first, again, other = make(7), make(7), make(8)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
        assert not torch.equal(weight, other.state_dict()[name])


def test_the_global_generator_rests() -> None:
    before = torch.get_rng_state()
    make(7)
    assert torch.equal(before, torch.get_rng_state())


def test_dense_weights_are_distributed_as_torchs_own() -> None:
    ours = torch.cat([make(s).state_dict()["encoder3.weight"].flatten() for s in range(50)])
    torch.manual_seed(0)
    theirs = torch.cat([nn.Linear(64, 32).weight.detach().flatten() for _ in range(50)])
    assert torch.isclose(ours.abs().max(), theirs.abs().max(), rtol=2e-3)
    assert torch.isclose(ours.std(), theirs.std(), rtol=0.01)
