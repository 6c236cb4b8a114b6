"""What goes out over HTTP."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from fmx_ml.results import Comparison, Erratum, Figure, Table
from fmx_ml.specs import DatasetName, Half, Preset
from fmx_store.states import Reason, State


def format_time(moment: datetime) -> str:
    """A moment as in every body: UTC, microseconds, Z."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Moment = Annotated[
    datetime,
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Link = Annotated[str, Field(description="A path on this server.")]


class Body(BaseModel):
    """A value of an answer."""

    model_config = ConfigDict(frozen=True)


class Progress(Body):
    """How far a job or run is; an early stop lowers the total when it happens."""

    phase: str = Field(
        description="queued, what the active run does, collating, or the state it ended in."
    )
    completed: int
    total: int
    unit: Literal["epoch"] = "epoch"
    eta_seconds: float | None = Field(description="Null where it is not known yet.")


class RunCounts(Body):
    """How many trainings of a job are in each state."""

    queued: int
    running: int
    cancelling: int
    succeeded: int
    failed: int
    cancelled: int


class JobLinks(Body):
    """Where the parts of a job are."""

    self: Link
    events: Link
    logs: Link
    runs: Link
    results: Link
    manifest: Link
    artifacts: Link
    archive: Link
    cancel: Link
    retry: Link


class JobBody(Body):
    """A job: one submitted spec."""

    id: str
    kind: str
    preset: Preset
    name: str | None
    tags: list[str]
    state: State
    reason: Reason | None
    error: dict[str, Any] | None = Field(
        description="Of the run that failed: its name, a code, a message; a traceback if there is."
    )
    priority: int
    time_limit_seconds: int | None
    spec: dict[str, Any] = Field(description="Normalised: every field that was left out is there.")
    spec_hash: str
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    progress: Progress
    runs: RunCounts
    models: list[str] = Field(description="Ids of the models that its runs have left so far.")
    links: JobLinks


class RunLinks(Body):
    """Where the parts of a run are."""

    self: Link
    job: Link
    metrics: Link


class RunBody(Body):
    """A run: one training in a job."""

    id: str
    job: str
    name: str
    state: State
    reason: Reason | None
    error: dict[str, Any] | None
    attempt: int = Field(description="How often a worker has begun it.")
    device: str
    params: dict[str, Any] = Field(description="All that its result depends on.")
    progress: Progress
    summary: dict[str, Any] = Field(description="Its figures; empty until it has succeeded.")
    model: str | None
    reused_from: str | None = Field(description="The run whose result was taken, if one was.")
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    links: RunLinks


class MetricsBody(Body):
    """The epochs of a run; losses are means a picture, accuracies are in 0 to 1."""

    run: str
    columns: list[str]
    rows: list[list[int | float | None]]


class CurveBody(Body):
    """A run with its epochs; none, where it has none yet."""

    run: str
    name: str
    state: State
    attempt: int
    rows: list[list[int | float | None]]


class CurvesBody(Body):
    """The epochs of all runs of a job, thinned; columns as of a run, without the seconds."""

    job: str
    columns: list[str]
    runs: list[CurveBody]


class ResultsBody(Body):
    """The tables of a job, ours beside the published."""

    job: str
    kind: str
    preset: Preset
    dataset: DatasetName
    tables: list[Table]
    figures: list[Figure]
    comparisons: list[Comparison]
    errata: list[Erratum]


class SelfLink(Body):
    """Where it is."""

    self: Link


class ArtifactBody(Body):
    """A file of a job."""

    path: str
    size_bytes: int
    sha256: str
    media_type: str
    created_at: Moment
    run: str | None = Field(description="The name of the training it is of; null: of the job.")
    links: SelfLink


class ModelClass(Body):
    """A class that a model knows."""

    index: int = Field(
        serialization_alias="class",
        validation_alias=AliasChoices("class", "index"),
        description="The data set's own index.",
    )
    label: str


class ModelLinks(Body):
    """Where the parts of a model are."""

    self: Link
    predict: Link
    job: Link
    onnx: Link
    weights: Link
    description: Link


