"""`deltaworks gateway`: the HTTP API in the foreground."""

import logging
import sys

from worker.gateway.serving import serve as serve_until_told
from worker.logs import log_as_process

logger = logging.getLogger(__name__)

OPEN = """
  This gateway lets everybody in who reaches %s: other users and every program of this
  machine. It is meant for trying things out. With keys: deltaworks keys create NAME
"""


def serve(host: str, port: int, *, without_keys: bool, log_level: str) -> None:
    """Serve until SIGTERM.

    Raises:
        DeltaworksError: what is configured does not work, or would be open to other machines.
    """
    log_as_process(log_level)
    logging.getLogger("uvicorn.error").setLevel(logging.INFO)
    if without_keys:
        sys.stderr.write(OPEN % f"{host}:{port}")
    serve_until_told(host, port, without_keys=without_keys)
