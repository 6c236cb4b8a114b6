"""Jobs as clients poll them: many polls share one look into the record, and bodies are kept."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from api.conditional import matches
from api.gathering import Gatherer
from api.views import job_body, job_etag
from fmx_store.database import Database
from fmx_store.errors import NotFoundError
from fmx_store.overviews import Overview, Version, read_overviews, read_owned_versions
from fmx_store.viewers import Viewer

MAX_KEPT_BYTES = 16 * 1024 * 1024

_OwnedVersion = tuple[Version, str | None]


@dataclass(frozen=True)
class ShownJob:
    """A job's entity tag and its body as JSON; no body where the client has it already."""

    etag: str
    content: bytes | None


class ShownJobs:
    """Shows jobs. Belongs to one event loop."""

    def __init__(self, db: Database) -> None:
        """Nothing is read yet."""
        self._db = db
        self._versions = Gatherer(self._read_versions)
        self._bodies = Gatherer(self._read_bodies)
        self._kept = _Kept()

    async def version(self, job_id: str) -> Version:
        """The version and state of a job, whoever sees it. Raises NotFoundError."""
        version, _ = await self._versions.ask(job_id)
        return version

    async def require(self, viewer: Viewer, job_id: str) -> Version:
        """A job's version and state. Raises NotFoundError where the viewer does not see it."""
        version, owner = await self._versions.ask(job_id)
        if not viewer.sees(owner):
            raise NotFoundError("job", job_id)
        return version

    async def show(self, viewer: Viewer, job_id: str, known: str | None) -> ShownJob:
        """A job as it is, for a client that knows these entity tags. Raises NotFoundError."""
        version, _ = await self.require(viewer, job_id)
        etag = job_etag(job_id, version)
        if matches(etag, known):
            return ShownJob(etag, None)
        content = self._kept.get(etag)
        return await self._render(job_id) if content is None else ShownJob(etag, content)

    async def _render(self, job_id: str) -> ShownJob:
        shown = await self._bodies.ask(job_id)
        if shown.content is not None:
            self._kept.put(shown.etag, shown.content)
        return shown

    def _read_versions(self, job_ids: Sequence[str]) -> Sequence[_OwnedVersion | Exception]:
        found = read_owned_versions(self._db, list(dict.fromkeys(job_ids)))
        return [found.get(job_id) or NotFoundError("job", job_id) for job_id in job_ids]

    def _read_bodies(self, job_ids: Sequence[str]) -> Sequence[ShownJob | Exception]:
        found = read_overviews(self._db, list(dict.fromkeys(job_ids)))
        shown = {job_id: show(overview) for job_id, overview in found.items()}
        return [shown.get(job_id) or NotFoundError("job", job_id) for job_id in job_ids]


def show(overview: Overview) -> ShownJob:
    """A job with its body."""
    content = job_body(overview).model_dump_json().encode()
    return ShownJob(job_etag(overview.id, overview.version), content)


class _Kept:
    """Bodies by their entity tags; those that were asked for last, up to so many bytes."""

    def __init__(self) -> None:
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._num_bytes = 0

    def get(self, etag: str) -> bytes | None:
        content = self._bodies.get(etag)
        if content is not None:
            self._bodies.move_to_end(etag)
        return content

    def put(self, etag: str, content: bytes) -> None:
        self._num_bytes += len(content) - len(self._bodies.pop(etag, b""))
        self._bodies[etag] = content
        while self._num_bytes > MAX_KEPT_BYTES:
            _, dropped = self._bodies.popitem(last=False)
            self._num_bytes -= len(dropped)
