import csv
import json
import statistics
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ml_cases import FinishedJob, make_spec
from PIL import Image

from fmx_ml import collation
from fmx_ml.collation import collate
from fmx_ml.errors import StoppedError
from fmx_ml.experiments.q1 import Q1Spec
from fmx_ml.files import write_json
from fmx_ml.plots.render import draw
from fmx_ml.requests import spec_hash
from fmx_ml.results import Results, Table
from fmx_ml.sinks import FolderSink
from fmx_ml.specs import Preset

TABLES = ["accuracies", "per-class", "runs"]
PICTURES = ["figure-1-loss", "figure-2-accuracy", "figure-3-confusion", "samples"]


def collate_into(
    folder: Path, job: FinishedJob, preset: Preset = "report", spec: Q1Spec | None = None
) -> Results:
    return collate(
        "q1", preset, spec or job.spec, job.outcomes, FolderSink(folder), job.artifact_path
    )


@pytest.fixture(scope="module")
def collated(
    three_seeds: FinishedJob, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Results, Path]:
    folder = tmp_path_factory.mktemp("collated")
    return collate_into(folder, three_seeds), folder


def table(results: Results, name: str) -> Table:
    return next(table for table in results.tables if table.name == name)


def rows_of(table: Table) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_files(collated: tuple[Results, Path]) -> None:
    results, folder = collated
    files = {path.name for path in folder.iterdir()}
    expected = {f"{name}{suffix}" for name in PICTURES for suffix in (".png", ".svg")}
    expected |= {f"{name}.csv" for name in PICTURES[:3]}
    tables = {f"table-{name}.{form}" for name in TABLES for form in ("csv", "json", "md")}
    assert files == expected | tables | {"results.json", "manifest.json"}
    named = [artifact for figure in results.figures for artifact in figure.artifacts]
    assert set(named) == expected
    assert [figure.number for figure in results.figures] == ["1", "2", "3", "samples"]


def test_pictures_can_be_opened(collated: tuple[Results, Path]) -> None:
    for name in PICTURES:
        with Image.open(collated[1] / f"{name}.png") as picture:
            assert picture.width > 800
        assert ET.parse(collated[1] / f"{name}.svg").getroot().tag.endswith("svg")  # noqa: S314


def test_results_json_is_what_is_answered(collated: tuple[Results, Path]) -> None:
    results, folder = collated
    text = (folder / "results.json").read_text()
    assert Results.model_validate_json(text) == results
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_accuracies_stand_beside_the_published(
    collated: tuple[Results, Path], three_seeds: FinishedJob
) -> None:
    rows = {row["figure"]: row for row in rows_of(table(collated[0], "accuracies"))}
    summaries = [outcome.summary for outcome in three_seeds.outcomes]
    for name, published, values in (
        ("training, counted while training", 0.9890, [s["train_accuracy"] for s in summaries]),
        ("training, best epoch's weights", None,
         [s["best_weights_train_accuracy"] for s in summaries]),
        ("validation, best epoch", 0.9832, [s["val_accuracy"] for s in summaries]),
        ("test, best epoch", 0.9816, [s["test_accuracy"] for s in summaries]),
        ("test, last epoch", 0.9816, [s["last"]["test_accuracy"] for s in summaries]),
        ("best epoch", 205, [s["best_epoch"] for s in summaries]),
    ):  # fmt: skip
        assert rows[name]["published"] == published
        assert rows[name]["mean"] == pytest.approx(statistics.fmean(values))
        assert rows[name]["std"] == pytest.approx(statistics.stdev(values))
        assert rows[name]["low"] <= rows[name]["mean"] <= rows[name]["high"]


