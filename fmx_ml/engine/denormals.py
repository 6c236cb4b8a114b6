"""Numbers too small for float32's full precision, which a processor reckons with very slowly."""

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def denormals_flushed() -> Generator[None]:
    """Takes numbers below 1.2e-38 for 0 on the CPU for a while.

    Adam's means fade into them wherever gradients have gone, as in a code's dead units; an
    autoencoder's epoch then takes up to twice as long, and ends with the very same weights.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
