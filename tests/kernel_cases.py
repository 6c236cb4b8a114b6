"""Networks on which the kernel is held against torch."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, unfold

from fmx_ml.engine.kernel.network import Network
from fmx_ml.engine.kernel.preparation import prepare
from fmx_ml.engine.objective import Classification, Objective
from fmx_ml.engine.reconstruction import Reconstruction
from fmx_ml.models import build, build_autoencoder
from fmx_ml.models.cnn import Cnn
from fmx_ml.specs import AutoencoderSpec, CnnSpec, MlpSpec

_EQUAL = 1e-13  # of numbers near 1 in float64

Spec = CnnSpec | MlpSpec | AutoencoderSpec

Q2 = {
    f"{convs} conv {denses} dense": CnnSpec(conv_layers=convs, dense_layers=denses)
    for convs in (1, 2, 3, 4)
    for denses in (1, 2, 3)
}
DENSE: dict[str, Spec] = {
    "perceptron of sigmoids": MlpSpec(),
    "perceptron of logits": MlpSpec(output="logits"),
    "autoencoder": AutoencoderSpec(),
}
NETWORKS: dict[str, Spec] = {**Q2, **DENSE}


def make(spec: Spec, seed: int = 0) -> tuple[nn.Module, Objective]:
    """A network of a spec, and what it minimises."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(spec, AutoencoderSpec):
        return build_autoencoder(spec, generator), Reconstruction()
    return build(spec, 5, generator), Classification(5)


def compile_network(spec: Spec, seed: int = 0) -> tuple[Network, Objective]:
    """The same network as the kernel trains it."""
    network, objective, engine = prepare(*make(spec, seed), "auto")
    assert engine.startswith("kernel ")
    assert isinstance(network, Network)
    return network, objective


def draw_batch(size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pictures on a black ground, as the data set's are, and labels."""
    generator = torch.Generator().manual_seed(seed)
    images_B1HW = torch.rand(size, 1, 28, 28, generator=generator) * 2 - 1
    images_B1HW[:, :, :6] = -1
    return images_B1HW, torch.randint(5, (size,), generator=generator)


def exact_loss(model: nn.Module, images_B1HW: Tensor, labels_B: Tensor, spec: Spec) -> Tensor:
    """The mean loss in float64, as torch derives it."""
    outputs = model(images_B1HW.double())
    if isinstance(spec, AutoencoderSpec):
        return mse_loss(outputs, images_B1HW.double().flatten(1))
    return cross_entropy(outputs, labels_B)


def distance_to_kink(model: nn.Module, images_B1HW: Tensor) -> float:
    """How near to 0 what goes into a relu comes, and to each other a pooling window's best two.

    Nearer than rounding, and two right answers have different gradients. Values that are equal
    come from equal windows, as on the black ground, and do no harm.
    """
    gaps: list[Tensor] = []
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    pools = model.pools if isinstance(model, Cnn) else ()
    for number, layer in enumerate(layers[:-1]):
        pooled = number < len(pools) and pools[number]
        layer.register_forward_hook(partial(_note_gap, gaps, pooled))
    with torch.no_grad():
        model(images_B1HW.double())
    return min((gap.item() for gap in gaps), default=1.0)


def _note_gap(
    gaps: list[Tensor], pooled: bool, _layer: nn.Module, _inputs: object, values: Tensor
) -> None:
    gaps.append(_gap(values, pooled))


def _gap(values: Tensor, pooled: bool) -> Tensor:
    if not pooled:
        return values.abs().min()
    windows = unfold(values.flatten(0, 1).unsqueeze(1), 2, stride=2)
    best, second = windows.topk(2, dim=1).values.unbind(1)
    apart = (best - second).where(best - second > _EQUAL, 1.0)
    return torch.minimum(best.abs().min(), apart.min())
