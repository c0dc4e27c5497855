"""OpenAI's own Node client against the gateway: each test of `node/*.test.mjs` is one here."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.stack import Stack

pytestmark = pytest.mark.xdist_group("gateway node sdk")

HERE = Path(__file__).parent / "node"
FILES = sorted(HERE.glob("*.test.mjs"))
# `node:test` ran whole files and named their tests from then on.
LEAST_NODE = (20, 10)
RESULT = re.compile(r"^(ok|not ok) \d+ - (.*)$")


def names_of(file: Path) -> list[str]:
    """Its tests as it would run them; of those in a loop Node alone knows the names."""
    return re.findall(r'^test\("(.+?)"', file.read_text(), re.MULTILINE)


@cache
def client() -> Path:
    """A folder with the tests and the client that the lock file names; kept between runs."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs node and npm")
    found = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    version = tuple(map(int, found.strip().lstrip("v").split(".")[:2]))
    if version < LEAST_NODE:
        pytest.skip(f"needs node {'.'.join(map(str, LEAST_NODE))}, this is {found.strip()}")
    lock = (HERE / "package-lock.json").read_bytes()
    folder = Path(sys.prefix) / "node-sdk" / hashlib.sha256(lock).hexdigest()[:16]
    if not folder.exists():
        draft = folder.with_name(f"{folder.name}.{os.getpid()}")
        draft.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, draft)
        command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        installed = subprocess.run(
            command, cwd=draft, capture_output=True, text=True, timeout=120, check=False
        )
        if installed.returncode:
            shutil.rmtree(draft)
            pytest.skip(f"npm could not install OpenAI's client: {installed.stderr[-500:]}")
        try:
            draft.rename(folder)
        except OSError:  # another process was quicker
            shutil.rmtree(draft)
    return folder


@pytest.fixture(scope="module")
def results(live: Stack) -> dict[str, dict[str, str]]:
    """By file and test: what is wrong, or nothing."""
    return {file.name: run(file, live) for file in FILES}


def run(file: Path, stack: Stack) -> dict[str, str]:
    folder = client()
    for source in HERE.glob("*.mjs"):
        shutil.copy(source, folder)
    ran = subprocess.run(
        ["node", "--test", "--test-reporter=tap", file.name],
        cwd=folder,
        env={
            **os.environ,
            "GATEWAY": stack.address,
            "RECORD": stack.base_url.replace("/v1", "/record"),
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    found: dict[str, str] = {}
    name = ""
    for line in ran.stdout.splitlines():
        if result := RESULT.match(line.strip()):
            name = result[2].replace("\\#", "#")
            found[name] = "" if result[1] == "ok" else line
        elif found.get(name):
            found[name] += f"\n{line}"
    assert found, ran.stdout + ran.stderr
    return found


@pytest.mark.parametrize(
    ("file", "name"), [(file.name, name) for file in FILES for name in names_of(file)]
)
def test_with_the_node_client(results: dict[str, dict[str, str]], file: str, name: str) -> None:
    problem = results[file][name]
    assert not problem, problem


@pytest.mark.parametrize("file", [file.name for file in FILES])
def test_with_the_node_client_in_every_other_way(
    results: dict[str, dict[str, str]], file: str
) -> None:
    named = names_of(HERE / file)
    problems = [said for name, said in results[file].items() if said and name not in named]
    assert not problems, "\n".join(problems)
