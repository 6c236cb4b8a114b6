"""Who is doing what, since when, and what waits; of the jobs that whoever looks may see."""

from itertools import groupby
from typing import Any

from fastapi import APIRouter, Request, Response

from api.dependencies import App, Db
from api.pages.rendering import HEADERS, HTML_TYPE, render, render_page
from fmx_store.busy import count_waiting, list_held
from fmx_store.viewers import View

router = APIRouter(prefix="/workers", include_in_schema=False)


@router.get("")
def show_workers(request: Request, db: Db) -> Response:
    return render_page(request, "workers.html", **_read_busy(db))


@router.get("/rows")
def show_worker_rows(db: Db, services: App) -> Response:
    """The part that is looked at again; however many look, the record is read once a second."""
    key = ("workers", db.viewer)
    text = services.glimpses.get(key, lambda: render("parts/worker_rows.html", **_read_busy(db)))
    return Response(text, headers=HEADERS, media_type=HTML_TYPE)


def _read_busy(db: View) -> dict[str, Any]:
    held = list_held(db)
    by_worker = {worker: list(runs) for worker, runs in groupby(held, lambda run: run.worker)}
    return {"workers": by_worker, "queues": count_waiting(db)}
