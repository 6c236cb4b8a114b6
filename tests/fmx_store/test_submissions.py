"""Submissions that are recorded together: each as if it were alone, in one transaction."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from record_kit import check_record, dump, finish_all, request, statements, states_of, together
from services import ROOT
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from fmx_ml.requests import parse_request
from fmx_store import jobs, new_jobs, submissions
from fmx_store.database import Database, Ring
from fmx_store.errors import IdempotencyError, LimitError, UnknownRunError
from fmx_store.new_jobs import IdempotencyKey
from fmx_store.overviews import read_overviews
from fmx_store.submissions import Recorded, Submission, record, record_all

MAX_RUNS = 4


def plain(number: int, **values: Any) -> list[Submission]:
    """So many submissions that have nothing to do with each other."""
    return [Submission(request(**values)) for _ in range(number)]


def keyed(key: str, request_hash: str = "h") -> Submission:
    return Submission(request(), IdempotencyKey(key, request_hash))


def ids_of(answers: list[Recorded | Exception]) -> list[str]:
    """The ids of jobs, all of which must have been recorded."""
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    return [answer.job_id for answer in answers if isinstance(answer, Recorded)]


def test_submissions_are_recorded_as_each_would_be_alone(db: Database, rings: list[Ring]) -> None:
    asked = [
        Submission(request(seeds=2, tags=["b", "a"], name="x", priority=9, time_limit_seconds=5)),
        Submission(request(spec={"device": "cuda"}), IdempotencyKey("k", "h")),
        *plain(3),
    ]
    together_ids = ids_of(record_all(db, asked, MAX_RUNS))
    check_record(db)
    together_rings = [queue for _, queue in rings]
    rings.clear()
    alone_ids = [
        record(
            db, Submission(s.request, s.idempotency and IdempotencyKey("l", "h")), MAX_RUNS
        ).job_id
        for s in asked
    ]
    assert [queue for _, queue in rings] == together_rings == [
        "cpu", "cpu", "gpu", "cpu", "cpu", "cpu",
    ]  # fmt: skip
    for one, other in zip(together_ids, alone_ids, strict=True):
        rows = [(jobs.require_job(db, i), jobs.list_runs(db, i)) for i in (one, other)]
        shown = [
            [
                row.model_dump(exclude={"id", "job_id", "created_at", "rung_at"})
                for row in (job, *runs)
            ]
            for job, runs in rows
        ]
        assert shown[0] == shown[1]
        assert [run.rung_at is not None for run in rows[0][1]] == [
            run.waiting_for == 0 for run in rows[0][1]
        ]
    assert read_overviews(db, together_ids)[together_ids[0]].tags == ["a", "b"]


def test_many_are_as_many_statements_as_few_and_one_commit(db: Database) -> None:
    commits: list[object] = []
    event.listen(db.engine, "commit", commits.append)
    counts: list[int] = []
    for number in (2, submissions.GROUP_JOBS):
        commits.clear()
        with statements(db) as told:
            record_all(db, plain(number), MAX_RUNS)
        counts.append(len(told))
        assert len(commits) == 1
    assert counts[0] == counts[1] < 8


def test_a_group_is_bounded(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "GROUP_JOBS", 3)
    monkeypatch.setattr(submissions, "GROUP_RUNS", 5)
    commits: list[object] = []
    event.listen(db.engine, "commit", commits.append)
    ids_of(record_all(db, plain(7), MAX_RUNS))
    assert len(commits) == 3
    commits.clear()
    ids_of(record_all(db, plain(4, seeds=3), MAX_RUNS))
    assert len(commits) == 4


def test_what_is_wrong_with_one_is_answered_to_it_alone(db: Database, rings: list[Ring]) -> None:
    record(db, keyed("taken"), MAX_RUNS)
    rings.clear()
    few = {"source_run": "0" * 26, "fractions": [5], "starts": ["frozen"]}
    unknown = parse_request({"kind": "q5", "spec": few})
    good = plain(2)
    answers = record_all(
        db,
        [
            good[0],
            keyed("taken", "other"),
            Submission(request(seeds=MAX_RUNS + 1)),
            Submission(unknown),
            good[1],
        ],
        MAX_RUNS,
    )
    assert [type(answer) for answer in answers] == [
        Recorded, IdempotencyError, LimitError, UnknownRunError, Recorded,
    ]  # fmt: skip
    assert len(jobs.list_jobs(db).items) == 3
    assert len(rings) == 2
    check_record(db)


def test_a_key_that_comes_twice_at_once_makes_one_job(db: Database, rings: list[Ring]) -> None:
    before, first, second, other = record_all(
        db, [*plain(1), keyed("k"), keyed("k"), keyed("k", "other")], MAX_RUNS
    )
    assert isinstance(before, Recorded)
    assert isinstance(first, Recorded)
    assert second == Recorded(first.job_id, replayed=not first.replayed)
    assert isinstance(other, IdempotencyError)
    assert len(jobs.list_jobs(db).items) == len(rings) == 2


def test_a_key_that_another_server_has_just_recorded_is_replayed(db: Database) -> None:
    """It was not there when we looked, and is when we write."""
    earlier = record(db, keyed("k"), MAX_RUNS)
    find = submissions._find_earlier
    looks: list[int] = []

    def find_later(*arguments: Any) -> Any:
        looks.append(1)
        return find(*arguments) if len(looks) > 1 else {}

    with mock.patch("fmx_store.submissions._find_earlier", find_later):
        answers = record_all(db, [*plain(1), keyed("k")], MAX_RUNS)
    assert answers[1] == Recorded(earlier.job_id, replayed=True)
    assert len(set(ids_of(answers))) == len(jobs.list_jobs(db).items) == 2
    check_record(db)


def test_a_database_that_is_away_fails_all_and_leaves_nothing(
    db: Database, rings: list[Ring], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, before = new_jobs.write, dump(db)

    def fail(*arguments: Any) -> None:
        write(*arguments)
        raise OperationalError("INSERT", {}, ConnectionError("gone"))

    monkeypatch.setattr(new_jobs, "write", fail)
    answers = record_all(db, plain(3), MAX_RUNS)
    assert [type(answer) for answer in answers] == [OperationalError] * 3
    assert (dump(db), rings) == (before, [])


def test_runs_are_announced_after_the_commit(database_url: str) -> None:
    seen: list[tuple[int, int]] = []
    db = Database(
        database_url, on_commit=lambda rung: seen.append((len(rung), len(jobs.list_jobs(db).items)))
    )
    record_all(db, plain(3, seeds=2), MAX_RUNS)
    assert seen == [(6, 3)]
    db.close()


def test_results_are_taken_over_beside_others(db: Database, rings: list[Ring]) -> None:
    asked = request(seeds=2)
    first = record(db, Submission(asked), MAX_RUNS).job_id
    finish_all(db, first)
    again = asked.model_copy(update={"reuse": True})
    rings.clear()
    other, taken = ids_of(record_all(db, [*plain(1), Submission(again)], MAX_RUNS))
    check_record(db)
    assert set(states_of(db, taken).values()) == {"succeeded", "queued"}
    due = {run.id for job_id in (other, taken) for run in jobs.list_runs(db, job_id) if run.rung_at}
    assert {run_id for run_id, _ in rings} == due


def test_no_writer_loses_what_others_write(db: Database) -> None:
    """Threads that record groups, beside one that cancels and retries."""
    target = record(db, plain(1)[0], MAX_RUNS).job_id

    def record_often() -> list[str]:
        return [i for _ in range(4) for i in ids_of(record_all(db, plain(5), MAX_RUNS))]

    def change_often() -> list[str]:
        for _ in range(5):
            jobs.cancel(db, target)
            jobs.retry(db, target)
        return [target]

    answers = together(*[record_often] * 3, change_often)
    ids = {job_id for answer in answers for job_id in answer}
    assert ids == {job.id for job in jobs.list_jobs(db, limit=200).items}
    assert len(ids) == 61
    check_record(db)


RECORDER = """
import itertools, sys
from record_kit import request
from fmx_store.database import Database
from fmx_store.new_jobs import IdempotencyKey
from fmx_store.submissions import Submission, record_all

