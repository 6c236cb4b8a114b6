"""The worker's Celery app: `celery -A worker.app worker`, or `python -m worker`.

Neither the main process nor the pool's ever import torch: trainings run in processes of their own.
"""

import logging.config
from contextlib import suppress
from typing import Any, Final

from billiard.util import set_pdeathsig
from celery import signals

from fmx_store.broker import make_celery
from fmx_store.log_format import log_config
from fmx_store.settings import get_settings
from worker import tasks
from worker.context import Context, PerProcess, open_context
from worker.devices import find_hardware, queues_of
from worker.shared import Slots, StopFlag
from worker.upkeep import Upkeep, make_step

settings = get_settings()
app = make_celery(settings)
app.conf.update(
    worker_concurrency=settings.worker_concurrency,
    worker_lost_wait=1.0,  # for the result of a process that was killed: nothing needs it
)

hardware: Final = find_hardware(settings)
# The default of -Q.
app.amqp.queues.select(queues_of(hardware))

# Made here, before the pool is forked.
_stop_flag = StopFlag()
_slots = Slots(settings.worker_concurrency)


def _open() -> Context:
    return open_context(app, settings, hardware, _stop_flag)


contexts = PerProcess(_open)
tasks.register(app, contexts, _stop_flag, _slots)
_upkeep = Upkeep(app, _open, _stop_flag, _slots)
app.steps["worker"].add(make_step(_upkeep))  # pyright: ignore[reportOptionalSubscript] - a dict


@signals.setup_logging.connect
def _set_up_logs(loglevel: int | None, logfile: str | None, **_details: Any) -> None:
    """In place of Celery's own: the lines of server and worker look alike."""
    level = loglevel or settings.log_level
    logging.config.dictConfig(log_config(level, settings.log_format, logfile))


@signals.worker_init.connect
def _count_slots(sender: Any, **_details: Any) -> None:
    """The command line may ask for another concurrency than the settings."""
    _slots.count = sender.concurrency


@signals.worker_shutting_down.connect
def _stop(**_details: Any) -> None:
    """At the first SIGTERM or SIGINT, in the signal handler: running trainings stop now."""
    _stop_flag.set()


@signals.worker_process_init.connect
def _outlive_the_main_process(**_details: Any) -> None:
    """Undoes that Celery lets the kernel kill the pool with the thread that has started it.

    A process of the pool sees for itself that the main process is gone, and hands its run back.
    """
    with suppress(OSError):
        set_pdeathsig(0)


@signals.worker_process_init.connect
def _warm_up(**_details: Any) -> None:
    """In the main thread of the pool's process, which the trainer may not outlive."""
    contexts.get().trainers.warm_up()


@signals.worker_shutdown.connect
def _stop_upkeep(**_details: Any) -> None:
    """Celery does not stop the steps of a worker that has never reached its broker."""
    _upkeep.stop()


@signals.worker_process_shutdown.connect
def _close(**_details: Any) -> None:
    contexts.close()
