"""What mlflow's clients send and are sent (its protos/service.proto), as far as it is served."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.queries import Query
from api.schemas import Body

MAX_RESULTS = 1_000  # of a page
MAX_EXPERIMENTS = 100  # that one search of runs may name
MAX_FILTER_LENGTH = 4_000


class _Lenient(BaseModel):
    """A request's values; clients newer than this send others, which change nothing here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class LenientQuery(Query):
    """Query parameters; others change nothing, as above."""

    model_config = ConfigDict(frozen=True, extra="ignore")


ViewType = Literal["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]
_Token = Annotated[str | None, Field(max_length=600)]
_Filter = Annotated[str, Field(max_length=MAX_FILTER_LENGTH)]
_Id = Annotated[str, Field(max_length=256)]
_OrderBy = Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=20)]


class SearchExperiments(_Lenient):
    """Which experiments."""

    max_results: int = Field(default=MAX_RESULTS, ge=1, le=50_000)
    page_token: _Token = None
    filter: _Filter = ""
    order_by: _OrderBy = []
    view_type: ViewType = "ACTIVE_ONLY"


class SearchRuns(_Lenient):
    """Which runs."""

    experiment_ids: list[_Id] = Field(default=[], max_length=MAX_EXPERIMENTS)
    filter: _Filter = ""
    run_view_type: ViewType = "ACTIVE_ONLY"
    max_results: int = Field(default=MAX_RESULTS, ge=1, le=50_000)
    order_by: _OrderBy = []
    page_token: _Token = None


class ExperimentQuery(LenientQuery):
    """Which experiment."""

    experiment_id: _Id


class ExperimentNameQuery(LenientQuery):
    """Which experiment, by its name."""

    experiment_name: str = Field(max_length=600)


class RunQuery(LenientQuery):
    """Which run."""

    run_id: _Id


class HistoryQuery(RunQuery):
    """Which figure of which run, and which page of its epochs."""

    metric_key: str = Field(max_length=300)
    max_results: int = Field(default=25_000, ge=1)
    page_token: _Token = None


class FilesQuery(LenientQuery):
    """Which folder of which run."""

    run_id: _Id
    path: str = Field(default="", max_length=600)


class FolderQuery(LenientQuery):
    """Which folder, from the id of a job on."""

    path: str = Field(max_length=600)


class Pair(Body):
    """A parameter or tag."""

    key: str
    value: str


class MlflowMetric(Body):
    """A figure, the epoch it is of, and when that ended, in milliseconds since 1970."""

    key: str
    value: float
    timestamp: int
    step: int


class Experiment(Body):
    """A job."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: Literal["active"] = "active"
    creation_time: int
    last_update_time: int
    tags: list[Pair]


class RunInfo(Body):
    """What a run is and how far it is."""

    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: Literal["SCHEDULED", "RUNNING", "FINISHED", "FAILED", "KILLED"]
    start_time: int
    end_time: int | None = None
    artifact_uri: str
    lifecycle_stage: Literal["active"] = "active"


class RunData(Body):
    """A run's latest figures, parameters and tags."""

    metrics: list[MlflowMetric]
    params: list[Pair]
    tags: list[Pair]


class MlflowRun(Body):
    """A training."""

    info: RunInfo
    data: RunData


class ExperimentAnswer(Body):
    """An experiment."""

    experiment: Experiment


class ExperimentsAnswer(Body):
    """A page of experiments, the newest first."""

    experiments: list[Experiment]
    next_page_token: str | None = None


class RunAnswer(Body):
    """A run."""

    run: MlflowRun


class RunsAnswer(Body):
    """A page of runs."""

    runs: list[MlflowRun]
    next_page_token: str | None = None


class HistoryAnswer(Body):
    """A page of a figure's epochs."""

    metrics: list[MlflowMetric]
    next_page_token: str | None = None


class ModelsAnswer(Body):
    """A page of logged models."""

    models: list[str]


class FileInfo(Body):
    """A file or folder."""

    path: str
    is_dir: bool
    file_size: int | None = None


class FilesAnswer(Body):
    """What lies in a folder."""

    root_uri: str | None = None
    files: list[FileInfo]
