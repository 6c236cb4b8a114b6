"""Experiment specs: what a client may ask for, checked before anything is queued.

`parse_request` turns JSON data into a `JobRequest`: the preset's values, overridden by what the
request's `spec` names, refused where they do not fit together. `plan` lists the runs a request
needs. Nothing here imports more than pydantic, so server, worker and client share it.

Legend of sizes: C channels, H W pixels, K classes.
"""

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    model_validator,
)
from pydantic_core import PydanticCustomError

IMAGE_SIDE = 28  # pixels; Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017)
NUM_CLASSES = 5  # classes in each half of the data set (report, section 0)

MAX_INT = 2**31 - 1
MAX_EPOCHS = 10_000
MAX_BATCH_SIZE = 65_536
MAX_SEEDS = 32
MAX_NAME_LENGTH = 128
MAX_TAGS = 32
MAX_TAG_LENGTH = 64
MAX_TIME_LIMIT_SECONDS = 30 * 24 * 3600

_REPORT_CHANNELS = (6, 12, 16, 24)  # report, Appendix D
_DENSE_SIZES: dict[int, tuple[int, ...]] = {1: (), 2: (80,), 3: (120, 84)}  # report, Appendix C

Kind = Literal["q1"]
Preset = Literal["report", "quick"]
DatasetName = Literal["fashion-mnist", "synthetic"]
Half = Literal["fm1", "fm2"]
Device = Literal["auto", "cpu", "cuda"]

KINDS: tuple[Kind, ...] = get_args(Kind)


def _misfit(field: str, message: str) -> PydanticCustomError:
    """The error of values that do not fit together; `field` is where a reader should look."""
    return PydanticCustomError("does_not_fit", "{message}", {"field": field, "message": message})


def _printable(text: str) -> str:
    """The text, unless it holds control characters, NUL or lone surrogates."""
    if any(unicodedata.category(c) in {"Cc", "Cs"} for c in text):
        msg = "control characters and lone surrogates are not allowed"
        raise ValueError(msg)
    return text


