"""Whether the server says truly what works and what does not."""

import shutil
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import pytest
from http_service import Service, problem, serve
from services import Column, Server, free_port, run_redis
from sqlalchemy import text
from sqlalchemy.exc import DataError, DBAPIError

from api.error_table import describe
from fmx_ml.engine.kernel.library import foresee
from fmx_store.database import OUTAGES, Database
from fmx_store.revision import EARLIER_REVISIONS
from fmx_store.settings import Settings

CHECKS = {"database", "broker", "storage", "migrations", "disk"}


def readiness(service: Service, status_code: int, status: str) -> dict[str, bool]:
    """Which checks are well, of an answer that must be this one."""
    answer = service.client.get("/readyz")
    assert answer.status_code == status_code, answer.text
    body = answer.json()
    assert body["status"] == status, body
    assert set(body["checks"]) == CHECKS
    for check in body["checks"].values():
        assert set(check) == {"ok", "detail"}
        assert check["detail"]
    return {name: check["ok"] for name, check in body["checks"].items()}


def test_a_server_that_has_all_it_needs(column_service: Service) -> None:
    assert column_service.get("/healthz") == {"status": "ok"}
    assert readiness(column_service, 200, "ok") == dict.fromkeys(CHECKS, True)


def test_the_engine_of_its_workers(service: Service) -> None:
    answer = service.client.get("/readyz").json()
    assert answer["engine"] == foresee(service.settings.worker_engine)


def set_revision(service: Service, revision: str) -> None:
    with service.db.engine.begin() as connection:
        statement = text("UPDATE fmx_alembic_version SET version_num = :revision")
        connection.execute(statement, {"revision": revision})


def test_tables_of_a_later_revision_have_all_that_is_needed(service: Service) -> None:
    set_revision(service, "of_a_later_release")
    assert readiness(service, 200, "ok") == dict.fromkeys(CHECKS, True)


def test_tables_of_an_earlier_revision(service: Service) -> None:
    set_revision(service, min(EARLIER_REVISIONS))
    assert readiness(service, 503, "unavailable") == {
        **dict.fromkeys(CHECKS, True),
        "migrations": False,
    }
    detail = service.client.get("/readyz").json()["checks"]["migrations"]["detail"]
    assert "python -m migrations upgrade" in detail


def test_a_database_without_tables(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, port=0)
    with serve(settings, tmp_path) as service:
        assert readiness(service, 503, "unavailable")["migrations"] is False
        problem(service.client.get("/v1/jobs"), 503, "database_unavailable")
        assert service.get("/healthz") == {"status": "ok"}


def test_a_store_that_can_not_be_written(service: Service) -> None:
    shutil.rmtree(service.settings.storage_dir)
    assert readiness(service, 503, "unavailable") == {
        **dict.fromkeys(CHECKS, True),
        "storage": False,
    }


def test_a_broker_that_is_down_delays_and_fails_nothing(
    embedded_column: Column, tmp_path: Path
) -> None:
    settings = embedded_column.settings(port=0, broker_url=f"redis://127.0.0.1:{free_port()}/0")
    with serve(settings, tmp_path) as service:
        assert readiness(service, 200, "degraded") == {
            **dict.fromkeys(CHECKS, True),
            "broker": False,
        }
        began = time.monotonic()
        assert service.submit()["state"] == "queued"
        assert time.monotonic() - began < 2


@pytest.fixture
def broken_column(tmp_path: Path) -> Generator[Service]:
    """A server whose database never answers."""
    port = free_port()
    settings = Settings(
        data_dir=tmp_path, port=0, database_url=f"postgresql://x@127.0.0.1:{port}/nothing"
    )
    with serve(settings, tmp_path) as service:
        yield service


