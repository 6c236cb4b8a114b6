"""The server's own stack with nothing in it: `python empty_server.py PORT` reads and answers {}."""

import sys
from typing import Any

import uvicorn

_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"2")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Takes the body in, and nothing else."""
    del scope
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": b"{}"})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_config=None, access_log=False, lifespan="off")
