"""A convolutional classifier: from its training to the files and the summary that it leaves.

Legend of shapes: N examples, C channels, H W pixels, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from safetensors.numpy import save

from fmx_ml.data.classes import classes_of
from fmx_ml.data.loader import HalfData, first_of_each
from fmx_ml.data.sources import DataSources, Pictures
from fmx_ml.engine.augmentation import augment
from fmx_ml.engine.evaluate import to_device
from fmx_ml.engine.features import fit_last_layer, has_fixed_features
from fmx_ml.engine.kernel.library import Engine
from fmx_ml.engine.kernel.preparation import prepare
from fmx_ml.engine.objective import Classification
from fmx_ml.engine.seeding import derive_seed
from fmx_ml.engine.train import Fit, fit, never
from fmx_ml.files import FEATURE_MAPS_FILE
from fmx_ml.model_card import CnnCard, InputCard, outputs_of
from fmx_ml.models import build
from fmx_ml.models.cnn import Cnn
from fmx_ml.pipelines.common import (
    CPU,
    describe_machine,
    leave_export,
    leave_history,
    leave_test_set,
    load_data,
    summarise_classifier,
    write_weights,
)
from fmx_ml.pipelines.transfer import start_from
from fmx_ml.results import NeededRun
from fmx_ml.sinks import EpochMetrics, Sink
from fmx_ml.trainings import CnnTraining

_INPUTS = InputCard()


def train_cnn(
    training: CnnTraining,
    sink: Sink,
    sources: DataSources,
    device: torch.device,
    needed: Sequence[NeededRun] = (),
    engine: Engine = "auto",
) -> dict[str, Any]:
    """Trains a convolutional classifier and leaves all that a job or a server needs of it.

    Raises:
        UserError: the run that it starts from is not there or does not fit.
    """
    model = make_model(training, device, needed)
    data = prepare_data(training, sources, sink)
    result = learn(model, data, training, sink, engine)
    return {**conclude(model, data, training, result, sink), **describe_machine(device, result)}


def make_model(
    training: CnnTraining, device: torch.device, needed: Sequence[NeededRun] = ()
) -> Cnn:
    """The network on the device, its weights drawn from the seed or taken from a finished run."""
    weights = torch.Generator().manual_seed(derive_seed(training.seed, "weights"))
    model = build(training.model, len(classes_of(training.dataset, training.half)), weights)
    if training.transfer is not None:
        start_from(model, training.transfer, needed)
    model.dropout.seed(derive_seed(training.seed, "dropout"), device)
    # Faster convolutions. torch's overloads leave memory_format out.
    model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return model


def prepare_data(training: CnnTraining, sources: DataSources, sink: Sink) -> HalfData:
    """The training's pictures; those of the test set are left in the sink."""
    sink.phase("data")
    data = load_data(training, sources)
    leave_test_set(data, sink)
    return data


def learn(
    model: Cnn,
    data: HalfData,
    training: CnnTraining,
    sink: Sink,
    engine: Engine = "auto",
    *,
    is_hopeless: Callable[[Sequence[EpochMetrics]], bool] = never,
    may_diverge: bool = False,
) -> Fit:
    """Trains the model where it lies, and leaves the history in the sink."""
    sink.phase("training")
    device = model.denses[-1].weight.device
    train, val = to_device(data.train, device), to_device(data.val, device)
    prepared = prepare(model, Classification(len(data.classes)), engine)
    if has_fixed_features(model, training):
        result = fit_last_layer(model, prepared.objective, train, val, training, sink)
    else:
        result = fit(
            prepared.model,
            prepared.objective,
            augment(train, training.augmentation, training.seed),
            val,
            training,
            sink,
            is_hopeless=is_hopeless,
            may_diverge=may_diverge,
        )
    leave_history(result.history, sink)
    return replace(result, engine=prepared.engine)


def conclude(
    model: Cnn, data: HalfData, training: CnnTraining, result: Fit, sink: Sink
) -> dict[str, Any]:
    """Measures the best epoch and the last, and leaves the best one's files in the sink."""
    sink.phase("evaluation")
    summary, probabilities_NK = summarise_classifier(
        model.to(CPU), data, result, training, _INPUTS, sink
    )
    _leave_feature_maps(model, data.test, sink)
    sink.phase("export")
    card = _describe(training, data, result, sink)
    return {**summary, **leave_export(model, card, data, probabilities_NK, sink)}


def _leave_feature_maps(model: Cnn, test: Pictures, sink: Sink) -> None:
    """Of the first test picture of each class, what leaves each convolution.

    Images uint8 [K, 28, 28] and labels int64 [K]; conv1, conv2, … float32 [K, C, H, W], after the
    relu and before any pooling.
    """
    rows_K = first_of_each(test.labels_N, 1)
    pictures = Pictures(test.images_NHW[rows_K], test.labels_N[rows_K])
    with torch.inference_mode():
        maps = model.eval().feature_maps(to_device(pictures, CPU).images_NCHW)
        arrays = {f"conv{n}": maps_KCHW.contiguous().numpy() for n, maps_KCHW in enumerate(maps, 1)}
    content = save({"images": pictures.images_NHW, "labels": pictures.labels_N, **arrays})
    sink.path(FEATURE_MAPS_FILE).write_bytes(content)
    sink.artifact(FEATURE_MAPS_FILE)


def _describe(training: CnnTraining, data: HalfData, result: Fit, sink: Sink) -> CnnCard:
    """Writes the weights and gives back the card."""
    return CnnCard(
        architecture=training.model,
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