def test_comparisons(collated: tuple[Results, Path]) -> None:
    comparisons = {comparison.id: comparison for comparison in collated[0].comparisons}
    assert set(comparisons) == {
        "q1.accuracy.train", "q1.accuracy.val", "q1.accuracy.test",
        "q1.accuracy.test_last_epoch", "q1.best_epoch",
    }  # fmt: skip
    test = comparisons["q1.accuracy.test"]
    assert test.published == 0.9816
    assert test.ours is not None
    assert test.ours.n == 3
    assert test.verdict == "not_comparable"
    assert test.reason is not None
    assert "max_epochs" in test.reason
    assert "optimiser.learning_rate" in test.reason
    numbers = {erratum.number for erratum in collated[0].errata}
    assert numbers == {1, 2, 3, 5, 6, 7, 21, 22}
    for comparison in comparisons.values():
        assert comparison.errata
        assert set(comparison.errata) <= numbers


def test_classes_and_runs_have_their_tables(
    collated: tuple[Results, Path], three_seeds: FinishedJob
) -> None:
    classes = rows_of(table(collated[0], "per_class"))
    assert [row["class"] for row in classes] == ["T-shirt/top", "Trouser", "Coat", "Sandal", "Bag"]
    recalls = [outcome.summary["per_class"][1]["recall"] for outcome in three_seeds.outcomes]
    assert classes[1]["recall"] == pytest.approx(statistics.fmean(recalls))
    assert classes[1]["recall_std"] == pytest.approx(statistics.stdev(recalls))
    runs = rows_of(table(collated[0], "runs"))
    assert [row["seed"] for row in runs] == [0, 1, 2]
    assert [row["ended_by"] for row in runs] == ["max_epochs"] * 3


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_figures_have_their_numbers(
    collated: tuple[Results, Path], three_seeds: FinishedJob
) -> None:
    losses = read_csv(collated[1] / "figure-1-loss.csv")
    assert len(losses) == 12
    first = three_seeds.outcomes[1].history[2]
    row = next(row for row in losses if (row["run"], row["epoch"]) == ("seed-1", "3"))
    assert float(row["train_loss"]) == first.train_loss
    accuracies = read_csv(collated[1] / "figure-2-accuracy.csv")
    assert float(accuracies[0]["val_accuracy"]) == three_seeds.outcomes[0].history[0].val_accuracy
    cells = read_csv(collated[1] / "figure-3-confusion.csv")
    assert len(cells) == 3 * 25
    assert sum(int(cell["count"]) for cell in cells) == 1_500


def test_equal_runs_give_equal_files(
    collated: tuple[Results, Path], three_seeds: FinishedJob, tmp_path: Path
) -> None:
    collate_into(tmp_path, three_seeds)
    for path in collated[1].iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_the_manifest_says_what_it_was_made_from(
    collated: tuple[Results, Path], three_seeds: FinishedJob
) -> None:
    content = json.loads((collated[1] / "manifest.json").read_text())
    assert content["spec_hash"] == spec_hash("q1", three_seeds.spec)
    assert Q1Spec.model_validate(content["spec"]) == three_seeds.spec
    assert content["seeds"] == [0, 1, 2]
    assert content["devices"] == ["cpu"]
    assert len(content["data"]) == 1
    assert len(content["data"][0]["checksums"]) == 4
    (made_by,) = content["environments"]
    assert made_by["torch"]
    assert made_by == content["runs"][0]["environment"]
    assert [run["name"] for run in content["runs"]] == ["seed-0", "seed-1", "seed-2"]


@pytest.fixture(scope="module")
def one_seed(run_job: Callable[..., FinishedJob]) -> FinishedJob:
    return run_job(max_epochs=1)


def test_one_seed_has_no_deviation(one_seed: FinishedJob, tmp_path: Path) -> None:
    results = collate_into(tmp_path, one_seed)
    for row in rows_of(table(results, "accuracies")):
        assert row["std"] is None
        assert row["low"] is None
    for row in rows_of(table(results, "per_class")):
        assert row["recall_std"] is None


def without_difference(job: FinishedJob) -> Q1Spec:
    """The report's own spec with the job's seeds."""
    return make_spec(seeds=list(job.spec.seeds))


