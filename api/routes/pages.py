"""Pages for people: the OpenAPI document, and Swagger UI from this server's own files."""

from pathlib import Path

import orjson
from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse, RedirectResponse

WEB = Path(__file__).resolve().parent.parent / "web"

# Swagger UI sets styles by attribute and draws its arrows from data URLs.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


@router.get("/")
async def get_root() -> Response:
    return RedirectResponse("/docs")


@router.get("/docs")
async def get_docs() -> Response:
    headers = {"Content-Security-Policy": _DOCS_POLICY}
    return FileResponse(WEB / "docs.html", headers=headers, media_type="text/html")


@router.get("/openapi.json")
async def get_openapi(request: Request) -> Response:
    return Response(orjson.dumps(request.app.openapi()), media_type="application/json")
