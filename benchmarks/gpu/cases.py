"""The packs that are looked at: trainings of the report, on one copy of the pictures."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fmx_ml.data.sources import DataSources
from fmx_ml.engine.denormals import denormals_flushed
from fmx_ml.engine.ensemble.together import Entrant, fit_together
from fmx_ml.engine.evaluate import Examples
from fmx_ml.engine.features import extract
from fmx_ml.engine.objective import Objective
from fmx_ml.engine.train import Fit, FitTraining, fit
from fmx_ml.models.cnn import Cnn
from fmx_ml.packs import is_frozen, pack_key
from fmx_ml.pipelines.common import CPU
from fmx_ml.pipelines.preparation import Member, prepare_common
from fmx_ml.requests import parse_request, plan
from fmx_ml.sinks import EpochMetrics, FolderSink
from fmx_ml.trainings import CnnTraining, Training


@dataclass(frozen=True)
class Case:
    """One run of a pack."""

    training: FitTraining
    model: nn.Module
    rows_N: Tensor


@dataclass(frozen=True)
class Pack:
    """Runs that train together, and their pictures on the CPU."""

    objective: Objective
    train: Examples
    val: Examples
    cases: list[Case]

    def to(self, device: torch.device) -> "Pack":
        """With its pictures on the device."""
        train, val = (
            Examples(part.images_NCHW.to(device), part.labels_N.to(device))
            for part in (self.train, self.val)
        )
        return Pack(self.objective, train, val, self.cases)

    def cut(self, num_train: int, num_val: int) -> "Pack":
        """With so many pictures of each run, and to measure on, at most."""
        cases: list[Case] = []
        for case in self.cases:
            rows_N = case.rows_N[:: max(1, len(case.rows_N) // num_train)][:num_train]
            cases.append(Case(case.training, case.model, rows_N))
        val = Examples(self.val.images_NCHW[:num_val], self.val.labels_N[:num_val])
        return Pack(self.objective, self.train, val, cases)

    def shortened(self, max_epochs: int) -> "Pack":
        """For so many epochs, which no rule ends before."""
        update = {"max_epochs": max_epochs, "early_stopping": None}
        cases = [
            Case(case.training.model_copy(update=update), case.model, case.rows_N)
            for case in self.cases
        ]
        return Pack(self.objective, self.train, self.val, cases)


class Memory(FolderSink):
    """Keeps the epochs; nothing is written."""

    def __init__(self) -> None:
        super().__init__(Path())

    def epoch(self, metrics: EpochMetrics) -> None:
        self.history.append(metrics)


def report_trainings(kind: str, **spec: Any) -> list[Training]:
    """The trainings of a question for one seed."""
    return [run.training for run in plan(parse_request({"kind": kind, "spec": spec}))]


def group(trainings: Sequence[Training]) -> list[list[Training]]:
    """By their pack keys."""
    groups: dict[str | None, list[Training]] = {}
    for training in trainings:
        groups.setdefault(pack_key(training), []).append(training)
    return list(groups.values())


def make_pack(trainings: Sequence[Training], sources: DataSources, folder: Path) -> Pack:
    """A pack whose transfers start from weights drawn by chance: the arithmetic is the same."""
    common = prepare_common(trainings[0], sources)
    cases: list[Case] = []
    for training in trainings:
        prepared = common.prepare(Member(_without_source(training), FolderSink(folder)))
        model = prepared.model
        if is_frozen(training) and isinstance(model, Cnn):
            if cases:
                last = model.denses[-1].state_dict()
                model.load_state_dict(cases[0].model.state_dict())
                model.denses[-1].load_state_dict(last)
            model.freeze()
        cases.append(Case(prepared.training, model, prepared.rows_N))
    train, val = common.examples(CPU)
    first = cases[0].model
    if isinstance(first, Cnn) and first.is_frozen:
        train, val = (extract(first, part, lambda: None) for part in (train, val))
    return Pack(common.objective, train, val, cases)


def _without_source(training: Training) -> Training:
    if isinstance(training, CnnTraining):
        return training.model_copy(update={"transfer": None})
    return training.model_copy(update={"encoder": None})


def run_together(pack: Pack) -> list[Fit]:
    """All runs as one stack, where the pictures are. Raises the first error of a run."""
    outcomes: dict[int, Fit | Exception] = {}
    entrants = [Entrant(case.training, Memory(), case.model, case.rows_N) for case in pack.cases]
    with denormals_flushed():
        fit_together(pack.objective, pack.train, pack.val, entrants, outcomes.__setitem__)
    fits: list[Fit] = []
    for place in range(len(pack.cases)):
        outcome = outcomes[place]
        if isinstance(outcome, Exception):
            raise outcome
        fits.append(outcome)
    return fits


def run_alone(pack: Pack, case: Case) -> Fit:
    """One run by the plain engine, kernel by kernel, where the pictures are."""
    device = pack.train.device
    model = copy.deepcopy(case.model).to(device)
    learning = model.denses[-1] if isinstance(model, Cnn) and model.is_frozen else model
    part = Examples(*pack.train.take(case.rows_N.to(device)))
    with denormals_flushed():
        return fit(learning, pack.objective, part, pack.val, case.training, Memory())
