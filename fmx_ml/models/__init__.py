"""The networks: one function builds each of them from its spec."""

import torch

from fmx_ml.models.cnn import Cnn, initialise
from fmx_ml.specs import CnnSpec


def build(spec: CnnSpec, num_classes: int, generator: torch.Generator) -> Cnn:
    """The network of a spec on the CPU, its weights drawn from the generator."""
    match spec:
        case CnnSpec():
            with torch.device("meta"):  # no weights are drawn here: the global generator rests
                model = Cnn(spec, num_classes)
            model.to_empty(device="cpu")
            initialise(model, generator)
            return model
