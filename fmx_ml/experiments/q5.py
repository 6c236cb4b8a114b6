"""Q5: what is learnt on fm2, put to use on fm1 (report, section 5; figures 17 to 20)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from fmx_ml.experiments import q5_tables, shared, sweeps
from fmx_ml.experiments.q5_tables import LABELS, Start, Sweep
from fmx_ml.plots.recipes import CurvePair, Lines, Recipe
from fmx_ml.questions import (
    Collation,
    Drawing,
    Finished,
    MisfitError,
    Question,
    References,
)
from fmx_ml.results import RunOutcome
from fmx_ml.specs import (
    DISTINCT,
    CnnConfiguration,
    CnnSpec,
    CommonSpec,
    Dataset,
    EarlyStopping,
    Epochs,
    Half,
    OptimiserSpec,
    OwnDataset,
    Percent,
    RunId,
    misfit,
)
from fmx_ml.trainings import (
    AutoencoderTraining,
    CnnTraining,
    MlpTraining,
    PlannedRun,
    Training,
    Transfer,
    TrialTraining,
    training_hash,
)

ABOUT = """\
A network learns the second half of Fashion-MNIST's classes, with a first configuration and with the
best one found, and the best one learns the first half too. Then the first half is learnt again
from 5% to 100% of its training pictures, from three starts: weights drawn by chance; the weights
from the second half with all layers frozen but the last, which is drawn anew; and the same weights
with every layer learning on.

The report describes its transfer as frozen, and so is its code, but its figures are as good as
those of a network that learns in all layers. So both are run, and the published transfer figures
stand beside both. The starts are compared in pairs: the same seed and the same pictures, where the
pictures of a smaller share are among those of a larger one.

The report's best network has one convolution, and it wished to see transfer with more of them. Any
number can be asked for here, and the weights can be those of any finished run whose network has
the same shape."""

ALL_PICTURES = 100  # percent

_SOURCE_RUN = "source-taken"
_TRAINED: dict[Start, Literal["last_layer", "all_layers"]] = {
    "frozen": "last_layer",
    "fine_tune": "all_layers",
}
_OTHERS: dict[type[Training], str] = {
    AutoencoderTraining: "an autoencoder",
    MlpTraining: "a perceptron",
}


class Q5Spec(CommonSpec):
    """Q5: transfer from one half of the classes to the other."""

    initial: CnnConfiguration = Field(
        default=CnnConfiguration(
            model=CnnSpec(conv_layers=2, dense_layers=1),
            optimiser=OptimiserSpec(name="SGD", learning_rate=0.02),
        ),
        description="The first configuration, trained on fm2.",
    )
    best: CnnConfiguration = Field(
        default=CnnConfiguration(
            model=CnnSpec(conv_layers=1, dense_layers=3),
            optimiser=OptimiserSpec(name="AdamW", learning_rate=0.005, weight_decay=0.05),
        ),
        description="The configuration of every other training.",
    )
    max_epochs: Epochs = 450
    early_stopping: EarlyStopping | None = EarlyStopping()
    fractions: tuple[Percent, ...] = Field(
        default=tuple(range(5, 101, 5)),
        min_length=1,
        max_length=ALL_PICTURES,
        description="Shares of fm1's training pictures, rising.",
        json_schema_extra=DISTINCT,
    )
    starts: tuple[Start, ...] = Field(
        default=("random", "frozen", "fine_tune"),
        min_length=1,
        max_length=3,
        description="random: drawn by chance; frozen: transferred, the last layer learns; "
        "fine_tune: transferred, all layers learn.",
        json_schema_extra=DISTINCT,
    )
    final_percent: Percent = Field(
        default=90, description="The share whose accuracies stand beside section 5.5's."
    )
    source_run: RunId | None = Field(
        default=None,
        description="A finished convolutional run to transfer from, instead of this job's on fm2.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if sorted(set(self.fractions)) != list(self.fractions):
            raise misfit("fractions", "they must rise, each given once")
        if len(set(self.starts)) != len(self.starts):
            raise misfit("starts", "the same start is given twice")
        return self

    def count_fewest(self) -> int:
        """The runs of a job, but for one that is taken from another."""
        twice = "random" in self.starts and ALL_PICTURES in self.fractions
        return len(self.seeds) * (
            len(WHOLES) + len(self.fractions) * len(self.starts) - (1 if twice else 0)
        )


@dataclass(frozen=True)
class _Whole:
    """A training on all of a half's pictures: what it is called, and the report's figure of it."""

    key: str
    figure: str
    half: Half
    configuration: Literal["initial", "best"]

    def name_run(self, seed: int) -> str:
        return f"{self.prefix}{seed}"

    def title(self, dataset: Dataset) -> str:
        which = "first" if self.configuration == "initial" else "best"
        if isinstance(dataset, OwnDataset):
            half = shared.name_half(dataset, self.half).capitalize()
        else:
            half = {"fm1": "FMNIST1", "fm2": "FMNIST2"}[self.half]
        return f"{half}, {which} configuration"

    @property
    def prefix(self) -> str:
        return f"{self.key.replace('_', '-')}-seed-"

    def plan(self, spec: Q5Spec, seed: int) -> PlannedRun:
        configuration: CnnConfiguration = getattr(spec, self.configuration)
        training = shared.make_configured_training(spec, configuration, seed, half=self.half)
        return PlannedRun(name=self.name_run(seed), training=training)


_INITIAL = _Whole("fmnist2_initial", "17", "fm2", "initial")
_SOURCE = _Whole("fmnist2_best", "18", "fm2", "best")
_TARGET = _Whole("fmnist1", "19", "fm1", "best")
WHOLES = (_INITIAL, _SOURCE, _TARGET)


def find_references(spec: Q5Spec) -> dict[str, str]:
    """The run to transfer from, where it is another job's."""
    return {"source_run": spec.source_run} if spec.source_run is not None else {}


