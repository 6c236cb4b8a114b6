"""Training several runs of one architecture together, each as `fit` trains it alone.

All runs go through an epoch, then all are measured; a run that has ended leaves, and the others
move up. The arithmetic is that of `fit` up to the order of sums.

Legend of shapes: N examples, S steps, M members.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fmx_ml.engine.ensemble.batches import BatchTables, Order, plan_epoch, spans
from fmx_ml.engine.ensemble.networks import stack_network
from fmx_ml.engine.ensemble.objectives import stack_objective
from fmx_ml.engine.ensemble.optimisers import Family, StackedOptimiser, family_of
from fmx_ml.engine.ensemble.runs import Entrant, Run, begin, learning_weights
from fmx_ml.engine.ensemble.stack import Stack
from fmx_ml.engine.ensemble.steps import Stepper
from fmx_ml.engine.evaluate import Examples
from fmx_ml.engine.objective import Objective
from fmx_ml.engine.train import Fit
from fmx_ml.errors import DivergedError
from fmx_ml.sinks import EpochMetrics

Ended = Callable[[int, Fit | Exception], None]


@dataclass(frozen=True)
class _Figures:
    """What an epoch has left on the device, on the CPU."""

    losses_SM: Tensor
    hits_SM: Tensor
    val_losses_M: Tensor
    val_hits_M: Tensor


def fit_together(
    objective: Objective,
    train: Examples,
    val: Examples,
    entrants: Sequence[Entrant],
    ended: Ended,
) -> None:
    """Trains all entrants, which must share architecture and batch size.

    `ended` is told of each, by its place, at the end of its last epoch: its fit, whose weights are
    on the CPU, or DivergedError, or StoppedError as soon as its sink wants an end. A run's seconds
    are its share of the time that all took. Each goes on from the newest checkpoint that its sink
    has.
    """
    runs = list(_begin(objective, train.device, entrants, ended))
    if not runs:
        return
    ensemble = _Ensemble(objective, train, val, runs, ended)
    try:
        while ensemble.runs:
            ensemble.run_epoch()
    except _AllStoppedError:
        return


def _begin(
    objective: Objective, device: torch.device, entrants: Sequence[Entrant], ended: Ended
) -> Iterator[Run]:
    """The runs that are to learn; tells of those whose last epoch is one of an earlier attempt."""
    for place, entrant in enumerate(entrants):
        try:
            run = begin(place, entrant, objective, device)
        except Exception as error:  # noqa: BLE001 - told, and the others go on
            ended(place, error)
            continue
        ending, found = run.ending(), run.checkpoint
        if ending is None or found is None:
            yield run
        else:
            ended(place, run.conclude(ending, found.best_weights, found.last_weights))


class _AllStoppedError(Exception):
    """No run is left that anybody waits for."""


class _Ensemble:
    """The runs that are still learning, most steps an epoch first; row by row in the stack."""

    def __init__(
        self,
        objective: Objective,
        train: Examples,
        val: Examples,
        runs: Sequence[Run],
        ended: Ended,
    ) -> None:
        self._ended = ended
        self.runs = sorted(runs, key=lambda run: -run.order.num_steps)
        models = [run.entrant.model for run in self.runs]
        self._has_hits = stack_objective(objective).counts_hits
        self._best_on = objective.best_on
        self._num_val = len(val)
        self._stack = Stack([learning_weights(model) for model in models], train.device)
        for row, run in enumerate(self.runs):
            if run.checkpoint is not None:
                self._stack.put_in(row, run.checkpoint, run.slots)
                run.checkpoint = None
        self._tables = BatchTables(self._orders, train)
        self._stepper = Stepper(
            stack_network(models[0], train.device),
            stack_objective(objective),
            StackedOptimiser.of([run.training.optimiser for run in self.runs]),
            self._stack,
            self._tables,
            (train, val),
        )
        self._next_look = 0.0
        self._plan = plan_epoch(self._orders)

    @property
    def _orders(self) -> list[Order]:
        return [run.order for run in self.runs]

    def run_epoch(self) -> None:
        """An epoch of all runs and their evaluation; those that have ended leave."""
        began = time.perf_counter()
        families: list[Family] = [family_of(run.training.optimiser) for run in self.runs]
        with self._stepper.recorder.running():
            self._tables.begin(self._plan)
            for count, num_steps in spans(self._orders):
                self._stepper.advance(families[:count], num_steps, self._look)
            self._stepper.evaluate(len(self.runs))
            self._plan = plan_epoch(self._orders)  # while a GPU is at work
            figures = self._read()
            self._note(figures, began)
            self._keep()
            self._let_go()

    def _look(self) -> None:
        """Tells at once of runs that are to stop; they leave at the epoch's end."""
        if time.monotonic() < self._next_look:
            return
        for run in self.runs:
            if run.error is None:
                try:
                    run.check_stop()
                except Exception as error:  # noqa: BLE001 - told, and the others go on
                    run.error = error
                    self._ended(run.place, error)
        if all(run.error is not None for run in self.runs):
            raise _AllStoppedError
        self._next_look = min(run.check_stop.due for run in self.runs if run.error is None)

    def _read(self) -> _Figures:
        """Waits for the device."""
        tables, stepper = self._tables, self._stepper
        return _Figures(
            losses_SM=tables.losses_SM.cpu(),
            hits_SM=tables.hits_SM.cpu(),
            val_losses_M=stepper.val_losses_M.cpu(),
            val_hits_M=stepper.val_hits_M.cpu(),
        )

    def _note(self, figures: _Figures, began: float) -> None:
        """Adds the epoch to each run's history, and remembers the weights of the best ones."""
        seconds = (time.perf_counter() - began) / len(self.runs)
        best: list[int] = []
        for row, run in enumerate(self.runs):
            if run.error is not None:
                continue
            try:
                metrics = self._measure(row, run, figures, seconds)
                if run.note(metrics, getattr(metrics, self._best_on), seconds):
                    best.append(row)
                run.entrant.sink.epoch(metrics)
            except Exception as error:  # noqa: BLE001 - told, and the others go on
                run.error = error
                self._ended(run.place, error)
        if best:
            self._stack.remember(best)

    def _keep(self) -> None:
        """Offers each sink what its run can be gone on from."""
        copy = self._stack.copy(len(self.runs))
        self._stepper.recorder.finish()
        for row, run in enumerate(self.runs):
            if run.error is None:
                run.entrant.sink.checkpoint(len(run.history), run.keep(row, copy))

    def _measure(self, row: int, run: Run, figures: _Figures, seconds: float) -> EpochMetrics:
        """The epoch of one run. Raises DivergedError."""
        order, epoch = run.order, len(run.history) + 1
        losses_S = figures.losses_SM[: order.num_steps, row].double()
        for step in (~losses_S.isfinite()).nonzero().flatten().tolist()[:1]:
            raise DivergedError(epoch, step + 1, losses_S[step].item())
        val_loss = figures.val_losses_M[row].item() / self._num_val
        if not math.isfinite(val_loss):
            raise DivergedError(epoch, None, val_loss)
        num_hits = figures.hits_SM[: order.num_steps, row].sum().item()
        return EpochMetrics(
            epoch=epoch,
            train_loss=(losses_S * order.sizes_S).sum().item() / order.num_examples,
            train_accuracy=num_hits / order.num_examples if self._has_hits else None,
            val_loss=val_loss,
            val_accuracy=figures.val_hits_M[row].item() / self._num_val if self._has_hits else None,
            seconds=seconds,
        )

    def _let_go(self) -> None:
        """Tells of the runs that have ended, and moves the others up."""
        stay: list[int] = []
        for row, run in enumerate(self.runs):
            ending = None if run.error is not None else run.ending()
            if ending is not None:
                best, last = (
                    self._stack.take_out(matrix_MW, row)
                    for matrix_MW in (self._stack.best_MW, self._stack.weights_MW)
                )
                self._ended(run.place, run.conclude(ending, best, last))
            elif run.error is None:
                stay.append(row)
        if len(stay) == len(self.runs):
            return
        self.runs = [self.runs[row] for row in stay]
        if stay:
            self._stack.keep(stay)
            self._plan = self._plan.keep(stay, self.runs[0].order.num_steps)
