"""What goes wrong: a seeded schedule of faults, each from outside, and each healed in time."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import redis
from fleet import Fleet, kill_group
from recovery import Recovery
from services import Server, run_redis
from sqlalchemy.exc import SQLAlchemyError
from tcp_proxy import Proxy
from workers import Worker

WORKERS = 2
LONGEST_SECONDS = 6.0  # that anything is away or frozen
PAUSE_SECONDS = 1.5  # between faults, in the mean
SMALL_DISK = "16m"

Fault = Callable[[], None]


class Faults:
    """Breaks a fleet, one thing after another; every action is told with its time."""

    def __init__(self, fleet: Fleet, recovery: Recovery, seed: int, stack: ExitStack) -> None:
        """Nothing breaks before `go`; what is started anew ends with the stack."""
        self._fleet, self._recovery, self._stack = fleet, recovery, stack
        self._chance = random.Random(seed)  # noqa: S311 - a schedule
        self._began = time.monotonic()
        self.done: Counter[str] = Counter()
        self.faults: list[Fault] = [
            self.kill_server,
            self.kill_worker,
            self.kill_worker,
            self.stop_worker,
            self.freeze_worker,
            self.freeze_server,
            self.kill_trainer,
            self.kill_trainer,
            self.kill_pool,
        ]

    def tell(self, text: str) -> None:
        """Says what happens, and when."""
        print(f"{time.monotonic() - self._began:7.1f} s  {text}", flush=True)

    def go(self, seconds: float) -> None:
        """Breaks things for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            fault = self._chance.choice(self.faults)
            self.done[fault.__name__] += 1
            fault()
            self.restart_dead()
            time.sleep(self._chance.uniform(0, 2 * PAUSE_SECONDS))

    def _away(self) -> float:
        return self._chance.uniform(0.5, LONGEST_SECONDS)

    def _wait(self, what: str) -> None:
        seconds = self._away()
        self.tell(f"{what} for {seconds:.1f} s")
        time.sleep(seconds)

    def restart_dead(self) -> None:
        """As whoever looks after processes does."""
        workers = self._fleet.workers
        workers[:] = [worker for worker in workers if worker.process.poll() is None]
        while len(workers) < WORKERS:
            self._fleet.start_worker(wait=False, worker_concurrency=2, worker_pack=3)
        server = self._fleet.server
        if server is None or server.process.poll() is not None:
            self._fleet.start_server()

    # Processes

    def kill_server(self) -> None:
        """SIGKILL."""
        self.tell("the server is killed")
        self._fleet.kill_server()

    def _any_worker(self) -> Worker:
        return self._chance.choice(self._fleet.workers)

    def kill_worker(self) -> None:
        """SIGKILL of its group: the runs it holds are broken."""
        worker = self._any_worker()
        held = self._held_by([worker.process.pid, *worker.descendants()])
        kill_group(worker)
        self.tell(f"worker {worker.process.pid} is killed, with {len(held)} runs")
        self._recovery.watch("worker killed", held)

    def _held_by(self, pids: list[int]) -> list[tuple[str, int]]:
        with suppress(SQLAlchemyError):
            return self._recovery.held_by(pids)
        return []

    def broker_lost(self) -> None:
        """What is to be claimed next is watched until it is."""
        with suppress(SQLAlchemyError):
            self._recovery.watch("broker lost", self._recovery.next_due())

    def stop_worker(self) -> None:
        """SIGTERM."""
        worker = self._any_worker()
        self.tell(f"worker {worker.process.pid} is told to stop")
        worker.send(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            worker.wait(20)
        kill_group(worker)

    def freeze_worker(self) -> None:
        """SIGSTOP of its group."""
        worker = self._any_worker()
        worker.send_to_group(signal.SIGSTOP)
        self._wait(f"worker {worker.process.pid} is frozen")
        worker.send_to_group(signal.SIGCONT)

    def freeze_server(self) -> None:
        """SIGSTOP."""
        server = self._fleet.server
        if server is not None:
            server.send(signal.SIGSTOP)
            self._wait("the server is frozen")
            server.send(signal.SIGCONT)

    def kill_trainer(self) -> None:
        """SIGKILL of a process that trains."""
        worker = self._any_worker()
        trainers = worker.trainers()
        if trainers:
            trainer = self._chance.choice(trainers)
            pool = _parent(trainer)
            held = self._held_by([pool])
            self._end(trainer)
            self.tell(f"trainer {trainer} is killed, with {len(held)} runs")
            self._recovery.watch("trainer killed", held)

    def kill_pool(self) -> None:
        """SIGKILL of a process that supervises."""
        pool = self._any_worker().pool()
        if pool:
            chosen = self._chance.choice(pool)
            held = self._held_by([chosen])
            self._end(chosen)
            self.tell(f"supervisor {chosen} is killed, with {len(held)} runs")
            self._recovery.watch("supervisor killed", held)

    def _end(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


class EmbeddedFaults(Faults):
    """And the folder of messages, SQLite's lock, the disk."""

    def __init__(self, fleet: Fleet, recovery: Recovery, seed: int, stack: ExitStack) -> None:
        """Blobs lie on a small disk, where one can be mounted."""
        super().__init__(fleet, recovery, seed, stack)
        self.faults += [self.lose_messages, self.spoil_folder, self.lock_database]
        self._add_disk(stack)

    def _add_disk(self, stack: ExitStack) -> None:
        folder = self._fleet.settings.storage_dir
        folder.mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "fmx-chaos", folder]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            self.tell("no disk can be mounted here, so none is filled up")
            return
        stack.callback(subprocess.run, ["umount", "-l", folder], check=False)
        self.faults.append(self.fill_disk)

    def fill_disk(self) -> None:
        """No room for artifacts."""
        filler = self._fleet.settings.storage_dir / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        self._wait("the disk is full")
        filler.unlink()

    def lose_messages(self) -> None:
        """The folder goes."""
        self.tell("the messages are lost")
        self.broker_lost()
        shutil.rmtree(self._fleet.settings.broker_dir / "messages", ignore_errors=True)

    def spoil_folder(self) -> None:
        """A file in its place."""
        self.broker_lost()
        folder = self._fleet.settings.broker_dir / "messages"
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            folder.touch()
        self._wait("the broker is down")
        with suppress(OSError):
            folder.unlink()
        folder.mkdir(exist_ok=True)

    def lock_database(self) -> None:
        """Another process writes, and writes."""
        path = self._fleet.data_dir / "fmx.sqlite3"
        connection = sqlite3.connect(path, timeout=20, isolation_level=None)
        try:
            with suppress(sqlite3.OperationalError):
                connection.execute("BEGIN IMMEDIATE")
                self._wait("the database is locked")
        finally:
            connection.close()


class EnginesFaults(Faults):
    """And Redis and PostgreSQL: killed, emptied, cut off, closed, silent."""

    def __init__(
        self,
        fleet: Fleet,
        recovery: Recovery,
        seed: int,
        stack: ExitStack,
        broker: tuple[Server, Proxy],
        database: Proxy,
    ) -> None:
        """`broker` is a Redis of this test's own, and what stands before it."""
        super().__init__(fleet, recovery, seed, stack)
        self._redis, self._broker = broker
        self._database = database
        self.faults += [
            self.kill_redis,
            self.flush_redis,
            self.cut_redis,
            self.close_redis,
            self.silence_redis,
            self.cut_database,
            self.close_database,
            self.close_database,
        ]

    def kill_redis(self) -> None:
        """SIGKILL, and a new one, empty."""
        self.broker_lost()
        self._redis.process.kill()
        self._redis.process.wait()
        self._wait("redis is killed")
        port = int(self._redis.url.rpartition(":")[2].partition("/")[0])
        self._redis = self._stack.enter_context(run_redis(port))

    def flush_redis(self) -> None:
        """FLUSHALL."""
        self.tell("redis is emptied")
        self.broker_lost()
        with redis.Redis.from_url(self._redis.url) as client:
            client.flushall()

    def cut_redis(self) -> None:
        """Every connection breaks."""
        self.tell("redis is cut off")
        self._broker.cut()

    def close_redis(self) -> None:
        """Connections are refused."""
        self._broker.close()
        self._wait("redis refuses")
        self._broker.open()

    def silence_redis(self) -> None:
        """Connections are taken, and nobody answers."""
        self._broker.fall_silent()
        self._wait("redis is silent")
        self._broker.open()

    def cut_database(self) -> None:
        """Every connection breaks."""
        self.tell("the database is cut off")
        self._database.cut()

    def close_database(self) -> None:
        """Connections are refused."""
        self._database.close()
        self._wait("the database refuses")
        self._database.open()
