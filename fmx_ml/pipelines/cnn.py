"""A convolutional classifier: from its training to the files and the summary that it leaves.

Legend of shapes: N examples, H W pixels, K classes.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from fmx_ml.data.loader import HalfData, load_half
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.device import describe_device
from fmx_ml.engine.evaluate import count_confusion, measure, predict, score_classes, to_device
from fmx_ml.engine.seeding import derive_seed
from fmx_ml.engine.stop import StopCheck
from fmx_ml.engine.train import Fit, fit
from fmx_ml.environment import describe_environment
from fmx_ml.export import ExportCheck, export_onnx, save_card, save_weights
from fmx_ml.files import (
    CARD_FILE,
    HISTORY_FILE,
    ONNX_FILE,
    PREDICTIONS_FILE,
    TEST_SET_FILE,
    WEIGHTS_FILE,
    write_csv,
)
from fmx_ml.model_card import ModelCard, outputs_of
from fmx_ml.models import build
from fmx_ml.models.cnn import Cnn
from fmx_ml.sinks import EpochMetrics, Sink
from fmx_ml.trainings import CnnTraining

_CPU = torch.device("cpu")


def train_cnn(
    training: CnnTraining, sink: Sink, sources: DataSources, device: torch.device
) -> dict[str, Any]:
    """Trains a convolutional classifier and leaves all that a job or a server needs of it."""
    sink.phase("data")
    data = load_half(training.dataset, training.half, training.split_seed, sources)
    _save_test_set(data, sink)
    weights = torch.Generator().manual_seed(derive_seed(training.seed, "weights"))
    model = build(training.model, len(data.classes), weights)
    # Faster convolutions. torch's overloads leave memory_format out.
    model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    sink.phase("training")
    examples = to_device(data.train, device), to_device(data.val, device)
    result = fit(model, *examples, training, sink)
    del examples
    _save_history(result.history, sink)
    sink.phase("evaluation")
    summary = _summarise(model.to(_CPU), data, result, sink)
    sink.phase("export")
    check = _export(model, data, training, result, sink)
    return {
        **summary,
        "device": describe_device(device),
        "export": {
            "pictures": check.num_pictures,
            "max_abs_difference": check.max_abs_difference,
            "different_predictions": check.num_different_predictions,
        },
        "environment": describe_environment(),
    }


def _summarise(model: Cnn, data: HalfData, result: Fit, sink: Sink) -> dict[str, Any]:
    """The figures of the best and of the last epoch; the model is left with the best weights.

    Everything is measured on the CPU, where the export is compared and served.
    """
    check_stop = StopCheck(sink)
    test = to_device(data.test, _CPU)
    model.load_state_dict(result.last_weights)
    last_loss, last_accuracy = measure(model, test, check_stop)
    model.load_state_dict(result.best_weights)
    test_loss, test_accuracy = measure(model, test, check_stop)
    train_loss, train_accuracy = measure(model, to_device(data.train, _CPU), check_stop)
    probabilities_NK = predict(model, test)
    _save_predictions(data, probabilities_NK, sink)
    predictions_N = probabilities_NK.argmax(1)
    confusion = count_confusion(data.test.labels_N, predictions_N, len(data.classes))
    best = _figures(result.history[result.best_epoch - 1])
    return {
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "stopped_early": result.stopped_early,
        "seconds": result.seconds,
        "num_parameters": sum(weight.numel() for weight in model.parameters()),
        **best,
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "best_weights_train_loss": train_loss,
        "best_weights_train_accuracy": train_accuracy,
        "last": {
            "epoch": len(result.history),
            **_figures(result.history[-1]),
            "test_loss": last_loss,
            "test_accuracy": last_accuracy,
        },
        "confusion": confusion,
        "per_class": score_classes(confusion, data.names),
        "data": {
            "dataset": data.dataset,
            "half": data.half,
            "source": data.source,
            "checksums": dict(data.checksums),
        },
    }


def _figures(metrics: EpochMetrics) -> dict[str, float | None]:
    return metrics.model_dump(include={"train_loss", "train_accuracy", "val_loss", "val_accuracy"})


def _export(
    model: Cnn, data: HalfData, training: CnnTraining, result: Fit, sink: Sink
) -> ExportCheck:
    sha256 = save_weights(result.best_weights, sink.path(WEIGHTS_FILE))
    card = ModelCard(
        architecture=training.model,
        num_classes=len(data.classes),
        class_names=data.names,
        class_indices=data.classes,
        outputs=outputs_of(training.model, len(data.classes)),
        dataset=training.dataset,
        half=training.half,
        seed=training.seed,
        split_seed=training.split_seed,
        best_epoch=result.best_epoch,
        weights_sha256=sha256,
    )
    save_card(card, sink.path(CARD_FILE))
    check = export_onnx(model, card, data.test, sink.path(ONNX_FILE))
    for name in (WEIGHTS_FILE, CARD_FILE, ONNX_FILE):
        sink.artifact(name)
    return check


def _save_test_set(data: HalfData, sink: Sink) -> None:
    """Images uint8 [N, 28, 28] and labels int64 [N]: equal test sets, equal bytes."""
    arrays = {"images": data.test.images_NHW, "labels": data.test.labels_N}
    sink.path(TEST_SET_FILE).write_bytes(save(arrays))
    sink.artifact(TEST_SET_FILE)


def _save_history(history: list[EpochMetrics], sink: Sink) -> None:
    rows = [list(metrics.model_dump().values()) for metrics in history]
    write_csv(sink.path(HISTORY_FILE), EpochMetrics.columns(), rows)
    sink.artifact(HISTORY_FILE)


def _save_predictions(data: HalfData, probabilities_NK: NDArray[np.float32], sink: Sink) -> None:
    """Each test row's label, the label predicted, and that one's probability."""
    predicted_N, best_N = probabilities_NK.argmax(1).tolist(), probabilities_NK.max(1).tolist()
    rows = zip(
        range(len(predicted_N)), data.test.labels_N.tolist(), predicted_N, best_N, strict=True
    )
    header = ("row", "label", "predicted", "probability")
    write_csv(sink.path(PREDICTIONS_FILE), header, rows)
    sink.artifact(PREDICTIONS_FILE)
