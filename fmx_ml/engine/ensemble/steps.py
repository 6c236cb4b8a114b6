"""One step of all runs, and their evaluation; recorded where the device can replay it.

Legend of shapes: M members, N examples, B batch, W weights of one member.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from fmx_ml.engine.ensemble.batches import BatchTables
from fmx_ml.engine.ensemble.graphs import Recorder, Work
from fmx_ml.engine.ensemble.networks import StackedNetwork
from fmx_ml.engine.ensemble.objectives import StackedObjective
from fmx_ml.engine.ensemble.optimisers import (
    SHARE,
    Family,
    StackedOptimiser,
    gather_gradients,
)
from fmx_ml.engine.ensemble.stack import Stack
from fmx_ml.engine.evaluate import BATCH_SIZE, Examples

_EVALUATED = 8_000  # pictures at once, counted once a member: what they become fits any GPU


def _evaluated_at_once(count: int, device: torch.device) -> int:
    """Pictures; on a CPU as many whatever the company, so that it changes no bit of a run."""
    return BATCH_SIZE if device.type == "cpu" else max(1, _EVALUATED // count)


class Stepper:
    """Everything that stays at its place in memory while the runs come to rest one by one."""

    def __init__(
        self,
        network: StackedNetwork,
        objective: StackedObjective,
        optimiser: StackedOptimiser,
        stack: Stack,
        tables: BatchTables,
        examples: tuple[Examples, Examples],
    ) -> None:
        """`examples` are those to learn from and those to measure on."""
        self.network, self.objective, self.optimiser = network, objective, optimiser
        self.stack, self.tables = stack, tables
        self._train, self._val = examples
        self._works: dict[tuple[object, ...], Work] = {}
        num_members = len(stack.weights_MW)
        device = self._train.device
        self.val_losses_M = torch.zeros(num_members, dtype=torch.float64, device=device)
        self.val_hits_M = torch.zeros(num_members, dtype=torch.int64, device=device)
        self.recorder = Recorder(device)

    def advance(self, families: Sequence[Family], num_steps: int, look: Callable[[], None]) -> None:
        """So many steps of the first members, whose optimisers are of these families."""
        step = self._recorded(("step", *families), partial(self._step, families))
        for _ in range(num_steps):
            look()
            step()

    def evaluate(self, count: int) -> None:
        """Measures the first members on the pictures to measure on."""
        self._recorded(("evaluation", count), partial(self._measure, count))()

    def _recorded(self, key: tuple[object, ...], work: Work) -> Work:
        if key not in self._works:
            self._works[key] = self.recorder.record(work)
        return self._works[key]

    def _step(self, families: Sequence[Family]) -> None:
        count = len(families)
        rows_MB, labels_MB, pace_MQ = self.tables.read(count)
        leaves = self.stack.leaves(count)
        inputs = self.network.take(self._train.images_NCHW, rows_MB)
        outputs = self.network(leaves, inputs)
        sums_M, hits_M = self.objective.count(outputs, inputs, labels_MB)
        losses_M = sums_M * pace_MQ[:, SHARE]
        gradients_MW = gather_gradients(losses_M, list(leaves.values()))
        self.optimiser.step(self.stack, gradients_MW, pace_MQ, families)
        self.tables.note(losses_M, hits_M)

    @torch.no_grad()
    def _measure(self, count: int) -> None:
        losses_M, hits_M = self.val_losses_M[:count].zero_(), self.val_hits_M[:count].zero_()
        weights = self.stack.leaves(count)
        size = _evaluated_at_once(count, self._val.device)
        for images_N, labels_N in self._val.batches(size):
            inputs = self.network.share(images_N, count)
            labels_MB = labels_N.expand(count, -1)
            found: tuple[Tensor, Tensor | None] = self.objective.count(
                self.network(weights, inputs), inputs, labels_MB
            )
            losses_M += found[0]
            if found[1] is not None:
                hits_M += found[1]
