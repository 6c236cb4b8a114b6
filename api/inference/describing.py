"""From what the server knows of a model to what the protocol says of it."""

from api.inference.answers import VERSION
from api.inference.repository_schemas import (
    BatchDurations,
    DurationBody,
    ModelDurations,
    ModelStatistics,
)
from api.inference.schemas import (
    OUTPUTS,
    ConfiguredTensor,
    DynamicBatching,
    ModelConfig,
    ModelMetadata,
    TensorMetadata,
)
from api.predict.batching import GATHER_SECONDS, MAX_BATCH
from api.predict.catalogue import Loaded
from api.predict.statistics import Compute, Duration, Statistics
from fmx_ml.specs import IMAGE_SIDE

BACKEND = "onnxruntime"
PLATFORM = f"{BACKEND}_onnx"
EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "statistics",
]

_PICTURE = [1, IMAGE_SIDE, IMAGE_SIDE]
_MICROSECONDS = 1_000_000


def describe_tensors(loaded: Loaded) -> ModelMetadata:
    """What a model takes and gives."""
    shapes = dict(zip(OUTPUTS, ([-1, loaded.card.num_classes], [-1]), strict=True))
    types = dict(zip(OUTPUTS, ("FP32", "BYTES"), strict=True))
    taken = TensorMetadata(name=loaded.card.input.name, datatype="FP32", shape=[-1, *_PICTURE])
    given = [TensorMetadata(name=n, datatype=types[n], shape=shapes[n]) for n in OUTPUTS]
    return ModelMetadata(
        name=loaded.model.id, versions=[VERSION], platform=PLATFORM, inputs=[taken], outputs=given
    )


def describe_config(loaded: Loaded, max_pictures: int) -> ModelConfig:
    """How a model is served; a request has `max_pictures` at most."""
    card = loaded.card
    probabilities, label = OUTPUTS
    taken = ConfiguredTensor(name=card.input.name, data_type="TYPE_FP32", dims=_PICTURE)
    given = [
        ConfiguredTensor(name=probabilities, data_type="TYPE_FP32", dims=[card.num_classes]),
        # One label a picture, and no dimension of its own for it: a configuration says it so.
        ConfiguredTensor(name=label, data_type="TYPE_STRING", dims=[1], reshape={"shape": []}),
    ]
    return ModelConfig(
        name=loaded.model.id,
        platform=PLATFORM,
        backend=BACKEND,
        max_batch_size=max_pictures,
        input=[taken],
        output=given,
        dynamic_batching=DynamicBatching(
            preferred_batch_size=[MAX_BATCH],
            max_queue_delay_microseconds=round(GATHER_SECONDS * _MICROSECONDS),
        ),
    )


def describe_statistics(statistics: Statistics) -> ModelStatistics:
    """What a model was asked."""
    return ModelStatistics(
        name=statistics.model_id,
        version=VERSION,
        last_inference=statistics.last_asked_ms,
        inference_count=statistics.num_pictures,
        execution_count=statistics.num_batches,
        inference_stats=ModelDurations(
            success=_duration(statistics.success),
            fail=_duration(statistics.fail),
            queue=_duration(statistics.queue),
            **_parts(statistics.compute),
        ),
        batch_stats=[
            BatchDurations(batch_size=size, **_parts(statistics.batches[size]))
            for size in sorted(statistics.batches)
        ],
    )


def _duration(duration: Duration) -> DurationBody:
    return DurationBody(count=duration.count, ns=duration.ns)


def _parts(compute: Compute) -> dict[str, DurationBody]:
    return {
        "compute_input": _duration(compute.input),
        "compute_infer": _duration(compute.infer),
        "compute_output": _duration(compute.output),
    }
