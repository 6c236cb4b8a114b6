"""The demo's parts: which data it takes, how it starts and stops a server, what it shows."""

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_service import RESULTS, Service, epoch
from rich.console import Console
from services import ROOT
from stand_in import URL, StandIn, job

from fmx_client import Client
from fmx_client.demo import story as story_module
from fmx_client.demo.data import (
    PACKAGE,
    DataSearch,
    Decision,
    Ran,
    first_pictures,
    run_command,
    why_not_install,
)
from fmx_client.demo.server import Server, ServerStartError
from fmx_client.demo.story import Story
from fmx_client.terminal.live import Progress
from fmx_client.types import Job
from fmx_store import claims

FOUND = Ran(0, json.dumps({"found": True, "source": "/some/folder"}))
MISSING = Ran(1, json.dumps({"found": False, "reason": "no file in /a, no network"}))
DONE, FAILED = Ran(0, "Setting up the package\n"), Ran(100, "", "E: Unable to locate package")


class Commands:
    """Plays the commands: each kind of command answers from its own list, in turn."""

    def __init__(self, **answers: Sequence[Ran]) -> None:
        self.answers = {name: list(given) for name, given in answers.items()}
        self.ran: list[str] = []

    def __call__(self, command: Sequence[str], seconds: float) -> Ran:
        assert 0 < seconds <= 300
        kind = next(
            name
            for name in ("download", "update", "install", "look")
            if name == "look" or name in " ".join(command)
        )
        self.ran.append(kind)
        return self.answers[kind].pop(0)


def _decide(commands: Commands, why_not: str | None = None) -> tuple[Decision, list[str]]:
    told: list[str] = []
    search = DataSearch(Path("cache"), told.append, commands, lambda: why_not)
    return search.decide(), told


def test_data_that_is_there_is_taken_without_a_word() -> None:
    commands = Commands(look=[FOUND])
    assert _decide(commands) == (Decision("fashion-mnist", "/some/folder"), [])
    assert commands.ran == ["look"]


def test_data_that_is_not_there_is_downloaded() -> None:
    commands = Commands(look=[MISSING], download=[FOUND])
    decision, told = _decide(commands)
    assert decision.is_real
    assert "downloading" in told[0]
    assert commands.ran == ["look", "download"]


def test_what_can_not_be_downloaded_is_installed() -> None:
    commands = Commands(look=[MISSING, FOUND], download=[MISSING], install=[DONE])
    decision, told = _decide(commands)
    assert decision.is_real
    assert commands.ran == ["look", "download", "install", "look"]
    assert any(PACKAGE in line for line in told)
    assert any("Setting up the package" in line for line in told)


def test_package_lists_are_fetched_where_there_are_none() -> None:
    commands = Commands(
        look=[MISSING, FOUND], download=[MISSING], install=[FAILED, DONE], update=[DONE]
    )
    assert _decide(commands)[0].is_real
    assert commands.ran == ["look", "download", "install", "update", "install", "look"]


def test_where_nothing_helps_it_is_the_stand_in_and_says_why() -> None:
    commands = Commands(
        look=[MISSING], download=[MISSING], install=[FAILED, FAILED], update=[FAILED]
    )
    decision, _ = _decide(commands)
    assert not decision.is_real
    assert decision.dataset == "synthetic"
    assert decision.problems == (
        "no file in /a, no network",
        f"apt-get install {PACKAGE}: E: Unable to locate package",
    )


def test_where_nothing_may_be_installed_nothing_is() -> None:
    commands = Commands(look=[MISSING], download=[MISSING])
    decision, _ = _decide(commands, why_not="it takes root")
    assert not decision.is_real
    assert commands.ran == ["look", "download"]
    assert decision.problems[-1] == f"apt-get install {PACKAGE}: it takes root"


def test_a_library_that_crashes_is_a_reason_too() -> None:
    crash = Ran(1, "", "ModuleNotFoundError: No module named 'numpy'")
    decision, _ = _decide(Commands(look=[crash], download=[crash]), why_not="no")
    assert "No module named 'numpy'" in decision.problems[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('ID=debian\nVERSION_ID="12"\n', None),
        ('NAME="Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\n', None),
        ("ID=ubuntu\n", None),
        ("ID=fedora\n", "this is no Debian or Ubuntu"),
        ("nonsense", "this is no Debian or Ubuntu"),
        (None, "this is no Debian or Ubuntu"),
    ],
)
def test_only_root_on_debian_or_ubuntu_installs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, reason: str | None
) -> None:
    (tmp_path / "apt-get").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "os-release"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert why_not_install(file) == reason
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert why_not_install(file) == (reason or "it takes root")
    monkeypatch.setenv("PATH", "")
    assert why_not_install(file) == "this is no Debian or Ubuntu"


