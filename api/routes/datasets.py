"""Registered data sets, which `fmx data register` takes in on the record's own machine."""

import logging
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.exc import SQLAlchemyError

from api import examples
from api.dependencies import App, DatasetPath, Db
from api.openapi import answer, problem_responses
from api.paging import check_limit
from api.queries import PageQuery
from api.schemas import DatasetBody, DatasetClass, DatasetPage, SelfLink
from fmx_store import datasets
from fmx_store.tables import Dataset

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

_log = logging.getLogger(__name__)


@router.get(
    "",
    summary="List registered data sets",
    responses={**answer(200, examples.page(examples.DATASET)), **problem_responses(422)},
)
def get_datasets(services: App, db: Db, query: Annotated[PageQuery, Query()]) -> DatasetPage:
    limit = check_limit(query.limit, services.settings)
    page = datasets.list_datasets(db, limit=limit, cursor=query.cursor)
    return DatasetPage(items=[_body(row) for row in page.items], next_cursor=page.next_cursor)


@router.get(
    "/{name}",
    summary="Show a registered data set",
    responses={**answer(200, examples.DATASET), **problem_responses(404, 422)},
)
def get_dataset(name: DatasetPath, db: Db) -> DatasetBody:
    return _body(datasets.require_dataset(db, name))


@router.delete(
    "/{name}",
    status_code=204,
    summary="Remove a data set that no job uses",
    responses={204: {"description": "Removed."}, **problem_responses(404, 409, 422)},
)
def delete_dataset(name: DatasetPath, db: Db, services: App) -> None:
    file = datasets.remove(db, name)
    try:
        services.collect([file])
    except (OSError, SQLAlchemyError) as error:  # its name is gone; the file is swept up
        _log.warning("the file of the removed data set %s is left to a sweep: %s", name, error)


def _body(row: Dataset) -> DatasetBody:
    about = row.about
    columns = zip(
        about["class_names"], about["train_per_class"], about["test_per_class"], strict=True
    )
    classes = [
        DatasetClass(
            index=index,
            label=label,
            half="fm1" if index in about["first_half"] else "fm2",
            train=train,
            test=test,
        )
        for index, (label, train, test) in enumerate(columns)
    ]
    return DatasetBody(
        name=row.name,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        classes=classes,
        notes=about["notes"],
        created_at=row.created_at,
        links=SelfLink(self=f"/v1/datasets/{row.name}"),
    )
