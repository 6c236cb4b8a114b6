"""Everything goes wrong for minutes, then nothing more, and all that was promised has been kept.

CHAOS_SECONDS says for how long, CHAOS_SEED which schedule (a random one is printed), CHAOS_COLUMN
(embedded, engines or both) on what.
"""

import os
import secrets
from collections.abc import Generator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from clients import Clients
from faults import EmbeddedFaults, EnginesFaults, Faults
from fleet import Fleet, running_fleet
from recovery import Recovery
from services import Column, run_redis
from tcp_proxy import Proxy

from fmx_store.blobs import open_store
from fmx_store.database import Database
from fmx_store.history import check_history

SECONDS = float(os.environ.get("CHAOS_SECONDS", "300"))
SEED = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
COLUMNS = os.environ.get("CHAOS_COLUMN") or "both"
CALM_SECONDS = 240.0  # in which everything ends

LEASE_SECONDS = 3.0


@pytest.fixture
def stack() -> Generator[ExitStack]:
    """What ends last."""
    with ExitStack() as opened:
        yield opened


def stand_before(column: Column, variable: str, stack: ExitStack) -> Proxy:
    """A proxy before what a column's variable names."""
    url = column.environment[variable]
    port = urlsplit(url).port
    assert port is not None
    proxy = stack.enter_context(Proxy(port).running())
    column.environment[variable] = url.replace(f":{port}/", f":{proxy.port}/")
    return proxy


def prepare(column: Column, stack: ExitStack) -> tuple[Fleet, Recovery, Faults]:
    """A fleet, what breaks it, and what watches."""
    direct = Database(column.settings().database)
    stack.callback(direct.close)
    recovery = Recovery(direct)
    if column.name == "embedded":
        fleet = stack.enter_context(running_fleet(column, lease_seconds=LEASE_SECONDS))
        return fleet, recovery, EmbeddedFaults(fleet, recovery, SEED, stack)
    server = stack.enter_context(run_redis())
    column.environment["FMX_BROKER_URL"] = server.url
    broker = stand_before(column, "FMX_BROKER_URL", stack)
    database = stand_before(column, "FMX_DATABASE_URL", stack)
    fleet = stack.enter_context(running_fleet(column, lease_seconds=LEASE_SECONDS))
    faults = EnginesFaults(fleet, recovery, SEED, stack, (server, broker), database)
    return fleet, recovery, faults


@pytest.mark.timeout(SECONDS + 2 * CALM_SECONDS + 120)
def test_chaos_breaks_no_promise(
    column: Column, stack: ExitStack, capsys: pytest.CaptureFixture[str]
) -> None:
    if COLUMNS not in {"both", column.name}:
        pytest.skip(f"CHAOS_COLUMN is {COLUMNS}")
    with capsys.disabled():
        print(f"\nchaos on {column.name}: CHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g}")
        print(f"its folder is {column.data_dir}")
        fleet, recovery, faults = prepare(column, stack)
        fleet.start_server()
        faults.restart_dead()
        clients = Clients(fleet, SEED)
        recovery.start()
        clients.start()
        faults.go(SECONDS)
        faults.tell("nothing more goes wrong")
        clients.stop()
        end_all(fleet, clients)
        recovery.stop()
        print(f"clients: {dict(clients.done)}\nfaults: {dict(faults.done)}\n{recovery}")
        print(f"answers: {dict(fleet.answers)}")
        judge(fleet, clients)


def end_all(fleet: Fleet, clients: Clients) -> None:
    """Cancels what would never end, and waits for the rest."""
    for job_id in sorted(clients.deaf - clients.deleted):
        clients.cancel(job_id)

    def all_ended() -> bool:
        items = clients.ask("GET", "/v1/jobs", params={"limit": 200}).json()["items"]
        return not {"queued", "running", "cancelling"} & {item["state"] for item in items}

    fleet.wait_until(all_ended, CALM_SECONDS, "the end of everything")
    fleet.wait_until(lambda: not fleet.trainers(), 10, "the end of all trainings")


def judge(fleet: Fleet, clients: Clients) -> None:
    """The history is clean, every 202 is accounted for, no error was internal."""
    for job_id in clients.cancelled - clients.deleted:
        assert fleet.job(job_id)["state"] == "cancelled", job_id
    found = check_history(fleet.db, open_store(fleet.settings), fleet.accepted)
    assert [str(violation) for violation in found] == []
    fleet.check()
