"""Time, hosts, a network and what goes wrong in them: all chance comes from one seed."""

import heapq
import itertools
import random
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from record_model import Place, Record

T = TypeVar("T")
Act = Callable[[], None]

FAULTY_SECONDS = 45.0  # from then on nothing more goes wrong
THAW_SECONDS = 2.0  # after a pause, until each timer of a host has gone off
LOST_ANSWERS = 0.03  # of all commits in that time
LOST_MESSAGES = 0.2
DOUBLED_MESSAGES = 0.3
FASTEST_CLOCK, SLOWEST_CLOCK = 1.25, 0.8  # seconds of a host's clock in one second


class AwayError(Exception):
    """The database does not answer, or its answer was lost."""


class Fate(NamedTuple):
    """What a training does: after so many epochs it ends well or badly, crashes, or never ends."""

    epochs: int
    end: str


class Host:
    """A machine: a clock of its own, and processes that freeze together."""

    def __init__(self, world: "World", name: str, clock_rate: float) -> None:
        self._world, self.name, self._clock_rate = world, name, clock_rate
        self._clock_offset = world.chance.uniform(0, 1000)
        self.frozen_until = 0.0
        self._watched, self._watching_since = 0.0, 0.0

    def clock(self) -> float:
        """Its monotonic clock."""
        return self._clock_offset + self._clock_rate * self._world.now

    def freeze(self, seconds: float) -> None:
        """Stands still for a while."""
        self.note_blindness(self._world.now + seconds)

    def note_blindness(self, until: float) -> None:
        """It can't see the record for a while."""
        self._watched = self.watched()
        self._watching_since = max(self._watching_since, until)

    def watched(self) -> float:
        """For how long it could have seen what happens in the record."""
        return self._watched + max(0.0, self._world.now - self._watching_since)

    def note_sight(self) -> None:
        """It sees again, earlier than was said."""
        self._watched = self.watched()
        self._watching_since = self._world.now


class World:
    """One schedule: actors put their next acts into its calendar."""

    def __init__(self, record: Record, seed: int, *, traced: bool = False) -> None:
        """Nothing happens before `run`."""
        self.record = record
        self.chance = random.Random(seed)  # noqa: S311 - a schedule
        self.now = 0.0
        self._calendar: list[tuple[float, int, Host, Act]] = []
        self._numbers = itertools.count()
        rates = [self.chance.uniform(SLOWEST_CLOCK, FASTEST_CLOCK) for _ in range(3)]
        self.hosts = [Host(self, f"host-{n}", rate) for n, rate in enumerate(rates)]
        self.outside = Host(self, "outside", 1.0)
        self.has_one_writer = self.chance.random() < 0.5  # the database, as SQLite has
        self.away_until = self.read_only_until = self.locked_until = 0.0
        self.broker_away_until = 0.0
        self.messages: list[Place] = []
        self.fates: dict[Place, Fate] = {}
        self.complaints: list[str] = []
        self.trace: list[str] | None = [] if traced else None

    @property
    def is_faulty(self) -> bool:
        """Whether things go wrong."""
        return self.now < FAULTY_SECONDS

    def tell(self, text: str) -> None:
        """Notes what happens, if anyone will read it."""
        if self.trace is not None:
            self.trace.append(f"{self.now:7.2f} {text}")

    def complain(self, text: str) -> None:
        """Something happened that must not."""
        self.tell(f"WRONG: {text}")
        self.complaints.append(text)

    def after(self, seconds: float, host: Host, act: Act) -> None:
        """Puts an act into the calendar, about so far from now."""
        self.at(self.now + seconds * self.chance.uniform(0.7, 1.3), host, act)

    def at(self, when: float, host: Host, act: Act) -> None:
        """Puts an act into the calendar."""
        heapq.heappush(self._calendar, (when, next(self._numbers), host, act))

    def run(self, until: float) -> None:
        """Lets things happen up to a time."""
        while self._calendar and self._calendar[0][0] <= until:
            when, number, host, act = heapq.heappop(self._calendar)
            if when < host.frozen_until:
                resumed = host.frozen_until + self.chance.uniform(0, THAW_SECONDS)
                heapq.heappush(self._calendar, (resumed, number, host, act))
                continue
            self.now = when
            act()
        self.now = until

    def look(self, read: Callable[[], T]) -> T:
        """One transaction that only reads. Raises AwayError."""
        if self.now < self.away_until:
            raise AwayError
        self.record.set_time(self.now)
        return read()

    def ask(self, write: Callable[[], T]) -> T:
        """One transaction. Raises AwayError: it was not done, or it was and nobody says so."""
        if self.now < max(self.away_until, self.read_only_until, self.locked_until):
            raise AwayError
        self.record.set_time(self.now)
        answer = write()
        rings, self.record.rings = self.record.rings, []
        if self.is_faulty and self.chance.random() < LOST_ANSWERS:
            if self.chance.random() < 0.5:
                self.publish(rings)
            self.tell("the answer is lost")
            raise AwayError
        self.publish(rings)
        return answer

    # The broker

    def publish(self, places: list[Place]) -> None:
        """Announces runs, as well as the broker does."""
        if self.now < self.broker_away_until:
            return
        for place in places:
            if self.is_faulty and self.chance.random() < LOST_MESSAGES:
                continue
            self.messages.append(place)
            if self.is_faulty and self.chance.random() < DOUBLED_MESSAGES:
                self.messages.append(place)

    def receive(self) -> Place | None:
        """Any of the messages."""
        if self.now < self.broker_away_until or not self.messages:
            return None
        return self.messages.pop(self.chance.randrange(len(self.messages)))

    # Faults

    def cut_off(self, seconds: float) -> None:
        """The database is away for a while."""
        self.tell(f"the database is away for {seconds:.1f} s")
        self.away_until = max(self.away_until, self.now + seconds)
        for host in self.hosts:
            host.note_blindness(self.away_until)

    def lock(self, seconds: float) -> None:
        """Another process writes, and whoever wants to write waits for it."""
        self.tell(f"the database is locked for {seconds:.1f} s")
        self.locked_until = max(self.locked_until, self.now + seconds)
        for host in self.hosts:
            host.note_blindness(self.locked_until)

    def make_read_only(self, seconds: float) -> None:
        """The database can be read, and nothing can be written."""
        self.tell(f"the database can only be read for {seconds:.1f} s")
        self.read_only_until = max(self.read_only_until, self.now + seconds)
        for host in self.hosts:
            host.note_blindness(self.read_only_until)

    def stop_broker(self, seconds: float) -> None:
        """The broker is away for a while, and comes back empty."""
        self.tell(f"the broker is away for {seconds:.1f} s")
        self.messages.clear()
        self.broker_away_until = max(self.broker_away_until, self.now + seconds)

    def freeze(self, host: Host, seconds: float) -> None:
        """All processes of a host stand still for a while."""
        self.tell(f"{host.name} is frozen for {seconds:.1f} s")
        host.frozen_until = max(host.frozen_until, self.now + seconds)
        host.freeze(seconds)

    def heal(self, *, broker: bool) -> None:
        """Nothing is away or frozen any more, but perhaps the broker, for good."""
        self.has_one_writer = self.chance.random() < 0.5  # the database, as SQLite has
        self.away_until = self.read_only_until = self.locked_until = self.now
        for host in self.hosts:
            host.frozen_until = self.now
            host.note_sight()
        self.broker_away_until = self.now if broker else float("inf")
        if not broker:
            self.messages.clear()