def test_commands_are_bounded() -> None:
    assert run_command(("sleep", "30"), 0.2) == Ran(124, "", "no end after 0.2 seconds")
    assert run_command(("no-such-program",), 5).status == 127
    ran = run_command((sys.executable, "-c", "import sys; print(1); sys.exit('a\\nwhy')"), 20)
    assert ran == Ran(1, "1\n", "why")


def test_the_library_answers_what_the_demo_asks(tmp_path: Path) -> None:
    told: list[str] = []
    search = DataSearch(tmp_path, told.append, can_install=lambda: "not in a test")
    pictures = first_pictures("synthetic", tmp_path)
    assert [len(picture["pixels"]) for picture in pictures] == [28] * 5
    assert all(picture["label"].startswith("synthetic ") for picture in pictures)
    source = search._look()
    assert source is None or Path(source).is_dir()


def _server(tmp_path: Path, program: str) -> Server:
    command = (sys.executable, "-c", textwrap.dedent(program))
    return Server(tmp_path / "data", tmp_path / "data" / "demo.log", command)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]


def test_a_server_is_waited_for_and_stopped_with_its_children(tmp_path: Path) -> None:
    program = """
        import subprocess, sys, time
        child = subprocess.Popen(["sleep", "60"])
        print("child", child.pid, flush=True)
        time.sleep(0.3)
        print("fmx is ready at http://127.0.0.1:1234 (Ctrl-C stops it)", flush=True)
        time.sleep(60)
    """
    with _server(tmp_path, program) as server:
        assert server.wait_until_ready() == "http://127.0.0.1:1234"
        child = int(server.log.read_text().split()[1])
        assert _is_alive(child)
    assert not _is_alive(child)


