"""Settings: each variable, and what is refused."""

import logging
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from fmx_store.database import Database
from fmx_store.settings import Settings, find_unknown, get_settings

VALUES = {
    "host": "0.0.0.0",  # noqa: S104 - a value
    "port": "1234",
    "data_dir": "/srv/fmx",
    "database_url": "postgresql://u:p@host/fmx",
    "broker_url": "redis://host:6379/1",
    "storage_url": "file:///srv/blobs",
    "storage_endpoint": "http://minio:9000",
    "storage_public_endpoint": "https://files.example.org",
    "storage_region": "eu-north-1",
    "storage_redirects": "never",
    "storage_patience_seconds": "30",
    "storage_cache_bytes": "1000",
    "dataset_dir": "/srv/data",
    "dataset_download": "false",
    "dataset_timeout_seconds": "1.5",
    "log_level": "DEBUG",
    "log_format": "json",
    "open_metrics": "true",
    "worker_device": "cuda",
    "worker_concurrency": "4",
    "worker_threads": "2",
    "worker_pack": "8",
    "worker_engine": "torch",
    "heartbeat_seconds": "0.5",
    "lease_seconds": "3",
    "dispatch_seconds": "7",
    "publish_timeout_seconds": "1",
    "stop_seconds": "2",
    "checkpoint_seconds": "7",
    "max_crashes": "5",
    "event_days": "3",
    "max_connections": "50",
    "max_head_bytes": "2048",
    "head_seconds": "1",
    "body_seconds": "2",
    "answer_seconds": "3",
    "keep_alive_seconds": "4",
    "max_body_bytes": "1000",
    "max_json_depth": "16",
    "max_runs_per_job": "10",
    "max_page": "20",
    "max_wait_seconds": "5",
    "max_picture_bytes": "100",
    "max_picture_pixels": "200",
    "max_pictures": "3",
    "max_feature_map_pictures": "2",
    "max_infer_pictures": "9",
    "max_waiting_pictures": "99",
    "max_loaded_models": "4",
    "predict_threads": "2",
    "keys": "required",
    "trust_network": "true",
    "rate_requests_per_second": "100",
    "rate_submits_per_minute": "50",
    "rate_predicts_per_second": "0",
    "rate_bad_keys_per_minute": "5",
    "worker_memory_bytes": "1000000000",
    "max_name_length": "20",
    "max_tags": "3",
    "max_epochs": "100",
    "max_batch_size": "200",
    "max_time_limit_seconds": "3600",
    "default_time_limit_seconds": "600",
    "max_queued_runs": "1000",
    "max_queued_runs_per_owner": "100",
    "max_stored_bytes": "1000000",
    "max_stored_bytes_per_owner": "10000",
    "min_free_bytes": "1000",
    "log_bytes": "5000",
    "max_streams": "7",
    "max_stream_seconds": "60",
    "max_streams_per_owner": "3",
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test itself sets counts."""
    for name in list(Settings.model_fields):
        monkeypatch.delenv(f"FMX_{name.upper()}", raising=False)


def test_every_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(VALUES) == set(Settings.model_fields)
    for name, text in VALUES.items():
        monkeypatch.setenv(f"FMX_{name.upper()}", text)
    settings = Settings()
    for name, text in VALUES.items():
        value = getattr(settings, name)
        assert str(value).lower() == text.lower() or float(value) == float(text)
        assert value != Settings.model_fields[name].default


def test_each_setting_has_a_default_that_needs_nothing(tmp_path: Path) -> None:
    for field in Settings.model_fields.values():
        assert field.default is not PydanticUndefined
    settings = Settings(data_dir=tmp_path)
    assert settings.database == f"sqlite:///{tmp_path}/fmx.sqlite3"
    assert (settings.broker_dir, settings.storage_dir) == (tmp_path / "broker", tmp_path / "blobs")
    assert (settings.cache_dir, settings.scratch_dir) == (tmp_path / "cache", tmp_path / "scratch")


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMX_PORT", "")
    monkeypatch.setenv("FMX_DATASET_DIR", "")
    assert (Settings().port, Settings().dataset_dir) == (8000, None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("port", "65536"),
        ("port", "-1"),
        ("port", "http"),
        ("log_level", "LOUD"),
        ("worker_device", "tpu"),
        ("worker_concurrency", "0"),
        ("worker_concurrency", "257"),
        ("worker_threads", "0"),
        ("worker_pack", "0"),
        ("worker_pack", "1001"),
        ("heartbeat_seconds", "0"),
        ("lease_seconds", "3.9"),
        ("dispatch_seconds", "nan"),
        ("max_crashes", "0"),
        ("max_page", "0"),
        ("max_wait_seconds", "-1"),
        ("dataset_download", "perhaps"),
        ("storage_redirects", "always"),
        ("storage_patience_seconds", "-1"),
        ("storage_cache_bytes", "-1"),
    ],
)
def test_what_is_out_of_bounds_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(f"FMX_{name.upper()}", text)
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("database_url", "mysql://u:secret@host/db"),
        ("database_url", "postgresql+asyncpg://u:secret@host/db"),
        ("database_url", "postgresql+psycopg2://u:secret@host/db"),
        ("database_url", "sqlite://"),
        ("database_url", "sqlite:///:memory:"),
        ("database_url", "sqlite:///file::memory:?cache=shared"),
        ("database_url", "/a/path/secret"),
        ("database_url", "postgresql://host:secret/db"),
        ("broker_url", "amqp://u:secret@host"),
        ("broker_url", "memory://secret"),
        ("broker_url", "host:6379/secret"),
        ("storage_url", "s3://u:secret@bucket/prefix"),
        ("storage_url", "s3:///secret"),
        ("storage_url", "gs://secret/prefix"),
        ("storage_endpoint", "secret:9000"),
        ("storage_endpoint", "ftp://secret"),
        ("storage_endpoint", "http://u:secret@host"),
        ("storage_endpoint", "http://host:secret"),
        ("storage_public_endpoint", "https://h/?key=secret"),
        ("storage_url", "file://host/secret"),
        ("storage_url", "file://"),
        ("storage_url", "file:///"),
        ("storage_url", "/secret"),
    ],
)
def test_urls_that_can_not_be_served_are_refused_without_telling_passwords(
    name: str, text: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({name: text})
    assert name in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql://u:p%40w@h:5433/db", "postgresql+psycopg://u:p%40w@h:5433/db"),
        ("postgres://h/db?sslmode=require", "postgresql+psycopg://h/db?sslmode=require"),
        ("postgresql+psycopg://h/db", "postgresql+psycopg://h/db"),
        ("sqlite:////srv/my.sqlite3", "sqlite:////srv/my.sqlite3"),
    ],
)
def test_the_database_is_named_with_its_driver(given: str, used: str) -> None:
    assert Settings(database_url=given).database == used


@pytest.mark.parametrize("url", ["redis://h:6379/0", "rediss://u:p@h/0", "redis+socket:///run/r"])
def test_brokers_that_are_served(url: str) -> None:
    assert Settings(broker_url=url).broker_url == url


@pytest.mark.parametrize(
    ("url", "bucket"),
    [
        ("s3://fmx", ("fmx", "")),
        ("s3://fmx/", ("fmx", "")),
        ("s3://my.bucket-1/a/b%20c/", ("my.bucket-1", "a/b c/")),
        ("file:///srv/blobs", None),
        ("", None),
    ],
)
def test_the_storage_is_a_bucket_or_a_folder(url: str, bucket: tuple[str, str] | None) -> None:
    assert Settings(storage_url=url).storage_bucket == bucket


@pytest.mark.parametrize("name", ["plain", "with space", "what?", "100%25", "a#b", "ü"])
def test_a_data_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    db = Database(Settings(data_dir=tmp_path / name).database)
    with db.write() as session:
        session.connection().exec_driver_sql("CREATE TABLE t (x)")
    db.close()
    assert (tmp_path / name / "fmx.sqlite3").is_file()


def test_folders_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    settings = Settings(data_dir=Path("here"), dataset_dir=Path("~/data"))
    assert settings.data_dir == tmp_path / "here"
    assert settings.dataset_dir == tmp_path / "home" / "data"


def test_a_misspelt_variable_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert find_unknown(
        {"FMX_PROT": "1", "FMX_PORT": "1", "HOME": "/", "fmx_host": "h", "FMX_URL": "u"}
    ) == ["FMX_PROT"]
    monkeypatch.setenv("FMX_PROT", "9000")
    get_settings.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert get_settings().port == 8000
    get_settings.cache_clear()
    assert "FMX_PROT" in caplog.text


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # pyright: ignore[reportAttributeAccessIssue] - that is the point
