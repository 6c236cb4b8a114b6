"""What can be asked of Q4: the grid, the encoders, the perceptrons that start from them."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from fmx_ml.specs import (
    DISTINCT,
    MAX_BATCH_SIZE,
    AutoencoderSpec,
    BatchSize,
    CommonSpec,
    EarlyStopping,
    Epochs,
    Frozen,
    Half,
    Int,
    MlpSpec,
    Normalisation,
    Number,
    OptimiserSpec,
    Percent,
    RunId,
    Structure,
    misfit,
)

MAX_GRID = 500  # autoencoders
MAX_RUNS = 5_000  # of a job: the default has 143 a seed

REPORT_STRUCTURE = ((784, 128), (128, 64), (64, 32), (32, 10))
REPORT_STOPPING = EarlyStopping(
    window=3, threshold=-0.001, min_epochs=5, on="train_loss", divide_by_batch_size=True
)
"""When an autoencoder has converged (report, Appendix E)."""


def _check_chain(structure: Structure) -> Structure:
    """Refuses layers that do not fit together, at their own place in a list."""
    try:
        AutoencoderSpec(structure=structure)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise PydanticCustomError("does_not_fit", "{message}", {"message": message}) from None
    return structure


_Distinct = Field(min_length=1, json_schema_extra=DISTINCT)
ChainedStructure = Annotated[Structure, AfterValidator(_check_chain)]


class AutoencoderConfiguration(Frozen):
    """One autoencoder and how it is trained; the default is what the report calls its best."""

    model: AutoencoderSpec = AutoencoderSpec(structure=REPORT_STRUCTURE)
    optimiser: OptimiserSpec = OptimiserSpec(name="Adam", learning_rate=0.01)
    batch_size: BatchSize = 32
    normalise: Normalisation = "report"
    max_epochs: Epochs = 200
    early_stopping: EarlyStopping | None = REPORT_STOPPING


class AutoencoderGrid(Frozen):
    """The autoencoders that are compared: every structure, batch size and learning rate."""

    structures: Annotated[tuple[ChainedStructure, ...], _Distinct] = (
        ((784, 128), (128, 32), (32, 10)),
        REPORT_STRUCTURE,
        ((784, 256), (256, 128), (128, 32), (32, 10)),
        # Printed with a first layer that does not fit the second (erratum 14).
        ((784, 512), (512, 256), (256, 128), (128, 64), (64, 32), (32, 10)),
    )
    batch_sizes: Annotated[
        tuple[Annotated[Int, Field(ge=1, le=MAX_BATCH_SIZE)], ...], _Distinct
    ] = (16, 32, 128, 256, 512)
    learning_rates: Annotated[
        tuple[Annotated[Number, Field(gt=0)], ...], _Distinct
    ] = (0.1, 0.01, 0.001)  # fmt: skip

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.count() > MAX_GRID:
            raise misfit(
                "structures",
                f"the lists make {self.count():,} autoencoders, {MAX_GRID} at most",
            )
        for name in ("structures", "batch_sizes", "learning_rates"):
            values: Sequence[Hashable] = getattr(self, name)
            if len(set(values)) != len(values):
                raise misfit(name, "the same value is given twice")
        return self

    def count(self) -> int:
        """Configurations, counted and not built."""
        return len(self.structures) * len(self.batch_sizes) * len(self.learning_rates)

    def configurations(self) -> Iterator[tuple[AutoencoderSpec, int, float]]:
        """Each structure, batch size and learning rate, the last varying fastest."""
        for structure in self.structures:
            for batch_size in self.batch_sizes:
                for rate in self.learning_rates:
                    yield AutoencoderSpec(structure=structure), batch_size, rate


class MlpConfiguration(Frozen):
    """A perceptron and how it is trained; the default is the report's."""

    model: MlpSpec = MlpSpec(structure=REPORT_STRUCTURE)
    optimiser: OptimiserSpec = OptimiserSpec(name="Adam", learning_rate=0.01)
    batch_size: BatchSize = 32


