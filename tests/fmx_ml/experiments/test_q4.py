"""Q4: what it takes and refuses, the runs that it plans, its tables and figures."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from safetensors.numpy import save

from fmx_ml.collation import collate
from fmx_ml.experiments.q4 import QUESTION, Q4Spec
from fmx_ml.files import CODES_FILE, RECONSTRUCTIONS_FILE
from fmx_ml.plots.recipes import CodeSpace, Lines
from fmx_ml.published import list_errata
from fmx_ml.questions import Collation, Finished, MisfitError
from fmx_ml.requests import named_runs, parse_request, plan
from fmx_ml.results import Results, RunOutcome, Table, prediction_interval, spread
from fmx_ml.sinks import EpochMetrics, FolderSink
from fmx_ml.specs import Preset
from fmx_ml.trainings import (
    AutoencoderTraining,
    CnnTraining,
    MlpTraining,
    PlannedRun,
    Training,
    training_hash,
)

RUN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
OTHER_LAYERS = [[784, 64], [64, 10]]


def plan_of(references: Mapping[str, Training] | None = None, **fields: Any) -> list[PlannedRun]:
    return list(plan(parse_request({"kind": "q4", "spec": fields}), references))


def refuse(**fields: Any) -> list[dict[str, Any]]:
    with pytest.raises(ValidationError) as caught:
        parse_request({"kind": "q4", "spec": fields})
    return [dict(problem) for problem in caught.value.errors()]


def autoencoder_of(**changes: Any) -> AutoencoderTraining:
    training = plan_of()[0].training
    return AutoencoderTraining.model_validate({**training.model_dump(), **changes})


class TestPlan:
    def test_the_reports_grid_of_sixty(self) -> None:
        runs = [run for run in plan_of() if run.name.startswith("autoencoder-")]
        trainings = [run.training for run in runs]
        assert len(set(map(training_hash, trainings))) == 60
        assert runs[0].name == "autoencoder-01-seed-0"
        sizes = set[str]()
        for training in trainings:
            assert isinstance(training, AutoencoderTraining)
            assert training.optimiser.name == "Adam"
            assert training.normalise == "report"
            assert training.max_epochs == 200
            assert training.early_stopping is not None
            assert training.early_stopping.divide_by_batch_size
            sizes.add("-".join(map(str, training.model.sizes)))
        assert len(sizes) == 4
        assert "784-512-256-128-64-32-10" in sizes

    def test_every_share_has_four_starts(self) -> None:
        names = [run.name for run in plan_of()]
        for percent in range(5, 101, 5):
            for start in ("random", "report", "own-random", "own"):
                assert f"mlp-{start}-{percent:03}-seed-0" in names
        assert len(names) == len(set(names)) == 60 + 1 + 80 + 2

    def test_every_needed_run_stands_before_with_the_hash_that_is_named(self) -> None:
        done: dict[str, str] = {}
        for run in plan_of(seeds=[0, 1]):
            assert set(run.needs) <= set(done)
            if isinstance(run.training, MlpTraining):
                wanted = [done[name] for name in run.needs]
                assert wanted == ([run.training.encoder] if run.training.encoder else [])
            done[run.name] = training_hash(run.training)

    def test_the_reports_best_is_the_encoder_and_one_of_the_grid(self) -> None:
        runs = {run.name: run for run in plan_of()}
        (needed,) = runs["mlp-report-050-seed-0"].needs
        training = runs[needed].training
        assert isinstance(training, AutoencoderTraining)
        assert training.model.sizes == (784, 128, 64, 32, 10)
        assert (training.batch_size, training.optimiser.learning_rate) == (32, 0.01)
        assert not [name for name in runs if name.startswith("encoder-")]

    def test_an_encoder_that_the_grid_lacks_gets_a_run(self) -> None:
        runs = {run.name: run for run in plan_of(encoder={"batch_size": 64}, seeds=[3])}
        assert runs["mlp-report-050-seed-3"].needs == ("encoder-seed-3",)
        assert runs["encoder-seed-3"].training.model_dump()["batch_size"] == 64

    def test_a_pair_differs_in_its_first_weights_alone(self) -> None:
        runs = {run.name: run for run in plan_of(seeds=[4])}
        for base, start in (("random", "report"), ("own-random", "own")):
            one, other = (runs[f"mlp-{name}-035-seed-4"].training for name in (base, start))
            assert other.model_dump() | {"encoder": None} == one.model_dump()
            assert other != one

    def test_perceptrons_take_pixels_as_their_encoder_does(self) -> None:
        runs = {run.name: run.training.model_dump() for run in plan_of()}
        assert runs["mlp-report-050-seed-0"]["normalise"] == "report"
        assert runs["mlp-own-050-seed-0"]["normalise"] == "unit"
        assert runs["mlp-own-random-050-seed-0"]["normalise"] == "unit"

    def test_the_finals_are_those_of_table_4(self) -> None:
        runs = {run.name: run.training.model_dump() for run in plan_of()}
        random, pretrained = runs["final-random-seed-0"], runs["final-report-seed-0"]
        assert (random["fraction_percent"], random["encoder"]) == (30, None)
        assert pretrained["fraction_percent"] == 100
        assert pretrained["encoder"] == runs["mlp-report-050-seed-0"]["encoder"]
        assert random["early_stopping"]["on"] == "val_loss"
        assert random["early_stopping"]["divide_by_batch_size"]

    def test_our_own_and_the_finals_can_be_left_out(self) -> None:
        names = [run.name for run in plan_of(own=None, final=None, fractions=[100])]
        assert names[60:] == ["mlp-random-100-seed-0", "mlp-report-100-seed-0"]

    def test_the_quick_preset_is_small(self) -> None:
        runs = plan(parse_request({"kind": "q4", "preset": "quick"}))
        assert len(runs) <= 14
        assert max(run.max_epochs for run in runs) <= 3

    def test_runs_are_counted_before_they_are_made(self) -> None:
        cases: list[dict[str, Any]] = [
            {},
            {"seeds": [0, 1], "own": None},
            {"final": None, "fractions": [10], "encoder": {"batch_size": 64}},
        ]
        for fields in cases:
            spec = parse_request({"kind": "q4", "spec": fields}).spec
            assert isinstance(spec, Q4Spec)
            assert 0 <= spec.count_runs() - len(plan_of(**fields)) <= len(spec.seeds)


class TestEncoderRun:
    def test_its_results_are_taken_over(self) -> None:
        training = autoencoder_of(model={"structure": [[784, 128], [128, 64], [64, 32], [32, 10]]})
        first, *others = plan_of({RUN: training}, encoder_run=RUN, seeds=[0, 1])
        assert (first.name, first.taken_from) == ("encoder-taken", RUN)
        assert first.training == training
        needs = {run.needs for run in others if run.name.startswith(("mlp-report", "final-report"))}
        assert needs == {("encoder-taken",)}

    def test_it_is_named_with_its_place(self) -> None:
        request = parse_request({"kind": "q4", "spec": {"encoder_run": RUN}})
        assert named_runs(request) == {"encoder_run": RUN}
        assert named_runs(parse_request({"kind": "q4"})) == {}

    def test_its_layers_need_not_be_those_of_the_spec_s_encoder(self) -> None:
        training = autoencoder_of(model={"structure": OTHER_LAYERS}, normalise="unit")
        runs = plan_of({RUN: training}, encoder_run=RUN, mlp={"model": {"structure": OTHER_LAYERS}})
        by_name = {run.name: run.training.model_dump() for run in runs}
        assert by_name["mlp-random-050-seed-0"]["normalise"] == "unit"

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            (None, "is no finished run"),
            ({"model": {"structure": OTHER_LAYERS}}, "784-64-10"),
            ({"dataset": "synthetic"}, "learnt synthetic"),
            ({"split_seed": 1}, "held out"),
        ],
    )
    def test_one_that_does_not_fit_is_refused(
        self, changes: dict[str, Any] | None, reason: str
    ) -> None:
        fitting = {"model": {"structure": [[784, 128], [128, 64], [64, 32], [32, 10]]}}
        references = {} if changes is None else {RUN: autoencoder_of(**(fitting | changes))}
        with pytest.raises(MisfitError, match=reason) as caught:
            plan_of(references, encoder_run=RUN)
        assert caught.value.field == "encoder_run"
        assert RUN in caught.value.message

    def test_a_classifier_is_refused(self) -> None:
        classifier = plan(parse_request({"kind": "q1"}))[0].training
        assert isinstance(classifier, CnnTraining)
        with pytest.raises(MisfitError, match="no autoencoder"):
            plan_of({RUN: classifier}, encoder_run=RUN)


class TestRefusals:
    def test_layers_that_do_not_chain_are_refused_at_their_place(self) -> None:
        printed = [[784, 512], [256, 128], [128, 64], [64, 32], [32, 10]]
        problems = refuse(grid={"structures": [OTHER_LAYERS, printed]})
        assert problems[0]["loc"] == ("spec", "grid", "structures", 1)
        assert "[784, 512] leaves 512 numbers, but [256, 128] takes 256" in problems[0]["msg"]

    def test_a_grid_of_a_billion_is_counted(self) -> None:
        thousand = range(1, 1001)
        (problem,) = refuse(
            grid={
                "structures": [[[784, size]] for size in thousand],
                "batch_sizes": list(thousand),
                "learning_rates": [number / 1000 for number in thousand],
            }
        )
        assert problem["loc"] == ("spec", "grid")
        assert "1,000,000,000 autoencoders" in problem["msg"]

    @pytest.mark.parametrize(
        ("fields", "place"),
        [
            ({"fractions": [0]}, ("spec", "fractions", 0)),
            ({"fractions": [101]}, ("spec", "fractions", 0)),
            ({"grid": {"batch_sizes": [0]}}, ("spec", "grid", "batch_sizes", 0)),
            ({"grid": {"learning_rates": [0]}}, ("spec", "grid", "learning_rates", 0)),
            ({"encoder": {"max_epochs": 0}}, ("spec", "encoder", "max_epochs")),
            ({"final": {"random_percent": 0}}, ("spec", "final", "random_percent")),
            ({"encoder_run": "latest"}, ("spec", "encoder_run")),
        ],
    )
    def test_values_out_of_bounds(self, fields: dict[str, Any], place: tuple[str, ...]) -> None:
        assert refuse(**fields)[0]["loc"] == place

    @pytest.mark.parametrize(
        ("fields", "place", "field"),
        [
            ({"fractions": [10, 5]}, ("spec",), "fractions"),
            ({"fractions": [5, 5]}, ("spec",), "fractions"),
            ({"grid": {"batch_sizes": [32, 32]}}, ("spec", "grid"), "batch_sizes"),
            ({"mlp": {"model": {"structure": OTHER_LAYERS}}}, ("spec",), "mlp"),
            ({"own": {"model": {"structure": OTHER_LAYERS}}}, ("spec",), "own_mlp"),
            ({"grid": {"batch_sizes": list(range(1, 41))}, "seeds": list(range(32))},
             ("spec",), "seeds"),
        ],
    )  # fmt: skip
    def test_values_that_do_not_fit_together(
        self, fields: dict[str, Any], place: tuple[str, ...], field: str
    ) -> None:
        (problem,) = refuse(**fields)
        assert problem["loc"] == place
        assert problem["ctx"]["field"] == field


# A finished job, made by hand: what a training would leave, in small.

SPEC: dict[str, Any] = {
    "seeds": [0, 1, 2],
    "grid": {
        "structures": [[[784, 128], [128, 64], [64, 32], [32, 10]]],
        "batch_sizes": [16, 32],
        "learning_rates": [0.01, 0.001],
    },
    "fractions": [10, 50, 100],
}


def finish_autoencoder(run: PlannedRun, training: AutoencoderTraining) -> RunOutcome:
    """The report's collapses, a lower learning rate does better, 0 to 1 is a quarter."""
    is_collapsed = training.optimiser.learning_rate > 0.001
    error = 0.69 if is_collapsed else 0.1 if training.normalise == "unit" else 0.6
    error += 0.001 * training.seed + 0.0001 * training.batch_size
    history = [
        EpochMetrics(epoch=epoch, train_loss=error + 0.1 / epoch, val_loss=error, seconds=1.0)
        for epoch in (1, 2, 3)
    ]
    report_error = error / training.batch_size
    summary = {
        "epochs": 3, "best_epoch": 3, "stopped_early": True, "seconds": 3.0, "device": "cpu",
        "train_mse": error, "val_mse": error + 0.01, "report_error": report_error,
        "last": {"epoch": 3, "report_error": report_error},
        "constant_mse": {"zeros": 0.681, "mean_picture": 0.66}, "code_size": 10,
        "code_explained": [0.6, 0.3],
        "dead_units": 8 if is_collapsed else 1, "collapsed": is_collapsed,
    }  # fmt: skip
    return RunOutcome(name=run.name, training=training, history=history, summary=summary)


