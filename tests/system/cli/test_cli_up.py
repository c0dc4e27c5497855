"""`deltaworks up` with nothing configured: a worker and a gateway, restarted where they die."""

import json
import os
import signal
import socket
from pathlib import Path

import httpx

from tests.commands import Deltaworks, read_line
from tests.processes import PATIENCE_S, await_nothing_left, eventually


def test_the_gateway_of_the_stack_completes_chats_and_comes_back_when_it_is_killed(
    home: Path,
) -> None:
    with Deltaworks(home).start("up", "--port", "0", "--json") as up:
        address = json.loads(read_line(up))["gateway"]
        chat = {"model": "sim?tokens=3", "messages": [{"role": "user", "content": "hello"}]}
        answer = httpx.post(f"{address}/v1/chat/completions", json=chat, timeout=60)
        assert answer.json()["choices"][0]["message"]["content"]
        listed = httpx.get(f"{address}/v1/models", timeout=60).json()["data"]
        assert "sim-fast" in [model["id"] for model in listed]

        engine = home / "engines" / "gateway"
        killed = int((engine / "server.lock").read_text())
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: int((engine / "server.lock").read_text() or killed) != killed)
        eventually(lambda: _is_healthy(engine / "ready"))

        up.send_signal(signal.SIGINT)
        assert up.wait(PATIENCE_S) == 0
    await_nothing_left(home)


def test_a_port_that_is_taken_is_named_with_the_remedy(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = Deltaworks(home)("up", "--port", str(port))
    assert ended.returncode == 1
    assert f"--port {port}: Address already in use; choose another one" in ended.stderr
    await_nothing_left(home)


def _is_healthy(ready: Path) -> bool:
    if not ready.exists():
        return False
    return httpx.get(f"{ready.read_text()}/healthz").is_success
