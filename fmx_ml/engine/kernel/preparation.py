"""Which engine trains a model: the kernel where it can, else torch."""

from typing import NamedTuple

from torch import nn

from fmx_ml.engine.kernel.library import TORCH, Engine, get_library
from fmx_ml.engine.kernel.network import Network, find_layers
from fmx_ml.engine.kernel.objectives import CompiledObjective
from fmx_ml.engine.objective import Classification, Objective
from fmx_ml.engine.reconstruction import Reconstruction


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
    return Prepared(network, compiled, network.engine)
