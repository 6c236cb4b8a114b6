"""Who acts on a record: clients, workers with their trainers, and whoever looks after it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from guards import Guards
from record_model import COLLATION, Beat, Place, Plan, Token
from world import AwayError, Fate, Host, World

from fmx_store.states import ENDED, State

T = TypeVar("T")

HEARTBEAT_SECONDS = 2.0
LEASE_SECONDS = 10.0
DISPATCH_SECONDS = 15.0
LOOK_SECONDS = 1.5  # between a reaper's looks
POLL_SECONDS = 1.0
EPOCH_SECONDS = 1.0
RETRY_SECONDS = 0.7
CHECKPOINTS = 0.4  # of all reports are followed by one
# Outages and pauses that a reaper has not noticed may have taken the rest of a lease.
SILENCE_SECONDS = 1.5

PLANS: Sequence[Plan] = (
    {"a": ()},
    {"a": (), "b": ()},
    {"a": (), "b": ("a",)},
    {"a": (), "b": ("a",), "c": ("b",)},
    {"a": (), "b": (), "c": ("a", "b")},
)


class Ghost:
    """What nobody in the world knows: what was promised, and when each lease was last renewed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.accepted: set[str] = set()
        self.removed: set[str] = set()
        self.cancelled: set[str] = set()
        self.granted: set[Token] = set()
        self._renewed: dict[Place, dict[Host, float]] = {}

    def renew(self, place: Place) -> None:
        """A lease was renewed."""
        self._renewed[place] = {host: host.watched() for host in self._world.hosts}

    def grant(self, token: Token) -> None:
        """A worker holds a run."""
        if token in self.granted:
            self._world.complain(f"{token} was granted twice")
        self.granted.add(token)
        self.renew(token.place)

    def judge_taking(self, host: Host, seen: Beat) -> None:
        """A run was taken back by a host, which must have seen its silence for long enough."""
        renewed = self._renewed.get(seen.place)
        if renewed is None:
            return
        silence = host.watched() - renewed[host]
        if silence < SILENCE_SECONDS:
            self._world.complain(f"{seen} was taken back after {silence:.1f} s")


class Client:
    """Submits, repeats what was not answered, cancels, retries, deletes."""

    def __init__(self, world: World, guards: Guards, ghost: Ghost, num_jobs: int) -> None:
        self._world, self._guards, self._ghost = world, guards, ghost
        self._host = world.hosts[2]
        self.jobs: list[str] = []
        for number in range(num_jobs):
            plan = world.chance.choice(PLANS)
            self._foresee(f"job-{number}", plan)
            self._later(12, lambda n=number, p=plan: self._submit(f"job-{n}", p))
        for _ in range(world.chance.randrange(6)):
            self._later(25, self._meddle)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self._world.after(self._world.chance.uniform(0, seconds), self._host, act)

    def _foresee(self, job: str, plan: Plan) -> None:
        chance = self._world.chance
        for name in plan:
            end = chance.choices(("well", "badly", "crash", "never"), (75, 9, 9, 7))[0]
            self._world.fates[Place(job, name)] = Fate(chance.randint(1, 4), end)
        self._world.fates[Place(job, COLLATION)] = Fate(0, "well")

    def _submit(self, job: str, plan: Plan) -> None:
        record = self._world.record
        try:
            self._world.ask(lambda: record.submit(job, plan))
        except AwayError:
            self._later(2, lambda: self._submit(job, plan))
            return
        self._world.tell(f"{job} is accepted")
        self.jobs.append(job)
        self._ghost.accepted.add(job)
        if not self._world.is_faulty:
            self.cancel_endless()
        server_dies = self._world.is_faulty and self._world.chance.random() < 0.2
        if not self._guards.submit_is_one_transaction and not server_dies:
            self._later(0.3, lambda: record.complete_submission(job))

    def _meddle(self) -> None:
        if not self.jobs or not self._world.is_faulty:
            return
        job = self._world.chance.choice(self.jobs)
        act = self._world.chance.choices((self.cancel, self._retry, self._remove), (4, 4, 1))[0]
        act(job)

    def cancel(self, job: str) -> None:
        """Cancels a job, until there is an answer."""
        try:
            if self._world.ask(lambda: self._world.record.cancel(job)):
                self._world.tell(f"{job} is cancelled")
                self._ghost.cancelled.add(job)
        except AwayError:
            self._later(2, lambda: self.cancel(job))

    def _retry(self, job: str) -> None:
        try:
            answer = self._world.ask(lambda: self._world.record.retry(job))
        except AwayError:
            answer = True  # perhaps
        if answer:
            self._world.tell(f"{job} is retried")
            self._ghost.cancelled.discard(job)

    def _remove(self, job: str) -> None:
        try:
            answer = self._world.ask(lambda: self._world.record.remove(job))
        except AwayError:
            answer = self._world.record.state_of(job) is None
        if answer:
            self._world.tell(f"{job} is deleted")
            self._ghost.removed.add(job)
            self.jobs.remove(job)

    def cancel_endless(self) -> None:
        """Ends what would never end by itself."""
        endless = {place.job for place, fate in self._world.fates.items() if fate.end == "never"}
        for job in sorted(endless & set(self.jobs)):
            self.cancel(job)


