"""Q1: one convolutional network to convergence (report, section 1; figures 1 to 3, table 2)."""

from collections.abc import Iterable

from pydantic import Field

from fmx_ml.data.classes import names_of
from fmx_ml.experiments import shared
from fmx_ml.experiments.shared import Outcomes
from fmx_ml.files import TEST_SET_FILE
from fmx_ml.plots.recipes import Samples
from fmx_ml.published import Published, require_published
from fmx_ml.questions import Collation, Drawing, Finished, Question, References
from fmx_ml.results import Comparison
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
A small convolutional network learns to tell the five classes of Fashion-MNIST's first half apart:
two convolutions with pooling, two dense layers, stochastic gradient descent. It trains until the
mean validation loss of twenty epochs exceeds that of the twenty before by a thousandth.

What is reported are the figures of the epoch with the lowest validation loss, and the test
pictures' confusion matrix. The report's code tests the weights of the last epoch, which it takes
for the best; both are given here."""


class Q1Spec(CommonSpec):
    """Q1: one convolutional network trained until its validation loss converges."""

    half: Half = Field(
        default="fm1",
        description="Half of the classes: fm1 (0 1 4 5 8) or fm2 (2 3 6 7 9); of a registered data "
        "set its first or its second half.",
    )
    model: CnnSpec = CnnSpec()
    optimiser: OptimiserSpec = OptimiserSpec()
    batch_size: BatchSize = 100
    max_epochs: Epochs = 450
    early_stopping: EarlyStopping | None = EarlyStopping()
    fraction_percent: Percent = 100
    schedule: Schedule = "constant"
    augmentation: Augmentation = Augmentation()


class Q1Accuracy(Published):
    """Accuracies in 0 to 1, rounded to four digits (table 2)."""

    train: float
    val: float
    test: float


class Q1Figures(Published):
    """What the report publishes of Q1 (sections 1.1 to 1.5)."""

    best_epoch: int
    accuracy: Q1Accuracy


def plan(spec: Q1Spec, _references: References) -> tuple[PlannedRun, ...]:
    """One run a seed."""
    return tuple(
        PlannedRun(name=f"seed-{seed}", training=shared.make_cnn_training(spec, seed))
        for seed in spec.seeds
    )


def collate(job: Finished[Q1Spec]) -> Collation:
    """Figures 1 to 3, the accuracies beside table 2, precision and recall, each run."""
    comparisons = make_comparisons(job)
    qualifier = shared.qualify(job.preset, job.spec)
    return Collation(
        tables=[
            shared.tabulate_comparisons(
                "accuracies",
                f"Accuracies beside the published{qualifier}",
                comparisons,
                "The report's code tests the last epoch's weights, "
                "so its one test figure stands twice.",
            ),
            shared.tabulate_classes(
                job.outcomes, f"Precision and recall on the test pictures{qualifier}"
            ),
            shared.tabulate_runs(
                job.outcomes,
                f"Each run{qualifier}",
                f"Figures of the best epoch; at most {job.spec.max_epochs} epochs.",
            ),
        ],
        drawings=make_drawings(job, qualifier),
        comparisons=[c for c in comparisons.values() if c.published is not None],
    )


def make_comparisons(job: Finished[Q1Spec]) -> dict[str, Comparison]:
    """Our figures by the name of a table's row, each beside the published one where there is one.

    The report's loop tests the weights of the last epoch (erratum 1), so its test figure stands
    beside ours of the best and of the last epoch.
    """
    published = require_published("q1", Q1Figures)
    beside = shared.make_comparer("q1", shared.say_incomparable(job.preset, job.spec))

    def accuracy(name: str, figure: float | None, keys: Iterable[str], *errata: int) -> Comparison:
        values = shared.values_of(job.outcomes, *keys)
        return beside(f"accuracy.{name}", figure, values, *errata, 22)

    report = published.accuracy
    best_epochs = shared.values_of(job.outcomes, "best_epoch")
    return {
        "training, counted while training": accuracy(
            "train", report.train, ["train_accuracy"], 2, 21
        ),
        "training, best epoch's weights": accuracy(
            "train_best_weights", None, ["best_weights_train_accuracy"]
        ),
        "validation, best epoch": accuracy("val", report.val, ["val_accuracy"], 2),
        "test, best epoch": accuracy("test", report.test, ["test_accuracy"], 1),
        "test, last epoch": accuracy("test_last_epoch", report.test, ["last", "test_accuracy"], 1),
        "best epoch": beside("best_epoch", published.best_epoch, best_epochs, 5, 6, 22, decimals=0),
    }


def make_drawings(job: Finished[Q1Spec], qualifier: str) -> list[Drawing]:
    """Figures 1 to 3, and pictures of each class."""
    spec, outcomes = job.spec, job.outcomes
    subtitle = describe(spec, outcomes)
    names = names_of(spec.data, spec.half)
    title = f"Pictures of each class{qualifier}"
    samples = Samples(
        title=title,
        subtitle=f"{shared.name_data(spec.data, spec.half)} · the first test pictures",
        test_set=job.artifact(outcomes[0].name, TEST_SET_FILE),
        names=names,
    )
    return [
        shared.draw_curves_of(
            outcomes, number="1", quantity="loss", qualifier=qualifier, subtitle=subtitle
        ),
        shared.draw_curves_of(
            outcomes, number="2", quantity="accuracy", qualifier=qualifier, subtitle=subtitle
        ),
        shared.draw_confusion_of(
            outcomes, number="3", names=names, qualifier=qualifier, subtitle=subtitle
        ),
        Drawing(number="samples", title=title, pictures={"samples": samples}),
    ]


def describe(spec: Q1Spec, outcomes: Outcomes) -> str:
    """Data, configuration and seeds in one line."""
    return " · ".join([
        shared.name_data(spec.data, spec.half),
        shared.name_cnn(spec.model, spec.optimiser, spec.batch_size),
        shared.name_seeds(outcomes),
    ])  # fmt: skip


QUESTION = Question(
    kind="q1",
    spec=Q1Spec,
    about=ABOUT,
    quick={"max_epochs": 25, "optimiser": {"learning_rate": 0.05}},
    plan=plan,
    collate=collate,
)
