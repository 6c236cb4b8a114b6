"""Several trainings that share network and pictures, trained together.

Each is prepared and concluded by its own pipeline, so that it leaves what it leaves alone; only the
training between is done for all at once.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from fmx_ml.data.sources import DataSources
from fmx_ml.engine.denormals import denormals_flushed
from fmx_ml.engine.device import full_precision
from fmx_ml.engine.ensemble.together import Entrant, fit_together
from fmx_ml.engine.evaluate import Examples
from fmx_ml.engine.features import extract
from fmx_ml.engine.train import Fit, copy_weights
from fmx_ml.models.cnn import Cnn
from fmx_ml.pipelines.common import CPU, describe_machine
from fmx_ml.pipelines.conclusions import Conclusions, Ended
from fmx_ml.pipelines.preparation import Common, Member, Prepared, prepare_common


def train_members(
    members: Sequence[Member], sources: DataSources, device: torch.device, ended: Ended
) -> None:
    """Trains members of one pack key; tells of each, by its place, when it has ended.

    Raises:
        DataUnavailableError: no verified copy of the data set can be had.
    """
    for member in members:
        member.sink.phase("data")
    common = prepare_common(members[0].training, sources)
    with Conclusions(ended, in_threads=device.type == "cuda") as conclusions, full_precision():
        _Pack(common, members, device, conclusions).train()


class _Pack:
    """The members that could be prepared, from then on."""

    def __init__(
        self,
        common: Common,
        members: Sequence[Member],
        device: torch.device,
        conclusions: Conclusions,
    ) -> None:
        self._common, self._device, self._conclusions = common, device, conclusions
        self._begun: list[tuple[int, Prepared]] = []  # places among all members
        self._feature_seconds = 0.0  # a member's share
        for place, member in enumerate(members):
            try:
                prepared = common.prepare(replace(member, sink=conclusions.guard(member.sink)))
                prepared.sink.phase("training")
                self._begun.append((place, prepared))
            except Exception as error:  # noqa: BLE001 - told, and the others go on
                conclusions.tell(place, error)

    def train(self) -> None:
        """Until the last member has ended."""
        if not self._begun:
            return
        examples = self._examples()
        entrants = [
            Entrant(each.training, each.sink, each.model, each.rows_N) for _, each in self._begun
        ]
        with self._flushing():
            fit_together(self._common.objective, *examples, entrants, self._ended)

    def _flushing(self) -> AbstractContextManager[None]:
        """As the pipelines of dense networks do."""
        is_dense = not isinstance(self._begun[0][1].model, Cnn)
        return denormals_flushed() if is_dense else nullcontext()

    def _examples(self) -> tuple[Examples, Examples]:
        """The pictures; of frozen networks, which are all the same, what they make of them."""
        train, val = self._common.examples(self._device)
        model = self._begun[0][1].model
        if not isinstance(model, Cnn) or not model.is_frozen:
            return train, val
        began = time.perf_counter()
        model.to(self._device)
        features = extract(model, train, _nobody_asks), extract(model, val, _nobody_asks)
        model.to(CPU)
        self._feature_seconds = (time.perf_counter() - began) / len(self._begun)
        return features

    def _ended(self, number: int, outcome: Fit | Exception) -> None:
        place, prepared = self._begun[number]
        if isinstance(outcome, Exception):
            self._conclusions.tell(place, outcome)
        else:
            result = self._complete(prepared, outcome)

            def conclude() -> dict[str, Any]:
                return {**prepared.conclude(result), **describe_machine(self._device, result)}

            self._conclusions.add(place, conclude)

    def _complete(self, prepared: Prepared, result: Fit) -> Fit:
        """The fit of the whole network, where its last layer was trained."""
        model = prepared.model
        if not isinstance(model, Cnn) or not model.is_frozen:
            return result
        return replace(
            result,
            best_weights=copy_weights(model) | result.best_weights,
            last_weights=copy_weights(model) | result.last_weights,
            seconds=result.seconds + self._feature_seconds,
        )


def _nobody_asks() -> None:
    """Features take less time than a stop may."""
