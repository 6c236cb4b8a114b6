"""`python -m api`: the server, on the settings' host and port.

Exit status: 0 stopped by a signal, 1 can't listen, 2 a setting is wrong.
"""

import gc

gc.disable()  # nothing that is imported is garbage: looking for some is a sixth of the start

import logging.config  # noqa: E402
import sys  # noqa: E402

from pydantic import ValidationError  # noqa: E402

from api.main import create_app  # noqa: E402
from api.server import Server, allow_files  # noqa: E402
from fmx_store.log_format import log_config  # noqa: E402
from fmx_store.settings import get_settings  # noqa: E402

FAILED, BAD_SETTINGS = 1, 2


def main() -> int:
    """Runs until a signal ends it; gives back the exit status."""
    try:
        settings = get_settings()
        logging.config.dictConfig(log_config(settings.log_level, settings.log_format))
        server = Server(create_app(settings), settings)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            name = "_".join(str(part) for part in item["loc"]).upper()
            print(f"FMX_{name}: {item['msg']}", file=sys.stderr)  # noqa: T201 - for the operator
        return BAD_SETTINGS
    # What is here now stays: a full collection that looks through it again stops every request
    # for some 50 ms.
    gc.freeze()
    gc.enable()
    allow_files(settings.max_connections)
    try:
        server.run()
    except SystemExit:  # uvicorn's way to say that it can't start; its log says why
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
