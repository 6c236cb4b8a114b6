import torch

from fmx_ml.engine.denormals import denormals_flushed

TINY = 1e-39  # below float32's smallest full number


def halve() -> float:
    return (torch.full((8,), 2 * TINY) * 0.5)[0].item()


def test_tiny_numbers_are_0_inside_and_not_after() -> None:
    assert halve() > 0
    with denormals_flushed():
        assert halve() == 0
    assert halve() > 0


def fade(num_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight whose gradient is gone after the first step, as Adam leaves it, and its mean."""
    weight = torch.nn.Parameter(torch.linspace(0.1, 1, 64))
    optimiser = torch.optim.Adam([weight], lr=0.01, fused=True)
    for step in range(num_steps):
        weight.grad = torch.full((64,), 0.001 if step == 0 else 0.0)
        optimiser.step()
    return weight.detach(), optimiser.state[weight]["exp_avg"]


def test_adam_ends_with_the_same_weights() -> None:
    plain, plain_mean = fade(850)
    with denormals_flushed():
        flushed, flushed_mean = fade(850)
    assert (plain_mean > 0).all()  # the tiny numbers were there
    assert (flushed_mean == 0).all()
    assert torch.equal(plain, flushed)