def finish_mlp(run: PlannedRun, training: MlpTraining) -> RunOutcome:
    """More pictures help; our own encoder gains 0.01, the report's loses 0.002."""
    accuracy = 0.9 + training.fraction_percent / 2000 + 0.001 * training.seed
    if training.encoder is not None:
        accuracy += (0.01 if training.normalise == "unit" else -0.002) + 0.0005 * training.seed
    figures = {
        "train_accuracy": accuracy + 0.01, "val_accuracy": accuracy,
        "train_loss": 1.49, "val_loss": 1.5,
    }  # fmt: skip
    tested = {"test_loss": 1.5, "test_accuracy": accuracy - 0.01}
    summary = {
        "epochs": 2, "best_epoch": 2, "stopped_early": False, "seconds": 1.0, "device": "cpu",
        "fraction_percent": training.fraction_percent, **figures, **tested, "last": tested,
    }  # fmt: skip
    history = [EpochMetrics(epoch=epoch, seconds=0.5, **figures) for epoch in (1, 2)]
    return RunOutcome(name=run.name, training=training, history=history, summary=summary)


def finish(run: PlannedRun) -> RunOutcome:
    if isinstance(run.training, AutoencoderTraining):
        return finish_autoencoder(run, run.training)
    assert isinstance(run.training, MlpTraining)
    return finish_mlp(run, run.training)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an autoencoder leaves to look at, of random pictures."""
    folder, random = tmp_path_factory.mktemp("arrays"), np.random.default_rng(0)
    pictures = random.random((40, 28, 28), dtype=np.float32)
    labels = np.repeat(np.arange(10), 4)
    reconstructed = {"originals": pictures, "reconstructions": pictures, "labels": labels}
    codes = random.random((40, 2), dtype=np.float32)
    (folder / RECONSTRUCTIONS_FILE).write_bytes(save(reconstructed))
    (folder / CODES_FILE).write_bytes(save({"codes": codes, "labels": labels}))
    return folder


def keep(outcome: RunOutcome) -> RunOutcome | None:
    return outcome


def finish_job(
    *,
    preset: Preset = "report",
    change: Callable[[RunOutcome], RunOutcome | None] = keep,
    references: Mapping[str, Training] | None = None,
    folder: Path = Path(),
    **fields: Any,
) -> Finished[Q4Spec]:
    """A job of such runs; what `change` makes None has failed."""
    request = parse_request({"kind": "q4", "preset": preset, "spec": fields})
    assert isinstance(request.spec, Q4Spec)
    changed = [change(finish(run)) for run in plan(request, references)]
    outcomes = [outcome for outcome in changed if outcome is not None]
    return Finished(preset, request.spec, outcomes, lambda _, name: folder / name)


def without(has_failed: Callable[[str], bool]) -> Callable[[RunOutcome], RunOutcome | None]:
    return lambda outcome: None if has_failed(outcome.name) else outcome


def collate_job(**options: Any) -> Collation:
    """Its tables and figures, not drawn."""
    return QUESTION.collate(finish_job(**options))


@pytest.fixture(scope="module")
def results() -> Collation:
    return collate_job(**SPEC)


def table(results: Collation, name: str) -> Table:
    return next(table for table in results.tables if table.name == name)


def rows_of(results: Collation, name: str) -> list[dict[str, Any]]:
    found = table(results, name)
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


class TestTables:
    def test_all_of_them(self, results: Collation) -> None:
        assert [table.name for table in results.tables] == [
            "autoencoders", "autoencoder_error", "encoders", "table_4", "shares", "differences",
            "statements", "autoencoder_runs", "runs",
        ]  # fmt: skip

    def test_the_grid_is_ranked_by_the_true_error(self, results: Collation) -> None:
        rows = rows_of(results, "autoencoders")
        errors = [row["mse"] for row in rows]
        assert errors == sorted(errors)
        assert [row["rank"] for row in rows] == [1, 2, 3, 4]
        assert [(row["batch_size"], row["learning_rate"]) for row in rows] == [
            (16, 0.001), (32, 0.001), (16, 0.01), (32, 0.01),
        ]  # fmt: skip
        assert [row["rank_by_report_error"] for row in rows] == [3, 1, 4, 2]
        assert rows[0]["mse"] == pytest.approx(0.6 + 0.001 + 0.0016)
        assert rows[0]["mse_std"] == pytest.approx(0.001)
        assert rows[0]["report_error"] == pytest.approx(rows[0]["mse"] / 16)

    def test_collapsed_ones_are_named_and_the_reports_figure_stands_beside(
        self, results: Collation
    ) -> None:
        rows = rows_of(results, "autoencoders")
        assert [row["collapsed"] for row in rows] == ["no", "no", "yes", "yes"]
        assert [row["dead_units"] for row in rows] == ["1 of 10"] * 2 + ["8 of 10"] * 2
        assert [row["published"] for row in rows] == [None, None, None, 0.02155]
        assert "2 of 4 configurations have collapsed" in (table(results, "autoencoders").note or "")

    def test_some_seeds_may_collapse(self) -> None:
        def collapse_one(outcome: RunOutcome) -> RunOutcome:
            summary = outcome.summary | {"collapsed": outcome.training.seed == 1}
            return outcome.model_copy(update={"summary": summary})

        rows = rows_of(collate_job(**SPEC, change=collapse_one), "autoencoders")
        assert {row["collapsed"] for row in rows} == {"1 of 3"}

    def test_the_encoders_stand_beside_constant_pictures(self, results: Collation) -> None:
        rows = {row["whose"]: row for row in rows_of(results, "encoders")}
        assert list(rows) == ["the report's", "the grid's best", "our own"]
        report, own = rows["the report's"], rows["our own"]
        assert (report["zeros_mse"], report["mean_picture_mse"]) == (0.681, 0.66)
        assert report["unit_mse"] == pytest.approx(report["mse"] / 4)
        assert own["unit_mse"] == pytest.approx(own["mse"])
        assert "pixels in 0 to 1" in own["autoencoder"]

    def test_table_4(self, results: Collation) -> None:
        rows = {row["figure"]: row for row in rows_of(results, "table_4")}
        published = {
            "random weights, 30%: training": 0.93522,
            "random weights, 30%: validation": 0.93482,
            "random weights, 30%: test": 0.93394,
            "pre-trained, 100%: training": 0.947353,
            "pre-trained, 100%: validation": 0.94271,
            "pre-trained, 100%: test": 0.942715,
        }
        assert {name: row["published"] for name, row in rows.items()} == published
        values = [0.9 + 0.015 + 0.001 * seed for seed in range(3)]
        row = rows["random weights, 30%: validation"]
        assert row["mean"] == pytest.approx(statistics.fmean(values))
        assert row["std"] == pytest.approx(statistics.stdev(values))
        assert [row["low"], row["high"]] == pytest.approx(prediction_interval(spread(values)))

    def test_every_start_at_every_share(self, results: Collation) -> None:
        rows = rows_of(results, "shares")
        assert len(rows) == 12
        assert [row["percent"] for row in rows] == [10] * 4 + [50] * 4 + [100] * 4
        assert rows[0]["start"] == "random weights"
        assert rows[0]["val_accuracy"] == pytest.approx(0.9 + 0.005 + 0.001)
        assert rows[0]["val_accuracy_std"] == pytest.approx(0.001)
        assert rows[0]["runs"] == 3

    def test_differences_are_paired(self, results: Collation) -> None:
        """The seeds' own deviation of 0.001 is not in them, only the 0.0005 between the pairs."""
        rows = rows_of(results, "differences")
        assert len(rows) == 6
        row = rows[1]
        assert (row["percent"], row["start"]) == (10, "our own encoder's weights")
        assert row["pairs"] == 3
        assert row["test_accuracy"] == pytest.approx(0.01 + 0.0005)
        half = 4.303 * 0.0005 / 3**0.5
        assert row["test_accuracy_low"] == pytest.approx(0.0105 - half)
        assert row["test_accuracy_high"] == pytest.approx(0.0105 + half)

    def test_what_the_report_says_of_figure_16(self, results: Collation) -> None:
        rows = rows_of(results, "statements")
        assert [row["published"] for row in rows] == ["all of them", "all of them", None, "larger"]
        assert [row["the_encoder"] for row in rows[:2]] == ["0 of 3"] * 2
        assert [row["our_own_encoder"] for row in rows[:2]] == ["3 of 3"] * 2
        assert rows[3]["our_own_encoder"] == pytest.approx(0.0105)
        assert rows[3]["the_encoder"] == pytest.approx(-0.0015)

    def test_the_floor_of_the_losses_stands_beside_them(self, results: Collation) -> None:
        assert "1.461" in (table(results, "runs").note or "")
        plain = collate_job(**SPEC, mlp={"model": {"output": "logits"}})
        assert "can't fall below" not in (table(plain, "runs").note or "")

    def test_every_run_is_in_a_table(self, results: Collation) -> None:
        names = [row["run"] for row in rows_of(results, "runs")]
        names += [row["run"] for row in rows_of(results, "autoencoder_runs")]
        assert sorted(names) == sorted(run.name for run in plan_of(**SPEC))


