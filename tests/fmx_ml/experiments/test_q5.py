"""Q5: which runs it plans and refuses, what it makes of them, and one small job from end to end."""

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from ml_cases import take_first
from pydantic import ValidationError
from safetensors.numpy import load_file

from fmx_ml.__main__ import run
from fmx_ml.collation import collate
from fmx_ml.data.loader import HalfData, load_half
from fmx_ml.data.sources import DataSources
from fmx_ml.experiments import q5
from fmx_ml.experiments.q5 import Q5Spec
from fmx_ml.files import WEIGHTS_FILE
from fmx_ml.pipelines import common
from fmx_ml.plots.recipes import Lines
from fmx_ml.questions import Collation, Finished, MisfitError
from fmx_ml.requests import named_runs, parse_request, plan
from fmx_ml.results import Comparison, RunOutcome, Table
from fmx_ml.search import Sampling
from fmx_ml.sinks import EpochMetrics, FolderSink
from fmx_ml.specs import AutoencoderSpec, CnnSpec, EarlyStopping, MlpSpec, OptimiserSpec, Preset
from fmx_ml.trainings import (
    AutoencoderTraining,
    CnnTraining,
    MlpTraining,
    PlannedRun,
    Training,
    TrialTraining,
    training_hash,
)

RUN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def plan_spec(references: Mapping[str, Training] | None = None, **fields: Any) -> list[PlannedRun]:
    return list(plan(parse_request({"kind": "q5", "spec": fields}), references))


def by_name(runs: Sequence[PlannedRun]) -> dict[str, PlannedRun]:
    return {planned.name: planned for planned in runs}


def cnn_of(planned: PlannedRun) -> CnnTraining:
    assert isinstance(planned.training, CnnTraining)
    return planned.training


def test_the_report_has_three_trainings_and_three_starts_at_twenty_shares() -> None:
    runs = plan_spec()
    names = [planned.name for planned in runs]
    assert names[:6] == [
        "fmnist2-initial-seed-0",
        "fmnist2-best-seed-0",
        "fmnist1-seed-0",
        "random-005-seed-0",
        "frozen-005-seed-0",
        "fine-tune-005-seed-0",
    ]
    assert len(set(names)) == len(names) == 3 + 3 * 20 - 1
    assert all(re.fullmatch("[a-z0-9-]+", name) for name in names)


def test_the_configurations_are_the_reports() -> None:
    runs = by_name(plan_spec())
    initial, best = cnn_of(runs["fmnist2-initial-seed-0"]), cnn_of(runs["fmnist2-best-seed-0"])
    assert (initial.half, initial.model.conv_layers, initial.model.dense_layers) == ("fm2", 2, 1)
    assert initial.optimiser == OptimiserSpec(name="SGD", learning_rate=0.02)
    assert (best.half, best.model.conv_layers, best.model.dense_layers) == ("fm2", 1, 3)
    assert best.optimiser == OptimiserSpec(name="AdamW", learning_rate=0.005, weight_decay=0.05)
    assert cnn_of(runs["fmnist1-seed-0"]) == best.model_copy(update={"half": "fm1"})


def test_all_pictures_from_a_random_start_are_trained_once() -> None:
    runs = plan_spec(fractions=[50, 100])
    assert "random-100-seed-0" not in by_name(runs)
    hashes = [training_hash(planned.training) for planned in runs]
    assert len(set(hashes)) == len(hashes)


def test_the_starts_of_a_share_differ_in_nothing_else() -> None:
    runs = by_name(plan_spec(seeds=[3], fractions=[35]))
    starts = [cnn_of(runs[f"{start}-035-seed-3"]) for start in ("random", "frozen", "fine-tune")]
    assert [t.transfer and t.transfer.trained for t in starts] == [
        None, "last_layer", "all_layers",
    ]  # fmt: skip
    assert len({training_hash(t.model_copy(update={"transfer": None})) for t in starts}) == 1
    assert (starts[0].half, starts[0].fraction_percent, starts[0].seed) == ("fm1", 35, 3)


def test_each_transfer_starts_from_the_run_it_needs_of_its_seed() -> None:
    runs = by_name(plan_spec(seeds=[0, 1], fractions=[5]))
    for seed in (0, 1):
        source = runs[f"fmnist2-best-seed-{seed}"]
        for start in ("frozen", "fine-tune"):
            planned = runs[f"{start}-005-seed-{seed}"]
            transfer = cnn_of(planned).transfer
            assert planned.needs == (source.name,)
            assert transfer is not None
            assert transfer.source == training_hash(source.training)
        assert runs[f"random-005-seed-{seed}"].needs == ()


