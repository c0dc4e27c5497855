"""Every alert can fire, says what to do, and leads to a section of the runbook that there is."""

import re
import shutil
import subprocess

import pytest
import yaml

from tests.ops.test_metrics_used import PROMETHEUS, ROOT, alerts

RUNBOOK = (ROOT / "ops/runbook.md").read_text()


def anchors() -> set[str]:
    """The sections below `## Alerts`, as GitHub names them in links."""
    section = RUNBOOK.split("\n## Alerts\n")[1].split("\n## ")[0]
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^### (.+)$", section, re.MULTILINE)
    }


def test_each_alert_names_its_section_of_the_runbook() -> None:
    named = set()
    for alert in alerts():
        said = alert["annotations"]
        file, _, anchor = said["runbook"].partition("#")
        assert file == "ops/runbook.md" and anchor in anchors(), alert["alert"]
        assert alert["alert"] in RUNBOOK and said["summary"] and said["description"]
        assert alert["labels"]["severity"] in {"critical", "warning"}
        named.add(anchor)
    assert named == anchors()


def test_each_alert_is_shown_to_fire_and_to_be_silent() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    shown = [rule for test in tests for rule in test["alert_rule_test"]]
    names = {alert["alert"] for alert in alerts()}

    assert {rule["alertname"] for rule in shown if rule.get("exp_alerts")} == names
    assert {rule["alertname"] for rule in shown if not rule.get("exp_alerts")} == names


@pytest.mark.parametrize(
    ("command", "file"),
    [
        (("check", "config"), "prometheus.yml"),
        (("check", "rules"), "alerts.yml"),
        (("test", "rules"), "alerts_test.yml"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_prometheus_itself_finds_no_fault(command: tuple[str, ...], file: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; Debian's package prometheus has it")
    ended = subprocess.run(
        [promtool, *command, file], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
