"""Before every path: nobody comes in whom the doorman does not know."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.envelope import Envelope
from api.error_table import TABLE, handle
from api.permissions import GRANT


class Guard:
    """ASGI app: hands on the requests that are let in, with what their sender may do.

    It comes before routes are looked for, so a stranger does not learn which paths there are.
    """

    def __init__(self, inner: ASGIApp) -> None:
        """`inner` answers what is let in."""
        self._inner, self._refuse = inner, Envelope(_refuse)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        try:
            scope[GRANT] = await scope["app"].state.services.doorman.admit(scope)
        except Exception as error:  # noqa: BLE001 - the answer to this request
            scope["fmx.refusal"] = error
            await self._refuse(scope, receive, send)
        else:
            await self._inner(scope, receive, send)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    error: Exception = scope["fmx.refusal"]
    if not isinstance(error, tuple(TABLE)):
        raise error
    answer = await handle(Request(scope), error)
    await answer(scope, receive, send)
