"""Holds docker-compose.yml, the images and the settings against each other.

No container engine is needed: what is checked is that every variable, command, port, path, extra
and service that one file names exists where it should.
"""

import importlib.util
import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from fmx_store.blobs import FolderStore, open_store
from fmx_store.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Each instruction of an image and its arguments, continued lines joined."""
    text = dockerfile.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]  # type: ignore[misc]


def image_environment(dockerfile: Path) -> dict[str, str]:
    words = [
        word for name, rest in instructions(dockerfile) if name == "ENV" for word in rest.split()
    ]
    return dict(word.split("=", 1) for word in words)


def dockerfile_of(service: dict[str, Any]) -> Path:
    return ROOT / service["build"]["dockerfile"]


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    """What a container of ours sees: the image's variables, then the service's."""
    given = {key: str(value) for key, value in service["environment"].items()}
    return {**image_environment(dockerfile_of(service)), **given}


def with_defaults(text: str) -> str:
    """Text with `${NAME:-default}` replaced, as compose does where NAME is unset."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def settings_of(service: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for key, value in environment_of(service).items():
        if key.startswith("FMX_"):
            monkeypatch.setenv(key, with_defaults(value))
    return Settings()


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


def test_the_services_of_the_right_column_are_there() -> None:
    assert set(SERVICES) == {"postgres", "redis", "migrate", "api", "worker", "worker-gpu"}
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert all("profiles" not in SERVICES[name] for name in set(SERVICES) - {"worker-gpu"})


@pytest.mark.parametrize("name", OURS)
def test_variables_are_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {f"FMX_{field.upper()}" for field in Settings.model_fields}
    used = {key for key in environment_of(OURS[name]) if key.startswith("FMX_")}
    assert used <= known
    settings = settings_of(OURS[name], monkeypatch)
    assert settings.database.startswith("postgresql+psycopg://")
    assert settings.broker_url.startswith("redis://")


def test_interpolated_variables_are_settings_or_the_password() -> None:
    known = {f"FMX_{field.upper()}" for field in Settings.model_fields} | {"FMX_POSTGRES_PASSWORD"}
    text = (ROOT / "docker-compose.yml").read_text()
    assert set(re.findall(r"\$\{(\w+)", text)) <= known


@pytest.mark.parametrize("name", OURS)
def test_commands_are_modules_of_the_project(name: str) -> None:
    dockerfile = dockerfile_of(OURS[name])
    default = next(rest for instruction, rest in instructions(dockerfile) if instruction == "CMD")
    command = OURS[name].get("command") or yaml.safe_load(default)
    assert command[:2] == ["python", "-m"]
    assert importlib.util.find_spec(f"{command[2]}.__main__") is not None
    assert command[2] in copied(dockerfile)


def test_urls_name_services_and_their_credentials() -> None:
    engines = COMPOSE["x-engines"]
    database = urlsplit(with_defaults(engines["FMX_DATABASE_URL"]))
    postgres = SERVICES[database.hostname or ""]["environment"]
    assert (database.username, database.path.strip("/")) == (
        postgres["POSTGRES_USER"],
        postgres["POSTGRES_DB"],
    )
    assert database.password == with_defaults(postgres["POSTGRES_PASSWORD"])
    assert urlsplit(engines["FMX_BROKER_URL"]).hostname in SERVICES


@pytest.mark.parametrize("name", ["api", "worker", "worker-gpu"])
def test_storage_is_a_shared_volume(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(OURS[name], monkeypatch)
    folder = urlsplit(settings.storage_url).path
    assert f"artifacts:{folder}" in OURS[name]["volumes"]
    monkeypatch.setattr(FolderStore, "__init__", lambda _self, path: setattr(_self, "folder", path))
    assert str(open_store(settings).folder) == folder  # type: ignore[attr-defined]


def test_volumes_are_declared_and_used() -> None:
    used = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])


def test_the_port_is_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    api = OURS["api"]
    port = settings_of(api, monkeypatch).port
    lines = dict(instructions(dockerfile_of(api)))
    assert lines["EXPOSE"] == str(port)
    assert f"http://127.0.0.1:{port}/readyz" in lines["HEALTHCHECK"]
    published = with_defaults(api["ports"][0]).split(":")
    assert published == ["127.0.0.1", str(Settings.model_fields["port"].default), str(port)]


def test_nothing_starts_before_what_it_needs() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed], needed
            else:
                assert how["condition"] == "service_completed_successfully"
                assert SERVICES[needed]["restart"] == "on-failure"
    for name in ("api", "worker", "worker-gpu"):
        assert set(SERVICES[name]["depends_on"]) == {"migrate", "postgres", "redis"}


def copied(dockerfile: Path) -> list[str]:
    """What an image copies in, without the destinations."""
    lines = [rest for name, rest in instructions(dockerfile) if name == "COPY"]
    return [source for rest in lines for source in shlex.split(rest)[:-1]]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
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


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_pinned_and_not_root(dockerfile: Path) -> None:
    lines = instructions(dockerfile)
    install = next(rest for name, rest in lines if name == "RUN" and "pip install" in rest)
    assert "--constraint constraints.txt" in install
    assert re.search(r'"\.\[(\w+)\]"', install)[1] in EXTRAS  # type: ignore[index]
    names = [name for name, _ in lines]
    assert dict(lines)["USER"] == "fmx"
    assert names.index("USER") > names.index("RUN")


def test_the_server_is_installed_without_torch_and_the_worker_with_it() -> None:
    assert not {"torch", "torchvision", "matplotlib"} & requirements("api")
    assert {"torch", "torchvision", "matplotlib", "celery"} <= requirements("worker")
    assert not {"fastapi", "uvicorn"} & requirements("worker")


def test_every_requirement_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {re.split("==", line)[0].lower().replace("_", "-") for line in lines}
    direct = {re.match(r"[\w-]+", r)[0] for r in PYPROJECT["project"]["dependencies"]}  # type: ignore[index]
    wanted = direct | requirements("dev")
    assert {name.lower() for name in wanted} <= pinned
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in lines)
