"""Q4: an autoencoder pre-trains a perceptron (report, section 4; table 4, figure 16)."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fmx_ml.data.classes import class_name
from fmx_ml.experiments import q4_tables, shared
from fmx_ml.experiments.q4_tables import LABELS, Start, Sweep
from fmx_ml.files import CODES_FILE, RECONSTRUCTIONS_FILE
from fmx_ml.plots.recipes import CodeSpace, Curves, Lines, Reconstructions, Series
from fmx_ml.questions import (
    Collation,
    Drawing,
    Finished,
    MisfitError,
    Numbers,
    Question,
    References,
)
from fmx_ml.results import RunOutcome
from fmx_ml.specs import (
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
from fmx_ml.trainings import AutoencoderTraining, MlpTraining, PlannedRun, training_hash

ABOUT = """\
Sixty autoencoders compress pictures to ten numbers and back: four stacks of dense layers, five
batch sizes, three learning rates. They learn from all pictures of the second half of the classes
and the training pictures of the first. They are ranked by the mean squared error of a pixel; the
report's own measure, that error over the batch size, stands beside it. An autoencoder whose code
is dead, or that does no better than one picture for all, is called collapsed.

A perceptron with the layers of an encoder then learns the five classes of the first half from 5% to
100% of its training pictures, once from random weights and once from copies of the encoder's. The
report's encoder is doubtful; so the same is done with an autoencoder of our own, which learns
longer and from pixels that its sigmoid can reach, and with perceptrons that end in plain logits.
Each pair of trainings has the same pictures in the same order."""

MAX_GRID = 500  # autoencoders
ALL_CLASSES = 10

_REPORT_STRUCTURE = ((784, 128), (128, 64), (64, 32), (32, 10))
_GRID_PREFIX, _TAKEN = "autoencoder", "encoder-taken"


class AutoencoderGrid(Frozen):
    """The autoencoders that are compared: every structure, batch size and learning rate."""

    structures: Annotated[tuple[Structure, ...], Field(min_length=1, max_length=32)] = (
        ((784, 128), (128, 32), (32, 10)),
        _REPORT_STRUCTURE,
        ((784, 256), (256, 128), (128, 32), (32, 10)),
        # Printed with a first layer that does not fit the second (erratum 14).
        ((784, 512), (512, 256), (256, 128), (128, 64), (64, 32), (32, 10)),
    )
    batch_sizes: Annotated[
        tuple[Annotated[Int, Field(ge=1, le=MAX_BATCH_SIZE)], ...],
        Field(min_length=1, max_length=32),
    ] = (16, 32, 128, 256, 512)
    learning_rates: Annotated[
        tuple[Annotated[Number, Field(gt=0)], ...], Field(min_length=1, max_length=32)
    ] = (0.1, 0.01, 0.001)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for structure in self.structures:
            AutoencoderSpec(structure=structure)
        if self.count() > MAX_GRID:
            raise misfit("structures", f"the lists make {self.count()} autoencoders, "
                         f"{MAX_GRID} at most")  # fmt: skip
        return self

    def count(self) -> int:
        """Configurations, counted and not built."""
        return len(self.structures) * len(self.batch_sizes) * len(self.learning_rates)

    def configurations(self) -> Iterator[tuple[AutoencoderSpec, int, float]]:
        """Each structure, batch size and learning rate."""
        for structure in self.structures:
            for batch_size in self.batch_sizes:
                for rate in self.learning_rates:
                    yield AutoencoderSpec(structure=structure), batch_size, rate


_REPORT_STOPPING = EarlyStopping(
    window=3, threshold=-0.001, min_epochs=5, on="train_loss", divide_by_batch_size=True
)


class AutoencoderConfiguration(Frozen):
    """One autoencoder and how it is trained; the default is what the report calls its best."""

    model: AutoencoderSpec = AutoencoderSpec(structure=_REPORT_STRUCTURE)
    optimiser: OptimiserSpec = OptimiserSpec(name="Adam", learning_rate=0.01)
    batch_size: BatchSize = 32
    normalise: Normalisation = "report"
    max_epochs: Epochs = 200
    early_stopping: EarlyStopping | None = _REPORT_STOPPING


class MlpConfiguration(Frozen):
    """A perceptron and how it is trained; the default is the report's."""

    model: MlpSpec = MlpSpec(structure=_REPORT_STRUCTURE)
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

    half: Half = Field(default="fm1", description="What the perceptrons learn.")
    grid: AutoencoderGrid = AutoencoderGrid()
    autoencoder_max_epochs: Epochs = 200
    autoencoder_early_stopping: EarlyStopping | None = _REPORT_STOPPING
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
            model=MlpSpec(structure=_REPORT_STRUCTURE, output="logits"),
            optimiser=OptimiserSpec(name="Adam", learning_rate=0.001),
        ),
        description="The perceptrons of the fair comparison.",
    )
    sweep_epochs: Epochs = 16
    fractions: tuple[Percent, ...] = Field(
        default=tuple(range(5, 101, 5)),
        min_length=1,
        max_length=100,
        description="Shares of the training pictures, rising.",
    )
    final: FinalSpec | None = Field(default=FinalSpec(), description="Table 4; null leaves it out.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if sorted(set(self.fractions)) != list(self.fractions):
            raise misfit("fractions", "they must rise, each given once")
        if self.encoder_run is None and self.encoder.model.structure != self.mlp.model.structure:
            raise misfit("mlp", "its layers are not those of encoder.model")
        if self.own is not None and self.own.model.structure != self.own_mlp.model.structure:
            raise misfit("own_mlp", "its layers are not those of own.model")
        return self


def find_references(spec: Q4Spec) -> dict[str, str]:
    """The autoencoder run to start from, where it is another job's."""
    return {"encoder_run": spec.encoder_run} if spec.encoder_run is not None else {}


def plan(spec: Q4Spec, references: References) -> tuple[PlannedRun, ...]:
    """Per seed the autoencoders, then the perceptrons that start from them or from chance.

    Raises:
        MisfitError: the run to start from is not there, or its encoder does not fit.
    """
    taken = _take_encoder(spec, references)
    runs = [] if taken is None else [taken]
    for seed in spec.seeds:
        grid = list(_plan_grid(spec, seed))
        encoder, further = _find_encoder(spec, seed, grid, taken)
        runs += [*grid, *further, *_plan_pairs(spec, seed, "random", "report", encoder)]
        if spec.own is not None:
            own = PlannedRun(
                name=f"own-autoencoder-seed-{seed}", training=_train(spec, spec.own, seed)
            )
            runs += [own, *_plan_pairs(spec, seed, "own_random", "own", own)]
        if spec.final is not None:
            runs += _plan_finals(spec, spec.final, seed, encoder)
    return tuple(runs)


def _plan_grid(spec: Q4Spec, seed: int) -> Iterator[PlannedRun]:
    for number, (model, batch_size, rate) in enumerate(spec.grid.configurations(), start=1):
        configuration = AutoencoderConfiguration(
            model=model,
            optimiser=OptimiserSpec(name="Adam", learning_rate=rate),
            batch_size=batch_size,
            max_epochs=spec.autoencoder_max_epochs,
            early_stopping=spec.autoencoder_early_stopping,
        )
        training = _train(spec, configuration, seed)
        yield PlannedRun(name=f"{_GRID_PREFIX}-{number:02}-seed-{seed}", training=training)


def _train(spec: Q4Spec, configuration: AutoencoderConfiguration, seed: int) -> AutoencoderTraining:
    fields = {name: getattr(configuration, name) for name in type(configuration).model_fields}
    return AutoencoderTraining.model_validate(
        {**fields, "seed": seed, "split_seed": spec.split_seed, "dataset": spec.dataset}
    )


def _find_encoder(
    spec: Q4Spec, seed: int, grid: list[PlannedRun], taken: PlannedRun | None
) -> tuple[PlannedRun, list[PlannedRun]]:
    """The run whose encoder the perceptrons start from, and what must be planned for it."""
    if taken is not None:
        return taken, []
    training = _train(spec, spec.encoder, seed)
    found = [run for run in grid if run.training == training]
    if found:
        return found[0], []
    encoder = PlannedRun(name=f"encoder-seed-{seed}", training=training)
    return encoder, [encoder]


def _take_encoder(spec: Q4Spec, references: References) -> PlannedRun | None:
    if spec.encoder_run is None:
        return None
    training = references.get(spec.encoder_run)
    if not isinstance(training, AutoencoderTraining):
        raise MisfitError("encoder_run", f"{spec.encoder_run} trained no autoencoder")
    if training.model.structure != spec.mlp.model.structure:
        theirs = "-".join(map(str, training.model.sizes))
        ours = "-".join(map(str, spec.mlp.model.sizes))
        raise MisfitError("encoder_run", f"its encoder is {theirs}, the perceptron {ours}")
    return PlannedRun(name=_TAKEN, training=training, taken_from=spec.encoder_run)


def _plan_pairs(
    spec: Q4Spec, seed: int, base: Start, start: Start, encoder: PlannedRun
) -> Iterator[PlannedRun]:
    """At each share a perceptron from random weights and one from the encoder's."""
    for percent in spec.fractions:
        for whose in (base, start):
            yield _plan_mlp(
                spec, spec.own_mlp if start == "own" else spec.mlp, seed, percent, encoder,
                name=name_run(whose, percent, seed),
                pretrained=whose == start,
                max_epochs=spec.sweep_epochs,
                early_stopping=None,
            )  # fmt: skip


def _plan_finals(
    spec: Q4Spec, final: FinalSpec, seed: int, encoder: PlannedRun
) -> Iterator[PlannedRun]:
    shares = {"random": final.random_percent, "report": final.pretrained_percent}
    for start, percent in shares.items():
        yield _plan_mlp(
            spec, spec.mlp, seed, percent, encoder,
            name=f"final-{start}-seed-{seed}",
            pretrained=start == "report",
            max_epochs=final.max_epochs,
            early_stopping=final.early_stopping,
        )  # fmt: skip


def _plan_mlp(
    spec: Q4Spec,
    mlp: MlpConfiguration,
    seed: int,
    percent: int,
    encoder: PlannedRun,
    *,
    name: str,
    pretrained: bool,
    **fields: Any,
) -> PlannedRun:
    """A perceptron on pixels as the encoder takes them, from its weights or from random ones."""
    source = encoder.training
    assert isinstance(source, AutoencoderTraining)  # noqa: S101 - planned here, or checked
    training = MlpTraining(
        seed=seed,
        split_seed=spec.split_seed,
        dataset=spec.dataset,
        half=spec.half,
        model=mlp.model,
        optimiser=mlp.optimiser,
        batch_size=mlp.batch_size,
        normalise=source.normalise,
        fraction_percent=percent,
        encoder=training_hash(source) if pretrained else None,
        **fields,
    )
    return PlannedRun(name=name, training=training, needs=(encoder.name,) if pretrained else ())


def name_run(start: Start, percent: int, seed: int) -> str:
    """The perceptron of a start with a share of the pictures."""
    return f"mlp-{start.replace('_', '-')}-{percent:03}-seed-{seed}"


def collate(job: Finished[Q4Spec]) -> Collation:
    """The autoencoders ranked, their pictures, table 4, figure 16 and the fair table."""
    qualifier = shared.qualify(job.preset, job.spec)
    grid = q4_tables.rank(job.find(f"{_GRID_PREFIX}-"))
    encoders = find_encoders(job)
    sweep = gather(job)
    errors = q4_tables.compare_error(encoders.get("report", []), job.preset, job.spec)
    finals = {
        start: q4_tables.compare_final(start, found, job.preset, job.spec)
        for start in ("random", "report")
        if (found := job.find(f"final-{start}-"))
    }
    return Collation(
        tables=[
            *q4_tables.tabulate_grid(grid, qualifier),
            *q4_tables.tabulate_encoders(encoders, errors, qualifier),
            *q4_tables.tabulate_table_4(finals, qualifier),
            *q4_tables.tabulate_sweep(sweep, qualifier),
            *q4_tables.tabulate_runs(job.outcomes, qualifier),
        ],
        drawings=[
            *_draw_sweeps(job, sweep, qualifier),
            *_draw_reconstructions(job, encoders, qualifier),
            *_draw_codes(job, encoders, qualifier),
            *_draw_curves(encoders, qualifier),
        ],
        comparisons=[c for rows in (errors, *finals.values()) for c in rows.values()
                     if c.published is not None],
    )  # fmt: skip


def find_encoders(job: Finished[Q4Spec]) -> dict[Literal["report", "own"], list[RunOutcome]]:
    """The finished autoencoders that perceptrons start from, by whose they are."""
    found: dict[Literal["report", "own"], list[RunOutcome]] = {}
    taken = job.find(_TAKEN)
    for seed in job.spec.seeds:
        wanted = _train(job.spec, job.spec.encoder, seed)
        report = taken or [outcome for outcome in job.outcomes if outcome.training == wanted]
        if report:
            found.setdefault("report", []).append(report[0])
    if own := job.find("own-autoencoder-"):
        found["own"] = own
    return found


def gather(job: Finished[Q4Spec]) -> Sweep:
    """The finished perceptrons by start, percent and seed; what has none is not in it."""
    by_name = {outcome.name: outcome for outcome in job.outcomes}
    sweep: Sweep = {}
    for start in LABELS:
        for percent in job.spec.fractions:
            for seed in job.spec.seeds:
                if (outcome := by_name.get(name_run(start, percent, seed))) is not None:
                    sweep.setdefault(start, {}).setdefault(percent, {})[seed] = outcome
    return sweep


_PAIRS: dict[str, tuple[Start, Start]] = {"16": ("random", "report"), "16b": ("own_random", "own")}


def _draw_sweeps(job: Finished[Q4Spec], sweep: Sweep, qualifier: str) -> list[Drawing]:
    """Figure 16, and the same with our own encoder."""
    drawings: list[Drawing] = []
    for number, pair in _PAIRS.items():
        starts: list[Start] = [start for start in pair if start in sweep]
        if not starts:
            continue
        encoder = "the report's encoder" if number == "16" else "our own encoder"
        if number == "16" and job.spec.encoder_run is not None:
            encoder = f"run {job.spec.encoder_run}"
        title = f"Accuracy against the share of the pictures{qualifier}"
        recipe = Lines(
            title=title,
            subtitle=f"{_say_mlp(job.spec, number)} · {encoder} · {job.spec.sweep_epochs} epochs",
            x_label="training pictures, percent",
            y_label="accuracy of the best epoch",
            series=[
                _make_series(job, sweep, start, part, group)
                for group, start in enumerate(starts)
                for part in ("train", "val")
            ],
        )
        name = f"figure-{number}-fractions"
        numbers = Numbers(*q4_tables.tell_sweep(sweep, starts))
        drawings.append(
            Drawing(number=number, title=f"{title}, {encoder}", pictures={name: recipe},
                    numbers={name: numbers})
        )  # fmt: skip
    return drawings


def _make_series(
    job: Finished[Q4Spec], sweep: Sweep, start: Start, part: str, group: int
) -> Series:
    """One line: the shares at which every seed has finished."""
    runs = {
        p: by_seed for p, by_seed in sweep[start].items() if len(by_seed) == len(job.spec.seeds)
    }
    return Series(
        label=f"{LABELS[start]}, {'training' if part == 'train' else 'validation'}",
        x=[float(percent) for percent in runs],
        y=[
            [by_seed[seed].summary[f"{part}_accuracy"] for by_seed in runs.values()]
            for seed in job.spec.seeds
        ],
        group=group,
        dashed=part == "train",
    )


def _say_mlp(spec: Q4Spec, number: str) -> str:
    mlp = spec.mlp if number == "16" else spec.own_mlp
    optimiser = shared.name_optimiser(mlp.optimiser)
    return " · ".join([
        shared.name_data(spec.dataset, spec.half),
        f"perceptron {'-'.join(map(str, mlp.model.sizes))}, {mlp.model.output}",
        f"{optimiser}, batch {mlp.batch_size}",
    ])  # fmt: skip


_WHOSE = {"report": "the report's autoencoder", "own": "our own autoencoder"}


def _describe(outcome: RunOutcome) -> str:
    training = outcome.training
    assert isinstance(training, AutoencoderTraining)  # noqa: S101 - asked of autoencoders alone
    return " · ".join([
        q4_tables.name_autoencoder(training),
        f"mse {outcome.summary['train_mse']:.4f}",
        shared.name_seeds([outcome]),
    ])  # fmt: skip


def _names(job: Finished[Q4Spec]) -> list[str]:
    return [class_name(job.spec.dataset, index) for index in range(ALL_CLASSES)]


def _draw_reconstructions(
    job: Finished[Q4Spec], encoders: dict[Any, list[RunOutcome]], qualifier: str
) -> list[Drawing]:
    drawings: list[Drawing] = []
    for whose, outcomes in encoders.items():
        title = f"Reconstructions by {_WHOSE[whose]}{qualifier}"
        recipe = Reconstructions(
            title=title,
            subtitle=_describe(outcomes[0]),
            path=job.artifact(outcomes[0].name, RECONSTRUCTIONS_FILE),
            names=_names(job),
        )
        name = f"reconstructions-{whose}"
        drawings.append(Drawing(number=name, title=title, pictures={name: recipe}))
    return drawings


def _draw_codes(
    job: Finished[Q4Spec], encoders: dict[Any, list[RunOutcome]], qualifier: str
) -> list[Drawing]:
    drawings: list[Drawing] = []
    for whose, outcomes in encoders.items():
        title = f"The code of {_WHOSE[whose]} in two dimensions{qualifier}"
        recipe = CodeSpace(
            title=title,
            subtitle=f"{_describe(outcomes[0])} · principal components of the code",
            path=job.artifact(outcomes[0].name, CODES_FILE),
            names=_names(job),
            x_label="first principal component",
            y_label="second principal component",
        )
        name = f"codes-{whose}"
        drawings.append(Drawing(number=name, title=title, pictures={name: recipe}))
    return drawings


def _draw_curves(encoders: dict[Any, list[RunOutcome]], qualifier: str) -> list[Drawing]:
    drawings: list[Drawing] = []
    for whose, outcomes in encoders.items():
        title = f"Mean squared error of {_WHOSE[whose]} by epoch{qualifier}"
        recipe = Curves(
            title=title,
            subtitle=_describe(outcomes[0]),
            quantity="mean squared error",
            curves=shared.make_curves(outcomes, "loss"),
        )
        name = f"autoencoder-curves-{whose}"
        numbers = {name: shared.make_curve_numbers(outcomes, "loss")}
        drawings.append(Drawing(number=name, title=title, pictures={name: recipe}, numbers=numbers))
    return drawings


QUESTION = Question(
    kind="q4",
    spec=Q4Spec,
    about=ABOUT,
    quick={
        "grid": {
            "structures": [_REPORT_STRUCTURE],
            "batch_sizes": [256],
            "learning_rates": [0.001],
        },
        "autoencoder_max_epochs": 3,
        "encoder": {"batch_size": 256, "optimiser": {"learning_rate": 0.001}, "max_epochs": 3},
        "own": {"max_epochs": 3, "batch_size": 256},
        "sweep_epochs": 2,
        "fractions": [10, 50],
        "final": {"random_percent": 10, "pretrained_percent": 20, "max_epochs": 2},
    },
    plan=plan,
    collate=collate,
    references=find_references,
)
