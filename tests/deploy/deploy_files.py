"""What the tests of deploy/ read: images, extras, settings, and what a container of ours sees."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fmx_store.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("*.Dockerfile"))
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
KNOWN = {f"FMX_{field.upper()}" for field in Settings.model_fields}


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Each instruction of an image and its arguments, continued lines joined."""
    text = dockerfile.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]  # type: ignore[misc]


def image_environment(dockerfile: Path) -> dict[str, str]:
    """The variables that an image sets."""
    words = [
        word for name, rest in instructions(dockerfile) if name == "ENV" for word in rest.split()
    ]
    return dict(word.split("=", 1) for word in words)


def dockerfile_of(image: str) -> Path:
    """The file that an image of ours, fmx-NAME, is made from."""
    return DEPLOY / f"{image.removeprefix('fmx-')}.Dockerfile"


def copied(dockerfile: Path) -> list[str]:
    """What an image copies in, without the destinations."""
    lines = [rest for name, rest in instructions(dockerfile) if name == "COPY"]
    return [source for rest in lines for source in shlex.split(rest)[:-1]]


def requirements(extra: str) -> set[str]:
    """The packages an extra brings, through the extras it names."""
    names: set[str] = set()
    for requirement in EXTRAS[extra]:
        if inner := re.fullmatch(r"fmx\[([\w,]+)\]", requirement):
            for name in inner[1].split(","):
                names |= requirements(name)
        else:
            names.add(re.match(r"[\w-]+", requirement)[0])  # type: ignore[index]
    return names


def read_settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a process with this environment."""
    for key, value in environment.items():
        if key.startswith("FMX_"):
            monkeypatch.setenv(key, value)
    return Settings()