class ModelBody(Body):
    """A model: what a finished run leaves for predictions."""

    id: str
    job: str
    run: str
    run_name: str
    kind: str
    dataset: DatasetName
    classes: list[ModelClass]
    val_accuracy: float | None
    test_accuracy: float | None
    created_at: Moment
    links: ModelLinks


class ModelDetail(ModelBody):
    """A model with its whole model.json."""

    description: dict[str, Any] = Field(description="model.json: architecture, input, outputs, …")


class AliasBody(Body):
    """A name of a model, and which model that is now."""

    name: str
    model: str
    updated_at: Moment


class DatasetClass(Body):
    """A class of a registered data set."""

    index: int = Field(
        serialization_alias="class",
        validation_alias=AliasChoices("class", "index"),
        description="The data set's own index.",
    )
    label: str
    half: Half
    train: int = Field(description="Pictures to learn from, those for validation among them.")
    test: int = Field(description="Pictures to test with.")


class DatasetBody(Body):
    """A registered data set."""

    name: str
    sha256: str = Field(description="Of its pictures, labels, names and halves.")
    size_bytes: int
    classes: list[DatasetClass]
    notes: list[str] = Field(description="What was changed of the pictures when they came in.")
    created_at: Moment
    links: SelfLink


class DatasetPage(Body):
    """Registered data sets by name."""

    items: list[DatasetBody]
    next_cursor: str | None


class JobPage(Body):
    """Jobs, newest first."""

    items: list[JobBody]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")


class RunPage(Body):
    """Runs in the order of the job's plan."""

    items: list[RunBody]
    next_cursor: str | None


class ArtifactPage(Body):
    """Artifacts by path."""

    items: list[ArtifactBody]
    next_cursor: str | None


class ModelPage(Body):
    """Models, newest first."""

    items: list[ModelBody]
    next_cursor: str | None


class AliasPage(Body):
    """Some aliases, and where the list goes on."""

    items: list[AliasBody]
    next_cursor: str | None


class PlannedRunBody(Body):
    """A run that a job would have."""

    name: str
    params: dict[str, Any]
    max_epochs: int
    needs: list[str] = Field(description="Runs that must have succeeded before.")
    taken_from: str | None = Field(
        default=None, description="A finished run whose results are taken over; null: it trains."
    )


class Estimate(Body):
    """What a job may cost."""

    epochs_at_most: int
    seconds_at_most: float | None = Field(description="Its runs one after another; null: unknown.")
    basis: str


class ValidationBody(Body):
    """What a request would become."""

    kind: str
    preset: Preset
    spec: dict[str, Any]
    spec_hash: str
    runs: list[PlannedRunBody]
    estimate: Estimate


class KindItem(Body):
    """A kind of experiment."""

    kind: str
    title: str
    links: SelfLink


class KindList(Body):
    """The kinds of experiment."""

    items: list[KindItem]


class KindBody(Body):
    """All about a kind of experiment."""

    kind: str
    title: str
    description: str
    json_schema: dict[str, Any] = Field(
        serialization_alias="schema",
        validation_alias=AliasChoices("schema", "json_schema"),
        description="JSON Schema of the request.",
    )
    defaults: dict[str, Any] = Field(description='What {"kind": …} alone means.')
    presets: dict[str, dict[str, Any]] = Field(description="What each preset puts into the spec.")
    published: dict[str, Any] = Field(description="The figures that the report publishes.")


class Health(Body):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Check(Body):
    """Whether something that the server needs works."""

    ok: bool
    detail: str


class Readiness(Body):
    """Whether the server can do its work; degraded: not all of it.

    Without a broker it takes jobs that start later; with a full disk it takes none, and shows and
    predicts as ever.
    """

    status: Literal["ok", "degraded", "unavailable"]
    checks: dict[Literal["database", "broker", "storage", "migrations", "disk"], Check]
    engine: str = Field(description="What a worker with this host's settings trains with on a CPU.")


class ProblemItem(Body):
    """One place in the request and what is wrong there."""

    pointer: str = Field(description="JSON pointer into the body; ?name for a query parameter.")
    code: str
    detail: str


class ProblemBody(Body):
    """Why a request failed (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str = Field(description="Stable, for programs.")
    request_id: str
    errors: list[ProblemItem]
    error: str | None = Field(default=None, description="On /v2: all of it in one text.")
