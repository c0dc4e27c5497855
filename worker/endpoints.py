"""Where this process finds Redis, the broker, the database and the upstreams.

What is configured is used; what is not is embedded: a private Redis and SQLite in the settings'
`home`, and the bundled simulator. Joining is done once for a process and lasts as long as it.
"""

import logging
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlsplit

from msgspec import Struct

from worker import catalog, engines, settings
from worker.catalog import Catalog

logger = logging.getLogger(__name__)


class Endpoints(Struct, frozen=True):
    """URLs in the form their client wants; `broker_url` is kombu's."""

    redis_url: str
    broker_url: str
    database_url: str


@cache
def resolve() -> Endpoints:
    """The process's endpoints; starts or joins the private Redis if none is configured.

    Raises:
        EngineFailed: the private Redis could not be started.
        ConfigurationError: a setting does not work.
    """
    chosen = settings.load()
    redis_url = chosen.redis_url or chosen.broker_url or _private_redis(chosen.home)
    return Endpoints(
        redis_url=redis_url,
        broker_url=chosen.broker_url or kombu_url(redis_url),
        database_url=chosen.database_url or embedded_database(chosen.home),
    )


@cache
def upstreams() -> Catalog:
    """The process's upstreams; starts or joins the simulator if none is configured, and says so.

    Raises:
        EngineFailed: the simulator could not be started.
        ConfigurationError: the upstreams file has a fault.
    """
    configured = catalog.configured(settings.load().upstreams_file)
    if configured is not None:
        return configured
    logger.warning(
        "NO UPSTREAM IS CONFIGURED: the bundled simulator answers, and what it says is made up. "
        "Set OPENAI_API_KEY, OPENAI_BASE_URL or DELTAWORKS_UPSTREAMS_FILE for a real one."
    )
    home = settings.load().home
    _kept.append(membership := engines.join_simulator(home))
    return catalog.simulated(membership.address)


def known_upstreams() -> Catalog:
    """The upstreams for a process that only validates: the simulator is not started for it."""
    configured = catalog.configured(settings.load().upstreams_file)
    return catalog.simulated("http://127.0.0.1") if configured is None else configured


def embedded_database(home: Path) -> str:
    """The URL of the SQLite database in `home`."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{home.absolute() / 'deltaworks.db'}"


def kombu_url(redis_url: str) -> str:
    """A redis-py URL as kombu spells it: they differ for Unix sockets."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    return f"redis+socket://{quote(parts.path)}?virtual_host=0"


def _private_redis(home: Path) -> str:
    _kept.append(membership := engines.join_redis(home))
    return membership.address


# Memberships last as long as the process, and end with it however it dies.
_kept: list[engines.Membership] = []
