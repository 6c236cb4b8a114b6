"""What `fmx admin doctor` looks at on this machine.

A check returns what it has seen, or raises: a DoubtError for what works with less, a FaultError
for what does not, and whatever else its libraries raise, which is a fault too.
"""

import difflib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError
from sqlalchemy import make_url, text

from fmx_ml.engine.kernel.library import BuildError, build, cache_folder, describe_library, load
from fmx_store.admin.crews import Crew, look_at_crew
from fmx_store.admin.findings import Check, DoubtError, FaultError, Finding, run
from fmx_store.blobs import digest, open_store
from fmx_store.broker import check_broker, make_celery
from fmx_store.database import Database
from fmx_store.revision import EXPECTED_REVISION, get_revision, is_behind
from fmx_store.room import find_full
from fmx_store.settings import READ_ELSEWHERE, Settings, find_unknown

MIGRATE = "python -m migrations upgrade"
_PROGRAM_SECONDS = 120.0
_LIKENESS = 0.7  # of a misspelled variable and the one that was meant


def examine(environment: Mapping[str, str]) -> list[Finding]:
    """Everything that can be looked at on this machine; less where its settings are invalid."""
    findings = [look_at_variables(environment)]
    try:
        settings = Settings()
    except ValidationError as error:
        return [*findings, *_invalid(error)]
    findings.append(Finding("settings", "ok", "every value can be used"))
    for check in CHECKS:
        if check.after is None or any(f.name == check.after and f.level == "ok" for f in findings):
            findings.append(run(check, settings))
    return findings


def look_at_variables(environment: Mapping[str, str]) -> Finding:
    """Variables with our prefix that nothing reads."""
    unknown = find_unknown(environment)
    if not unknown:
        count = sum(name.upper().startswith("FMX_") for name in environment)
        return Finding("variables", "ok", f"{count} FMX_ variables are set, all of them known")
    cures = [f"{name}: {_meant(name)}" for name in unknown]
    says = f"nothing reads {', '.join(unknown)}"
    return Finding("variables", "failed", says, "; ".join(cures))


def _meant(name: str) -> str:
    known = {f"FMX_{field.upper()}" for field in Settings.model_fields} | READ_ELSEWHERE
    near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=_LIKENESS)
    return f"{near[0]} is meant?" if near else "unset it"


def _invalid(error: ValidationError) -> list[Finding]:
    """A finding for each value that can't be used."""
    cure = "correct it or unset it; fmx_store/settings.py says what each is"
    return [
        Finding("settings", "failed", f"{_variable(item['loc'])}: {item['msg']}", cure)
        for item in error.errors(include_url=False, include_input=False)
    ]


def _variable(place: Sequence[int | str]) -> str:
    return f"FMX_{str(place[0]).upper()}" if place else "the settings together"


def look_at_data_folder(settings: Settings) -> str:
    """The data folder, or the folder that it will be made in."""
    folder = settings.data_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder):
        pass
    if (full := find_full(settings)) is not None:
        raise FaultError(full, "make room, or name a folder of another disk in FMX_DATA_DIR")
    free_gigabytes = shutil.disk_usage(folder).free / 1e9
    return f"{settings.data_dir} can be written to; {free_gigabytes:,.1f} GB are free"


@contextmanager
def _record(settings: Settings) -> Generator[Database]:
    db = Database(settings.database)
    try:
        yield db
    finally:
        db.close()


def look_at_database(settings: Settings) -> str:
    """The database; SQLite's file is not made by looking."""
    url = make_url(settings.database)
    is_file = url.get_backend_name() == "sqlite"
    if is_file and not Path(url.database or "").exists():
        cure = f"the first `make serve` makes it, or {MIGRATE}"
        raise DoubtError(f"there is no record at {url.database} yet", cure)
    with _record(settings) as db, db.look() as connection:
        connection.execute(text("SELECT 1"))
    return f"{url.database if is_file else f'{url.database} at {url.host}'} answers"


def look_at_tables(settings: Settings) -> str:
    """The revision of the record's tables."""
    with _record(settings) as db:
        revision = get_revision(db)
    if is_behind(revision):
        has = "there are no tables yet" if revision is None else f"the tables are at {revision}"
        raise FaultError(f"{has}; this version needs {EXPECTED_REVISION}", MIGRATE)
    return f"at revision {revision}"


def look_at_broker(settings: Settings) -> str:
    """The broker, as the server's readiness looks at it."""
    if settings.broker_url:
        parts = urlsplit(settings.broker_url)
        where = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
    elif settings.broker_dir.exists():
        where = f"folder {settings.broker_dir}"
    else:
        return "files in the data folder, which the first start makes"
    check_broker(make_celery(settings), settings)
    return f"{where} takes messages"


