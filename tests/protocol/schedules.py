"""Runs the protocol under one schedule, and says what was wrong in it."""

from collections.abc import Sequence
from dataclasses import dataclass

from actors import Client, Ghost, Keeper, Worker, is_settled
from guards import Guards
from record_model import ModelRecord, Record
from world import FAULTY_SECONDS, World

from fmx_store.history_rules import judge
from fmx_store.states import State

ALL = Guards()
CHECK_SECONDS = 15.0  # between two looks at the whole record while things go wrong
CALM_SECONDS = 240.0  # in which all that was accepted ends
MAX_JOBS = 3
MAX_FAULTS = 8
GONE_FOR_GOOD = 0.15  # of the schedules end without a broker


@dataclass(frozen=True)
class Outcome:
    """What was wrong in a schedule, and what has happened in it if that was traced."""

    seed: int
    complaints: Sequence[str]
    trace: Sequence[str]

    def __str__(self) -> str:
        """All of it."""
        return "\n".join([f"seed {self.seed}:", *self.trace, *self.complaints])


class Schedule:
    """Actors in a world, under guards of which some may be missing."""

    def __init__(
        self,
        seed: int,
        guards: Guards = ALL,
        record: Record | None = None,
        *,
        traced: bool = False,
        checkpoints: bool = True,
    ) -> None:
        """Nothing happens before `run`."""
        self._seed = seed
        self.world = world = World(record or ModelRecord(guards), seed, traced=traced)
        self._ghost = ghost = Ghost(world)
        self._client = Client(world, guards, ghost, world.chance.randint(1, MAX_JOBS))
        self._workers = [Worker(world, guards, ghost, host) for host in world.hosts[:2]]
        for worker in self._workers:
            worker.checkpoints = checkpoints
        for host in world.hosts:
            Keeper(world, guards, ghost, host)
        for _ in range(world.chance.randrange(MAX_FAULTS)):
            when = world.chance.uniform(0, FAULTY_SECONDS)
            world.after(when, world.outside, self._break_something)

    def run(self) -> Outcome:
        """Faults, then calm, in which everything must end."""
        world = self.world
        while world.now < FAULTY_SECONDS and not world.complaints:
            world.run(world.now + CHECK_SECONDS)
            self._check()
        world.tell("nothing more goes wrong")
        world.heal(broker=world.chance.random() > GONE_FOR_GOOD)
        self._client.cancel_endless()
        deadline = world.now + CALM_SECONDS
        while not world.complaints and not self._is_settled():
            world.run(world.now + 5)
            if world.now > deadline:
                self._complain_of_the_rest()
        self._check()
        return Outcome(self._seed, world.complaints, world.trace or ())

    def _break_something(self) -> None:
        world, chance = self.world, self.world.chance
        if not world.is_faulty:
            return
        worker = chance.choice(self._workers)
        match chance.randrange(8):
            case 0:
                world.cut_off(chance.uniform(1, 20))
            case 1:
                world.stop_broker(chance.uniform(1, 20))
            case 2:
                worker.kill()
            case 3 | 4:
                world.freeze(chance.choice(world.hosts), chance.uniform(1, 25))
            case 5:
                worker.stop()
            case 6 if world.has_one_writer:
                world.lock(chance.uniform(1, 20))
            case 6:
                world.make_read_only(chance.uniform(1, 20))
            case _:
                worker.crash()

    def _is_settled(self) -> bool:
        jobs = list(self._ghost.accepted - self._ghost.removed)
        has_all = len(self._ghost.accepted) == len({p.job for p in self.world.fates})
        return has_all and is_settled(self.world, self._workers, jobs)

    def _complain_of_the_rest(self) -> None:
        held = [str(worker.token) for worker in self._workers if worker.token]
        states = {job: self.world.record.state_of(job) for job in sorted(self._ghost.accepted)}
        self.world.complain(f"not all has ended: {states}, held: {held}")

    def _check(self) -> None:
        world, ghost = self.world, self._ghost
        histories = list(world.record.histories())
        for history in histories:
            for violation in judge(history):
                world.complain(str(violation))
        known = {history.id for history in histories}
        for job in sorted(ghost.accepted - known):
            world.complain(f"{job} was accepted and is lost")
        for job in sorted(known - {place.job for place in world.fates}):
            world.complain(f"{job} was recorded for a submission that has another job")
        for job in sorted(ghost.cancelled & known - ghost.removed):
            if world.record.state_of(job) not in {State.CANCELLING, State.CANCELLED}:
                world.complain(f"{job} was cancelled and is {world.record.state_of(job)}")


def explore(seeds: Sequence[int], guards: Guards = ALL) -> Outcome | None:
    """The first schedule in which something was wrong, told in full."""
    for seed in seeds:
        if Schedule(seed, guards).run().complaints:
            return Schedule(seed, guards, traced=True).run()
    return None
