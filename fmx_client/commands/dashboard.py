"""`fmx open`: the server's pages, in the browser of this machine."""

import webbrowser
from typing import Annotated
from urllib.parse import quote

import typer

from fmx_client.completion import Offer, complete_jobs
from fmx_client.connection import find_url
from fmx_client.options import AsJson, Url
from fmx_client.session import Session

# What can be opened beside a job, and where it is.
PAGES = {
    "jobs": "/jobs",
    "submit": "/submit",
    "compare": "/compare",
    "models": "/models",
    "workers": "/workers",
    "docs": "/docs",
}


def complete_pages(incomplete: str) -> list[Offer]:
    """The pages, then the jobs."""
    pages = [(name, path) for name, path in PAGES.items() if name.startswith(incomplete)]
    return [*pages, *complete_jobs(incomplete)]


def open_page(
    page: Annotated[
        str,
        typer.Argument(
            metavar="PAGE|JOB",
            help=f"{', '.join(PAGES)}; or a job, as everywhere.",
            autocompletion=complete_pages,
        ),
    ] = "jobs",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Open a page of the server in the browser; its address is printed where there is none."""
    with Session(url, as_json) as session:
        path = PAGES.get(page) or f"/jobs/{quote(session.find_job(page), safe='')}"
        address = find_url(url) + path
        opened = not as_json and _open(address)
        session.put({"url": address}, f"opened {address}" if opened else address)


def _open(address: str) -> bool:
    """Whether a browser has taken it."""
    try:
        return webbrowser.get().open(address)
    except webbrowser.Error:
        return False
