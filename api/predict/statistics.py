"""What a server's models have been asked since it started, and how long it took.

As Triton counts: a request's durations are those of the batch that it went with, so the counts say
how many requests there were. To be used in the event loop's thread, but for the register.
"""

import threading
import time
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from fmx_store.tables import Model
from fmx_store.viewers import Viewer

KEPT_MODELS = 200  # those that were asked least recently are counted together
_NS_PER_MS = 1_000_000


class BatchTimes(NamedTuple):
    """When a batch began, was put together, came back and was handed out: perf_counter_ns."""

    began: int
    fed: int
    answered: int
    told: int


@dataclass
class Duration:
    """How often something happened, and how long it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        """Counts one more, or some that took so long together."""
        self.count += count
        self.ns += ns

    def absorb(self, other: "Duration") -> None:
        """Adds what another one has."""
        self.add(other.ns, other.count)


@dataclass
class Compute:
    """The three parts of going through a model."""

    input: Duration = field(default_factory=Duration)
    infer: Duration = field(default_factory=Duration)
    output: Duration = field(default_factory=Duration)

    def add(self, times: BatchTimes) -> None:
        """Counts one more."""
        self.input.add(times.fed - times.began)
        self.infer.add(times.answered - times.fed)
        self.output.add(times.told - times.answered)

    def absorb(self, other: "Compute") -> None:
        """Adds what another one has."""
        self.input.absorb(other.input)
        self.infer.absorb(other.infer)
        self.output.absorb(other.output)


@dataclass
class Statistics:
    """Of one model. `batches` has, by the pictures of a batch, what the batches took."""

    model_id: str
    job_id: str
    owner: str | None
    num_pictures: int = 0
    last_asked_ms: int = 0  # since 1970
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute: Compute = field(default_factory=Compute)
    batches: dict[int, Compute] = field(default_factory=lambda: defaultdict[int, Compute](Compute))

    @property
    def num_batches(self) -> int:
        """How often the model ran."""
        return sum(compute.infer.count for compute in self.batches.values())

    def note_request(self, num_pictures: int, asked: int, times: BatchTimes) -> None:
        """Counts a request that was answered."""
        self.num_pictures += num_pictures
        self.success.add(times.told - asked)
        self.queue.add(times.began - asked)
        self.compute.add(times)

    def note_failure(self, asked: int) -> None:
        """Counts a request that the model did not answer."""
        self.fail.add(time.perf_counter_ns() - asked)

    def note_batch(self, num_pictures: int, times: BatchTimes) -> None:
        """Counts a batch."""
        self.last_asked_ms = time.time_ns() // _NS_PER_MS
        self.batches[num_pictures].add(times)

    def absorb(self, other: "Statistics") -> None:
        """Adds what another model's have."""
        self.num_pictures += other.num_pictures
        self.success.absorb(other.success)
        self.fail.absorb(other.fail)
        self.queue.absorb(other.queue)
        self.compute.absorb(other.compute)
        for size, compute in other.batches.items():
            self.batches[size].absorb(compute)


class Register:
    """The statistics of the models that were asked most recently. For any thread."""

    def __init__(self, size: int = KEPT_MODELS) -> None:
        """Size is how many models are told apart."""
        self._size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Statistics] = OrderedDict()
        self._others = Statistics("", "", None)  # of those that are told apart no more

    def of(self, model: Model) -> Statistics:
        """A model's statistics, which begin with nothing."""
        with self._lock:
            found = self._kept.get(model.id)
            if found is None:
                found = self._kept[model.id] = Statistics(model.id, model.job_id, model.owner)
            self._kept.move_to_end(model.id)
            while len(self._kept) > self._size:
                self._drop(next(iter(self._kept)))
            return found

    def forget_job(self, job_id: str) -> None:
        """Lets go of a deleted job's models."""
        with self._lock:
            for statistics in tuple(self._kept.values()):
                if statistics.job_id == job_id:
                    self._drop(statistics.model_id)

    def _drop(self, model_id: str) -> None:
        self._others.absorb(self._kept.pop(model_id))

    def seen_by(self, viewer: Viewer) -> list[Statistics]:
        """Those of the models that a viewer sees, the last asked first."""
        with self._lock:
            return [s for s in reversed(self._kept.values()) if viewer.sees(s.owner)]

    def all_seen_by(self, viewer: Viewer) -> list[Statistics]:
        """As `seen_by`; whoever sees all gets the sums of the models told apart no more, too.

        Those have no model's id.
        """
        seen = self.seen_by(viewer)
        return [*seen, self._others] if viewer.sees_all else seen
