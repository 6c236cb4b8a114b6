"""Q4: an autoencoder pre-trains a perceptron (report, section 4; table 4, figure 16)."""

from collections.abc import Iterator, Sequence
from typing import Any

from fmx_ml.experiments import q4_autoencoders, q4_drawings, q4_tables, shared, sweeps
from fmx_ml.experiments.q4_autoencoders import Whose
from fmx_ml.experiments.q4_spec import (
    REPORT_STRUCTURE,
    AutoencoderConfiguration,
    FinalSpec,
    MlpConfiguration,
    Q4Spec,
    say_sizes,
)
from fmx_ml.experiments.q4_tables import LABELS, Start, Sweep
from fmx_ml.experiments.shared import Outcomes
from fmx_ml.questions import Collation, Finished, MisfitError, Question, References
from fmx_ml.results import Comparison, RunOutcome
from fmx_ml.specs import Dataset, OptimiserSpec, OwnDataset
from fmx_ml.trainings import (
    AutoencoderTraining,
    MlpTraining,
    PlannedRun,
    Training,
    training_hash,
)

ABOUT = """\
Sixty autoencoders compress pictures to ten numbers and back: four stacks of dense layers, five
batch sizes, three learning rates. They learn from all pictures of the second half of the classes
and the training pictures of the first. They are ranked by the mean squared error of a pixel; the
report's own measure, that error over the batch size, stands beside it. An autoencoder whose code
is dead, or that does no better than one picture for all, is called collapsed.

A perceptron with the layers of an encoder then learns the five classes of the first half from 5% to
100% of its training pictures, once from random weights and once from copies of the encoder's. The
report sets the first at 30% beside the second at 100%; here both are also compared at every share,
in pairs with the same pictures in the same order.

The report's encoder is doubtful: its error is no better than that of one grey picture for all. So
the comparison is made a second time with an autoencoder of our own, which learns longer and from
pixels that its sigmoid can reach, and with perceptrons that end in plain logits. Any finished
autoencoder can take the place of the report's."""

_GRID_PREFIX, _OWN_PREFIX, _TAKEN = "autoencoder-", "own-autoencoder-", "encoder-taken"


def find_references(spec: Q4Spec) -> dict[str, str]:
    """The autoencoder run to start from, where it is another job's."""
    return {"encoder_run": spec.encoder_run} if spec.encoder_run is not None else {}


def plan(spec: Q4Spec, references: References) -> tuple[PlannedRun, ...]:
    """Per seed the autoencoders, then the perceptrons that start from them or from chance.

    Raises:
        MisfitError: the run to start from is not there, or its encoder does not fit; or the
            perceptrons have fewer outputs than there are classes.
    """
    for place, mlp in (("mlp", spec.mlp), ("own_mlp", spec.own_mlp)):
        shared.check_outputs(f"{place}.model.structure", mlp.model, spec.data, spec.half)
    taken = _take_encoder(spec, references)
    runs = [] if taken is None else [taken]
    for seed in spec.seeds:
        runs += _plan_seed(spec, seed, taken)
    return tuple(runs)


def _plan_seed(spec: Q4Spec, seed: int, taken: PlannedRun | None) -> list[PlannedRun]:
    grid = list(_plan_grid(spec, seed))
    encoder = taken or _plan_encoder(spec, seed, grid)
    runs = grid if encoder in [*grid, taken] else [*grid, encoder]
    pairs = [*_plan_pairs(spec, spec.mlp, seed, ("random", "report"), encoder)]
    if spec.own is not None:
        training = _make_training(spec, spec.own, seed)
        own = PlannedRun(name=f"{_OWN_PREFIX}seed-{seed}", training=training)
        runs = [*runs, own]
        pairs += _plan_pairs(spec, spec.own_mlp, seed, ("own_random", "own"), own)
    finals = _plan_finals(spec, spec.final, seed, encoder) if spec.final is not None else ()
    return [*runs, *pairs, *finals]


def _plan_grid(spec: Q4Spec, seed: int) -> Iterator[PlannedRun]:
    for number, (model, batch_size, rate) in enumerate(spec.grid.configurations(), start=1):
        configuration = AutoencoderConfiguration(
            model=model,
            optimiser=OptimiserSpec(name="Adam", learning_rate=rate),
            batch_size=batch_size,
            max_epochs=spec.autoencoder_max_epochs,
            early_stopping=spec.autoencoder_early_stopping,
        )
        training = _make_training(spec, configuration, seed)
        yield PlannedRun(name=f"{_GRID_PREFIX}{number:02}-seed-{seed}", training=training)


def _make_training(
    spec: Q4Spec, configuration: AutoencoderConfiguration, seed: int
) -> AutoencoderTraining:
    fields = {name: getattr(configuration, name) for name in type(configuration).model_fields}
    return AutoencoderTraining.model_validate(
        {**fields, "seed": seed, "split_seed": spec.split_seed, "dataset": spec.data}
    )


def _plan_encoder(spec: Q4Spec, seed: int, grid: Sequence[PlannedRun]) -> PlannedRun:
    """The run whose encoder the perceptrons start from: one of the grid where it is there."""
    training = _make_training(spec, spec.encoder, seed)
    found = [run for run in grid if run.training == training]
    return found[0] if found else PlannedRun(name=f"encoder-seed-{seed}", training=training)


