"""The pipelines: one run each, from its training to the files and the summary it leaves (torch)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fmx_ml.data.sources import DataSources
from fmx_ml.engine.device import cpu_threads, memory_errors, resolve_device
from fmx_ml.engine.kernel.library import Engine
from fmx_ml.pipelines.autoencoder import train_autoencoder
from fmx_ml.pipelines.cnn import train_cnn
from fmx_ml.pipelines.mlp import train_mlp
from fmx_ml.pipelines.trial import run_trial
from fmx_ml.results import NeededRun
from fmx_ml.sinks import Sink
from fmx_ml.trainings import AutoencoderTraining, CnnTraining, MlpTraining, Training, TrialTraining


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
    with cpu_threads(num_threads) as count, memory_errors():
        match training:
            case CnnTraining():
                summary = train_cnn(training, sink, sources, chosen, needed, engine)
            case AutoencoderTraining():
                summary = train_autoencoder(training, sink, sources, chosen, engine)
            case MlpTraining():
                summary = train_mlp(training, sink, sources, chosen, needed, engine)
            case TrialTraining():
                summary = run_trial(training, sink, sources, chosen, needed, engine)
        summary["environment"]["threads"] = count
        return summary


@dataclass(frozen=True)
class Member:
    """A training of a pack, where its metrics and files go, and the finished runs it needs."""

    training: Training
    sink: Sink
    needed: Sequence[NeededRun] = ()


def train_pack(
    members: Sequence[Member],
    *,
    sources: DataSources,
    device: str,
    num_threads: int | None = None,
    engine: Engine = "auto",
    ended: Callable[[int, dict[str, Any] | Exception], None],
) -> None:
    """Trains all members, together where that is faster; each ends by itself.

    `ended` is told of each member, by its place in `members`, as soon as it has ended: its summary,
    or the error that ended it, one of those that `train` raises or one that nobody foresaw. A
    member whose sink wants an end is stopped alone; the others go on.
    """
    for place, member in enumerate(members):
        try:
            outcome: dict[str, Any] | Exception = train(
                member.training,
                member.sink,
                sources=sources,
                device=device,
                num_threads=num_threads,
                needed=member.needed,
                engine=engine,
            )
        except Exception as error:  # noqa: BLE001 - told, and the others go on
            outcome = error
        ended(place, outcome)
