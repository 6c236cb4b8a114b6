"""A search over configurations of the convolutional classifier (pydantic only).

A dimension is a list of choices or, where it is a number, a range. What is not listed keeps its one
default, so the default space is the report's and a wider one says how it is wider.
"""

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fmx_ml.specs import (
    MAX_BATCH_SIZE,
    REPORT_CHANNELS,
    Augmentation,
    Bool,
    CnnConfiguration,
    CnnSpec,
    Frozen,
    Int,
    Number,
    OptimiserSpec,
    Schedule,
    misfit,
)

MAX_TRIALS = 1_000  # runs of a grid or search
MAX_CHOICES = 32  # of one dimension

_Choices = Field(min_length=1, max_length=MAX_CHOICES)
_Positive = Annotated[Number, Field(gt=0)]
_Decay = Annotated[Number, Field(ge=0)]
_Share = Annotated[Number, Field(ge=0, lt=1)]


class Range(Frozen):
    """Numbers from low to high, drawn evenly, or evenly in their logarithm."""

    low: Number
    high: Number
    log: Bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.low >= self.high:
            raise misfit("low", f"{self.low:g} is not below {self.high:g}")
        if self.log and self.low <= 0:
            raise misfit("low", f"a logarithm needs numbers above 0, not {self.low:g}")
        return self


class _Dimensions(Frozen):
    """What may vary by choice."""

    dense_layers: Annotated[tuple[Literal[1, 2, 3], ...], _Choices] = (2,)
    batch_size: Annotated[tuple[Annotated[Int, Field(ge=1, le=MAX_BATCH_SIZE)], ...], _Choices] = (
        100,
    )
    width: Annotated[tuple[Annotated[Int, Field(ge=1, le=16)], ...], _Choices] = Field(
        default=(1,), description="Multiplies the report's numbers of filters."
    )
    kernel_size: Annotated[tuple[Literal[3, 5], ...], _Choices] = (5,)
    batch_norm: Annotated[tuple[Bool, ...], _Choices] = (False,)
    momentum: Annotated[tuple[_Share, ...], _Choices] = Field(
        default=(0.0,), description="Of SGD; other optimisers have none."
    )
    schedule: Annotated[tuple[Schedule, ...], _Choices] = ("constant",)
    flip: Annotated[tuple[Bool, ...], _Choices] = (False,)
    shift: Annotated[tuple[Annotated[Int, Field(ge=0, le=8)], ...], _Choices] = (0,)

    def dimensions(self) -> dict[str, Range | tuple[Any, ...]]:
        """Every dimension by name."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    def count(self) -> int | None:
        """How many configurations the grid has, counted and not built; None where it has ranges."""
        count = 1
        for dimension in self.dimensions().values():
            if isinstance(dimension, Range):
                return None
            count *= len(dimension)
        return count


class GridSpec(_Dimensions):
    """Every combination of the lists, each a configuration of its own."""

    conv_layers: Annotated[tuple[Literal[1, 2, 4], ...], _Choices] = (1, 2)
    optimiser: Annotated[tuple[Literal["SGD", "Adam", "AdamW"], ...], _Choices] = ("SGD",)
    learning_rate: Annotated[tuple[_Positive, ...], _Choices] = (0.005,)
    weight_decay: Annotated[tuple[_Decay, ...], _Choices] = (0.0,)
    dropout: Annotated[tuple[_Share, ...], _Choices] = (0.0,)

    def configurations(self) -> tuple[CnnConfiguration, ...]:
        """Each combination once, the last list's values varying fastest.

        Combinations that differ in nothing that is trained (a momentum of Adam) are one.
        """
        dimensions = self.dimensions()
        choices = [d for d in dimensions.values() if not isinstance(d, Range)]
        found = (
            configure(dict(zip(dimensions, values, strict=True))) for values in product(*choices)
        )
        return tuple(dict.fromkeys(found))


class SearchSpace(_Dimensions):
    """What may vary; the default is the report's space (section 2.2)."""

    conv_layers: Annotated[tuple[Literal[1, 2, 4], ...], _Choices] = (1, 2, 4)
    dense_layers: Annotated[tuple[Literal[1, 2, 3], ...], _Choices] = (1, 2, 3)
    optimiser: Annotated[tuple[Literal["SGD", "Adam", "AdamW"], ...], _Choices] = (
        "SGD", "Adam", "AdamW",
    )  # fmt: skip
    learning_rate: Range | Annotated[tuple[_Positive, ...], _Choices] = Range(
        low=0.0005, high=0.05, log=True
    )
    weight_decay: Range | Annotated[tuple[_Decay, ...], _Choices] = (0.0, 0.01, 0.05)
    dropout: Range | Annotated[tuple[_Share, ...], _Choices] = (0.0,)

    @model_validator(mode="after")
    def _ranges_fit(self) -> Self:
        if isinstance(self.learning_rate, Range) and self.learning_rate.low <= 0:
            raise misfit("learning_rate", "it must be above 0")
        if isinstance(self.weight_decay, Range) and self.weight_decay.low < 0:
            raise misfit("weight_decay", "it must not be below 0")
        if isinstance(self.dropout, Range) and not 0 <= self.dropout.low < self.dropout.high < 1:
            raise misfit("dropout", "it must lie in 0 to 1, without 1")
        return self


