"""The embedded processes: the worker of `run`, `follow` and `up`, and the gateway of `up`.

They are engines like the private Redis: shared by the commands of one home, and retired when the
last of them leaves. Retired, a worker takes no more jobs; those it runs have the grace, then they
are queued again and wait for the next worker of the home.
"""

import hashlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from worker import __version__, catalog, secret_files
from worker.client.target import API_KEY, BASE_URL
from worker.engines import Membership, join_process
from worker.settings import Settings

WORKER, GATEWAY = "worker", "gateway"
METRICS_PORT = "DELTAWORKS_METRICS_PORT"
# Variables of these names decide what the worker does; the model is the command line's own, and
# where a gateway is, and its key, are for programs that ask one.
PREFIXES = ("DELTAWORKS_", "OPENAI_")
# And what `batch watch` tells its command at the end of a batch is no setting.
BATCH = "DELTAWORKS_BATCH_"
BATCH_TOLD = ("ID", "STATUS", "COMPLETED", "FAILED")
LEFT_OUT = frozenset(
    {"DELTAWORKS_MODEL", BASE_URL, API_KEY, *(f"{BATCH}{name}" for name in BATCH_TOLD)}
)


def join_worker(settings: Settings) -> Membership:
    """Join the home's worker, or start one, and wait until it takes jobs.

    Raises:
        EngineFailed: it did not start (the error quotes its log), or it runs with other settings.
        ConfigurationError: the upstreams file has a fault.
    """
    return _join(settings, WORKER, ["worker", "--beat"], {})


def join_gateway(settings: Settings, port: int) -> Membership:
    """Join the home's gateway, or start one, and wait until it listens; see `address_of`.

    Raises:
        EngineFailed: it did not start (the error quotes its log), or it runs with other settings.
        ConfigurationError: the upstreams file has a fault.
    """
    # The worker's metrics have the port that is set, the gateway's the next one.
    env = {METRICS_PORT: str(settings.metrics_port + 1)} if settings.metrics_port else {}
    return _join(settings, GATEWAY, ["gateway", "--no-keys", "--port", str(port)], env)


def address_of(gateway: Membership) -> str:
    """Where a gateway listens: `http://host:port`."""
    return Path(gateway.address).read_text()


def _join(
    settings: Settings, name: str, arguments: Sequence[str], env: Mapping[str, str]
) -> Membership:
    ready_file = settings.home.absolute() / "engines" / name / "ready"
    command = [sys.executable, "-m", "worker.cli", *arguments, "--ready-file", str(ready_file)]
    digest = hashlib.sha256("\0".join([fingerprint(settings), *arguments]).encode()).hexdigest()
    # Its log is for people: `up` shows it, and errors quote it.
    if settings.log_format == "auto":
        env = {**env, "DELTAWORKS_LOG_FORMAT": "text"}
    return join_process(settings.home, name, command, env, ready_file, digest)


def joining_worker(settings: Settings) -> "Future[Membership]":
    """Join in a thread: a worker takes a second or two to start, and there is more to do."""
    future: Future[Membership] = Future()
    future.set_running_or_notify_cancel()  # from here on nobody can cancel it

    def join() -> None:
        try:
            future.set_result(join_worker(settings))
        except Exception as error:  # belongs to who asks for the result
            future.set_exception(error)

    threading.Thread(target=join, name="join-worker", daemon=True).start()
    return future


def log_of(home: Path, name: str) -> Path:
    """The file that the embedded process of this name logs to."""
    return home.absolute() / "engines" / name / "log"


def fingerprint(settings: Settings) -> str:
    """A digest of all that a worker is configured by: commands that differ in it share none.

    Keys go into it only by way of the digest.

    Raises:
        ConfigurationError: the upstreams file has a fault.
    """
    digest = hashlib.sha256(__version__.encode())
    digest.update(settings.model_dump_json(exclude={"model"}).encode())
    for name in sorted(_variables(settings)):
        digest.update(f"\0{name}={secret_files.value(name)}".encode(errors="surrogateescape"))
    if settings.upstreams_file is not None:
        digest.update(settings.upstreams_file.read_bytes())
    return digest.hexdigest()


def _variables(settings: Settings) -> Iterator[str]:
    yield from (name for name in os.environ if name.startswith(PREFIXES) and name not in LEFT_OUT)
    configured = catalog.configured(settings.upstreams_file)
    for upstream in configured.upstreams if configured else ():
        if upstream.api_key_env:
            yield upstream.api_key_env
