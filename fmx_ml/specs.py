"""What experiments are described with: networks, optimisers, early stopping, what every spec has.

Each value is checked before anything is queued and refused where it does not fit together. Nothing
here imports more than pydantic, so server, worker and client share it. The questions' own specs are
in `fmx_ml.experiments`, requests in `fmx_ml.requests`.

Legend of sizes: C channels, H W pixels, K classes.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, PrivateAttr, Strict, model_validator

from fmx_ml.values import DISTINCT, Bool, Frozen, Int, Number, Text, misfit

IMAGE_SIDE = 28  # pixels; Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017)
NUM_PIXELS = IMAGE_SIDE * IMAGE_SIDE
NUM_CLASSES = 5  # classes in each half of the data set (report, section 0)

MAX_INT = 2**31 - 1
MAX_EPOCHS = 10_000
MAX_BATCH_SIZE = 65_536
MAX_SEEDS = 32
MAX_UNITS = 4_096  # of a dense layer of an MLP or autoencoder
MAX_NAME_LENGTH = 128
MAX_TAGS = 32
MAX_TAG_LENGTH = 64
MAX_TIME_LIMIT_SECONDS = 30 * 24 * 3600
MIN_CLASSES, MAX_CLASSES = 4, 62  # of a data set; each half has two at least
MAX_DATASET_NAME = 40

REPORT_CHANNELS = (6, 12, 16, 24)  # report, Appendix D
_DENSE_SIZES: dict[int, tuple[int, ...]] = {1: (), 2: (80,), 3: (120, 84)}  # report, Appendix C

Preset = Literal["report", "quick"]
BuiltIn = Literal["fashion-mnist", "synthetic"]
BUILT_IN: Mapping[str, BuiltIn] = {name: name for name in get_args(BuiltIn)}
Half = Literal["fm1", "fm2"]
Device = Literal["auto", "cpu", "cuda"]
Normalisation = Literal["report", "unit"]
"""Of pixels: report, to -1 to 1 (report, Appendix A); unit, to 0 to 1."""
Schedule = Literal["constant", "cosine"]
"""Of the learning rate: constant, or a cosine from its value to 0 over max_epochs."""


Name = Annotated[Text, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
Tag = Annotated[Text, Field(min_length=1, max_length=MAX_TAG_LENGTH)]
Seed = Annotated[Int, Field(ge=0, le=MAX_INT)]
BatchSize = Annotated[Int, Field(ge=1, le=MAX_BATCH_SIZE, description="Pictures a step.")]
Epochs = Annotated[Int, Field(ge=1, le=MAX_EPOCHS, description="Epochs at most.")]
Percent = Annotated[Int, Field(ge=1, le=100, description="Of the training pictures.")]
RunId = Annotated[
    str, Strict(), Field(pattern="^[0-9A-HJKMNP-TV-Z]{26}$", description="A finished run.")
]


DatasetName = Annotated[
    str,
    Strict(),
    Field(
        pattern=r"^[a-z0-9][a-z0-9_.-]*$",
        max_length=MAX_DATASET_NAME,
        description="fashion-mnist, synthetic, or the name of a registered data set.",
        examples=["fashion-mnist", "synthetic"],
    ),
]


class OwnDataset(Frozen):
    """A registered data set, as a training names it: equal values, equal pictures."""

    name: DatasetName
    sha256: Annotated[Text, Field(pattern="^[0-9a-f]{64}$", description="Of its stored file.")]
    class_names: tuple[Name, ...] = Field(
        min_length=MIN_CLASSES,
        max_length=MAX_CLASSES,
        description="The name of each class, by its index.",
        json_schema_extra=DISTINCT,
    )
    first_half: tuple[Int, ...] = Field(
        description="The classes that stand in for fm1; the others stand in for fm2.",
        json_schema_extra=DISTINCT,
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.name in BUILT_IN:
            raise misfit("name", f"{self.name} is built in")
        if len(set(self.class_names)) != len(self.class_names):
            raise misfit("class_names", "the same name is given twice")
        chosen = set(self.first_half)
        if len(chosen) != len(self.first_half) or not chosen <= set(range(len(self.class_names))):
            raise misfit(
                "first_half",
                f"it lists some of the classes 0 to {len(self.class_names) - 1}, each once",
            )
        if not 2 <= len(chosen) <= len(self.class_names) - 2:  # noqa: PLR2004 - of each half
            raise misfit("first_half", "each half has two classes at least")
        return self


Dataset = BuiltIn | OwnDataset
"""What a training learns from; a spec has the name of it."""


def name_of(dataset: Dataset) -> str:
    """The name that a spec has for it."""
    return dataset.name if isinstance(dataset, OwnDataset) else dataset


class ConvLayer(Frozen):
    """One convolution, its relu, and the 2 x 2 max pooling after it, if any."""

    in_channels: int
    out_channels: int
    kernel_size: int
    padding: int
    pool: bool


class CnnSpec(Frozen):
    """A convolutional network: convolutions with relu and 2 x 2 max pooling, then dense layers.

    One or two convolutions are unpadded and each is pooled; three or more keep the picture's size
    and every second one is pooled (report, Appendices C and D). `channels` and `padding` depart
    from that where they are given.
    """

    conv_layers: Int = Field(default=2, ge=1, le=8, description="Number of convolutions.")
    dense_layers: Int = Field(
        default=2, ge=1, le=3, description="Number of dense layers, the last one K wide."
    )
    kernel_size: Int = Field(default=5, ge=1, le=15, description="Side of each filter in pixels.")
    channels: tuple[Annotated[Int, Field(ge=1, le=512)], ...] | None = Field(
        default=None,
        max_length=8,
        description="Filters of each convolution; the report's are 6, 12, 16, 24.",
    )
    padding: Literal["valid", "same"] | None = Field(
        default=None, description="valid: none; same: keeps the size. Null: as the report does."
    )
    batch_norm: Bool = Field(
        default=False, description="Batch normalisation after each convolution (Ioffe, 2015)."
    )
    dropout: Number = Field(
        default=0.0, ge=0, lt=1, description="Share of the inputs of each dense layer dropped."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        channels = self.filters
        if len(channels) != self.conv_layers:
            raise misfit(
                "channels", f"{len(channels)} numbers do not fit conv_layers {self.conv_layers}"
            )
        side = IMAGE_SIDE
        if self.pads and self.kernel_size % 2 == 0:
            raise misfit(
                "kernel_size", f"padding 'same' needs an odd side, {self.kernel_size} is even"
            )
        for number, layer in enumerate(self.layers(), start=1):
            if side + 2 * layer.padding < layer.kernel_size:
                raise misfit(
                    "conv_layers",
                    f"convolution {number} has a {layer.kernel_size} x {layer.kernel_size} filter "
                    f"and gets only {side} x {side} pixels",
                )
            side = side + 2 * layer.padding - layer.kernel_size + 1
            if layer.pool:
                if side < 2:  # noqa: PLR2004 - the pooling window
                    raise misfit(
                        "conv_layers",
                        f"the pooling after convolution {number} gets {side} x {side} pixels",
                    )
                side //= 2
        return self

    @property
    def filters(self) -> tuple[int, ...]:
        """Filters of each convolution."""
        return self.channels or REPORT_CHANNELS[: self.conv_layers]

    @property
    def pads(self) -> bool:
        """Whether convolutions keep the picture's size."""
        return self.padding == "same" or (self.padding is None and self.conv_layers > 2)  # noqa: PLR2004

    def layers(self) -> tuple[ConvLayer, ...]:
        """The convolutions from input to output."""
        inputs = (1, *self.filters)
        return tuple(
            ConvLayer(
                in_channels=inputs[i],
                out_channels=out,
                kernel_size=self.kernel_size,
                padding=self.kernel_size // 2 if self.pads else 0,
                pool=not self.pads or i % 2 == 1,
            )
            for i, out in enumerate(self.filters)
        )

    def flat_features(self) -> int:
        """Numbers that leave the last convolution: C * H * W."""
        side = IMAGE_SIDE
        for layer in self.layers():
            side = side + 2 * layer.padding - layer.kernel_size + 1
            side = side // 2 if layer.pool else side
        return self.filters[-1] * side * side

    def dense_sizes(self, num_classes: int = NUM_CLASSES) -> tuple[int, ...]:
        """Widths from the flattened features to the K outputs."""
        return (self.flat_features(), *_DENSE_SIZES[self.dense_layers], num_classes)


