"""A trainer of a few lines: `child.py PLAY DESCRIPTOR` speaks to its supervisor as told."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

play, descriptor = sys.argv[1:]
pipe = socket.socket(fileno=int(descriptor))
assignment: dict[str, str] = json.loads(pipe.makefile().readline())
with Path(assignment["log"]).open("ab") as log:
    for output in (1, 2):
        os.dup2(log.fileno(), output)
order: dict[str, Any] = json.loads(Path(assignment["order"]).read_text())
folder = Path(order.get("members", [order])[0]["folder"])


def say(**message: Any) -> None:
    pipe.sendall(json.dumps(message).encode() + b"\n")


def say_epoch(number: int) -> None:
    say(type="epoch", metrics={"epoch": number, "val_loss": 1.5, "seconds": 0.1})


def leave(name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    say(type="artifact", name=name)


def done() -> None:
    say(type="done", summary={"test_accuracy": 0.5})


def sleep_and_beat() -> None:
    say_epoch(1)
    time.sleep(300)


def works() -> None:
    print("hello from the child", flush=True)
    say(type="phase", name="data")
    say_epoch(1)
    say_epoch(2)
    leave("model.onnx", "a model")
    leave("notes/a.txt", "a note")
    (folder / "unfinished").write_text("never announced")
    done()


def says_garbage() -> None:
    for line in (b"\x80\xff\n", b"[1, 2]\n", b"{}\n", b'{"type": "epoch"}\n', b"\n" * 50):
        pipe.sendall(line)
    say(type="artifact", name="../../escaped")
    say(type="artifact", name="/etc/passwd")
    say(type="phase", name="x" * 1000)
    pipe.sendall(b'{"type": "pha')
    time.sleep(0.3)
    pipe.sendall(b'se", "name": "late"}\n')
    done()
    pipe.sendall(b'{"type": "failed", "code": "x", "message": "too late"}\nhalf a li')


def ends_in_half_a_line() -> None:
    say_epoch(1)
    pipe.sendall(b'{"type": "done", "summa')


def floods() -> None:
    for number in range(1, 5001):
        say_epoch(number)
    done()


def never_ends_a_line() -> None:
    while True:
        pipe.sendall(b"x" * 65536)


def ignores_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with subprocess.Popen(["sleep", "300"]):
        sleep_and_beat()


def stops_on_sigterm() -> None:
    def stop(*_: object) -> None:
        say(type="stopped")
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    sleep_and_beat()


def finishes_on_sigterm() -> None:
    def finish(*_: object) -> None:
        done()
        sys.exit(0)

    signal.signal(signal.SIGTERM, finish)
    sleep_and_beat()


def is_stopped_by_another() -> None:
    say(type="stopped")


def leaves_a_process() -> None:
    subprocess.Popen(["sleep", "300"], pass_fds=[pipe.fileno()])
    done()


def hangs_after_the_end() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    done()
    time.sleep(300)


def closes_its_pipe() -> None:
    pipe.close()
    time.sleep(300)


def exits_silently() -> None:
    sys.exit(3)


def dies() -> None:
    print("\nlast words\n", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def announces_a_file_that_is_not_there() -> None:
    say(type="artifact", name="model.onnx")
    done()


def fails() -> None:
    say_epoch(1)
    code = os.environ["PLAY_CODE"]
    say(type="failed", code=code, message="a message", traceback="a traceback")


def leave_checkpoint(number: int) -> None:
    """After the epochs up to it."""
    for epoch in range(1, number + 1):
        say_epoch(epoch)
    checkpoints = Path(order["members"][0]["continuation"]["folder"])
    checkpoints.mkdir()
    (checkpoints / "a.safetensors").write_text(f"after epoch {number}")
    say(type="checkpoint", epoch=number, name="a.safetensors")


def leaves_a_checkpoint_and_dies() -> None:
    leave_checkpoint(3)
    dies()


def leaves_a_checkpoint_and_beats() -> None:
    leave_checkpoint(3)
    stops_on_sigterm()


def leaves_a_checkpoint_when_it_is_stopped() -> None:
    def stop(*_: object) -> None:
        leave_checkpoint(3)
        say(type="stopped")
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    sleep_and_beat()


def leaves_a_checkpoint_and_is_done() -> None:
    leave_checkpoint(3)
    done()


def announces_a_checkpoint_that_is_not_there() -> None:
    say_epoch(1)
    say(type="checkpoint", epoch=1, name="a.safetensors")
    done()


def goes_further_back() -> None:
    say(type="resumed", epoch=1)
    say(type="epoch", metrics={"epoch": 2, "val_loss": 9.0, "seconds": 0.1})
    done()


def beats_slowly(epochs: int = 40) -> None:
    for number in range(1, epochs + 1):
        say_epoch(number)
        time.sleep(0.1)
    done()


def beats_briefly() -> None:
    beats_slowly(10)


def takes_memory() -> None:
    say_epoch(1)
    held = b"x" * int(os.environ["PLAY_BYTES"])
    time.sleep(300)
    del held


def has_taken_memory_by_a_child() -> None:
    say_epoch(1)
    hold = "import os, time; held = b'x' * int(os.environ['PLAY_BYTES']); time.sleep(300)"
    subprocess.run([sys.executable, "-c", hold], check=False)


action: Callable[[], None] = globals()[play]
action()
