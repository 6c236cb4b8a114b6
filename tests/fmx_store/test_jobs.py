"""Jobs: submit, find, list, retry, delete, reuse."""

import base64
import threading

import pytest
from record_kit import (
    CPU,
    FAILED,
    check_record,
    claim,
    dump,
    events_of,
    finish_all,
    request,
    run_named,
    states_of,
    submit,
    submit_plan,
    together,
)

from fmx_ml.requests import parse_spec, spec_hash
from fmx_store import artifacts, claims, jobs, maintenance, metrics, models
from fmx_store.claims import Success
from fmx_store.database import Database, Ring
from fmx_store.errors import (
    ConflictError,
    CursorError,
    IdempotencyError,
    LimitError,
    NotFoundError,
)
from fmx_store.new_jobs import IdempotencyKey
from fmx_store.overviews import read_overviews, read_versions, require_overview
from fmx_store.states import Role, State
from fmx_store.tallies import tally_jobs

NONSENSE = ["", "x", "0" * 25, "0" * 27, "0" * 25 + "\0", "0" * 25 + "\udcff", "0" * 25 + "é"]


def test_a_submitted_job_is_there_with_all_its_runs(db: Database, rings: list[Ring]) -> None:
    asked = request(seeds=3, name="first", tags=["b", "a"], priority=7, time_limit_seconds=60)
    submitted = jobs.submit(db, asked, 1000)
    job = jobs.require_job(db, submitted.job.id)
    assert not submitted.replayed
    assert job.model_dump() == submitted.job.model_dump()
    assert (job.kind, job.preset, job.name, job.priority) == ("q1", "report", "first", 7)
    assert (job.state, job.reason, job.time_limit_seconds, job.version) == (
        State.QUEUED,
        None,
        60,
        1,
    )
    assert parse_spec("q1", job.spec) == asked.spec
    assert job.spec_hash == spec_hash("q1", asked.spec)
    assert require_overview(db, job.id).tags == ["a", "b"]
    runs = jobs.list_runs(db, job.id)
    assert [run.position for run in runs] == [0, 1, 2, 3]
    assert [run.role for run in runs] == [Role.TRAINING] * 3 + [Role.COLLATION]
    assert [run.waiting_for for run in runs] == [0, 0, 0, 3]
    assert [run.epochs_total for run in runs] == [20, 20, 20, 0]
    assert rings == [(run.id, "cpu") for run in runs[:3]]
    with db.read() as session:
        assert [(e.seq, e.data["state"]) for e in events_of(session, job.id)] == [(1, "queued")]
    check_record(db)


def test_runs_of_a_gpu_are_announced_to_gpu_workers(db: Database, rings: list[Ring]) -> None:
    job = submit(db, spec={"device": "cuda"})
    assert rings == [(jobs.list_runs(db, job.id)[0].id, "gpu")]


def test_more_runs_than_allowed_are_refused_before_anything_is_written(db: Database) -> None:
    asked = request(seeds=4)
    before = dump(db)
    with pytest.raises(LimitError) as caught:
        jobs.submit(db, asked, 3)
    assert (caught.value.asked, caught.value.allowed) == (4, 3)
    assert dump(db) == before
    jobs.submit(db, asked, 4)


def test_an_idempotency_key_answers_with_the_same_job(db: Database, rings: list[Ring]) -> None:
    key = IdempotencyKey("k", "h")
    first = jobs.submit(db, request(), 10, key)
    rings.clear()
    claim(db)
    again = jobs.submit(db, request(), 10, key)
    assert (again.replayed, again.job.id, again.job.state) == (True, first.job.id, State.RUNNING)
    assert rings == []
    with pytest.raises(IdempotencyError):
        jobs.submit(db, request(), 10, IdempotencyKey("k", "other"))
    assert len(jobs.list_jobs(db).items) == 1


def test_a_key_is_free_again_when_its_job_is_deleted(db: Database) -> None:
    key = IdempotencyKey("k", "h")
    first = jobs.submit(db, request(), 10, key)
    jobs.remove(db, first.job.id)
    assert not jobs.submit(db, request(), 10, key).replayed


def test_the_same_key_at_the_same_time_makes_one_job(db: Database) -> None:
    for number in range(10):
        key = IdempotencyKey(f"k{number}", "h")
        answers = together(*[lambda key=key: jobs.submit(db, request(), 10, key)] * 4)
        assert len({a.job.id for a in answers}) == 1, answers
        assert sorted(a.replayed for a in answers) == [False, True, True, True]
    assert len(jobs.list_jobs(db).items) == 10


