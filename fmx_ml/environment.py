"""What a result was made with: versions, machine, revision of the code (no torch)."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import fmx_ml

_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "onnx",
    "onnxruntime",
    "optuna",
    "safetensors",
    "matplotlib",
    "pydantic",
)
_GIT_TIMEOUT_SECONDS = 5


def package_versions() -> dict[str, str | None]:
    """The installed version of each package that a result depends on; None where it is absent."""
    return {name: _version(name) for name in ("fmx", *_PACKAGES)}


def describe_environment() -> dict[str, str | int | None]:
    """The code, versions and machine of this process, flat and JSON-safe."""
    return {
        "revision": code_revision(),
        "python": platform.python_version(),
        **package_versions(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
    }


def code_revision() -> str | None:
    """The git commit of this code, "-dirty" after it where files were changed; None outside git.

    The variable FMX_REVISION goes before: an image that was built from a commit has no .git.
    """
    named = os.environ.get("FMX_REVISION")
    git = shutil.which("git")
    if named or git is None:
        return named or None
    folder = Path(fmx_ml.__file__).parent
    command = [git, "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            [*command, "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=_GIT_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    """The processor's name as Linux gives it, or as far as Python knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
