"""Servers for measurements: ours, one with nothing in it, and others with the same model."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.served_model import ServedModel
from fmx_store.settings import get_settings

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "benchmarks" / "peers"
REQUIREMENTS = ROOT / "benchmarks" / "requirements-peers.txt"
START_SECONDS = 60.0


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_peers_python() -> Path | None:
    """The Python of an environment with the other servers, made once; None where it can't be."""
    folder = get_settings().cache_dir / "peers"
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    wanted = REQUIREMENTS.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    try:
        venv.create(folder, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS]
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        told = str(getattr(error, "stderr", None) or error).strip().splitlines()
        print(f"other servers can't be installed: {told[-1] if told else error}", file=sys.stderr)
        return None
    stamp.write_text(wanted)
    return python


@contextmanager
def _running(
    command: Sequence[str | Path], url: str, log: Path, **environment: str
) -> Generator[str]:
    """A server process while it is needed; it is there when the URL's path answers 200."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
            start_new_session=True,  # so that its own children end with it
        )
    try:
        wait_until_there(process, url)
        yield "/".join(url.split("/")[:3])
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_there(process: subprocess.Popen[bytes], url: str) -> None:
    """Waits for an answer 200. Raises RuntimeError where it does not come."""
    place, _, path = url.removeprefix("http://").partition("/")
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection(place, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", f"/{path}")
            if connection.getresponse().status == http.client.OK:
                return
        connection.close()
        time.sleep(0.01)
    raise RuntimeError(f"{url} does not answer")


def our_command() -> list[str]:
    """The server alone."""
    return [sys.executable, "-m", "api"]


def our_environment(data_dir: Path, port: int) -> Mapping[str, str]:
    """The whole environment of it."""
    told = {"FMX_DATA_DIR": str(data_dir), "FMX_PORT": str(port), "FMX_LOG_LEVEL": "WARNING"}
    return {**os.environ, **told}


@contextmanager
def ours(model: ServedModel) -> Generator[str]:
    """Our own server's URL."""
    port = free_port()
    url, log = f"http://127.0.0.1:{port}/healthz", model.data_dir / "server.log"
    with _running(our_command(), url, log, **our_environment(model.data_dir, port)) as base:
        yield base


@contextmanager
def empty(folder: Path) -> Generator[str]:
    """The URL of a server that does nothing."""
    port = free_port()
    command = [sys.executable, PEERS / "empty_server.py", str(port)]
    with _running(command, f"http://127.0.0.1:{port}/x", folder / "empty.log") as base:
        yield base


@contextmanager
def litserve(python: Path, model: ServedModel, folder: Path) -> Generator[str]:
    """LitServe's URL."""
    port = free_port()
    names = ",".join(model.class_names)
    command = [python, PEERS / "litserve_server.py", model.onnx, str(port), names]
    with _running(command, f"http://127.0.0.1:{port}/health", folder / "litserve.log") as base:
        yield base


@contextmanager
def mlserver(python: Path, model: ServedModel, folder: Path) -> Generator[str]:
    """MLServer's URL."""
    port, home = free_port(), folder / "mlserver"
    home.mkdir()
    server = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "debug": False,
    }
    (home / "settings.json").write_text(json.dumps(server))
    described = {
        "name": "model",
        "implementation": "mlserver_runtime.Classifier",
        "max_batch_size": 32,
        "max_batch_time": 0.002,
        "parameters": {"uri": str(model.onnx)},
    }
    (home / "model-settings.json").write_text(json.dumps(described))
    command = [python.with_name("mlserver"), "start", home]
    url = f"http://127.0.0.1:{port}/v2/models/model/ready"
    with _running(command, url, folder / "mlserver.log", PYTHONPATH=str(PEERS)) as base:
        yield base