class FinalSpec(Frozen):
    """The two perceptrons of table 4, trained to convergence."""

    random_percent: Percent = 30
    pretrained_percent: Percent = 100
    max_epochs: Epochs = 200
    early_stopping: EarlyStopping | None = EarlyStopping(
        window=3, threshold=-0.001, min_epochs=5, divide_by_batch_size=True
    )


class Q4Spec(CommonSpec):
    """Q4: autoencoders, and perceptrons that start from their encoders."""

    half: Half = Field(
        default="fm1",
        description="What the perceptrons learn. The autoencoders learn from all pictures of fm2, "
        "so only fm1 has pictures that they have not seen.",
    )
    grid: AutoencoderGrid = AutoencoderGrid()
    autoencoder_max_epochs: Epochs = Field(default=200, description="Of the grid's autoencoders.")
    autoencoder_early_stopping: EarlyStopping | None = Field(
        default=REPORT_STOPPING, description="Of the grid's autoencoders."
    )
    encoder: AutoencoderConfiguration = Field(
        default=AutoencoderConfiguration(), description="What the perceptrons start from."
    )
    encoder_run: RunId | None = Field(
        default=None, description="A finished autoencoder run to start from instead."
    )
    own: AutoencoderConfiguration | None = Field(
        default=AutoencoderConfiguration(
            optimiser=OptimiserSpec(name="Adam", learning_rate=0.001),
            batch_size=128,
            normalise="unit",
            max_epochs=40,
            early_stopping=None,
        ),
        description="An autoencoder for the fair comparison; null leaves it out.",
    )
    mlp: MlpConfiguration = MlpConfiguration()
    own_mlp: MlpConfiguration = Field(
        default=MlpConfiguration(
            model=MlpSpec(structure=REPORT_STRUCTURE, output="logits"),
            optimiser=OptimiserSpec(name="Adam", learning_rate=0.001),
        ),
        description="The perceptrons of the fair comparison.",
    )
    sweep_epochs: Epochs = Field(default=16, description="Of each perceptron of the sweeps.")
    fractions: tuple[Percent, ...] = Field(
        default=tuple(range(5, 101, 5)),
        min_length=1,
        max_length=100,
        description="Shares of the training pictures, rising.",
        json_schema_extra=DISTINCT,
    )
    final: FinalSpec | None = Field(default=FinalSpec(), description="Table 4; null leaves it out.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if sorted(set(self.fractions)) != list(self.fractions):
            raise misfit("fractions", "they must rise, each given once")
        if self.encoder_run is None:
            _require_same_layers("mlp", self.mlp, "encoder", self.encoder)
        if self.own is not None:
            _require_same_layers("own_mlp", self.own_mlp, "own", self.own)
        if (num_runs := self.count_runs()) > MAX_RUNS:
            raise misfit("seeds", f"all seeds make {num_runs:,} runs, {MAX_RUNS:,} at most")
        return self

    def count_runs(self) -> int:
        """The runs of a job at most: an encoder that is one of the grid's is counted twice."""
        return len(self.seeds) + self.count_fewest()

    def count_fewest(self) -> int:
        """The runs of a job at least: those without an encoder of their own."""
        sweeps = 2 * len(self.fractions)
        own = 1 + sweeps if self.own is not None else 0
        finals = 2 if self.final is not None else 0
        return len(self.seeds) * (self.grid.count() + sweeps + own + finals)


def _require_same_layers(
    name: str, mlp: MlpConfiguration, source: str, autoencoder: AutoencoderConfiguration
) -> None:
    if mlp.model.structure != autoencoder.model.structure:
        raise misfit(
            name,
            f"its layers, {say_sizes(mlp.model)}, are not those of {source}, "
            f"{say_sizes(autoencoder.model)}",
        )


def say_sizes(model: AutoencoderSpec | MlpSpec) -> str:
    """The widths of a network: 784-128-10."""
    return "-".join(map(str, model.sizes))
