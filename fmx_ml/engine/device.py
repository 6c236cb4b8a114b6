"""Which device trains, how many threads, and what its lack of memory is called."""

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch

from fmx_ml.errors import OutOfMemoryError, UserError

_USEFUL_THREADS = 2  # measured: the report's networks are too small to feed more


def resolve_device(name: str) -> torch.device:
    """The device behind auto, cpu or cuda. Raises UserError for a cuda that is not there."""
    if name not in {"auto", "cpu", "cuda"}:
        raise UserError(f"there is no device {name!r}: auto, cpu and cuda are")
    has_cuda = name != "cpu" and torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UserError("the spec asks for cuda and this worker has none: ask for auto or cpu")
    return torch.device("cuda" if has_cuda else "cpu")


def describe_device(device: torch.device) -> str:
    """The device's name for the record: cpu, or cuda with the model of the GPU."""
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "cpu"


@contextmanager
def cpu_threads(num_threads: int | None) -> Generator[int]:
    """Sets torch's threads for a while; None takes as many as are useful and there are."""
    before = torch.get_num_threads()
    count = num_threads or min(_USEFUL_THREADS, _num_cpus())
    torch.set_num_threads(count)
    try:
        yield count
    finally:
        torch.set_num_threads(before)


def _num_cpus() -> int:
    """The processors that this process may use, where the system says; else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def full_precision() -> Generator[None]:
    """Lets a GPU reckon in float32 for a while, and not in TF32, which convolutions get by default.

    TF32 keeps 10 bits of a factor: curves would not be those of the CPU.
    """
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def memory_errors() -> Generator[None]:
    """Turns torch's and Python's lack of memory into OutOfMemoryError."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(_first_line(error)) from error
    except RuntimeError as error:
        # On the CPU torch raises a plain RuntimeError.
        if "allocate memory" in str(error) or "out of memory" in str(error):
            raise OutOfMemoryError(_first_line(error)) from error
        raise


def _first_line(error: BaseException) -> str:
    return (str(error) or "no memory is left").splitlines()[0]
