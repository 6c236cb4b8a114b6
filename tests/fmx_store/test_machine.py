"""One job under any order of events, checked after each against a model of who holds what."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from record_kit import CPU, CRASHES, FAILED, add_all, check_record, epoch, states_of, submit_plan

from fmx_store import claims, jobs
from fmx_store.claims import Heartbeat, Lease, StagedFile, Success
from fmx_store.database import Database
from fmx_store.errors import ConflictError, LeaseLostError
from fmx_store.states import ENDED, State
from fmx_store.tables import Blob, Run

SHA = "cd" * 32
NEEDS = {"a": (), "b": ("a",), "c": ("b",), "d": ()}


class OneJob(RuleBasedStateMachine):
    """Every lease that was ever given may be used at any time."""

    def __init__(self, db: Database) -> None:
        super().__init__()
        self.db = db
        self.job_id = submit_plan(db, NEEDS).id
        self.leases: list[Lease] = []
        self.held: set[Lease] = set()
        self.num_epochs: dict[Lease, int] = {}
        self.version = 0
        self.is_cancelled = False

    def state(self) -> State:
        return jobs.require_job(self.db, self.job_id).state

    def write(self, number: int, act: Callable[[Lease], Any], *, ends: bool) -> None:
        """A write that must succeed if the lease is held, and must be refused if not."""
        if not self.leases:
            return
        lease = self.leases[number % len(self.leases)]
        if lease not in self.held:
            with pytest.raises(LeaseLostError):
                act(lease)
            return
        answer = act(lease)
        if self.is_cancelled:
            assert answer is (State.CANCELLED if ends else State.CANCELLING)
        if ends:
            self.held.remove(lease)

    @rule()
    def claim(self) -> None:
        due = [
            run
            for run in jobs.list_runs(self.db, self.job_id)
            if run.state is State.QUEUED and run.waiting_for == 0
        ]
        claimed = claims.claim(self.db, "w", CPU)
        assert (claimed is None) == (not due)
        if claimed is not None:
            assert claimed.run.id == due[0].id
            assert claimed.lease not in self.leases
            self.leases.append(claimed.lease)
            self.held.add(claimed.lease)

    @rule(number=st.integers(0, 9), repeats=st.integers(0, 2))
    def progress(self, number: int, repeats: int) -> None:
        def report(lease: Lease) -> State:
            first = max(1, self.num_epochs.get(lease, 0) + 1 - repeats)
            self.num_epochs[lease] = first + 1
            return claims.record_progress(self.db, lease, [epoch(first), epoch(first + 1)])

        self.write(number, report, ends=False)

    @rule(number=st.integers(0, 9))
    def beat(self, number: int) -> None:
        self.write(number, lambda lease: claims.beat(self.db, lease), ends=False)

    @rule(number=st.integers(0, 9), model=st.booleans())
    def succeed(self, number: int, model: bool) -> None:
        def finish(lease: Lease) -> State:
            name = run_of(self.db, lease).name
            leaves_model = model and name != "collation"
            files = [StagedFile(f"{name}/model.onnx", SHA, 3, "x/y")] if leaves_model else []
            success = Success({"val_accuracy": 0.5}, files, leaves_model, {"tables": []})
            return claims.finish(self.db, lease, success)

        self.write(number, finish, ends=True)

    @rule(number=st.integers(0, 9))
    def fail(self, number: int) -> None:
        self.write(number, lambda lease: claims.finish(self.db, lease, FAILED), ends=True)

    @rule(number=st.integers(0, 9))
    def crash(self, number: int) -> None:
        report = claims.report_crash
        self.write(number, lambda lease: report(self.db, lease, "killed", CRASHES), ends=True)

    @rule(number=st.integers(0, 9))
    def hand_back(self, number: int) -> None:
        self.write(number, lambda lease: claims.hand_back(self.db, lease), ends=True)

    @rule(number=st.integers(0, 9), late=st.booleans())
    def fall_silent(self, number: int, late: bool) -> None:
        active = claims.active(self.db)
        if active:
            seen = active[number % len(active)]
            lease = Lease(seen.run_id, seen.job_id, seen.attempt)
            if late:
                seen = Heartbeat(seen.run_id, seen.job_id, seen.attempt, seen.beat + 1)
            assert claims.take_back(self.db, seen, CRASHES) is not late
            if not late:
                self.held.remove(lease)

    @rule()
    def cancel(self) -> None:
        if self.state() in ENDED:
            with pytest.raises(ConflictError):
                jobs.cancel(self.db, self.job_id)
        else:
            jobs.cancel(self.db, self.job_id)
            self.is_cancelled = True

    @rule()
    def retry(self) -> None:
        if self.state() in {State.FAILED, State.CANCELLED}:
            jobs.retry(self.db, self.job_id)
            self.is_cancelled = False
        else:
            with pytest.raises(ConflictError):
                jobs.retry(self.db, self.job_id)

    @invariant()
    def the_record_is_right(self) -> None:
        check_record(self.db)
        job = jobs.require_job(self.db, self.job_id)
        assert job.version >= self.version
        self.version = job.version
        if self.is_cancelled:
            assert job.state in {State.CANCELLING, State.CANCELLED}
        active = {Lease(h.run_id, h.job_id, h.attempt) for h in claims.active(self.db)}
        assert active == self.held
        assert set(states_of(self.db, self.job_id)) == {*NEEDS, "collation"}

    def teardown(self) -> None:
        for lease in self.held:
            claims.hand_back(self.db, lease)
        if self.state() is State.RUNNING:
            jobs.cancel(self.db, self.job_id)
        jobs.remove(self.db, self.job_id)


def run_of(db: Database, lease: Lease) -> Run:
    return next(run for run in jobs.list_runs(db, lease.job_id) if run.id == lease.run_id)


def test_one_job_under_any_order_of_events(db: Database) -> None:
    add_all(db, [Blob(sha256=SHA, size_bytes=3)])

    class Machine(OneJob):
        def __init__(self) -> None:
            super().__init__(db)

    run_state_machine_as_test(
        Machine,
        settings=settings(max_examples=20, stateful_step_count=40, deadline=None, derandomize=True),
    )