db, name = Database(sys.argv[1]), sys.argv[2]
for group in itertools.count():
    keys = [IdempotencyKey(f"{name}-{group}-{n}", "h") for n in range(8)]
    answers = record_all(db, [Submission(request(), key) for key in keys], 10)
    print(*(answer.job_id for answer in answers), flush=True)
"""


def test_what_was_answered_outlives_a_kill(db: Database, database_url: str, tmp_path: Path) -> None:
    """Two processes record until they are killed in the middle of it."""
    script = tmp_path / "recorder.py"
    script.write_text(RECORDER)
    paths = [str(ROOT), str(ROOT / "tests" / "fmx_store")]
    environment = {"PYTHONPATH": ":".join(paths), "PATH": ""}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), database_url, name],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    answered: list[str] = []
    for process in processes:
        assert process.stdout is not None
        answered += [i for _ in range(5) for i in process.stdout.readline().split()]
    for process in processes:
        process.kill()
        answered += process.communicate()[0].split()
    whole = [job_id for job_id in answered if len(job_id) == 26]
    assert len(whole) >= 80
    assert set(read_overviews(db, whole)) == set(whole)
    check_record(db)
    # A group that was cut off left nothing of it, and the next goes on as if it had not been.
    ids_of(record_all(db, plain(3), MAX_RUNS))
    num_keys, num_jobs = (len(dump(db)[name]) for name in ("idempotency", "job"))
    assert num_jobs == num_keys + 3
    assert num_keys % 8 == 0


def test_a_record_says_the_same_in_json(db: Database) -> None:
    """The spec and each training come out as they went in, digit by digit."""
    asked = request(spec={"optimiser": {"learning_rate": 0.1 + 0.2}})
    [job_id] = ids_of(record_all(db, [Submission(asked)], MAX_RUNS))
    assert json.dumps(jobs.require_job(db, job_id).spec) == json.dumps(
        asked.spec.model_dump(mode="json")
    )
    [planned] = submissions.plan_runs(db, asked, MAX_RUNS)
    run = jobs.list_runs(db, job_id)[0]
    assert json.dumps(run.training) == json.dumps(planned.training.model_dump(mode="json"))
