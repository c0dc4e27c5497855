"""`docker-compose.yml` as the tests look at it."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"

Service = dict[str, Any]


def compose() -> dict[str, Any]:
    """The whole file, its anchors resolved and its variables not."""
    document: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return document


def ours(document: dict[str, Any]) -> dict[str, Service]:
    """The services that run our image."""
    services: dict[str, Service] = document["services"]
    return {name: it for name, it in services.items() if "deltaworks" in it["image"]}


def variables() -> dict[str, str]:
    """Each `${NAME…}` of the file, and what follows the name: `:-default`, `:?sentence`."""
    found: dict[str, str] = {}
    for name, rest in re.findall(r"\$\{([A-Z_]+)([^}]*)\}", FILE.read_text()):
        found[name] = found.get(name) or rest
    return found


def seconds(duration: str) -> float:
    """Of a duration as this file writes them: `30s`."""
    assert duration.endswith("s")
    return float(duration[:-1])
