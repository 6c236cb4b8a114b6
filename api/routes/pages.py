"""Pages for people: the OpenAPI document, and Swagger UI from this server's own files."""

import os
from pathlib import Path

import orjson
from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

WEB = Path(__file__).resolve().parent.parent / "web"

# Swagger UI sets styles by attribute and draws its arrows from data URLs.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_DOCS = (WEB / "docs.html").read_bytes()

router = APIRouter(include_in_schema=False)


class WholeFiles(StaticFiles):
    """Static files, never in parts: the framework's refusals of ranges are no problem bodies."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [item for item in scope["headers"] if item[0] != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Accept-Ranges"] = "none"
        return response


@router.get("/")
async def get_root() -> Response:
    return RedirectResponse("/jobs")


@router.get("/docs")
async def get_docs() -> Response:
    headers = {"Content-Security-Policy": _DOCS_POLICY}
    return Response(_DOCS, headers=headers, media_type="text/html")


@router.get("/openapi.json")
async def get_openapi(request: Request) -> Response:
    return Response(orjson.dumps(request.app.openapi()), media_type="application/json")
