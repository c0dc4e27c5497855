"""`deltaworks gateway`: the HTTP API in the foreground."""

import logging
from pathlib import Path

from worker.gateway.serving import serve as serve_until_told
from worker.logs import log_as_process
from worker.sockets import allow_many_sockets
from worker.tracing import set_up

logger = logging.getLogger(__name__)

OPEN = (
    "this gateway lets everybody in who reaches %s:%d: other users and every program of this "
    "machine. It is meant for trying things out. With keys: deltaworks keys create NAME"
)


def serve(
    host: str, port: int, *, without_keys: bool, log_level: str | None, ready_file: Path | None
) -> None:
    """Serve until SIGTERM. `ready_file` holds the address as long as requests are taken.

    Raises:
        DeltaworksError: what is configured does not work, or would be open to other machines.
    """
    log_as_process(log_level)
    allow_many_sockets()
    if without_keys:
        logger.warning(OPEN, host, port)
    set_up("deltaworks-gateway")
    serve_until_told(host, port, without_keys=without_keys, ready_file=ready_file)
