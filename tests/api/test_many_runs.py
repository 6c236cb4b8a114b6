"""Jobs of many runs: a list of them is made in as few queries as one of small jobs."""

from collections.abc import Callable
from typing import Any

from http_service import Service, epoch
from record_kit import statements

from api.views import job_body, run_bodies
from fmx_store import artifacts, claims, jobs

MANY = 32  # seeds of one request


def asked_for(service: Service, do: Callable[[], Any]) -> list[str]:
    """The queries that it takes."""
    with statements(service.db) as told:
        do()
    return [statement for statement in told if statement.startswith("SELECT")]


def test_a_list_of_large_jobs_reads_no_run(column_service: Service) -> None:
    service = column_service

    def show_all() -> None:
        bodies = [job_body(item) for item in jobs.list_jobs(service.db).items]
        assert [sum(body.runs.model_dump().values()) for body in bodies] == sizes[::-1]

    sizes = [1]
    service.submit()
    few = asked_for(service, show_all)
    for _ in range(3):
        service.submit(spec={"seeds": list(range(MANY))})
        sizes.append(MANY)
    many = asked_for(service, show_all)
    assert len(many) == len(few) < 8
    for column in ("run.training", "run.summary", "run.error", "job.results"):
        assert not [statement for statement in many if column in statement], column


def test_pages_of_runs_and_files_read_no_more_than_they_show(column_service: Service) -> None:
    service = column_service
    job = service.submit(spec={"seeds": list(range(MANY)), "max_epochs": 3})
    for _ in range(2):
        claim = service.claim()
        claims.record_progress(service.db, claim.lease, [epoch(1)])
        service.succeed(claim, {"a.txt": b"a", "b.txt": b"b"}, model=True)

    def show_runs() -> None:
        page = jobs.page_runs(service.db, job["id"], limit=3)
        assert [body.model is not None for body in run_bodies(service.db, page.items)] == [
            True, True, False,
        ]  # fmt: skip

    def show_files() -> None:
        page = artifacts.page_artifacts(service.db, job["id"], limit=3)
        assert [name for _, name in page.items] == ["seed-0", "seed-0", "seed-1"]

    for show in (show_runs, show_files):
        queries = asked_for(service, show)
        assert len(queries) <= 3
        assert any("LIMIT" in query for query in queries)
    service.client.post(f"{job['links']['self']}/cancel")


def test_every_run_is_on_one_page_of_the_list(service: Service) -> None:
    path = service.submit(spec={"seeds": list(range(MANY))})["links"]["runs"]
    names: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = service.get(path, limit=5, **cursor)
        names += [run["name"] for run in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert names == [f"seed-{seed}" for seed in range(MANY)]
