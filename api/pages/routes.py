"""Which routes this server has, for pages that show what comes from one only where it is."""

from fastapi import FastAPI


def has_route(app: FastAPI, path: str) -> bool:
    """Whether some route of the app has this path as its template."""
    return any(getattr(route, "path", None) == path for route in app.router.routes)