class Worker:
    """One process that takes messages, claims, and sees trainings to their ends."""

    def __init__(self, world: World, guards: Guards, ghost: Ghost, host: Host) -> None:
        self._world, self._guards, self._ghost, self.host = world, guards, ghost, host
        self._life = 0
        self.token: Token | None = None
        self._is_free = True
        self._epoch = 0
        self._news: list[int] = []
        self.checkpoints = True
        self._begin_life(0.1)

    # Its own life

    def _begin_life(self, seconds: float) -> None:
        self._life += 1
        self.token, self._is_free = None, True
        self._soon(seconds, self._poll)
        self._soon(DISPATCH_SECONDS, self._stand_by)

    def _soon(self, seconds: float, act: Callable[[], None]) -> None:
        """An act of this life: it never comes if the process dies before."""
        life = self._life

        def act_if_alive() -> None:
            if self._life == life:
                act()

        self._world.after(seconds, self.host, act_if_alive)

    def _while_held(self, seconds: float, token: Token, act: Callable[[], None]) -> None:
        def act_if_held() -> None:
            if self.token is token:
                act()

        self._soon(seconds, act_if_held)

    def kill(self) -> None:
        """SIGKILL; whoever looks after it starts it again."""
        self._world.tell(f"the worker of {self.host.name} is killed")
        self._begin_life(self._world.chance.uniform(1, 5))

    def stop(self) -> None:
        """SIGTERM: what it holds goes back to the queue."""
        self._world.tell(f"the worker of {self.host.name} stops")
        token, record = self.token, self._world.record
        if token is not None:
            try:
                if self._world.ask(lambda: record.hand_back(token)) is State.FAILED:
                    self._world.complain(f"{token} was handed back, and failed for it")
            except AwayError:
                pass
        self._begin_life(2)

    # Work

    def _poll(self) -> None:
        if self._is_free and self._world.receive() is not None:
            self._look()
        self._soon(POLL_SECONDS, self._poll)

    def _stand_by(self) -> None:
        is_broker_away = self._world.now < self._world.broker_away_until
        if self._is_free and is_broker_away and self._guards.standby_looks_itself:
            self._look()
        self._soon(DISPATCH_SECONDS, self._stand_by)

    def _look(self) -> None:
        self._is_free = False
        try:
            due = self._world.look(self._world.record.find_due)
        except AwayError:
            due = None
        if due is None:
            self._is_free = True
            return
        self._soon(0.2, lambda: self._claim(due))

    def _claim(self, due: Place) -> None:
        record = self._world.record
        try:
            token = self._world.ask(lambda: record.claim(self.host.name, due))
        except AwayError:
            self._is_free = True
            return
        if token is None:
            self._look()
            return
        self._world.tell(f"{self.host.name} has {token}")
        self._ghost.grant(token)
        self.token, self._news = token, []
        self._epoch = record.newest_checkpoint(token.place)
        self._while_held(EPOCH_SECONDS, token, self._train)
        self._while_held(HEARTBEAT_SECONDS, token, self._report)

    def _train(self) -> None:
        token = self.token
        assert token is not None
        fate = self._world.fates[Place(token.place.job.rstrip("+"), token.place.name)]
        if self._epoch >= fate.epochs and fate.end != "never":
            if fate.end == "crash":
                self.crash()
            else:
                self._end(well=fate.end == "well")
            return
        self._epoch += 1
        self._news.append(self._epoch)
        self._while_held(EPOCH_SECONDS, token, self._train)

    def crash(self) -> None:
        """The trainer dies; its supervisor says so."""
        if self.token is not None:
            self.token = token = Token(*self.token)  # nothing more is trained or reported for it
            self._world.tell(f"the trainer of {token} crashes")
            self._insist(token, lambda: self._world.record.report_crash(token), self._go_on)

    def _report(self) -> None:
        token = self.token
        assert token is not None
        news = tuple(self._news)
        try:
            state = self._world.ask(lambda: self._write(token, news))
        except AwayError:
            self._while_held(RETRY_SECONDS, token, self._report)
            return
        if state is not None:
            self._ghost.renew(token.place)
        elif self._guards.lost_lease_is_heard:
            self._lose(token)
            return
        del self._news[: len(news)]
        if state is State.CANCELLING and self._guards.beat_tells_cancel:
            self._end(well=False)
            return
        if self.checkpoints and self._epoch and self._world.chance.random() < CHECKPOINTS:
            last = self._news[0] - 1 if self._news else self._epoch
            self._keep(token, last if self._guards.checkpoint_follows_epochs else self._epoch + 1)
        self._while_held(HEARTBEAT_SECONDS, token, self._report)

    def _keep(self, token: Token, epoch: int) -> None:
        """Stores a checkpoint, which takes a while, and records it."""

        def record_it() -> None:
            with suppress(AwayError):
                self._world.ask(lambda: self._world.record.checkpoint(token, epoch))

        if epoch > 0:
            self._soon(HEARTBEAT_SECONDS, record_it)

    def _write(self, token: Token, news: Sequence[int]) -> State | None:
        record = self._world.record
        return record.progress(token, news) if news else record.beat(token)

    def _end(self, *, well: bool) -> None:
        """The training has ended: what it has reported is written, its files, then its end."""
        held, record = self.token, self._world.record
        assert held is not None
        self.token = token = Token(*held)  # nothing more is trained or reported for it
        news = tuple(self._news)

        def stage(state: State | None) -> None:
            if state is None:
                self._lose(token)
            else:
                self._insist(token, lambda: record.stage(token), finish)

        def finish(is_held: bool) -> None:
            if not is_held:
                self._lose(token)
            else:
                self._insist(token, lambda: record.finish(token, well=well), finished)

        def finished(state: State | None) -> None:
            self._world.tell(f"{token} is {state}")
            if state is not None and not self._guards.finish_is_one_transaction:
                self._insist(token, lambda: record.complete_finish(token), self._go_on)
            else:
                self._go_on(state)

        self._insist(token, lambda: self._write(token, news), stage)

    def _insist(self, token: Token, write: Callable[[], T], then: Callable[[T], None]) -> None:
        """Writes, again and again while the database is away, and goes on with the answer."""
        try:
            answer = self._world.ask(write)
        except AwayError:
            self._while_held(RETRY_SECONDS, token, lambda: self._insist(token, write, then))
            return
        self._while_held(0.2, token, lambda: then(answer))

    def _lose(self, token: Token) -> None:
        self._world.tell(f"{self.host.name} has lost {token}")
        self._go_on(None)

    def _go_on(self, _answer: object) -> None:
        self.token = None
        self._look()


