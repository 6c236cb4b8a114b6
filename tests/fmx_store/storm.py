"""A storm in a record: threads that publish, give up, delete and collect the same few files.

    python storm.py DATABASE_URL DATA_DIR SECONDS SEED

as a process of its own; the store is the one that the FMX_STORAGE variables name. It fails where a
published file can't be read as it was.
"""

import random
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from record_kit import CPU, FAILED, submit, together

from fmx_store import artifacts, claims, jobs
from fmx_store.blobs import BlobStore, digest, open_store
from fmx_store.claims import Claim, Failure, Success
from fmx_store.database import Database
from fmx_store.errors import BlobError, ConflictError, NotFoundError
from fmx_store.settings import Settings

PUBLISHERS, COLLECTORS = 3, 2
NUM_CONTENTS = 5  # so few that the same files are needed, left and collected all the time


def main(database_url: str, folder: Path, seconds: float, seed: int) -> None:
    """Rages for a while."""
    db = Database(database_url)
    store = open_store(Settings(data_dir=folder))
    sources = [folder / f"content-{seed}-{number}" for number in range(NUM_CONTENTS)]
    for number, source in enumerate(sources):
        source.write_text(f"contents number {number}")
    until = time.monotonic() + seconds
    ended: list[str] = []
    publishers = [
        _Publisher(db, store, sources, random.Random(f"{seed}-{number}"), ended)  # noqa: S311
        for number in range(PUBLISHERS)
    ]
    calls = [lambda publisher=publisher: publisher.work(until) for publisher in publishers]
    digests = [digest(source)[0] for source in sources]
    calls += [lambda: _collect(db, store, digests, until)] * COLLECTORS
    failed = [error for error in together(*calls) if isinstance(error, Exception)]
    db.close()
    for error in failed:
        print(repr(error))
    print(f"{len(ended)} jobs ended, {threading.active_count()} thread left")
    sys.exit(1 if failed or not ended else 0)


def _collect(db: Database, store: BlobStore, digests: Sequence[str], until: float) -> None:
    while time.monotonic() < until:
        artifacts.collect(db, store, digests)


class _Publisher:
    def __init__(
        self,
        db: Database,
        store: BlobStore,
        sources: Sequence[Path],
        chance: random.Random,
        ended: list[str],
    ) -> None:
        self._db, self._store, self._sources = db, store, sources
        self._chance, self._ended = chance, ended

    def work(self, until: float) -> None:
        while time.monotonic() < until:
            submit(self._db)
            for _ in range(2):
                if claim := claims.claim(self._db, "w", CPU):
                    self._see_to_its_end(claim)
            self._delete_one()
        while claim := claims.claim(self._db, "w", CPU):
            claims.finish(self._db, claim.lease, Success())

    def _see_to_its_end(self, claim: Claim) -> None:
        chosen = self._chance.sample(self._sources, self._chance.randint(1, 3))
        files = {f"{claim.run.name}/{number}": path for number, path in enumerate(chosen)}
        staged = artifacts.stage(self._db, self._store, claim.lease, files)
        match self._chance.randrange(4):
            case 0:
                claims.hand_back(self._db, claim.lease)
            case 1:
                failure = Failure(FAILED.reason, FAILED.code, FAILED.message, files=staged)
                claims.finish(self._db, claim.lease, failure)
            case _:
                claims.finish(self._db, claim.lease, Success(files=staged))
                self._read(claim.lease.job_id, dict(zip(files, chosen, strict=True)))
        self._ended.append(claim.lease.job_id)

    def _read(self, job_id: str, files: dict[str, Path]) -> None:
        """What was published can be read, as long as its job is not deleted."""
        for name, source in files.items():
            try:
                artifact = artifacts.require_artifact(self._db, job_id, name)
                with self._store.open(artifact.sha256) as file:
                    assert file.read() == source.read_bytes()
            except NotFoundError:
                return
            except BlobError:
                try:
                    artifacts.require_artifact(self._db, job_id, name)
                except NotFoundError:
                    return
                raise

    def _delete_one(self) -> None:
        if not self._ended:
            return
        try:
            gone = jobs.remove(self._db, self._chance.choice(self._ended))
        except (ConflictError, NotFoundError):
            return
        artifacts.collect(self._db, self._store, gone)


if __name__ == "__main__":
    url, name, length, number = sys.argv[1:]
    main(url, Path(name), float(length), int(number))
