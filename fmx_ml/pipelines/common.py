"""What the pipelines of classifiers share: their data, their figures, their files.

Legend of shapes: N examples, H W pixels, K classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.numpy import save

from fmx_ml.data.loader import HalfData, load_half
from fmx_ml.data.sources import DataSources, Pictures
from fmx_ml.data.split import Indices, take_fraction
from fmx_ml.engine.device import describe_device
from fmx_ml.engine.evaluate import count_confusion, judge, measure, score_classes, to_device
from fmx_ml.engine.stop import StopCheck
from fmx_ml.engine.train import Fit, Weights
from fmx_ml.environment import describe_environment
from fmx_ml.errors import UserError
from fmx_ml.export import ExportCheck, export_onnx, rebuild, save_card, save_weights
from fmx_ml.files import (
    CARD_FILE,
    HISTORY_FILE,
    ONNX_FILE,
    PREDICTIONS_FILE,
    TEST_SET_FILE,
    WEIGHTS_FILE,
    write_csv,
)
from fmx_ml.model_card import CnnCard, InputCard, MlpCard
from fmx_ml.models.autoencoder import Autoencoder
from fmx_ml.models.cnn import Cnn
from fmx_ml.models.mlp import Mlp
from fmx_ml.results import NeededRun
from fmx_ml.sinks import EpochMetrics, Sink
from fmx_ml.trainings import CnnTraining, MlpTraining, training_hash

CPU = torch.device("cpu")


def require_run(source: str, needed: Sequence[NeededRun]) -> NeededRun:
    """The needed run whose training has the hash. Raises UserError where there is none."""
    for run in needed:
        if training_hash(run.outcome.training) == source:
            return run
    names = ", ".join(run.outcome.name for run in needed) or "none"
    raise UserError(f"the run to start from, of training {source:.12}, is missing; given: {names}")


def load_source(run: NeededRun) -> Cnn | Mlp | Autoencoder:
    """The model that a run to start from left.

    Raises:
        UserError: its files are gone or can't be read.
        ExportError: the weights are not those that the card describes.
    """
    name = run.outcome.name
    try:
        return rebuild(run.files[CARD_FILE], run.files[WEIGHTS_FILE])
    except (KeyError, FileNotFoundError) as error:
        raise UserError(f"run {name}, to start from, has no weights any more") from error
    except ValidationError as error:
        raise UserError(f"the {CARD_FILE} of run {name} can't be read") from error


def load_data(training: CnnTraining | MlpTraining, sources: DataSources) -> HalfData:
    """The half's pictures, of those to learn from only the part that the training asks for.

    Raises:
        DataUnavailableError: no verified copy of the data set can be had.
    """
    return take_part(load_whole(training, sources), training)


def load_whole(training: CnnTraining | MlpTraining, sources: DataSources) -> HalfData:
    """All of the half's pictures.

    Raises:
        DataUnavailableError: no verified copy of the data set can be had.
    """
    return load_half(training.dataset, training.half, training.split_seed, sources)


def take_part(data: HalfData, training: CnnTraining | MlpTraining) -> HalfData:
    """Of the pictures to learn from only the part that the training asks for."""
    rows = find_part(data, training)
    part = Pictures(images_NHW=data.train.images_NHW[rows], labels_N=data.train.labels_N[rows])
    return replace(data, train=part)


def find_part(data: HalfData, training: CnnTraining | MlpTraining) -> Indices:
    """Row numbers of that part, in rising order."""
    return take_fraction(data.train.labels_N, training.fraction_percent, training.split_seed)


def summarise_fit(result: Fit) -> dict[str, Any]:
    """The figures of a training itself: epochs, and those of the best epoch and of the last.

    `last` is left without what has to be measured.
    """
    return {
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "stopped_early": result.stopped_early,
        "seconds": result.seconds,
        **_figures(result.history[result.best_epoch - 1]),
        "last": {"epoch": len(result.history), **_figures(result.history[-1])},
    }


def _figures(metrics: EpochMetrics) -> dict[str, float | None]:
    return metrics.model_dump(include={"train_loss", "train_accuracy", "val_loss", "val_accuracy"})


def summarise_classifier(
    model: Cnn | Mlp,
    data: HalfData,
    result: Fit,
    training: CnnTraining | MlpTraining,
    inputs: InputCard,
    sink: Sink,
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """The figures of the best and of the last epoch; the model is left with the best weights.

    Everything is measured on the CPU, where the export is compared and served. The predictions of
    the test set are left in the sink; their probabilities [N, K] are given back too.
    """
    check_stop, num_classes = StopCheck(sink), len(data.classes)
    test, train = to_device(data.test, CPU, inputs), to_device(data.train, CPU, inputs)
    model.load_state_dict(result.last_weights)
    last_loss, last_accuracy = measure(model, test, check_stop, num_classes)
    model.load_state_dict(result.best_weights)
    test_loss, test_accuracy, probabilities_NK = judge(model, test, check_stop, num_classes)
    train_loss, train_accuracy = measure(model, train, check_stop, num_classes)
    _save_predictions(data, probabilities_NK, sink)
    confusion = count_confusion(data.test.labels_N, probabilities_NK.argmax(1), num_classes)
    summary = summarise_fit(result)
    summary["last"] |= {"test_loss": last_loss, "test_accuracy": last_accuracy}
    summary |= {
        "num_parameters": sum(weight.numel() for weight in model.parameters()),
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "best_weights_train_loss": train_loss,
        "best_weights_train_accuracy": train_accuracy,
        "confusion": confusion,
        "per_class": score_classes(confusion, data.names),
        **describe_data(data, training),
    }
    return summary, probabilities_NK


def describe_data(data: HalfData, training: CnnTraining | MlpTraining) -> dict[str, Any]:
    """Which pictures, how many of them were learnt from, and where they came from."""
    return {
        "fraction_percent": training.fraction_percent,
        "num_train": len(data.train.labels_N),
        "data": {
            "dataset": data.dataset,
            "half": data.half,
            "source": data.source,
            "checksums": dict(data.checksums),
        },
    }


def describe_machine(device: torch.device, result: Fit) -> dict[str, Any]:
    """The device and the engine that trained, and the environment."""
    environment = {**describe_environment(), "engine": result.engine}
    return {"device": describe_device(device), "environment": environment}


def leave_weights(weights: Weights, sink: Sink) -> str:
    """Leaves the weights in the sink; gives back the file's sha256 in hex."""
    sha256 = write_weights(weights, sink)
    sink.artifact(WEIGHTS_FILE)
    return sha256


