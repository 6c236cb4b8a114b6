"""The command `fmx`: jobs, results, files and predictions of a server.

It exits with 0 where all went well, 1 where something failed, 2 where the command or what it asked
for was wrong, and 130 where it was interrupted or the job it waited for was cancelled.
"""

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, get_args

import typer

from fmx_client.calls import ReportForm
from fmx_client.commands import data, streams
from fmx_client.commands.compare import compare
from fmx_client.commands.dashboard import open_page
from fmx_client.commands.doctor import doctor
from fmx_client.commands.models import models_app
from fmx_client.completion import complete_kinds, complete_models
from fmx_client.downloads import place_in
from fmx_client.options import AsJson, JobName, ModelName, Url
from fmx_client.requests import make_request
from fmx_client.session import CANCELLED, USAGE, Commands, Session, exit_as, fail
from fmx_client.terminal import views
from fmx_client.terminal.results import show_results
from fmx_client.types import Artifact, Job

app = typer.Typer(
    cls=Commands,
    help="Experiments on a server: submit, watch, read results, predict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
artifacts_app = typer.Typer(help="The files that a job left.", no_args_is_help=True)
app.add_typer(artifacts_app, name="artifacts")
app.add_typer(models_app, name="models")


@app.command()
def submit(  # noqa: PLR0917 - typer makes its options of them
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="q1, …; `fmx kinds` lists them.",
            autocompletion=complete_kinds,
        ),
    ],
    preset: Annotated[
        str | None, typer.Option(help="report: as published; quick: a smoke version.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be given again.")] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 9; 9 is served first.")] = None,
    time_limit: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="Wall time that the job may take.")
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="A value of the spec, as optimiser.learning_rate=0.01; may be given again.",
        ),
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="JSON: the spec or a whole request; - is stdin."),
    ] = None,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Take equal runs that finished before.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Wait, and show its progress.")] = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The same key submits once, however often it is sent."),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job."""
    options = {
        "preset": preset,
        "name": name,
        "tags": tag,
        "priority": priority,
        "time_limit_seconds": time_limit,
        "reuse": reuse or None,
    }
    request = make_request(kind, spec, assign or (), options)
    with Session(url, as_json) as session:
        job = session.client.submit(request, idempotency_key=idempotency_key)
        if wait or watch:
            if not as_json:
                session.console.print(job.id, markup=False)
            _finish(session, job.id, live=watch)
        else:
            session.put(job, job.id)


def _finish(session: Session, job_id: str, *, live: bool) -> None:
    """Waits for a job, prints how it ended, and exits so."""
    try:
        job = session.wait(job_id, live=live)
    except KeyboardInterrupt:
        fail(f"the job goes on (fmx watch {job_id}, fmx cancel {job_id})", CANCELLED)
    if session.as_json or not live:
        session.put(job, views.job(job, []))
    elif job.error and job.error.message:
        session.console.print(views.job(job, []))
    exit_as(job)


@app.command()
def jobs(
    kind: Annotated[str | None, typer.Option(help="Of this kind only.")] = None,
    state: Annotated[str | None, typer.Option(help="In this state only.")] = None,
    tag: Annotated[str | None, typer.Option(help="With this tag only.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with Session(url, as_json) as session:
        found = list(session.client.jobs(kind=kind, state=state, tag=tag, limit=limit))
        session.put(found, views.jobs(found))


@app.command()
def show(job: JobName, url: Url = None, as_json: AsJson = False) -> None:
    """Show a job and its runs."""
    with Session(url, as_json) as session:
        found = session.client.job(session.find_job(job))
        runs = [] if as_json else list(session.client.runs(found.id))
        session.put(found, views.job(found, runs))


@app.command()
def watch(job: JobName, url: Url = None, as_json: AsJson = False) -> None:
    """Show a job's progress until it has ended; exit as it ended."""
    with Session(url, as_json) as session:
        _finish(session, session.find_job(job), live=True)


app.command()(streams.logs)
app.command()(streams.events)


@app.command()
def results(job: JobName, url: Url = None, as_json: AsJson = False) -> None:
    """Show a job's tables, ours beside the published."""
    with Session(url, as_json) as session:
        body = session.client.results(session.find_job(job))
        session.put(body, show_results(body))


@app.command()
def report(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="JOB", help="Jobs; else the newest of each kind that succeeded."),
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Where to write it: .html, .pdf or .md; may be given again."
        ),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write the results of several jobs as one document."""
    files = out or [Path("report.html")]
    forms: dict[Path, ReportForm] = {file: _form_of(file) for file in files}
    with Session(url, as_json) as session:
        ids = [session.find_job(name) for name in jobs or []]
        for file, form in forms.items():
            content = session.client.report(ids, form=form)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        written = [str(file) for file in files]
        session.put({"files": written}, "\n".join(written))


def _form_of(file: Path) -> ReportForm:
    forms: dict[str, ReportForm] = {f".{form}": form for form in get_args(ReportForm)}
    if (suffix := file.suffix.lower()) not in forms:
        fail(f"{file}: a report is {', '.join(forms)}", USAGE)
    return forms[suffix]


@artifacts_app.command("list")
def list_artifacts(job: JobName, url: Url = None, as_json: AsJson = False) -> None:
    """List a job's files."""
    with Session(url, as_json) as session:
        found = list(session.client.artifacts(session.find_job(job)))
        session.put(found, views.artifacts(found))


