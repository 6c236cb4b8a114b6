"""Every training of Q1 to Q5 for one seed, packed, to its end: how long, and how good."""

import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.ledger import Ledger
from fmx_ml.data.sources import DataSources
from fmx_ml.packs import pack_key
from fmx_ml.pipelines import Member, train_pack
from fmx_ml.requests import parse_request, plan
from fmx_ml.results import NeededRun, RunOutcome
from fmx_ml.sinks import FolderSink
from fmx_ml.trainings import PlannedRun

_KINDS = ("q1", "q2", "q3", "q4", "q5")
_TINY: dict[str, dict[str, Any]] = {
    "q1": {"max_epochs": 1},
    "q2": {"max_epochs": 1},
    "q3": {"max_epochs": 1},
    "q4": {
        "grid": {"structures": [[[784, 32], [32, 10]]], "batch_sizes": [512],
                 "learning_rates": [0.01, 0.001]},
        "autoencoder_max_epochs": 1, "sweep_epochs": 1, "fractions": [2, 5],
        "encoder": {"model": {"structure": [[784, 32], [32, 10]]}, "batch_size": 512,
                    "max_epochs": 1},
        "mlp": {"model": {"structure": [[784, 32], [32, 10]]}}, "own": None, "final": None,
    },
    "q5": {"max_epochs": 1, "fractions": [2, 5], "final_percent": 5},
}  # fmt: skip
_FIGURES = (
    "epochs", "best_epoch", "stopped_early", "seconds", "train_loss", "val_loss", "val_accuracy",
    "test_loss", "test_accuracy", "train_mse", "val_mse", "collapsed",
)  # fmt: skip


@dataclass
class _Unit:
    """Runs of one question that train together."""

    kind: str
    runs: list[PlannedRun]
    began: float = 0.0
    ended: float = 0.0

    @property
    def needs(self) -> set[tuple[str, str]]:
        """The runs that must have ended before."""
        return {(self.kind, need) for run in self.runs for need in run.needs}


class _TimedSink(FolderSink):
    """Wants an end when the time is over."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        super().__init__(folder)
        self._ledger = ledger

    def should_stop(self) -> bool:
        return self._ledger.seconds_left() <= 0


@dataclass
class _Report:
    """What has ended so far."""

    ledger: Ledger
    sources: DataSources
    device: str
    folder: Path
    finished: dict[tuple[str, str], NeededRun] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, unit: _Unit) -> None:
        """Trains a unit; keeps what each of its runs leaves."""
        unit.began = time.monotonic() - self.began
        sinks = [_TimedSink(self.folder / unit.kind / run.name, self.ledger) for run in unit.runs]
        members = [
            Member(run.training, sink, [self.finished[unit.kind, need] for need in run.needs])
            for run, sink in zip(unit.runs, sinks, strict=True)
        ]

        def ended(place: int, outcome: dict[str, Any] | Exception) -> None:
            self._note(unit.kind, unit.runs[place], sinks[place], outcome)

        train_pack(members, sources=self.sources, device=self.device, ended=ended)
        unit.ended = time.monotonic() - self.began
        first = unit.runs[0].name
        told = {"runs": len(unit.runs), "began": unit.began, "ended": unit.ended}
        told |= {"most epochs": max(len(sink.history) for sink in sinks)}
        with self.lock:
            self.ledger.put("report_units", f"{unit.kind} {first}", told)

    def _note(
        self, kind: str, run: PlannedRun, sink: FolderSink, outcome: dict[str, Any] | Exception
    ) -> None:
        """Not printed one by one: there are hundreds."""
        with self.lock:
            if isinstance(outcome, Exception):
                self.results[f"{kind} {run.name}"] = {
                    "failed": repr(outcome),
                    "epochs": len(sink.history),
                }
                return
            files = {name: sink.folder / name for name in sink.artifacts}
            told = RunOutcome(
                name=run.name, training=run.training, history=sink.history, summary=outcome
            )
            self.finished[kind, run.name] = NeededRun(outcome=told, files=files)
            self.results[f"{kind} {run.name}"] = {
                name: outcome[name] for name in _FIGURES if name in outcome
            }


def measure(ledger: Ledger, sources: DataSources, device: str, lanes: int, *, tiny: bool) -> None:
    """Trains in so many lanes at once, each a pack at a time; ends where the time does."""
    with tempfile.TemporaryDirectory() as folder:
        report = _Report(ledger, sources, device, Path(folder))
        units = _plan_units(tiny=tiny)
        try:
            _run_all(report, units, lanes)
        finally:
            _tell(report, units)


def _plan_units(*, tiny: bool) -> list[_Unit]:
    """The longest chains first."""
    units: list[_Unit] = []
    for kind in _KINDS:
        spec = _TINY[kind] if tiny else {}
        groups: dict[str, list[PlannedRun]] = {}
        for run in plan(parse_request({"kind": kind, "spec": spec})):
            groups.setdefault(pack_key(run.training) or run.name, []).append(run)
        units += [_Unit(kind, runs) for runs in groups.values()]
    needed = {need for unit in units for need in unit.needs}
    order = {"q5": 0, "q3": 1, "q1": 2, "q2": 3, "q4": 4}

    def urgency(unit: _Unit) -> tuple[bool, int]:
        is_needed = any((unit.kind, run.name) in needed for run in unit.runs)
        return not is_needed, order[unit.kind]

    return sorted(units, key=urgency)


def _run_all(report: _Report, units: Sequence[_Unit], lanes: int) -> None:
    """Each lane takes the first unit whose needs have ended; one that can't begin is left out."""
    waiting, lock = list(units), threading.Condition()
    num_busy = 0

    def take() -> _Unit | None:
        nonlocal num_busy
        with lock:
            while waiting:
                for unit in waiting:
                    if unit.needs <= report.finished.keys():
                        waiting.remove(unit)
                        num_busy += 1
                        return unit
                if not num_busy:
                    return None
                lock.wait()
        return None

    def work() -> None:
        nonlocal num_busy
        while (unit := take()) is not None:
            try:
                report.run(unit)
            except Exception as error:  # noqa: BLE001 - the other units are wanted all the more
                report.ledger.put("report_failed", unit.runs[0].name, repr(error))
            with lock:
                num_busy -= 1
                lock.notify_all()

    with ThreadPoolExecutor(lanes, "lane") as pool:
        for lane in [pool.submit(work) for _ in range(lanes)]:
            lane.result()


def _tell(report: _Report, units: Sequence[_Unit]) -> None:
    """Seconds of each question and of all, and every run's figures."""
    with report.lock:
        report.ledger.content["report_runs"] = report.results
        for kind in _KINDS:
            mine = [unit for unit in units if unit.kind == kind and unit.ended]
            names = [name for name in report.results if name.startswith(kind)]
            told = {
                "runs": len(names),
                "failed": sum("failed" in report.results[name] for name in names),
                "seconds_of_all_packs": sum(unit.ended - unit.began for unit in mine),
                "ended_at": max((unit.ended for unit in mine), default=None),
            }
            report.ledger.put("report", kind, told)
        report.ledger.put("report", "seconds", time.monotonic() - report.began)
