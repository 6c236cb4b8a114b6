"""Q3: what the network sees (report, section 3; figures 5 to 15)."""

from pydantic import Field

from fmx_ml.data.classes import names_of
from fmx_ml.experiments import shared
from fmx_ml.files import FEATURE_MAPS_FILE, WEIGHTS_FILE
from fmx_ml.plots.recipes import FeatureMaps, Filters
from fmx_ml.published import Published, require_published
from fmx_ml.questions import Collation, Drawing, Finished, Question, References
from fmx_ml.results import Comparison, RunOutcome, Table
from fmx_ml.specs import (
    Augmentation,
    BatchSize,
    CnnSpec,
    CommonSpec,
    EarlyStopping,
    Epochs,
    Half,
    OptimiserSpec,
    Percent,
    Schedule,
)
from fmx_ml.trainings import PlannedRun

ABOUT = """\
A deeper network, four padded convolutions and two dense layers, is trained as in the first
question, and then opened: the filters it has learnt, and what each convolution makes of one test
picture of each class.

A filter of the first layer acts on pixels and can be read; one of a later layer acts on the maps
before it. The maps are those after the relu and before any pooling, of the epoch with the lowest
validation loss, and the pictures are the first of each class in the test set."""

MAPS_SHOWN = 6  # of each layer (section 3.3)
_PER_CHANNEL = {3: 3, 4: 2}  # filters shown of each channel; of the first two layers all
_FIRST_FILTERS = 7  # figures 7 to 10 show filters
_MAP_FIGURES = {
    "Trouser": "11", "T-shirt/top": "12", "Coat": "13", "Sandal": "14", "Bag": "15",
}  # fmt: skip
_REPORT_LAYERS = 4


class Q3Spec(CommonSpec):
    """Q3: the filters and feature maps of a network with four convolutions."""

    half: Half = Field(
        default="fm1",
        description="Half of the classes: fm1 (0 1 4 5 8) or fm2 (2 3 6 7 9); of a registered data "
        "set its first or its second half.",
    )
    model: CnnSpec = CnnSpec(conv_layers=4)
    optimiser: OptimiserSpec = OptimiserSpec()
    batch_size: BatchSize = 100
    max_epochs: Epochs = 300
    early_stopping: EarlyStopping | None = EarlyStopping()
    fraction_percent: Percent = 100
    schedule: Schedule = "constant"
    augmentation: Augmentation = Augmentation()


class _Best(Published):
    loss: float
    accuracy: float


class Q3Figures(Published):
    """What the report publishes of Q3 in numbers (section 3.3)."""

    best_val: _Best


def plan(spec: Q3Spec, _references: References) -> tuple[PlannedRun, ...]:
    """One run a seed."""
    return tuple(
        PlannedRun(name=f"seed-{seed}", training=shared.make_cnn_training(spec, seed))
        for seed in spec.seeds
    )


def collate(job: Finished[Q3Spec]) -> Collation:
    """Curves, filters and feature maps; the best validation figures beside the published."""
    qualifier = shared.qualify(job.preset, job.spec)
    comparisons = make_comparisons(job)
    return Collation(
        tables=[
            shared.tabulate_comparisons(
                "validation", f"Best epoch beside the published{qualifier}", comparisons
            ),
            tabulate_filters(job.spec, qualifier),
            shared.tabulate_runs(
                job.outcomes,
                f"Each run{qualifier}",
                f"Figures of the best epoch; at most {job.spec.max_epochs} epochs.",
            ),
        ],
        drawings=make_drawings(job, qualifier),
        comparisons=[c for c in comparisons.values() if c.published is not None],
    )


def make_comparisons(job: Finished[Q3Spec]) -> dict[str, Comparison]:
    """The best epoch's figures by the name of a table's row; the report has those of validation."""
    published = require_published("q3", Q3Figures).best_val
    beside = shared.make_comparer("q3", shared.say_incomparable(job.preset, job.spec))
    figures = {
        "validation loss": ("val.loss", published.loss, "val_loss"),
        "validation accuracy": ("val.accuracy", published.accuracy, "val_accuracy"),
        "test accuracy": ("test.accuracy", None, "test_accuracy"),
        "training accuracy": ("train.accuracy", None, "train_accuracy"),
        "best epoch": ("best_epoch", None, "best_epoch"),
    }
    return {
        label: beside(name, figure, shared.values_of(job.outcomes, key), 2, 4, 22)
        for label, (name, figure, key) in figures.items()
    }


