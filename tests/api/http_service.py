"""A real server in this process on a port of its own, and the record that stands behind it.

There is no worker: a test plays it, by the record's own functions.
"""

import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
from fastapi import FastAPI

from api.main import create_app
from api.server import Server
from fmx_ml.sinks import EpochMetrics
from fmx_store import artifacts, claims
from fmx_store.blobs import BlobStore, open_store
from fmx_store.claims import Claim, Failure, Success
from fmx_store.database import Database
from fmx_store.settings import Settings
from fmx_store.states import Reason, State

T = TypeVar("T")

START_SECONDS = 10.0
PROBLEM = "application/problem+json"

SUMMARY: dict[str, Any] = {
    "epochs": 2,
    "best_epoch": 2,
    "seconds": 1.5,
    "val_accuracy": 0.5,
    "test_accuracy": 0.25,
    "device": "cpu",
    "data": {"dataset": "fashion-mnist", "half": "fm1"},
    "environment": {"python": "3"},
    "export": {"pictures": 0},
}

RESULTS: dict[str, Any] = {
    "kind": "q1",
    "preset": "report",
    "dataset": "fashion-mnist",
    "tables": [
        {"name": "t", "title": "T", "columns": ["a", "b"], "rows": [["x", 1.5], ["y", None]]}
    ],
    "figures": [{"number": "1", "title": "Loss", "artifacts": ["figure-1.png"]}],
    "comparisons": [],
    "errata": [],
}


def epoch(number: int, **values: Any) -> EpochMetrics:
    """An epoch that took half a second."""
    given = {"train_loss": 1 / number, "val_loss": 2 / number, "val_accuracy": 0.5, **values}
    return EpochMetrics(epoch=number, seconds=0.5, **given)


@dataclass
class Service:
    """The server and a client of it; database and blobs are handles of the test's own."""

    settings: Settings
    app: FastAPI
    server: Server
    client: httpx.Client
    db: Database
    blobs: BlobStore
    folder: Path

    def submit(self, **request: Any) -> dict[str, Any]:
        """The body of a new job of kind q1."""
        answer = self.client.post("/v1/jobs", json={"kind": "q1", **request})
        assert answer.status_code == 202, answer.text
        return answer.json()

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON at a path that answers 200."""
        answer = self.client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def claim(self) -> Claim:
        """The most urgent due run, as a worker gets it."""
        found = claims.claim(self.db, "a worker", ["auto", "cpu"])
        assert found is not None
        return found

    def stage(self, claim: Claim, files: Mapping[str, bytes]) -> list[claims.StagedFile]:
        """Files of a run, stored; a training's are below its name."""
        paths: dict[str, Path] = {}
        for number, (name, content) in enumerate(files.items()):
            source = self.folder / f"staged-{claim.lease.run_id}-{number}"
            source.write_bytes(content)
            paths[name] = source
        return artifacts.stage(self.db, self.blobs, claim.lease, paths)

    def succeed(self, claim: Claim, files: Mapping[str, bytes], *, model: bool = False) -> State:
        """Ends a training well."""
        named = {f"{claim.run.name}/{name}": content for name, content in files.items()}
        staged = self.stage(claim, named)
        return claims.finish(
            self.db, claim.lease, Success(summary=SUMMARY, files=staged, model=model)
        )

    def train_one(self) -> None:
        """Trains the next run: two epochs, each of half a second."""
        claim = self.claim()
        claims.record_progress(self.db, claim.lease, [epoch(1), epoch(2)], phase="training")
        self.succeed(claim, {})

    def collate(self, files: Mapping[str, bytes], results: dict[str, Any] = RESULTS) -> State:
        """Claims a job's collation and ends it well."""
        claim = self.claim()
        assert claim.run.name == "collation"
        staged = self.stage(claim, files)
        return claims.finish(self.db, claim.lease, Success(files=staged, results=results))

    def fail(self, claim: Claim) -> State:
        """Ends a run badly."""
        failure = Failure(Reason.NAN_LOSS, "nan_loss", "the loss is nan", traceback="line 1")
        return claims.finish(self.db, claim.lease, failure)

    def run_to_success(
        self,
        *,
        model: bool = False,
        files: Mapping[str, bytes] | None = None,
        job_files: Mapping[str, bytes] | None = None,
        **request: Any,
    ) -> str:
        """A job that has succeeded; its id."""
        job_id: str = self.submit(**request)["id"]
        for _ in request.get("spec", {}).get("seeds", [0]):
            claim = self.claim()
            assert claim.lease.job_id == job_id
            claims.record_progress(self.db, claim.lease, [epoch(1), epoch(2)], phase="training")
            self.succeed(claim, files or {}, model=model)
        self.collate(job_files or {})
        return job_id


@contextmanager
def serve(settings: Settings, folder: Path) -> Generator[Service]:
    """A server for a while."""
    app = create_app(settings)
    server = Server(app, settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    db = Database(settings.database)
    try:
        wait_until(lambda: server.started or not thread.is_alive(), START_SECONDS)
        assert server.started
        with httpx.Client(base_url=server.url, timeout=30) as client:
            yield Service(settings, app, server, client, db, open_store(settings), folder)
    finally:
        db.close()
        server.stop()
        thread.join()


def wait_until(look: Callable[[], T | None], seconds: float) -> T:
    """What `look` finds at last."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.01)
    return found


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem body of an answer that must be this one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    body = answer.json()
    members = {
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "code",
        "request_id",
        "errors",
    }
    assert set(body) == members
    assert (body["status"], body["code"]) == (status, code), body
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def pointers(answer: httpx.Response) -> list[str]:
    """The places that an answer points to."""
    return [item["pointer"] for item in answer.json()["errors"]]
