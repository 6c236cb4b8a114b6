"""What the server answers, typed.

Every value is frozen. Fields that this version does not know are kept, not refused, and states and
kinds are plain text: an older client goes on working with a newer server.
"""

from base64 import b64decode
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from fmx_ml import results

T = TypeVar("T")

ENDED = frozenset({"succeeded", "failed", "cancelled"})


class Answered(BaseModel):
    """A value that a server sent."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Page(Answered, Generic[T]):
    """Some items of a list, and the cursor that continues it."""

    items: list[T]
    next_cursor: str | None = None


class Failure(Answered):
    """Why a job or run did not succeed; `run` names the run of a job that went wrong."""

    code: str | None = None
    message: str | None = None
    run: str | None = None
    traceback: str | None = None


class Progress(Answered):
    """How far a job or run is: epochs done of the epochs planned at most."""

    phase: str
    completed: int = 0
    total: int = 0
    unit: str = "epoch"
    eta_seconds: float | None = None


class RunCounts(Answered):
    """The trainings of a job by state."""

    queued: int = 0
    running: int = 0
    cancelling: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        """All trainings of the job."""
        active = self.queued + self.running + self.cancelling
        return active + self.succeeded + self.failed + self.cancelled


class _Stateful(Answered):
    id: str
    state: str
    reason: str | None = None
    error: Failure | None = None
    progress: Progress
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    links: dict[str, str] = {}

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED


class Job(_Stateful):
    """A submitted spec and how far it is."""

    kind: str
    preset: str
    name: str | None = None
    tags: list[str] = []
    priority: int = 5
    time_limit_seconds: int | None = None
    spec: dict[str, Any] = {}
    spec_hash: str | None = None
    runs: RunCounts = RunCounts()
    models: list[str] = []


class Run(_Stateful):
    """One training of a job."""

    job: str
    name: str
    attempt: int = 0
    device: str | None = None
    params: dict[str, Any] | None = None
    summary: dict[str, Any] = {}
    model: str | None = None
    reused_from: str | None = None


class Epoch(Answered):
    """The figures of one epoch; what a training does not have is None."""

    epoch: int
    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    seconds: float | None = None


class Metrics(Answered):
    """The epochs of a run as a table, as they are sent."""

    run: str
    columns: list[str]
    rows: list[list[float | None]]

    def epochs(self) -> list[Epoch]:
        """The rows, each with its columns' names."""
        return [
            Epoch.model_validate(dict(zip(self.columns, row, strict=True))) for row in self.rows
        ]


class JobEvent(Answered):
    """Something that happened to a job; after its id the story goes on.

    Of `epochs` the data are columns and rows of a run, of `job` and `run` the state and its reason.
    """

    id: str
    event: str
    data: dict[str, Any]


class Table(results.Table, extra="allow"):
    """A table of a results body."""


class Figure(results.Figure, extra="allow"):
    """A figure and the artifacts that show it."""


class Spread(results.Spread, extra="allow"):
    """A figure over the seeds of a job."""


class Comparison(Answered):
    """A published figure beside ours, and whether it lies in the interval that ours give."""

    id: str
    published: float | None = None
    ours: Spread | None = None
    interval: tuple[float, float] | None = None
    verdict: str
    reason: str | None = None
    errata: list[int] = []


class Erratum(results.Erratum, extra="allow"):
    """A place where the report contradicts itself or its code."""


class ResultsBody(Answered):
    """The tables of a job, ours beside the published."""

    job: str
    kind: str
    preset: str | None = None
    dataset: str
    tables: list[Table] = []
    figures: list[Figure] = []
    comparisons: list[Comparison] = []
    errata: list[Erratum] = []


class Artifact(Answered):
    """A file that a job left."""

    path: str
    size_bytes: int
    sha256: str
    media_type: str
    created_at: datetime | None = None
    run: str | None = None
    links: dict[str, str] = {}


class DatasetClass(Answered):
    """A class of a registered data set, the half it is in, and its pictures."""

    class_index: int = Field(alias="class")
    label: str
    half: str
    train: int
    test: int


class Dataset(Answered):
    """A registered data set."""

    name: str
    sha256: str
    size_bytes: int
    classes: list[DatasetClass] = []
    notes: list[str] = []
    created_at: datetime | None = None
    links: dict[str, str] = {}


class ModelClass(Answered):
    """A class that a model tells apart, by its data set's index."""

    class_index: int = Field(alias="class")
    label: str


class Model(Answered):
    """What a finished run left for predictions."""

    id: str
    job: str
    run: str
    run_name: str | None = None
    kind: str
    dataset: str
    classes: list[ModelClass] = []
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    created_at: datetime | None = None
    links: dict[str, str] = {}
    description: dict[str, Any] | None = None


class Alias(Answered):
    """A name of a model, and which model that is now."""

    name: str
    model: str
    updated_at: datetime | None = None


class Prediction(Answered):
    """What a model says of one picture: of a file, or of a row of the test set."""

    label: str
    class_index: int = Field(alias="class")
    probabilities: dict[str, float]
    file: str | None = None
    width: int | None = None
    height: int | None = None
    inverted: bool | None = None
    row: int | None = None
    actual: str | None = None

    @property
    def probability(self) -> float:
        """Of the label that was answered."""
        return self.probabilities[self.label]


class Predictions(Answered):
    """A model's answers, in the order of what was asked."""

    model: str
    predictions: list[Prediction]


class _Drawn(Answered):
    shape: list[int]
    picture: str  # a data: URI

    @property
    def png(self) -> bytes:
        """The picture as a file."""
        return b64decode(self.picture.rpartition(",")[2])


class InputMap(_Drawn):
    """A picture as the model took it: rows of 0 to 255, light on dark."""

    values: list[list[int]] | None = None


class LayerMaps(_Drawn):
    """What leaves a convolution, by channel and row; one scale for all its channels' picture."""

    name: str
    meaning: str | None = None
    minimum: float
    maximum: float
    values: list[list[list[float]]] | None = None


class PictureMaps(Prediction):
    """What a model says of one picture, and what its convolutions make of it."""

    input: InputMap
    layers: list[LayerMaps]


class FeatureMaps(Answered):
    """The feature maps of each picture, in the order of what was asked."""

    model: str
    feature_maps: list[PictureMaps]


class PlannedRun(Answered):
    """A training that a job would have."""

    name: str
    params: dict[str, Any] = {}
    max_epochs: int | None = None
    needs: list[str] = []
    taken_from: str | None = None  # a finished run whose results are taken over


class Estimate(Answered):
    """How long a job would take at most."""

    epochs_at_most: int | None = None
    seconds_at_most: float | None = None
    basis: str | None = None


class Validation(Answered):
    """A spec as the server would record it, and the trainings it would need."""

    kind: str
    preset: str | None = None
    spec: dict[str, Any]
    spec_hash: str
    runs: list[PlannedRun] = []
    estimate: Estimate | None = None


class Kind(Answered):
    """A kind of experiment; a list names it only, one by itself has all."""

    kind: str
    title: str
    description: str | None = None
    request_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    defaults: dict[str, Any] | None = None
    presets: dict[str, Any] | None = None
    published: dict[str, Any] | None = None
    links: dict[str, str] = {}
