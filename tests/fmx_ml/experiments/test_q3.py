"""Q3: curves, filters and feature maps."""

from typing import Any

import pytest

from fmx_ml.requests import parse_request, plan
from fmx_ml.trainings import CnnTraining


@pytest.fixture(scope="module")
def job(ask: Any) -> Any:
    return ask("q3", max_epochs=1, optimiser={"learning_rate": 0.05})


def test_four_convolutions_are_the_default() -> None:
    (run,) = plan(parse_request({"kind": "q3"}))
    assert isinstance(run.training, CnnTraining)
    assert run.training.model.conv_layers == 4
    assert run.training.max_epochs == 300


def test_the_reports_figures_are_all_there(job: Any) -> None:
    assert [figure.number for figure in job.results.figures] == [str(n) for n in range(5, 16)]
    titles = {figure.number: figure.title for figure in job.results.figures}
    assert titles["7"] == "Filters of convolution 1"
    assert titles["11"] == "Feature maps, Trouser"
    assert titles["15"] == "Feature maps, Bag"
    for figure in job.results.figures:
        for name in figure.artifacts:
            assert (job.folder / "job" / name).stat().st_size > 0


def test_filters_are_counted_as_the_report_does(job: Any) -> None:
    rows = job.table("filters")
    assert [row["filters"] for row in rows] == [6, 72, 192, 384]
    assert [row["shown"] for row in rows] == [6, 72, 48, 48]


def test_the_best_validation_figures_stand_beside_the_published(job: Any) -> None:
    found = {c.id: c for c in job.results.comparisons}
    assert found["q3.val.loss"].published == 0.0498
    assert found["q3.val.accuracy"].published == 0.9864
    assert found["q3.val.loss"].ours.mean == job.outcomes[0].summary["val_loss"]


def test_another_depth_has_a_figure_for_each_convolution(ask: Any) -> None:
    model = {"conv_layers": 1}
    job = ask("q3", max_epochs=1, model=model, half="fm2")
    numbers = [figure.number for figure in job.results.figures]
    assert numbers == ["5", "6", "7", "maps-0", "maps-1", "maps-2", "maps-3", "maps-4"]
