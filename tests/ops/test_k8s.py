"""The Kubernetes manifests: valid by schema, and true of the program they start."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import typer
import yaml
from starlette.routing import Route

from tests.stack import ROOT
from worker.catalog import configured
from worker.cli.commands import app
from worker.ending import LAST_S
from worker.gateway import serving
from worker.gateway.app import ROUTES
from worker.process import LAST_MESSAGE_S
from worker.settings import PREFIX, Settings

FOLDER = ROOT / "ops" / "k8s"
BASE, KEDA, EXAMPLE = FOLDER / "base", FOLDER / "keda", FOLDER / "overlays" / "example"
SCHEMAS = json.loads((ROOT / "tests" / "fixtures" / "kubernetes_schemas.json").read_text())
# Beyond what is known to the second: signals, sockets and the leaving of an interpreter.
MARGIN_S = 10
METRICS_PATH = "/metrics"

Manifest = dict[str, Any]


def documents(path: Path) -> list[Manifest]:
    return [each for each in yaml.safe_load_all(path.read_text("utf-8")) if each]


def kustomization(folder: Path) -> Manifest:
    (found,) = documents(folder / "kustomization.yaml")
    return found


def resources(*folders: Path) -> list[Manifest]:
    """What the kustomizations of these folders list."""
    names = [(folder, name) for folder in folders for name in kustomization(folder)["resources"]]
    return [each for folder, name in names for each in documents(folder / name)]


MANIFESTS = resources(BASE, KEDA)


def of_kind(kind: str) -> list[Manifest]:
    return [each for each in MANIFESTS if each["kind"] == kind]


def pods() -> dict[str, Manifest]:
    """The pod templates, by the name of their one container."""
    templates = [each["spec"]["template"] for each in of_kind("Deployment") + of_kind("Job")]
    return {each["spec"]["containers"][0]["name"]: each for each in templates}


def containers() -> dict[str, Manifest]:
    return {name: pod["spec"]["containers"][0] for name, pod in pods().items()}


def literals() -> dict[str, str]:
    """The settings of all processes."""
    (generated,) = (
        each
        for each in kustomization(BASE)["configMapGenerator"]
        if each["name"] == "deltaworks-settings"
    )
    return dict(line.split("=", 1) for line in generated["literals"])


def secrets() -> dict[str, list[str]]:
    """The names that the example's generators put into each Secret."""
    return {
        each["name"]: [
            line.partition("=")[0]
            for file in each["envs"]
            for line in (EXAMPLE / file).read_text().splitlines()
        ]
        for each in kustomization(EXAMPLE)["secretGenerator"]
    }


def faults(manifest: Manifest) -> Iterator[str]:
    kind = f"{manifest['apiVersion']}/{manifest['kind']}"
    schema = {**SCHEMAS["kinds"][kind], "definitions": SCHEMAS["definitions"]}
    for error in jsonschema_rs.validator_for(schema).iter_errors(manifest):
        at = "/".join(map(str, error.instance_path))
        yield f"{kind} {manifest['metadata']['name']}: {at}: {error.message[:200]}"


def test_every_manifest_is_valid_by_its_schema_and_none_is_left_out() -> None:
    assert [fault for each in MANIFESTS for fault in faults(each)] == []
    files = {path.name for folder in (BASE, KEDA) for path in folder.glob("*.yaml")}
    listed = {name for folder in (BASE, KEDA) for name in kustomization(folder)["resources"]}
    assert files == listed | {"kustomization.yaml"}
    assert faults({**MANIFESTS[0], "invented": 1})  # the schemas refuse what they do not know


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl is on the PATH")
def test_the_example_is_built_and_what_comes_out_is_valid() -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", str(EXAMPLE)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    found = [each for each in yaml.safe_load_all(built.stdout) if each]
    assert [fault for each in found for fault in faults(each)] == []
    images = set(re.findall(r"image: (.*)", built.stdout))
    assert images == {"registry.example.com/deltaworks:0.1.0"}
    # Each generated name is referred to by the name it was given.
    generated = {
        each["metadata"]["name"] for each in found if each["kind"] in {"ConfigMap", "Secret"}
    }
    referred = re.findall(r"(?:configMapRef|secretRef|configMap):\n\s+name: (.*)", built.stdout)
    assert set(referred) == generated
    (engines,) = (each for each in found if each["metadata"]["name"] == "deltaworks-engines")
    assert engines["spec"]["egress"][0]["to"] == [{"ipBlock": {"cidr": "10.20.0.0/24"}}]


@pytest.mark.parametrize("name", sorted(containers()))
def test_the_command_of_each_container_is_one_of_ours(name: str) -> None:
    command: Any = typer.main.get_command(app)
    words = list(containers()[name]["args"])
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    context = command.make_context(command.name, words)
    lane = {"worker": ["interactive"], "worker-bulk": ["bulk"]}.get(name)
    assert context.params.get("lane") == lane
    assert (command.name, context.args) == (
        {"worker-bulk": "worker", "migrate": "upgrade"}.get(name, name), []
    )  # fmt: skip


def test_every_variable_is_a_setting_or_an_upstreams_key() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    keys = {up.api_key_env for up in upstreams(BASE) + upstreams(EXAMPLE)}
    variables = {*literals(), *(name for names in secrets().values() for name in names)}
    assert variables - known == keys
    values: dict[str, Any] = {
        name.removeprefix(PREFIX).lower(): value for name, value in literals().items()
    }
    Settings(**{name: value for name, value in values.items() if name in Settings.model_fields})


def upstreams(folder: Path) -> list[Any]:
    found = configured(folder / "upstreams.toml")
    assert found is not None
    return list(found.upstreams)


