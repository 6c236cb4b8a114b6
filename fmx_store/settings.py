"""Every setting of server and worker, read from environment variables with the prefix FMX_."""

import functools
import logging
import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, NamedTuple, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from fmx_ml.specs import (
    MAX_BATCH_SIZE,
    MAX_EPOCHS,
    MAX_NAME_LENGTH,
    MAX_TAGS,
    MAX_TIME_LIMIT_SECONDS,
)

MEBIBYTE = 1024 * 1024

_BROKERS = {"redis", "rediss", "redis+socket"}
# The client's server and key, the revision that a manifest names, what tests may not go without,
# and where they leave pictures of pages.
READ_ELSEWHERE = {
    "FMX_URL",
    "FMX_API_KEY",
    "FMX_REVISION",
    "FMX_REQUIRE_SERVICES",
    "FMX_SCREENSHOTS",
}
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_POSTGRES = re.compile(r"^postgres(ql)?://")

_log = logging.getLogger(__name__)


class Rates(NamedTuple):
    """What a client may ask for; None: as much as it likes."""

    requests_per_second: int | None
    submits_per_minute: int | None
    predicts_per_second: int | None


DEFAULT_RATES = Rates(2000, 600, 1000)
_RATE = "0: no limit; empty: {} where keys are needed, no limit where they are off."