def plan(spec: Q5Spec, references: References) -> tuple[PlannedRun, ...]:
    """Per seed three trainings on all pictures, then one a share and start.

    A random start with all pictures is the training on fm1, which is planned once.

    Raises:
        MisfitError: the run to transfer from is not there, or its network has another shape.
    """
    taken = _take_source(spec, references)
    runs = [] if taken is None else [taken]
    for seed in spec.seeds:
        wholes = [whole.plan(spec, seed) for whole in WHOLES]
        runs += [*wholes, *_plan_sweep(spec, seed, taken or wholes[1])]
    return tuple(runs)


def _plan_sweep(spec: Q5Spec, seed: int, source: PlannedRun) -> list[PlannedRun]:
    source_hash = training_hash(source.training)
    runs: list[PlannedRun] = []
    for percent in spec.fractions:
        for start in spec.starts:
            if start == "random" and percent == ALL_PICTURES:
                continue
            trained = _TRAINED.get(start)
            training = shared.make_configured_training(
                spec,
                spec.best,
                seed,
                half="fm1",
                fraction_percent=percent,
                transfer=trained and Transfer(source=source_hash, trained=trained),
            )
            name = name_run(start, percent, seed)
            needs = (source.name,) if trained else ()
            runs.append(PlannedRun(name=name, training=training, needs=needs))
    return runs


def name_run(start: Start, percent: int, seed: int) -> str:
    """The run of a start with a share of the pictures."""
    if start == "random" and percent == ALL_PICTURES:
        return _TARGET.name_run(seed)
    return f"{start.replace('_', '-')}-{percent:03}-seed-{seed}"


def _take_source(spec: Q5Spec, references: References) -> PlannedRun | None:
    run = spec.source_run
    if run is None:
        return None
    training = references.get(run)
    reason = say_misfit(training, spec.best.model)
    if training is None or reason is not None:
        raise MisfitError("source_run", f"{run} {reason}")
    return PlannedRun(name=_SOURCE_RUN, training=training, taken_from=run)


def say_misfit(source: Training | None, model: CnnSpec) -> str | None:
    """Why a run's weights can't be put into a network, if they can't, said of the run."""
    if source is None:
        return "is no finished run"
    if isinstance(source, TrialTraining):
        return ("is a trial of a search: its network was chosen when it started, "
                "so its shape can't be compared with best.model")  # fmt: skip
    if not isinstance(source, CnnTraining):
        return f"trained {_OTHERS[type(source)]}, not a convolutional network"
    theirs, ours = _measure_shape(source.model), _measure_shape(model)
    differences = [
        f"{name} is {theirs[name]}, not {ours[name]}" for name in ours if theirs[name] != ours[name]
    ]
    if differences:
        return f"has a network of another shape than best.model: {', '.join(differences)}"
    return None


def _measure_shape(model: CnnSpec) -> dict[str, object]:
    """What its weights depend on; dropout has none."""
    return {
        "conv_layers": model.conv_layers,
        "channels": "-".join(map(str, model.filters)),
        "kernel_size": model.kernel_size,
        "padding": "same" if model.pads else "valid",
        "batch_norm": model.batch_norm,
        "dense_layers": model.dense_layers,
    }


