"""The kernel's library: compiled when it is first needed, kept for the next time.

It is plain C++ behind a C interface, so it needs none of torch's headers and compiles in seconds.
It is built for this very processor; the name of the file holds all that it depends on. This module
needs no torch either, so that a server can say what its workers will use.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

Engine = Literal["auto", "torch"]
"""auto: the kernel where it can be compiled and knows the network; torch: never the kernel."""

TORCH = "torch"

_SOURCES = Path(__file__).parent / "source"
_MAIN = "network.cpp"
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC")
_COMPILERS = ("c++", "g++", "clang++")
_BUILD_SECONDS = 300
_SIGNATURES = {
    "fmx_target": (ctypes.c_char_p, []),
    "fmx_network": (ctypes.c_void_p, [ctypes.c_void_p]),
    "fmx_free": (None, [ctypes.c_void_p]),
    "fmx_run": (
        ctypes.c_bool,
        [ctypes.c_void_p] * 3
        + [ctypes.c_int]
        + [ctypes.c_void_p] * 2
        + [ctypes.c_int]
        + [ctypes.c_void_p] * 2,
    ),
}

_log = logging.getLogger(__name__)


class BuildError(Exception):
    """The library can't be had; the message says why."""


@functools.cache
def get_library() -> ctypes.CDLL | None:
    """The library of this process; None, with one line in the log, where there can't be one."""
    try:
        return load(build(cache_folder()))
    except BuildError as error:
        _log.warning("trainings run without the compiled kernel: %s", error)
        return None


def cache_folder() -> Path:
    """Where libraries are kept, the user's own; a new one where that can't be written to.

    Nobody else can write to it: what lies there is run.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fmx"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # the latter where there is no home
        return Path(tempfile.mkdtemp(prefix="fmx-"))
    return folder


def build(folder: Path) -> Path:
    """The library in a folder, compiled unless it is there. Raises BuildError.

    Several processes may build it at once: each writes a file of its own and renames it.
    """
    compiler = find_compiler()
    library = folder / f"kernel-{_digest(compiler)}.so"
    if library.exists():
        return library
    handle, draft = tempfile.mkstemp(suffix=".so", dir=folder)
    os.close(handle)
    try:
        _run([*compiler, *_FLAGS, "-o", draft, str(_SOURCES / _MAIN)])
        Path(draft).replace(library)
    finally:
        Path(draft).unlink(missing_ok=True)
    _log.info("compiled the kernel to %s", library)
    return library


def load(path: Path) -> ctypes.CDLL:
    """The library in a file, its functions typed. Raises BuildError."""
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise BuildError(f"{path} can't be loaded: {error}") from error
    return library


def describe_library(library: ctypes.CDLL) -> str:
    """Its name for the record, with the instructions it was built for: kernel avx2."""
    return f"kernel {library.fmx_target().decode()}"


def foresee(engine: Engine) -> str:
    """What will train on this machine's CPU, and why it is not the kernel where it is not."""
    if engine == "torch":
        return TORCH
    try:
        return f"kernel, compiled by {find_compiler()[0]} when first needed"
    except BuildError as error:
        return f"{TORCH}: {error}"


def find_compiler() -> list[str]:
    """The command of the variable CXX, or of the first usual compiler. Raises BuildError."""
    named = shlex.split(os.environ.get("CXX", ""))
    for command in [named] if named else [[name] for name in _COMPILERS]:
        if shutil.which(command[0]):
            return command
    raise BuildError(f"there is no C++ compiler ({named[0] if named else ', '.join(_COMPILERS)})")


def _digest(compiler: Sequence[str]) -> str:
    """Of all that the library follows from: sources, compiler, flags, processor."""
    sources = [path.read_bytes() for path in sorted(_SOURCES.iterdir())]
    version = _run([*compiler, "--version"])
    command = " ".join([*compiler, *_FLAGS])
    parts = [*sources, version.encode(), command.encode(), _processor().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def _processor() -> str:
    """The processor's model and what it can do, as Linux gives it, or as far as Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = ("model name", "flags", "Features")
    facts = {line for line in lines if line.startswith(names)}
    return "\n".join(sorted(facts)) + platform.machine() + platform.processor()


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the system's compiler
            command, capture_output=True, text=True, check=True, timeout=_BUILD_SECONDS
        )
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{command[0]} failed: {_first_error(error.stderr)}") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{command[0]} failed: {error}") from error
    return done.stdout


def _first_error(text: str) -> str:
    lines = text.strip().splitlines()
    return next((line for line in lines if "error" in line), lines[0] if lines else "no message")
