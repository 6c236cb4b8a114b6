"""Throw-away Redis, PostgreSQL and S3 servers, and the two columns that the record runs on.

The first two are the system's own binaries on free loopback ports, one of each a test session (so
one a pytest-xdist worker), stopped by process id at its end. Where a binary is missing, a test
that needs it is skipped, or fails where FMX_REQUIRE_SERVICES is 1. The S3 is moto's server, a
process that speaks the protocol over HTTP.
"""

import http.client
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from faulty_s3 import FaultyStore, faulty_store

from fmx_store.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0
STOP_SECONDS = 10.0

# Nothing a test writes has to outlive a power cut.
_POSTGRES_OPTIONS = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=60",
    "shared_buffers=16MB",
    "listen_addresses=127.0.0.1",
)


@dataclass(frozen=True)
class Server:
    """A running server: where it listens, and its process."""

    url: str
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class Column:
    """One way to run: the variables that name its database, broker and data folder."""

    name: str
    environment: dict[str, str]

    @property
    def data_dir(self) -> Path:
        """The data folder."""
        return Path(self.environment["FMX_DATA_DIR"])

    def settings(self, **values: Any) -> Settings:
        """The settings of a process with this environment; `values` are put over it."""
        named = {k.removeprefix("FMX_").lower(): v for k, v in self.environment.items()}
        return Settings.model_validate({**named, **values})

    def process_environment(self, **values: object) -> dict[str, str]:
        """The whole environment of a process under test; `values` are further settings."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("FMX_")}
        added = {f"FMX_{name.upper()}": str(value) for name, value in values.items()}
        return {**inherited, **self.environment, **added}

    def on(self, storage: Mapping[str, str]) -> "Column":
        """The same with its files in another storage."""
        return replace(self, environment={**self.environment, **storage})


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_binary(name: str, *folders: Path) -> Path:
    """A system program, from the folders or the path; skips, or fails, where it is missing."""
    places = os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")])
    found = shutil.which(name, path=places)
    if found is not None:
        return Path(found)
    reason = f"{name} is not installed"
    if os.environ.get("FMX_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def run_server(
    command: Sequence[str | Path],
    folder: Path,
    is_ready: Callable[[], bool],
    *,
    stop_signal: signal.Signals = signal.SIGTERM,
    user: str | None = None,
) -> Generator[subprocess.Popen[bytes]]:
    """Runs a server for a while, from when it answers; its output goes to a file in folder."""
    log = folder / "server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, user=user
        )
    try:
        _wait_until_ready(process, is_ready, log)
        yield process
    finally:
        stop(process, stop_signal)


def _wait_until_ready(
    process: subprocess.Popen[bytes], is_ready: Callable[[], bool], log: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{process.args!r} did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.02)


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    """Ends a process that was started here, if need be by force."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def run_redis(port: int | None = None) -> Generator[Server]:
    """A Redis that keeps nothing on disk."""
    binary = find_binary("redis-server")
    port = port or free_port()
    client = redis.Redis(port=port)

    def is_ready() -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    with tempfile.TemporaryDirectory(prefix="fmx-redis-") as folder:
        options = {"--port": str(port), "--bind": "127.0.0.1", "--save": "", "--appendonly": "no"}
        command = [binary, *(text for pair in options.items() for text in pair)]
        with client, run_server(command, Path(folder), is_ready) as process:
            yield Server(f"redis://127.0.0.1:{port}/0", process)