def write_weights(weights: Weights, sink: Sink) -> str:
    """Writes the weights, for `leave_export` to leave; gives back the file's sha256 in hex."""
    return save_weights(weights, sink.path(WEIGHTS_FILE))


def leave_export(
    model: Cnn | Mlp,
    card: CnnCard | MlpCard,
    data: HalfData,
    probabilities_NK: NDArray[np.float32],
    sink: Sink,
) -> dict[str, Any]:
    """Leaves weights, card and ONNX export in the sink; tells how the export compares with torch.

    `probabilities_NK` are the model's of the test set.

    Raises:
        ExportError: it differs; nothing is left.
    """
    save_card(card, sink.path(CARD_FILE))
    check = export_onnx(model, card, data.test, sink.path(ONNX_FILE), probabilities_NK)
    for name in (WEIGHTS_FILE, CARD_FILE, ONNX_FILE):
        sink.artifact(name)
    return {"export": _describe_check(check)}


def _describe_check(check: ExportCheck) -> dict[str, Any]:
    return {
        "pictures": check.num_pictures,
        "max_abs_difference": check.max_abs_difference,
        "different_predictions": check.num_different_predictions,
    }


def leave_test_set(data: HalfData, sink: Sink) -> None:
    """Images uint8 [N, 28, 28] and labels int64 [N]: equal test sets, equal bytes."""
    arrays = {"images": data.test.images_NHW, "labels": data.test.labels_N}
    sink.path(TEST_SET_FILE).write_bytes(save(arrays))
    sink.artifact(TEST_SET_FILE)


def leave_history(history: Sequence[EpochMetrics], sink: Sink) -> None:
    """The figures of each epoch as CSV."""
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