def test_the_same_key_with_two_requests_at_once_takes_one(db: Database) -> None:
    for number in range(10):
        answers = together(
            *[
                lambda h=h, n=number: jobs.submit(db, request(), 10, IdempotencyKey(f"k{n}", h))
                for h in "ab"
            ]
        )
        assert sorted(type(a).__name__ for a in answers) == ["IdempotencyError", "Submitted"]


@pytest.mark.parametrize("text", NONSENSE)
def test_what_is_no_id_finds_nothing(db: Database, text: str) -> None:
    for find in (
        jobs.require_job,
        require_overview,
        jobs.list_runs,
        jobs.require_run,
        jobs.cancel,
        jobs.retry,
        jobs.remove,
        models.require_model,
        artifacts.list_artifacts,
    ):
        with pytest.raises(NotFoundError):
            find(db, text)
    with pytest.raises(NotFoundError):
        artifacts.require_artifact(db, text, "x")
    assert read_versions(db, [text]) == {}
    assert artifacts.artifacts_of_run(db, text) == {}
    assert metrics.read_metrics(db, "0" * 26) == []


def test_what_does_not_exist_is_not_found(db: Database) -> None:
    for find in (jobs.require_job, require_overview, jobs.list_runs, jobs.require_run, jobs.cancel):
        with pytest.raises(NotFoundError):
            find(db, "0" * 26)


def test_lists_are_newest_first_and_filtered(db: Database) -> None:
    made = [submit(db, tags=["even"] if n % 2 == 0 else ["odd", "x"]) for n in range(6)]
    ids = [job.id for job in reversed(made)]
    assert [j.id for j in jobs.list_jobs(db).items] == ids
    assert [j.id for j in jobs.list_jobs(db, tag="odd").items] == ids[0::2]
    assert jobs.list_jobs(db, tag="od").items == []
    assert list(jobs.list_jobs(db, tag="\0").items) == []
    assert list(jobs.list_jobs(db, tag="\udcff").items) == []
    assert jobs.list_jobs(db, kind="q2").items == []
    assert list(jobs.list_jobs(db, kind="q1\0").items) == []
    jobs.cancel(db, ids[1])
    assert [j.id for j in jobs.list_jobs(db, kind="q1", state=State.CANCELLED).items] == [ids[1]]
    assert jobs.list_jobs(db, state=State.CANCELLED, tag="odd").items == []
    assert len(jobs.list_jobs(db, state=State.QUEUED).items) == 5


@pytest.mark.parametrize("limit", [1, 3, 7, 8])
def test_pages_are_complete_while_rows_are_inserted(db: Database, limit: int) -> None:
    ids = [submit(db).id for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = jobs.list_jobs(db, limit=limit, cursor=cursor)
        seen += [job.id for job in page.items]
        submit(db)  # newer than every page still to come
        if (cursor := page.next_cursor) is None:
            break
        assert len(page.items) == limit
    assert seen == list(reversed(ids))


def test_pages_are_complete_while_rows_are_deleted(db: Database) -> None:
    ids = [submit(db).id for _ in range(6)]
    page = jobs.list_jobs(db, limit=2)
    jobs.remove(db, page.items[-1].id)
    jobs.remove(db, ids[3])
    rest = jobs.list_jobs(db, limit=10, cursor=page.next_cursor)
    assert [job.id for job in rest.items] == [ids[2], ids[1], ids[0]]
    assert rest.next_cursor is None


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "====",
        "é",
        "\0",
        "%%%%",
        "a" * 35,
        "A" * 10_000,
        *(
            base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode()
            for text in NONSENSE
        ),
    ],
)
def test_cursors_of_nonsense_are_refused(db: Database, cursor: str) -> None:
    with pytest.raises(CursorError):
        jobs.list_jobs(db, cursor=cursor)
    with pytest.raises(CursorError):
        models.list_models(db, cursor=cursor)


def test_the_lists_of_many_jobs_at_once_agree_with_those_of_one(db: Database) -> None:
    ids = [submit(db, seeds=n, tags=[f"t{n}"]).id for n in (1, 2, 3)]
    found = tally_jobs(db, ids)
    for n, job_id in enumerate(ids, 1):
        assert found[job_id] == tally_jobs(db, [job_id])[job_id]
        assert found[job_id].count(State.QUEUED) == n
    overviews = read_overviews(db, [*ids, "0" * 26, "none"])
    assert overviews == {job_id: require_overview(db, job_id) for job_id in ids}
    assert [overviews[job_id].tags for job_id in ids] == [["t1"], ["t2"], ["t3"]]
    assert overviews == {item.id: item for item in jobs.list_jobs(db).items}
    assert (tally_jobs(db, []), read_overviews(db, []), read_versions(db, [])) == ({}, {}, {})