class Settings(BaseSettings):
    """Settings; what is left out works on one machine with nothing else installed."""

    model_config = SettingsConfigDict(
        env_prefix="FMX_",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,  # URLs may hold passwords
    )

    host: str = Field(default="127.0.0.1", description="Address the server binds to.")
    keys: Literal["auto", "required", "off"] = Field(
        default="auto",
        description="API keys; auto: required where other machines reach the server.",
    )
    trust_network: bool = Field(
        default=False,
        description="Let whoever reaches the server do everything: keys off on any address.",
    )
    open_metrics: bool = Field(default=False, description="May /metrics be read without a key?")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port; 0 takes a free one.")
    data_dir: Path = Field(
        default=Path(".fmx"), description="Database, broker, artifacts and cache of one machine."
    )
    database_url: str = Field(
        default="", description="postgresql://…; empty: SQLite in the data folder."
    )
    broker_url: str = Field(default="", description="redis://…; empty: files in the data folder.")
    storage_url: str = Field(
        default="", description="s3://bucket/prefix, file:///…; empty: blobs in the data folder."
    )
    storage_endpoint: str = Field(
        default="", description="http(s)://… of an S3 that is not Amazon's, such as MinIO."
    )
    storage_public_endpoint: str = Field(
        default="", description="The address of the S3 for clients, where it is another."
    )
    storage_region: str = Field(default="", description="Of the bucket; empty: AWS_REGION.")
    storage_redirects: Literal["auto", "never"] = Field(
        default="auto", description="auto: downloads come from the S3 itself; never: through here."
    )
    storage_patience_seconds: float = Field(
        default=600.0, ge=0, description="So long a run's files wait for a storage that is away."
    )
    storage_cache_bytes: int = Field(
        default=1024 * MEBIBYTE, ge=0, description="Local copies of what runs need from the S3."
    )
    dataset_dir: Path | None = Field(
        default=None, description="Folder with Fashion-MNIST's four IDX files, plain or gzipped."
    )
    dataset_download: bool = Field(default=True, description="May the data set be downloaded?")
    dataset_timeout_seconds: float = Field(
        default=10.0, gt=0, description="Silence after which the download is given up."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = Field(
        default="text", description="json: one object a line."
    )

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

    worker_memory_bytes: int | None = Field(
        default=None,
        ge=256 * MEBIBYTE,
        description="Of one training's processes; above it the run has failed. Empty: no limit.",
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
    event_days: int = Field(
        default=30, ge=0, description="Days that the events of a deleted job are kept."
    )

    log_bytes: int = Field(
        default=64 * 1024, ge=4096, description="Of the end of a run's log that stay readable."
    )

    max_connections: int = Field(default=2000, ge=1, description="Open at a time.")
    max_head_bytes: int = Field(
        default=64 * 1024, ge=1024, description="Of a request's path and headers."
    )
    head_seconds: float = Field(
        default=10.0, gt=0, description="For a request's path and headers to arrive."
    )
    body_seconds: float = Field(
        default=20.0, gt=0, description="For a body to arrive, and one more for each KB of it."
    )
    answer_seconds: float = Field(
        default=60.0, gt=0, description="In which a client that reads nothing is given up."
    )
    keep_alive_seconds: int = Field(default=5, ge=1, description="Between two requests.")

    max_body_bytes: int = Field(default=256 * 1024, ge=1, description="Of a JSON body.")
    max_json_depth: int = Field(default=32, ge=1)
    max_runs_per_job: int = Field(default=1000, ge=1)
    max_name_length: int = Field(default=MAX_NAME_LENGTH, ge=1, le=MAX_NAME_LENGTH)
    max_tags: int = Field(default=MAX_TAGS, ge=0, le=MAX_TAGS, description="Of a job.")
    max_epochs: int = Field(
        default=MAX_EPOCHS, ge=1, le=MAX_EPOCHS, description="Of a training, as a spec asks for."
    )
    max_batch_size: int = Field(
        default=MAX_BATCH_SIZE, ge=1, le=MAX_BATCH_SIZE, description="As a spec asks for."
    )
    max_time_limit_seconds: int = Field(
        default=MAX_TIME_LIMIT_SECONDS, ge=1, le=MAX_TIME_LIMIT_SECONDS, description="Of a job."
    )
    default_time_limit_seconds: int | None = Field(
        default=None, ge=1, description="Of a job that asks for none; empty: it has none."
    )
    max_queued_runs: int = Field(
        default=100_000, ge=0, description="Trainings that wait, in all. 0: any number."
    )
    max_queued_runs_per_owner: int = Field(
        default=20_000, ge=0, description="Trainings of a key's owner that wait. 0: any number."
    )
    max_stored_bytes: int = Field(
        default=0, ge=0, description="Stored files above which no job is taken. 0: any number."
    )
    max_stored_bytes_per_owner: int = Field(
        default=0, ge=0, description="Likewise, of the jobs of a key's owner. 0: any number."
    )
    min_free_bytes: int = Field(
        default=200 * MEBIBYTE,
        ge=0,
        description="Room on the disk below which no job is taken and no run begun. 0: not looked.",
    )
    max_page: int = Field(default=200, ge=1, description="Items of a list page.")
    max_wait_seconds: int = Field(default=60, ge=0, description="Of a long poll.")
    max_streams: int = Field(default=500, ge=0, description="Of events and logs, at a time.")
    max_stream_seconds: int = Field(default=3600, ge=1, description="Then one ends, to be resumed.")
    max_streams_per_owner: int = Field(
        default=100, ge=0, description="Likewise, by a key's owner, or an address without keys."
    )
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
    rate_requests_per_second: int | None = Field(
        default=None,
        ge=0,
        description=f"Of a client. {_RATE.format(DEFAULT_RATES.requests_per_second)}",
    )
    rate_submits_per_minute: int | None = Field(
        default=None,
        ge=0,
        description=f"Of a client. {_RATE.format(DEFAULT_RATES.submits_per_minute)}",
    )
    rate_predicts_per_second: int | None = Field(
        default=None,
        ge=0,
        description=f"Of a client. {_RATE.format(DEFAULT_RATES.predicts_per_second)}",
    )
    rate_bad_keys_per_minute: int = Field(
        default=30, ge=0, description="Of an address, before its unknown keys wait. 0: any number."
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
        is_folder = parts.scheme == "file" and parts.netloc in {"", "localhost"}
        is_bucket = parts.scheme == "s3" and bool(_BUCKET.fullmatch(parts.netloc))
        if text and not (is_folder and len(parts.path) > 1) and not is_bucket:
            raise ValueError("s3://bucket/prefix and file:///folder are served")
        return text

    @field_validator("storage_endpoint", "storage_public_endpoint")
    @classmethod
    def _is_endpoint(cls, text: str) -> str:
        if text and not _is_address(text):
            raise ValueError("http://host:port and https://host are served")
        return text.rstrip("/")

    @model_validator(mode="after")
    def _outlasts_a_heartbeat(self) -> Self:
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError("lease_seconds must be twice heartbeat_seconds at least")
        return self

    @model_validator(mode="after")
    def _limits_agree(self) -> Self:
        if (self.default_time_limit_seconds or 0) > self.max_time_limit_seconds:
            raise ValueError("default_time_limit_seconds is above max_time_limit_seconds")
        return self

    @model_validator(mode="after")
    def _is_not_open_by_accident(self) -> Self:
        if self.keys == "off" and not (self.trust_network or is_loopback(self.host)):
            raise ValueError(
                f"keys are off and the address is {self.host}: whoever reaches it may do "
                "everything; if that is meant, set FMX_TRUST_NETWORK=1 too"
            )
        return self

    @property
    def needs_keys(self) -> bool:
        """Whether nobody comes in without a key."""
        return self.keys == "required" or (self.keys == "auto" and not is_loopback(self.host))

    @property
    def rates(self) -> Rates:
        """What a client may ask for; where keys are off, only what was set counts."""
        given = (
            self.rate_requests_per_second,
            self.rate_submits_per_minute,
            self.rate_predicts_per_second,
        )
        usual = DEFAULT_RATES if self.needs_keys else (None, None, None)
        return Rates(*(u if g is None else g or None for g, u in zip(given, usual, strict=True)))

    @property
    def database(self) -> str:
        """The database's URL, with the driver that is installed."""
        if not self.database_url:
            url = URL.create("sqlite", database=str(self.data_dir / "fmx.sqlite3"))
            return url.render_as_string()
        return _POSTGRES.sub("postgresql+psycopg://", self.database_url)

    @property
    def storage_dir(self) -> Path:
        """Where the blobs lie, if not in a bucket."""
        if not self.storage_url:
            return self.data_dir / "blobs"
        return Path(unquote(urlsplit(self.storage_url).path))

    @property
    def storage_bucket(self) -> tuple[str, str] | None:
        """The bucket that the blobs lie in and what their keys begin with, if it is one."""
        parts = urlsplit(self.storage_url)
        if parts.scheme != "s3":
            return None
        prefix = unquote(parts.path).strip("/")
        return parts.netloc, f"{prefix}/" if prefix else ""

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


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from its own machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_database(text: str) -> bool:
    try:
        url = make_url(_POSTGRES.sub("postgresql+psycopg://", text))
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        return False
    if url.drivername == "sqlite":  # in memory, each connection would have a record of its own
        return bool(url.database) and not (url.database or "").startswith((":memory:", "file:"))
    return url.drivername == "postgresql+psycopg"


def _is_address(text: str) -> bool:
    parts = urlsplit(text)
    try:
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number
        return False
    return named and parts.scheme in {"http", "https"} and not (parts.query or "@" in parts.netloc)


def find_unknown(environment: Mapping[str, str]) -> list[str]:
    """Variables with our prefix that set nothing, such as misspelled ones."""
    known = {f"FMX_{name.upper()}" for name in Settings.model_fields} | READ_ELSEWHERE
    return sorted(n for n in environment if n.upper().startswith("FMX_") and n.upper() not in known)


@functools.cache
def get_settings() -> Settings:
    """The settings of this process, read once. Raises pydantic.ValidationError."""
    for name in find_unknown(os.environ):
        _log.warning("%s is set, but there is no such setting", name)
    return Settings()
