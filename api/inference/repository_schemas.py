"""What the protocol's extensions say of the models of a server, and of what they were asked."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from api.schemas import Body

_STRICT = ConfigDict(extra="forbid", frozen=True)


class IndexRequest(BaseModel):
    """Which models the index is to have."""

    model_config = _STRICT

    ready: bool = Field(default=False, description="Only those that are in memory.", strict=True)


class LoadRequest(BaseModel):
    """How a model is to be loaded or unloaded; nothing of it can be changed here."""

    model_config = _STRICT

    parameters: dict[str, Any] = Field(
        default={}, description="unload_dependents is taken; a config or files are refused."
    )


class IndexItem(Body):
    """A model, or an alias of one. What is not in memory is loaded by its first request."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class RepositoryIndex(RootModel[list[IndexItem]]):
    """The newest models and all aliases."""


class DurationBody(Body):
    """How often something happened, and how long it took in all."""

    count: int
    ns: int


class ModelDurations(Body):
    """What a model's requests took; there is no cache, so it hits and misses nothing."""

    success: DurationBody
    fail: DurationBody
    queue: DurationBody
    compute_input: DurationBody
    compute_infer: DurationBody
    compute_output: DurationBody
    cache_hit: DurationBody = DurationBody(count=0, ns=0)
    cache_miss: DurationBody = DurationBody(count=0, ns=0)


class BatchDurations(Body):
    """What the batches of so many pictures took."""

    batch_size: int
    compute_input: DurationBody
    compute_infer: DurationBody
    compute_output: DurationBody


class ModelStatistics(Body):
    """What this server process has asked of a model since it started."""

    name: str
    version: str
    last_inference: int = Field(description="Milliseconds since 1970; 0 if there was none.")
    inference_count: int = Field(description="Pictures.")
    execution_count: int = Field(description="Batches.")
    inference_stats: ModelDurations
    batch_stats: list[BatchDurations]


class StatisticsBody(Body):
    """The statistics of one model, or of those that were asked most recently."""

    model_stats: list[ModelStatistics]