def test_the_reports_own_spec_is_compared(three_seeds: FinishedJob, tmp_path: Path) -> None:
    results = collate_into(tmp_path, three_seeds, spec=without_difference(three_seeds))
    verdicts = {comparison.verdict for comparison in results.comparisons}
    assert verdicts <= {"inside", "outside"}
    best_epoch = next(c for c in results.comparisons if c.id == "q1.best_epoch")
    assert best_epoch.verdict == "outside"  # four epochs can't have the 205th as the best
    assert best_epoch.reason is None


def test_one_seed_of_the_reports_spec_says_why_not(one_seed: FinishedJob, tmp_path: Path) -> None:
    results = collate_into(tmp_path, one_seed, spec=without_difference(one_seed))
    assert {c.reason for c in results.comparisons} == {
        "one run has no spread: ask for two seeds or more"
    }


def test_spelled_out_defaults_do_not_differ(three_seeds: FinishedJob, tmp_path: Path) -> None:
    spec = make_spec(
        seeds=[0, 1, 2],
        split_seed=4,
        device="cpu",
        model={"channels": [6, 12], "padding": "valid"},
    )
    results = collate_into(tmp_path, three_seeds, spec=spec)
    assert all(comparison.reason is None for comparison in results.comparisons)


def all_titles(results: Results) -> list[str]:
    return [part.title for part in (*results.tables, *results.figures)]


def test_quick_is_said_everywhere(one_seed: FinishedJob, tmp_path: Path) -> None:
    results = collate_into(tmp_path, one_seed, preset="quick")
    assert all("quick" in title for title in all_titles(results))
    assert all("quick" in (c.reason or "") for c in results.comparisons)


def test_synthetic_is_said_everywhere(
    one_seed: FinishedJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []

    def keep(recipe: Any) -> Any:
        drawn.append(recipe)
        return draw(recipe)

    monkeypatch.setattr(collation, "draw", keep)
    spec = make_spec(dataset="synthetic", max_epochs=1)
    results = collate_into(tmp_path, one_seed, spec=spec)
    assert results.dataset == "synthetic"
    said = [f"{recipe.title} {recipe.subtitle}" for recipe in drawn]
    assert len(said) == 4
    assert all("synthetic" in words for words in [*said, *all_titles(results)])
    assert all("synthetic" in (c.reason or "") for c in results.comparisons)
    assert "quick" not in " ".join(all_titles(results))


def test_the_report_spec_needs_no_qualifier(three_seeds: FinishedJob, tmp_path: Path) -> None:
    results = collate_into(tmp_path, three_seeds, spec=without_difference(three_seeds))
    assert not any("(" in title for title in all_titles(results))


def test_a_class_that_nothing_was_taken_for(one_seed: FinishedJob, tmp_path: Path) -> None:
    """Its precision has no value: an empty cell, and no NaN in the JSON."""
    outcome = one_seed.outcomes[0]
    scores = [dict(entry) for entry in outcome.summary["per_class"]]
    scores[2]["precision"] = None
    changed = outcome.model_copy(update={"summary": {**outcome.summary, "per_class": scores}})
    job = FinishedJob(one_seed.spec, [changed], one_seed.folder)
    results = collate_into(tmp_path, job)
    assert rows_of(table(results, "per_class"))[2]["precision"] is None


def test_no_finished_run_is_refused(one_seed: FinishedJob, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished run"):
        collate_into(tmp_path, FinishedJob(one_seed.spec, [], one_seed.folder))


def test_a_stop_is_heard(one_seed: FinishedJob, tmp_path: Path) -> None:
    class StoppingSink(FolderSink):
        def should_stop(self) -> bool:
            return True

    sink = StoppingSink(tmp_path)
    with pytest.raises(StoppedError):
        collate("q1", "report", one_seed.spec, one_seed.outcomes, sink, one_seed.artifact_path)
    assert sink.artifacts == []


def test_json_refuses_what_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