def test_a_database_that_was_never_there(broken_column: Service) -> None:
    service = broken_column
    assert service.get("/healthz") == {"status": "ok"}
    assert readiness(service, 503, "unavailable") == {
        "database": False,
        "broker": True,
        "storage": True,
        "migrations": False,
        "disk": True,
    }
    for method, path in (
        ("GET", "/v1/jobs"),
        ("GET", f"/v1/jobs/{'0' * 26}"),
        ("GET", "/v1/models"),
    ):
        answer = service.client.request(method, path)
        problem(answer, 503, "database_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert "127.0.0.1" not in answer.text
    answer = service.client.post("/v1/jobs", json={"kind": "q1"})
    problem(answer, 503, "database_unavailable")
    assert service.get("/v1/kinds")["items"]


@pytest.mark.services
def test_a_database_that_goes_and_comes_back(
    postgres_server: Server, postgres_url: str, tmp_path: Path
) -> None:
    """While it is gone every request is 503, afterwards none."""
    name = postgres_url.rpartition("/")[2]
    settings = Settings(data_dir=tmp_path, port=0, database_url=postgres_url)
    with (
        psycopg.connect(postgres_server.url, autocommit=True) as admin,
        serve(settings, tmp_path) as service,
    ):
        path = f"/v1/jobs/{service.submit()['id']}"
        _allow_connections(admin, name, allowed=False)
        for _ in range(4):
            problem(service.client.get(path), 503, "database_unavailable")
            answer = service.client.post("/v1/jobs", json={"kind": "q1"})
            problem(answer, 503, "database_unavailable")
        assert readiness(service, 503, "unavailable")["database"] is False
        _allow_connections(admin, name, allowed=True)
        assert service.get(path)["state"] == "queued"
        assert readiness(service, 200, "ok")


def _allow_connections(admin: psycopg.Connection, name: str, *, allowed: bool) -> None:
    """Lets the database accept connections or not; those that are open are cut."""
    admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {allowed}')  # pyright: ignore[reportArgumentType, reportCallIssue] - names can't be parameters
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    admin.execute(query, [name])


@pytest.mark.services
def test_a_transaction_that_stood_still_too_long(postgres_url: str, tmp_path: Path) -> None:
    """As of a server that was frozen in the middle: the client may try again."""
    hurried = f"{postgres_url}?options=-c%20idle_in_transaction_session_timeout%3D200ms"
    db = Database(Settings(data_dir=tmp_path, database_url=hurried).database)

    def stand_still() -> None:
        with db.write() as session:
            session.connection().execute(text("SELECT 1"))
            time.sleep(0.6)
            session.connection().execute(text("SELECT 1"))

    with pytest.raises(DBAPIError) as caught:
        stand_still()
    db.close()
    found = describe(caught.value)
    assert (found.status, found.code) == (503, "database_unavailable")


@pytest.mark.services
@pytest.mark.parametrize(
    ("before", "status"),
    [("SET TRANSACTION READ ONLY", 503), ("SELECT 1 / 0", 500)],
    ids=["a standby", "a fault of ours"],
)
def test_what_passes_by_itself_and_what_does_not(
    postgres_url: str, tmp_path: Path, before: str, status: int
) -> None:
    """Psycopg calls both internal: a database that only reads now, and a statement too many."""
    db = Database(Settings(data_dir=tmp_path, database_url=postgres_url).database)

    def write() -> None:
        with db.write() as session:
            with suppress(DataError):
                session.connection().execute(text(before))
            session.connection().execute(text("CREATE TABLE another (id int)"))

    with pytest.raises(DBAPIError) as caught:
        write()
    db.close()
    assert describe(caught.value).status == status
    assert isinstance(caught.value, OUTAGES) == (status == 503)


@pytest.mark.services
def test_postgres_without_tables(empty_postgres_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, port=0, database_url=empty_postgres_url)
    with serve(settings, tmp_path) as service:
        problem(service.client.get("/v1/jobs"), 503, "database_unavailable")
        assert readiness(service, 503, "unavailable")["migrations"] is False


@pytest.mark.services
def test_a_broker_that_goes(embedded_column: Column, tmp_path: Path) -> None:
    port = free_port()
    with run_redis(port) as redis:
        settings = embedded_column.settings(port=0, broker_url=redis.url)
        with serve(settings, tmp_path) as service:
            assert readiness(service, 200, "ok")["broker"] is True
            redis.process.terminate()
            redis.process.wait(10)
            assert readiness(service, 200, "degraded")["broker"] is False
            assert service.submit()["state"] == "queued"


def test_health_needs_no_thread(service: Service) -> None:
    """While every thread of the server waits for the database."""

    def post() -> None:
        with httpx.Client(base_url=service.server.url, timeout=30) as client:
            statuses.append(client.post("/v1/jobs", json={"kind": "q1"}).status_code)

    statuses: list[int] = []
    threads = [threading.Thread(target=post) for _ in range(60)]
    with service.db.write() as session:
        session.connection().execute(text("SELECT 1"))
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        began = time.monotonic()
        assert service.get("/healthz") == {"status": "ok"}
        assert readiness(service, 200, "ok")
        assert time.monotonic() - began < 2
    for thread in threads:
        thread.join()
    assert statuses == [202] * 60