def _take_encoder(spec: Q4Spec, references: References) -> PlannedRun | None:
    run = spec.encoder_run
    if run is None:
        return None
    training = references.get(run)
    reason = say_misfit(training, spec)
    if training is None or reason is not None:
        raise MisfitError("encoder_run", f"{run} {reason}")
    return PlannedRun(name=_TAKEN, training=training, taken_from=run)


def say_misfit(source: Training | None, spec: Q4Spec) -> str | None:
    """Why perceptrons can't start from a run, if they can't, said of the run."""
    if source is None:
        return "is no finished run"
    if not isinstance(source, AutoencoderTraining):
        return "trained no autoencoder"
    if source.model.structure != spec.mlp.model.structure:
        theirs, ours = say_sizes(source.model), say_sizes(spec.mlp.model)
        return f"has an encoder {theirs}, which does not fit the perceptron {ours}"
    if source.dataset != spec.data:
        return f"learnt {_identify(source.dataset)}, not {_identify(spec.data)}"
    if source.split_seed != spec.split_seed:
        return (f"learnt pictures that are held out here: "
                f"its split_seed is {source.split_seed}, not {spec.split_seed}")  # fmt: skip
    return None


def _identify(dataset: Dataset) -> str:
    """The data set's name, and which of several that had it in turn."""
    return f"{dataset.name} ({dataset.sha256:.12})" if isinstance(dataset, OwnDataset) else dataset


def _plan_pairs(
    spec: Q4Spec, mlp: MlpConfiguration, seed: int, pair: tuple[Start, Start], encoder: PlannedRun
) -> Iterator[PlannedRun]:
    """At each share a perceptron from random weights and one from the encoder's."""
    for percent in spec.fractions:
        for start in pair:
            yield _plan_mlp(
                spec, mlp, seed, percent, encoder,
                name=name_run(start, percent, seed),
                pretrained=start == pair[1],
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
        dataset=spec.data,
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
    spec, qualifier = job.spec, shared.qualify(job.preset, job.spec)
    grid = q4_autoencoders.rank(job.find(_GRID_PREFIX))
    encoders = find_encoders(job, grid)
    sweep = gather(job)
    errors = q4_autoencoders.compare_error(
        find_reports(job), encoders.get("report", ()), job.preset, spec
    )
    finals = _compare_finals(job)
    return Collation(
        tables=[
            *q4_autoencoders.tabulate_grid(grid, qualifier),
            *q4_autoencoders.tabulate_error(errors, qualifier),
            *q4_autoencoders.tabulate_encoders(encoders, spec, qualifier),
            *q4_tables.tabulate_table_4(finals, qualifier),
            *q4_tables.tabulate_sweep(sweep, spec, qualifier),
            *q4_autoencoders.tabulate_runs(job.outcomes, qualifier),
            *q4_tables.tabulate_runs(job.outcomes, spec, qualifier),
        ],
        drawings=[
            *q4_drawings.draw_sweep(job, sweep, qualifier),
            *q4_drawings.draw_encoders(job, encoders, qualifier),
        ],
        comparisons=[c for rows in (errors, *finals.values()) for c in rows.values()],
    )


def _compare_finals(job: Finished[Q4Spec]) -> dict[Start, dict[str, Comparison]]:
    starts: tuple[Start, ...] = ("random", "report")
    return {
        start: q4_tables.compare_final(start, found, job.preset, job.spec)
        for start in starts
        if (found := job.find(f"final-{start}-"))
    }


def find_encoders(job: Finished[Q4Spec], ranked: Sequence[Outcomes]) -> dict[Whose, Outcomes]:
    """The autoencoders that are looked at: the perceptrons', the grid's best, our own."""
    found: dict[Whose, Outcomes] = {}
    if encoder := job.find(_TAKEN) or _find_trained(job, job.spec.encoder):
        found["report"] = encoder
    if ranked and ranked[0] != encoder:
        found["grid"] = ranked[0]
    if own := job.find(_OWN_PREFIX):
        found["own"] = own
    return found


def find_reports(job: Finished[Q4Spec]) -> list[RunOutcome]:
    """The autoencoders that were trained exactly as the report's best."""
    return _find_trained(job, AutoencoderConfiguration())


def _find_trained(
    job: Finished[Q4Spec], configuration: AutoencoderConfiguration
) -> list[RunOutcome]:
    """The outcome of a configuration for each seed that has one."""
    wanted = [_make_training(job.spec, configuration, seed) for seed in job.spec.seeds]
    found = [[o for o in job.outcomes if o.training == training] for training in wanted]
    return [outcomes[0] for outcomes in found if outcomes]


def gather(job: Finished[Q4Spec]) -> Sweep:
    """The finished perceptrons of each start, by percent and seed."""
    spec = job.spec
    return sweeps.gather(job.outcomes, LABELS, spec.fractions, spec.seeds, name_run)


QUESTION = Question(
    kind="q4",
    spec=Q4Spec,
    about=ABOUT,
    quick={
        "grid": {
            "structures": [REPORT_STRUCTURE],
            "batch_sizes": [256],
            "learning_rates": [0.001],
        },
        "autoencoder_max_epochs": 2,
        "encoder": {"batch_size": 256, "optimiser": {"learning_rate": 0.001}, "max_epochs": 2},
        "own": {"max_epochs": 2, "batch_size": 256},
        "sweep_epochs": 2,
        "fractions": [5, 20],
        "final": {"random_percent": 10, "pretrained_percent": 20, "max_epochs": 2},
    },
    plan=plan,
    collate=collate,
    references=find_references,
    fewest=Q4Spec.count_fewest,
)