class Sampling(Frozen):
    """All that a trial's configuration follows from, beside its number and the trials before."""

    method: Literal["grid", "random", "tpe"] = Field(
        default="tpe", description="tpe: tree-structured Parzen estimator (Bergstra et al., 2011)."
    )
    abreast: Int = Field(
        default=4,
        ge=1,
        le=64,
        description="Trials of one generation: they run abreast and learn from those before.",
    )
    pruning: Bool = Field(
        default=True,
        description="End a trial whose validation loss is worse than the median at its epoch.",
    )
    space: SearchSpace = SearchSpace()

    @model_validator(mode="after")
    def _grid_is_finite(self) -> Self:
        if self.method == "grid":
            for name, dimension in self.space.dimensions().items():
                if isinstance(dimension, Range):
                    raise misfit("space", f"a grid needs a list for {name}, not a range")
        return self


class SearchSpec(Sampling):
    """A search within a budget of trials, which chooses by validation loss alone."""

    trials: Int = Field(default=20, ge=1, le=MAX_TRIALS, description="Runs at most.")

    @property
    def sampling(self) -> Sampling:
        """The search without its budget, which no trial depends on."""
        return Sampling.model_validate(self.model_dump(exclude={"trials"}))

    @property
    def num_trials(self) -> int:
        """Trials that there will be: the budget, or the whole grid where that is smaller."""
        size = self.space.count() if self.method == "grid" else None
        return self.trials if size is None else min(self.trials, size)


def configure(params: Mapping[str, Any]) -> CnnConfiguration:
    """The configuration that one value of each dimension describes.

    Momentum is SGD's alone. `width` multiplies the report's numbers of filters.
    """
    conv_layers, name, width = params["conv_layers"], params["optimiser"], params["width"]
    channels = tuple(width * count for count in REPORT_CHANNELS[:conv_layers])
    return CnnConfiguration(
        model=CnnSpec(
            conv_layers=conv_layers,
            dense_layers=params["dense_layers"],
            kernel_size=params["kernel_size"],
            channels=channels if width > 1 else None,
            batch_norm=params["batch_norm"],
            dropout=params["dropout"],
        ),
        optimiser=OptimiserSpec(
            name=name,
            learning_rate=params["learning_rate"],
            weight_decay=params["weight_decay"],
            momentum=params["momentum"] if name == "SGD" else 0.0,
        ),
        batch_size=params["batch_size"],
        schedule=params["schedule"],
        augmentation=Augmentation(flip=params["flip"], shift=params["shift"]),
    )