Int = Annotated[int, Strict()]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Bool = Annotated[bool, Strict()]
Text = Annotated[str, Strict(), AfterValidator(_printable)]
Name = Annotated[Text, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
Tag = Annotated[Text, Field(min_length=1, max_length=MAX_TAG_LENGTH)]
Seed = Annotated[Int, Field(ge=0, le=MAX_INT)]


class Frozen(BaseModel):
    """A value: unknown fields are refused, nothing changes after it was checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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

    @model_validator(mode="after")
    def _fits(self) -> Self:
        channels = self.filters
        if len(channels) != self.conv_layers:
            raise _misfit(
                "channels", f"{len(channels)} numbers do not fit conv_layers {self.conv_layers}"
            )
        side = IMAGE_SIDE
        if self.pads and self.kernel_size % 2 == 0:
            raise _misfit(
                "kernel_size", f"padding 'same' needs an odd side, {self.kernel_size} is even"
            )
        for number, layer in enumerate(self.layers(), start=1):
            if side + 2 * layer.padding < layer.kernel_size:
                raise _misfit(
                    "conv_layers",
                    f"convolution {number} has a {layer.kernel_size} x {layer.kernel_size} filter "
                    f"and gets only {side} x {side} pixels",
                )
            side = side + 2 * layer.padding - layer.kernel_size + 1
            if layer.pool:
                if side < 2:  # noqa: PLR2004 - the pooling window
                    raise _misfit(
                        "conv_layers",
                        f"the pooling after convolution {number} gets {side} x {side} pixels",
                    )
                side //= 2
        return self

    @property
    def filters(self) -> tuple[int, ...]:
        """Filters of each convolution."""
        return self.channels or _REPORT_CHANNELS[: self.conv_layers]

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


class OptimiserSpec(Frozen):
    """An optimiser of torch.optim with the report's knobs; SGD without momentum."""

    name: Literal["SGD", "Adam", "AdamW"] = "SGD"
    learning_rate: Number = Field(default=0.005, gt=0)
    weight_decay: Number = Field(default=0.0, ge=0, description="L2 penalty; decoupled with AdamW.")


class EarlyStopping(Frozen):
    """Stop when the mean validation loss of the last window exceeds the window before it.

    The rule is `mean(loss[-window:]) - mean(loss[-2 * window:-window]) > threshold`, looked at from
    `min_epochs` on. Until two windows are full the earlier one is shorter, and at first empty
    (its mean is NaN, which stops nothing), as in the report's code.
    """

    window: Int = Field(default=20, ge=1, le=MAX_EPOCHS, description="Epochs in each window.")
    threshold: Number = Field(
        default=0.001, description="Rise of the mean loss that ends the training."
    )
    min_epochs: Int = Field(default=20, ge=1, le=MAX_EPOCHS)


class CommonSpec(Frozen):
    """What every kind of experiment can be asked."""

    seeds: tuple[Seed, ...] = Field(
        default=(0,),
        min_length=1,
        max_length=MAX_SEEDS,
        description="One training each, from this seed.",
    )
    dataset: DatasetName = "fashion-mnist"
    device: Device = Field(default="auto", description="auto: whichever worker is free first.")
    split_seed: Seed = Field(
        default=0, description="Draws the stratified split into train and validation."
    )

    @model_validator(mode="after")
    def _distinct_seeds(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise _misfit("seeds", "the same seed is given twice")
        return self


class Q1Spec(CommonSpec):
    """Q1: one convolutional network trained until its validation loss converges."""

    half: Half = Field(
        default="fm1", description="Half of the classes: fm1 (0 1 4 5 8) or fm2 (2 3 6 7 9)."
    )
    model: CnnSpec = CnnSpec()
    optimiser: OptimiserSpec = OptimiserSpec()
    batch_size: Int = Field(default=100, ge=1, le=MAX_BATCH_SIZE, description="Pictures a step.")
    max_epochs: Int = Field(default=450, ge=1, le=MAX_EPOCHS)
    early_stopping: EarlyStopping = EarlyStopping()


PRESETS: dict[Kind, dict[Preset, dict[str, Any]]] = {
    "q1": {"report": {}, "quick": {"max_epochs": 25, "optimiser": {"learning_rate": 0.05}}},
}


def _merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Base with the override's values put over it, mapping by mapping."""
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _merge(old, value)  # noqa: PLW2901
        merged[key] = value
    return merged


class _Request(Frozen):
    """What every job request carries beside its spec."""

    preset: Preset = Field(
        default="report", description="report: as published; quick: a smoke version."
    )
    name: Name | None = None
    tags: tuple[Tag, ...] = Field(default=(), max_length=MAX_TAGS)
    priority: Int = Field(
        default=5, ge=0, le=9, description="9 is served first; equal ones by age."
    )
    time_limit_seconds: Int | None = Field(
        default=None, ge=1, le=MAX_TIME_LIMIT_SECONDS, description="Wall time from the job's start."
    )
    reuse: Bool = Field(
        default=False, description="Take runs that finished before instead of training them again."
    )

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, data: Any) -> Any:
        """Puts the spec that was given over the preset's values."""
        if not isinstance(data, Mapping):
            return data
        spec = data.get("spec", {})
        for kind, presets in PRESETS.items():
            for preset, base in presets.items():
                asked = (data.get("kind"), data.get("preset", "report"))
                if asked == (kind, preset) and isinstance(spec, Mapping):
                    return {**data, "spec": _merge(base, spec)}
        return data

    @model_validator(mode="after")
    def _distinct_tags(self) -> Self:
        if len(set(self.tags)) != len(self.tags):
            raise _misfit("tags", "the same tag is given twice")
        return self


class Q1Request(_Request):
    """A job of kind q1; `{"kind": "q1"}` alone is the report's Q1."""

    kind: Literal["q1"]
    spec: Q1Spec = Q1Spec()


JobRequest = Q1Request
Spec = Q1Spec
REQUESTS: dict[Kind, type[JobRequest]] = {"q1": Q1Request}


class CnnTraining(Frozen):
    """One training of a convolutional classifier: all that its result depends on."""

    task: Literal["train_cnn"] = "train_cnn"
    seed: int
    split_seed: int
    dataset: DatasetName
    half: Half
    model: CnnSpec
    optimiser: OptimiserSpec
    batch_size: int
    max_epochs: int
    early_stopping: EarlyStopping


Training = CnnTraining


class PlannedRun(Frozen):
    """One training that a job needs; `needs` names the runs whose weights it starts from."""

    name: str
    training: Training
    needs: tuple[str, ...] = ()

    @property
    def max_epochs(self) -> int:
        """Epochs at most."""
        return self.training.max_epochs


def parse_request(data: Any) -> JobRequest:
    """The checked request in data (a JSON value). Raises pydantic.ValidationError."""
    return JobRequest.model_validate(data)


def parse_spec(kind: str, data: Any) -> Spec:
    """A spec as the record holds it. Raises KeyError for another kind, pydantic.ValidationError."""
    return {"q1": Q1Spec}[kind].model_validate(data)


def plan(spec: Spec) -> tuple[PlannedRun, ...]:
    """The runs that a spec needs, each named once, after the runs that it needs."""
    return tuple(
        PlannedRun(
            name=f"seed-{seed}",
            training=CnnTraining(
                seed=seed,
                **{f: getattr(spec, f) for f in CnnTraining.model_fields if hasattr(spec, f)},
            ),
        )
        for seed in spec.seeds
    )


def spec_hash(kind: str, spec: Spec) -> str:
    """The sha256, in hex, of a kind and its normalised spec: equal specs, equal hashes."""
    return _digest({"kind": kind, "spec": spec.model_dump(mode="json")})


def training_hash(training: Training) -> str:
    """The sha256, in hex, of one training: equal hashes, equal results on the same machine."""
    return _digest(training.model_dump(mode="json"))


def _digest(value: Mapping[str, Any]) -> str:
    payload = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(payload.encode()).hexdigest()
