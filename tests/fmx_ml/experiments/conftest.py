"""Whole jobs of any kind on small data, as a worker would run them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from ml_cases import take_first

from fmx_ml.collation import collate
from fmx_ml.data.loader import AutoencoderData, HalfData, load_autoencoder_data, load_half
from fmx_ml.data.sources import DataSources, Pictures
from fmx_ml.pipelines import autoencoder, common, train
from fmx_ml.requests import JobRequest, parse_request, plan
from fmx_ml.results import NeededRun, Results, RunOutcome
from fmx_ml.sinks import FolderSink


@dataclass(frozen=True)
class AskedJob:
    """A request, what its runs left, and what was made of them."""

    request: JobRequest
    outcomes: list[RunOutcome]
    results: Results
    folder: Path

    def table(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table, by column."""
        table = next(table for table in self.results.tables if table.name == name)
        return [dict(zip(table.columns, row, strict=True)) for row in table.rows]

    def again(self, folder: Path, *, without: str = "", preset: str = "report") -> Results:
        """The collation once more, without the runs whose names begin so."""
        kept = [o for o in self.outcomes if not (without and o.name.startswith(without))]
        request = self.request
        return collate(
            request.kind, preset, request.spec, kept, FolderSink(folder),  # pyright: ignore[reportArgumentType]
            lambda run, name: self.folder / run / name,
        )  # fmt: skip


Ask = Callable[..., AskedJob]


@pytest.fixture(scope="session")
def halves(fm1: HalfData, sources: DataSources) -> dict[str, HalfData]:
    """500 + 250 + 250 real pictures of each half."""
    return {
        data.half: replace(
            data,
            train=take_first(data.train, 100),
            val=take_first(data.val, 50),
            test=take_first(data.test, 50),
        )
        for data in (fm1, load_half("fashion-mnist", "fm2", 0, sources))
    }


@pytest.fixture(scope="session")
def unlabelled(fm1: HalfData, sources: DataSources) -> AutoencoderData:
    """1,200 real pictures for an autoencoder."""
    del fm1  # skips where there is no data
    data = load_autoencoder_data("fashion-mnist", 0, sources)
    rows = slice(None, None, 50)
    few = Pictures(data.train.images_NHW[rows], data.train.labels_N[rows])
    return replace(data, train=few)


@pytest.fixture(scope="session")
def ask(
    halves: dict[str, HalfData],
    unlabelled: AutoencoderData,
    sources: DataSources,
    tmp_path_factory: pytest.TempPathFactory,
) -> Ask:
    """Plans, trains and collates a request on the small data."""

    def ask_for(kind: str, **spec: Any) -> AskedJob:
        request = parse_request({"kind": kind, "spec": spec})
        folder = tmp_path_factory.mktemp(kind)
        finished: dict[str, NeededRun] = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(common, "load_half", lambda _, half, *__: halves[half])
            patch.setattr(autoencoder, "load_autoencoder_data", lambda *_: unlabelled)
            for planned in plan(request):
                sink = FolderSink(folder / planned.name)
                needed = [finished[name] for name in planned.needs]
                summary = train(
                    planned.training, sink, sources=sources, device="cpu", num_threads=1,
                    needed=needed,
                )  # fmt: skip
                outcome = RunOutcome(
                    name=planned.name, training=planned.training, history=sink.history,
                    summary=summary,
                )  # fmt: skip
                files = {name: folder / planned.name / name for name in sink.artifacts}
                finished[planned.name] = NeededRun(outcome=outcome, files=files)
        outcomes = [run.outcome for run in finished.values()]
        results = collate(
            kind, request.preset, request.spec, outcomes, FolderSink(folder / "job"),
            lambda run, name: folder / run / name,
        )  # fmt: skip
        return AskedJob(request, outcomes, results, folder)

    return ask_for
