"""What this worker can train on, found out without importing torch."""

import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from fmx_store.lifecycle import CPU_QUEUE, GPU_QUEUE
from fmx_store.settings import Settings

Hardware = Literal["cpu", "cuda"]

ASK_SECONDS = 10  # nvidia-smi may wait for a driver that loads


def find_hardware(settings: Settings) -> Hardware:
    """What the settings name; with auto a GPU, where there is one and torch can use it."""
    if settings.worker_device != "auto":
        return settings.worker_device
    return "cuda" if _torch_knows_cuda() and _has_gpu() else "cpu"


def _torch_knows_cuda() -> bool:
    try:
        return not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def _has_gpu() -> bool:
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return True
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        # The program is the system's own.
        answer = subprocess.run(  # noqa: S603
            [program, "--list-gpus"], capture_output=True, timeout=ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and b"GPU" in answer.stdout


def devices_of(hardware: Hardware) -> tuple[str, ...]:
    """The devices of runs that a worker claims; one with a GPU does the others' work too."""
    return ("auto", "cuda", "cpu") if hardware == "cuda" else ("auto", "cpu")


def queues_of(hardware: Hardware) -> tuple[str, ...]:
    """The queues that a worker listens to."""
    return (GPU_QUEUE, CPU_QUEUE) if hardware == "cuda" else (CPU_QUEUE,)
