"""Holds the images to the project: what they copy, install and set exists and suits each other."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from deploy_files import (
    DOCKERFILES,
    EXTRAS,
    KNOWN,
    PYPROJECT,
    ROOT,
    copied,
    image_environment,
    instructions,
    requirements,
)

every_image = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)


@every_image
def test_images_copy_what_exists_and_is_sent(dockerfile: Path) -> None:
    sent = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    for source in copied(dockerfile):
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in sent), source
    packages = {
        p.removesuffix("*") for p in PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    }
    assert packages <= set(copied(dockerfile))


def test_nothing_is_sent_that_is_not_named() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[0] == "*"
    assert "!.env" not in lines


@every_image
def test_images_are_pinned(dockerfile: Path) -> None:
    lines = instructions(dockerfile)
    install = next(rest for name, rest in lines if name == "RUN" and "pip install" in rest)
    assert "--constraint constraints.txt" in install
    assert re.search(r'"\.\[(\w+)\]"', install)[1] in EXTRAS  # type: ignore[index]
    assert all(re.fullmatch(r"python:3\.\d+-[\w-]+", rest) for n, rest in lines if n == "FROM")


@every_image
def test_images_run_as_nobody_in_particular(dockerfile: Path) -> None:
    """A number, since Kubernetes can't tell from a name that it is not root's."""
    lines = instructions(dockerfile)
    names = [name for name, _ in lines]
    user = dict(lines)["USER"]
    assert user.isdigit()
    assert int(user) >= 10_000, "a user of no host"
    assert any(f"--uid {user}" in rest for name, rest in lines if name == "RUN")
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in {"RUN", "COPY"})


@every_image
def test_images_write_to_their_volume_alone(dockerfile: Path) -> None:
    """The root may be read-only, and nothing that is written can become code."""
    lines, environment = instructions(dockerfile), image_environment(dockerfile)
    assert dict(lines)["VOLUME"] == '["/data"]'
    assert environment["FMX_DATA_DIR"] == environment["HOME"] == "/data"
    assert environment["PYTHONSAFEPATH"] == "1", "else what lies in the working folder is imported"
    install = next(rest for name, rest in lines if name == "RUN" and "pip install" in rest)
    assert "chown fmx /data" in install
    assert not {"--no-compile", "--editable"} & set(install.split())


@every_image
def test_variables_of_images_are_settings(dockerfile: Path) -> None:
    assert {n for n in image_environment(dockerfile) if n.startswith("FMX_")} <= KNOWN


def test_the_server_is_installed_without_torch_and_the_worker_with_it() -> None:
    assert not {"torch", "torchvision", "matplotlib"} & requirements("api")
    assert {"torch", "torchvision", "matplotlib", "celery"} <= requirements("worker")
    assert not {"fastapi", "uvicorn"} & requirements("worker")


@pytest.mark.parametrize("extra", ["dev", "audit"])
def test_every_requirement_is_pinned(extra: str) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {re.split("==", line)[0].lower().replace("_", "-") for line in lines}
    direct = {re.match(r"[\w-]+", r)[0] for r in PYPROJECT["project"]["dependencies"]}  # type: ignore[index]
    wanted = direct | requirements(extra)
    assert {name.lower() for name in wanted} <= pinned
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in lines)
