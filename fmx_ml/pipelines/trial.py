"""One trial of a search: a configuration is asked for, then trained as any other is."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fmx_ml.data.loader import HalfData
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.kernel.library import Engine
from fmx_ml.engine.train import Fit
from fmx_ml.errors import ExportError
from fmx_ml.models.cnn import Cnn
from fmx_ml.pipelines.cnn import conclude, learn, make_model, prepare_data
from fmx_ml.pipelines.common import describe_data, describe_machine, summarise_fit
from fmx_ml.pipelines.sampling import propose
from fmx_ml.results import NeededRun
from fmx_ml.search import configure
from fmx_ml.sinks import Sink
from fmx_ml.trainings import CnnTraining, TrialTraining


def run_trial(
    training: TrialTraining,
    sink: Sink,
    sources: DataSources,
    device: torch.device,
    needed: Sequence[NeededRun] = (),
    engine: Engine = "auto",
) -> dict[str, Any]:
    """Trains the trial's configuration; leaves what a training of it leaves.

    A trial that was given up or that diverged is a finished one too, so that the search goes on:
    it leaves the model of its best epoch. It leaves none where it diverged in its first, or where
    its weights have grown so large that torch and the export disagree about them.
    """
    proposal = propose(training, [run.outcome for run in needed])
    configured = configure_training(training, proposal.params)
    model = make_model(configured, device)
    data = prepare_data(configured, sources, sink)
    result = learn(
        model, data, configured, sink, engine, is_hopeless=proposal.is_hopeless, may_diverge=True
    )
    figures, has_model = _conclude(model, data, configured, result, sink)
    return {
        **figures,
        "trial": {"number": training.number, "params": proposal.params},
        "configuration": configured.model_dump(mode="json"),
        "pruned": result.ending == "pruned",
        "diverged": result.ending == "diverged" or not has_model,
        **describe_machine(device, result),
    }


def _conclude(
    model: Cnn, data: HalfData, training: CnnTraining, result: Fit, sink: Sink
) -> tuple[dict[str, Any], bool]:
    """What there is to summarise, and whether a model was left."""
    if not result.history:
        none = {"epochs": 0, "stopped_early": False, "seconds": result.seconds}
        return {**none, **describe_data(data, training)}, False
    try:
        return conclude(model, data, training, result, sink), True
    except ExportError:
        return {**summarise_fit(result), **describe_data(data, training)}, False


def configure_training(training: TrialTraining, params: Mapping[str, Any]) -> CnnTraining:
    """The training that one value of each dimension makes of a trial."""
    configuration = configure(params)
    return CnnTraining(
        seed=training.seed,
        split_seed=training.split_seed,
        dataset=training.dataset,
        half=training.half,
        max_epochs=training.max_epochs,
        early_stopping=training.early_stopping,
        fraction_percent=training.fraction_percent,
        **{name: getattr(configuration, name) for name in type(configuration).model_fields},
    )