class TestComparisons:
    def test_the_reports_figures_are_compared_where_they_can_be(self, results: Collation) -> None:
        """The grid, the shares and our own are others here, which these figures do not see."""
        found = {comparison.id: comparison for comparison in results.comparisons}
        parts = ("accuracy.train", "accuracy.val", "accuracy.test")
        assert set(found) == {
            "q4.autoencoder.train_error", "q4.autoencoder.train_error_last_epoch",
            *(f"q4.final.{start}.{part}" for start in ("random", "pretrained") for part in parts),
        }  # fmt: skip
        assert {comparison.reason for comparison in found.values()} == {None}
        error = found["q4.autoencoder.train_error"]
        assert error.published == 0.02155
        assert error.ours is not None
        assert error.ours.mean == pytest.approx((0.69 + 0.001 + 0.0032) / 32)
        assert error.verdict == "inside"
        assert found["q4.final.random.accuracy.val"].verdict == "outside"

    def test_their_errata_are_those_of_the_question(self, results: Collation) -> None:
        known = {erratum.number for erratum in list_errata("q4")}
        for comparison in results.comparisons:
            assert comparison.errata
            assert set(comparison.errata) <= known

    @pytest.mark.parametrize(
        ("fields", "names", "compared"),
        [
            ({"mlp": {"batch_size": 64}}, "mlp.batch_size", ["autoencoder"]),
            ({"encoder": {"batch_size": 64}}, "encoder.batch_size", ["autoencoder", "random"]),
            ({"final": {"random_percent": 40}}, "final.random_percent",
             ["autoencoder", "pretrained"]),
            ({"dataset": "synthetic"}, "synthetic", []),
        ],
    )  # fmt: skip
    def test_a_spec_that_differs_bars_what_it_bears_on(
        self, fields: dict[str, Any], names: str, compared: Sequence[str]
    ) -> None:
        results = collate_job(**SPEC, **fields)
        for comparison in results.comparisons:
            if any(f".{part}." in comparison.id for part in compared):
                assert comparison.reason is None
            else:
                assert comparison.verdict == "not_comparable"
                assert names in (comparison.reason or "")

    def test_a_given_encoder_is_not_the_reports(self) -> None:
        layers = [[784, 128], [128, 64], [64, 32], [32, 10]]
        training = autoencoder_of(model={"structure": layers}, normalise="unit")
        results = collate_job(**SPEC, encoder_run=RUN, references={RUN: training})
        reasons = {comparison.id: comparison.reason for comparison in results.comparisons}
        assert "encoder_run" in (reasons["q4.final.pretrained.accuracy.test"] or "")
        assert reasons["q4.final.random.accuracy.test"] == "the pixels are in 0 to 1"
        assert reasons["q4.autoencoder.train_error"] is None
        (row,) = [r for r in rows_of(results, "encoders") if r["whose"] == "the given"]
        assert row["mse_std"] is None

    def test_the_quick_preset_is_not_compared(self) -> None:
        results = collate_job(preset="quick")
        assert len(results.comparisons) == 8
        for comparison in results.comparisons:
            assert comparison.verdict == "not_comparable"
            assert "quick" in (comparison.reason or "")
        titles = [*(t.title for t in results.tables), *(d.title for d in results.drawings)]
        assert all("(quick preset)" in title for title in titles)