def test_starts_can_be_left_out() -> None:
    names = [planned.name for planned in plan_spec(fractions=[5], starts=["fine_tune"])]
    assert names[3:] == ["fine-tune-005-seed-0"]


def test_any_number_of_convolutions_can_be_asked_for() -> None:
    best = {"model": {"conv_layers": 5, "dense_layers": 2, "channels": [4, 4, 8, 8, 8]}}
    runs = by_name(plan_spec(fractions=[5], best=best))
    assert cnn_of(runs["frozen-005-seed-0"]).model.conv_layers == 5


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"fractions": [0, 5]}, ("spec", "fractions", 0)),
        ({"fractions": [5, 101]}, ("spec", "fractions", 1)),
        ({"fractions": []}, ("spec", "fractions")),
        ({"starts": []}, ("spec", "starts")),
        ({"starts": ["random", "thawed"]}, ("spec", "starts", 1)),
        ({"final_percent": 0}, ("spec", "final_percent")),
        ({"source_run": "no id"}, ("spec", "source_run")),
        ({"best": {"model": {"conv_layers": 9}}}, ("spec", "best", "model", "conv_layers")),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_place(
    fields: dict[str, Any], place: tuple[str | int, ...]
) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_request({"kind": "q5", "spec": fields})
    assert [error["loc"] for error in caught.value.errors()] == [place]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"fractions": [10, 5]}, "fractions"),
        ({"fractions": [5, 5]}, "fractions"),
        ({"starts": ["frozen", "frozen"]}, "starts"),
    ],
)
def test_values_that_do_not_fit_are_refused_with_the_field(
    fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_request({"kind": "q5", "spec": fields})
    (error,) = caught.value.errors()
    assert error.get("ctx", {})["field"] == field


def make_cnn(**model: Any) -> CnnTraining:
    """A training whose network is the best one's, but for what is given."""
    training = cnn_of(plan_spec()[1])
    return training.model_copy(update={"model": training.model.model_copy(update=model)})


COMMON: dict[str, Any] = {"seed": 0, "split_seed": 0, "dataset": "fashion-mnist"}
LEARNING: dict[str, Any] = {
    "optimiser": OptimiserSpec(), "batch_size": 10, "max_epochs": 1, "early_stopping": None,
}  # fmt: skip


def test_a_run_to_transfer_from_is_named_to_whoever_looks_it_up() -> None:
    request = parse_request({"kind": "q5", "spec": {"source_run": RUN}})
    assert named_runs(request) == {"source_run": RUN}
    assert named_runs(parse_request({"kind": "q5"})) == {}


def test_a_taken_run_is_what_every_transfer_needs() -> None:
    taken = make_cnn().model_copy(update={"seed": 9, "half": "fm1", "max_epochs": 2})
    runs = plan_spec({RUN: taken}, seeds=[0, 1], fractions=[5], source_run=RUN)
    assert (runs[0].name, runs[0].taken_from, runs[0].training) == ("source-taken", RUN, taken)
    assert [planned.taken_from for planned in runs[1:]] == [None] * 12
    for planned in runs:
        if planned.name.startswith(("frozen", "fine-tune")):
            transfer = cnn_of(planned).transfer
            assert planned.needs == ("source-taken",)
            assert transfer is not None
            assert transfer.source == training_hash(taken)


def test_a_taken_run_may_have_another_dropout_and_training() -> None:
    taken = make_cnn(dropout=0.5).model_copy(update={"optimiser": OptimiserSpec()})
    assert plan_spec({RUN: taken}, source_run=RUN)[0].training == taken


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "is no finished run"),
        (make_cnn(dense_layers=2), "dense_layers is 2, not 3"),
        (make_cnn(conv_layers=2), "conv_layers is 2, not 1, channels is 6-12, not 6"),
        (make_cnn(channels=(8,)), "channels is 8, not 6"),
        (make_cnn(padding="same"), "padding is same, not valid"),
        (make_cnn(batch_norm=True), "batch_norm is True, not False"),
        (
            AutoencoderTraining(**COMMON, **LEARNING, model=AutoencoderSpec()),
            "trained an autoencoder, not a convolutional network",
        ),
        (
            MlpTraining(**COMMON, **LEARNING, half="fm2", model=MlpSpec()),
            "trained a perceptron, not a convolutional network",
        ),
        (
            TrialTraining(
                **COMMON, half="fm2", search=Sampling(), number=0, max_epochs=1,
                early_stopping=EarlyStopping(),
            ),
            "its network was chosen when it started",
        ),
    ],
)  # fmt: skip
def test_a_run_that_does_not_fit_is_refused_with_what_differs(
    source: Training | None, reason: str
) -> None:
    references = {} if source is None else {RUN: source}
    with pytest.raises(MisfitError, match=re.escape(reason)) as caught:
        plan_spec(references, source_run=RUN)
    assert caught.value.field == "source_run"
    assert RUN in caught.value.message