@contextmanager
def run_postgres(port: int | None = None) -> Generator[Server]:
    """A PostgreSQL that trusts its local users; its url names the database `postgres`.

    It refuses to run as root, so root runs it as the user `postgres`.
    """
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    binary = find_binary("postgres", *versions)
    initdb = find_binary("initdb", binary.resolve().parent)
    user = "postgres" if os.getuid() == 0 else None
    port = port or free_port()
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    with tempfile.TemporaryDirectory(prefix="fmx-postgres-") as name:
        folder = Path(name)
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data = folder / "data"
        setup = [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        done = subprocess.run(
            [*setup, "--locale=C"], cwd=folder, user=user, capture_output=True, check=False
        )
        if done.returncode:
            pytest.fail(f"initdb failed: {done.stderr.decode(errors='replace')}")
        command = [binary, "-D", data, "-p", str(port), "-k", folder]
        command += [text for option in _POSTGRES_OPTIONS for text in ("-c", option)]
        running = run_server(
            command, folder, lambda: _answers(url), stop_signal=signal.SIGINT, user=user
        )
        with running as process:
            yield Server(url, process)


@contextmanager
def run_s3(port: int | None = None) -> Generator[Server]:
    """An S3 that keeps everything in its memory and believes every signature."""
    port = port or free_port()

    def is_ready() -> bool:
        try:
            return _ask_s3(port, "GET", "/") < http.client.INTERNAL_SERVER_ERROR
        except OSError:
            return False

    with tempfile.TemporaryDirectory(prefix="fmx-s3-") as folder:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        with run_server(command, Path(folder), is_ready) as process:
            yield Server(f"http://127.0.0.1:{port}", process)


def make_bucket(server: Server) -> str:
    """The name of a new bucket."""
    name = f"fmx-{uuid.uuid4().hex}"
    status = _ask_s3(int(server.url.rpartition(":")[2]), "PUT", f"/{name}")
    assert status == http.client.OK
    return name


def _ask_s3(port: int, method: str, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    # Who asks without a signature is told so, but for the region that its credentials would name.
    sign = "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request"
    headers = {"Authorization": f"{sign}, SignedHeaders=host, Signature=0"}
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=1).close()
    except psycopg.OperationalError:
        return False
    return True


def migrate(database_url: str, data_dir: Path) -> None:
    """Brings a database to the newest revision, by the command that an operator uses."""
    environment = {
        **os.environ,
        "FMX_DATABASE_URL": database_url,
        "FMX_DATA_DIR": str(data_dir),
    }
    done = subprocess.run(
        [sys.executable, "-m", "migrations", "upgrade"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def redis_server() -> Generator[Server]:
    """The session's Redis."""
    with run_redis() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Generator[Server]:
    """The session's PostgreSQL."""
    with run_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Generator[Server]:
    """The session's S3."""
    with run_s3() as server:
        yield server


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials in this process's environment, and none from anywhere else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret of no one")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def s3_storage(s3_server: Server, s3_credentials: None) -> dict[str, str]:  # noqa: ARG001 - as above
    """The variables that name a new bucket of the session's S3."""
    bucket = make_bucket(s3_server)
    url = f"s3://{bucket}/some/blobs"
    return {"FMX_STORAGE_URL": url, "FMX_STORAGE_ENDPOINT": s3_server.url}


@pytest.fixture
def faulty_s3(s3_server: Server) -> Generator[FaultyStore]:
    """A proxy in front of the session's S3."""
    with faulty_store(s3_server.url) as store:
        yield store


@pytest.fixture
def faulty_s3_storage(s3_storage: dict[str, str], faulty_s3: FaultyStore) -> dict[str, str]:
    """The variables that name a new bucket behind that proxy."""
    return {**s3_storage, "FMX_STORAGE_ENDPOINT": faulty_s3.url}


@pytest.fixture
def redis_url(redis_server: Server) -> str:
    """The session's Redis, emptied for this test."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@contextmanager
def fresh_database(server: Server, template: str = "template1") -> Generator[str]:
    """The URL of a new database, a copy of the template, dropped at the end."""
    name = f"fmx_{uuid.uuid4().hex}"
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')  # pyright: ignore[reportArgumentType, reportCallIssue] - names can't be parameters
    try:
        yield f"{server.url.rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # pyright: ignore[reportArgumentType, reportCallIssue] - as above


@pytest.fixture
def empty_postgres_url(postgres_server: Server) -> Generator[str]:
    """A PostgreSQL database of this test's own, with nothing in it."""
    with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(
    postgres_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Generator[str]:
    """The name of a migrated database that each test gets a copy of."""
    with fresh_database(postgres_server) as url:
        migrate(url, tmp_path_factory.mktemp("migrate-postgres"))
        yield url.rpartition("/")[2]


@pytest.fixture
def postgres_url(postgres_server: Server, postgres_template: str) -> Generator[str]:
    """A migrated PostgreSQL database of this test's own."""
    with fresh_database(postgres_server, postgres_template) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file that each test gets a copy of."""
    folder = tmp_path_factory.mktemp("migrate-sqlite")
    migrate("", folder)
    return folder / "fmx.sqlite3"


@pytest.fixture
def embedded_column(tmp_path: Path, sqlite_template: Path) -> Column:
    """SQLite and messages in files, in a data folder of this test's own; migrated."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    shutil.copyfile(sqlite_template, data_dir / "fmx.sqlite3")
    return Column("embedded", {"FMX_DATA_DIR": str(data_dir)})


@pytest.fixture
def engines_column(tmp_path: Path, redis_url: str, postgres_url: str) -> Column:
    """PostgreSQL and Redis, and a data folder of this test's own; migrated."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    return Column(
        "engines",
        {
            "FMX_DATA_DIR": str(data_dir),
            "FMX_DATABASE_URL": postgres_url,
            "FMX_BROKER_URL": redis_url,
        },
    )


@pytest.fixture(params=["embedded", pytest.param("engines", marks=pytest.mark.services)])
def column(request: pytest.FixtureRequest) -> Column:
    """Each column in turn."""
    return request.getfixturevalue(f"{request.param}_column")
