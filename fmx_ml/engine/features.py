"""Training the last layer of a frozen network on features that are computed once.

While the rest is frozen, a picture's features are the same at every step, so they stand for it.

Legend of shapes: N examples, F features.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from fmx_ml.engine.evaluate import Examples
from fmx_ml.engine.objective import Objective
from fmx_ml.engine.stop import StopCheck
from fmx_ml.engine.train import Fit, Weights, copy_weights, fit
from fmx_ml.models.cnn import Cnn
from fmx_ml.packs import MAX_FEATURES
from fmx_ml.sinks import Sink
from fmx_ml.specs import Augmentation
from fmx_ml.trainings import CnnTraining

_MAX_FEATURES = MAX_FEATURES


def has_fixed_features(model: Cnn, training: CnnTraining) -> bool:
    """Whether a frozen network makes the same of a picture at every step, and little enough."""
    by_chance = training.augmentation != Augmentation() or model.spec.dropout > 0
    return model.is_frozen and not by_chance and model.denses[-1].in_features <= _MAX_FEATURES


def fit_last_layer(
    model: Cnn,
    objective: Objective,
    train: Examples,
    val: Examples,
    training: CnnTraining,
    sink: Sink,
) -> Fit:
    """What `fit` gives for a frozen network, up to rounding, at a fraction of the work.

    Raises:
        DivergedError: a loss is no longer finite.
        StoppedError: the sink wants an end.
    """
    began = time.perf_counter()
    check_stop = StopCheck(sink)
    features = extract(model, train, check_stop), extract(model, val, check_stop)
    result = fit(model.denses[-1], objective, *features, training, sink)
    return replace(
        result,
        best_weights=_complete(model, result.best_weights),
        last_weights=_complete(model, result.last_weights),
        seconds=time.perf_counter() - began,
    )


def extract(model: Cnn, examples: Examples, check_stop: Callable[[], None]) -> Examples:
    """The features [N, F] of the pictures in their place; the model is left in eval mode."""
    model.eval()
    parts: list[torch.Tensor] = []
    with torch.no_grad():  # what inference mode makes can't be learnt from
        for images_NCHW, _ in examples.batches():
            check_stop()
            parts.append(model.features(images_NCHW))
    return Examples(torch.cat(parts), examples.labels_N)


def _complete(model: Cnn, last_layer: Weights) -> Weights:
    """The weights of the whole network with such a last layer."""
    prefix = f"fc{len(model.denses)}"
    return copy_weights(model) | {f"{prefix}.{name}": w for name, w in last_layer.items()}