@pytest.mark.parametrize("state", ["queued", "running", "cancelling", "succeeded"])
def test_only_a_job_that_ended_badly_is_retried(db: Database, state: str) -> None:
    job = submit(db)
    if state != "queued":
        lease = claim(db).lease
        if state == "cancelling":
            jobs.cancel(db, job.id)
        if state == "succeeded":
            claims.finish(db, lease, Success())
            finish_all(db, job.id)
    before = dump(db)
    assert jobs.require_job(db, job.id).state == state
    with pytest.raises(ConflictError):
        jobs.retry(db, job.id)
    assert dump(db) == before


def test_a_retry_does_again_what_did_not_succeed(db: Database, rings: list[Ring]) -> None:
    job = submit_plan(db, {"a": (), "b": (), "c": ("b",), "d": ("c",)})
    failed = finish_all(db, job.id, {"b": FAILED, "collation": Success(results={"half": 1})})
    assert (failed.state, failed.results) == (State.FAILED, {"half": 1})
    old = {run.name: run for run in jobs.list_runs(db, job.id)}
    rings.clear()
    again = jobs.retry(db, job.id)
    check_record(db)
    assert (again.state, again.reason, again.error, again.results) == (
        State.QUEUED,
        None,
        None,
        None,
    )
    assert (again.started_at, again.finished_at) == (None, None)
    assert again.version > failed.version
    assert states_of(db, job.id) == {
        "a": "succeeded",
        "b": "queued",
        "c": "queued",
        "d": "queued",
        "collation": "queued",
    }
    assert rings == [(old["b"].id, "cpu")]
    assert run_named(db, job.id, "collation").waiting_for == 3
    assert run_named(db, job.id, "a").model_dump() == old["a"].model_dump()
    assert run_named(db, job.id, "b").error is None
    ended = finish_all(db, job.id, {"collation": Success(results={"whole": 1})})
    assert (ended.state, ended.results) == (State.SUCCEEDED, {"whole": 1})
    assert run_named(db, job.id, "b").attempt == 2
    check_record(db)


def test_a_failed_collation_alone_is_retried(db: Database, rings: list[Ring]) -> None:
    job = submit(db, seeds=2)
    assert finish_all(db, job.id, {"collation": FAILED}).state is State.FAILED
    rings.clear()
    jobs.retry(db, job.id)
    check_record(db)
    collation = run_named(db, job.id, "collation")
    assert rings == [(collation.id, "cpu")]
    assert claim(db).run.id == collation.id
    assert jobs.require_job(db, job.id).state is State.RUNNING
    claims.finish(db, claims.Lease(collation.id, job.id, 2), Success())
    assert jobs.require_job(db, job.id).state is State.SUCCEEDED
    check_record(db)


def test_a_cancelled_job_can_be_retried_and_cancelled_again(db: Database) -> None:
    job = submit(db, seeds=2)
    for _ in range(3):
        assert jobs.cancel(db, job.id).state is State.CANCELLED
        check_record(db)
        assert jobs.retry(db, job.id).state is State.QUEUED
        check_record(db)
    assert finish_all(db, job.id).state is State.SUCCEEDED


def test_crashes_count_anew_after_a_retry(db: Database) -> None:
    job = submit(db)
    claims.report_crash(db, claim(db).lease, "killed", 1)
    jobs.retry(db, job.id)
    assert claims.report_crash(db, claim(db).lease, "killed", 2) is State.QUEUED


@pytest.mark.parametrize("cancelling", [True, False])
def test_a_job_that_a_worker_holds_is_not_deleted(db: Database, cancelling: bool) -> None:
    job = submit(db)
    claim(db)
    if cancelling:
        jobs.cancel(db, job.id)
    before = dump(db)
    with pytest.raises(ConflictError):
        jobs.remove(db, job.id)
    assert dump(db) == before


def test_jobs_are_lost_by_no_order_of_submits_and_claims(db: Database) -> None:
    stop = threading.Event()
    taken: list[str] = []

    def work() -> None:
        while not stop.is_set() or claims._is_due(db, CPU):
            claimed = claims.claim(db, "w", CPU)
            if claimed is not None:
                taken.append(claimed.run.id)
                claims.finish(db, claimed.lease, Success())

    def send() -> list[str]:
        try:
            return [submit(db, seeds=2).id for _ in range(15)]
        finally:
            stop.set()

    _, _, ids = together(work, work, send)
    assert len(taken) == len(set(taken)) == 45
    assert {jobs.require_job(db, job_id).state for job_id in ids} == {State.SUCCEEDED}
    assert maintenance.find_waiting(db, 0) == []
    check_record(db)
