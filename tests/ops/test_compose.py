"""The file of the stack: it is valid, what it names exists, and nothing in it is open."""

import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from typer.main import get_command

from tests.ops.compose import ROOT, Service, compose, ours, seconds, variables
from worker.catalog import configured
from worker.cli.commands import app
from worker.ending import LAST_S
from worker.gateway.app import ROUTES
from worker.gateway.serving import GRACE_S
from worker.settings import PREFIX, Settings
from worker.simulator.__main__ import main as simulator

STACK = compose()
SERVICES: dict[str, Service] = STACK["services"]
OURS = ours(STACK)
LASTING = {name: it for name, it in SERVICES.items() if it["restart"] != "no"}
SECRETS_AT = "/run/secrets/"

SETTINGS = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


def test_the_specification_of_compose_allows_the_file() -> None:
    schema = ["--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_command_line_understands_the_command(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command: Any = get_command(app)
    arguments: list[str] = list(OURS[name]["command"])
    if arguments[0] == "simulator":  # it parses by itself
        with pytest.raises(SystemExit, match="0"):
            simulator([*arguments[1:], "--help"])
        shown = capsys.readouterr().out
        assert all(word in shown for word in arguments[1:] if word.startswith("--"))
        return
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    command.make_context(name, arguments)


def test_every_variable_is_a_setting_or_documented_where_it_is_asked_for() -> None:
    for service in OURS.values():
        assert set(service.get("environment", ())) <= SETTINGS
    settled = {name for name in STACK["secrets"] if name.startswith(PREFIX)}
    assert settled <= SETTINGS
    told = (ROOT / "ops/compose/make-secrets").read_text() + (ROOT / "ops/runbook.md").read_text()
    assert all(name in told for name in variables())


def test_no_secret_has_a_default_and_each_is_read_from_a_file() -> None:
    known = variables()
    assert known["DELTAWORKS_SECRETS"].startswith(":?")
    assert known["DELTAWORKS_UPSTREAMS"].startswith(":?")
    for name, secret in STACK["secrets"].items():
        assert secret == {"file": f"{_required(secret['file'])}/{name}"}
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY|TOKEN|_URL$", name):
                assert value.startswith((SECRETS_AT, "file:///")), name


def _required(path: str) -> str:
    found = re.match(r"\$\{DELTAWORKS_SECRETS(:\?[^}]+)?\}", path)
    assert found, path
    return found[0]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_has_the_secrets_that_it_reads_and_no_others_are_defined(name: str) -> None:
    service = SERVICES[name]
    given = set(service.get("secrets", ()))
    read = set(re.findall(rf"{SECRETS_AT}([\w.]+)", str(service)))
    assert read <= given <= set(STACK["secrets"])
    granted = (set(it.get("secrets", ())) for it in SERVICES.values())
    assert set().union(*granted) == set(STACK["secrets"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_is_mounted_exists(name: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        # Variables hold colons, too.
        source = re.split(r":(?=/)", volume)[0]
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
        elif not source.startswith("${"):
            assert source in STACK["volumes"]
    assert set(SERVICES[name].get("depends_on", ())) <= set(SERVICES)
    assert set(SERVICES[name]["networks"]) <= set(STACK["networks"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_can_do_no_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)
    # Grafana's and Prometheus' images have users of their own, and so has ours.
    assert service.get("user") not in ("root", "0")
    assert ("user" in service) == (name in ("broker", "channel", "postgres"))
    assert service["mem_limit"]


@pytest.mark.parametrize("name", sorted(LASTING))
def test_a_service_comes_back_and_says_how_it_is(name: str) -> None:
    assert LASTING[name]["restart"] == "unless-stopped"
    assert LASTING[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


def test_only_the_gateway_and_grafana_are_published_and_on_loopback() -> None:
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert published == {"gateway", "grafana"}
    for name in published:
        (port,) = SERVICES[name]["ports"]
        assert port.startswith("${DELTAWORKS_BIND:-127.0.0.1}:")
    assert STACK["networks"]["inside"]["internal"]
    for name in ("broker", "channel", "postgres", "beat", "migrate", "prometheus"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_a_service_is_killed_only_after_it_had_its_time_to_end() -> None:
    for name in ("worker", "worker-bulk"):
        environment: Mapping[str, str] = SERVICES[name]["environment"]
        drain_s = float(environment["DELTAWORKS_GRACE_S"]) + LAST_S
        assert seconds(SERVICES[name]["stop_grace_period"]) >= drain_s + 10
    assert seconds(SERVICES["gateway"]["stop_grace_period"]) >= GRACE_S + 10


def test_a_health_check_asks_for_what_the_process_has() -> None:
    for name in ("worker", "worker-bulk", "beat"):
        command = SERVICES[name]["command"]
        ready_file = command[command.index("--ready-file") + 1]
        assert f"find {ready_file} " in SERVICES[name]["healthcheck"]["test"][1]
        assert any(ready_file.startswith(f"{it.split(':')[0]}/") for it in SERVICES[name]["tmpfs"])
    asked = re.search(r"http://127.0.0.1:(\d+)(/\w+)", str(SERVICES["gateway"]["healthcheck"]))
    assert asked and asked[2] in {getattr(route, "path", "") for route in ROUTES}
    assert asked[1] == SERVICES["gateway"]["command"][-1]
    assert SERVICES["gateway"]["ports"][0].endswith(f":{asked[1]}")


def test_both_sets_of_upstreams_are_valid_and_the_simulator_is_where_one_says() -> None:
    assert SERVICES["simulator"]["profiles"] == ["simulator"]
    port = SERVICES["simulator"]["command"][-1]
    simulated = configured(ROOT / "ops/compose/simulator.toml", {})
    assert simulated and simulated.upstreams[0].base_url == f"http://simulator:{port}/v1"
    real = configured(ROOT / "ops/compose/openai.toml", {})
    assert real and real.upstreams[0].api_key_env in STACK["secrets"]
