"""`python -m worker`: a worker as the settings describe it."""

import os
import socket
import warnings

from celery.platforms import SecurityWarning

from worker.app import app, settings


def main() -> None:
    """Runs until it is told to stop."""
    # Celery warns of root because of pickled messages, which this app does not accept.
    warnings.simplefilter("ignore", SecurityWarning)
    app.start(
        [
            "--quiet",
            "worker",
            "--pool=prefork",
            f"--concurrency={settings.worker_concurrency}",
            f"--hostname=fmx-{os.getpid()}@{socket.gethostname()}",
            f"--loglevel={settings.log_level}",
            "--without-gossip",
            "--without-mingle",
            *([] if settings.broker_url else ["--without-heartbeat"]),
        ]
    )


if __name__ == "__main__":
    main()
