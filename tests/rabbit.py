"""A private RabbitMQ for tests, where the machine has one: no wheel brings it."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from kombu import Connection

from tests.servers import ServerProcess, free_port
from worker.app import QUEUES

PROGRAM = shutil.which("rabbitmq-server")
MISSING = "no rabbitmq-server is on the PATH; on Debian: apt-get install rabbitmq-server"

# Four seconds on an idle machine; on one whose cores others have, many times that.
BOOT_S = 120.0
# RabbitMQ's own.
PATIENCE_S = 1800.0
CONFIGURATION = "listeners.tcp.1 = 127.0.0.1:{port}\n"


class PortMapper(ServerProcess):
    """Erlang's epmd, on a port of its own; RabbitMQ would start one and leave it behind."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.port = free_port()

    def start(self) -> None:
        """Start it; who asks too early asks again."""
        command = ["epmd", "-port", str(self.port), "-address", "127.0.0.1"]
        self._run(command, self._folder / "epmd.log", lambda: True)


class RabbitServer(ServerProcess):
    """A RabbitMQ node of one that keeps its queues through `stop`, `kill` and `restart`.

    Attributes:
        url: for kombu; the same for life.
        data: the folder that holds its messages.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        assert PROGRAM is not None
        # Debian's program in /usr/sbin turns root into another account; this is what it calls.
        self._programs = Path(PROGRAM).resolve().parent
        self._folder = folder
        self._mapper = PortMapper(folder)
        self.data = folder / "data"
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._env = {
            **os.environ,
            "HOME": str(folder),  # of the cookie that lets rabbitmqctl in
            "ERL_EPMD_PORT": str(self._mapper.port),
            "RABBITMQ_NODENAME": f"deltaworks-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.data),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_LOGS": "-",
            # It looks for late acknowledgements once a minute by default: too seldom for a test.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-rabbit channel_tick_interval 500",
            "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),
            "RABBITMQ_ALLOW_INPUT": "1",  # no shell stays between us and the node
        }

    def start(self) -> None:
        """Start with what is in the folder, and wait until it takes connections."""
        if self._mapper._process is None:
            self._mapper.start()
        (self._folder / "rabbitmq.conf").write_text(CONFIGURATION.format(port=self.port))
        command = [str(self._programs / "rabbitmq-server"), "-noinput"]
        self._run(command, self._folder / "log", self._answers, BOOT_S, env=self._env)

    def kill(self) -> None:
        """SIGKILL: nothing is said, and nothing more is written."""
        self._end(signal.SIGKILL)

    def __exit__(self, *exception: object) -> None:
        self.kill()
        self._mapper.stop()

    def queues(self) -> dict[str, dict[str, Any]]:
        """What RabbitMQ says of our queues, by name: `type`, `ready`, `unacknowledged`."""
        columns = ["name", "type", "messages_ready", "messages_unacknowledged"]
        said = self.control("list_queues", *columns, "--formatter", "json")
        rows = {row.pop("name"): row for row in json.loads(said)}
        return {name: rows[name] for name in QUEUES if name in rows}

    def control(self, *arguments: str) -> str:
        """What rabbitmqctl prints."""
        command = [str(self._programs / "rabbitmqctl"), "--quiet", *arguments]
        done = subprocess.run(
            command, env=self._env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr or done.stdout
        return done.stdout

    def be_patient(self, patience_s: float) -> None:
        """How long consumers that come from now on may leave a message unacknowledged."""
        milliseconds = int(patience_s * 1000)
        self.control("eval", f"application:set_env(rabbit, consumer_timeout, {milliseconds}).")

    def forget(self) -> None:
        """Delete our queues: they may be declared anew as of another type."""
        with Connection(self.url) as connection:
            channel: Any = connection.default_channel  # of kombu's AMQP transport
            for name in QUEUES:
                channel.queue_delete(name)

    def _answers(self) -> bool:
        try:
            with Connection(self.url, connect_timeout=1) as connection:
                connection.connect()
        except OSError:
            return False
        return True
