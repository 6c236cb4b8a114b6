"""What a figure shows, as data: a question says it, `fmx_ml.plots.render` draws it.

Nothing here reaches numpy or matplotlib, so what needs only pydantic can import it. Numbers that a
training wrote stay in their file, which a recipe names.

Legend of shapes: N examples, P pictures, C channels, O I output and input channels, K a kernel's
side, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Curve:
    """One run: its figures at epochs 1, 2, …, and which epoch was the best.

    `val` is None where nothing was validated, as with an autoencoder; the best epoch is then one
    of the training's.
    """

    train: Sequence[float]
    val: Sequence[float] | None
    best_epoch: int


@dataclass(frozen=True, slots=True)
class Panel:
    """One configuration of a sheet: its label, and the curves of its runs."""

    label: str
    loss: Sequence[Curve]
    accuracy: Sequence[Curve]


@dataclass(frozen=True, slots=True)
class Series:
    """A line of `Lines`: at each x the values of the seeds, `y[seed][i]` at `x[i]`.

    Series of the same group have the same colour; a dashed one lies beside a solid one.
    """

    label: str
    x: Sequence[float]
    y: Sequence[Sequence[float]]
    group: int = 0
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Titled:
    title: str
    subtitle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves(_Titled):
    """Training and validation over the epochs, of one run or of several seeds."""

    quantity: str
    curves: Sequence[Curve]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePair(_Titled):
    """Loss and accuracy side by side."""

    loss: Sequence[Curve]
    accuracy: Sequence[Curve]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveSheet(_Titled):
    """Loss and accuracy of many configurations, as small multiples with letters."""

    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion(_Titled):
    """Counts of one run or their means: the actual classes down, the predicted across."""

    counts: Sequence[Sequence[float]]
    names: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples(_Titled):
    """The first pictures of each class: `images` uint8 [N, 28, 28], `labels` int64 [N]."""

    test_set: Path
    names: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters(_Titled):
    """The filters of one convolution: `<layer>.weight` float32 [O, I, K, K] of a model's weights.

    `per_channel` says how many input channels of each output channel are shown; None shows all.
    """

    weights: Path
    layer: str
    per_channel: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMaps(_Titled):
    """One picture and what each convolution makes of it.

    The file holds `images` uint8 [P, 28, 28], and float32 [P, C, H, W] by the name of each layer;
    `count` of a layer's C maps are shown.
    """

    maps: Path
    index: int
    layers: Sequence[str]
    count: int = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstructions(_Titled):
    """Pictures above what an autoencoder makes of them, several of each class.

    The file holds `originals` and `reconstructions` float32 [P, 28, 28] from 0 to 1, and `labels`
    int64 [P] into the names.
    """

    path: Path
    names: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSpace(_Titled):
    """Where an encoder puts the pictures: `codes` float32 [N, 2], `labels` int64 [N]."""

    path: Path
    names: Sequence[str]
    x_label: str
    y_label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines(_Titled):
    """A figure against a percentage: the mean over the seeds, and how far they lie apart."""

    x_label: str
    y_label: str
    series: Sequence[Series]
    log_y: bool = False


Recipe = (
    Curves
    | CurvePair
    | CurveSheet
    | Confusion
    | Samples
    | Filters
    | FeatureMaps
    | Reconstructions
    | CodeSpace
    | Lines
)