def draw_job(folder: Path, job: Finished[Q4Spec]) -> Results:
    """Through the same door as a worker; the machine's part of a summary does not matter here."""
    outcomes = [
        outcome.model_copy(
            update={"summary": {**outcome.summary, "data": {}, "environment": {"torch": "2"}}}
        )
        for outcome in job.outcomes
    ]
    sink = FolderSink(folder)
    return collate("q4", job.preset, job.spec, outcomes, sink, job.artifact)


class TestFigures:
    def test_files(self, arrays: Path, tmp_path: Path) -> None:
        results = draw_job(tmp_path, finish_job(**SPEC, folder=arrays))
        numbers = [figure.number for figure in results.figures]
        kinds = ("reconstructions", "code-space", "autoencoder-training")
        assert numbers == ["16", *(f"{k}-{w}" for k in kinds for w in ("report", "grid", "own"))]
        pictures = [name for f in results.figures for name in f.artifacts if name.endswith(".png")]
        assert pictures[:2] == ["figure-16-accuracy.png", "figure-16-accuracy-own.png"]
        for name in pictures:
            with Image.open(tmp_path / name) as picture:
                assert picture.width > 800
        json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)

    def test_figure_16_has_a_line_for_each_start_and_part(self, results: Collation) -> None:
        lines = results.drawings[0].pictures["figure-16-accuracy"]
        assert isinstance(lines, Lines)
        assert [(line.label, line.group, line.dashed) for line in lines.series] == [
            ("random, training", 0, True),
            ("random, validation", 0, False),
            ("pre-trained, training", 1, True),
            ("pre-trained, validation", 1, False),
        ]
        assert lines.series[1].x == [10, 50, 100]
        assert lines.series[1].y[2] == pytest.approx([0.907, 0.927, 0.952])

    def test_the_numbers_behind_figure_16(self, results: Collation) -> None:
        numbers = results.drawings[0].numbers["figure-16"]
        rows = [dict(zip(numbers.columns, row, strict=True)) for row in numbers.rows]
        assert len(rows) == 4 * 3 * 3
        row = next(row for row in rows if row["run"] == "mlp-own-050-seed-2")
        assert (row["start"], row["percent"], row["seed"]) == ("own", 50, 2)
        assert row["val_accuracy"] == pytest.approx(0.9 + 0.025 + 0.002 + 0.01 + 0.001)

    def test_axes_say_how_much_of_the_code_they_explain(self, results: Collation) -> None:
        drawing = next(d for d in results.drawings if d.number == "code-space-own")
        recipe = drawing.pictures["code-space-own"]
        assert isinstance(recipe, CodeSpace)
        assert "60%" in recipe.x_label
        assert "30%" in recipe.y_label
        assert recipe.names[9] == "Ankle boot"

    def test_a_share_that_is_almost_all_is_not_called_all(self) -> None:
        def explain(outcome: RunOutcome) -> RunOutcome:
            summary = outcome.summary | {"code_explained": [0.9999, 0.0001]}
            return outcome.model_copy(update={"summary": summary})

        drawings = collate_job(**SPEC, change=explain).drawings
        recipe = next(d.pictures[d.number] for d in drawings if d.number == "code-space-own")
        assert isinstance(recipe, CodeSpace)
        assert "over 99%" in recipe.x_label
        assert "under 1%" in recipe.y_label

    def test_the_grids_best_is_drawn_once(self) -> None:
        grid = SPEC["grid"] | {"batch_sizes": [32], "learning_rates": [0.01]}
        results = collate_job(**SPEC | {"grid": grid})
        assert "code-space-grid" not in [drawing.number for drawing in results.drawings]


