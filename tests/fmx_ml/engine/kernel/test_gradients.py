"""Loss, hits and gradients against torch's own in float64, over many shapes of networks."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kernel_cases import (
    NETWORKS,
    Spec,
    compile_network,
    distance_to_kink,
    draw_batch,
    exact_loss,
    make,
)
from pydantic import ValidationError
from torch import Tensor

from fmx_ml.engine.evaluate import Examples
from fmx_ml.specs import AutoencoderSpec, CnnSpec, MlpSpec

KINK = 5e-7  # some units in the last place of the numbers that go into a relu


def check(spec: Spec, size: int, seed: int = 0) -> bool:
    """Whether the batch tells anything: false where rounding decides what the gradient is."""
    images, labels = draw_batch(size, seed)
    model, plain = make(spec, seed)
    exact_model = copy.deepcopy(model).double()
    if distance_to_kink(copy.deepcopy(exact_model), images) < KINK:
        return False
    network, objective = compile_network(spec, seed)
    loss, hits = objective.derive(network, images, labels)
    gradient_P = network.weights_P.grad
    exact = exact_loss(exact_model, images, labels, spec)
    exact.backward()
    exact_P = flatten([weight.grad for weight in exact_model.parameters()])
    _, plain_hits = plain.derive(model, images, labels)
    assert loss.item() == pytest.approx(exact.item(), rel=2e-6)
    assert hits == plain_hits
    assert gradient_P is not None
    assert (gradient_P - exact_P).abs().max() <= 2e-6 * exact_P.abs().max()
    return True


def check_any(spec: Spec, size: int) -> None:
    """Of some batches the first that tells something."""
    assert any(check(spec, size, seed) for seed in range(20))


def flatten(parts: list[Tensor | None]) -> Tensor:
    return torch.cat([part.flatten() for part in parts if part is not None])


@pytest.mark.parametrize("spec", NETWORKS.values(), ids=NETWORKS.keys())
@pytest.mark.parametrize("size", [1, 50])
def test_the_reports_networks(spec: Spec, size: int) -> None:
    check_any(spec, size)


def test_a_batch_of_several_chunks() -> None:
    check_any(CnnSpec(conv_layers=1, dense_layers=1, channels=(2,)), 300)
    check_any(MlpSpec(structure=((784, 5),)), 600)
    check_any(AutoencoderSpec(structure=((784, 6),)), 600)


@st.composite
def cnns(draw: st.DrawFn) -> CnnSpec | None:
    count = draw(st.integers(1, 4))
    fields = {
        "conv_layers": count,
        "dense_layers": draw(st.integers(1, 3)),
        "kernel_size": draw(st.integers(1, 7)),
        "channels": tuple(draw(st.lists(st.integers(1, 20), min_size=count, max_size=count))),
        "padding": draw(st.sampled_from([None, "valid", "same"])),
    }
    try:
        return CnnSpec.model_validate(fields)
    except ValidationError:
        return None


@given(spec=cnns(), size=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_convolutional_network(spec: CnnSpec | None, size: int, seed: int) -> None:
    assume(spec is not None and check(spec, size, seed))


@given(
    widths=st.lists(st.integers(1, 70), min_size=0, max_size=3),
    outputs=st.integers(5, 12),
    kind=st.sampled_from(["sigmoid", "logits", "autoencoder"]),
    size=st.integers(1, 130),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_dense_network(widths: list[int], outputs: int, kind: str, size: int) -> None:
    structure = tuple(pairwise((784, *widths, outputs)))
    if kind == "autoencoder":
        assume(check(AutoencoderSpec(structure=structure), size))
    else:
        assume(check(MlpSpec.model_validate({"structure": structure, "output": kind}), size))


@pytest.mark.parametrize("spec", [CnnSpec(), MlpSpec(), AutoencoderSpec()], ids=["c", "m", "a"])
def test_the_gradient_is_the_slope_of_the_loss(spec: Spec) -> None:
    """Central differences in float32 along the gradient itself."""
    network, objective = compile_network(spec)
    batch = draw_batch(20)
    objective.derive(network, *batch)
    assert network.weights_P.grad is not None
    gradient_P = network.weights_P.grad.clone()
    step = 1e-2 / gradient_P.norm().item()
    losses: list[float] = []
    for sign in (1, -1):
        with torch.no_grad():
            network.weights_P.add_(gradient_P, alpha=sign * step)
            losses.append(objective.derive(network, *batch)[0].item())
            network.weights_P.sub_(gradient_P, alpha=sign * step)
    slope = (losses[0] - losses[1]) / (2 * step)
    assert slope == pytest.approx(gradient_P.square().sum().item(), rel=0.02)


def test_gradients_take_the_place_of_others() -> None:
    network, objective = compile_network(CnnSpec())
    gradients: list[Tensor] = []
    for _ in range(2):
        objective.derive(network, *draw_batch(10))
        assert network.weights_P.grad is not None
        gradients.append(network.weights_P.grad.clone())
    assert torch.equal(*gradients)


@pytest.mark.parametrize("spec", NETWORKS.values(), ids=NETWORKS.keys())
def test_measuring_is_that_of_torch(spec: Spec) -> None:
    network, objective = compile_network(spec)
    examples = Examples(*draw_batch(1_100))
    loss, accuracy = objective.measure(network, examples, lambda: None)
    model, plain = make(spec)
    exact_value, exact_accuracy = plain.measure(model, examples, lambda: None)
    assert loss == pytest.approx(exact_value, rel=1e-6)
    assert accuracy == pytest.approx(exact_accuracy, abs=2e-3)
    assert not network.training


@pytest.mark.parametrize("spec", [CnnSpec(conv_layers=3), MlpSpec(), AutoencoderSpec()])
def test_threads_change_no_bit(spec: Spec) -> None:
    """Sums are made share by share of a batch, whatever the number of threads."""
    batch = draw_batch(101)
    gradients: list[Tensor] = []
    before = torch.get_num_threads()
    for num_threads in (1, 2, 3, 2):
        torch.set_num_threads(num_threads)
        network, objective = compile_network(spec)
        objective.derive(network, *batch)
        assert network.weights_P.grad is not None
        gradients.append(network.weights_P.grad)
    torch.set_num_threads(before)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


def test_pictures_in_any_layout() -> None:
    network, objective = compile_network(CnnSpec())
    images, labels = draw_batch(9)
    turned = images.transpose(2, 3).contiguous().transpose(2, 3)
    loss, _ = objective.derive(network, turned, labels)
    assert loss == objective.derive(network, images, labels)[0]


def test_a_label_of_no_output_is_refused() -> None:
    network, objective = compile_network(CnnSpec())
    images, labels = draw_batch(9)
    with pytest.raises(IndexError):
        objective.derive(network, images, labels + 1)


def test_weights_that_are_no_numbers_give_no_loss() -> None:
    network, objective = compile_network(CnnSpec())
    with torch.no_grad():
        network.weights_P[3] = torch.nan
    assert objective.derive(network, *draw_batch(9))[0].isnan()
