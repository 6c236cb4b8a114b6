"""A compiled kernel for training the report's networks on a CPU, behind the engine's `Objective`.

torch is made for large networks: on these it spends most of a step between its operators. The
kernel is one operator, a whole network's loss and gradients over a batch. `fit` and the optimisers
stay as they are, and so does the plain engine, which every other network and device uses and which
the kernel is tested against.

How it works is told in `source/`: `convolution.hpp`, `dense.hpp`, and `network.cpp`, which puts
them together.
"""

from typing import Literal, NamedTuple

from torch import nn

from fmx_ml.engine.kernel.library import describe_library, get_library
from fmx_ml.engine.kernel.network import Network, find_layers
from fmx_ml.engine.kernel.objectives import CompiledObjective
from fmx_ml.engine.objective import Classification, Objective
from fmx_ml.engine.reconstruction import Reconstruction

Engine = Literal["auto", "torch"]
"""auto: the kernel where it can be compiled and knows the network; torch: never the kernel."""

TORCH = "torch"


class Prepared(NamedTuple):
    """What `fit` is given: a model, its objective; and the engine that they use, by name."""

    model: nn.Module
    objective: Objective
    engine: str


def prepare(model: nn.Module, objective: Objective, engine: Engine) -> Prepared:
    """The fastest engine for a model on its device; what is learnt is found in the model itself."""
    layers = find_layers(model) if engine == "auto" else None
    library = get_library() if layers else None
    if layers is None or library is None:
        return Prepared(model, objective, TORCH)
    match objective:
        case Classification():
            num_classes = objective.num_classes
        case Reconstruction():
            num_classes = 0
        case _:
            return Prepared(model, objective, TORCH)
    network = Network(model, layers, num_classes, library)
    compiled = CompiledObjective(objective.best_on, recognises=num_classes > 0)
    return Prepared(network, compiled, describe_library(library))
