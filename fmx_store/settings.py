"""Every setting of server and worker, read from environment variables with the prefix FMX_."""

import functools
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

MEBIBYTE = 1024 * 1024

_BROKERS = {"redis", "rediss", "redis+socket"}
# The client's server, the revision that a manifest names, what tests may not go without.
_READ_ELSEWHERE = {"FMX_URL", "FMX_REVISION", "FMX_REQUIRE_SERVICES"}
_POSTGRES = re.compile(r"^postgres(ql)?://")

_log = logging.getLogger(__name__)


class Settings(BaseSettings):
    """Settings; what is left out works on one machine with nothing else installed."""

    model_config = SettingsConfigDict(
        env_prefix="FMX_",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,  # URLs may hold passwords
    )

    host: str = Field(default="127.0.0.1", description="Address the server binds to.")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port; 0 takes a free one.")
    data_dir: Path = Field(
        default=Path(".fmx"), description="Database, broker, artifacts and cache of one machine."
    )
    database_url: str = Field(
        default="", description="postgresql://…; empty: SQLite in the data folder."
    )
    broker_url: str = Field(default="", description="redis://…; empty: files in the data folder.")
    storage_url: str = Field(default="", description="file:///…; empty: blobs in the data folder.")
    dataset_dir: Path | None = Field(
        default=None, description="Folder with Fashion-MNIST's four IDX files, plain or gzipped."
    )
    dataset_download: bool = Field(default=True, description="May the data set be downloaded?")
    dataset_timeout_seconds: float = Field(
        default=10.0, gt=0, description="Silence after which the download is given up."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    worker_device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="What this worker trains on; auto: a GPU where there is one."
    )
    worker_concurrency: int = Field(default=1, ge=1, le=256, description="Trainings at a time.")
    worker_threads: int | None = Field(
        default=None,
        ge=1,
        description="CPU threads a training; empty: its share of all but one.",
    )
    worker_engine: Literal["auto", "torch"] = Field(
        default="auto",
        description="auto: the compiled kernel where there is a C++ compiler; torch: never.",
    )

    worker_pack: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Most runs of a job trained together; empty: as many as pay on this device.",
    )

    heartbeat_seconds: float = Field(default=2.0, gt=0, description="Between renewals of a lease.")
    lease_seconds: float = Field(
        default=10.0, gt=0, description="Silence after which a run is taken from its worker."
    )
    dispatch_seconds: float = Field(
        default=15.0, gt=0, description="Wait after which a due run is announced again."
    )
    publish_timeout_seconds: float = Field(
        default=2.0, gt=0, description="Bound on every exchange with the broker."
    )
    stop_seconds: float = Field(
        default=3.0, gt=0, description="Between asking a training to stop and killing it."
    )
    checkpoint_seconds: float = Field(
        default=5.0, gt=0, description="Between two checkpoints of a training."
    )
    max_crashes: int = Field(default=3, ge=1, description="Crashes after which a run has failed.")

    max_body_bytes: int = Field(default=256 * 1024, ge=1, description="Of a JSON body.")
    max_json_depth: int = Field(default=32, ge=1)
    max_runs_per_job: int = Field(default=1000, ge=1)
    max_page: int = Field(default=200, ge=1, description="Items of a list page.")
    max_wait_seconds: int = Field(default=60, ge=0, description="Of a long poll.")
    max_picture_bytes: int = Field(default=10 * MEBIBYTE, ge=1)
    max_picture_pixels: int = Field(default=24_000_000, ge=1)
    max_pictures: int = Field(default=64, ge=1, description="Of one prediction request.")
    max_infer_pictures: int = Field(
        default=1024, ge=1, description="Of one request of the Open Inference Protocol."
    )
    max_feature_map_pictures: int = Field(
        default=8, ge=1, description="Of one request for feature maps."
    )
    max_loaded_models: int = Field(default=16, ge=1, description="Least recently used ones leave.")
    max_waiting_pictures: int = Field(
        default=4096, ge=1, description="Of a model's queue; more are refused until it is shorter."
    )
    predict_threads: int = Field(default=1, ge=1, description="Threads of one ONNX session.")

    @field_validator("data_dir", "dataset_dir")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("database_url")
    @classmethod
    def _is_served_database(cls, text: str) -> str:
        if text and not _is_database(text):
            raise ValueError("postgresql://… and sqlite:////file are served")
        return text

    @field_validator("broker_url")
    @classmethod
    def _is_served_broker(cls, text: str) -> str:
        if text and urlsplit(text).scheme not in _BROKERS:
            raise ValueError("redis://…, rediss://… and redis+socket:///… are served")
        return text

    @field_validator("storage_url")
    @classmethod
    def _is_served_storage(cls, text: str) -> str:
        parts = urlsplit(text)
        is_file = parts.scheme == "file" and parts.netloc in {"", "localhost"}
        if text and not (is_file and len(parts.path) > 1):
            raise ValueError("file:///folder is served")
        return text

    @model_validator(mode="after")
    def _outlasts_a_heartbeat(self) -> Self:
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError("lease_seconds must be twice heartbeat_seconds at least")
        return self

    @property
    def database(self) -> str:
        """The database's URL, with the driver that is installed."""
        if not self.database_url:
            url = URL.create("sqlite", database=str(self.data_dir / "fmx.sqlite3"))
            return url.render_as_string()
        return _POSTGRES.sub("postgresql+psycopg://", self.database_url)

    @property
    def storage_dir(self) -> Path:
        """Where the blobs lie."""
        if not self.storage_url:
            return self.data_dir / "blobs"
        return Path(unquote(urlsplit(self.storage_url).path))

    @property
    def broker_dir(self) -> Path:
        """Where the embedded broker keeps its messages."""
        return self.data_dir / "broker"

    @property
    def cache_dir(self) -> Path:
        """Where a downloaded data set is kept."""
        return self.data_dir / "cache"

    @property
    def scratch_dir(self) -> Path:
        """Where trainings write before anything is published."""
        return self.data_dir / "scratch"


def _is_database(text: str) -> bool:
    try:
        url = make_url(_POSTGRES.sub("postgresql+psycopg://", text))
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        return False
    if url.drivername == "sqlite":  # in memory, each connection would have a record of its own
        return bool(url.database) and not (url.database or "").startswith((":memory:", "file:"))
    return url.drivername == "postgresql+psycopg"


def find_unknown(environment: Mapping[str, str]) -> list[str]:
    """Variables with our prefix that set nothing, such as misspelled ones."""
    known = {f"FMX_{name.upper()}" for name in Settings.model_fields} | _READ_ELSEWHERE
    return sorted(n for n in environment if n.upper().startswith("FMX_") and n.upper() not in known)


@functools.cache
def get_settings() -> Settings:
    """The settings of this process, read once. Raises pydantic.ValidationError."""
    for name in find_unknown(os.environ):
        _log.warning("%s is set, but there is no such setting", name)
    return Settings()
