"""The networks, built from their specs."""

from typing import overload

import torch

from fmx_ml.models.autoencoder import Autoencoder
from fmx_ml.models.cnn import Cnn, initialise
from fmx_ml.models.dense import initialise_dense
from fmx_ml.models.mlp import Mlp
from fmx_ml.specs import AutoencoderSpec, CnnSpec, MlpSpec


@overload
def build(spec: CnnSpec, num_classes: int, generator: torch.Generator) -> Cnn: ...
@overload
def build(spec: MlpSpec, num_classes: int, generator: torch.Generator) -> Mlp: ...
def build(spec: CnnSpec | MlpSpec, num_classes: int, generator: torch.Generator) -> Cnn | Mlp:
    """The classifier of a spec on the CPU, its weights drawn from the generator.

    A perceptron has the outputs that its spec says, as many as classes or more.
    """
    match spec:
        case CnnSpec():
            with torch.device("meta"):  # no weights are drawn here: the global generator rests
                cnn = Cnn(spec, num_classes)
            cnn.to_empty(device="cpu")
            initialise(cnn, generator)
            return cnn
        case MlpSpec():
            with torch.device("meta"):
                mlp = Mlp(spec)
            mlp.to_empty(device="cpu")
            initialise_dense(mlp.denses, generator)
            return mlp


def build_autoencoder(spec: AutoencoderSpec, generator: torch.Generator) -> Autoencoder:
    """The autoencoder of a spec on the CPU, its weights drawn from the generator."""
    with torch.device("meta"):
        model = Autoencoder(spec)
    model.to_empty(device="cpu")
    initialise_dense((*model.encoders, *model.decoders), generator)
    return model
