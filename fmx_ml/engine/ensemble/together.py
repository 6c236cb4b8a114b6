"""Training several runs of one architecture together, each as `fit` trains it alone.

All runs go through an epoch, then all are measured; a run that has ended leaves, and the others
move up. The arithmetic is that of `fit` up to the order of sums.

Legend of shapes: N examples, S steps, M members.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from fmx_ml.engine.early_stopping import has_converged, watched_losses
from fmx_ml.engine.ensemble.batches import BatchTables, Order, plan_epoch, spans
from fmx_ml.engine.ensemble.networks import stack_network
from fmx_ml.engine.ensemble.objectives import stack_objective
from fmx_ml.engine.ensemble.optimisers import Family, StackedOptimiser, family_of
from fmx_ml.engine.ensemble.stack import Stack
from fmx_ml.engine.ensemble.steps import Stepper
from fmx_ml.engine.evaluate import Examples
from fmx_ml.engine.objective import Objective
from fmx_ml.engine.stop import StopCheck
from fmx_ml.engine.train import Ending, Fit, FitTraining
from fmx_ml.errors import DivergedError
from fmx_ml.sinks import EpochMetrics, Sink

Ended = Callable[[int, Fit | Exception], None]


@dataclass(frozen=True)
class Entrant:
    """A run that is to train with others: its network, and which pictures of theirs it learns from.

    The network is only read; of a frozen one the last layer learns.
    """

    training: FitTraining
    sink: Sink
    model: nn.Module
    rows_N: Tensor


@dataclass
class _Run:
    """A run on its way."""

    place: int
    entrant: Entrant
    order: Order
    check_stop: StopCheck
    history: list[EpochMetrics] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    seconds: float = 0.0
    error: Exception | None = None

    @property
    def training(self) -> FitTraining:
        return self.entrant.training

    def ending(self) -> Ending | None:
        """What ends it after the epoch that was noted last, if anything does."""
        rule = self.training.early_stopping
        if rule and has_converged(
            watched_losses(self.history, rule, self.training.batch_size), rule
        ):
            return "converged"
        return "max_epochs" if len(self.history) == self.training.max_epochs else None


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
    are its share of the time that all took.
    """
    ensemble = _Ensemble(objective, train, val, entrants, ended)
    try:
        while ensemble.runs:
            ensemble.run_epoch()
    except _AllStoppedError:
        return


class _AllStoppedError(Exception):
    """No run is left that anybody waits for."""


class _Ensemble:
    """The runs that are still learning, most steps an epoch first; row by row in the stack."""

    def __init__(
        self,
        objective: Objective,
        train: Examples,
        val: Examples,
        entrants: Sequence[Entrant],
        ended: Ended,
    ) -> None:
        self._ended = ended
        runs = [
            _Run(place, entrant, Order(entrant.training, entrant.rows_N), StopCheck(entrant.sink))
            for place, entrant in enumerate(entrants)
        ]
        self.runs = sorted(runs, key=lambda run: -run.order.num_steps)
        models = [run.entrant.model for run in self.runs]
        self._has_hits = stack_objective(objective).counts_hits
        self._best_on = objective.best_on
        self._num_val = len(val)
        self._stack = Stack([learning_weights(model) for model in models], train.device)
        self._tables = BatchTables(self._orders, train)
        self._stepper = Stepper(
            stack_network(models[0], train.device),
            stack_objective(objective),
            StackedOptimiser.of([run.training.optimiser for run in self.runs]),
            self._stack,
            self._tables,
            (train, val),
        )
        self._epoch = 1
        self._next_look = 0.0
        self._plan = plan_epoch(self._orders, self._epoch)

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
            self._plan = plan_epoch(self._orders, self._epoch + 1)  # while a GPU is at work
            figures = self._read()
            self._note(figures, began)
            self._let_go()
        self._epoch += 1

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
                run.history.append(metrics)
                run.seconds += seconds
                run.entrant.sink.epoch(metrics)
            except Exception as error:  # noqa: BLE001 - told, and the others go on
                run.error = error
                self._ended(run.place, error)
                continue
            loss = getattr(metrics, self._best_on)
            if loss < run.best_loss:
                run.best_epoch, run.best_loss = self._epoch, loss
                best.append(row)
        if best:
            self._stack.remember(best)

    def _measure(self, row: int, run: _Run, figures: _Figures, seconds: float) -> EpochMetrics:
        """The epoch of one run. Raises DivergedError."""
        order = run.order
        losses_S = figures.losses_SM[: order.num_steps, row].double()
        for step in (~losses_S.isfinite()).nonzero().flatten().tolist()[:1]:
            raise DivergedError(self._epoch, step + 1, losses_S[step].item())
        val_loss = figures.val_losses_M[row].item() / self._num_val
        if not math.isfinite(val_loss):
            raise DivergedError(self._epoch, None, val_loss)
        num_hits = figures.hits_SM[: order.num_steps, row].sum().item()
        return EpochMetrics(
            epoch=self._epoch,
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
                self._ended(run.place, self._conclude(row, run, ending))
            elif run.error is None:
                stay.append(row)
        if len(stay) == len(self.runs):
            return
        self.runs = [self.runs[row] for row in stay]
        if stay:
            self._stack.keep(stay)
            self._plan = self._plan.keep(stay, self.runs[0].order.num_steps)

    def _conclude(self, row: int, run: _Run, ending: Ending) -> Fit:
        return Fit(
            history=run.history,
            best_epoch=run.best_epoch,
            best_weights=self._stack.take_out(self._stack.best_MW, row),
            last_weights=self._stack.take_out(self._stack.weights_MW, row),
            ending=ending,
            seconds=run.seconds,
            engine="torch ensemble",
        )


def learning_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that learn, by name."""
    return {
        name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad
    }
