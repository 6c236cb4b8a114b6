"""An autoencoder: from its training to the files and the summary that it leaves.

It is no classifier and has no export; perceptrons start from its encoder.

Legend of shapes: N examples, P pictures, C code units, H W pixels, D pixels of a picture in a row.
"""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from fmx_ml.data.loader import AutoencoderData, first_of_each, load_autoencoder_data
from fmx_ml.data.sources import DataSources, Pictures
from fmx_ml.engine.denormals import denormals_flushed
from fmx_ml.engine.evaluate import Examples, to_device
from fmx_ml.engine.kernel.library import Engine
from fmx_ml.engine.kernel.preparation import prepare
from fmx_ml.engine.reconstruction import (
    Reconstruction,
    count_dead_units,
    has_collapsed,
    measure_constants,
    project_codes,
)
from fmx_ml.engine.seeding import derive_seed
from fmx_ml.engine.stop import StopCheck
from fmx_ml.engine.train import Fit, fit
from fmx_ml.export import save_card
from fmx_ml.files import CARD_FILE, CODES_FILE, RECONSTRUCTIONS_FILE
from fmx_ml.model_card import AutoencoderCard, InputCard, input_of
from fmx_ml.models import build_autoencoder
from fmx_ml.models.autoencoder import Autoencoder
from fmx_ml.pipelines.common import (
    CPU,
    describe_machine,
    leave_history,
    leave_weights,
    summarise_fit,
)
from fmx_ml.sinks import EpochMetrics, Sink
from fmx_ml.trainings import AutoencoderTraining

CODES_PER_CLASS = 300  # of the training pictures, whose codes are kept

_OBJECTIVE = Reconstruction()


def train_autoencoder(
    training: AutoencoderTraining,
    sink: Sink,
    sources: DataSources,
    device: torch.device,
    engine: Engine = "auto",
) -> dict[str, Any]:
    """Trains an autoencoder; leaves its weights, history, reconstructions and codes."""
    sink.phase("data")
    data = load_data(training, sources)
    card = input_of(training.normalise)
    model = make_model(training).to(device)
    sink.phase("training")
    examples = to_device(data.train, device, card), to_device(data.val, device, card)
    prepared = prepare(model, _OBJECTIVE, engine)
    with denormals_flushed():
        result = fit(prepared.model, prepared.objective, *examples, training, sink)
    result = replace(result, engine=prepared.engine)
    del examples
    return {**conclude(model, data, training, result, sink), **describe_machine(device, result)}


def load_data(training: AutoencoderTraining, sources: DataSources) -> AutoencoderData:
    """The pictures of both halves.

    Raises:
        DataUnavailableError: no verified copy of the data set can be had.
    """
    return load_autoencoder_data(training.dataset, training.split_seed, sources)


def make_model(training: AutoencoderTraining) -> Autoencoder:
    """The network on the CPU, its weights drawn from the seed."""
    weights = torch.Generator().manual_seed(derive_seed(training.seed, "weights"))
    return build_autoencoder(training.model, weights)


def conclude(
    model: Autoencoder,
    data: AutoencoderData,
    training: AutoencoderTraining,
    result: Fit,
    sink: Sink,
) -> dict[str, Any]:
    """Measures the best epoch; leaves the history and that epoch's files in the sink."""
    leave_history(result.history, sink)
    sink.phase("evaluation")
    model.to(CPU).load_state_dict(result.best_weights)
    summary = _summarise(model, data, training, result, sink)
    _save_reconstructions(model, data.samples, input_of(training.normalise), sink)
    _save_model(training, data.dataset, result, sink)
    return summary


def _summarise(
    model: Autoencoder,
    data: AutoencoderData,
    training: AutoencoderTraining,
    result: Fit,
    sink: Sink,
) -> dict[str, Any]:
    """The figures of the best epoch, and what its code is worth.

    `train_mse` is counted while training, as the report's error is, which is over the batch size.
    """
    check_stop = StopCheck(sink)
    train = to_device(data.train, CPU, input_of(training.normalise))
    error, _ = _OBJECTIVE.measure(model, train, check_stop)
    num_dead_units = count_dead_units(model, train, check_stop)
    constants = measure_constants(train, check_stop)
    explained = _save_codes(model, train, sink)
    code_size = training.model.sizes[-1]
    best, last = result.history[result.best_epoch - 1], result.history[-1]
    summary = summarise_fit(result)
    summary["last"]["report_error"] = _report_error(last, training)
    return {
        **summary,
        "num_parameters": sum(weight.numel() for weight in model.parameters()),
        "best_weights_train_loss": error,
        "train_mse": best.train_loss,
        "val_mse": best.val_loss,
        "report_error": _report_error(best, training),
        "constant_mse": asdict(constants),
        "code_size": code_size,
        "code_explained": explained,
        "dead_units": num_dead_units,
        "collapsed": has_collapsed(error, constants, num_dead_units, code_size),
        "num_train": len(train),
        "data": {
            "dataset": data.dataset,
            "source": data.source,
            "checksums": dict(data.checksums),
        },
    }


def _report_error(metrics: EpochMetrics, training: AutoencoderTraining) -> float | None:
    """The report sums the means of batches and divides by the number of pictures (Appendix E)."""
    loss = metrics.train_loss
    return None if loss is None else loss / training.batch_size


def _save_reconstructions(
    model: Autoencoder, samples: Pictures, card: InputCard, sink: Sink
) -> None:
    """Originals and reconstructions float32 [P, 28, 28], as pixels in 0 to 1; labels int64 [P]."""
    examples = to_device(samples, CPU, card)
    with torch.inference_mode():
        answers_PD = model(examples.images_NCHW).numpy()
    pixels_PHW = (answers_PD * card.std + card.mean).reshape(samples.images_NHW.shape).clip(0, 1)
    arrays = {
        "originals": samples.images_NHW / np.float32(card.scale),
        "reconstructions": pixels_PHW.astype(np.float32),
        "labels": samples.labels_N,
    }
    sink.path(RECONSTRUCTIONS_FILE).write_bytes(save(arrays))
    sink.artifact(RECONSTRUCTIONS_FILE)


def _save_codes(model: Autoencoder, train: Examples, sink: Sink) -> list[float]:
    """The first principal components of some pictures' codes: float32 [N, 2]; labels int64 [N].

    Gives back the share of the codes' variance that each of the two explains.
    """
    rows_N = torch.from_numpy(first_of_each(train.labels_N.numpy(), CODES_PER_CLASS))
    with torch.inference_mode():
        codes_N2, explained_2 = project_codes(model.encode(train.images_NCHW[rows_N]))
    labels_N = train.labels_N[rows_N].numpy()
    arrays = {"codes": codes_N2, "labels": labels_N, "explained": explained_2}
    sink.path(CODES_FILE).write_bytes(save(arrays))
    sink.artifact(CODES_FILE)
    return explained_2.tolist()


def _save_model(training: AutoencoderTraining, dataset: str, result: Fit, sink: Sink) -> None:
    card = AutoencoderCard(
        architecture=training.model,
        input=input_of(training.normalise),
        dataset=dataset,
        seed=training.seed,
        split_seed=training.split_seed,
        best_epoch=result.best_epoch,
        weights_sha256=leave_weights(result.best_weights, sink),
    )
    save_card(card, sink.path(CARD_FILE))
    sink.artifact(CARD_FILE)