class Keeper:
    """Takes back and announces again, on one host's clock."""

    def __init__(self, world: World, guards: Guards, ghost: Ghost, host: Host) -> None:
        self._world, self._guards, self._ghost, self._host = world, guards, ghost, host
        self._since: dict[Beat, float] = {}
        self._looked_at: float | None = None
        self._is_in_doubt = False
        world.after(LOOK_SECONDS, host, self._look)

    def _look(self) -> None:
        self._notice_pause()
        try:
            self._watch(self._find_active())
        except AwayError:
            self._forget_after_error()
        with suppress(AwayError):
            self._announce()
        self._world.after(LOOK_SECONDS, self._host, self._look)

    def _forget_after_error(self) -> None:
        if self._guards.reaper_restarts_after_errors:
            self._since.clear()
            self._is_in_doubt = True

    def _find_active(self) -> list[Beat]:
        world = self._world
        suspects = bool(self._find_silent(LEASE_SECONDS / 2)) and self._guards.reaper_tries_writing
        if self._is_in_doubt or suspects:
            world.ask(world.record.try_writing)
            self._is_in_doubt = False
        return world.look(world.record.active)

    def _find_silent(self, seconds: float) -> list[Beat]:
        at = self._host.clock()
        return [beat for beat, since in self._since.items() if at - since >= seconds]

    def _notice_pause(self) -> None:
        at = self._host.clock()
        has_paused = self._looked_at is not None and at - self._looked_at > LEASE_SECONDS / 2
        if has_paused and self._guards.reaper_restarts_after_pauses:
            self._since.clear()
        self._looked_at = at

    def _watch(self, beats: Sequence[Beat]) -> None:
        at = self._host.clock()
        self._since = {beat: self._since.get(beat, at) for beat in beats}
        lease = LEASE_SECONDS if self._guards.reaper_waits_a_lease else 0.0
        silent = self._find_silent(lease)
        if silent and self._guards.silence_is_noticed:
            self._world.after(0.5, self._host, lambda: self._take_back(silent))

    def _take_back(self, silent: Sequence[Beat]) -> None:
        unlocked_at = self._world.locked_until
        if self._world.now < unlocked_at:  # it waits for another's write to end, as heartbeats do
            when = unlocked_at + self._world.chance.uniform(0, RETRY_SECONDS)
            self._world.at(when, self._host, lambda: self._take_back(silent))
            return
        for seen in silent:
            try:
                taken = self._world.ask(lambda seen=seen: self._world.record.take_back(seen))
            except AwayError:
                self._forget_after_error()
                return
            if taken:
                self._world.tell(f"{self._host.name} takes {seen} back")
                self._ghost.judge_taking(self._host, seen)

    def _announce(self) -> None:
        if self._guards.waiting_is_announced_again:
            record, now = self._world.record, self._world.now
            waiting = self._world.ask(lambda: record.find_waiting(DISPATCH_SECONDS, now))
            self._world.publish(waiting)


def is_settled(world: World, workers: Sequence[Worker], jobs: Sequence[str]) -> bool:
    """Whether all has ended, and nobody works on anything any more."""
    states = {world.record.state_of(job) for job in jobs}
    return states <= ENDED and all(worker.token is None for worker in workers)
