"""A process of many connections, as its bench sees it."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ops.bench.gateway.connections import Plan, Request, Response
from ops.bench.processes import ROOT


class Clients:
    """So many requests to one address; they are begun at once and read to their end."""

    def __init__(self, address: str, requests: Sequence[Request], folder: Path) -> None:
        url = urlsplit(address)
        self._file = folder / "arrived"
        self._process = subprocess.Popen(  # noqa: S603 - a module of this package
            [sys.executable, "-m", "ops.bench.gateway.connections", str(self._file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert self._process.stdin is not None
        plan = Plan(url.hostname or "", url.port or 80, list(requests))
        self._process.stdin.write(msgspec.json.encode(plan))
        self._process.stdin.close()

    def __enter__(self) -> "Clients":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def await_begun(self) -> None:
        """Return when each response has begun.

        Raises:
            RuntimeError: the process failed.
        """
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"connected\n":
            raise RuntimeError("the clients could not connect")

    def responses(self, timeout_s: float) -> list[Response]:
        """What arrived, in the order of the requests, once all have ended.

        Raises:
            subprocess.TimeoutExpired: they take longer.
        """
        self._process.wait(timeout_s)
        return msgspec.msgpack.decode(self._file.read_bytes(), type=list[Response])
