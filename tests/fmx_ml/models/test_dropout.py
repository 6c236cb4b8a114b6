import pytest
import torch

from fmx_ml.models.dropout import Dropout

CPU = torch.device("cpu")


def make(share: float, seed: int = 0) -> Dropout:
    dropout = Dropout(share)
    dropout.seed(seed, CPU)
    return dropout


def test_the_share_is_dropped_and_the_rest_scaled_up() -> None:
    x = torch.ones(1_000, 100)
    y = make(0.3)(x)
    assert y.unique().tolist() == [0, pytest.approx(1 / 0.7)]
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert y.mean().item() == pytest.approx(1, abs=0.01)


def test_what_is_dropped_follows_from_the_seed_alone() -> None:
    x = torch.ones(50, 50)
    before = torch.get_rng_state()
    first, again, other = make(0.5, 1), make(0.5, 1), make(0.5, 2)
    masks = [first(x), first(x)]
    assert not torch.equal(*masks)
    assert torch.equal(again(x), masks[0])
    assert not torch.equal(other(x), masks[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_dropped_in_eval_mode() -> None:
    x = torch.rand(10, 10)
    assert torch.equal(make(0.5).eval()(x), x)


def test_gradients_pass_where_nothing_was_dropped() -> None:
    x = torch.ones(20, 20, requires_grad=True)
    y = make(0.5)(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())


def test_dropping_without_a_seed_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not given a seed"):
        Dropout(0.5)(torch.ones(2))
    assert torch.equal(Dropout(0.0)(torch.ones(2)), torch.ones(2))