@artifacts_app.command("get")
def get_artifacts(
    job: JobName,
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH", help="Files, or folders of them.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to put them.")] = Path(),
    everything: Annotated[bool, typer.Option("--all", help="All of the job's files.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Download files of a job; each is checked against its sha256."""
    if bool(paths) == everything:
        fail("name the files to get, or give --all", USAGE)
    with Session(url, as_json) as session:
        job_id = session.find_job(job)
        chosen = _choose(list(session.client.artifacts(job_id)), paths or [])
        got = [
            (item, session.client.download(job_id, item, place_in(out, item.path)))
            for item in chosen
        ]
        answer = [{**item.model_dump(mode="json"), "file": str(file)} for item, file in got]
        session.put(answer, views.files(got))


def _choose(items: Sequence[Artifact], paths: Sequence[str]) -> Sequence[Artifact]:
    """The artifacts at or below each of the paths; all without any."""
    if not paths:
        return items
    chosen: dict[str, Artifact] = {}
    for path in paths:
        folder = path.rstrip("/") + "/"
        found = {i.path: i for i in items if i.path == path or i.path.startswith(folder)}
        if not found:
            fail(f"the job has no artifact {path}")
        chosen |= found
    return list(chosen.values())


@app.command()
def predict(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Pictures.", exists=True, dir_okay=False),
    ] = None,
    test_row: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=0, help="A row of the test set; may be given again."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="A model's id or alias; else the newest.",
            autocompletion=complete_models,
        ),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Ask a model what pictures show."""
    if bool(files) == bool(test_row):
        fail("give picture files, or --test-row N", USAGE)
    with Session(url, as_json) as session:
        model_id = session.find_model(model)
        body = session.client.predict(model_id, files=files or None, test_rows=test_row or None)
        names = [str(file) for file in files or []] or [f"test row {row}" for row in test_row or []]
        session.put(body, views.predictions(body.predictions, names))


@app.command("feature-maps")
def feature_maps(
    model: ModelName,
    out: Annotated[Path, typer.Option(metavar="FILE.png", help="Where to draw them.")],
    picture: Annotated[
        Path | None,
        typer.Argument(metavar="PICTURE", help="A picture.", exists=True, dir_okay=False),
    ] = None,
    test_row: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Or a row of the test set.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Only these, as conv1,conv3.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Draw what a model's convolutions make of a picture."""
    if (picture is None) == (test_row is None):
        fail("give a picture file, or --test-row N", USAGE)
    with Session(url, as_json) as session:
        model_id = session.find_model(model)
        chosen = None if layers is None else layers.split(",")
        sheet = session.client.feature_map_sheet(
            model_id, file=picture, test_row=test_row, layers=chosen
        )
        out.write_bytes(sheet)
        session.put({"model": model_id, "file": str(out)}, str(out))


@app.command()
def cancel(job: JobName, url: Url = None, as_json: AsJson = False) -> None:
    """Cancel a job."""
    _order(url, as_json, job, "cancel")


@app.command()
def retry(job: JobName, url: Url = None, as_json: AsJson = False) -> None:
    """Queue again what of a failed or cancelled job did not succeed."""
    _order(url, as_json, job, "retry")


def _order(url: str | None, as_json: bool, name: str, order: str) -> None:
    with Session(url, as_json) as session:
        ordered = {"cancel": session.client.cancel, "retry": session.client.retry}[order]
        job: Job = ordered(session.find_job(name))
        session.put(job, f"{job.id} {job.state}")


@app.command()
def delete(job: JobName, url: Url = None, as_json: AsJson = False) -> None:
    """Delete a job and its files."""
    with Session(url, as_json) as session:
        job_id = session.find_job(job)
        session.client.delete(job_id)
        session.put({"deleted": job_id}, f"{job_id} deleted")


@app.command()
def kinds(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="One of them.", autocompletion=complete_kinds),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List the kinds of experiments, or show one with its defaults."""
    with Session(url, as_json) as session:
        if kind is None:
            found = session.client.kinds()
            session.put(found, views.kinds(found))
        else:
            one = session.client.kind(kind)
            session.put(one, views.kind(one))


app.command()(doctor)
app.command()(compare)
app.command("open")(open_page)


@app.command()
def version(as_json: AsJson = False) -> None:
    """Show this program's version."""
    found = {"fmx": version_of("fmx"), "python": platform.python_version()}
    if as_json:
        print(json.dumps(found))
    else:
        print(f"fmx {found['fmx']} (Python {found['python']})")


app.command()(data.tensorboard)
app.command()(data.datasets)
app.command(**data.PASSED_ON)(data.admin)
app.command(**data.PASSED_ON)(data.data)


def main() -> None:
    """Runs the command line."""
    app(prog_name="fmx")


if __name__ == "__main__":
    main()