def test_the_models_that_are_said_not_to_fit_differ_in_their_weights() -> None:
    assert q5.say_misfit(make_cnn(channels=(6,), padding="valid"), CnnSpec(
        conv_layers=1, dense_layers=3)) is None  # fmt: skip


# Outcomes made by hand: figures that follow from the run's name, so tables can be checked.

_LEVELS = {"fmnist2": 0.2, "fmnist1": 0.04, "random": 0.05, "frozen": 0.25, "fine": 0.045}


def finish(planned: PlannedRun) -> RunOutcome:
    training = cnn_of(planned)
    level = _LEVELS.get(planned.name.split("-")[0], 0.1)
    wave = 0.004 * (training.seed % 3) + 0.001 * (len(planned.name) % 5)
    loss = level + wave + 0.1 / training.fraction_percent
    history = [
        EpochMetrics(epoch=epoch, train_loss=loss / epoch, train_accuracy=1 - loss / epoch,
                     val_loss=loss + 0.01 * abs(epoch - 2), val_accuracy=1 - loss / 2, seconds=1.0)
        for epoch in (1, 2, 3)
    ]  # fmt: skip
    best = history[1].model_dump(exclude={"epoch", "seconds"})
    last = history[2].model_dump(exclude={"epoch", "seconds"})
    summary = {
        "epochs": 3, "best_epoch": 2, "stopped_early": False, "seconds": 3.0, "device": "cpu",
        **best, "best_weights_train_accuracy": 0.99, "test_loss": loss + 0.01,
        "test_accuracy": 1 - loss / 3,
        "last": {**last, "test_loss": loss + 0.05, "test_accuracy": 1 - loss / 2.5},
        "data": {"dataset": "fashion-mnist", "half": training.half, "checksums": {}},
        "environment": {"torch": "2"},
    }  # fmt: skip
    return RunOutcome(name=planned.name, training=training, history=history, summary=summary)


def finish_all(
    references: Mapping[str, Training] | None = None,
    *,
    preset: Preset = "report",
    keep: Callable[[str], bool] = lambda _: True,
    **fields: Any,
) -> Finished[Q5Spec]:
    runs = plan_spec(references, **fields)
    outcomes = [finish(planned) for planned in runs if keep(planned.name)]
    return Finished(
        preset=preset,
        spec=Q5Spec.model_validate(fields),
        outcomes=outcomes,
        artifact=lambda name, artifact: Path(name) / artifact,
    )


def table_of(made: Collation, name: str) -> Table:
    return next(table for table in made.tables if table.name == name)


def rows_of(table: Table) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def comparisons_of(made: Collation) -> dict[str, Comparison]:
    return {comparison.id: comparison for comparison in made.comparisons}


def figures_of(job: Finished[Q5Spec], prefix: str, name: str) -> list[float]:
    return [outcome.summary[name] for outcome in job.find(prefix)]


THREE: dict[str, Any] = {"seeds": [0, 1, 2], "fractions": [5, 90, 100]}


@pytest.fixture(scope="module")
def finished() -> Finished[Q5Spec]:
    return finish_all(**THREE)


@pytest.fixture(scope="module")
def made(finished: Finished[Q5Spec]) -> Collation:
    return q5.collate(finished)


