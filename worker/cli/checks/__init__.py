"""The checks of `doctor`. Each looks at one thing and says what it found.

machine     what runs here, and what it may
servers     Redis, broker, database, and their clocks
upkeep      what has to go on all the time
upstreams   the way to them, and on demand a real answer
finding     what a check says
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from worker.cli.checks import machine, servers, upkeep, upstreams
from worker.cli.checks.finding import Finding, Level

__all__ = ["CHECKS", "Check", "Finding", "Level"]

Check = Callable[[], Awaitable[Sequence[Finding]]]

# In the order of what depends on what.
CHECKS: Mapping[str, Check] = {
    "versions": machine.versions,
    "settings": machine.chosen,
    "files": machine.open_files,
    "redis": servers.redis,
    "broker": servers.broker,
    "database": servers.database,
    "clocks": servers.clocks,
    "upstream": upstreams.listed,
    "storage": machine.storage,
    "webhooks": upkeep.webhooks,
    "workers": upkeep.workers,
    "sweep": upkeep.sweep,
}
