"""Real pictures where they can be found, and small trainings that several tests look at."""

import os
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ml_cases import FinishedJob, SmallExamples, make_spec, miss, take_first

from fmx_ml.data.loader import HalfData, load_half
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.evaluate import to_device
from fmx_ml.errors import DataUnavailableError
from fmx_ml.experiments import q1
from fmx_ml.pipelines import common, train
from fmx_ml.results import RunOutcome
from fmx_ml.sinks import FolderSink


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> DataSources:
    """The places of this machine, without the network."""
    named = os.environ.get("FMX_DATASET_DIR")
    return DataSources(
        dataset_dir=Path(named) if named else None,
        cache_dir=tmp_path_factory.mktemp("cache"),
        download=False,
    )


@pytest.fixture(scope="session")
def fm1(sources: DataSources) -> HalfData:
    try:
        return load_half("fashion-mnist", "fm1", 0, sources)
    except DataUnavailableError as error:
        miss(str(error))


@pytest.fixture(scope="session")
def small(fm1: HalfData) -> HalfData:
    """1,500 + 500 + 500 real pictures: a training of some epochs takes a fraction of a second."""
    return replace(
        fm1,
        train=take_first(fm1.train, 300),
        val=take_first(fm1.val, 100),
        test=take_first(fm1.test, 100),
    )


@pytest.fixture(scope="session")
def examples(small: HalfData) -> SmallExamples:
    cpu = torch.device("cpu")
    return SmallExamples(to_device(small.train, cpu), to_device(small.val, cpu))


@pytest.fixture(autouse=True)
def one_thread() -> Generator[None]:
    """Small trainings gain nothing by a second thread and lose much where a core is taken."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def run_job(
    small: HalfData, sources: DataSources, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., FinishedJob]:
    """Trains every run of a spec on the small data, through the same door as a worker."""

    def run(**fields: Any) -> FinishedJob:
        spec = make_spec(**fields)
        folder = tmp_path_factory.mktemp("job")
        outcomes: list[RunOutcome] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(common, "load_half", lambda *_: small)
            for planned in q1.plan(spec, {}):
                sink = FolderSink(folder / planned.name)
                summary = train(
                    planned.training, sink, sources=sources, device="cpu", num_threads=1
                )
                outcomes.append(
                    RunOutcome(
                        name=planned.name,
                        training=planned.training,
                        history=sink.history,
                        summary=summary,
                    )
                )
        return FinishedJob(spec, outcomes, folder)

    return run


@pytest.fixture(scope="session")
def three_seeds(run_job: Callable[..., FinishedJob]) -> FinishedJob:
    """Three runs of four epochs."""
    return run_job(seeds=[0, 1, 2], max_epochs=4, optimiser={"learning_rate": 0.1})
