"""The pipelines: one run each, from its training to the files and the summary it leaves (torch)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from fmx_ml.data.sources import DataSources
from fmx_ml.engine.device import (
    cpu_threads,
    full_precision,
    memory_errors,
    resolve_device,
)
from fmx_ml.engine.kernel.library import Engine
from fmx_ml.packs import is_frozen, pack_key
from fmx_ml.pipelines.autoencoder import train_autoencoder
from fmx_ml.pipelines.cnn import train_cnn
from fmx_ml.pipelines.conclusions import Ended
from fmx_ml.pipelines.mlp import train_mlp
from fmx_ml.pipelines.pack import train_members
from fmx_ml.pipelines.preparation import Member
from fmx_ml.pipelines.trial import run_trial
from fmx_ml.results import NeededRun
from fmx_ml.sinks import Sink
from fmx_ml.trainings import AutoencoderTraining, CnnTraining, MlpTraining, Training, TrialTraining

__all__ = ["Member", "train", "train_pack"]


def train(
    training: Training,
    sink: Sink,
    *,
    sources: DataSources,
    device: str,
    num_threads: int | None = None,
    needed: Sequence[NeededRun] = (),
    engine: Engine = "auto",
) -> dict[str, Any]:
    """Runs one training, leaves its artifacts in the sink, and gives back its summary.

    Args:
        training: what to train.
        sink: where metrics and files go; asked often whether to stop.
        sources: where to look for the data set.
        device: auto, cpu or cuda.
        num_threads: threads of the CPU; None for as many as help.
        needed: the finished runs that the plan says this one needs.
        engine: auto, or torch for never the compiled kernel.

    Raises:
        UserError, DataUnavailableError, DivergedError, OutOfMemoryError, ExportError, StoppedError.
    """
    chosen = resolve_device(device)
    with cpu_threads(num_threads) as count, memory_errors(), full_precision():
        summary = _train(Member(training, sink, needed), sources, chosen, engine)
        summary["environment"]["threads"] = count
        return summary


def train_pack(
    members: Sequence[Member],
    *,
    sources: DataSources,
    device: str,
    num_threads: int | None = None,
    engine: Engine = "auto",
    ended: Callable[[int, dict[str, Any] | Exception], None],
) -> None:
    """Trains all members, those of equal pack keys together; each ends by itself.

    `ended` is told of each member, by its place in `members`, as soon as it has ended: its summary,
    or the error that ended it, one of those that `train` raises or one that nobody foresaw. A
    member whose sink wants an end is stopped alone; the others go on. On a GPU sinks and `ended`
    are called by several threads, one at a time.
    """
    with cpu_threads(num_threads) as count:
        for places in _group(members):
            tell = _Teller(places, count, ended)
            try:
                group = [members[place] for place in places]
                _train_group(group, sources, device, engine, tell)
            except Exception as error:  # noqa: BLE001 - told, and the others go on
                tell.rest(error)


class _Teller:
    """Tells of the members of a group by their places among all."""

    def __init__(self, places: Sequence[int], num_threads: int, ended: Ended) -> None:
        self._untold = dict(enumerate(places))
        self._num_threads, self._ended = num_threads, ended

    def __call__(self, place: int, outcome: dict[str, Any] | Exception) -> None:
        if not isinstance(outcome, Exception):
            outcome["environment"]["threads"] = self._num_threads
        self._ended(self._untold.pop(place), outcome)

    def rest(self, error: Exception) -> None:
        """The error ended all that had not ended yet."""
        for place in list(self._untold):
            self(place, error)


def _group(members: Sequence[Member]) -> list[list[int]]:
    """Places of the members that train together, in the order of their first."""
    groups: dict[str | int, list[int]] = {}
    for place, member in enumerate(members):
        key = pack_key(member.training)
        groups.setdefault(place if key is None else key, []).append(place)
    return list(groups.values())


def _train_group(
    members: Sequence[Member],
    sources: DataSources,
    device: str,
    engine: Engine,
    ended: Ended,
) -> None:
    """Trains members of one key. Raises what ends all of them that have not ended yet."""
    chosen = resolve_device(device)
    with memory_errors():
        if len(members) == 1:
            ended(0, _train(members[0], sources, chosen, engine))
        else:
            train_members(members, sources, chosen, ended)


def _trains_in_packs(training: Training, device: torch.device) -> bool:
    """On a GPU, where the steps of a pack are launched as a whole; on a CPU last layers."""
    return device.type == "cuda" or is_frozen(training)


def _train(
    member: Member, sources: DataSources, device: torch.device, engine: Engine
) -> dict[str, Any]:
    """One member: as a pack of one where packs train best, so that company changes no bit."""
    if pack_key(member.training) is not None and _trains_in_packs(member.training, device):
        outcomes: list[dict[str, Any] | Exception] = []
        train_members([member], sources, device, lambda _, outcome: outcomes.append(outcome))
        if isinstance(outcomes[0], Exception):
            raise outcomes[0]
        return outcomes[0]
    sink = member.sink
    match member.training:
        case CnnTraining() as training:
            return train_cnn(training, sink, sources, device, member.needed, engine)
        case AutoencoderTraining() as training:
            return train_autoencoder(training, sink, sources, device, engine)
        case MlpTraining() as training:
            return train_mlp(training, sink, sources, device, member.needed, engine)
        case TrialTraining() as training:
            return run_trial(training, sink, sources, device, member.needed, engine)
