"""What `model.json` says of a model: enough to rebuild it, and to serve its export (no torch).

_Card
├── ModelCard          a classifier, which an ONNX export serves
│   ├── CnnCard
│   └── MlpCard
└── AutoencoderCard

Legend of shapes: N examples, H W pixels, K classes.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from fmx_ml.files import WEIGHTS_FILE
from fmx_ml.specs import (
    IMAGE_SIDE,
    AutoencoderSpec,
    CnnSpec,
    DatasetName,
    Frozen,
    Half,
    MlpSpec,
    Normalisation,
)

MEAN_STD: dict[Normalisation, tuple[float, float]] = {
    "report": (0.5, 0.5),  # report, Appendix A
    "unit": (0.0, 1.0),
}
"""What is taken off pixels in 0 to 1, and what they are divided by then."""


class InputCard(Frozen):
    """The network's input: raw pixels, of which it takes (pixel / scale - mean) / std."""

    name: str = "images"
    dtype: Literal["float32"] = "float32"
    shape: tuple[str | int, ...] = ("N", 1, IMAGE_SIDE, IMAGE_SIDE)
    minimum: float = 0.0
    maximum: float = 255.0
    scale: float = 255.0
    mean: float = MEAN_STD["report"][0]
    std: float = MEAN_STD["report"][1]


class OutputCard(Frozen):
    """One output of the export, float32; N is any number of pictures."""

    name: str
    shape: tuple[str | int, ...]
    meaning: str


class _Card(Frozen):
    """Everything about a model beside its weights and its architecture."""

    format: Literal["fmx-model"] = "fmx-model"
    format_version: Literal[1] = 1
    input: InputCard = InputCard()
    dataset: DatasetName
    seed: int
    split_seed: int
    best_epoch: int
    weights_sha256: str = Field(description=f"Of the file {WEIGHTS_FILE}.")


class ModelCard(_Card):
    """A classifier of one half."""

    num_classes: int
    class_names: tuple[str, ...] = Field(description="The name of each label.")
    class_indices: tuple[int, ...] = Field(description="The data set's own index of each label.")
    outputs: tuple[OutputCard, ...]
    half: Half


class CnnCard(ModelCard):
    """A convolutional network."""

    family: Literal["cnn"] = "cnn"
    architecture: CnnSpec


class MlpCard(ModelCard):
    """A multi-layer perceptron; its export answers for the classes only."""

    family: Literal["mlp"] = "mlp"
    architecture: MlpSpec


class AutoencoderCard(_Card):
    """An autoencoder, which has no export."""

    family: Literal["autoencoder"] = "autoencoder"
    architecture: AutoencoderSpec


_classifier: TypeAdapter[CnnCard | MlpCard] = TypeAdapter(
    Annotated[CnnCard | MlpCard, Field(discriminator="family")]
)
_any: TypeAdapter[CnnCard | MlpCard | AutoencoderCard] = TypeAdapter(
    Annotated[CnnCard | MlpCard | AutoencoderCard, Field(discriminator="family")]
)


def parse_card(content: str | bytes) -> CnnCard | MlpCard | AutoencoderCard:
    """What a model.json says. Raises pydantic.ValidationError."""
    return _any.validate_json(content)


def parse_classifier(content: str | bytes) -> CnnCard | MlpCard:
    """What a classifier's model.json says. Raises pydantic.ValidationError."""
    return _classifier.validate_json(content)


def input_of(normalise: Normalisation) -> InputCard:
    """The input of a network that was trained on pixels so normalised."""
    mean, std = MEAN_STD[normalise]
    return InputCard(mean=mean, std=std)


def outputs_of(architecture: CnnSpec | MlpSpec, num_classes: int) -> tuple[OutputCard, ...]:
    """The outputs of a classifier's export: logits, probabilities, and each convolution's maps."""
    match architecture:
        case CnnSpec():
            return (*_class_outputs(num_classes, "before the softmax"), *_map_outputs(architecture))
        case MlpSpec(output="sigmoid"):
            return _class_outputs(num_classes, "after the sigmoid, before the softmax")
        case MlpSpec():
            return _class_outputs(num_classes, "before the softmax")


def _class_outputs(num_classes: int, logits: str) -> tuple[OutputCard, ...]:
    return (
        OutputCard(name="logits", shape=("N", num_classes), meaning=logits),
        OutputCard(name="probabilities", shape=("N", num_classes), meaning="in 0 to 1, sum 1"),
    )


def _map_outputs(architecture: CnnSpec) -> list[OutputCard]:
    cards: list[OutputCard] = []
    side = IMAGE_SIDE
    for number, layer in enumerate(architecture.layers(), start=1):
        side += 2 * layer.padding - layer.kernel_size + 1
        cards.append(
            OutputCard(
                name=f"conv{number}",
                shape=("N", layer.out_channels, side, side),
                meaning=f"feature maps of convolution {number} after its relu, before any pooling",
            )
        )
        side = side // 2 if layer.pool else side
    return cards