def tabulate_filters(spec: Q3Spec, qualifier: str) -> Table:
    """How many filters each convolution has, and how many of them are shown."""
    rows = [
        [
            f"conv{number}", layer.in_channels, layer.out_channels,
            layer.in_channels * layer.out_channels,
            layer.out_channels * min(layer.in_channels, _PER_CHANNEL.get(number, 10_000)),
            f"{layer.kernel_size} x {layer.kernel_size}",
        ]
        for number, layer in enumerate(spec.model.layers(), start=1)
    ]  # fmt: skip
    return Table(
        name="filters",
        title=f"Filters of each convolution{qualifier}",
        columns=["layer", "in_channels", "out_channels", "filters", "shown", "size"],
        rows=[list(row) for row in rows],
    )


def make_drawings(job: Finished[Q3Spec], qualifier: str) -> list[Drawing]:
    """Figures 5 to 15. Filters and maps are those of the first run."""
    spec, first = job.spec, job.outcomes[0]
    subtitle = " · ".join([
        shared.name_data(spec.data, spec.half),
        shared.name_cnn(spec.model, spec.optimiser, spec.batch_size),
    ])  # fmt: skip
    of_all = f"{subtitle} · {shared.name_seeds(job.outcomes)}"
    of_first = f"{subtitle} · {shared.name_seeds([first])}"
    curves = [
        shared.draw_curves_of(
            job.outcomes, number=number, quantity=quantity, qualifier=qualifier, subtitle=of_all
        )
        for number, quantity in (("5", "loss"), ("6", "accuracy"))
    ]
    layers = range(1, spec.model.conv_layers + 1)
    return [
        *curves,
        *(_draw_filters(job, first, layer, qualifier, of_first) for layer in layers),
        *_draw_maps(job, first, qualifier, of_first),
    ]


def _draw_filters(
    job: Finished[Q3Spec], run: RunOutcome, layer: int, qualifier: str, subtitle: str
) -> Drawing:
    per_channel = _PER_CHANNEL.get(layer)
    title = f"Filters of convolution {layer}{qualifier}"
    number = str(_FIRST_FILTERS + layer - 1) if layer <= _REPORT_LAYERS else f"filters-{layer}"
    if per_channel is not None:
        subtitle += f" · {per_channel} of each channel"
    recipe = Filters(
        title=title,
        subtitle=subtitle,
        weights=job.artifact(run.name, WEIGHTS_FILE),
        layer=f"conv{layer}",
        per_channel=per_channel,
    )
    return Drawing(number=number, title=title, pictures={f"figure-{number}-filters": recipe})


def _draw_maps(
    job: Finished[Q3Spec], run: RunOutcome, qualifier: str, subtitle: str
) -> list[Drawing]:
    """A figure for each class; those of the report's classes bear its numbers, in its order."""
    names = names_of(job.spec.data, job.spec.half)
    numbers = _MAP_FIGURES if job.spec.dataset == "fashion-mnist" else {}
    layers = [f"conv{number}" for number in range(1, job.spec.model.conv_layers + 1)]
    drawings: list[Drawing] = []
    for label, name in enumerate(names):
        number = numbers.get(name, f"maps-{label}")
        title = f"Feature maps, {name}{qualifier}"
        recipe = FeatureMaps(
            title=title,
            subtitle=subtitle,
            maps=job.artifact(run.name, FEATURE_MAPS_FILE),
            index=label,
            layers=layers,
            count=MAPS_SHOWN,
        )
        file_name = f"figure-{number}-feature-maps"
        drawings.append(Drawing(number=number, title=title, pictures={file_name: recipe}))
    return sorted(drawings, key=lambda drawing: drawing.number) if numbers else drawings


QUESTION = Question(
    kind="q3",
    spec=Q3Spec,
    about=ABOUT,
    quick={"max_epochs": 6, "fraction_percent": 25, "optimiser": {"learning_rate": 0.05}},
    plan=plan,
    collate=collate,
)
