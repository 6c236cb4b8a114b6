"""What `model.json` says of a model: enough to rebuild it, and to serve its export (no torch).

Legend of shapes: N examples, H W pixels, K classes.
"""

from typing import Literal

from pydantic import Field

from fmx_ml.files import WEIGHTS_FILE
from fmx_ml.specs import IMAGE_SIDE, CnnSpec, DatasetName, Frozen, Half


class InputCard(Frozen):
    """The export's input: raw pixels; the network itself takes (pixel / scale - mean) / std."""

    name: str = "images"
    dtype: Literal["float32"] = "float32"
    shape: tuple[str | int, ...] = ("N", 1, IMAGE_SIDE, IMAGE_SIDE)
    minimum: float = 0.0
    maximum: float = 255.0
    scale: float = 255.0
    mean: float = 0.5  # report, Appendix A
    std: float = 0.5


class OutputCard(Frozen):
    """One output of the export, float32; N is any number of pictures."""

    name: str
    shape: tuple[str | int, ...]
    meaning: str


class ModelCard(Frozen):
    """Everything about a model beside its weights."""

    format: Literal["fmx-model"] = "fmx-model"
    format_version: Literal[1] = 1
    family: Literal["cnn"] = "cnn"
    architecture: CnnSpec
    num_classes: int
    class_names: tuple[str, ...] = Field(description="The name of each label.")
    class_indices: tuple[int, ...] = Field(description="The data set's own index of each label.")
    input: InputCard = InputCard()
    outputs: tuple[OutputCard, ...]
    dataset: DatasetName
    half: Half
    seed: int
    split_seed: int
    best_epoch: int
    weights_sha256: str = Field(description=f"Of the file {WEIGHTS_FILE}.")


def outputs_of(architecture: CnnSpec, num_classes: int) -> tuple[OutputCard, ...]:
    """The outputs of a network's export: logits, probabilities, and each convolution's maps."""
    cards = [
        OutputCard(name="logits", shape=("N", num_classes), meaning="before the softmax"),
        OutputCard(name="probabilities", shape=("N", num_classes), meaning="in 0 to 1, sum 1"),
    ]
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
    return tuple(cards)
