"""What goes out of predictions and feature maps."""

from typing import Annotated

from pydantic import AliasChoices, Field

from api.schemas import Body


class Prediction(Body):
    """The classes of one picture; what was sent decides which of the optional members it has."""

    label: str
    index: int = Field(
        serialization_alias="class",
        validation_alias=AliasChoices("class", "index"),
        description="Fashion-MNIST's own index of the label.",
    )
    probabilities: dict[str, float]
    file: str | None = Field(default=None, description="Of a file: its name.")
    width: int | None = Field(default=None, description="Of a file: pixels, the right way up.")
    height: int | None = None
    inverted: bool | None = Field(
        default=None, description="Of a file: whether its background was light and so inverted."
    )
    row: int | None = Field(default=None, description="Of a row of the test set.")
    actual: str | None = Field(default=None, description="Of a row of the test set: its label.")


class PredictionsBody(Body):
    """A prediction for each picture, in the order they were sent."""

    model: str
    predictions: list[Prediction]


DataUri = Annotated[str, Field(description="A PNG as a data: URI.")]


class InputMap(Body):
    """The picture as the model took it; grey, light on dark."""

    shape: tuple[int, int]
    values: list[list[int]] | None = Field(
        default=None, description="Rows of 0 to 255; absent with values=false."
    )
    picture: DataUri


class LayerMaps(Body):
    """The channels of a convolution; the picture has them all on one scale, black is 0."""

    name: str
    meaning: str
    shape: tuple[int, int, int] = Field(description="Channels, height, width.")
    minimum: float
    maximum: float = Field(description="White in the picture.")
    values: list[list[list[float]]] | None = Field(
        default=None, description="float32, by channel and row; absent with values=false."
    )
    picture: DataUri


class FeatureMaps(Prediction):
    """A picture's prediction, and what each convolution makes of the picture."""

    input: InputMap
    layers: list[LayerMaps]


class FeatureMapsBody(Body):
    """The feature maps of each picture, in the order they were sent."""

    model: str
    feature_maps: list[FeatureMaps]
