"""Dashboards and alerts ask only for metrics and labels that there are, and leave none unused."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from models import JobState, Lane
from worker.errors import Category
from worker.metrics import names

ROOT = Path(__file__).parents[2]
GRAFANA, PROMETHEUS = ROOT / "ops/grafana", ROOT / "ops/prometheus"
DASHBOARDS = sorted(GRAFANA.glob("dashboards/*.json"))

# What Prometheus adds to every series by our configuration, and to buckets.
ADDED = {"job", "instance", "service", "le"}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
# Every value that a query may name.
VALUES = {
    "state": {*JobState, "done", "failed", "open"},
    "lane": set(Lane),
    "category": {*Category, "none", "drained", "lost", "cancelled"},
    "kind": {"refused", "unsure", "fault", "input", "cached", "output"},
    "waiting": {"worker", "moment", "release"},
    "job": {"deltaworks"},
}

SERIES = re.compile(r"\b((?:deltaworks|process)_[a-z_]+|up)\b(?:\{([^}]*)\})?")
SELECTED = re.compile(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
GROUPED = re.compile(r"\bby \(([^)]*)\)")
PLACE = re.compile(r"\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}")


def series() -> dict[str, tuple[str, ...]]:
    """Every name that can be asked for, and its labels."""
    found = {each.name + suffix: each.labels for each in names.ALL
             for suffix in SUFFIXES.get(each.kind, ("",))}  # fmt: skip
    return found | dict.fromkeys((*names.OF_THE_PROCESS, "up"), ())


SERIES_THERE = series()


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            if panel["type"] != "row":
                yield f"{file.stem}: {panel['title']}", panel


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> Iterator[tuple[str, str, str]]:
    """Where a query stands, the query, and the text its labels are shown in."""
    for where, panel in panels():
        for target in panel["targets"]:
            yield where, target["expr"], target["legendFormat"]
    for alert in alerts():
        yield alert["alert"], alert["expr"], " ".join(alert["annotations"].values())


def faults(query: str, shown: str) -> Iterator[str]:
    """What the query, or the text its labels are shown in, asks for that there is not."""
    used = SERIES.findall(query)
    if not used:
        yield f"no metric in {query!r}"
    labels = set(ADDED)
    for name, selectors in used:
        if name not in SERIES_THERE:
            yield f"no metric {name}"
            continue
        there = {*ADDED, *SERIES_THERE[name]}
        labels |= there
        for label, value in SELECTED.findall(selectors):
            if label not in there:
                yield f"{name} has no label {label}"
            elif not set(value.split("|")) <= VALUES[label]:
                yield f"{label} of {name} is never {value}"
    grouped = {label.strip() for by in GROUPED.findall(query) for label in by.split(",")}
    # What is aggregated away has no name that could be shown.
    left = grouped if re.search(r"\b(sum|max|min|count|absent)\b", query) else labels
    for label in (grouped - labels) | (set(PLACE.findall(shown)) - left - {"value"}):
        yield f"no label {label} in {query!r}"


def test_queries_ask_for_what_there_is() -> None:
    found = [f"{where}: {each}" for where, query, text in queries() for each in faults(query, text)]

    assert found == []


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("deltaworks_slot", ""),
        ("deltaworks_job_seconds", ""),
        ('sum(deltaworks_held_jobs{upstream="a"})', ""),
        ('sum(deltaworks_held_jobs{lane="batch"})', ""),
        ("sum by (state) (deltaworks_held_jobs)", ""),
        ("sum(deltaworks_held_jobs)", "{{lane}}"),
        ("vector(1)", ""),
    ],
)
def test_a_query_for_what_there_is_not_is_found(query: str, shown: str) -> None:
    assert list(faults(query, shown))


def test_no_metric_is_there_for_nothing() -> None:
    used = {name for _, query, _ in queries() for name, _ in SERIES.findall(query)}
    unused = [
        each.name for each in names.ALL
        if not used & {each.name + suffix for suffix in SUFFIXES.get(each.kind, ("",))}
    ]  # fmt: skip

    assert unused == []


def test_names_are_as_prometheus_wants_them() -> None:
    for each in names.ALL:
        assert re.fullmatch(r"deltaworks_[a-z_]+", each.name)
        assert (each.kind == "counter") == each.name.endswith("_total"), each.name
        assert each.help.endswith(".") and bool(each.bounds) == (each.kind == "histogram")
        assert all(len(values) == len(each.labels) for values in each.known)
        assert not {"job", "id", "key", "tenant", "batch"} & set(each.labels), each.name
    assert len({each.name for each in names.ALL}) == len(names.ALL)


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_can_be_provisioned(file: Path) -> None:
    (source,) = yaml.safe_load(
        (GRAFANA / "provisioning/datasources/prometheus.yml").read_text()
    )["datasources"]  # fmt: skip
    board = json.loads(file.read_text())

    assert board["uid"] == file.stem and board["title"] and board["description"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == source["uid"]
            assert panel["description"].endswith("."), panel["title"]