def test_the_published_figures_stand_beside_ours(made: Collation) -> None:
    published = {name: comparison.published for name, comparison in comparisons_of(made).items()}
    assert published["q5.fmnist2_initial.val_loss"] == 0.188
    assert published["q5.fmnist2_best.test_loss"] == 0.2946
    assert published["q5.fmnist2_best.test_loss_last_epoch"] == 0.2946
    assert published["q5.fmnist1.test_accuracy"] == 0.9832
    assert published["q5.final.random.test_accuracy"] == 0.986
    assert published["q5.final.frozen.test_accuracy"] == 0.9864
    assert published["q5.final.fine_tune.test_accuracy"] == 0.9864
    assert "q5.fmnist2_initial.test_loss" not in published


def test_the_last_epochs_test_figures_are_those_of_the_last_epoch(
    finished: Finished[Q5Spec], made: Collation
) -> None:
    compared = comparisons_of(made)
    best, last = (compared[f"q5.fmnist2_best.test_loss{end}"] for end in ("", "_last_epoch"))
    assert best.ours is not None
    assert best.ours.values == figures_of(finished, "fmnist2-best-", "test_loss")
    assert last.ours is not None
    assert last.ours.mean == pytest.approx(best.ours.mean + 0.04)
    assert {1, 26} <= set(last.errata)


def test_a_doubtful_loss_is_shown_and_not_compared(made: Collation) -> None:
    comparison = comparisons_of(made)["q5.fmnist1.test_loss"]
    assert (comparison.verdict, comparison.published) == ("not_comparable", 0.0068)
    assert 18 in comparison.errata
    rows = {row["figure"]: row for row in rows_of(table_of(made, "fmnist1"))}
    assert rows["test loss"]["published"] == 0.0068
    assert "doubtful" in (table_of(made, "fmnist1").note or "")


def test_all_else_of_the_reports_spec_is_compared(made: Collation) -> None:
    for comparison in made.comparisons:
        if not comparison.id.startswith("q5.fmnist1.test_loss"):
            assert comparison.verdict in {"inside", "outside"}, comparison.id


def barred(made: Collation) -> set[str]:
    """The groups of figures of which none but the doubtful could have been compared."""
    return {
        comparison.id.removeprefix("q5.").rpartition(".")[0]
        for comparison in made.comparisons
        if "differs" in (comparison.reason or "")
    }


FINALS = {"final.random", "final.frozen", "final.fine_tune"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, set[str]()),
        ({"initial": {"batch_size": 50}}, {"fmnist2_initial"}),
        ({"best": {"batch_size": 50}}, {"fmnist2_best", "fmnist1", *FINALS}),
        ({"final_percent": 100}, FINALS),
        ({"max_epochs": 9}, {"fmnist2_initial", "fmnist2_best", "fmnist1", *FINALS}),
    ],
)
def test_a_difference_bars_what_it_bears_on(fields: dict[str, Any], expected: set[str]) -> None:
    assert barred(q5.collate(finish_all(**{**THREE, **fields}))) == expected


def test_another_source_bars_the_transfers_alone() -> None:
    taken = make_cnn().model_copy(update={"half": "fm1", "seed": 5})
    made = q5.collate(finish_all({RUN: taken}, **THREE, source_run=RUN))
    assert barred(made) == {"final.frozen", "final.fine_tune"}
    note = table_of(made, "shares").note or ""
    assert f"run {RUN}, Fashion-MNIST, fm1" in note
    assert table_of(made, "runs").rows[0][0] == "source-taken"
    lines = next(iter(made.drawings[-1].pictures.values()))
    assert isinstance(lines, Lines)
    assert "another run" in lines.subtitle


def test_one_seed_is_said_to_have_no_spread() -> None:
    made = q5.collate(finish_all(fractions=[90]))
    reasons = {comparison.reason for comparison in made.comparisons}
    assert "one run has no spread: ask for two seeds or more" in reasons
    assert "agrees better" in (table_of(made, "final").note or "")
    assert all(row["val_loss_low"] is None for row in rows_of(table_of(made, "differences")))


def test_the_note_says_which_reading_of_transfer_agrees(made: Collation) -> None:
    note = table_of(made, "final").note or ""
    assert "Fine-tuned transfer agrees better" in note
    compared = comparisons_of(made)
    for start, label in (("frozen", "frozen transfer"), ("fine_tune", "fine-tuned transfer")):
        found = [c for name, c in compared.items() if name.startswith(f"q5.final.{start}.")]
        inside = sum(comparison.verdict == "inside" for comparison in found)
        assert f"Inside the interval of {label}: {inside} of 4." in note