def test_what_a_container_refers_to_is_there() -> None:
    config = {each["name"] for each in kustomization(BASE)["configMapGenerator"]}
    claims = {each["metadata"]["name"] for each in of_kind("PersistentVolumeClaim")}
    assert {each["name"] for each in kustomization(EXAMPLE)["configMapGenerator"]} < config
    for name, pod in pods().items():
        container, spec = containers()[name], pod["spec"]
        for source in container["envFrom"]:
            assert source.get("configMapRef", source.get("secretRef"))["name"] in (
                config if "configMapRef" in source else secrets()
            )
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts.keys() == volumes.keys()
        for volume in volumes.values():
            assert volume.get("configMap", {"name": "deltaworks-settings"})["name"] in config
            claim = volume.get("persistentVolumeClaim")
            assert claim is None or claim["claimName"] in claims
        given = literals()
        assert mounts["home"] == given["DELTAWORKS_HOME"]
        if "files" in mounts:
            assert given["DELTAWORKS_FILES_URL"] == f"file://{mounts['files']}"
        if "upstreams" in mounts:
            file = f"{mounts['upstreams']}/upstreams.toml"
            assert given["DELTAWORKS_UPSTREAMS_FILE"] == file


def test_ports_and_paths_are_those_that_are_served() -> None:
    paths = {route.path for route in ROUTES if isinstance(route, Route)} | {METRICS_PATH}
    for name, container in containers().items():
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        if name != "migrate":
            assert str(ports["metrics"]) == literals()["DELTAWORKS_METRICS_PORT"]
            assert literals()["DELTAWORKS_METRICS_HOST"] == "0.0.0.0"
        if name == "gateway":
            arguments = container["args"]
            assert str(ports["http"]) == arguments[arguments.index("--port") + 1]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                asked = container[probe]["httpGet"]
                assert asked["path"] in paths and asked["port"] in ports
    (service,) = of_kind("Service")
    assert service["spec"]["ports"][0]["targetPort"] in {
        port["name"] for port in containers()["gateway"]["ports"]
    }
    served = {
        port["containerPort"] for each in containers().values() for port in each.get("ports", [])
    }
    admitted = [
        rule for each in of_kind("NetworkPolicy") for rule in each["spec"].get("ingress", [])
    ]
    assert {port["port"] for rule in admitted for port in rule["ports"]} == served


def test_selectors_select_what_they_are_meant_to() -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in pods().items()}

    def selected(selector: Manifest) -> set[str]:
        wanted = selector.get("matchLabels", {}).items()
        among = selector.get("matchExpressions", [])
        assert all(each["operator"] == "In" for each in among)
        return {
            name
            for name, has in labels.items()
            if wanted <= has.items() and all(has.get(e["key"]) in e["values"] for e in among)
        }

    for each in of_kind("Deployment") + of_kind("PodDisruptionBudget"):
        name = each["metadata"]["name"].removeprefix("deltaworks-")
        assert selected(each["spec"]["selector"]) == {name}
    for name, pod in pods().items():
        for spread in pod["spec"].get("topologySpreadConstraints", []):
            assert selected(spread["labelSelector"]) == {name}
    (service,) = of_kind("Service")
    assert selected({"matchLabels": service["spec"]["selector"]}) == {"gateway"}
    policies = {
        each["metadata"]["name"].removeprefix("deltaworks-"): selected(each["spec"]["podSelector"])
        for each in of_kind("NetworkPolicy")
    }
    everybody = set(labels)
    assert policies == {
        "nothing": everybody, "names": everybody, "engines": everybody, "metrics": everybody,
        "upstreams": {"worker", "worker-bulk", "gateway"}, "gateway": {"gateway"},
    }  # fmt: skip
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in of_kind("ScaledObject")}
    scaled |= {
        each["spec"]["scaleTargetRef"]["name"] for each in of_kind("HorizontalPodAutoscaler")
    }
    assert scaled == {"deltaworks-worker", "deltaworks-worker-bulk", "deltaworks-gateway"}


def test_every_pod_has_the_time_its_end_takes() -> None:
    grace_s = float(literals()["DELTAWORKS_GRACE_S"])
    needed = {
        "worker": grace_s + LAST_MESSAGE_S + LAST_S,
        "worker-bulk": grace_s + LAST_MESSAGE_S + LAST_S,
        "gateway": lingering_s() + serving.GRACE_S,
        "beat": 0,
    }
    for name, least_s in needed.items():
        assert pods()[name]["spec"]["terminationGracePeriodSeconds"] >= least_s + MARGIN_S, name
    # Longer than it takes until the gateway is found unready, twice.
    assert lingering_s() >= 10


def lingering_s() -> int:
    seconds: int = containers()["gateway"]["lifecycle"]["preStop"]["sleep"]["seconds"]
    return seconds


@pytest.mark.parametrize("name", sorted(pods()))
def test_every_pod_keeps_to_the_restricted_standard(name: str) -> None:
    spec, container = pods()[name]["spec"], containers()[name]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # No token of the cluster's, and no variables that look like settings of ours.
    assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False
    assert {"requests", "limits"} == container["resources"].keys()
    (namespace,) = of_kind("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_workers_are_scaled_by_metrics_that_exist_and_before_they_are_full() -> None:
    names = pytest.importorskip("worker.metrics.names")
    known = {metric.name: metric for metric in names.ALL}
    triggers = [trigger for each in of_kind("ScaledObject") for trigger in each["spec"]["triggers"]]
    for trigger in triggers:
        query = trigger["metadata"]["query"]
        (name,) = re.findall(r"deltaworks_\w+", query)
        assert set(re.findall(r"(\w+)=", query)) <= set(known[name].labels)
        if name == names.OPEN_STREAMS.name:
            streams = int(literals()["DELTAWORKS_STREAMS"])
            assert int(trigger["metadata"]["threshold"]) == 0.8 * streams