def test_a_demo_that_is_killed_takes_its_server_along(tmp_path: Path) -> None:
    server = "import os, time; print('ready at http://x', os.getpid(), flush=True); time.sleep(60)"
    demo = f"""
        import os, signal, sys
        from pathlib import Path
        from fmx_client.demo.server import Server
        log = Path({str(tmp_path / "demo.log")!r})
        with Server(log.parent, log, (sys.executable, "-c", {server!r})) as server:
            server.wait_until_ready()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(demo)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    pid = int((tmp_path / "demo.log").read_text().split()[-1])
    deadline = time.monotonic() + 5
    while _is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_that_ends_shows_its_log(tmp_path: Path) -> None:
    program = "import sys; print('the port is taken'); sys.exit(3)"
    with (
        _server(tmp_path, program) as server,
        pytest.raises(ServerStartError, match=r"status 3; the end of .*demo\.log:\nthe port is"),
    ):
        server.wait_until_ready()


def test_a_server_that_is_never_ready_is_given_up_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmx_client.demo.server.STOP_SECONDS", 0.5)
    program = """
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid(), flush=True)
        time.sleep(60)
    """
    with _server(tmp_path, program) as server:
        while not server.log.read_text():
            time.sleep(0.05)
        with pytest.raises(ServerStartError, match="not ready after 1 seconds"):
            server.wait_until_ready(1)
    assert not _is_alive(int(server.log.read_text()))


def test_the_demos_server_keeps_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FMX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FMX_DATABASE_URL", "postgresql://production/fmx")
    monkeypatch.setenv("FMX_HOST", "0.0.0.0")  # noqa: S104 - must not be taken over
    monkeypatch.setenv("FMX_DATASET_DIR", "/pictures")
    program = """
        import json, os, time
        print(json.dumps({k: v for k, v in os.environ.items() if k.startswith("FMX_")}), flush=True)
        print("ready at http://127.0.0.1:1", flush=True)
        time.sleep(60)
    """
    with _server(tmp_path, program) as server:
        server.wait_until_ready()
    said = json.loads(server.log.read_text().splitlines()[0])
    assert said == {
        "FMX_DATA_DIR": str(tmp_path / "data"),
        "FMX_DATASET_DIR": "/pictures",
        "FMX_HOST": "127.0.0.1",
        "FMX_PORT": "0",
    }


class Told:
    """A story, and all that it has told so far."""

    def __init__(self, out: Path, *, terminal: bool = False) -> None:
        self._file = io.StringIO()
        console = Console(
            file=self._file, width=90, force_terminal=terminal, _environ={"TERM": "xterm"}
        )
        self.story = Story(console, "quick", out)

    @property
    def text(self) -> str:
        return self._file.getvalue()


def test_the_stand_in_is_said_loudly(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.story.data(Decision("synthetic", "made", ("no [network]", "no root")))
    assert "WARNING: NOT THE REAL DATA" in told.text
    assert "SYNTHETIC" in told.text
    assert "• no [network]" in told.text
    assert told.text.splitlines()[0].startswith("┏")


COMPARISON: dict[str, Any] = {
    "id": "q1.accuracy.test",
    "published": 0.9816,
    "ours": {"mean": 0.9702, "std": 0.0, "n": 1, "values": [0.9702]},
    "interval": None,
    "verdict": "not_comparable",
    "reason": "the preset is quick",
    "errata": [],
}


@contextmanager
def _playing(service: Service, *, well: bool) -> Generator[None]:
    """A worker that takes the next job, in a thread of its own."""

    def work() -> None:
        while not service.get("/v1/jobs")["items"]:
            time.sleep(0.05)
        claim = service.claim()
        claims.record_progress(service.db, claim.lease, [epoch(1)], phase="training")
        if not well:
            service.fail(claim)
            return
        service.succeed(claim, {})
        results = {**RESULTS, "comparisons": [COMPARISON], "dataset": "synthetic"}
        service.collate({"figure-1.png": b"\x89PNG"}, results)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


def test_a_story_goes_from_submission_to_figures(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(Story, "_predictions", lambda _, *given: shown.append(given))
    told = Told(tmp_path / "out")
    with Client(service.server.url) as client, _playing(service, well=True):
        assert told.story.run_job(client, Decision("synthetic", "made"), tmp_path)
    (job,) = service.get("/v1/jobs")["items"]
    assert (job["preset"], job["tags"], job["spec"]["dataset"]) == ("quick", ["demo"], "synthetic")
    words = " ".join(told.text.split())
    assert "accuracy test 0.9816 0.9702 -0.0114 1 not comparable" in words
    assert "of the synthetic data set, not of Fashion-MNIST" in words
    assert (tmp_path / "out" / "figure-1.png").read_bytes() == b"\x89PNG"
    assert "figure-1.png" in told.text
    assert len(shown) == 1


def test_a_job_that_failed_is_said(service: Service, tmp_path: Path) -> None:
    told = Told(tmp_path / "out")
    with Client(service.server.url) as client, _playing(service, well=False):
        assert not told.story.run_job(client, Decision("fashion-mnist", "/x"), tmp_path)
    assert "the job failed: the loss is nan" in told.text
    assert not (tmp_path / "out").exists()


def test_an_interrupted_demo_takes_its_job_back(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "follow", interrupt)
    with Client(service.server.url) as client, pytest.raises(KeyboardInterrupt):
        Told(tmp_path).story.run_job(client, Decision("fashion-mnist", "/x"), tmp_path)
    (job,) = service.get("/v1/jobs")["items"]
    assert job["state"] == "cancelled"


@pytest.mark.parametrize("terminal", [True, False])
def test_predictions_stand_beside_what_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    pictures = [
        {"row": row, "label": label, "pixels": [[0] * 28] * 28}
        for row, label in [(3, "Coat"), (4, "Sandal")]
    ]
    monkeypatch.setattr(story_module, "first_pictures", lambda *_: pictures)
    predictions = [
        {"label": "Coat", "class": 4, "probabilities": {"Coat": 0.9}, "actual": "Coat"},
        {
            "label": "Bag",
            "class": 8,
            "probabilities": {"Bag": 0.6, "Coat": 0.4},
            "actual": "Sandal",
        },
    ]
    server = StandIn([httpx.Response(200, json={"model": "01MODEL", "predictions": predictions})])
    told = Told(tmp_path, terminal=terminal)
    finished = Job.model_validate(job("succeeded", models=["01MODEL"]))
    with Client(URL, transport=server.transport) as client:
        told.story._predictions(client, finished, Decision("synthetic", "made"), tmp_path)
    assert json.loads(server.requests[0].content) == {"test_rows": [3, 4]}
    assert "(dataset: synthetic)" in told.text
    assert ("▀" in told.text) is terminal
    assert "0.6000" in told.text
    assert "is: Sandal" in told.text or not terminal
