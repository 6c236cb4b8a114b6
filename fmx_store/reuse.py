"""What a new run takes over from one that has finished: epochs, figures, files, model.

Either the plan names the run (a spec can name runs of other jobs), or an equal one is looked for.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import func, insert, literal
from sqlalchemy import select as sql_select
from sqlmodel import Session, col, select

from fmx_ml.trainings import Training, parse_training
from fmx_store.errors import UnfinishedRunError, UnknownRunError
from fmx_store.ids import is_id
from fmx_store.lifecycle import move_job, note, put_run
from fmx_store.states import Role, State
from fmx_store.tables import Artifact, Job, Metric, Model, Run
from fmx_store.viewers import Record, only_seen

Source = tuple[Run, Run]
"""A new run, and the finished one whose results it takes over."""


def resolve(record: Record, named: Mapping[str, str]) -> dict[str, Training]:
    """The trainings of finished runs, by id; `named` has their ids by their places in a spec.

    Raises UnknownRunError where the record shows no such training, UnfinishedRunError where it has
    not succeeded.
    """
    if not named:
        return {}
    columns = select(Run.id, Run.state, Run.training).join(Job, col(Job.id) == col(Run.job_id))
    ids = {run_id for run_id in named.values() if is_id(run_id)}
    query = columns.where(col(Run.id).in_(ids), Run.role == Role.TRAINING)
    with record.read() as session:
        query = query.where(*only_seen(record, col(Job.owner)))
        found = {run_id: (state, training) for run_id, state, training in session.exec(query)}
    for place, run_id in named.items():
        if run_id not in found:
            raise UnknownRunError(place, run_id)
        if found[run_id][0] is not State.SUCCEEDED:
            raise UnfinishedRunError(place, run_id, found[run_id][0])
    return {run_id: parse_training(training) for run_id, (_, training) in found.items()}


def find_equal(
    session: Session, hashes: Collection[str], owner: str | None = None
) -> dict[str, str]:
    """The newest run that has succeeded for each training of which there is one, by its hash.

    An owner's own, where there are owners: equal trainings give equal results, but what is taken
    over says that somebody has trained it, and when.
    """
    if not hashes:
        return {}
    newest = (
        select(Run.training_hash, func.max(Run.id))
        .where(col(Run.training_hash).in_(hashes), Run.state == State.SUCCEEDED)
        .group_by(col(Run.training_hash))
    )
    if owner is not None:
        newest = newest.join(Job, col(Job.id) == col(Run.job_id)).where(Job.owner == owner)
    return {digest: run_id for digest, run_id in session.exec(newest) if digest is not None}


def lock_sources(session: Session, run_ids: Collection[str]) -> dict[str, Run]:
    """The finished runs that are still there, by id; their jobs can't be removed meanwhile."""
    if not run_ids:
        return {}
    query = (
        select(Run)
        .join(Job, col(Job.id) == col(Run.job_id))
        .where(col(Run.id).in_(run_ids), Run.state == State.SUCCEEDED)
        .with_for_update(read=True, key_share=True, of=Job)
    )
    return {run.id: run for run in session.exec(query)}


def take_over(session: Session, job: Job, sources: Sequence[Source]) -> None:
    """Gives new runs of a job what finished ones have left, and ends them; releases nothing."""
    if sources and job.state is State.QUEUED:
        move_job(session, job, State.RUNNING)
    for run, source in sources:
        run.reused_from = source.reused_from or source.id
        run.summary = source.summary
        run.epochs_done = run.epochs_total = source.epochs_done
        run.seconds_per_epoch = source.seconds_per_epoch
        put_run(session, job, run, State.RUNNING)
        if run.epochs_done:
            epochs = [(run.position, run.attempt, 1, run.epochs_done)]
            note(session, job, "epochs", epochs=epochs)
        put_run(session, job, run, State.SUCCEEDED)
    for run, source in sources:
        _copy_metrics(session, run, source)
    _copy_artifacts(session, job, sources)
    _copy_models(session, job, sources)


def _copy_metrics(session: Session, run: Run, source: Run) -> None:
    """Within the database: a job may take over tens of thousands of epochs."""
    own = {"run_id": literal(run.id), "attempt": literal(run.attempt)}
    names = list(Metric.model_fields)
    columns = [own.get(name, col(getattr(Metric, name))) for name in names]
    rows = sql_select(*columns).where(col(Metric.run_id) == source.id)
    session.exec(insert(Metric).from_select(names, rows))


def _copy_artifacts(session: Session, job: Job, sources: Sequence[Source]) -> None:
    ids = {source.id for _, source in sources}
    found = defaultdict[str, list[Artifact]](list)
    for artifact in session.exec(select(Artifact).where(col(Artifact.run_id).in_(ids))):
        found[artifact.run_id].append(artifact)
    for run, source in sources:
        paths: list[str] = []
        for artifact in found[source.id]:
            path = f"{run.name}/{artifact.path.removeprefix(source.name + '/')}"
            mine = {"job_id": run.job_id, "run_id": run.id, "path": path}
            session.add(Artifact.model_validate({**artifact.model_dump(), **mine}))
            paths.append(path)
        if paths:
            note(session, job, "artifacts", run, paths=paths)


def _copy_models(session: Session, job: Job, sources: Sequence[Source]) -> None:
    ids = {source.id for _, source in sources}
    query = select(Model).where(col(Model.run_id).in_(ids))
    found = {model.run_id: model for model in session.exec(query)}
    for run, source in sources:
        if source.id in found:
            copied = found[source.id].model_dump(exclude={"id", "created_at"})
            mine = {
                "job_id": job.id,
                "run_id": run.id,
                "run_name": run.name,
                "kind": job.kind,
                "owner": job.owner,
            }
            session.add(Model.model_validate({**copied, **mine}))