def test_no_reading_is_called_better_where_nothing_is_comparable() -> None:
    made = q5.collate(finish_all(preset="quick", **THREE))
    assert "agrees better" not in (table_of(made, "final").note or "")
    assert all("quick" in (comparison.reason or "") for comparison in made.comparisons)
    titles = [part.title for part in (*made.tables, *made.drawings)]
    assert all("quick" in title for title in titles)


def test_without_the_final_share_the_note_says_so() -> None:
    made = q5.collate(finish_all(fractions=[5, 10]))
    assert "final" not in [table.name for table in made.tables]
    assert "No run has 90%" in (table_of(made, "shares").note or "")


def test_every_start_at_every_share_has_mean_and_deviation(
    finished: Finished[Q5Spec], made: Collation
) -> None:
    rows = rows_of(table_of(made, "shares"))
    assert [(row["percent"], row["start"]) for row in rows[:4]] == [
        (5, "random initialisation"),
        (5, "frozen transfer"),
        (5, "fine-tuned transfer"),
        (90, "random initialisation"),
    ]
    values = figures_of(finished, "frozen-005-", "val_loss")
    assert rows[1]["runs"] == 3
    assert rows[1]["val_loss"] == pytest.approx(fmean(values))
    assert rows[1]["val_loss_std"] == pytest.approx(stdev(values))


def test_the_share_of_all_pictures_is_the_training_on_fm1(
    finished: Finished[Q5Spec], made: Collation
) -> None:
    rows = rows_of(table_of(made, "shares"))
    row = next(row for row in rows if (row["percent"], row["start"]) == (
        100, "random initialisation"))  # fmt: skip
    values = figures_of(finished, "fmnist1-", "test_accuracy")
    assert row["test_accuracy"] == pytest.approx(fmean(values))


def test_differences_are_paired_by_seed(made: Collation) -> None:
    """Seeds move all starts alike here, so the difference has no spread though the starts have."""
    rows = rows_of(table_of(made, "differences"))
    row = next(row for row in rows if (row["percent"], row["start"]) == (90, "frozen transfer"))
    assert row["pairs"] == 3
    assert row["val_loss"] == pytest.approx(0.2)
    assert row["val_loss_low"] == pytest.approx(0.2)
    assert row["val_loss_high"] == pytest.approx(0.2)
    assert {row["start"] for row in rows} == {"frozen transfer", "fine-tuned transfer"}


def test_the_interval_is_that_of_the_mean_difference(finished: Finished[Q5Spec]) -> None:
    shifts = {0: 0.0, 1: 0.01, 2: 0.05}
    outcomes = [
        outcome.model_copy(update={"summary": {
            **outcome.summary,
            "val_loss": outcome.summary["val_loss"] + shifts[outcome.training.seed],
        }}) if outcome.name.startswith("fine-tune-090") else outcome
        for outcome in finished.outcomes
    ]  # fmt: skip
    made = q5.collate(replace(finished, outcomes=outcomes))
    rows = rows_of(table_of(made, "differences"))
    row = next(row for row in rows if (row["percent"], row["start"]) == (90, "fine-tuned transfer"))
    half = 4.303 * stdev(shifts.values()) / 3**0.5  # Student's t of two degrees of freedom
    assert row["val_loss_high"] - row["val_loss"] == pytest.approx(half)
    assert row["val_loss"] - row["val_loss_low"] == pytest.approx(half)


def test_without_a_random_start_there_are_no_differences() -> None:
    made = q5.collate(finish_all(fractions=[90], starts=["frozen"]))
    assert "differences" not in [table.name for table in made.tables]
    assert "Transferred weights" in (table_of(made, "shares").note or "")


def find_lines(made: Collation, name: str) -> Lines:
    recipe = made.drawings[-1].pictures[name]
    assert isinstance(recipe, Lines)
    return recipe


def test_figure_20_has_a_line_a_start(finished: Finished[Q5Spec], made: Collation) -> None:
    assert [drawing.number for drawing in made.drawings] == ["17", "18", "19", "20"]
    lines = find_lines(made, "figure-20-val-loss")
    assert [series.label for series in lines.series] == [
        "random initialisation", "frozen transfer", "fine-tuned transfer",
    ]  # fmt: skip
    assert all(series.x == [5, 90, 100] for series in lines.series)
    at_90 = [line[1] for line in lines.series[1].y]
    assert at_90 == figures_of(finished, "frozen-090-", "val_loss")