class TestPartialJobs:
    def test_a_share_that_lacks_a_seed_is_not_in_the_line(self) -> None:
        results = collate_job(**SPEC, change=without(lambda name: name == "mlp-own-050-seed-1"))
        row = next(
            row for row in rows_of(results, "differences")
            if (row["percent"], row["start"]) == (50, "our own encoder's weights")
        )  # fmt: skip
        assert row["pairs"] == 2
        lines = results.drawings[0].pictures["figure-16-accuracy-own"]
        assert isinstance(lines, Lines)
        assert [line.x for line in lines.series] == [[10, 50, 100]] * 2 + [[10, 100]] * 2

    def test_perceptrons_alone(self) -> None:
        results = collate_job(**SPEC, change=without(lambda name: "autoencoder" in name))
        names = [table.name for table in results.tables]
        assert names == ["table_4", "shares", "differences", "statements", "runs"]
        assert [drawing.number for drawing in results.drawings] == ["16"]

    def test_autoencoders_alone(self) -> None:
        results = collate_job(
            **SPEC, change=without(lambda name: name.startswith(("mlp", "final")))
        )
        names = [table.name for table in results.tables]
        assert names == ["autoencoders", "autoencoder_error", "encoders", "autoencoder_runs"]
        assert "16" not in [drawing.number for drawing in results.drawings]

    def test_one_run(self) -> None:
        results = collate_job(**SPEC, change=without(lambda name: name != "mlp-report-050-seed-1"))
        assert [table.name for table in results.tables] == ["shares", "runs"]
        assert results.comparisons == []
