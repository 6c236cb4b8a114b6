"""What a training needs before its first step, done before there is a training (torch)."""

import importlib

import torch

from fmx_ml.engine.device import cpu_threads


def warm_up() -> None:
    """Loads all that a training loads when it first needs it; changes nothing that one sees.

    A first optimiser makes torch load its compiler, which takes a second though none is used.
    """
    importlib.import_module("fmx_ml.pipelines")
    with cpu_threads(1):
        weight = torch.nn.Parameter(torch.zeros(1, 1, 1, 1))
        optimiser = torch.optim.Adam([weight], fused=True)
        torch.nn.functional.conv2d(torch.zeros(1, 1, 2, 2), weight).sum().backward()
        optimiser.step()