Layer = tuple[Annotated[Int, Field(ge=1, le=MAX_UNITS)], Annotated[Int, Field(ge=1, le=MAX_UNITS)]]
Structure = Annotated[tuple[Layer, ...], Field(min_length=1, max_length=16)]
"""Inputs and outputs of each dense layer, as [[784, 128], [128, 10]]."""


def _check_chain(structure: tuple[Layer, ...]) -> None:
    """Raises where the layers do not fit to the pictures or to each other."""
    if structure[0][0] != NUM_PIXELS:
        raise misfit(
            "structure", f"the first layer {list(structure[0])} does not take {NUM_PIXELS} pixels"
        )
    for before, after in pairwise(structure):
        if before[1] != after[0]:
            raise misfit(
                "structure",
                f"{list(before)} leaves {before[1]} numbers, but {list(after)} takes {after[0]}",
            )


class AutoencoderSpec(Frozen):
    """Dense layers from the pixels to a code, with relu, and their mirror image back.

    The last layer of the encoder has a relu too; the decoder ends in a sigmoid (report, Appendix
    E). `structure` lists the encoder's layers.
    """

    structure: Structure = ((784, 128), (128, 64), (64, 32), (32, 10))

    @model_validator(mode="after")
    def _chains(self) -> Self:
        _check_chain(self.structure)
        return self

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths from the pixels to the code."""
        return (NUM_PIXELS, *(layer[1] for layer in self.structure))


class MlpSpec(Frozen):
    """A multi-layer perceptron: dense layers with relu, the last one with `output` (report, 4.3).

    It may have more outputs than classes (the report's has ten for five); those beyond are trained
    towards 0 and never predicted.
    """

    structure: Structure = ((784, 128), (128, 64), (64, 32), (32, 10))
    output: Literal["sigmoid", "logits"] = Field(
        default="sigmoid",
        description="sigmoid: cross-entropy over sigmoids, as the report does; logits: plain.",
    )

    @model_validator(mode="after")
    def _chains(self) -> Self:
        _check_chain(self.structure)
        if self.structure[-1][1] < NUM_CLASSES:
            raise misfit(
                "structure",
                f"{self.structure[-1][1]} outputs are too few for {NUM_CLASSES} classes",
            )
        return self

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths from the pixels to the outputs."""
        return (NUM_PIXELS, *(layer[1] for layer in self.structure))


class OptimiserSpec(Frozen):
    """An optimiser of torch.optim with the report's knobs; SGD is without momentum by default."""

    name: Literal["SGD", "Adam", "AdamW"] = "SGD"
    learning_rate: Number = Field(default=0.005, gt=0)
    weight_decay: Number = Field(default=0.0, ge=0, description="L2 penalty; decoupled with AdamW.")
    momentum: Number = Field(default=0.0, ge=0, lt=1, description="Of SGD (Nesterov's).")

    @model_validator(mode="after")
    def _momentum_of_sgd(self) -> Self:
        if self.momentum and self.name != "SGD":
            raise misfit("momentum", f"{self.name} has moments of its own: momentum is for SGD")
        return self


class Augmentation(Frozen):
    """What is done by chance to each training picture of a step."""

    flip: Bool = Field(default=False, description="Mirror left and right, every second time.")
    shift: Int = Field(default=0, ge=0, le=8, description="Move by so many pixels at most.")


class EarlyStopping(Frozen):
    """Stop when the mean loss of the last window exceeds the window before it.

    The rule is `mean(loss[-window:]) - mean(loss[-2 * window:-window]) > threshold`, looked at from
    `min_epochs` on. Until two windows are full the earlier one is shorter, and at first empty
    (its mean is NaN, which stops nothing), as in the report's code.
    """

    window: Int = Field(default=20, ge=1, le=MAX_EPOCHS, description="Epochs in each window.")
    threshold: Number = Field(
        default=0.001, description="Rise of the mean loss that ends the training."
    )
    min_epochs: Int = Field(default=20, ge=1, le=MAX_EPOCHS)
    on: Literal["val_loss", "train_loss"] = "val_loss"
    divide_by_batch_size: Bool = Field(
        default=False,
        description="Compare losses divided by the batch size, as the report's Q4 does.",
    )


class CnnConfiguration(Frozen):
    """A network and how it is trained: what a row of the report's Table 3 says."""

    model: CnnSpec = CnnSpec()
    optimiser: OptimiserSpec = OptimiserSpec()
    batch_size: BatchSize = 100
    schedule: Schedule = "constant"
    augmentation: Augmentation = Augmentation()


class CommonSpec(Frozen):
    """What every kind of experiment can be asked."""

    seeds: tuple[Seed, ...] = Field(
        default=(0,),
        min_length=1,
        max_length=MAX_SEEDS,
        description="One training each, from this seed.",
        json_schema_extra=DISTINCT,
    )
    dataset: DatasetName = "fashion-mnist"
    device: Device = Field(default="auto", description="auto: whichever worker is free first.")
    split_seed: Seed = Field(
        default=0, description="Draws the stratified split into train and validation."
    )
    _own: OwnDataset | None = PrivateAttr(default=None)

    @property
    def data(self) -> Dataset:
        """What `dataset` names. Raises LookupError for a registered one that nobody has told."""
        if (built_in := BUILT_IN.get(self.dataset)) is not None:
            return built_in
        if self._own is None or self._own.name != self.dataset:
            raise LookupError(f"nobody has told what the data set {self.dataset!r} is")
        return self._own

    def told(self, dataset: Dataset | None) -> Self:
        """The same spec, which knows the data set that it names, if that is a registered one."""
        if not isinstance(dataset, OwnDataset):
            return self
        spec = self.model_copy()
        spec._own = dataset  # noqa: SLF001 - of the same class
        return spec

    @model_validator(mode="after")
    def _distinct_seeds(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise misfit("seeds", "the same seed is given twice")
        return self
