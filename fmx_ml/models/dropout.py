"""Dropout that draws from a generator of its own; torch's draws from the global one."""

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Drops a share of its inputs while training and scales the others up (Srivastava, 2014)."""

    def __init__(self, share: float) -> None:
        """The generator is given by `seed`; without a share there is nothing to draw."""
        super().__init__()
        self.share = share
        self.generator: torch.Generator | None = None

    def seed(self, seed: int, device: torch.device) -> None:
        """What is dropped from now on follows from the seed, and from the device's kind."""
        self.generator = torch.Generator(device).manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape. Raises RuntimeError while training without a seed."""
        if not self.training or not self.share:
            return x
        if self.generator is None:
            raise RuntimeError("dropout was not given a seed")
        kept = torch.empty_like(x).bernoulli_(1 - self.share, generator=self.generator)
        return x * kept / (1 - self.share)