def collate(job: Finished[Q5Spec]) -> Collation:
    """Figures 17 to 20, the trainings and section 5.5's table beside the published, each start."""
    qualifier = shared.qualify(job.preset, job.spec)
    wholes = {
        whole: outcomes for whole in WHOLES if (outcomes := job.find(whole.prefix))
    }  # of some no run may have succeeded
    sweep = gather(job)
    compared = {
        whole: q5_tables.compare_whole(whole.key, outcomes, job.preset, job.spec)
        for whole, outcomes in wholes.items()
    }
    percent = job.spec.final_percent
    final = q5_tables.compare_final(sweep, job.preset, job.spec, percent)
    return Collation(
        tables=[
            *(
                q5_tables.tabulate_whole(whole.key, whole.title(job.spec.data), rows, qualifier)
                for whole, rows in compared.items()
            ),
            *q5_tables.tabulate_final(final, job.preset, job.spec, percent),
            *q5_tables.tabulate_sweep(sweep, percent, _say_source(job), qualifier),
            shared.tabulate_runs(
                job.outcomes,
                f"Each run{qualifier}",
                f"Figures of the best epoch; at most {job.spec.max_epochs} epochs.",
            ),
        ],
        drawings=[
            *(_draw_whole(job, whole, found, qualifier) for whole, found in wholes.items()),
            *_draw_sweep(job, sweep, qualifier),
        ],
        comparisons=[
            comparison
            for rows in (*compared.values(), *final.values())
            for comparison in rows.values()
            if comparison.published is not None
        ],
    )


def gather(job: Finished[Q5Spec]) -> Sweep:
    """The finished runs of each start, by percent and seed."""
    spec = job.spec
    return sweeps.gather(job.outcomes, spec.starts, spec.fractions, spec.seeds, name_run)


def _say_source(job: Finished[Q5Spec]) -> str:
    """Where transferred weights are from."""
    if job.spec.source_run is None:
        half = shared.name_half(job.spec.data, "fm2")
        article = "the " if isinstance(job.spec.data, OwnDataset) else ""
        return f"this job's run on {article}{half} with the same seed"
    taken = next((o.training for o in job.outcomes if o.name == _SOURCE_RUN), None)
    words = [f"run {job.spec.source_run}"]
    if isinstance(taken, CnnTraining):
        words.append(shared.name_data(taken.dataset, taken.half))
    return ", ".join(words)


def _draw_whole(
    job: Finished[Q5Spec], whole: _Whole, outcomes: Sequence[RunOutcome], qualifier: str
) -> Drawing:
    """Figures 17, 18 and 19."""
    title = f"{whole.title(job.spec.data)}: loss and accuracy{qualifier}"
    pair = CurvePair(
        title=title,
        subtitle=" · ".join([
            shared.name_data(job.spec.data, whole.half),
            shared.describe_configuration(getattr(job.spec, whole.configuration)),
            shared.name_seeds(outcomes),
            *(["bold: mean", "dots: best"] if len(outcomes) > 1 else []),
        ]),
        loss=shared.make_curves(outcomes, "loss"),
        accuracy=shared.make_curves(outcomes, "accuracy"),
    )  # fmt: skip
    name = f"figure-{whole.figure}-{whole.key.replace('_', '-')}"
    numbers = {name: shared.make_curve_numbers(outcomes, "loss", "accuracy")}
    return Drawing(number=whole.figure, title=title, pictures={name: pair}, numbers=numbers)


def _draw_sweep(job: Finished[Q5Spec], sweep: Sweep, qualifier: str) -> list[Drawing]:
    """Figure 20, and the same with the test accuracy; nothing where no run has finished."""
    if not sweep:
        return []
    pictures: dict[str, Recipe] = {
        "figure-20-val-loss": _draw_lines(
            job, sweep, "val_loss", "best validation loss", qualifier
        ),
        "figure-20-test-accuracy": _draw_lines(
            job, sweep, "test_accuracy", "test accuracy", qualifier
        ),
    }
    figures = ("val_loss", "val_accuracy", "test_loss", "test_accuracy")
    return [
        Drawing(
            number="20",
            title=f"Three starts against the share of the training pictures{qualifier}",
            pictures=pictures,
            numbers={"figure-20": sweeps.list_numbers(sweep, figures)},
        )
    ]


_COLOURS: dict[Start, int] = {"random": 0, "frozen": 1, "fine_tune": 2}


def _draw_lines(
    job: Finished[Q5Spec], sweep: Sweep, figure: str, label: str, qualifier: str
) -> Lines:
    subtitle = " · ".join([
        shared.name_data(job.spec.data, "fm1"),
        shared.describe_configuration(job.spec.best),
        shared.name_seeds(sweeps.list_outcomes(sweep)),
        *(["transfer from another run"] if job.spec.source_run is not None else []),
    ])  # fmt: skip
    return Lines(
        title=f"{label.capitalize()} by share of the training pictures{qualifier}",
        subtitle=subtitle,
        x_label="share of the training pictures (%)",
        y_label=label,
        series=[
            sweeps.make_series(runs, figure, label=LABELS[start], group=_COLOURS[start])
            for start, runs in sweep.items()
        ],
        log_y=figure == "val_loss",
    )


QUESTION = Question(
    kind="q5",
    spec=Q5Spec,
    about=ABOUT,
    quick={"max_epochs": 2, "fractions": [10, 100], "final_percent": 100},
    plan=plan,
    collate=collate,
    references=find_references,
    fewest=Q5Spec.count_fewest,
)
