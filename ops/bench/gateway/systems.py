"""What is measured: our gateway and its worker, LiteLLM's proxy, and no one between."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import msgspec

from ops.bench.peers.environment import peer_python
from ops.bench.processes import Child, free_port
from ops.bench.systems import Deltaworks, Scene


class Relay(Protocol):
    """Stands between OpenAI's clients and the simulator."""

    name: str
    # Where it takes requests: `http://host:port`.
    address: str
    uses_redis: bool

    def open(self, stack: ExitStack, scene: Scene) -> list[Child]:
        """Start it; its processes, whose CPU time is what it costs."""


class Gateway(Deltaworks):
    """A worker, and a gateway of one process."""

    uses_redis = True

    def open(self, stack: ExitStack, scene: Scene) -> list[Child]:
        """Start both; the gateway comes first."""
        worker = super().start(stack, scene)
        command = [sys.executable, "-m", "worker.cli", "gateway", "--port", "0", "--no-keys"]
        gateway = stack.enter_context(Child("gateway", command, scene.folder, self._environment))
        self.address = gateway.await_line(r"listening on (\S+)")[1]
        return [gateway, worker]


class LiteLLM:
    """LiteLLM's proxy, which passes any model on to the simulator."""

    name = "litellm proxy"
    uses_redis = False

    def open(self, stack: ExitStack, scene: Scene) -> list[Child]:
        """Start it, without a database, keys, logs or telemetry."""
        parameters = {"model": "openai/*", "api_base": scene.base_url, "api_key": "unused"}
        configuration = {
            "model_list": [{"model_name": "*", "litellm_params": parameters}],
            "litellm_settings": {"telemetry": False, "request_timeout": 600},
        }
        file = scene.folder / "litellm.yaml"
        file.write_bytes(msgspec.json.encode(configuration))  # JSON is YAML as well
        port = free_port()
        program = peer_python("litellm").parent / "litellm"
        command: list[str | Path] = [
            program,
            "--config",
            file,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        environment = {
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            # Ours is measured without keys, too.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        }
        proxy = stack.enter_context(Child("litellm", command, scene.folder, environment))
        self.address = f"http://127.0.0.1:{port}"
        proxy.await_answer(f"{self.address}/health/liveliness")
        return [proxy]


class Direct:
    """The simulator itself: what clients and bench cost alone."""

    name = "direct"
    uses_redis = False

    def open(self, stack: ExitStack, scene: Scene) -> list[Child]:
        """Nothing to start."""
        self.address = scene.base_url.removesuffix("/v1")
        return []
