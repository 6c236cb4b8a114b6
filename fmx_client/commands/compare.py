"""`fmx compare`: what runs were given, what came of each, and their curves on one axis."""

from collections.abc import Sequence
from typing import Annotated

import typer

from fmx_client.comparison import Metric, put_side_by_side
from fmx_client.completion import complete_jobs
from fmx_client.errors import NotFoundError
from fmx_client.options import AsJson, Url
from fmx_client.session import USAGE, Session, fail
from fmx_client.terminal.comparison import show_comparison
from fmx_client.types import Run

MAX_RUNS = 12  # side by side; more can be told apart neither as columns nor as curves
CURVE_POINTS = 300


def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="JOB|RUN",
            help="Jobs, which stand for all their runs; ids of runs; or JOB/NAME for one run.",
            autocompletion=complete_jobs,
        ),
    ],
    metric: Annotated[
        Metric | None, typer.Option(help="The curve to draw; else the validation loss.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Compare runs: parameters that differ, final figures, curves."""
    with Session(url, as_json) as session:
        runs = list({run.id: run for name in names for run in _find(session, name)}.values())
        if not 1 < len(runs) <= MAX_RUNS:
            fail(f"these are {len(runs)} runs: name 2 to {MAX_RUNS}, one as JOB/NAME", USAGE)
        epochs = [session.client.metrics(r.id, max_points=CURVE_POINTS).epochs() for r in runs]
        found = put_side_by_side(runs, epochs, metric)
        session.put(found.model_dump(mode="json", by_alias=True), show_comparison(found))


def _find(session: Session, name: str) -> Sequence[Run]:
    """The runs that a name on the command line stands for."""
    job, slash, run_name = name.partition("/")
    try:
        runs = list(session.client.runs(session.find_job(job)))
    except NotFoundError:
        return [session.client.run(job.upper())]
    if not slash:
        return runs
    chosen = [run for run in runs if run.name == run_name]
    if not chosen:
        some = ", ".join(run.name for run in runs[:MAX_RUNS])
        fail(f"{job} has no run {run_name}; it has {some}", USAGE)
    return chosen
