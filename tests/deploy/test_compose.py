"""Holds docker-compose.yml, the images and the settings against each other.

No container engine is needed: what is checked is that every variable, command, port, path, volume
and service that one file names exists where it should, and that every container is confined.
"""

import importlib.util
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from deploy_files import (
    DEPLOY,
    KNOWN,
    ROOT,
    copied,
    dockerfile_of,
    image_environment,
    instructions,
    read_settings,
)

from fmx_store.settings import Settings

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
ENGINES: dict[str, str] = COMPOSE["x-engines"]
ONE_SHOT = {"bucket", "migrate"}
SECRETS = {
    line.partition("=")[0]
    for line in (DEPLOY / "env.example").read_text().splitlines()
    if line and not line.startswith("#")
}

every_service = pytest.mark.parametrize("name", SERVICES)
every_one_of_ours = pytest.mark.parametrize("name", OURS)


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    """What a container of ours sees: the image's variables, then the service's."""
    given = {key: filled_in(str(value)) for key, value in service["environment"].items()}
    return {**image_environment(dockerfile_of(service["image"])), **given}


def filled_in(text: str) -> str:
    """Text with its variables replaced, as compose does: a default, or what .env says."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    return re.sub(r"\$\{(\w+):\?[^}]*\}", r"value-of-\1", text)


def settings_of(service: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    return read_settings(environment_of(service), monkeypatch)


def test_the_services_of_the_right_column_are_there() -> None:
    engines = {"postgres", "redis", "bucket", "storage"}
    assert set(SERVICES) == {*engines, "migrate", "api", "worker", "worker-gpu"}
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert all("profiles" not in SERVICES[name] for name in set(SERVICES) - {"worker-gpu"})


@every_one_of_ours
def test_variables_are_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {key for key in environment_of(OURS[name]) if key.startswith("FMX_")} <= KNOWN
    settings = settings_of(OURS[name], monkeypatch)
    assert settings.database.startswith("postgresql+psycopg://")
    assert settings.broker_url.startswith("redis://")
    assert settings.storage_url.startswith("s3://")


def test_what_is_interpolated_is_a_secret_without_a_default_or_the_port() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    found = re.findall(r"\$\{(\w+)(:[?-])", text)
    assert {name for name, how in found if how == ":?"} == SECRETS
    assert {name for name, how in found if how == ":-"} == {"FMX_PORT"}
    assert len(found) == text.count("${")


def test_secrets_are_in_no_file_that_is_kept() -> None:
    example = (DEPLOY / "env.example").read_text()
    assert all(f"\n{name}=\n" in example for name in SECRETS), "the example has no values"
    assert "/.env" in (ROOT / ".gitignore").read_text().splitlines()


@every_one_of_ours
def test_commands_are_modules_of_the_project(name: str) -> None:
    dockerfile = dockerfile_of(OURS[name]["image"])
    assert (ROOT / OURS[name]["build"]["dockerfile"]) == dockerfile
    default = next(rest for instruction, rest in instructions(dockerfile) if instruction == "CMD")
    command = OURS[name].get("command") or yaml.safe_load(default)
    assert command[:2] == ["python", "-m"]
    assert importlib.util.find_spec(f"{command[2]}.__main__") is not None
    assert command[2] in copied(dockerfile)


def test_urls_name_services_and_their_credentials() -> None:
    database = urlsplit(filled_in(ENGINES["FMX_DATABASE_URL"]))
    postgres = SERVICES[database.hostname or ""]["environment"]
    assert (database.username, database.path.strip("/")) == (
        postgres["POSTGRES_USER"],
        postgres["POSTGRES_DB"],
    )
    assert database.password == filled_in(postgres["POSTGRES_PASSWORD"])
    assert urlsplit(ENGINES["FMX_BROKER_URL"]).hostname in SERVICES


def test_the_store_is_a_service_with_the_bucket_and_the_credentials() -> None:
    endpoint = urlsplit(ENGINES["FMX_STORAGE_ENDPOINT"])
    store = SERVICES[endpoint.hostname or ""]
    assert f":{endpoint.port}" in store["command"]
    given = store["environment"]
    assert given["ROOT_ACCESS_KEY"] == ENGINES["AWS_ACCESS_KEY_ID"]
    assert given["ROOT_SECRET_KEY"] == ENGINES["AWS_SECRET_ACCESS_KEY"]
    folder = store["command"][-1]
    bucket = urlsplit(ENGINES["FMX_STORAGE_URL"]).netloc
    (made,) = SERVICES["bucket"]["command"]
    assert f"mkdir -p {folder}/{bucket} " in made
    assert store["volumes"] == SERVICES["bucket"]["volumes"] == [f"objects:{folder}"]
    assert f"chown {store['user']} {folder} {folder}/{bucket}" in made


def test_clients_are_not_sent_to_a_store_that_they_do_not_reach() -> None:
    assert "ports" not in SERVICES["storage"]
    assert ENGINES["FMX_STORAGE_REDIRECTS"] == "never"


def test_volumes_are_declared_and_used() -> None:
    used = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])


def test_the_port_is_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    api = OURS["api"]
    port = settings_of(api, monkeypatch).port
    lines = dict(instructions(dockerfile_of(api["image"])))
    assert lines["EXPOSE"] == str(port)
    assert f"http://127.0.0.1:{port}/readyz" in lines["HEALTHCHECK"]
    published = filled_in(api["ports"][0]).split(":")
    assert published == ["127.0.0.1", str(Settings.model_fields["port"].default), str(port)]


def test_only_the_server_is_reached_from_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["api"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["api"]["ports"])
    outside = {
        name for name, s in SERVICES.items() if set(s.get("networks", ["default"])) - {"inside"}
    }
    assert outside - {"bucket"} == {"api"}
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert SERVICES["bucket"]["network_mode"] == "none"


def test_keys_are_required_of_whoever_reaches_the_server() -> None:
    """It binds to every address, which makes keys required unless somebody says otherwise."""
    assert environment_of(OURS["api"])["FMX_HOST"] == "0.0.0.0"  # noqa: S104 - in its container
    assert "FMX_KEYS" not in (ROOT / "docker-compose.yml").read_text()
    assert all("FMX_KEYS" not in image_environment(path) for path in DEPLOY.glob("*.Dockerfile"))


def test_nothing_starts_before_what_it_needs() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed], needed
            else:
                assert how["condition"] == "service_completed_successfully"
                assert needed in ONE_SHOT
                assert SERVICES[needed]["restart"] == "on-failure"
    for name in ("api", "worker", "worker-gpu"):
        assert set(SERVICES[name]["depends_on"]) == {"migrate", "postgres", "redis", "storage"}


@every_service
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("cap_add", []) == (["CHOWN"] if name == "bucket" else [])
    assert not {"privileged", "pid", "ipc", "devices", "userns_mode"} & set(service)
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] > 0
    assert service["restart"] == ("on-failure" if name in ONE_SHOT else "unless-stopped")
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@every_service
def test_no_container_is_root_but_the_one_that_gives_a_folder_away(name: str) -> None:
    service = SERVICES[name]
    if name in OURS:
        assert "user" not in service, "the image's"
    else:
        assert (service["user"].split(":")[0] == "0") is (name == "bucket")


@every_service
def test_what_is_written_goes_to_volumes_and_memory(name: str) -> None:
    """The root is read-only: a data folder that is neither would fail at the first write."""
    service = SERVICES[name]
    writable = {mount.split(":")[1] for mount in service.get("volumes", [])}
    writable |= {mount.split(":")[0] for mount in service.get("tmpfs", [])}
    if name in OURS:
        assert {environment_of(service)["FMX_DATA_DIR"], "/tmp"} <= writable  # noqa: S108 - theirs
    assert all(mount.endswith(":mode=1777") for mount in service.get("tmpfs", []))


def test_redis_keeps_what_it_has_taken_and_evicts_nothing() -> None:
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert megabytes(options["--maxmemory"]) * 2 < megabytes(SERVICES["redis"]["mem_limit"])


def megabytes(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(mb?|g)", text).groups()  # type: ignore[union-attr]
    return int(number) * (1024 if unit == "g" else 1)


def test_who_is_asked_for_its_health() -> None:
    """Not the workers: an outage that they outlast must not end their trainings."""
    in_image = {
        name
        for name, s in OURS.items()
        if "HEALTHCHECK" in dict(instructions(dockerfile_of(s["image"])))
    }
    asked = {name for name, service in SERVICES.items() if "healthcheck" in service} | in_image
    assert asked - ONE_SHOT == {"postgres", "redis", "storage", "api"}


@pytest.mark.parametrize("name", ["worker", "worker-gpu"])
def test_a_worker_has_time_to_hand_its_run_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FMX_STOP_SECONDS", raising=False)
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > 3 * Settings().stop_seconds
    assert SERVICES[name]["init"] is True