def test_a_job_of_which_little_succeeded_shows_that() -> None:
    made = q5.collate(finish_all(keep=lambda name: name.startswith("fmnist2-initial"), **THREE))
    assert [table.name for table in made.tables] == ["fmnist2_initial", "runs"]
    assert [drawing.number for drawing in made.drawings] == ["17"]


def test_a_seed_whose_source_failed_is_left_out_of_the_transfers() -> None:
    lost = {"fmnist2-best-seed-1"}
    job = finish_all(
        keep=lambda name: name not in lost and not re.match("(frozen|fine).*seed-1", name), **THREE
    )
    made = q5.collate(job)
    random, frozen, _ = find_lines(made, "figure-20-test-accuracy").series
    assert (len(random.y), len(frozen.y)) == (3, 2)
    assert frozen.x == [5, 90, 100]
    pairs = {row["pairs"] for row in rows_of(table_of(made, "differences"))}
    assert pairs == {2}


def test_a_share_that_one_seed_lacks_is_left_out_of_the_line() -> None:
    made = q5.collate(finish_all(keep=lambda name: name != "frozen-090-seed-2", **THREE))
    _, frozen, tuned = find_lines(made, "figure-20-val-loss").series
    assert (frozen.x, len(frozen.y)) == ([5, 100], 3)
    assert tuned.x == [5, 90, 100]
    numbers = made.drawings[-1].numbers["figure-20"]
    assert len(numbers.rows) == 3 * 3 * 3 - 1


def test_pictures_and_numbers_are_written(finished: Finished[Q5Spec], tmp_path: Path) -> None:
    results = collate(
        "q5", "report", finished.spec, finished.outcomes, FolderSink(tmp_path), finished.artifact
    )
    for figure in results.figures:
        for artifact in figure.artifacts:
            assert (tmp_path / artifact).stat().st_size > 100
    with (tmp_path / "figure-20.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows if (row["start"], row["percent"]) == ("random", "100")} == {
        "fmnist1-seed-0", "fmnist1-seed-1", "fmnist1-seed-2",
    }  # fmt: skip
    assert [e.number for e in results.errata if e.number in {18, 19, 20, 25, 26, 27}] == [
        18, 19, 20, 25, 26, 27,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(sources: DataSources, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real job of a few pictures."""

    @cache
    def load_few(*arguments: Any) -> HalfData:
        data = load_half(*arguments)
        parts = {"train": 100, "val": 20, "test": 20}
        return replace(data, **{part: take_first(getattr(data, part), count)
                                for part, count in parts.items()})  # fmt: skip

    folder = tmp_path_factory.mktemp("q5")
    spec = {"dataset": "synthetic", "fractions": [20], "final_percent": 20, "max_epochs": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common, "load_half", load_few)
        run(parse_request({"kind": "q5", "spec": spec}), folder, sources, 1)
    return folder


def test_a_frozen_start_keeps_all_but_the_last_layer_of_its_source(trained: Path) -> None:
    source, frozen, tuned, random = (
        load_file(trained / f"{name}-seed-0" / WEIGHTS_FILE)
        for name in ("fmnist2-best", "frozen-020", "fine-tune-020", "random-020")
    )
    same = {name for name in source if (source[name] == frozen[name]).all()}
    assert same == {name for name in source if not name.startswith("fc3.")}
    for other in (tuned, random):
        assert not (source["conv1.weight"] == other["conv1.weight"]).all()


def test_a_share_is_what_a_run_learnt_from(trained: Path) -> None:
    summaries = {
        path.parent.name: json.loads(path.read_text()) for path in trained.glob("*/summary.json")
    }
    assert summaries["random-020-seed-0"]["num_train"] == 100
    assert summaries["frozen-020-seed-0"]["num_train"] == 100
    assert summaries["fmnist1-seed-0"]["num_train"] == 500
    assert summaries["fmnist2-best-seed-0"]["data"]["half"] == "fm2"


def test_synthetic_data_are_said_everywhere(trained: Path) -> None:
    results = json.loads((trained / "results.json").read_text())
    assert len(results["tables"]) == 7
    assert all("synthetic data" in part["title"]
               for part in (*results["tables"], *results["figures"]))  # fmt: skip
