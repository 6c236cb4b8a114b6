"""Q4: autoencoders, and perceptrons that start from them."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fmx_ml.experiments.q4 import Q4Spec, plan
from fmx_ml.questions import MisfitError
from fmx_ml.requests import parse_request
from fmx_ml.trainings import AutoencoderTraining, MlpTraining, training_hash

RUN_ID = "01JX0000000000000000000000"
GRID = {"structures": [[[784, 128], [128, 64], [64, 32], [32, 10]]], "batch_sizes": [32],
        "learning_rates": [0.01, 0.001]}  # fmt: skip


def spec_of(**fields: Any) -> Q4Spec:
    spec = parse_request({"kind": "q4", "spec": fields}).spec
    assert isinstance(spec, Q4Spec)
    return spec


@pytest.fixture(scope="module")
def job(ask: Any) -> Any:
    return ask(
        "q4", seeds=[0, 1], grid=GRID, autoencoder_max_epochs=1, sweep_epochs=1,
        encoder={"max_epochs": 1}, own={"max_epochs": 1}, fractions=[50, 100],
        final={"max_epochs": 1},
    )  # fmt: skip


def test_sixty_autoencoders_and_four_sweeps_are_the_default() -> None:
    names = [run.name for run in plan(spec_of(), {})]
    assert sum(name.startswith("autoencoder-") for name in names) == 60
    assert sum(name.startswith("mlp-") for name in names) == 80
    assert names[-2:] == ["final-random-seed-0", "final-report-seed-0"]
    assert len(names) == 143


def test_pre_trained_perceptrons_need_the_reports_autoencoder_of_the_grid() -> None:
    runs = {run.name: run for run in plan(spec_of(), {})}
    pretrained = runs["mlp-report-005-seed-0"]
    (needed,) = pretrained.needs
    source = runs[needed].training
    assert isinstance(source, AutoencoderTraining)
    assert (source.batch_size, source.optimiser.learning_rate) == (32, 0.01)
    assert isinstance(pretrained.training, MlpTraining)
    assert pretrained.training.encoder == training_hash(source)
    assert runs["mlp-random-005-seed-0"].needs == ()


def test_a_pair_differs_in_its_first_weights_alone() -> None:
    runs = {run.name: run for run in plan(spec_of(), {})}
    for base, start in (("random", "report"), ("own-random", "own")):
        one = runs[f"mlp-{base}-050-seed-0"].training.model_dump()
        other = runs[f"mlp-{start}-050-seed-0"].training.model_dump()
        assert {name for name in one if one[name] != other[name]} == {"encoder"}


def test_another_jobs_autoencoder_is_taken_over() -> None:
    training = plan(spec_of(), {})[0].training
    model = {"structure": GRID["structures"][0]}
    source = AutoencoderTraining.model_validate({**training.model_dump(), "model": model})
    runs = plan(spec_of(encoder_run=RUN_ID), {RUN_ID: source})
    assert (runs[0].name, runs[0].taken_from) == ("encoder-taken", RUN_ID)
    needed = {run.needs for run in runs if run.name.startswith("mlp-report-")}
    assert needed == {("encoder-taken",)}


def test_a_run_that_can_not_be_started_from_is_refused() -> None:
    spec = spec_of(encoder_run=RUN_ID)
    other = plan(spec_of(), {})[0].training  # of another structure
    for references, message in (
        ({}, "trained no autoencoder"),
        ({RUN_ID: other}, "its encoder is 784-128-32-10, the perceptron 784-128-64-32-10"),
    ):
        with pytest.raises(MisfitError, match=message) as caught:
            plan(spec, references)
        assert caught.value.field == "encoder_run"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"grid": {"structures": [[[784, 512], [256, 128]]]}},
         r"\[784, 512\] leaves 512 numbers, but \[256, 128\] takes 256"),
        ({"grid": {"structures": [[[28, 10]]]}}, "does not take 784 pixels"),
        ({"grid": {"batch_sizes": list(range(1, 33)), "learning_rates": [0.1 / n for n in
          range(1, 33)]}}, "make 4096 autoencoders, 500 at most"),
        ({"fractions": [0]}, "greater than or equal to 1"),
        ({"fractions": [10, 5]}, "they must rise"),
        ({"mlp": {"model": {"structure": [[784, 10]]}}}, "not those of encoder.model"),
        ({"mlp": {"model": {"structure": [[784, 4]]}}}, "4 outputs are too few for 5 classes"),
        ({"encoder_run": "nonsense"}, "should match pattern"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parse_request({"kind": "q4", "spec": spec})


def test_autoencoders_are_ranked_by_true_error(job: Any) -> None:
    rows = job.table("autoencoders")
    assert [row["rank"] for row in rows] == [1, 2]
    assert rows[0]["mse"] < rows[1]["mse"]
    for row in rows:
        assert row["report_error"] == pytest.approx(row["mse"] / row["batch_size"])
        assert row["collapsed"] in {"no", "yes", "1 of 2", "2 of 2"}


def test_the_published_error_stands_beside_ours(job: Any) -> None:
    found = {c.id: c for c in job.results.comparisons}
    error = found["q4.autoencoder.train_error"]
    assert error.published == 0.02155
    assert error.ours.n == 2
    assert {11, 24} <= set(error.errata)
    assert found["q4.final.pretrained.accuracy.test"].published == 0.942715


def test_the_fair_table_has_every_start_at_every_share(job: Any) -> None:
    rows = job.table("shares")
    assert [(row["percent"], row["runs"]) for row in rows] == [(50, 2)] * 4 + [(100, 2)] * 4
    differences = job.table("differences")
    pair = [o.summary["test_accuracy"] for o in job.outcomes if o.name.startswith("mlp-own-050")]
    base = [
        o.summary["test_accuracy"] for o in job.outcomes if o.name.startswith("mlp-own-random-050")
    ]
    row = next(r for r in differences if r["percent"] == 50 and "our own" in r["start"])
    expected = sum(a - b for a, b in zip(pair, base, strict=True)) / 2
    assert row["test_accuracy"] == pytest.approx(expected)


def test_figures(job: Any) -> None:
    numbers = [figure.number for figure in job.results.figures]
    assert numbers == [
        "16", "16b", "reconstructions-report", "reconstructions-own", "codes-report", "codes-own",
        "autoencoder-curves-report", "autoencoder-curves-own",
    ]  # fmt: skip
    for figure in job.results.figures:
        assert all((job.folder / "job" / name).is_file() for name in figure.artifacts)


def test_what_is_missing_leaves_a_gap(job: Any, tmp_path: Path) -> None:
    results = job.again(tmp_path, without="own-autoencoder")
    numbers = [figure.number for figure in results.figures]
    assert "reconstructions-own" not in numbers
    assert "reconstructions-report" in numbers
