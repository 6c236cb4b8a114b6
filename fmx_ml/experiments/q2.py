"""Q2: configurations compared, from a list, a grid or a search (report, section 2; figure 4)."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from fmx_ml.experiments import q2_tables, shared
from fmx_ml.experiments.q2_tables import Model
from fmx_ml.plots.recipes import Curves, CurveSheet, Lines, Panel, Recipe, Series
from fmx_ml.questions import Collation, Drawing, Finished, Numbers, Question, References
from fmx_ml.search import MAX_TRIALS, GridSpec, SearchSpec
from fmx_ml.specs import (
    CnnConfiguration,
    CnnSpec,
    CommonSpec,
    EarlyStopping,
    Epochs,
    Half,
    OptimiserSpec,
    Percent,
    misfit,
)
from fmx_ml.trainings import PlannedRun, TrialTraining

ABOUT = """\
Ten configurations of the first question's network are trained alike: one convolution or two, two
dense layers or three, three optimisers, several learning rates and weight decays. Each is stopped
by its own validation loss. The choice among them is made by validation loss and by validation
accuracy, and the test set is asked once, what it says of that choice.

The report picked its configurations by hand and wished for a search. A job of this kind can also
take a list or a grid of configurations, or search a space, wider than the report's if asked, by
grid, at random, or with a tree-structured Parzen estimator, within a budget of trials. A search
sees validation figures only."""


def _row(conv: int, dense: int, name: Any, rate: float, decay: float = 0.0) -> CnnConfiguration:
    return CnnConfiguration(
        model=CnnSpec(conv_layers=conv, dense_layers=dense),
        optimiser=OptimiserSpec(name=name, learning_rate=rate, weight_decay=decay),
    )


_WAYS = ("models", "grid", "search")

TABLE_3 = (
    _row(1, 2, "SGD", 0.02),
    _row(1, 2, "SGD", 0.005),
    _row(1, 2, "SGD", 0.0005),
    _row(2, 2, "SGD", 0.005),
    _row(2, 3, "SGD", 0.005),
    _row(2, 2, "SGD", 0.005, 0.01),
    _row(1, 2, "Adam", 0.005),
    _row(1, 2, "AdamW", 0.005, 0.01),
    _row(1, 2, "AdamW", 0.005, 0.05),
    _row(2, 2, "AdamW", 0.005, 0.01),
)
"""The report's ten configurations (table 3)."""


class Q2Spec(CommonSpec):
    """Q2: ten configurations of the convolutional network compared."""

    half: Half = Field(
        default="fm1",
        description="Half of the classes: fm1 (0 1 4 5 8) or fm2 (2 3 6 7 9); of a registered data "
        "set its first or its second half.",
    )
    grid: GridSpec | None = Field(default=None, description="Every combination of some lists.")
    search: SearchSpec | None = Field(default=None, description="A search within a budget.")
    models: Annotated[tuple[CnnConfiguration, ...], Field(min_length=1, max_length=100)] | None = (
        Field(default=None, description="A list; the report's ten if there is nothing else.")
    )
    max_epochs: Epochs = 300
    early_stopping: EarlyStopping | None = EarlyStopping()
    fraction_percent: Percent = 100

    @model_validator(mode="before")
    @classmethod
    def _take_the_ten(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and all(data.get(way) is None for way in _WAYS):
            return {**data, "models": TABLE_3}
        return data

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in _WAYS if getattr(self, name) is not None]
        if len(given) != 1:
            raise misfit("models", f"give one of models, grid and search, not {len(given)}")
        if self.search is not None and len(self.seeds) > 1:
            raise misfit("seeds", "a search takes one seed: it draws its trials from it")
        if self.grid is not None:
            num_runs = self.count_runs()
            if num_runs > MAX_TRIALS:
                raise misfit("grid", f"the grid makes {num_runs} runs, {MAX_TRIALS} at most")
        return self

    def count_runs(self) -> int:
        """The runs of a job, counted and not built."""
        if self.search is not None:
            return self.search.num_trials
        if self.grid is not None:
            return (self.grid.count() or 0) * len(self.seeds)
        return len(self.models or ()) * len(self.seeds)

    def configurations(self) -> tuple[CnnConfiguration, ...]:
        """What is compared; a search's configurations are not known before it runs."""
        if self.grid is not None:
            return self.grid.configurations()
        return self.models or ()


def plan(spec: Q2Spec, _references: References) -> tuple[PlannedRun, ...]:
    """One run a configuration and seed, or one a trial."""
    if spec.search is not None:
        return _plan_search(spec, spec.search)
    return tuple(
        PlannedRun(
            name=f"model-{number}-seed-{seed}",
            training=shared.make_configured_training(spec, configuration, seed),
        )
        for number, configuration in enumerate(spec.configurations(), start=1)
        for seed in spec.seeds
    )


def _plan_search(spec: Q2Spec, search: SearchSpec) -> tuple[PlannedRun, ...]:
    """A trial needs all trials of the generations before its own, where it learns from them."""
    names = [f"trial-{number}" for number in range(1, search.num_trials + 1)]
    learns = search.pruning or search.method == "tpe"
    return tuple(
        PlannedRun(
            name=name,
            training=TrialTraining(
                seed=spec.seeds[0],
                split_seed=spec.split_seed,
                dataset=spec.data,
                half=spec.half,
                search=search.sampling,
                number=number,
                max_epochs=spec.max_epochs,
                early_stopping=spec.early_stopping,
                fraction_percent=spec.fraction_percent,
            ),
            needs=tuple(names[: number - number % search.abreast]) if learns else (),
        )
        for number, name in enumerate(names)
    )


