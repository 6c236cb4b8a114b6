"""The worker's small parts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from services import ROOT, Column

from fmx_store.claims import Lease
from worker import devices
from worker.devices import devices_of, find_hardware, queues_of
from worker.preparation import num_threads
from worker.scratch import last_words, open_scratch


@pytest.mark.parametrize(
    ("asked", "has_gpu", "knows_cuda", "hardware"),
    [
        ("cpu", True, True, "cpu"),
        ("cuda", False, False, "cuda"),
        ("auto", True, True, "cuda"),
        ("auto", False, True, "cpu"),
        ("auto", True, False, "cpu"),
    ],
)
def test_hardware_is_as_asked_or_what_there_is(
    asked: str,
    has_gpu: bool,
    knows_cuda: bool,
    hardware: str,
    embedded_column: Column,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "_has_gpu", lambda: has_gpu)
    monkeypatch.setattr(devices, "version", lambda _: "9.9" if knows_cuda else "9.9+cpu")
    assert find_hardware(embedded_column.settings(worker_device=asked)) == hardware


def test_a_gpu_shows_in_what_nvidia_smi_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))  # as if /dev had none
    for answer, expected in (("echo 'GPU 0: H100'", True), ("exit 9", False), ("true", False)):
        program.write_text(f"#!/bin/sh\n{answer}\n")
        program.chmod(0o755)
        assert devices._has_gpu() is expected


def test_a_gpu_worker_does_the_others_work_too() -> None:
    assert set(devices_of("cpu")) < set(devices_of("cuda"))
    assert set(queues_of("cpu")) < set(queues_of("cuda"))


def test_threads_are_as_set_or_a_share(
    embedded_column: Column, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    threads = {n: num_threads(embedded_column.settings(worker_concurrency=n)) for n in (1, 2, 4, 9)}
    assert threads == {1: 2, 2: 1, 4: 1, 9: 1}
    assert num_threads(embedded_column.settings(worker_threads=3, worker_concurrency=9)) == 3


def test_a_new_attempt_removes_what_older_ones_have_left(tmp_path: Path) -> None:
    for name in ("RUN-1", "RUN-2", "OTHER-1"):
        (tmp_path / name / "artifacts").mkdir(parents=True)
    with open_scratch(tmp_path, Lease("RUN", "JOB", 3)) as scratch:
        assert sorted(path.name for path in tmp_path.iterdir()) == ["OTHER-1", "RUN-3"]
        scratch.log.write_text("one\n\ntwo\n\n")
        assert last_words(scratch.log) == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["OTHER-1"]


SLOTS = """
import os, signal, time
from worker.shared import Slots

slots = Slots(2)

def in_child(hold):
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        with slots.take() as taken:
            os.write(tell, b"1" if taken else b"0")
            if hold:
                time.sleep(60)
        os._exit(0)
    return pid, os.read(told, 1) == b"1"

def is_one_free():
    with slots.take() as taken:
        return taken

with slots.take() as taken:
    assert taken
    with slots.take() as taken:
        assert taken, "a process may take several"
        assert not is_one_free()
        pid, taken = in_child(hold=False)
        assert not taken
        os.waitpid(pid, 0)
    first, taken = in_child(hold=True)
    assert taken
    assert not is_one_free()
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    assert is_one_free(), "a killed process leaves nothing taken"
children = [in_child(hold=True) for _ in range(3)]
assert [taken for _, taken in children] == [True, True, False]
for pid, _ in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
assert is_one_free()
"""

FLAG = """
import os, time
from worker.shared import StopFlag

flag = StopFlag()
told, tell = os.pipe()

def report():
    os.write(tell, b"%d%d%d " % (flag.is_main(), flag.is_set(), flag.is_deaf()))

def in_child(action):
    pid = os.fork()
    if pid == 0:
        action()
        os._exit(0)
    os.waitpid(pid, 0)

def orphan():
    # The flag's process is not the parent of this one: as if the main process were gone.
    in_child(report)

report()
in_child(report)
in_child(orphan)
flag.set()
in_child(report)
flag.set_deaf()
in_child(report)
report()
assert os.read(told, 100) == b"100 000 011 010 011 111 "
"""


@pytest.mark.parametrize("script", [SLOTS, FLAG], ids=["slots", "flag"])
def test_what_processes_share(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
