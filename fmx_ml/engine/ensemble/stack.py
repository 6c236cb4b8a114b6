"""The weights of several runs in one matrix, and what their optimisers remember of them.

The memory stays where it is while rows come to rest and leave, so that work recorded as a CUDA
graph keeps finding it.

Legend of shapes: M members, W weights of one of them.
"""

from collections.abc import Sequence
from copy import copy
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from fmx_ml.engine.checkpoint import Checkpoint
from fmx_ml.engine.train import Weights


class Stack:
    """Weights, the optimiser's two moments and the best weights so far, each [M, W]."""

    def __init__(self, members: Sequence[Weights], device: torch.device) -> None:
        """Copies the members' weights, which must be alike in names and shapes."""
        self._shapes = {name: weight.shape for name, weight in members[0].items()}
        ends = accumulate((shape.numel() for shape in self._shapes.values()), initial=0)
        self._places = list(pairwise(ends))
        rows = [torch.cat([weight.detach().flatten() for weight in each.values()])
                for each in members]  # fmt: skip
        self.weights_MW = torch.stack(rows).to(device)
        self.first_moments_MW = torch.zeros_like(self.weights_MW)
        self.second_moments_MW = torch.zeros_like(self.weights_MW)
        self.best_MW = torch.zeros_like(self.weights_MW)
        self._leaves: dict[int, dict[str, Tensor]] = {}

    def leaves(self, count: int) -> dict[str, Tensor]:
        """The weights of the first members by name, [count, ...], to be derived by."""
        if count not in self._leaves:
            rows = self.weights_MW[:count]
            self._leaves[count] = {
                name: rows[:, start:stop].view(count, *shape).detach().requires_grad_()
                for (name, shape), (start, stop) in zip(
                    self._shapes.items(), self._places, strict=True
                )
            }
        return self._leaves[count]

    def keep(self, rows: Sequence[int]) -> None:
        """Moves these rows to the front, in this order."""
        index = torch.tensor(rows, device=self.weights_MW.device)
        for matrix in (self.weights_MW, self.first_moments_MW, self.second_moments_MW,
                       self.best_MW):  # fmt: skip
            matrix[: len(rows)] = matrix.index_select(0, index)

    def remember(self, rows: Sequence[int]) -> None:
        """Takes the weights of these rows, as they are now, for their best."""
        index = torch.tensor(rows, device=self.weights_MW.device)
        self.best_MW[index] = self.weights_MW.index_select(0, index)

    def put_in(self, row: int, checkpoint: Checkpoint, slots: Sequence[str]) -> None:
        """Makes one member what it was; the optimiser's slots are those of its two moments."""
        kept = {"weights_MW": checkpoint.last_weights, "best_MW": checkpoint.best_weights}
        for moment, slot in zip(("first_moments_MW", "second_moments_MW"), slots, strict=False):
            kept[moment] = checkpoint.moments[slot]
        for matrix, weights in kept.items():
            row_W = torch.cat([weights[name].flatten() for name in self._shapes])
            getattr(self, matrix)[row] = row_W.to(self.weights_MW.device)

    def copy(self, count: int) -> "Stack":
        """The first members as they are now, in memory of their own."""
        copied = copy(self)
        for matrix in ("weights_MW", "first_moments_MW", "second_moments_MW", "best_MW"):
            setattr(copied, matrix, getattr(self, matrix)[:count].clone())
        return copied

    def take_out(self, matrix_MW: Tensor, row: int) -> Weights:
        """One member's weights by name, on the CPU, in memory of their own."""
        row_W = matrix_MW[row].cpu().clone()
        return {
            name: row_W[start:stop].view(shape).clone()
            for (name, shape), (start, stop) in zip(self._shapes.items(), self._places, strict=True)
        }
