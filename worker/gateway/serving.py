"""Serving the gateway with uvicorn until it is told to end."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from worker import settings
from worker.errors import ConfigurationError
from worker.gateway.app import application
from worker.gateway.stream import ABORT
from worker.metrics import serving

logger = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Streams have been told to end by then; what still runs is broken off.
GRACE_S = 10
# Connections that are opened and not yet taken: readers come back all at once.
BACKLOG = 4_096
# A head of a request that is larger is refused.
MOST_HEAD_BYTES = 32 * 1024
KEEP_ALIVE_S = 75


class Protocol(HttpToolsProtocol):
    """uvicorn's, but that a head has its time and size: else slow clients hold sockets for ever.

    Args:
        head_timeout_s: how long a head may take, in seconds.
        arguments: uvicorn's own.
    """

    def __init__(self, *, head_timeout_s: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._head_timeout_s = head_timeout_s
        self._slow: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connects; now it has to ask."""
        super().connection_made(transport)
        self._slow = self.loop.call_later(self._head_timeout_s, transport.close)

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        super().on_message_begin()
        # For a reader that takes nothing: a connection that is closed waits until all is taken.
        self.scope[ABORT] = self.transport.abort  # type: ignore[literal-required]
        if self._slow is None:
            self._slow = self.loop.call_later(self._head_timeout_s, self.transport.close)

    def data_received(self, data: bytes) -> None:
        """A piece of a head, or of a body, whose size others watch."""
        if self._slow is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._slow is not None and self._head_bytes > MOST_HEAD_BYTES:
            self.send_400_response("the headers are too large")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_time()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """The next head begins; for its first byte uvicorn's keep-alive waits."""
        super().on_response_complete()
        self._head_bytes = 0

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._in_time()
        super().connection_lost(exc)

    def _in_time(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None


class Server(uvicorn.Server):
    """uvicorn's, but that open streams are told when it is to end: it would wait for them.

    Args:
        config: uvicorn's.
        when_ready, when_ending: called when requests are taken, and when they are to end.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        when_ready: Callable[[], None],
        when_ending: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._when_ready = when_ready
        self._when_ending = when_ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._when_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: the first ends in good order, the second at once.

        Not uvicorn's own, which raises the signal anew in the end: a good end is no error.
        """
        self._when_ending()
        self.force_exit = self.should_exit
        self.should_exit = True


def serve(host: str, port: int, *, without_keys: bool, ready_file: Path | None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        host, port: where; port 0 is any free one.
        without_keys: whether everybody who can reach it is let in.
        ready_file: as long as requests are taken it is there and holds the gateway's address.

    Raises:
        ConfigurationError: it would be open to more than this machine, or cannot listen there.
    """
    if without_keys and host not in LOOPBACK:
        raise ConfigurationError(
            f"--host {host} is reached from other machines, and --no-keys lets everybody in; "
            f"leave one of them out (deltaworks keys create makes a key)"
        )
    listening = _listen(host, port)
    address = _address(listening)
    app = application(is_open=without_keys)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=partial(Protocol, head_timeout_s=settings.load().head_timeout_s),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        # Nobody here asks who the client is.
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    logging.getLogger("uvicorn.error").addFilter(_expected)

    def ready() -> None:
        logger.info("listening on %s", address)
        if ready_file is not None:
            draft = ready_file.with_name(f"{ready_file.name}.new")
            draft.write_text(address)
            draft.replace(ready_file)

    def ending() -> None:
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
        if (gateway := getattr(app.state, "gateway", None)) is not None:
            gateway.relays.close()

    with serving(settings.load()):
        Server(config, ready, ending).run([listening])


def _listen(host: str, port: int) -> socket.socket:
    """The socket is ours and not uvicorn's: what is wrong with it is said as all else is."""
    try:
        kind, _, _, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(place[:2], family=kind, backlog=BACKLOG)
    except OSError as error:
        # Python's own sentence repeats the address, but there is none of getaddrinfo's numbers.
        number = error.errno or 0
        said = os.strerror(number) if number > 0 else error.strerror
        problem = f"--host {host} --port {port}: {said}; choose another one"
        raise ConfigurationError(problem) from None


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _expected(record: logging.LogRecord) -> bool:
    """A reader that takes nothing is cut off; uvicorn calls that a fault."""
    return "without completing response" not in record.getMessage()
