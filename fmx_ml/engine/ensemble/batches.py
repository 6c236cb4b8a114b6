"""What each step of an epoch learns from, for all runs, laid out before the epoch begins.

Runs are in the order of their steps an epoch, most first, so that those still learning at a step
are always the first ones.

Legend of shapes: N examples, S steps, M members, B batch, Q numbers of a pace.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fmx_ml.engine.ensemble.objectives import NO_PICTURE
from fmx_ml.engine.ensemble.optimisers import NUM_COLUMNS, make_pace
from fmx_ml.engine.evaluate import Examples
from fmx_ml.engine.seeding import derive_seed
from fmx_ml.engine.train import FitTraining

_NO_ROW = -1


class Order:
    """In which order a run sees its pictures: that of the same run alone."""

    def __init__(self, training: FitTraining, rows_N: Tensor) -> None:
        """`rows_N` are the places of the run's pictures among all that are learnt from."""
        self.training = training
        self._rows_N = rows_N
        self.generator = torch.Generator().manual_seed(derive_seed(training.seed, "order"))
        self.epoch = 0  # that was drawn last
        self.state = self.generator.get_state()  # before it was

    @property
    def num_examples(self) -> int:
        """Pictures an epoch."""
        return len(self._rows_N)

    @property
    def num_steps(self) -> int:
        """Steps an epoch."""
        return math.ceil(self.num_examples / self.training.batch_size)

    @property
    def sizes_S(self) -> Tensor:
        """Pictures of each step."""
        size = self.training.batch_size
        sizes_S = torch.full((self.num_steps,), size)
        sizes_S[-1] = self.num_examples - (self.num_steps - 1) * size
        return sizes_S

    def restore(self, epoch: int, state: Tensor) -> None:
        """Goes on after an epoch, with what was the generator's state then."""
        self.generator.set_state(state)
        self.epoch = epoch

    def draw(self) -> Tensor:
        """The next epoch's rows, [S, B]; where the last batch has no picture stands _NO_ROW."""
        self.state = self.generator.get_state()
        self.epoch += 1
        shuffled_N = torch.randperm(self.num_examples, generator=self.generator)
        rows = torch.full((self.num_steps * self.training.batch_size,), _NO_ROW)
        torch.index_select(self._rows_N, 0, shuffled_N, out=rows[: self.num_examples])
        return rows.view(self.num_steps, -1)


@dataclass(frozen=True)
class EpochPlan:
    """An epoch's rows [S, M, B] and paces [S, M, Q] on the CPU."""

    rows_SMB: Tensor
    pace_SMQ: Tensor

    def keep(self, places: Sequence[int], num_steps: int) -> "EpochPlan":
        """Without the other runs, which have ended."""
        columns = torch.tensor(places)
        rows_SMB, pace_SMQ = (
            table[:num_steps].index_select(1, columns) for table in (self.rows_SMB, self.pace_SMQ)
        )
        return EpochPlan(rows_SMB, pace_SMQ)


def plan_epoch(orders: Sequence[Order]) -> EpochPlan:
    """What the runs do in the next epoch of each."""
    num_steps, batch_size = orders[0].num_steps, orders[0].training.batch_size
    rows_SMB = torch.full((num_steps, len(orders), batch_size), _NO_ROW)
    pace_SMQ = torch.zeros(num_steps, len(orders), NUM_COLUMNS)
    for place, order in enumerate(orders):
        rows_SMB[: order.num_steps, place] = order.draw()
        pace_SQ = make_pace(order.training, order.num_examples, order.epoch)
        pace_SMQ[: order.num_steps, place] = torch.from_numpy(pace_SQ)
    return EpochPlan(rows_SMB, pace_SMQ)


def spans(orders: Sequence[Order]) -> Iterator[tuple[int, int]]:
    """How many runs learn, and for how many steps on end; from an epoch's first to its last."""
    done = 0
    for count in range(len(orders), 0, -1):
        num_steps = orders[count - 1].num_steps
        if num_steps > done:
            yield count, num_steps - done
            done = num_steps


class BatchTables:
    """An epoch's tables on the device, at the same place for every epoch, and what came of it."""

    def __init__(self, orders: Sequence[Order], train: Examples) -> None:
        """As large as the first epoch needs; later ones have no more steps or runs."""
        shape = orders[0].num_steps, len(orders)
        device, batch_size = train.device, orders[0].training.batch_size
        self._labels_N = train.labels_N
        self.rows_SMB = torch.zeros(*shape, batch_size, dtype=torch.int64, device=device)
        self.labels_SMB = torch.zeros_like(self.rows_SMB)
        self.pace_SMQ = torch.zeros(*shape, NUM_COLUMNS, device=device)
        self.losses_SM = torch.zeros(shape, device=device)
        self.hits_SM = torch.zeros(shape, dtype=torch.int64, device=device)
        self.step_1 = torch.zeros(1, dtype=torch.int64, device=device)

    def begin(self, plan: EpochPlan) -> None:
        """Takes in an epoch's plan and goes to its first step."""
        steps, count = plan.rows_SMB.shape[:2]
        rows_SMB = plan.rows_SMB.to(self.rows_SMB.device)
        has_picture = rows_SMB != _NO_ROW
        rows_SMB = rows_SMB.clamp(min=0)
        labels_SMB = self._labels_N.index_select(0, rows_SMB.flatten()).view_as(rows_SMB)
        self.rows_SMB[:steps, :count] = rows_SMB
        self.labels_SMB[:steps, :count] = torch.where(has_picture, labels_SMB, NO_PICTURE)
        self.pace_SMQ[:steps, :count] = plan.pace_SMQ.to(self.pace_SMQ.device)
        self.step_1.zero_()

    def read(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Rows [M, B], labels [M, B] and pace [M, Q] of the step, of the first members."""
        rows, labels, pace = (
            table.index_select(0, self.step_1)[0, :count]
            for table in (self.rows_SMB, self.labels_SMB, self.pace_SMQ)
        )
        return rows, labels, pace

    def note(self, losses_M: Tensor, hits_M: Tensor | None) -> None:
        """Keeps what came of the step, and goes to the next."""
        count = len(losses_M)
        self.losses_SM[:, :count].index_copy_(0, self.step_1, losses_M.detach()[None])
        if hits_M is not None:
            self.hits_SM[:, :count].index_copy_(0, self.step_1, hits_M[None])
        self.step_1.add_(1)
