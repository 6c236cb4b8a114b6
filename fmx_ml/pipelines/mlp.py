"""A multi-layer perceptron: from its training to the files and the summary that it leaves.

Legend of shapes: K classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from fmx_ml.data.classes import classes_of
from fmx_ml.data.loader import HalfData
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.denormals import denormals_flushed
from fmx_ml.engine.evaluate import to_device
from fmx_ml.engine.kernel.library import Engine
from fmx_ml.engine.kernel.preparation import prepare
from fmx_ml.engine.objective import Classification
from fmx_ml.engine.seeding import derive_seed
from fmx_ml.engine.train import Fit, fit
from fmx_ml.errors import UserError
from fmx_ml.model_card import MlpCard, input_of, outputs_of
from fmx_ml.models import build
from fmx_ml.models.autoencoder import Autoencoder
from fmx_ml.models.mlp import Mlp
from fmx_ml.pipelines.common import (
    CPU,
    describe_machine,
    leave_export,
    leave_history,
    leave_test_set,
    load_data,
    load_source,
    require_run,
    summarise_classifier,
    write_weights,
)
from fmx_ml.results import NeededRun
from fmx_ml.sinks import Sink
from fmx_ml.trainings import AutoencoderTraining, MlpTraining


def train_mlp(
    training: MlpTraining,
    sink: Sink,
    sources: DataSources,
    device: torch.device,
    needed: Sequence[NeededRun],
    engine: Engine = "auto",
) -> dict[str, Any]:
    """Trains a perceptron and leaves all that a job or a server needs of it.

    Raises:
        UserError: the autoencoder that it starts from is not there or does not fit.
        ExportError: that one's weights are not those that its card describes.
    """
    model = make_model(training, needed).to(device)
    sink.phase("data")
    data = load_data(training, sources)
    leave_test_set(data, sink)
    sink.phase("training")
    card = input_of(training.normalise)
    examples = to_device(data.train, device, card), to_device(data.val, device, card)
    prepared = prepare(model, Classification(len(data.classes)), engine)
    with denormals_flushed():
        result = fit(prepared.model, prepared.objective, *examples, training, sink)
    result = replace(result, engine=prepared.engine)
    del examples
    return {**conclude(model, data, training, result, sink), **describe_machine(device, result)}


def conclude(
    model: Mlp, data: HalfData, training: MlpTraining, result: Fit, sink: Sink
) -> dict[str, Any]:
    """Measures the best epoch and the last, and leaves the history and the best one's files."""
    leave_history(result.history, sink)
    sink.phase("evaluation")
    inputs = input_of(training.normalise)
    summary, probabilities_NK = summarise_classifier(
        model.to(CPU), data, result, training, inputs, sink
    )
    sink.phase("export")
    card = _describe(training, data, result, sink)
    return {**summary, **leave_export(model, card, data, probabilities_NK, sink)}


def make_model(training: MlpTraining, needed: Sequence[NeededRun]) -> Mlp:
    """The network on the CPU, its weights drawn from the seed or copied from an encoder."""
    weights = torch.Generator().manual_seed(derive_seed(training.seed, "weights"))
    model = build(training.model, len(classes_of(training.dataset, training.half)), weights)
    if training.encoder is not None:
        encoder = _require_encoder(training, training.encoder, needed)
        for dense, source in zip(model.denses, encoder.encoders, strict=True):
            dense.load_state_dict(source.state_dict())  # which copies
    return model


def _require_encoder(
    training: MlpTraining, source: str, needed: Sequence[NeededRun]
) -> Autoencoder:
    """The autoencoder whose training has the hash `source`. Raises UserError."""
    run = require_run(source, needed)
    theirs, name = run.outcome.training, run.outcome.name
    if not isinstance(theirs, AutoencoderTraining):
        raise UserError(f"run {name}, to start from, is no autoencoder")
    if theirs.model.structure != training.model.structure:
        raise UserError(
            f"the encoder of run {name} has the layers {_sizes(theirs)}, "
            f"this perceptron {_sizes(training)}"
        )
    if theirs.normalise != training.normalise:
        raise UserError(
            f"run {name} learnt from pixels normalised as {theirs.normalise!r}, "
            f"this perceptron takes them as {training.normalise!r}"
        )
    model = load_source(run)
    if not isinstance(model, Autoencoder):
        raise UserError(f"run {name}, to start from, left no autoencoder")
    return model


def _sizes(training: AutoencoderTraining | MlpTraining) -> str:
    return "-".join(map(str, training.model.sizes))


def _describe(training: MlpTraining, data: HalfData, result: Fit, sink: Sink) -> MlpCard:
    """Writes the weights and gives back the card."""
    return MlpCard(
        architecture=training.model,
        input=input_of(training.normalise),
        num_classes=len(data.classes),
        class_names=data.names,
        class_indices=data.classes,
        outputs=outputs_of(training.model, len(data.classes)),
        dataset=data.dataset,
        half=training.half,
        seed=training.seed,
        split_seed=training.split_seed,
        best_epoch=result.best_epoch,
        weights_sha256=write_weights(result.best_weights, sink),
    )
