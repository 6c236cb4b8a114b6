"""Q2: table 3, grids, and searches."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fmx_ml.experiments.q2 import TABLE_3, Q2Spec
from fmx_ml.requests import parse_request, plan
from fmx_ml.trainings import CnnTraining, TrialTraining


@pytest.fixture(scope="module")
def table_3(ask: Any) -> Any:
    """The ten configurations with two seeds, two epochs each."""
    return ask("q2", seeds=[0, 1], max_epochs=2)


def test_the_ten_of_table_3_are_the_default() -> None:
    runs = plan(parse_request({"kind": "q2"}))
    assert [run.name for run in runs] == [f"model-{n}-seed-0" for n in range(1, 11)]
    first = runs[0].training
    assert isinstance(first, CnnTraining)
    assert first.model == TABLE_3[0].model
    assert first.max_epochs == 300


def test_ours_stand_below_the_published(table_3: Any) -> None:
    rows = table_3.table("table_3")
    assert [row["whose"] for row in rows[:4]] == ["published", "ours", "deviation", "verdict"]
    assert len(rows) == 40
    assert rows[0]["val_loss"] == 0.0512
    values = [o.summary["val_loss"] for o in table_3.outcomes[:2]]
    assert rows[1]["val_loss"] == pytest.approx(sum(values) / 2)
    last = [o.summary["last"]["test_accuracy"] for o in table_3.outcomes[:2]]
    assert rows[1]["test_accuracy_last_epoch"] == pytest.approx(sum(last) / 2)


def test_every_figure_is_compared_but_the_misprint(table_3: Any) -> None:
    found = {c.id: c for c in table_3.results.comparisons}
    assert len(found) == 10 * 8
    misprint = found["q2.model_3.val_accuracy"]
    assert misprint.verdict == "not_comparable"
    assert misprint.reason == "the published figure is a misprint"
    assert 8 in misprint.errata
    assert 30 in found["q2.model_8.test_loss"].errata
    assert "max_epochs" in (found["q2.model_1.test_loss"].reason or "")


def test_the_choice_is_made_by_validation(table_3: Any) -> None:
    rows = {row["rule"]: row for row in table_3.table("choice")}
    models = table_3.table("models")
    lowest = min(models, key=lambda row: row["val_loss"])
    assert rows["lowest validation loss"]["model"] == lowest["model"]
    assert rows["lowest validation loss"]["test_accuracy"] == lowest["test_accuracy"]
    highest = max(models, key=lambda row: row["val_accuracy"])
    assert rows["highest validation accuracy"]["model"] == highest["model"]


def test_each_has_its_curves_and_all_have_a_page(table_3: Any) -> None:
    (figure,) = table_3.results.figures
    assert figure.number == "4"
    pictures = [name for name in figure.artifacts if name.endswith(".png")]
    assert pictures[0] == "figure-4-all.png"
    assert len(pictures) == 1 + 2 * 10
    assert all((table_3.folder / "job" / name).is_file() for name in figure.artifacts)


def test_what_is_missing_leaves_a_gap(table_3: Any, tmp_path: Path) -> None:
    results = table_3.again(tmp_path, without="model-4")
    rows = next(t for t in results.tables if t.name == "models").rows
    assert [row[0] for row in rows] == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert "statements" not in {table.name for table in results.tables}


def test_a_grid_is_every_combination() -> None:
    grid = {"conv_layers": [1, 2], "optimiser": ["SGD", "Adam"], "momentum": [0.0, 0.9]}
    request = parse_request({"kind": "q2", "spec": {"grid": grid}})
    assert len(plan(request)) == 6  # momentum is SGD's alone
    spec = request.spec
    assert isinstance(spec, Q2Spec)
    adam = [c for c in spec.configurations() if c.optimiser.name == "Adam"]
    assert {c.optimiser.momentum for c in adam} == {0.0}


def test_a_billion_is_counted_and_not_built() -> None:
    many = {
        "learning_rate": [0.001 * n for n in range(1, 33)],
        "weight_decay": [0.001 * n for n in range(32)],
        "batch_size": list(range(1, 33)),
        "dropout": [n / 33 for n in range(32)],
        "width": list(range(1, 17)),
        "shift": list(range(9)),
        "dense_layers": [1, 2, 3],
    }
    with pytest.raises(ValidationError, match="makes 905969664 runs, 1000 at most"):
        parse_request({"kind": "q2", "spec": {"grid": many}})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"grid": {}, "search": {}}, "give one of models, grid and search"),
        ({"search": {}, "seeds": [0, 1]}, "a search takes one seed"),
        ({"search": {"method": "grid"}}, "a grid needs a list for learning_rate"),
        ({"search": {"space": {"learning_rate": {"low": 2, "high": 1}}}}, "2 is not below 1"),
        ({"models": []}, "at least 1 item"),
    ],
)
def test_what_makes_no_sense_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parse_request({"kind": "q2", "spec": spec})


def test_trials_need_the_generations_before_them() -> None:
    search = {"trials": 10, "abreast": 4}
    runs = plan(parse_request({"kind": "q2", "spec": {"search": search}}))
    assert [len(run.needs) for run in runs] == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]
    blind = {"trials": 10, "method": "random", "pruning": False}
    runs = plan(parse_request({"kind": "q2", "spec": {"search": blind}}))
    assert all(run.needs == () for run in runs)


def test_a_larger_budget_has_the_same_first_trials() -> None:
    few, many = (
        plan(parse_request({"kind": "q2", "spec": {"search": {"trials": n}}})) for n in (4, 9)
    )
    assert [run.training for run in few] == [run.training for run in many[:4]]


@pytest.mark.parametrize("method", ["tpe", "random", "grid"])
def test_a_search(method: str, ask: Any) -> None:
    space: dict[str, Any] = {
        "conv_layers": [1],
        "optimiser": ["SGD"],
        "learning_rate": [0.1, 0.01],
        "weight_decay": [0.0],
    }
    search = {"method": method, "trials": 5, "abreast": 2, "space": space}
    job = ask("q2", search=search, max_epochs=2)
    assert all(isinstance(outcome.training, TrialTraining) for outcome in job.outcomes)
    trials = job.table("trials")
    assert [row["trial"] for row in trials] == [1, 2, 3, 4, 5]
    assert "test_accuracy" not in trials[0]  # the test set has no part in a search
    chosen = job.table("choice")[0]
    assert chosen["val_loss"] == min(row["val_loss"] for row in trials)
    if method == "grid":
        found = [(row["dense_layers"], row["learning_rate"]) for row in trials]
        assert len(set(found)) == 5
    for outcome in job.outcomes:
        assert (job.folder / outcome.name / "model.onnx").is_file()
    assert [figure.number for figure in job.results.figures] == ["search", "4"]
