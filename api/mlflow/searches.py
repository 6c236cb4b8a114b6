"""Searches of experiments and runs, and the tokens that continue them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from api.mlflow.bodies import (
    EXPERIMENT_ATTRIBUTES,
    RUN_ATTRIBUTES,
    RunOfJob,
    columns_of_experiment,
    columns_of_run,
    describe_experiment,
    describe_run,
)
from api.mlflow.filters import Clause, Columns, FilterError, Order, parse_filter, parse_order
from api.mlflow.schemas import (
    MAX_RESULTS,
    Experiment,
    ExperimentsAnswer,
    MlflowRun,
    RunsAnswer,
    SearchExperiments,
    SearchRuns,
)
from api.pointers import ErrorItem
from api.problems import ProblemError, invalid
from fmx_store import jobs, overviews
from fmx_store.errors import CursorError
from fmx_store.metrics import read_last
from fmx_store.pages import decode_path, encode_cursor
from fmx_store.tables import Run
from fmx_store.viewers import Record, viewer_of

T = TypeVar("T")

MAX_RUNS = 20_000  # that one search looks at
JOBS_AT_ONCE = 200
MAX_JOBS_LOOKED_AT = 2_000  # by one page of a search with a filter; the next goes on from there
_NEWEST_FIRST = "creation_time DESC"


def search_experiments(record: Record, asked: SearchExperiments) -> ExperimentsAnswer:
    """The jobs that a filter lets through, the newest first. Raises ProblemError, CursorError."""
    if asked.order_by not in ([], [_NEWEST_FIRST], [f"attributes.{_NEWEST_FIRST}"]):
        raise _refuse("/order_by", f"experiments come by {_NEWEST_FIRST}")
    clauses = _understand("/filter", lambda: parse_filter(asked.filter, EXPERIMENT_ATTRIBUTES))
    if asked.view_type == "DELETED_ONLY":
        return ExperimentsAnswer(experiments=[])
    found: list[Experiment] = []
    wanted, cursor = min(asked.max_results, MAX_RESULTS), asked.page_token or None
    for _ in range(MAX_JOBS_LOOKED_AT // JOBS_AT_ONCE):
        limit = JOBS_AT_ONCE if clauses else min(JOBS_AT_ONCE, wanted - len(found))
        page = jobs.list_jobs(record, limit=limit, cursor=cursor)
        described = [describe_experiment(job) for job in page.items]
        found += [one for one in described if _meets(clauses, columns_of_experiment(one))]
        cursor = page.next_cursor
        if len(found) > wanted:
            cursor = encode_cursor(found[wanted - 1].experiment_id)
        if cursor is None or len(found) >= wanted:
            break
    return ExperimentsAnswer(experiments=found[:wanted], next_page_token=cursor)


def _meets(clauses: Sequence[Clause], columns: Columns) -> bool:
    return all(clause.holds(columns) for clause in clauses)


def search_runs(record: Record, asked: SearchRuns) -> RunsAnswer:
    """The trainings of some jobs that a filter lets through. Raises ProblemError, CursorError."""
    clauses = _understand("/filter", lambda: parse_filter(asked.filter, RUN_ATTRIBUTES))
    orders = _understand("/order_by", lambda: parse_order(asked.order_by, RUN_ATTRIBUTES))
    if asked.run_view_type == "DELETED_ONLY":
        return RunsAnswer(runs=[])
    runs = jobs.list_trainings(record, asked.experiment_ids, MAX_RUNS + 1)
    if len(runs) > MAX_RUNS:
        detail = f"the experiments have more than {MAX_RUNS:,} runs: name fewer"
        raise _refuse("/experiment_ids", detail)
    described = describe_runs(record, runs)
    found = [run for run in described if _meets(clauses, columns_of_run(run))]
    # As mlflow's own servers do where nothing else decides: the latest first, then by their ids.
    found.sort(key=lambda run: (-run.info.start_time, run.info.run_id))
    sort(found, orders, columns_of_run)
    page, token = cut(found, asked.page_token, min(asked.max_results, MAX_RESULTS))
    return RunsAnswer(runs=list(page), next_page_token=token)


def describe_runs(record: Record, runs: Sequence[Run]) -> list[MlflowRun]:
    """Trainings that the record shows, as mlflow's clients see them."""
    ids = list(dict.fromkeys(run.job_id for run in runs))
    found = overviews.read_overviews(record, ids)
    last = read_last(record, [run.id for run in runs])
    owner = viewer_of(record).owner or ""
    return [
        describe_run(RunOfJob(run, found[run.job_id], owner, last.get(run.id)))
        for run in runs
        if run.job_id in found
    ]


def sort(items: list[T], orders: Sequence[Order], read: Callable[[T], Columns]) -> None:
    """Sorts in place; what lacks a key comes last, whichever way it is sorted."""
    for order in reversed(orders):
        keyed = [(order.key.read(read(item)), item) for item in items]
        there = [(key, item) for key, item in keyed if key is not None]
        there.sort(key=lambda pair: pair[0], reverse=order.is_falling)  # pyright: ignore[reportArgumentType] - all are numbers, or all texts
        items[:] = [item for _, item in there] + [item for key, item in keyed if key is None]


def cut(items: Sequence[T], token: str | None, most: int) -> tuple[Sequence[T], str | None]:
    """The page that a token begins, and the token of the next one. Raises CursorError."""
    start = 0
    if token:
        text = decode_path(token)
        if not (text.isascii() and text.isdecimal() and len(text) < 10):  # noqa: PLR2004 - digits
            raise CursorError(token)
        start = int(text)
    end = start + most
    return items[start:end], encode_cursor(str(end)) if end < len(items) else None


def _understand(pointer: str, parse: Callable[[], list[T]]) -> list[T]:
    try:
        return parse()
    except FilterError as error:
        raise _refuse(pointer, str(error)) from error


def _refuse(pointer: str, detail: str) -> ProblemError:
    return invalid([ErrorItem(pointer, "not_supported", detail)])