def collate(job: Finished[Q2Spec]) -> Collation:
    """The table of configurations, the choice, the curves of each and of all."""
    qualifier = shared.qualify(job.preset, job.spec)
    models = group_models(job)
    if job.spec.search is not None:
        return _collate_search(job, job.spec.search, models, qualifier)
    comparisons = q2_tables.make_comparisons(job.preset, job.spec, models, TABLE_3)
    return Collation(
        tables=[
            *q2_tables.tabulate_table_3(models, comparisons, qualifier),
            q2_tables.tabulate_models(models, qualifier),
            q2_tables.tabulate_choice(models, qualifier),
            *q2_tables.tabulate_statements(models, comparisons, qualifier),
            shared.tabulate_runs(
                job.outcomes,
                f"Each run{qualifier}",
                f"Figures of the best epoch; at most {job.spec.max_epochs} epochs.",
            ),
        ],
        drawings=[_draw_sheet(job, models, qualifier)],
        comparisons=[c for found in comparisons.values() for c in found.values()],
    )


def group_models(job: Finished[Q2Spec]) -> list[Model]:
    """The configurations with a finished run, in the order in which they were listed."""
    prefix = "trial" if job.spec.search is not None else "model"
    by_number = shared.group(job.outcomes, lambda outcome: int(outcome.name.split("-")[1]))
    return [
        Model(number=number, label=f"{prefix} {number}", outcomes=outcomes)
        for number, outcomes in sorted(by_number.items())
    ]


def _draw_sheet(job: Finished[Q2Spec], models: Sequence[Model], qualifier: str) -> Drawing:
    """Figure 4: all on one page, then loss and accuracy of each."""
    title = f"Loss and accuracy of each configuration{qualifier}"
    data = shared.name_data(job.spec.data, job.spec.half)
    shown = [model for model in models if model.has_curves]
    sheet = CurveSheet(
        title=title,
        subtitle=f"{data} · {shared.name_seeds(job.outcomes)}",
        panels=[
            Panel(
                label=f"{model.number}: {model.describe()}",
                loss=shared.make_curves(model.outcomes, "loss"),
                accuracy=shared.make_curves(model.outcomes, "accuracy"),
            )
            for model in shown
        ],
    )
    pictures: dict[str, Recipe] = {"figure-4-all": sheet}
    for model in shown:
        for quantity in ("loss", "accuracy"):
            pictures[f"figure-4-{model.number:02}-{quantity}"] = Curves(
                title=f"{model.label.capitalize()}: {quantity}{qualifier}",
                subtitle=f"{data} · {model.describe()} · {shared.name_seeds(model.outcomes)}",
                quantity=quantity,
                curves=shared.make_curves(model.outcomes, quantity),
            )
    numbers = {"figure-4-all": shared.make_curve_numbers(job.outcomes, "loss", "accuracy")}
    return Drawing(number="4", title=title, pictures=pictures, numbers=numbers)


def _collate_search(
    job: Finished[Q2Spec], search: SearchSpec, models: Sequence[Model], qualifier: str
) -> Collation:
    shown = [model for model in models if model.has_curves]
    drawings = [_draw_search(job, search, shown, qualifier), _draw_sheet(job, models, qualifier)]
    return Collation(
        tables=[
            q2_tables.tabulate_trials(models, qualifier),
            *([q2_tables.tabulate_choice(shown, qualifier)] if shown else []),
        ],
        drawings=drawings if shown else [],
    )


def _draw_search(
    job: Finished[Q2Spec], search: SearchSpec, models: Sequence[Model], qualifier: str
) -> Drawing:
    """Each trial's validation loss, and the lowest so far."""
    numbers = [float(model.number) for model in models]
    losses = [fmean(model.values("val_loss")) for model in models]
    lowest = [min(losses[: count + 1]) for count in range(len(losses))]
    title = f"Validation loss by trial{qualifier}"
    recipe = Lines(
        title=title,
        subtitle=f"{shared.name_data(job.spec.data, job.spec.half)} · {_say_search(search)}",
        x_label="trial",
        y_label="best validation loss",
        series=[
            Series(label="each trial", x=numbers, y=[losses], group=0),
            Series(label="lowest so far", x=numbers, y=[lowest], group=1),
        ],
        log_y=True,
    )
    rows = [list(row) for row in zip(numbers, losses, lowest, strict=True)]
    return Drawing(
        number="search",
        title=title,
        pictures={"figure-search": recipe},
        numbers={"figure-search": Numbers(["trial", "val_loss", "lowest_so_far"], rows)},
    )


def _say_search(search: SearchSpec) -> str:
    pruning = "with pruning" if search.pruning else "without pruning"
    return f"{search.method} {pruning}, {search.num_trials} trials"


QUESTION = Question(
    kind="q2",
    spec=Q2Spec,
    about=ABOUT,
    quick={"max_epochs": 3, "fraction_percent": 20},
    plan=plan,
    collate=collate,
    fewest=Q2Spec.count_runs,
)
