"""What comes in over HTTP beside a job: query parameters, and what to predict."""

from typing import Annotated, Literal, get_origin

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from fmx_ml.requests import KINDS
from fmx_ml.specs import IMAGE_SIDE, Int, Tag
from fmx_store.curves import MIN_POINTS
from fmx_store.states import State


class Query(BaseModel):
    """The query parameters of a path; others are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def repeatable(cls) -> frozenset[str]:
        """The names of those that may be given several times: their fields are lists."""
        lists = (name for name, f in cls.model_fields.items() if get_origin(f.annotation) is list)
        return frozenset(lists)


# As the record makes them. A pattern in the schema alone: what is no cursor has one answer.
Cursor = Annotated[
    str | None,
    Field(
        max_length=600,
        description="The next_cursor of the page before.",
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"},
    ),
]


class PageQuery(Query):
    """Which page of a list."""

    limit: int | None = Field(
        default=None, ge=1, description="Items at most; 50 if not given. The server bounds it."
    )
    cursor: Cursor = None


class JobQuery(PageQuery):
    """Which jobs."""

    kind: Literal[KINDS] | None = None  # pyright: ignore[reportInvalidTypeForm] - made of what is listed
    state: State | None = None
    tag: Tag | None = None


class ModelQuery(PageQuery):
    """Which models."""

    job: str | None = Field(
        default=None, pattern="^[0-9A-Za-z]{26}$", description="Only those of this job."
    )


class MetricsQuery(Query):
    """How many epochs, and in which format."""

    max_points: int | None = Field(
        default=None, ge=1, le=10_000, description="Epochs at most, evenly thinned."
    )
    format: Literal["json", "csv"] | None = Field(
        default=None, description="Goes before the Accept header."
    )


class EventQuery(Query):
    """Where a job's story goes on."""

    after: str | None = Field(
        default=None,
        max_length=40,
        description="The id of the last event that came. Last-Event-ID, which browsers send when "
        "they come back to the same address, goes before it.",
        examples=["17"],
    )


class LogQuery(Query):
    """Which lines of a job's log, and whether those that are still to come."""

    tail: int | None = Field(
        default=None, ge=1, le=100_000, description="Only so many of the newest lines."
    )
    follow: bool = Field(default=False, description="Go on until the job has ended.")
    run: str | None = Field(
        default=None, pattern="^[0-9A-Za-z]{26}$", description="Only what this run has printed."
    )


class FeatureMapQuery(Query):
    """Which feature maps, and how much of them."""

    layers: str | None = Field(
        default=None,
        max_length=300,
        description="Only these convolutions, separated by commas.",
        examples=["conv1,conv2"],
    )
    values: bool = Field(
        default=True, description="Send the numbers too; false leaves the pictures alone."
    )


class ArtifactQuery(Query):
    """How a file is shown."""

    inline: bool = Field(
        default=False, description="Show PNG, CSV, JSON and text in the browser, not as download."
    )


class ReportQuery(Query):
    """Which jobs a report is of."""

    jobs: str | None = Field(
        default=None,
        max_length=600,
        description="Ids, separated by commas; the newest that has succeeded of each kind if "
        "not given.",
        examples=["01JX0000000000000000000000"],
    )


class ArchiveQuery(Query):
    """What goes into the archive."""

    prefix: str = Field(default="", max_length=300, description="Only paths that begin like this.")


class CurvesQuery(Query):
    """How many epochs of each run."""

    max_points: int = Field(
        default=200, ge=MIN_POINTS, le=1_000, description="Epochs of a run at most, evenly thinned."
    )


_Pixel = Annotated[Int, Field(ge=0, le=255)]
_Row = Annotated[list[_Pixel], Field(min_length=IMAGE_SIDE, max_length=IMAGE_SIDE)]
_Image = Annotated[list[_Row], Field(min_length=IMAGE_SIDE, max_length=IMAGE_SIDE)]

# One of the two properties. Said by a oneOf, it would be of no type to generators of clients.
_ONE_OF_TWO: dict[str, JsonValue] = {"minProperties": 1, "maxProperties": 1}


class PredictRequest(BaseModel):
    """Pictures as pixels, or rows of the model's test set: one of the two."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_ONE_OF_TWO)

    images: list[_Image] = Field(
        default_factory=list,
        min_length=1,
        description="Each 28 rows of 28 numbers, 0 (background) to 255, from the top left.",
    )
    test_rows: list[Annotated[Int, Field(ge=0)]] = Field(
        default_factory=list, min_length=1, description="Rows of the model's test set, from 0."
    )


class AliasRequest(BaseModel):
    """Which model an alias is to name from now on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="A model's id.", max_length=64)