def look_at_storage(settings: Settings) -> str:
    """The storage: a file is put there, found, and deleted again."""
    if settings.storage_bucket is None and not settings.storage_dir.exists():
        where = settings.storage_dir
        if settings.storage_url:
            raise FaultError(f"there is no folder {where}", "mount it, or correct FMX_STORAGE_URL")
        return f"folder {where}, which the first start makes"
    store = open_store(settings)
    store.check()
    with tempfile.NamedTemporaryFile() as file:
        file.write(uuid.uuid4().bytes)
        file.flush()
        sha256, size_bytes = digest(Path(file.name))
        store.put(Path(file.name), sha256)
    found = store.size_of(sha256)
    store.delete(sha256)
    if found != size_bytes:
        cure = "look at the storage's own log"
        raise FaultError("a file that was stored is not found again", cure)
    return f"{settings.storage_url or settings.storage_dir} keeps files"


def look_at_torch(settings: Settings) -> str:
    """Torch and what it can train on, as a process of its own says: it is large."""
    if find_spec("torch") is None:
        return "not installed: this machine can serve, and not train"
    seen = _ask_program("fmx_ml.hardware")
    said = f"torch {seen['torch']}, {seen['device']}, {seen['threads']} threads"
    if settings.worker_device == "cuda" and not seen["cuda"]:
        cure = "install NVIDIA's driver and a torch that knows it, or FMX_WORKER_DEVICE=auto"
        raise FaultError(f"FMX_WORKER_DEVICE is cuda and there is none: {said}", cure)
    return said


def look_at_kernel(settings: Settings) -> str:
    """The compiled kernel, built and loaded as a training would."""
    if settings.worker_engine == "torch":
        return "not needed: FMX_WORKER_ENGINE is torch"
    try:
        return f"{describe_library(load(build(cache_folder())))} is ready"
    except BuildError as error:
        cure = "apt-get install g++, or name a compiler in CXX; until then torch trains, slower"
        raise DoubtError(f"there is no compiled kernel: {error}", cure) from error


def look_at_data(settings: Settings) -> str:
    """Fashion-MNIST, looked for and verified as a training would, without a download."""
    if find_spec("numpy") is None:
        return "not looked for: numpy is not installed"
    seen = _ask_program("fmx_ml.data", "--cache-dir", str(settings.cache_dir))
    if not seen["found"]:
        says = "Fashion-MNIST is not on this machine"
        if settings.dataset_download:
            raise DoubtError(says, "the first training downloads it")
        raise FaultError(says, str(seen["reason"]))
    wanted = settings.dataset_dir
    if wanted is not None and not Path(seen["source"]).is_relative_to(wanted):
        cure = "put its four files there, whole, or unset FMX_DATASET_DIR"
        raise DoubtError(f"FMX_DATASET_DIR is passed over, {seen['source']} is used", cure)
    return f"Fashion-MNIST is in {seen['source']}, verified"


def _ask_program(module: str, *arguments: str) -> dict[str, Any]:
    """The JSON object that a program of fmx_ml prints."""
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        timeout=_PROGRAM_SECONDS,
        check=False,
        env=dict(os.environ),
    )
    try:
        return json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise RuntimeError(f"python -m {module}: {last}") from None


def look_at_workers(settings: Settings) -> str:
    """Who trains: who holds runs renews their leases, and who is free takes what is due."""
    with _record(settings) as db:
        before = crew = look_at_crew(db)
        if before.beats or before.num_due:
            time.sleep(1.5 * settings.heartbeat_seconds)
            crew = look_at_crew(db)
    silent = [run_id for run_id, beat in crew.beats.items() if before.beats.get(run_id) == beat]
    if silent:
        cure = "they are taken back after FMX_LEASE_SECONDS while a server or worker runs"
        raise FaultError(f"{len(silent)} of {len(crew.beats)} runs under way stand still", cure)
    if _is_idle(before) and _is_idle(crew) and crew.waited_seconds > settings.dispatch_seconds:
        says = f"{crew.num_due} runs wait, the first for {crew.waited_seconds:.0f} s, and none runs"
        raise FaultError(says, "start a worker: python -m worker, or make serve")
    return f"{len(crew.beats)} runs under way, {crew.num_due} wait; {crew.last_seen}"


def _is_idle(crew: Crew) -> bool:
    return bool(crew.num_due) and not crew.beats


CHECKS = (
    Check("data folder", look_at_data_folder, "name a folder of yours in FMX_DATA_DIR"),
    Check("database", look_at_database, "start it, or correct FMX_DATABASE_URL"),
    Check("tables", look_at_tables, MIGRATE, after="database"),
    Check("broker", look_at_broker, "start it, or correct FMX_BROKER_URL; until then runs wait"),
    Check("storage", look_at_storage, "start it, or correct FMX_STORAGE_URL and AWS_…"),
    Check("workers", look_at_workers, "start one: python -m worker", after="tables"),
    Check("torch", look_at_torch, "install it anew: pip install 'fmx[worker]' -c constraints.txt"),
    Check("kernel", look_at_kernel, "FMX_WORKER_ENGINE=torch does without it"),
    Check("data", look_at_data, "install Debian's package dataset-fashion-mnist"),
)
