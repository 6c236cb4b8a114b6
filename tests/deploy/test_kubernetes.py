"""Holds the manifests of deploy/kubernetes to their schemas, to each other, to images and settings.

No cluster is needed. The queries that scale the workers run on a real record.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import psycopg
import pytest
import yaml
from deploy_files import (
    DEPLOY,
    KNOWN,
    PYPROJECT,
    dockerfile_of,
    image_environment,
    instructions,
    read_settings,
)
from services import Column

from api.main import create_app
from api.readiness import CHECK_SECONDS
from fmx_ml.requests import parse_request
from fmx_store import claims, jobs
from fmx_store.database import Database
from fmx_store.lifecycle import CPU_QUEUE, GPU_QUEUE
from fmx_store.settings import Settings
from worker.devices import devices_of, queues_of

FOLDER = DEPLOY / "kubernetes"
OLDEST, NEWEST = "1.33", "1.37"  # the versions of Kubernetes that the schemas are taken of
POD_KINDS = {"Deployment", "Job"}
AWS = {"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


FILES = {path: documents(path) for path in sorted(FOLDER.rglob("*.yaml"))}
MANIFESTS = [
    manifest
    for path, found in FILES.items()
    for manifest in found
    if path.name != "kustomization.yaml"
]
KUSTOMIZATION = FILES[FOLDER / "kustomization.yaml"][0]
PODS = {m["metadata"]["name"]: m for m in MANIFESTS if m["kind"] in POD_KINDS}
COMPONENTS = ("scaling-keda", "scaling-cpu")

every_pod = pytest.mark.parametrize("name", PODS)


def find(kind: str, name: str) -> dict[str, Any]:
    (found,) = (m for m in MANIFESTS if (m["kind"], m["metadata"]["name"]) == (kind, name))
    return found


def pod_of(name: str) -> dict[str, Any]:
    return PODS[name]["spec"]["template"]["spec"]


def labels_of(name: str) -> dict[str, str]:
    return PODS[name]["spec"]["template"]["metadata"]["labels"]


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in PODS:
        spec = pod_of(name)
        yield from ((name, c) for c in [*spec["containers"], *spec.get("initContainers", [])])


every_container = pytest.mark.parametrize(
    ("pod", "container"), [pytest.param(pod, c, id=f"{pod}-{c['name']}") for pod, c in containers()]
)


def environment_of(name: str) -> dict[str, str]:
    """What the container sees: its image's variables, the config's, the secret's and its own."""
    (container,) = pod_of(name)["containers"]
    secret = FILES[FOLDER / "secret.example.yaml"][0]
    sources = {"configMapRef": find("ConfigMap", "fmx")["data"], "secretRef": secret["stringData"]}
    merged = image_environment(dockerfile_of(container["image"]))
    for source in container["envFrom"]:
        ((kind, reference),) = source.items()
        assert reference["name"] == "fmx"
        merged |= sources[kind]
    return merged | {item["name"]: item["value"] for item in container.get("env", [])}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_manifests_are_as_their_schemas_say(version: str) -> None:
    checked = [m for m in MANIFESTS if not m["apiVersion"].startswith("keda.sh/")]
    assert {m["kind"] for m in checked} >= {
        *("ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "Job", "Namespace"),
        *("NetworkPolicy", "PodDisruptionBudget", "Secret", "Service"),
    }
    for manifest in checked:
        kubernetes_validate.validate(manifest, version, strict=True)
    spoilt = {**find("Service", "fmx-api"), "sepc": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spoilt, version, strict=True)


def test_the_kustomization_names_every_manifest_but_the_examples() -> None:
    named = set(KUSTOMIZATION["resources"])
    there = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert there - named == {"secret.example.yaml", "ingress.example.yaml"}
    assert named <= there
    for component in COMPONENTS:
        (kustomization,) = FILES[FOLDER / component / "kustomization.yaml"]
        assert kustomization["kind"] == "Component"
        assert all((FOLDER / component / r).exists() for r in kustomization["resources"])


def test_images_are_ours_in_this_version() -> None:
    wanted = {container["image"] for _, container in containers()}
    named = {image["name"]: image["newTag"] for image in KUSTOMIZATION["images"]}
    assert wanted == set(named)
    assert set(named.values()) == {PYPROJECT["project"]["version"]}
    assert all(dockerfile_of(image).exists() for image in wanted)


@every_pod
def test_variables_are_settings(name: str) -> None:
    given = environment_of(name)
    if "FMX_STORAGE_ENDPOINT" in KNOWN:
        assert {key for key in given if key.startswith("FMX_")} <= KNOWN
    assert {key for key in given if key.startswith("AWS_")} == AWS


@every_pod
def test_settings_take_the_variables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read_settings(environment_of(name), monkeypatch)
    assert settings.database.startswith("postgresql+psycopg://")
    assert settings.broker_url.startswith("rediss://")
    assert settings.storage_url.startswith("s3://")


def test_keys_are_required_of_whoever_reaches_the_server() -> None:
    given = environment_of("fmx-api")
    assert given["FMX_HOST"] == "0.0.0.0"  # noqa: S104 - in its pod
    assert "FMX_KEYS" not in given


def test_secrets_are_in_the_secret() -> None:
    config = find("ConfigMap", "fmx")["data"]
    assert not {"FMX_DATABASE_URL", "FMX_BROKER_URL", "AWS_SECRET_ACCESS_KEY"} & set(config)
    assert "secret.example.yaml" not in KUSTOMIZATION["resources"]


def test_workers_train_on_what_their_pods_have() -> None:
    for device in ("cpu", "cuda"):
        name = "fmx-worker-cpu" if device == "cpu" else "fmx-worker-gpu"
        assert environment_of(name)["FMX_WORKER_DEVICE"] == device
        (container,) = pod_of(name)["containers"]
        assert container["resources"]["limits"].get("nvidia.com/gpu") == (
            1 if device == "cuda" else None
        )
        threads = int(environment_of(name)["FMX_WORKER_THREADS"])
        assert threads <= int(container["resources"]["requests"]["cpu"])


@every_container
def test_every_container_is_confined(pod: str, container: dict[str, Any]) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert {environment_of(pod)["FMX_DATA_DIR"], "/tmp"} <= set(mounted)  # noqa: S108 - theirs
    volumes = {volume["name"]: volume for volume in pod_of(pod)["volumes"]}
    assert set(mounted.values()) == set(volumes)
    assert all("sizeLimit" in volume["emptyDir"] for volume in volumes.values())


@every_pod
def test_every_pod_is_confined(name: str) -> None:
    spec = pod_of(name)
    (container,) = spec["containers"]
    context = spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert (
        str(context["runAsUser"]) == dict(instructions(dockerfile_of(container["image"])))["USER"]
    )
    assert context["fsGroup"] == context["runAsGroup"]
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    enforced = find("Namespace", "fmx")["metadata"]["labels"]
    assert enforced["pod-security.kubernetes.io/enforce"] == "restricted"


@every_pod
def test_services_set_no_variables(name: str) -> None:
    """A service called fmx would set FMX_PORT to an address, and no server would start."""
    assert pod_of(name)["enableServiceLinks"] is False


def test_ports_and_probes_are_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMX_DATABASE_URL", "")
    (container,) = pod_of("fmx-api")["containers"]
    (port,) = container["ports"]
    environment = environment_of("fmx-api")
    assert str(port["containerPort"]) == environment["FMX_PORT"]
    paths = create_app(Settings()).openapi()["paths"]
    probes = {kind: container[kind] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    for probe in probes.values():
        assert probe["httpGet"]["path"] in paths
        assert probe["httpGet"]["port"] == port["name"]
    assert probes["livenessProbe"]["httpGet"]["path"] == "/healthz", "it asks no dependency"
    assert probes["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert probes["readinessProbe"]["timeoutSeconds"] > CHECK_SECONDS


def test_workers_have_no_probes_that_an_outage_could_fail() -> None:
    for name in ("fmx-worker-cpu", "fmx-worker-gpu"):
        (container,) = pod_of(name)["containers"]
        assert not {"startupProbe", "livenessProbe", "readinessProbe"} & set(container)


def test_services_budgets_and_routes_find_their_pods() -> None:
    labels = labels_of("fmx-api")
    service = find("Service", "fmx-api")["spec"]
    assert service["selector"].items() <= labels.items()
    (port,) = service["ports"]
    assert port["targetPort"] == pod_of("fmx-api")["containers"][0]["ports"][0]["name"]
    budget = find("PodDisruptionBudget", "fmx-api")["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert budget["minAvailable"] < PODS["fmx-api"]["spec"]["replicas"]
    (rule,) = find("Ingress", "fmx-api")["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": "fmx-api", "port": {"name": port["name"]}}


@every_pod
def test_selectors_match_labels(name: str) -> None:
    if PODS[name]["kind"] == "Deployment":
        selector = PODS[name]["spec"]["selector"]["matchLabels"]
        assert selector.items() <= labels_of(name).items()
        others = [labels_of(other) for other in PODS if other != name]
        assert not any(selector.items() <= labels.items() for labels in others)


def test_policies_let_through_what_is_needed() -> None:
    nothing = find("NetworkPolicy", "fmx-nothing")["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    out = find("NetworkPolicy", "fmx-engines")["spec"]
    assert all(out["podSelector"]["matchLabels"].items() <= labels_of(n).items() for n in PODS)
    let_out = {rule["port"] for way in out["egress"] for rule in way["ports"]}
    assert let_out == {53, 5432, 6379, 443}
    into = find("NetworkPolicy", "fmx-api")["spec"]
    assert into["podSelector"]["matchLabels"].items() <= labels_of("fmx-api").items()
    (way,) = into["ingress"]
    assert way["ports"] == [{"port": "http", "protocol": "TCP"}]


def test_pods_have_time_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FMX_STOP_SECONDS", raising=False)
    for name in ("fmx-api", "fmx-worker-cpu", "fmx-worker-gpu"):
        assert pod_of(name)["terminationGracePeriodSeconds"] >= 10 * Settings().stop_seconds


def test_the_migration_runs_to_its_end_and_no_further() -> None:
    (container,) = pod_of("fmx-migrate")["containers"]
    assert container["command"] == ["python", "-m", "migrations", "upgrade"]
    assert pod_of("fmx-migrate")["restartPolicy"] == "OnFailure"


@pytest.mark.parametrize("component", COMPONENTS)
def test_what_is_scaled_is_a_deployment_that_fixes_no_number(component: str) -> None:
    (kustomization,) = FILES[FOLDER / component / "kustomization.yaml"]
    scaled = {
        manifest["spec"]["scaleTargetRef"]["name"]
        for path in (FOLDER / component).glob("*.yaml")
        for manifest in FILES[path]
        if "scaleTargetRef" in manifest.get("spec", {})
    }
    assert scaled <= {name for name in PODS if PODS[name]["kind"] == "Deployment"}
    (patch,) = kustomization["patches"]
    assert {name for name in PODS if re.fullmatch(patch["target"]["name"], name)} == scaled
    assert yaml.safe_load(patch["patch"]) == [{"op": "remove", "path": "/spec/replicas"}]


def test_what_an_overlay_adds_lies_where_the_rest_does() -> None:
    """The kustomization's namespace is given to its own resources alone."""
    own = {FOLDER / name for name in KUSTOMIZATION["resources"]}
    for path, found in FILES.items():
        if path not in own and path.name != "kustomization.yaml":
            assert {m["metadata"]["namespace"] for m in found} == {KUSTOMIZATION["namespace"]}


def queries() -> dict[str, str]:
    """KEDA's query of each deployment."""
    objects = FILES[FOLDER / "scaling-keda" / "scaled-objects.yaml"]
    scaled = [o for o in objects if o["kind"] == "ScaledObject"]
    for each in scaled:
        (trigger,) = each["spec"]["triggers"]
        assert (trigger["type"], trigger["metricType"]) == ("postgresql", "AverageValue")
        assert trigger["authenticationRef"]["name"] == objects[0]["metadata"]["name"]
        assert float(trigger["metadata"]["targetQueryValue"]) > 0
    (target,) = objects[0]["spec"]["secretTargetRef"]
    assert target["parameter"] == "connection"
    assert target["key"] in FILES[FOLDER / "secret.example.yaml"][0]["stringData"]
    return {
        o["spec"]["scaleTargetRef"]["name"]: o["spec"]["triggers"][0]["metadata"]["query"]
        for o in scaled
    }


@pytest.mark.services
def test_the_queue_is_counted_from_a_real_record(engines_column: Column) -> None:
    """Due runs and those under way, of the devices whose messages go to the workers' own queue."""
    settings = engines_column.settings()
    db = Database(settings.database)
    for device, seeds in (("auto", 2), ("cpu", 3), ("cuda", 4)):
        spec = {"device": device, "seeds": list(range(seeds)), "dataset": "synthetic"}
        jobs.submit(db, parse_request({"kind": "q1", "spec": spec}), 10)

    def count() -> tuple[int, int]:
        with psycopg.connect(settings.database_url) as connection:
            found = [connection.execute(queries()[f"fmx-worker-{k}"]) for k in ("cpu", "gpu")]  # pyright: ignore[reportArgumentType, reportCallIssue] - a manifest's text
            cpu, gpu = (cursor.fetchone()[0] for cursor in found)  # pyright: ignore[reportOptionalSubscript] - a count
        return cpu, gpu

    assert count() == (5, 4), "collations that wait for their runs are not due"
    claimed = claims.claim(db, "a worker", devices_of("cpu"))
    assert claimed is not None
    assert count() == (5, 4), "what is under way keeps its worker"
    claims.finish(db, claimed.lease, claims.Success())
    assert count() == (4, 4)
    db.close()
    assert queues_of("cpu") == (CPU_QUEUE,)
    assert GPU_QUEUE in queues_of("cuda")
